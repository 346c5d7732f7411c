"""What a call is about is told by its command, also where Codex asks for the rest of one by a number."""

import json

import pytest

from ctxgc.adapters.contract import SegmentAdmitted
from ctxgc.adapters.facts.background_commands import COMMANDS_MAX, BackgroundCommands
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.facts.tool_facts import Facts, facts_of_call
from ctxgc.adapters.transcripts.codex import Codex
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.segment import COMMAND_CHARS_MAX, Access, PathUse
from ctxgc.core.tombstone import segment_label

EXEC = 'const r = await tools.exec_command({cmd:"cargo test -q lock"}); text(JSON.stringify(r));'
POLL = 'const r = await tools.write_stdin({session_id:4711,chars:"",yield_time_ms:1000}); text(r.output);'


def call(name, given):
    if isinstance(given, str):
        return {"type": "custom_tool_call", "call_id": "", "name": name, "input": given}
    return {"type": "function_call", "call_id": "", "name": name, "arguments": json.dumps(given)}


def asked(*pairs):
    """Items of calls and their outputs."""
    items = []
    for number, (made, output) in enumerate(pairs):
        kind = "custom_tool_call_output" if made["type"] == "custom_tool_call" else "function_call_output"
        items += [made | {"call_id": f"c{number}"}, {"type": kind, "call_id": f"c{number}", "output": output}]
    return items


def read_from_log(items):
    codex = Codex()
    lines = [json.dumps({"type": "response_item", "payload": item}).encode() + b"\n" for item in items]
    events = [*codex.feed(b"".join(lines)), *codex.finish()]
    return list({one.segment.id: one.segment for one in events if isinstance(one, SegmentAdmitted)}.values())


def read_from_request(items):
    return add_facts(WIRE_FORMATS["openai_responses"].parse(json.dumps({"input": items}).encode()).segments, "")


STORIES = {
    "of a command": (
        (call("exec_command", {"cmd": "cargo test -q lock"}), "Chunk ID: f7\nProcess running with session ID 4711\n"),
        (call("write_stdin", {"session_id": 4711, "chars": ""}), "test a ... ok\nProcess exited with code 0\n"),
        ["exec_command: cargo test -q lock", "write_stdin: …cargo test -q lock"],
    ),
    "of a script": (
        (call("exec", EXEC), "Script running with cell ID 3\nWall time 10.0 seconds\nOutput:\n"),
        (call("wait", {"cell_id": "3", "yield_time_ms": 1000}), "Script completed\n"),
        ["exec: cargo test -q lock", "wait: …cargo test -q lock"],
    ),
    "of a script, by another": (
        (call("exec", EXEC), [{"type": "input_text", "text": '{"chunk_id":"7","session_id":4711,"output":""}'}]),
        (call("exec", POLL), "Script completed\n"),
        ["exec: cargo test -q lock", "exec: …cargo test -q lock"],
    ),
    "that a script named in words of its own": (
        (call("exec", EXEC), [{"type": "input_text", "text": "x\n" * 900 + "SESSION_ID=4711"}]),
        (call("exec", POLL), "Script completed\n"),
        ["exec: cargo test -q lock", "exec: …cargo test -q lock"],
    ),
    "of which another tool has the number": (
        (call("exec_command", {"cmd": "make"}), "Process running with session ID 7\n"),
        (call("browser_close", {"session_id": 7, "cell_id": "7"}), "closed"),
        ["exec_command: make", "browser_close"],
    ),
    "of which nothing is known": (
        (call("exec", POLL), "Script completed\n"),
        (call("wait", {"cell_id": "9"}), "Script completed\n"),
        ["exec: write_stdin", "wait"],
    ),
}


@pytest.mark.parametrize("read", [read_from_log, read_from_request])
def test_a_poll_beside_its_command_in_one_reply_did_not_know_its_number(read):
    asking = [call("exec_command", {"cmd": "make"}), call("write_stdin", {"session_id": 7})]
    calls = [made | {"call_id": f"c{number}"} for number, made in enumerate(asking)]
    outputs = [
        {"type": "function_call_output", "call_id": f"c{number}", "output": "Process running with session ID 7\n"}
        for number in range(2)
    ]

    segments = read([*calls, *outputs])

    assert [segment.command for segment in segments] == ["make", ""]


@pytest.mark.parametrize("read", [read_from_log, read_from_request])
@pytest.mark.parametrize("story", STORIES)
def test_the_rest_of_an_output_is_labelled_with_its_command(story, read):
    *pairs, labels = STORIES[story]

    segments = read(asked(*pairs))

    assert [segment_label(segment) for segment in segments] == labels


def test_the_rest_of_the_rest_is_the_rest_of_the_same_command():
    running = BackgroundCommands()
    running.note_running_commands("make", ["session ID 1"])
    again = running.facts_with_polled_command("write_stdin", {"session_id": 1}, Facts())
    running.note_running_commands(again.command, ["session ID 1"])

    assert (
        running.facts_with_polled_command("write_stdin", {"session_id": 1}, Facts()).command == again.command == "…make"
    )


def test_the_rest_of_a_read_is_no_read_that_proves_an_older_one_garbage():
    running = BackgroundCommands()
    running.note_running_commands("cat a.py", ["session ID 1"])
    facts = running.facts_with_polled_command("write_stdin", {"session_id": 1}, Facts((PathUse("a.py", Access.READ),)))
    [segment, _] = read_from_log(asked((call("exec_command", {"cmd": "cat a.py"}), "x"), (call("wait", {}), "y")))

    assert segment.facts.is_pure_read
    assert not facts.call.is_pure_read


def test_what_runs_on_is_remembered_within_bounds_I12():
    running = BackgroundCommands()
    for number in range(2 * COMMANDS_MAX):
        running.note_running_commands("x" * COMMAND_CHARS_MAX, [f"session ID {number}"])

    assert running.facts_with_polled_command("write_stdin", {"session_id": 0}, Facts()).command == ""
    newest = running.facts_with_polled_command("write_stdin", {"session_id": 2 * COMMANDS_MAX - 1}, Facts()).command
    assert newest == ("…" + "x" * COMMAND_CHARS_MAX)[:COMMAND_CHARS_MAX]


@pytest.mark.parametrize("number", [None, True, [], {}, "x" * 9000, 1e99])
def test_a_number_that_is_none_names_nothing(number):
    assert (
        BackgroundCommands()
        .facts_with_polled_command("write_stdin", {"session_id": number, "cmd": "x"}, Facts(command="x"))
        .command
        == "x"
    )


@pytest.mark.parametrize(
    ("script", "command"),
    [
        (EXEC, "cargo test -q lock"),
        (POLL, "write_stdin"),
        ('const p = await tools.update_plan({plan:[{step:"Do it well"}]});', "update_plan"),
        ('const p = "*** Begin Patch\\n*** Update File: p.rs\\n*** End Patch"; tools.apply_patch(p);', ""),
        ("text(ALL_TOOLS.length)", "text(ALL_TOOLS.length)"),
    ],
)
def test_a_script_is_told_by_its_command_else_by_the_tool_it_calls(script, command):
    assert facts_of_call("exec", script, "/w").command == command


def test_a_script_that_patches_a_file_is_labelled_with_the_file():
    script = 'const p = "*** Begin Patch\\n*** Update File: src/a.rs\\n*** End Patch"; tools.apply_patch(p);'
    [segment] = read_from_log(asked((call("exec", script), "done")))

    assert segment_label(segment) == "exec src/a.rs"
