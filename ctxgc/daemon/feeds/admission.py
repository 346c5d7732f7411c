"""What a feed admits into a session: references to older segments only, and into a mirror what the agent wrote.

A present mirror takes segments from the logs of the agent, and no handwritten segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ctxgc.adapters.contract import Event, SegmentAdmitted, SessionOpened, Transcript
from ctxgc.adapters.transcripts.formats import TRANSCRIPT_FORMATS
from ctxgc.adapters.transcripts.segments_json import SegmentDocument, SegmentLines
from ctxgc.core.errors import BadTranscript, NotFound
from ctxgc.core.segment import Segment
from ctxgc.daemon.sessions.session import Session
from ctxgc.protocol.agents import CLIENT

_HANDWRITTEN = (SegmentLines, SegmentDocument)
AGENT_SOURCES = frozenset(make().source for make in TRANSCRIPT_FORMATS.values() if make not in _HANDWRITTEN) - {CLIENT}
"""Agents with logs of their own. Any other program has no log but its file of segments, which may grow."""
NOT_OF_THE_AGENT = "not_of_the_agent"


def is_foreign_file(parser: Transcript) -> bool:
    """Whether the file tells of an agent's session, and the agent did not write the file."""
    return isinstance(parser, _HANDWRITTEN) and parser.is_handwritten and parser.source in AGENT_SOURCES


def drop_foreign_additions(parser: Transcript, batch: Sequence[Event], is_known: Callable[[str], bool]) -> list[Event]:
    """The events that a present mirror takes from a foreign file: its own segments again. The rest is counted."""
    taken: list[Event] = []
    for event in batch:
        if isinstance(event, SessionOpened) or (isinstance(event, SegmentAdmitted) and is_known(event.segment.id)):
            taken.append(event)
        elif isinstance(event, SegmentAdmitted):
            parser.skipped[NOT_OF_THE_AGENT] += 1
    return taken


def require_known_refs(session: Session, segments: Iterable[Segment]) -> None:
    """Raise `BadTranscript` for a reference to what is no older segment of the session."""
    earlier: set[str] = set()
    for segment in segments:
        for name in segment.refs:
            try:
                if name not in earlier:
                    session.slot(name)
            except NotFound:
                raise BadTranscript(
                    f"segment {segment.id!r} refers to {name!r}, which is no segment before it",
                    hint="put a segment behind the segments that it refers to",
                ) from None
        earlier.add(segment.id)
