"""Logs of lines that hold one session each: the session's builder, made when the first record needs the builder."""

from __future__ import annotations

from ctxgc.adapters.contract import SessionOpened
from ctxgc.adapters.transcripts.jsonl import LineTranscript
from ctxgc.adapters.transcripts.session_builder import SessionBuilder


class SingleSessionLines(LineTranscript):
    """A `LineTranscript` of a single session; `unnamed_session` names a session whose log lost the header."""

    unnamed_session = "session"

    def __init__(self) -> None:
        super().__init__()
        self._builder: SessionBuilder | None = None

    def _ensure_builder(self) -> SessionBuilder:
        if self._builder is None:
            self._builder = SessionBuilder(self.unnamed_session, self._events)
            self._events.append(SessionOpened(self.unnamed_session))
        return self._builder

    def _flush(self) -> None:
        if self._builder is not None:
            self._builder.admit_unpaired_calls_and_results()
