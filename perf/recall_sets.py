"""What is asked of search, and what answers it: questions about conversations, and agents' returns to what they saw.

    LOCOMO_DIR    conversations with questions; the evidence of a question is the turns that answer it
    SESSIONS_DIR  recorded agent sessions: a call that reads lines (or runs a command) that left the window long ago
                  is a query, and the older calls with these lines (this command) are its targets

Data of others, read for evaluation only; nothing of it is kept.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ctxgc.adapters.contract import SegmentAdmitted
from ctxgc.adapters.transcripts.formats import HEAD_BYTES, detect_format, make_transcript_parser
from ctxgc.adapters.transcripts.inflater import Inflater
from ctxgc.core.segment import Access, Kind, PathUse, Piece, Role, Segment, Status

CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop"}
"""Questions of other categories cannot be answered, and their evidence is a lure."""

WINDOW_TOKENS = 16_000
BYTES_PER_TOKEN = 3.6
TARGET_TOKENS_MIN = 50
SAID_CHARS = 500
QUERY_CHARS_MAX = 4_000
CALL_CHARS_MAX = 2_000
AGENTS = ("claude_code", "codex")


class Question(NamedTuple):
    """A question of a conversation, and the ids of the turns that answer it."""

    text: str
    evidence: frozenset[str]
    category: str


class Conversation(NamedTuple):
    """A conversation as segments, a turn each, and its questions."""

    name: str
    turns: list[Segment]
    questions: list[Question]


@dataclass(frozen=True, slots=True)
class Return:
    """An agent's return to what it saw: the query, in two forms, and the ids of the older calls that answer it."""

    at: int
    """Segments of the session before the call."""
    evicted: int
    """Of those, the segments before the window."""
    said: str
    """What the agent said before the call, with the call's inputs but for path and command."""
    with_key: str
    """The same with the whole call."""
    targets: frozenset[str]
    is_read: bool


def conversations(folder: Path) -> list[Conversation]:
    """The conversations of a folder in LoCoMo's format, by file name."""
    files = sorted([*folder.glob("*.json.gz"), *folder.glob("*.json")])
    return [_conversation(json.loads(_bytes_of(file))) for file in files]


def _conversation(data: Mapping[str, Any]) -> Conversation:
    turns: list[Segment] = []
    number = 1
    while (spoken := data["conversation"].get(f"session_{number}")) is not None:
        start_s = _moment(data["conversation"].get(f"session_{number}_date_time", ""))
        for turn in spoken:
            is_first = turn["speaker"] == data["conversation"].get("speaker_a")
            turns.append(
                Segment(
                    id=turn["dia_id"],
                    kind=Kind.USER if is_first else Kind.ASSISTANT,
                    role=Role.USER if is_first else Role.ASSISTANT,
                    place=len(turns),
                    born_turn=len(turns),
                    wall_s=start_s,
                    body=(Piece("text", f"{turn['speaker']}: {turn['text']}".encode()),),
                )
            )
        number += 1
    ids = {turn.id for turn in turns}
    questions = []
    for asked in data["qa"]:
        evidence = frozenset(asked.get("evidence", ())) & ids
        if evidence and asked["category"] in CATEGORIES:
            questions.append(Question(asked["question"], evidence, CATEGORIES[asked["category"]]))
    return Conversation(data["sample_id"], turns, questions)


def _moment(text: str) -> float:
    """`1:56 pm on 8 May, 2023` as Unix time; 0.0 for anything else."""
    try:
        return datetime.strptime(text, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def sessions(folder: Path) -> Iterator[tuple[str, list[Segment]]]:
    """Each main session of the transcripts of a folder: its name, and its completed segments in order."""
    folders = [folder / agent for agent in AGENTS if (folder / agent).is_dir()] or [folder]
    for file in sorted(path for each in folders for path in each.rglob("*.jsonl*")):
        segments = _segments(_bytes_of(file))
        if segments:
            yield str(file.relative_to(folder)), segments


def _segments(data: bytes) -> list[Segment]:
    format = detect_format(data[:HEAD_BYTES])
    if format is None:
        return []
    transcript = make_transcript_parser(format)
    events = transcript.feed(data) + transcript.finish()
    admitted = [event for event in events if isinstance(event, SegmentAdmitted)]
    name = admitted[0].session if admitted else ""
    last = {event.segment.id: event.segment for event in admitted if event.session == name}
    return [replace(segment, place=place) for place, segment in enumerate(last.values())]


def returns(segments: Sequence[Segment]) -> Iterator[Return]:
    """The returns of a session to what had left a window of the last `WINDOW_TOKENS` tokens."""
    sizes = [_tokens(segment) for segment in segments]
    for at, segment in enumerate(segments):
        if segment.kind is not Kind.TOOL_CALL or segment.status is Status.PENDING:
            continue
        reads = [use for use in segment.paths if use.access is Access.READ]
        command = _command(segment)
        if len(segment.paths) == 1 and len(reads) == 1:
            covering = [seq for seq in range(at) if any(_is_read_of(reads[0], use) for use in segments[seq].paths)]
        elif command and not segment.paths:
            covering = [seq for seq in range(at) if _command(segments[seq]) == command]
        else:
            continue
        start, room = at, float(WINDOW_TOKENS)
        while start and sizes[start - 1] <= room:
            start -= 1
            room -= sizes[start]
        if any(seq >= start for seq in covering) or not any(sizes[seq] >= TARGET_TOKENS_MIN for seq in covering):
            continue
        said = _said_before(segments, at)
        inputs = _inputs(segment)
        words = [text for key, text in inputs if key not in ("command", "cmd", "path") and not key.endswith("_path")]
        whole = "\n".join(text for _, text in inputs)[:CALL_CHARS_MAX]
        yield Return(
            at=at,
            evicted=start,
            said="\n".join([said, *words])[:QUERY_CHARS_MAX],
            with_key=f"{said}\n{whole}",
            targets=frozenset(segments[seq].id for seq in covering),
            is_read=bool(reads),
        )


def _tokens(segment: Segment) -> float:
    return (len(segment.skeleton) + sum(len(piece.data) for piece in segment.body)) / BYTES_PER_TOKEN


def _is_read_of(wanted: PathUse, use: PathUse) -> bool:
    """Whether a use reads any of the wanted lines of the same file."""
    is_same = use.path == wanted.path and use.access is Access.READ
    return is_same and use.first_line <= wanted.last_line and wanted.first_line <= use.last_line


def _command(segment: Segment) -> str:
    if segment.kind is not Kind.TOOL_CALL:
        return ""
    return next((" ".join(text.split()) for key, text in _inputs(segment) if key in ("command", "cmd")), "")


def _inputs(segment: Segment) -> list[tuple[str, str]]:
    """The arguments of a call by name, as text."""
    pieces = {piece.name: piece.text for piece in segment.body}
    given = json.loads(segment.skeleton).get("input")
    if not isinstance(given, dict):
        given = {"input": given}
    return [(key, _text(value, pieces)) for key, value in given.items()]


def _text(value: Any, pieces: Mapping[str, str]) -> str:
    if isinstance(value, dict) and "$piece" in value:
        return pieces.get(value["$piece"], "")
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return " ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _said_before(segments: Sequence[Segment], at: int) -> str:
    """What the agent said since the last call, or else what the person said last."""
    said: list[str] = []
    for segment in reversed(segments[:at]):
        if segment.kind in (Kind.ASSISTANT, Kind.THINKING):
            said.append("".join(piece.text for piece in segment.body))
        elif said or segment.kind is Kind.USER or segment.kind is Kind.TOOL_CALL:
            break
    if not said:
        person = next((each for each in reversed(segments[:at]) if each.kind is Kind.USER), None)
        said = ["".join(piece.text for piece in person.body)] if person else []
    return "\n".join(reversed(said))[-SAID_CHARS:]


def _bytes_of(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix == ".gz":
        return gzip.decompress(data)
    return b"".join(Inflater().feed(data)) if file.suffix == ".zst" else data
