"""Runs commands in this process against a daemon of canned replies."""

import contextlib
import io
import sys
import tempfile
from typing import NamedTuple

import pytest

from ctxgc.fronts.cli.context import SESSION_VARIABLES
from ctxgc.fronts.cli.main import main
from tests.fronts.fake_daemon import FakeDaemon


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self, text=b""):
        super().__init__(io.BytesIO(text), encoding="utf-8", write_through=True)

    def isatty(self):
        return True

    def written(self):
        return self.buffer.getvalue().decode()


@pytest.fixture
def daemon(tmp_path):
    made = []

    def make(replies):
        made.append(FakeDaemon(tmp_path / f"{len(made)}.sock", replies))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def run(capsysbinary, monkeypatch):
    """Run `ctxgc` with a daemon's socket, perhaps on a terminal; its code and what it printed."""
    for _, variable in SESSION_VARIABLES:  # The tests may be run by an agent.
        monkeypatch.delenv(variable, raising=False)

    def run_command(server, *argv, on=None):
        if on is not None:
            monkeypatch.setattr(sys, "stdout", on)
        code = main([*argv, "--socket", getattr(server, "path", str(server)), "--no-spawn"])
        out, err = capsysbinary.readouterr()
        return Ran(code, out.decode("utf-8", "surrogateescape"), err.decode())

    return run_command


@pytest.fixture
def terminal(monkeypatch):
    """A terminal, 80 columns wide, with colour."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


@pytest.fixture
def typed(monkeypatch):
    """Make stdin hold this text; a terminal if asked."""
    with contextlib.ExitStack() as opened:

        def type_in(text, *, is_terminal=False):
            if is_terminal:
                stream = Terminal(text)
            else:
                file = opened.enter_context(tempfile.TemporaryFile())
                file.write(text)
                file.seek(0)
                stream = io.TextIOWrapper(file, encoding="utf-8")
            monkeypatch.setattr(sys, "stdin", stream)

        yield type_in
