"""What verbs may do to the daemon as a whole: look at its traffic, follow files, reload, stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ctxgc.daemon.feeds.watch import Watcher
from ctxgc.daemon.server.socket_server import Server


@dataclass(slots=True)
class Control:
    """The daemon's own handles, for its administration verbs."""

    server: Server
    watcher: Watcher
    socket_path: str
    boot_id: str
    stop: Callable[[], None]
    reload: Callable[[], tuple[list[str], list[str]]]
    """Read the configuration again: (keys in force now, keys that need a restart). Raises `BadParams`."""
