"""Trajectories: what each wrapping adds to the same list of chat messages."""

import gzip
import json
from pathlib import Path

import pytest

from ctxgc.adapters.contract import ReplyBilled, SegmentAdmitted, SessionOpened
from ctxgc.adapters.transcripts.json_document import DocumentTranscript
from ctxgc.adapters.transcripts.trajectories import MiniSweAgent, SweAgent, TauBench
from ctxgc.adapters.transcripts.wire_documents import OpenAiChatDocument
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Access, Kind, PathUse, Status

FOLDER = Path(__file__).parent.parent / "fixtures" / "transcripts"


def events_of(transcript, name):
    (path,) = FOLDER.glob(f"{name}.json*")
    return transcript.feed(path.read_bytes()) + transcript.finish()


def segments_of(events):
    return [event.segment for event in events if isinstance(event, SegmentAdmitted)]


def test_a_shell_run_knows_its_directory_times_return_codes_and_bills():
    transcript = MiniSweAgent()

    events = events_of(transcript, "mini_swe_agent")

    assert events[0] == SessionOpened("example__pager-7", project="/testbed", model="a-model", title="example__pager-7")
    read, test, last = (segment for segment in segments_of(events) if segment.kind is Kind.TOOL_CALL)
    assert read.paths == (PathUse("/testbed/pager.py", Access.READ, 1, 40),)
    assert (read.status, test.status, last.status) == (Status.OK, Status.ERROR, Status.PENDING)
    assert (read.wall_s, test.command, test.born_turn) == (1000.5, "python -m pytest tests/test_pager.py", 1)
    assert [(e.turn, e.input_tokens, e.cache_read_tokens) for e in events if isinstance(e, ReplyBilled)][:2] == [
        (0, 60, 40),
        (1, 120, 80),
    ]
    assert transcript.skipped == {"role exit": 1}


def test_the_outcome_of_an_action_and_a_demonstration_may_go_but_the_task_is_the_users():
    segments = segments_of(events_of(SweAgent(), "swe_agent"))

    kinds = [segment.kind for segment in segments]

    assert kinds == [
        Kind.SYSTEM,
        Kind.ATTACHMENT,
        Kind.USER,
        Kind.ASSISTANT,
        Kind.ATTACHMENT,
        Kind.ASSISTANT,
        Kind.TOOL_CALL,
    ]
    assert segments[4].paths == (PathUse("src/parser.py", Access.READ),)
    assert segments[6].body[-1].data == b"edited"


def test_each_line_of_tau_bench_is_a_session_named_by_its_own_content():
    events = events_of(TauBench(), "tau_bench")
    again = events_of(TauBench(), "tau_bench")

    sessions = [event.session for event in events if isinstance(event, SessionOpened)]

    assert len(set(sessions)) == 7
    assert sessions[4].startswith("task1-trial1-")
    assert events == again


def test_a_run_and_the_request_it_was_made_of_give_the_same_segments():
    request = (FOLDER / "openai_chat.json").read_bytes()

    from_file = segments_of(events_of(OpenAiChatDocument(), "openai_chat"))
    from_wire = WIRE_FORMATS["openai_chat"].parse(request).segments

    assert [(s.id, s.body, s.skeleton) for s in from_file] == [(s.id, s.body, s.skeleton) for s in from_wire]


def test_a_document_without_an_id_is_named_by_its_bytes():
    messages = [{"role": "user", "content": "hello"}]
    names = []
    for data in (json.dumps(messages), json.dumps(messages), json.dumps(messages, indent=1)):
        transcript = OpenAiChatDocument()
        transcript.feed(data.encode())
        names += [event.session for event in transcript.finish() if isinstance(event, SessionOpened)]

    assert names[0] == names[1] != names[2]


def test_a_document_beyond_the_bound_is_refused_while_it_is_fed_even_when_packed():
    class Small(OpenAiChatDocument):
        def __init__(self):
            DocumentTranscript.__init__(self, document_bytes_max=1000)

    with pytest.raises(BadTranscript, match="1000 bytes"):
        Small().feed(gzip.compress(b" " * 1001))


@pytest.mark.parametrize("make", [MiniSweAgent, SweAgent, OpenAiChatDocument, TauBench])
@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"null\n",
        b"[1,2]\n",
        b"{}\n",
        b"\0" * 50,
        b" " * 10**6,
        b"[" * 10**5,
        b'{"messages":3,"history":3,"traj":3}\n',
    ],
)
def test_what_is_no_trajectory_is_counted_and_gives_no_segment(make, data):
    transcript = make()

    events = transcript.feed(data) + transcript.finish()

    assert segments_of(events) == []
    assert bool(sum(transcript.skipped.values())) or data.isspace() or data == b"[1,2]\n"
