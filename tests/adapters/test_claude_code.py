"""Claude Code logs: what is in the prompt becomes a segment, in the window the host would send."""

import json
from collections import Counter

import pytest

from ctxgc.adapters.contract import BodiesCleared, ReplyBilled, SegmentAdmitted, SessionOpened, WindowReplaced
from ctxgc.adapters.transcripts.claude_code import ClaudeCode
from ctxgc.core.segment import Access, Departure, Kind, PathUse, Status
from tests.contracts.transcript_state import state_of


class Log:
    """Writes records as the host does, each below the one before unless told otherwise."""

    def __init__(self, session="s1"):
        self.session = session
        self.lines = []
        self.last = None
        self.count = 0

    def record(self, kind, *, parent="", **fields):
        self.count += 1
        uuid = f"uuid-{self.count}"
        above = self.last if parent == "" else parent
        base = {"type": kind, "uuid": uuid, "parentUuid": above, "sessionId": self.session, "cwd": "/w"}
        self.lines.append(json.dumps(base | fields))
        self.last = uuid
        return uuid

    def user(self, content, **fields):
        return self.record("user", message={"role": "user", "content": content}, **fields)

    def says(self, reply, *blocks, output=1, **fields):
        usage = {"input_tokens": 2, "output_tokens": output}
        message = {"id": reply, "role": "assistant", "model": "m", "content": list(blocks), "usage": usage}
        return self.record("assistant", message=message, **fields)

    def answers(self, call_id, content="done", **fields):
        return self.user([{"type": "tool_result", "tool_use_id": call_id, "content": content}], **fields)

    def events(self):
        transcript = ClaudeCode()
        return transcript.feed("\n".join(self.lines).encode()) + transcript.finish()

    def window(self):
        """Texts (or call ids) of the main session's window, in order."""
        state = state_of(self.events())[self.session]
        ordered = sorted(state.window, key=state.window.__getitem__)
        return [shown(state.segments[name]) for name in ordered]


def shown(segment):
    return segment.id if segment.kind is Kind.TOOL_CALL else segment.body[0].text


def text(words):
    return {"type": "text", "text": words}


def call(call_id, tool="Read", **value):
    return {"type": "tool_use", "id": call_id, "name": tool, "input": value}


def exchanges(events):
    return {
        e.segment.id: e.segment for e in events if isinstance(e, SegmentAdmitted) and e.segment.kind is Kind.TOOL_CALL
    }


def test_parallel_calls_are_separate_segments_at_the_place_of_their_call():
    log = Log()
    log.user("go")
    first = log.says("m1", call("a", file_path="/w/a.py", offset=3, limit=2))
    second = log.says("m1", call("b", file_path="/w/b.py"))
    log.answers("b", parent=second)
    log.answers("a", parent=first)
    log.says("m2", text("both read"))

    found = exchanges(log.events())

    assert log.window() == ["go", "a", "b", "both read"]
    assert found["a"].reply == found["b"].reply == "m1"
    assert found["a"].paths == (PathUse("/w/a.py", Access.READ, 3, 4),)


def test_records_of_one_reply_may_interleave_with_results_and_stay_one_turn():
    log = Log()
    log.user("go")
    log.says("m1", call("a"), output=1)
    log.answers("a")
    log.says("m1", call("b"), output=9)
    log.answers("b")
    log.says("m2", text("end"))

    events = log.events()

    assert {name: segment.born_turn for name, segment in exchanges(events).items()} == {"a": 0, "b": 0}
    assert [(e.turn, e.output_tokens) for e in events if isinstance(e, ReplyBilled)] == [(0, 9), (1, 1)]


def test_a_reply_is_billed_once_and_the_screen_copy_is_not_in_the_prompt():
    log = Log()
    log.user("go")
    log.says("m1", text("one"), output=4)
    log.says("m1", call("a"), output=4)
    log.answers("a", toolUseResult={"file": {"content": "SCREEN"}})

    events = log.events()

    assert len([e for e in events if isinstance(e, ReplyBilled)]) == 1
    assert "SCREEN" not in repr(events)


def test_a_second_prompt_below_one_parent_is_a_fork_and_the_newest_branch_is_the_window():
    log = Log()
    log.user("go")
    fork = log.says("m1", text("ready"))
    log.user("left")
    log.says("m2", text("went left"))
    log.user("right", parent=fork)
    log.says("m3", text("went right"))

    assert log.window() == ["go", "ready", "right", "went right"]
    assert [e.reason for e in log.events() if isinstance(e, WindowReplaced)] == [Departure.REWOUND]


def test_a_prompt_on_a_branch_left_behind_brings_that_branch_back():
    log = Log()
    log.user("go")
    fork = log.says("m1", text("ready"))
    log.user("left")
    left = log.says("m2", text("went left"))
    log.user("right", parent=fork)
    log.says("m3", text("went right"))
    log.user("on", parent=left)

    assert log.window() == ["go", "ready", "left", "went left", "on"]


def test_a_prompt_at_a_new_root_begins_a_window_from_nothing():
    log = Log()
    log.user("go", parent=None)
    log.says("m1", text("ready"))
    log.user("instead", parent=None)

    assert log.window() == ["instead"]


@pytest.mark.parametrize("between", ["progress", "system", "attachment"])
def test_branches_made_by_records_that_say_nothing_are_no_forks(between):
    log = Log()
    log.user("go")
    said = log.says("m1", text("ready"))
    log.record(between, parent=said, data={}, subtype="turn_duration", attachment={"type": "hook_success"})
    log.user("next", parent=said)
    log.record(between, parent=said, data={}, subtype="turn_duration", attachment={"type": "hook_success"})
    log.says("m2", text("fine"))

    assert log.window() == ["go", "ready", "next", "fine"]


def test_compaction_leaves_the_summary_what_was_preserved_and_what_follows():
    log = Log()
    log.user("go")
    log.says("m1", text("old"))
    head = log.says("m2", text("kept"))
    tail = log.record("progress", data={})
    kept = {"headUuid": head, "tailUuid": tail, "anchorUuid": "later"}
    log.record("system", parent=None, subtype="compact_boundary", compactMetadata={"preservedSegment": kept})
    log.user("what was", isCompactSummary=True, isVisibleInTranscriptOnly=True)
    log.user("more")

    assert log.window() == ["what was", "kept", "more"]
    assert [e.reason for e in log.events() if isinstance(e, WindowReplaced)] == [Departure.HOST_COMPACTED]


def test_a_clearing_by_the_host_names_the_newest_exchange_of_each_call():
    log = Log()
    log.user("go")
    for reply in ("m1", "m2"):
        log.says(reply, call("a"))
        log.answers("a")
    metadata = {"compactedToolIds": ["a", "unheard-of"]}
    log.record("system", subtype="microcompact_boundary", microcompactMetadata=metadata)

    assert [e.ids for e in log.events() if isinstance(e, BodiesCleared)] == [("a~2",)]
    assert log.window() == ["go", "a"]


def test_a_side_chain_is_a_session_of_its_own_linked_to_the_call_that_began_it():
    log = Log()
    log.user("go")
    call_record = log.says("m1", call("t", "Task", prompt="look around"))
    log.user("look around", parent=None, isSidechain=True, agentId="x9")
    log.says("m2", text("a wall"), isSidechain=True, agentId="x9")
    log.answers("t", "a wall", parent=call_record)

    opened = [e for e in log.events() if isinstance(e, SessionOpened) and e.session == "s1/x9"]

    assert (opened[0].parent, opened[0].parent_segment) == ("s1", "t")
    assert log.window() == ["go", "t"]


def test_a_side_chain_without_an_agent_is_named_by_its_first_record():
    log = Log()
    log.user("go")
    log.user("look", parent=None, isSidechain=True)
    log.says("m2", text("a wall"), isSidechain=True)

    assert {session: len(state.segments) for session, state in state_of(log.events()).items()} == {
        "s1": 1,
        "s1/uuid-2": 2,
    }


def test_an_open_call_waits_beyond_a_prompt_for_a_late_result():
    log = Log()
    log.user("go")
    log.says("m1", call("a"))
    log.user("never mind")
    waiting = exchanges(log.events())["a"]
    log.answers("a", "late but here")

    assert waiting.status is Status.PENDING
    assert exchanges(log.events())["a"].body[-1].data == b"late but here"


def test_a_call_that_a_prompt_interrupted_has_failed_once_the_model_speaks_again():
    log = Log()
    log.user("go")
    log.says("m1", call("a"))
    log.user("never mind")
    log.says("m2", text("as you like"))

    ended = exchanges(log.events())["a"]
    assert (ended.status, ended.body[-1].data) == (Status.ERROR, b"")


def test_a_result_and_a_text_in_one_record_complete_the_call_and_speak():
    log = Log()
    log.user("go")
    log.says("m1", call("a"))
    log.user([{"type": "tool_result", "tool_use_id": "a", "content": "no", "is_error": True}, text("do it otherwise")])

    assert log.window() == ["go", "a", "do it otherwise"]
    assert exchanges(log.events())["a"].status is Status.ERROR


@pytest.mark.parametrize(
    ("content", "meta", "kind"),
    [
        ("please", False, Kind.USER),
        ("<bash-input>ls</bash-input>", False, Kind.USER),
        ("<bash-stdout>a</bash-stdout>", False, Kind.ATTACHMENT),
        ("<task-notification>done</task-notification>", False, Kind.ATTACHMENT),
        ("Base directory for this skill", True, Kind.ATTACHMENT),
    ],
)
def test_what_the_host_wrote_is_no_prompt_of_the_user(content, meta, kind):
    log = Log()
    log.user(content, isMeta=meta)

    assert [e.segment.kind for e in log.events() if isinstance(e, SegmentAdmitted)] == [kind]


def test_long_inputs_leave_the_skeleton_and_short_ones_stay():
    log = Log()
    log.user("go")
    log.says("m1", call("a", "Write", file_path="/w/n.py", content="x" * 400))
    log.answers("a")

    exchange = exchanges(log.events())["a"]

    assert json.loads(exchange.skeleton)["input"] == {"content": {"$piece": "input.content"}, "file_path": "/w/n.py"}
    assert [(piece.name, len(piece.data)) for piece in exchange.body] == [("input.content", 400), ("result", 4)]


def test_a_result_of_several_blocks_can_be_built_again():
    log = Log()
    image = {"type": "image", "source": {"data": "AA=="}}
    log.user("go")
    log.says("m1", call("a"))
    log.answers("a", [text("né"), image, text("two")])

    exchange = exchanges(log.events())["a"]
    skeleton = json.loads(exchange.skeleton)

    assert (skeleton["result_blocks"], skeleton["opaque"], exchange.has_opaque) == ([3, None, 3], [image], True)
    assert exchange.body[0].data == "nétwo".encode()


def test_lone_surrogates_and_nul_come_through():
    log = Log()
    log.user("a\ud800\0b")

    (admitted,) = [e for e in log.events() if isinstance(e, SegmentAdmitted)]

    assert admitted.segment.body[0].text == "a\ud800\0b"


def test_a_record_written_twice_is_read_once():
    log = Log()
    log.user("go")
    log.says("m1", text("ready"))
    log.lines *= 2

    assert log.window() == ["go", "ready"]


def test_attachments_that_reach_the_model_become_segments_and_the_rest_is_counted():
    log = Log()
    log.user("go")
    file = {"filePath": "n.py", "content": "code", "startLine": 5, "numLines": 2, "totalLines": 90}
    log.record("attachment", attachment={"type": "file", "filename": "n.py", "content": {"type": "text", "file": file}})
    log.record("attachment", attachment={"type": "queued_command", "prompt": "and hurry"})
    log.record("attachment", attachment={"type": "total_tokens_reminder", "text": "7 left"})
    transcript = ClaudeCode()

    found = [e.segment for e in transcript.feed("\n".join([*log.lines, ""]).encode()) if isinstance(e, SegmentAdmitted)]

    assert [(s.kind, shown(s)) for s in found[1:]] == [(Kind.ATTACHMENT, "code"), (Kind.USER, "and hurry")]
    assert found[1].paths == (PathUse("/w/n.py", Access.READ, 5, 6),)
    assert transcript.skipped == Counter({"attachment.total_tokens_reminder": 1})


def test_two_session_ids_joined_by_their_parents_are_one_window():
    log = Log()
    log.user("what is moored?")
    log.says("r1", text("A lighter."))
    log.session = "later"
    log.user("and besides?")
    log.says("r2", text("A hulk."))

    log.session = "s1"
    assert log.window() == ["what is moored?", "A lighter.", "and besides?", "A hulk."]
    assert set(state_of(log.events())) == {"s1"}


def test_two_calls_with_one_id_in_one_reply_keep_their_own_results():
    log = Log()
    log.user("go")
    log.says("r1", call("call_0", file_path="/a.py"), call("call_0", file_path="/b.py"))
    log.user([{"type": "tool_result", "tool_use_id": "call_0", "content": body} for body in ("AAAA", "BBBB")])

    found = [(segment.paths[0].path, segment.body[-1].data) for segment in exchanges(log.events()).values()]

    assert found == [("/a.py", b"AAAA"), ("/b.py", b"BBBB")]


def test_a_result_before_its_call_joins_it_and_one_without_a_call_stands_for_itself():
    log = Log()
    log.user("go")
    log.answers("c1", "the tide table")
    log.answers("c2", "the harbour list")
    log.says("r1", call("c1"))

    segments = state_of(log.events())["s1"].segments.values()

    assert [(s.kind, s.status, s.body[-1].text) for s in segments] == [
        (Kind.USER, Status.OK, "go"),
        (Kind.TOOL_CALL, Status.OK, "the tide table"),
        (Kind.ATTACHMENT, Status.OK, "the harbour list"),
    ]
