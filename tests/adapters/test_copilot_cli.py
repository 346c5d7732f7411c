"""Copilot CLI logs: what the model got and said, its sub-agents apart, compactions and rewinds as windows."""

import gzip
import json

import pytest

from ctxgc.adapters.contract import ReplyBilled, SegmentAdmitted, SessionOpened, WindowReplaced
from ctxgc.adapters.transcripts.copilot_cli import CopilotCli
from ctxgc.core.segment import Access, Departure, Kind, PathUse, Role, Status
from tests.contracts.transcript_state import check, read, state_of


class Log:
    """Writes events as the host does."""

    def __init__(self):
        self.lines = []
        self.event("session.start", sessionId="s1", context={"cwd": "/w"}, selectedModel="m1")

    def event(self, kind, **data):
        event_id = f"e{len(self.lines)}"
        stamp = f"2026-01-01T00:00:{len(self.lines):02d}Z"
        self.lines.append(json.dumps({"type": kind, "data": data, "id": event_id, "timestamp": stamp}))
        return event_id

    def user(self, words, **more):
        return self.event("user.message", content=words, **more)

    def reply(self, turn, words, *requests, **more):
        ids = {"interactionId": "i", "turnId": str(turn), "messageId": f"m{len(self.lines)}"}
        return self.event("assistant.message", content=words, toolRequests=list(requests), **ids | more)

    def result(self, call_id, content="ok", **more):
        self.event("tool.execution_complete", toolCallId=call_id, result={"content": content}, **more)

    def events(self):
        transcript = CopilotCli()
        events = transcript.feed("\n".join(self.lines).encode()) + transcript.finish()
        self.skipped = transcript.skipped
        check(events)
        return events

    def admitted(self):
        return [event.segment for event in self.events() if isinstance(event, SegmentAdmitted)]

    def window(self, session="s1"):
        state = state_of(self.events())[session]
        ordered = (state.segments[name] for name in sorted(state.window, key=state.window.__getitem__))
        return [s.id if s.kind is Kind.TOOL_CALL else s.body[0].text for s in ordered]


def request(call_id, name="view", arguments=None):
    return {"toolCallId": call_id, "name": name, "arguments": arguments or {}}


def test_the_start_names_the_session_its_directory_and_its_model():
    log = Log()
    log.event("session.model_change", newModel="m2")

    known = state_of(log.events())["s1"].known

    assert known == {"session": "s1", "project": "/w", "model": "m2"}


def test_messages_of_one_turn_are_one_request_even_if_the_first_are_empty():
    log = Log()
    log.user("go")
    log.reply(0, "", reasoningOpaque="x")
    log.reply(0, "I look.", request("a"), request("b"), reasoningText="Hm.")
    log.result("b")
    log.result("a")
    log.reply(1, "Seen.")
    log.user("again")
    log.reply(0, "Yes.", interactionId="j")

    said = [s for s in log.admitted() if s.role is Role.ASSISTANT]

    assert [(s.born_turn, s.reply) for s in said] == [(0, "i.0")] * 4 + [(1, "i.1"), (2, "j.0")]
    assert not [event for event in log.events() if isinstance(event, ReplyBilled)]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"content": "hi"}, Kind.USER),
        ({"content": "hi", "source": "user"}, Kind.USER),
        ({"content": "", "transformedContent": "tools", "source": "system"}, Kind.SYSTEM),
        ({"content": "AGENTS.md", "source": "instruction-discovery"}, Kind.SYSTEM),
        ({"content": "a skill", "source": "skill-pdf"}, Kind.ATTACHMENT),
    ],
)
def test_a_user_message_is_told_by_its_source(data, kind):
    log = Log()
    log.event("user.message", **data)

    assert [s.kind for s in log.admitted()] == [kind]


def test_the_text_is_the_one_the_model_got():
    log = Log()
    log.user("hi", transformedContent="<now>9</now> hi")

    assert log.window() == ["<now>9</now> hi"]


@pytest.mark.parametrize(
    ("data", "status", "result"),
    [
        ({"success": True, "result": {"content": "x"}}, Status.OK, "x"),
        ({"success": False, "error": {"message": "no such path"}}, Status.ERROR, "no such path"),
        (
            {"success": True, "result": {"content": "<shellId: 1 completed with exit code 2>"}},
            Status.ERROR,
            "<shellId: 1 completed with exit code 2>",
        ),
    ],
)
def test_a_call_fails_by_the_hosts_word_or_its_shells_exit_code(data, status, result):
    log = Log()
    log.reply(0, "", request("a"))
    log.event("tool.execution_complete", toolCallId="a", **data)

    (exchange,) = log.admitted()

    assert (exchange.status, exchange.body[-1].text) == (status, result)


@pytest.mark.parametrize(
    ("name", "arguments", "path"),
    [
        ("view", {"path": "a.py", "view_range": [5, 9]}, PathUse("/w/a.py", Access.READ, 5, 9)),
        ("view", {"path": "a.py", "view_range": [5, -1]}, PathUse("/w/a.py", Access.READ, 5)),
        ("create", {"path": "a.py", "file_text": "x"}, PathUse("/w/a.py", Access.WRITE)),
        ("str_replace_editor", {"command": "view", "path": "a.py"}, PathUse("/w/a.py", Access.READ)),
        ("str_replace_editor", {"command": "insert", "path": "a.py"}, PathUse("/w/a.py", Access.EDIT)),
        ("rg", {"pattern": "x", "paths": "src"}, PathUse("/w/src", Access.MENTION)),
        ("apply_patch", "*** Begin Patch\n*** Delete File: a.py\n*** End Patch\n", PathUse("/w/a.py", Access.EDIT)),
    ],
)
def test_a_call_knows_its_file(name, arguments, path):
    log = Log()
    log.reply(0, "", request("a", name, arguments))
    log.result("a")

    assert [s.paths for s in log.admitted()] == [(path,)]


def test_a_repeated_system_message_is_one_and_a_changed_one_takes_its_place():
    log = Log()
    for words in ("Be kind.", "Be kind.", "Be brief."):
        log.event("system.message", role="system", content=words)
        log.user(f"go, {words}")

    assert log.window() == ["Be brief.", "go, Be kind.", "go, Be kind.", "go, Be brief."]
    assert log.skipped == {"system.message.repeated": 1}


def test_a_sub_agent_is_a_session_of_its_own_below_the_call_that_started_it():
    log = Log()
    log.reply(0, "", request("a", "task"))
    log.reply(0, "counting", request("b"), parentToolCallId="a")
    log.result("b", parentToolCallId="a")
    log.result("a")

    assert (log.window(), log.window("s1.a")) == (["a"], ["counting", "b"])
    (opened,) = (e for e in log.events() if isinstance(e, SessionOpened) and e.session == "s1.a")
    assert (opened.parent, opened.parent_segment) == ("s1", "a")


def test_a_compaction_leaves_system_summary_and_what_came_since_it_began():
    log = Log()
    log.event("system.message", role="system", content="Be kind.")
    log.user("go")
    log.reply(0, "one", request("a"))
    log.event("session.compaction_start")
    log.result("a")
    log.reply(1, "two", request("b"))
    log.event("session.compaction_complete", success=True, summaryContent="in short")
    log.result("b")

    assert log.window() == ["Be kind.", "in short", "two", "b"]
    assert [e.reason for e in log.events() if isinstance(e, WindowReplaced)] == [Departure.HOST_COMPACTED]


def test_a_compaction_that_failed_changes_nothing():
    log = Log()
    log.user("go")
    log.event("session.compaction_start")
    log.event("session.compaction_complete", success=False, summaryContent="in short")

    assert log.window() == ["go"]


def test_a_rewind_takes_back_a_prompt_and_all_that_followed():
    log = Log()
    log.user("one")
    log.reply(0, "one it is")
    back = log.user("two")
    log.reply(1, "two it is", request("a"))
    log.event("session.snapshot_rewind", upToEventId=back)
    log.user("three")

    assert log.window() == ["one", "one it is", "three"]


@pytest.mark.corpus
def test_every_recorded_session_keeps_its_calls_and_its_turns(corpus, capsys):
    for path in sorted((corpus / "copilot_cli").glob("*.jsonl.gz")):
        plain = gzip.decompress(path.read_bytes())
        events, transcript = read("copilot_cli", *(plain[at : at + 9999] for at in range(0, len(plain), 9999)))
        records = [json.loads(line) for line in plain.splitlines()]
        kinds = {kind: [r["data"] for r in records if r["type"] == kind] for kind in {r["type"] for r in records}}
        results = {d["toolCallId"]: d for d in kinds["tool.execution_complete"]}

        check(events)
        (state,) = state_of(events).values()
        calls = {s.id: s for s in state.segments.values() if s.kind is Kind.TOOL_CALL}
        assert calls.keys() == results.keys() == {d["toolCallId"] for d in kinds["tool.execution_start"]}
        for call_id, data in results.items():
            assert (
                calls[call_id].body[-1].text
                == (data.get("result") or {"content": data.get("error", {}).get("message")})["content"]
            )
        turns = {s.born_turn for s in state.segments.values() if s.role is Role.ASSISTANT}
        assert turns == set(range(len(kinds["assistant.turn_start"])))
        heads = {kind.partition(".")[0] for kind in transcript.skipped}
        assert heads <= {"session", "hook", "permission", "tool", "assistant", "system"}
        assert "orphan_result" not in transcript.skipped
        with capsys.disabled():
            print(f"\n{path.name[-24:]} {len(calls)} calls, {len(turns)} turns; {dict(transcript.skipped)}")
