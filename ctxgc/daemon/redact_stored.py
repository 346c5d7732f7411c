"""`ctxgcd --redact`: credentials from before a pattern was known, found and redacted while no daemon runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ctxgc.core.redaction.redact_segment import redact_segment
from ctxgc.daemon.sessions.intake import Intake, tombstone_tokens_at
from ctxgc.stash.contract import SegmentRow
from ctxgc.stash.redaction import SLICE_ROWS, redact_stash
from ctxgc.tokens.counter import TokenCounter

PROGRESS_ROWS = 10_000
"""Segments between two lines of progress."""


def redact_stored_credentials(path: Path, counter: TokenCounter, *, is_dry: bool) -> str:
    """Redact the stash, or count a run's redactions; a sentence with the counts."""
    report = redact_stash(path, row_redactor(counter), _print_progress, is_dry=is_dry)
    verb = "would be redacted" if is_dry else "redacted"
    end = "nothing was changed" if is_dry else "the old bytes are gone from the file, its index and its log"
    return f"{report.secrets} secrets in {report.segments} segments and {report.names} other names {verb}; {end}"


def row_redactor(counter: TokenCounter) -> Callable[[SegmentRow], tuple[SegmentRow, int]]:
    """A function that redacts a segment's row as intake would, and counts its secrets."""
    intake = Intake(counter, redacts=True)

    def redact_row(row: SegmentRow) -> tuple[SegmentRow, int]:
        if redact_segment(row.segment)[0] is row.segment:
            return row, 0
        prepared = intake.prepare(row.segment)
        clean = replace(
            row,
            segment=prepared.segment,
            digest=prepared.digest,
            skeleton_tokens=prepared.skeleton_tokens,
            pieces=prepared.pieces,
            tombstone_tokens=tombstone_tokens_at(prepared, row.seq),
            redactions=row.redactions + prepared.redactions,
        )
        return clean, prepared.redactions

    return redact_row


def _print_progress(done: int, total: int) -> None:
    if done == total or done % PROGRESS_ROWS < SLICE_ROWS:
        print(f"{done} of {total} segments read", file=sys.stderr, flush=True)
