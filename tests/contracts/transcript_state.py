"""What a reader of events ends up with: the yardstick by which two ways of reading one file are compared."""

from dataclasses import dataclass, field

from ctxgc.adapters.contract import BodiesCleared, ReplyBilled, SegmentAdmitted, SessionOpened, WindowReplaced
from ctxgc.adapters.transcripts.formats import make_transcript_parser
from ctxgc.core.segment import Kind, Segment, Status


@dataclass
class SessionState:
    """One session after its events."""

    known: dict[str, object] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    window: dict[str, int] = field(default_factory=dict)
    used: dict[int, ReplyBilled] = field(default_factory=dict)


def state_of(events):
    """Fold events as the daemon does: the last word on a segment, a slot, a bill counts."""
    sessions: dict[str, SessionState] = {}
    for event in events:
        state = sessions.setdefault(event.session, SessionState())
        match event:
            case SessionOpened():
                news = {name: getattr(event, name) for name in event.__dataclass_fields__ if getattr(event, name)}
                state.known.update(news)
            case SegmentAdmitted(segment=segment):
                if segment.id not in state.segments:
                    state.window[segment.id] = segment.place
                state.segments[segment.id] = segment
            case WindowReplaced(slots=slots):
                state.window = dict(slots)
            case BodiesCleared(ids=ids):
                state.window = {key: place for key, place in state.window.items() if key not in ids}
            case ReplyBilled(turn=turn):
                state.used[turn] = event
    return sessions


def read(name, *chunks):
    """All events of these chunks, and the transcript that gave them."""
    transcript = make_transcript_parser(name)
    events = [event for chunk in chunks for event in transcript.feed(chunk)]
    return events + transcript.finish(), transcript


def check(events):
    """The laws every list of events keeps, whatever bytes it came from."""
    last: dict[tuple[str, str], Segment] = {}
    for event in events:
        if isinstance(event, SegmentAdmitted):
            before = last.setdefault((event.session, event.segment.id), event.segment)
            assert before is event.segment or before.status is Status.PENDING, "again only to complete a pending one"
            last[event.session, event.segment.id] = event.segment
        if isinstance(event, WindowReplaced):
            places = [place for _, place in event.slots]
            assert places == sorted(set(places)), "places grow along the window"
        if isinstance(event, SegmentAdmitted) and event.segment.kind is Kind.TOOL_CALL:
            names = [piece.name for piece in event.segment.body]
            assert len(names) == len(set(names)), "a body has one piece of a name"
            assert ("result" in names) == (event.segment.status is not Status.PENDING), "call and result together (I3)"
    for state in state_of(events).values():
        assert set(state.window) <= set(state.segments), "a window names only what was admitted"
        assert len(set(state.window.values())) == len(state.window), "no two segments at one place"
