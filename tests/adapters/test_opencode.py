"""OpenCode exports: parts become segments, steps become turns, compactions, clearings and reverts become windows."""

import gzip
import json

import pytest

from ctxgc.adapters.contract import BodiesCleared, ReplyBilled, SegmentAdmitted, SessionOpened, WindowReplaced
from ctxgc.adapters.transcripts.opencode import OpenCode
from ctxgc.core.segment import Access, Departure, Kind, PathUse, Role, Status
from tests.contracts.transcript_state import check, read, state_of


class Export:
    """Writes a document as the host does; a message's number is also its time in seconds."""

    def __init__(self, **info):
        self.info = {"id": "ses_1", "projectID": "p", "directory": "/w", "title": "T", "model": {"id": "m1"}} | info
        self.messages = []

    def user(self, *parts, **info):
        return self._message({"role": "user"} | info, parts)

    def reply(self, *parts, **info):
        return self._message({"role": "assistant", "modelID": "m1", "finish": "stop"} | info, parts)

    def _message(self, info, parts):
        number = len(self.messages) + 1
        times = {"created": number * 1000, "completed": number * 1000 + 500}
        info = {"id": f"msg_{number}", "time": times} | info
        self.messages.append({"info": info, "parts": list(parts)})
        return info["id"]

    def events(self):
        transcript = OpenCode()
        transcript.feed(json.dumps({"info": self.info, "messages": self.messages}).encode())
        self.skipped = transcript.skipped
        events = transcript.finish()
        check(events)
        return events

    def admitted(self):
        return [event.segment for event in self.events() if isinstance(event, SegmentAdmitted)]

    def window(self):
        (state,) = state_of(self.events()).values()
        ordered = (state.segments[name] for name in sorted(state.window, key=state.window.__getitem__))
        return [s.id if s.kind is Kind.TOOL_CALL else s.body[0].text for s in ordered]


def text(words, **more):
    return {"type": "text", "text": words} | more


def tool(call_id, name="read", status="completed", **state):
    return {"type": "tool", "callID": call_id, "tool": name, "state": {"status": status, "input": {}} | state}


def step(*parts, cached=0, fresh=10):
    cost = {"input": fresh, "output": 3, "reasoning": 2, "cache": {"read": cached, "write": 0}}
    return [{"type": "step-start"}, *parts, {"type": "step-finish", "tokens": cost}]


def test_the_session_is_opened_with_what_the_export_says_of_it():
    (opened,) = Export(parentID="ses_0").events()

    assert opened == SessionOpened("ses_1", project="/w", parent="ses_0", model="m1", title="T")


def test_thinking_text_and_calls_of_one_request_share_a_turn_a_reply_and_a_bill():
    export = Export()
    export.user(text("go"))
    export.reply(*step({"type": "reasoning", "text": "Hm."}, text("I look."), tool("a"), tool("b"), cached=5))
    export.reply(*step(text("Seen.")))

    events = export.events()

    said = [e.segment for e in events if isinstance(e, SegmentAdmitted) and e.segment.role is Role.ASSISTANT]
    assert [(s.born_turn, s.reply) for s in said] == [(0, "msg_2")] * 4 + [(1, "msg_3")]
    bills = [e for e in events if isinstance(e, ReplyBilled)]
    assert [(b.turn, b.input_tokens, b.cache_read_tokens, b.output_tokens) for b in bills] == [
        (0, 10, 5, 5),
        (1, 10, 0, 5),
    ]
    assert bills[0].wall_s == 2.5


def test_each_step_of_a_message_is_a_request_of_its_own():
    export = Export()
    export.reply(*step(tool("a")), *step(text("b")), *step(text("c")))

    assert [(s.born_turn, s.reply) for s in export.admitted()] == [(0, "msg_1"), (1, "msg_1.1"), (2, "msg_1.2")]
    assert [e.turn for e in export.events() if isinstance(e, ReplyBilled)] == [0, 1, 2]


def test_a_request_that_failed_before_it_said_anything_is_no_turn():
    export = Export()
    export.reply({"type": "step-start"}, error={"name": "UnknownError"}, tokens={"input": 0})
    export.reply(*step(text("now")))

    assert [s.born_turn for s in export.admitted()] == [0]


@pytest.mark.parametrize(
    ("state", "status", "result"),
    [
        ({"status": "completed", "output": "fine"}, Status.OK, "fine"),
        ({"status": "completed", "output": "no", "metadata": {"exit": 2}}, Status.ERROR, "no"),
        ({"status": "error", "error": "denied"}, Status.ERROR, "denied"),
        ({"status": "running"}, Status.PENDING, None),
        ({"status": "pending"}, Status.PENDING, None),
    ],
)
def test_a_tools_state_says_how_the_call_ended(state, status, result):
    export = Export()
    export.reply(*step(tool("a", "bash", **state)))

    (exchange,) = export.admitted()

    assert exchange.status is status
    assert [piece.text for piece in exchange.body] == ([] if result is None else [result])


def test_a_call_left_running_waits_where_the_user_speaks_and_ends_where_the_model_does():
    export = Export()
    export.reply(*step(tool("a", "bash", "running")))
    export.user(text("stop"))
    waiting = [s.status for s in export.admitted() if s.tool]
    export.reply(*step(text("stopped")))

    assert waiting == [Status.PENDING]
    assert [s.status for s in export.admitted() if s.tool][-1] is Status.ERROR


def test_a_call_knows_its_file_its_lines_and_its_time():
    export = Export()
    place = {"filePath": "/w/a.py", "offset": 5, "limit": 10}
    export.reply(*step(tool("a", input=place, output="x", time={"start": 7000, "end": 8000})))

    (exchange,) = export.admitted()

    assert (exchange.paths, exchange.wall_s) == ((PathUse("/w/a.py", Access.READ, 5, 14),), 8.0)


def test_a_mentioned_file_is_an_attachment_that_knows_its_path_and_is_told_once():
    export = Export()
    called = 'Called the Read tool with the following input: {"filePath":"a.py"}'
    parts = [text("see @a.py"), text(called, synthetic=True), text("1: x", synthetic=True)]
    export.user(*parts, {"type": "file", "mime": "text/plain", "url": "file:///w/a.py"})

    found = export.admitted()

    assert [(s.kind, s.paths) for s in found] == [
        (Kind.USER, ()),
        (Kind.ATTACHMENT, ()),
        (Kind.ATTACHMENT, (PathUse("/w/a.py", Access.READ),)),
    ]
    assert export.skipped == {"part.file": 1}


def compacted(tail):
    export = Export()
    export.user(text("one"))
    export.reply(*step(text("one it is")))
    export.user(text("two"))
    export.reply(*step(tool("a")))
    marker = export.user({"type": "compaction", "auto": True, "tail_start_id": tail})
    export.reply(*step(text("in short")), summary=True, parentID=marker)
    export.user(text("go on"))
    return export


@pytest.mark.parametrize(
    ("tail", "kept"), [(None, []), ("msg_3", ["two", "a"]), ("msg_99", [])], ids=["none", "tail", "lost"]
)
def test_a_compaction_leaves_its_summary_and_the_tail_the_host_kept(tail, kept):
    export = compacted(tail)

    assert export.window() == ["in short", *kept, "go on"]
    assert [e.reason for e in export.events() if isinstance(e, WindowReplaced)] == [Departure.HOST_COMPACTED]
    assert [s.kind for s in export.admitted() if s.body and s.body[0].text == "in short"] == [Kind.SUMMARY]


def test_a_summary_that_failed_compacts_nothing():
    export = compacted(None)
    export.messages[5]["info"]["error"] = {"name": "MessageAbortedError"}

    assert export.window() == ["one", "one it is", "two", "a", "in short", "go on"]


def test_a_result_the_host_cleared_is_told_before_the_first_message_that_lacked_it():
    export = Export()
    export.reply(*step(tool("a", time={"start": 1000, "end": 1100, "compacted": 2500})))
    export.reply(*step(text("before")))
    export.reply(*step(text("after")))

    marks = ["cleared" if isinstance(e, BodiesCleared) else e.segment.id[:9] for e in export.events() if
             isinstance(e, BodiesCleared | SegmentAdmitted)]  # fmt: skip

    assert marks == ["a", "assistant", "cleared", "assistant"]


def test_what_the_user_took_back_departs():
    export = Export(revert={"messageID": "msg_3"})
    for prompt in ("one", "two"):
        export.user(text(prompt))
        export.reply(*step(text(f"{prompt} it is")))

    assert export.window() == ["one", "one it is"]
    assert [e.reason for e in export.events() if isinstance(e, WindowReplaced)] == [Departure.REWOUND]


@pytest.mark.corpus
def test_every_recorded_session_keeps_its_calls_its_turns_and_its_bills(corpus, capsys):
    for path in sorted((corpus / "opencode").glob("*.json.gz")):
        plain = gzip.decompress(path.read_bytes())
        events, transcript = read("opencode", plain)
        messages = json.loads(plain)["messages"]
        tools = {p["callID"]: p["state"] for m in messages for p in m["parts"] if p["type"] == "tool"}
        finished = [p["tokens"] for m in messages for p in m["parts"] if p["type"] == "step-finish"]

        check(events)
        (state,) = state_of(events).values()
        calls = {s.id: s for s in state.segments.values() if s.kind is Kind.TOOL_CALL}
        assert calls.keys() == tools.keys()
        for call_id, made in tools.items():
            assert calls[call_id].body[-1].text == made.get("output", made.get("error"))
        assert [(u.turn, u.input_tokens) for u in state.used.values()] == [
            (turn, tokens["input"]) for turn, tokens in enumerate(finished)
        ]
        assert transcript.skipped.keys() <= {"part.patch", "part.file"}
        with capsys.disabled():
            print(f"\n{path.name[-24:]} {len(calls)} calls, {len(finished)} turns; {dict(transcript.skipped)}", end="")
