"""A daemon of one's own for a while: temporary home, own socket, own stash; gone, with its folder, at the end.

__enter__   make folder ─▶ start child ─▶ wait until it answers
__exit__    SIGTERM ─▶ wait ─▶ SIGKILL if it must ─▶ remove folder        also on Ctrl-C and SIGTERM
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from ctxgc.protocol.blocking_client import LineClient, Unreachable
from ctxgc.protocol.discovery import SOCKET_PATH_BYTES_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any, NoReturn

START_S = 20.0
IDLE_EXIT_S = 60
"""Seconds after which the daemon of a killed command ends."""
STOP_S = 10.0
POLL_S = 0.02
LOG_BYTES_SHOWN = 2000
SOCKET_NAME = "ctxgc.sock"
INHERITED_NOT = ("CTXGC_", "LISTEN_", "NOTIFY_", "WATCHDOG_")
"""Settings of the caller's own daemon or unit, which this daemon ignores."""


class PrivateDaemon:
    """Starts `ctxgcd` in a temporary home and cleans up afterwards, after any failure too."""

    def __init__(self, timeout_s: float) -> None:
        self.client: LineClient
        self._timeout_s = timeout_s
        self._home = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._old_handler: Any = None

    def __enter__(self) -> PrivateDaemon:
        # A SIGTERM must unwind the stack as Ctrl-C does, or child and folder would stay behind.
        self._old_handler = signal.signal(signal.SIGTERM, _exit_on_signal)
        try:
            self._home = _make_short_temporary_folder()
            path = os.path.join(self._home, SOCKET_NAME)
            self._child = self._spawn_daemon(path)
            self.client = LineClient(path, self._timeout_s)
            self._wait_until_up()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean_up()

    def _spawn_daemon(self, path: str) -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(INHERITED_NOT)}
        env |= {
            "CTXGC_SOCKET": path,
            "CTXGC_DAEMON__STATE_DIR": os.path.join(self._home, "state"),
            "CTXGC_DAEMON__IDLE_EXIT_S": str(IDLE_EXIT_S),
            "XDG_CONFIG_HOME": os.path.join(self._home, "config"),
            "XDG_STATE_HOME": os.path.join(self._home, "state-home"),
        }
        with open(self._log_path, "wb") as log:
            # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop it in order.
            return subprocess.Popen(
                [sys.executable, "-m", "ctxgc.daemon.main"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def _log_path(self) -> str:
        return os.path.join(self._home, "ctxgcd.log")

    def _wait_until_up(self) -> None:
        assert self._child is not None
        give_up_s = time.monotonic() + START_S
        while True:
            try:
                self.client.connect()
                return
            except Unreachable as failure:
                if self._child.poll() is not None or time.monotonic() > give_up_s:
                    raise Unreachable(f"the private daemon did not start: {self._log_tail()}") from failure
            time.sleep(POLL_S)

    def _log_tail(self) -> str:
        with open(self._log_path, "rb") as log:
            words = log.read()[-LOG_BYTES_SHOWN:].decode("utf-8", "replace").strip()
        return words or "it said nothing"

    def _clean_up(self) -> None:
        signal.signal(signal.SIGTERM, self._old_handler)
        if self._child is not None and self._child.poll() is None:
            self.client.close()
            self._child.terminate()
            try:
                self._child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)


def _make_short_temporary_folder() -> str:
    """A fresh folder of mode 0700 whose path leaves room for a socket's name."""
    folder = tempfile.mkdtemp(prefix="ctxgc-demo-")
    if len(os.fsencode(os.path.join(folder, SOCKET_NAME))) <= SOCKET_PATH_BYTES_MAX:
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="ctxgc-demo-", dir="/tmp")


def _exit_on_signal(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
