"""Traces: recorded sessions, turn by turn, as a collector would have met the turns.

    adapter events ──▶ Recorder ──▶ episodes: turns, each with what its prompt added, what its reply said and called

An episode ends where the host itself cut its window (compaction, rewind): a collector's work before and after are two
stories. A turn is a single request to the model. The words of a reply are *output*, and join the prompt of the next
turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from ctxgc.adapters.contract import BodiesCleared, Event, ReplyBilled, SegmentAdmitted, SessionOpened, WindowReplaced
from ctxgc.core.heap import REPLY_KINDS
from ctxgc.core.heap_entry import SegmentTokens
from ctxgc.core.segment import Segment, Status
from ctxgc.tokens.opaque import strip_base64

HIDDEN_DEFAULT_TOKENS = 20_000
"""System prompt and tool schemas, where the provider's usage does not tell."""

Count = Callable[[bytes], int]


@dataclass(frozen=True, slots=True)
class CountedSegment:
    """A segment with its raw token counts."""

    segment: Segment
    tokens: SegmentTokens


@dataclass(slots=True)
class Turn:
    """A request: the segments that joined the prompt since the last request, and the reply."""

    number: int
    wall_s: float = 0.0
    before: list[CountedSegment] = field(default_factory=list)
    """User texts, attachments, summaries: new in this turn's prompt."""
    reply: list[CountedSegment] = field(default_factory=list)
    """Texts, thinking and tool calls of the reply; in the prompt from the next turn on."""
    cleared: list[str] = field(default_factory=list)
    """Ids whose bodies the host itself dropped before this request."""


@dataclass(slots=True)
class Episode:
    """Turns between two cuts of the window by the host."""

    source: str
    session: str
    number: int
    turns: list[Turn] = field(default_factory=list)
    hidden_tokens: int = HIDDEN_DEFAULT_TOKENS
    """Raw tokens of every prompt that the transcript does not show."""
    lost_reads: int = 0
    """Files read before the host's cut that were read again after it: the host's own page faults."""
    read_before: int = 0
    """Files read before the cut."""
    model: str = ""
    """The session's last model."""

    @property
    def name(self) -> str:
        """Unique within a replay."""
        return f"{self.source}:{self.session}#{self.number}"


class Recorder:
    """Gathers the events of a transcript into episodes. Feed all events, then ask `episodes`."""

    def __init__(self, source: str, count: Count, tombstone: Callable[[Segment, int], int]) -> None:
        self._source = source
        self._count = count
        self._tombstone = tombstone
        self._sessions: dict[str, _RecordedSession] = {}

    def record_events(self, events: Iterable[Event]) -> None:
        """Take in more of the transcript, in order."""
        for event in events:
            session = self._sessions.setdefault(event.session, _RecordedSession())
            if isinstance(event, SegmentAdmitted):
                if event.segment.status is not Status.PENDING:
                    session.admitted[event.segment.id] = self._count_segment_tokens(event.segment)
                    session.log.append(event.segment.id)
            elif isinstance(event, WindowReplaced):
                session.log.append(tuple(id_ for id_, _ in event.slots))
            elif isinstance(event, BodiesCleared):
                session.log.append(list(event.ids))
            elif isinstance(event, ReplyBilled):
                session.used[event.turn] = event
            elif isinstance(event, SessionOpened):
                session.model = event.model or session.model

    def _count_segment_tokens(self, segment: Segment) -> CountedSegment:
        pieces = tuple((piece.name, self._count(piece.data)) for piece in segment.body)
        body = sum(tokens for _, tokens in pieces)
        frame, opaque_tokens = strip_base64(segment.skeleton)
        tokens = SegmentTokens(self._count(frame) + opaque_tokens, pieces, self._tombstone(segment, body))
        return CountedSegment(segment, tokens)

    def episodes(self) -> list[Episode]:
        """Every episode with a turn, in order."""
        return [
            episode for name, session in self._sessions.items() for episode in session.cut_episodes(self._source, name)
        ]


@dataclass(slots=True)
class _RecordedSession:
    admitted: dict[str, CountedSegment] = field(default_factory=dict)
    log: list[str | tuple[str, ...] | list[str]] = field(default_factory=list)
    used: dict[int, ReplyBilled] = field(default_factory=dict)
    model: str = ""

    def cut_episodes(self, source: str, name: str) -> list[Episode]:
        episodes = [Episode(source, name, 0)]
        seen: set[str] = set()
        carried: list[CountedSegment] = []
        turns: dict[int, Turn] = {}
        cleared: list[str] = []
        dropped: set[str] = set()
        for entry in self.log:
            if isinstance(entry, tuple):
                _add_turns_in_order(episodes[-1], turns)
                episodes.append(Episode(source, name, len(episodes)))
                carried = [self.admitted[id_] for id_ in entry if id_ in seen]
                # What the host had cleared stays cleared when it moves into a new window.
                turns, cleared = {}, [id_ for id_ in entry if id_ in dropped]
                continue
            if isinstance(entry, list):
                cleared += entry
                dropped.update(entry)
                continue
            if entry in seen:
                continue
            seen.add(entry)
            sized = self.admitted[entry]
            turn = turns.setdefault(sized.segment.born_turn, Turn(sized.segment.born_turn))
            turn.before[:0], carried = carried, []
            if not turn.reply:
                # Amid a reply the request has been made: the host's edit meets the next one.
                turn.cleared, cleared = turn.cleared + cleared, []
            is_reply = sized.segment.kind in REPLY_KINDS
            (turn.reply if is_reply else turn.before).append(sized)
            if is_reply and (not turn.wall_s or 0 < sized.segment.wall_s < turn.wall_s):
                turn.wall_s = sized.segment.wall_s
        _add_turns_in_order(episodes[-1], turns)
        kept = [episode for episode in episodes if any(turn.reply for turn in episode.turns)]
        for episode in kept:
            episode.hidden_tokens = self._estimate_hidden_tokens(episode)
            episode.model = self.model
        _set_lost_reads(kept)
        return kept

    def _estimate_hidden_tokens(self, episode: Episode) -> int:
        """Tokens of the first reply's bill beyond the visible prompt, in raw tokens.

        The tokens a provider bills per raw token are learned from how the prompt grew, robustly, by the median.
        """
        shown, points = 0, []
        for turn in episode.turns:
            shown += sum(_segment_tokens(sized) for sized in turn.before)
            used = self.used.get(turn.number)
            billed = used.input_tokens + used.cache_read_tokens + used.cache_creation_tokens if used else 0
            if billed:
                points.append((shown, billed))
            shown += sum(_segment_tokens(sized) for sized in turn.reply)
        ratios = sorted((b2 - b1) / (s2 - s1) for (s1, b1), (s2, b2) in pairwise(points) if s2 - s1 > 500)
        ratio = min(max(ratios[len(ratios) // 2], 0.8), 2.0) if ratios else 1.2
        if not points:
            return HIDDEN_DEFAULT_TOKENS
        return max(int(points[0][1] / ratio) - points[0][0], 0)


def _segment_tokens(sized: CountedSegment) -> int:
    return sized.tokens.skeleton + sum(tokens for _, tokens in sized.tokens.pieces)


def _add_turns_in_order(episode: Episode, turns: dict[int, Turn]) -> None:
    """Order an episode's turns; segments without a reply of their own belong to the next turn with a reply."""
    waiting: list[CountedSegment] = []
    cleared: list[str] = []
    for number in sorted(turns):
        turn = turns[number]
        turn.before[:0], waiting = waiting, []
        turn.cleared[:0], cleared = cleared, []
        if turn.reply:
            episode.turns.append(turn)
        else:
            waiting, cleared = turn.before, turn.cleared


def _paths_read(episode: Episode) -> set[str]:
    return {
        use.path
        for turn in episode.turns
        for sized in turn.reply
        for use in sized.segment.paths
        if use.access.value == "read"
    }


def _set_lost_reads(episodes: list[Episode]) -> None:
    before: set[str] = set()
    for episode in episodes:
        now = _paths_read(episode)
        episode.read_before, episode.lost_reads = len(before), len(before & now)
        before |= now
