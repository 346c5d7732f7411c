"""A progress bar on stderr: only on a terminal, redrawn at most ten times a second, gone at the end."""

from __future__ import annotations

import os
import sys
import time

from ctxgc.fronts.cli import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

REDRAW_S = 0.1


class ProgressBar:
    """Counts work done against work in all; silent where stderr is not a terminal."""

    def __init__(self, name: str, total: int, stream: TextIO | None = None) -> None:
        self.page = terminal.Page(stream or sys.stderr)
        self.name = name
        self.total = max(total, 1)
        self.done = 0
        self._note = ""
        self._started_s = time.monotonic()
        self._drawn_s = 0.0

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.page.is_terminal:
            self.page.stream.write("\r\x1b[K")
            self.page.stream.flush()

    def show_note(self, text: str) -> None:
        """Name the present work."""
        self._note = terminal.printable_line(text)
        self._draw(must=True)

    def advance(self, work: int) -> None:
        """So much more is done."""
        self.done += work
        self._draw()

    def _draw(self, *, must: bool = False) -> None:
        now_s = time.monotonic()
        if not self.page.is_terminal or (now_s - self._drawn_s < REDRAW_S and not must):
            return
        self._drawn_s = now_s
        share = min(self.done / self.total, 1.0)
        spent_s = now_s - self._started_s
        left = f" · {terminal.format_duration(spent_s / share - spent_s)} left" if share > 0.05 and spent_s > 2 else ""
        room = max(self.page.width - 48 - len(self.name), 8)
        note = terminal.fit_columns(self._note, room).rstrip()
        line = f"{self.name} {self.page.share_bar(share)} {share:4.0%}{left} {note}"
        self.page.stream.write(f"\r\x1b[K{line}")
        self.page.stream.flush()


def work_bytes(path: str) -> int:
    """The work of a path: the bytes of the file, or of the folder's files; 1 for an unreadable path."""
    if not os.path.isdir(path):
        try:
            return max(os.path.getsize(path), 1)
        except OSError:
            return 1
    return max(sum(work_bytes(os.path.join(folder, name)) for folder, _, files in os.walk(path) for name in files), 1)
