"""From a transcript file to its episodes. An unknown record is skipped and counted; a failure is reported.

file ──1 MiB──▶ Inflater ──▶ the format's parser ──▶ Recorder ──▶ episodes by session
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from ctxgc.adapters.transcripts.formats import HEAD_BYTES, detect_format, make_transcript_parser
from ctxgc.adapters.transcripts.inflater import Inflater
from ctxgc.core.errors import CtxgcError
from ctxgc.core.segment import Address, Segment
from ctxgc.core.tombstone import tombstone_text
from ctxgc.replay.trace import Episode, Recorder
from ctxgc.tokens.counter import TokenCounter
from ctxgc.tokens.ranks import load_ranks

READ_BYTES = 2**20
ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
TYPICAL_ADDRESS = Address(10**8, 100)
"""An address of typical length, for the size of tombstones."""


@dataclass(slots=True)
class RecordedFile:
    """The episodes of a file's sessions, or the error."""

    path: str
    sessions: dict[str, list[Episode]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    """Records that were not understood, by type."""
    trouble: str = ""
    """Why it was skipped, or read only in part; empty if all is well."""


@lru_cache(maxsize=1)
def token_counter() -> TokenCounter:
    """This process's counter: the ranks take 170 ms and 55 MB, once."""
    return TokenCounter(lambda: load_ranks(os.environ))


def read_recorded_file(path: str) -> RecordedFile:
    """Read a transcript. Raises no error: an unknown or broken file says so in `trouble`."""
    reading = RecordedFile(path)
    try:
        _read_episodes(reading)
    except (OSError, CtxgcError) as failure:
        reading.trouble = str(failure)
    except Exception as failure:
        # One file that breaks a parser must not cost the report of a thousand others: it is named in the report.
        reading.trouble = f"breaks the reader: {type(failure).__name__}: {failure}"
    if not reading.sessions and not reading.trouble:
        reading.trouble = "no turn of a model in it"
    return reading


def _read_episodes(reading: RecordedFile) -> None:
    with open(reading.path, "rb") as file:
        head = file.read(HEAD_BYTES)
        format = detect_format(head)
        if format is None:
            reading.trouble = "not a transcript of a known format"
            return
        parser, inflater = make_transcript_parser(format), Inflater()
        recorder = Recorder(parser.source, token_counter().count, _tombstone_tokens)
        data = head
        while data:
            for plain in inflater.feed(data):
                recorder.record_events(parser.feed(plain))
            data = file.read(READ_BYTES)
        recorder.record_events(parser.finish())
    for episode in recorder.episodes():
        reading.sessions.setdefault(episode.session, []).append(episode)
    reading.skipped = parser.skipped
    if inflater.is_damaged:
        reading.trouble = "the gzip is damaged: read up to there"


def _tombstone_tokens(segment: Segment, body_tokens: int) -> int:
    return token_counter().count(tombstone_text(segment, TYPICAL_ADDRESS, body_tokens))


def find_transcripts(paths: Iterable[str]) -> list[str]:
    """The files meant: those named, and in folders every file with a transcript's name; each once, sorted."""
    found: set[str] = set()
    for path in map(os.path.abspath, paths):
        if not os.path.isdir(path):
            found.add(path)
            continue
        for folder, _, names in os.walk(path):
            found.update(os.path.join(folder, name) for name in names if name.endswith(ENDINGS))
    return sorted(found)
