"""Recorded sessions as the judge reads them: scripts to play, the text of each slot, and placebos."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import log

from ctxgc.core.segment import Kind, Segment
from ctxgc.replay.demand import ALL, demand_of
from ctxgc.replay.recorded_files import find_transcripts
from ctxgc.replay.script import EpisodeScript, script_of
from ctxgc.replay.trace import CountedSegment, Episode
from perf.samples import read, with_placebos

SIZE_RATIO_MAX = 1.5
"""The most by which the lengths of a body and of its match, or of its placebo, may differ."""


@dataclass(frozen=True, slots=True)
class Body:
    """The text of a slot that a collector may evict."""

    session: str
    tool: str
    tokens: int
    """Raw tokens."""
    text: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Recording:
    """An episode: its script, the script with a placebo's demand, and its segments by slot."""

    episode: Episode
    script: EpisodeScript
    placebo_script: EpisodeScript
    segments: tuple[CountedSegment, ...]

    @property
    def session(self) -> str:
        """The session, with its agent."""
        return f"{self.script.source}:{self.script.session}"

    def body(self, slot: int) -> Body:
        """The body of a slot."""
        return body_of(self.segments[slot], self.session)

    def reply_text(self, step: int) -> str:
        """The model's own words in a turn: text, thinking, calls with all inputs; no results."""
        return "\n".join(part for sized in self.episode.turns[step].reply for part in spoken_parts(sized.segment))

    def recent_text(self, step: int) -> str:
        """The end of the prompt before a turn: the last reply with its results, and what joined since."""
        last = self.episode.turns[step - 1].reply if step else []
        texts: list[str] = []
        for sized in (*last, *self.episode.turns[step].before):
            texts += spoken_parts(sized.segment)
            texts += [piece.text for piece in sized.segment.body if piece.name == "result"]
        return "\n".join(texts)


def body_of(sized: CountedSegment, session: str) -> Body:
    """The body of a segment of a session."""
    segment = sized.segment
    text = "\n".join(piece.text for piece in segment.body)
    tokens = sum(count for _, count in sized.tokens.pieces)
    return Body(
        session, f"{segment.kind}/{segment.tool}", tokens, text, blake2b(text.encode(errors="replace")).digest()
    )


def spoken_parts(segment: Segment) -> list[str]:
    """The parts of a segment that are no result: of a call its name and its inputs, small and large."""
    texts: list[str] = []
    if segment.kind is Kind.TOOL_CALL:
        call = json.loads(segment.skeleton)
        texts.append(" ".join((str(call.get("name", "")), *plain_strings(call.get("input")))))
    return texts + [piece.text for piece in segment.body if piece.name != "result"]


def plain_strings(value: object) -> Iterable[str]:
    """The strings of a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "$piece":
                yield from plain_strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from plain_strings(inner)


def recordings_of(paths: Sequence[str]) -> list[Recording]:
    """The episodes of all transcripts below these paths, in order of agent and session.

    An agent's only session is left out: no other session gives it placebos.
    """
    sessions = [session for path in find_transcripts(paths) for session in read(path)]
    recordings = []
    for episodes, outputs in with_placebos(sessions):
        for episode in episodes if outputs else ():
            scripts = [script_of(episode, ALL, demand_of(episode, ALL, replies)) for replies in (None, outputs)]
            segments = (sized for turn in episode.turns for sized in (*turn.before, *turn.reply))
            recordings.append(Recording(episode, scripts[0], scripts[1], tuple(segments)))
    return recordings


@dataclass(slots=True)
class PlaceboPool:
    """Bodies of all sessions, by agent and tool and in order of length."""

    _bodies: dict[tuple[str, str], list[Body]] = field(default_factory=lambda: defaultdict(list))
    _of_session: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))

    def add_recordings(self, recordings: Iterable[Recording]) -> None:
        """Take in every body of a kind that goes."""
        for recording in recordings:
            for sized in recording.segments:
                if sized.segment.kind in ALL.kinds and not sized.segment.has_opaque:
                    body = body_of(sized, recording.session)
                    self._bodies[recording.script.source, body.tool].append(body)
                    self._of_session[recording.session].add(body.digest)
        for bodies in self._bodies.values():
            bodies.sort(key=lambda body: (body.tokens, body.digest))

    def placebo(self, body: Body) -> Body | None:
        """The body nearest in length, of the same tool, that no segment of the own session holds.

        None where no such body has at most `SIZE_RATIO_MAX` times the length, or the least part of it.
        """
        bodies = self._bodies[body.session.partition(":")[0], body.tool]
        own = self._of_session[body.session]
        at = bisect_left(bodies, body.tokens, key=lambda other: other.tokens)
        nearest = [
            next((other for other in side if other.digest not in own), None)
            for side in (bodies[at:], reversed(bodies[:at]))
        ]
        near = min(filter(None, nearest), key=lambda other: size_gap(other.tokens, body.tokens), default=None)
        return near if near and size_gap(near.tokens, body.tokens) <= log(SIZE_RATIO_MAX) else None


def size_gap(one: int, other: int) -> float:
    """How far two lengths are apart, as the logarithm of their ratio."""
    return abs(log(max(one, 1) / max(other, 1)))
