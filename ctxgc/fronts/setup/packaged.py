"""Files that ship beside the code: the OpenCode plugin and the units of systemd.

A wheel carries the files under `ctxgc/data`; a checkout has them at their own places.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ctxgc.fronts.cli.context import CommandRefused

PLUGIN = "opencode/ctxgc.ts"
PLUGIN_NOTES = "opencode/ctxgc/notes.ts"
"""The part of the plugin that gives a model working sets."""
UNITS = ("systemd/ctxgcd.socket", "systemd/ctxgcd.service", "systemd/ctxgc-gateway.service")
_IN_CHECKOUT = {name: f"agents/{name}" for name in (PLUGIN, PLUGIN_NOTES)}


def packaged_text(name: str) -> str:
    """The text of a file that ships with ctxgc. Raises `CommandRefused` where the installation lacks the file."""
    package = files("ctxgc")
    shipped = package / "data" / name
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    checkout = Path(str(package)).parent / _IN_CHECKOUT.get(name, name)
    try:
        return checkout.read_text(encoding="utf-8")
    except OSError:
        raise CommandRefused(
            f"this installation of ctxgc lacks {name}", hint="install it again from a checkout"
        ) from None
