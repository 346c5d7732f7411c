"""Codex rollouts: items become segments, replacement histories become windows, failures are read from text."""

import json

import pytest

from ctxgc.adapters.contract import ReplyBilled, SegmentAdmitted, SessionOpened, WindowReplaced
from ctxgc.adapters.facts.codex_results import is_failed_codex_output
from ctxgc.adapters.host_texts.codex import CodexTexts
from ctxgc.adapters.transcripts.codex import Codex
from ctxgc.adapters.transcripts.formats import detect_format
from ctxgc.adapters.wire.openai_responses import OpenAiResponses
from ctxgc.core.segment import Access, Departure, Kind, PathUse, Role, Status
from tests.contracts.transcript_state import read, state_of


class Rollout:
    """Writes lines as the host does."""

    def __init__(self, **meta):
        self.lines = []
        self.total = 0
        self.line("session_meta", {"id": "r1", "cwd": "/w"} | meta)

    def line(self, kind, payload):
        self.lines.append(json.dumps({"timestamp": "2026-01-01T00:00:00Z", "type": kind, "payload": payload}))

    def item(self, **payload):
        self.line("response_item", payload)

    def message(self, role, *texts):
        self.item(**message(role, *texts))

    def call(self, call_id, **arguments):
        self.item(type="function_call", name="exec_command", arguments=json.dumps(arguments), call_id=call_id)

    def output(self, call_id, output="Process exited with code 0\nOutput:\n"):
        self.item(type="function_call_output", call_id=call_id, output=output)

    def tokens(self, used, cached=0):
        self.total += used
        last = {"input_tokens": used, "cached_input_tokens": cached, "output_tokens": 1}
        info = {"total_token_usage": {"total_tokens": self.total}, "last_token_usage": last}
        self.line("event_msg", {"type": "token_count", "info": info})

    def events(self):
        transcript = Codex()
        return transcript.feed("\n".join(self.lines).encode()) + transcript.finish()

    def admitted(self):
        return [event.segment for event in self.events() if isinstance(event, SegmentAdmitted)]

    def window(self):
        (state,) = state_of(self.events()).values()
        ordered = (state.segments[name] for name in sorted(state.window, key=state.window.__getitem__))
        return [s.id if s.kind is Kind.TOOL_CALL else s.body[0].text if s.body else s.kind.value for s in ordered]


def message(role, *texts):
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text} for text in texts]}


def test_the_first_meta_names_the_session_and_its_instructions_lead_the_window_once():
    rollout = Rollout(base_instructions={"text": "Be kind."})
    rollout.line("session_meta", {"id": "other", "base_instructions": {"text": "Be kind."}})
    rollout.message("user", "hi")

    assert {event.session for event in rollout.events()} == {"r1"}
    assert rollout.window() == ["Be kind.", "hi"]


def test_a_spawned_thread_is_the_child_of_the_thread_that_spawned_it():
    rollout = Rollout(source={"subagent": {"thread_spawn": {"parent_thread_id": "r0"}}})

    assert [event.parent for event in rollout.events() if isinstance(event, SessionOpened)] == ["r0"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("fix the log", Kind.USER),
        ("# AGENTS.md instructions for /w\n\n<INSTRUCTIONS>\nbe kind\n</INSTRUCTIONS>", Kind.SYSTEM),
        ("<environment_context>\n<cwd>/w</cwd>\n</environment_context>\n", Kind.SYSTEM),
        ("<turn_aborted>\nstopped\n</turn_aborted>", Kind.SYSTEM),
        ('<hook_prompt hook_run_id="1">go on</hook_prompt>', Kind.SYSTEM),
        (
            "Warning: apply_patch was requested via shell. Use the apply_patch tool instead of exec_command.",
            Kind.SYSTEM,
        ),
        ("<user_shell_command>\n<command>\nls\n</command>\n</user_shell_command>", Kind.ATTACHMENT),
        ('<codex_internal_context source="goal">\ngo on\n</codex_internal_context>', Kind.ATTACHMENT),
        ("<goal_context>\ngo on\n</goal_context>", Kind.ATTACHMENT),
        ('<codex_internal_context source="memory">\nbe kind\n</codex_internal_context>', Kind.SYSTEM),
        ("# AGENTS.md instructions are too long, cut them", Kind.USER),
        ("<environment_context> is what I mean", Kind.USER),
        ("<skill>mine</skill> my request", Kind.USER),
        ("<skill>mine</skill> my request <skill>mine</skill>", Kind.USER),
        ("Warning: unused import kestrel in wren.py:3 - please fix it", Kind.USER),
        ("Warning: apply_patch was requested via shell. Why?", Kind.USER),
        ("Another language model started to solve this problem and", Kind.SUMMARY),
    ],
)
def test_a_user_message_is_the_hosts_only_if_it_is_a_wrapper_of_the_host_from_end_to_end(text, kind):
    assert CodexTexts().read_user_text(text).kind is kind


def test_items_the_model_says_in_one_go_are_one_turn():
    rollout = Rollout()
    rollout.message("user", "go")
    rollout.message("assistant", "I look.")
    rollout.call("a", cmd="cat a.rs")
    rollout.call("b", cmd="cat b.rs", workdir="/elsewhere")
    rollout.output("b")
    rollout.output("a")
    rollout.message("assistant", "Seen.")

    found = rollout.admitted()

    assert [(s.born_turn, s.reply) for s in found if s.role is Role.ASSISTANT] == [(0, "turn-0")] * 3 + [(1, "turn-1")]
    assert rollout.window() == ["go", "I look.", "a", "b", "Seen."]
    assert {s.id: s.paths for s in found if s.tool}["b"] == (PathUse("/elsewhere/b.rs", Access.READ),)


def test_a_turn_is_billed_once_and_its_uncached_input_is_what_is_not_cached():
    rollout = Rollout()
    rollout.message("user", "go")
    rollout.message("assistant", "one")
    rollout.tokens(100, cached=60)
    rollout.lines.append(rollout.lines[-1])
    rollout.message("assistant", "two")
    rollout.tokens(130, cached=100)

    bills = [event for event in rollout.events() if isinstance(event, ReplyBilled)]

    assert [(bill.turn, bill.input_tokens, bill.cache_read_tokens) for bill in bills] == [(0, 40, 60), (1, 30, 100)]


def test_a_replacement_history_keeps_what_it_repeats_under_its_id_and_admits_what_is_new():
    rollout = Rollout(base_instructions={"text": "Be kind."})
    rollout.message("developer", "rules")
    rollout.message("user", "twice")
    rollout.message("user", "twice")
    rollout.message("assistant", "long talk")
    history = [
        message("user", "twice"),
        message("developer", "rules"),
        message("user", "twice"),
        message("user", "new"),
    ]
    rollout.line("compacted", {"message": "", "replacement_history": [*history, {"type": "compaction"}]})
    rollout.message("user", "on")

    ids = [segment.id for segment in rollout.admitted()]

    assert rollout.window() == ["Be kind.", "twice", "rules", "twice", "new", "summary", "on"]
    assert len(ids) == len(set(ids)) == 8
    assert [e.reason for e in rollout.events() if isinstance(e, WindowReplaced)] == [Departure.HOST_COMPACTED]


def test_a_compaction_without_history_keeps_what_user_and_host_said_and_its_message():
    rollout = Rollout()
    rollout.message("user", "go")
    rollout.message("assistant", "long talk")
    rollout.line("compacted", {"message": "we talked"})

    assert rollout.window() == ["go", "we talked"]


@pytest.mark.parametrize("history", [{}, {"replacement_history": [message("user", "go")]}])
def test_a_result_that_comes_after_a_compaction_joins_no_call_of_the_window_before(history):
    rollout = Rollout()
    rollout.message("user", "go")
    rollout.call("c", cmd="make")
    rollout.line("compacted", {"message": ""} | history)
    rollout.output("c", "Process exited with code 0\nOutput:\nlate")

    *calls, late = (segment for segment in rollout.admitted() if segment.kind is not Kind.USER)

    assert [(call.kind, call.status) for call in calls] == [
        (Kind.TOOL_CALL, Status.PENDING),
        (Kind.TOOL_CALL, Status.ERROR),
    ]
    assert (late.kind, late.body[0].text) == (Kind.ATTACHMENT, "Process exited with code 0\nOutput:\nlate")
    assert rollout.window() == ["go", late.body[0].text]


def test_a_rollback_takes_the_last_prompts_and_all_that_followed():
    rollout = Rollout()
    for prompt in ("one", "two", "three"):
        rollout.message("user", prompt)
        rollout.message("assistant", f"{prompt} it is")
    rollout.line("event_msg", {"type": "thread_rolled_back", "num_turns": 2})

    assert rollout.window() == ["one", "one it is"]


def test_free_text_input_is_marked_and_moves_to_the_body_when_long():
    rollout = Rollout()
    patch = "*** Begin Patch\n*** Update File: a.rs\n@@\n-old\n+new\n*** End Patch\n" + " " * 400
    rollout.item(type="custom_tool_call", name="apply_patch", call_id="p", input=patch)
    rollout.item(type="custom_tool_call_output", call_id="p", output="Exit code: 0\nOutput:\nok")

    (exchange,) = rollout.admitted()

    skeleton = json.loads(exchange.skeleton)
    assert (skeleton["input"], skeleton["is_text_input"]) == ({"$piece": "input.text"}, True)
    assert exchange.body[0].text == patch
    assert (exchange.paths, exchange.edit_sources) == ((PathUse("/w/a.rs", Access.EDIT),), ("old",))


def test_readable_reasoning_is_thinking_and_the_rest_is_counted():
    transcript = Codex()
    rollout = Rollout()
    rollout.item(type="reasoning", summary=[], encrypted_content="x")
    rollout.item(type="reasoning", summary=[{"type": "summary_text", "text": "Hm."}])

    found = [
        e.segment for e in transcript.feed("\n".join([*rollout.lines, ""]).encode()) if isinstance(e, SegmentAdmitted)
    ]

    assert [(s.kind, s.body[0].name) for s in found] == [(Kind.THINKING, "thinking")]
    assert transcript.skipped == {"reasoning_encrypted": 1}


def test_a_call_that_the_provider_answers_itself_is_complete():
    rollout = Rollout()
    rollout.item(type="web_search_call", id="ws", action={"query": "clay"})

    assert [(s.tool, s.status) for s in rollout.admitted()] == [("web_search", Status.OK)]


def test_searches_without_an_id_are_calls_with_their_queries_and_alike_in_a_request():
    rollout = Rollout()
    searches = [{"type": "web_search_call", "action": {"type": "search", "query": word}} for word in ("clay", "loam")]
    for search in searches:
        rollout.item(**search)
    found = rollout.admitted()
    sent = OpenAiResponses().parse(json.dumps({"input": searches}).encode()).segments

    assert [json.loads(s.skeleton)["input"]["query"] for s in found] == ["clay", "loam"]
    assert [(s.id, s.skeleton, s.status) for s in found] == [(s.id, s.skeleton, s.status) for s in sent]


@pytest.mark.parametrize(
    ("output", "failed"),
    [
        ("Chunk ID: 1\nProcess exited with code 0\nOutput:\nProcess exited with code 1", False),
        ("Chunk ID: 1\nProcess exited with code 101\nOutput:\n", True),
        ("Exit code: 1\nWall time: 0.1 seconds\nOutput:\n", True),
        ("Process running with session ID 7\nOutput:\n", False),
        ("apply_patch verification failed: Failed to find expected lines in /w/a.rs", True),
        ('{"output":"no such file","metadata":{"exit_code":2,"duration_seconds":0.1}}', True),
        ([{"type": "input_text", "text": "Script failed\nWall time 0.0 seconds\nOutput:\n"}], True),
        (
            [{"type": "input_text", "text": "Script completed\nOutput:\n"}, {"type": "input_text", "text": "error"}],
            False,
        ),
        (
            [
                {"type": "input_text", "text": "Script completed\nOutput:\n"},
                {"type": "input_text", "text": '{"chunk_id":"1","exit_code":1,"output":""}'},
            ],
            True,
        ),
        (None, False),
    ],
)
def test_a_failure_is_the_hosts_word_not_the_programs(output, failed):
    assert is_failed_codex_output(output) is failed


def test_a_rollout_of_bare_items_from_before_september_2025_is_read():
    records = [
        {"id": "0199bbbb-0000-7000-8000-000000000001", "timestamp": "2025-08-01T10:00:00Z", "instructions": "Be kind."},
        {"record_type": "state"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "where is the kiln"}]},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "c1"},
        {"type": "function_call_output", "call_id": "c1", "output": "kiln.txt"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "here"}]},
    ]
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)

    [state] = state_of(read(detect_format(data), data)[0]).values()

    kinds = [segment.kind for segment in state.segments.values()]
    assert kinds == [Kind.SYSTEM, Kind.USER, Kind.TOOL_CALL, Kind.ASSISTANT]
