"""`ctxgc watch --keep`: the path in `[watch] paths` of the configuration, which a daemon follows from its start.

The file is edited as text, as `ctxgc mode` edits it: comments and order survive, and the new file, read again, differs
in the paths alone.
"""

from __future__ import annotations

import os

from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.setup.files import read_text, write_text
from ctxgc.fronts.setup.toml_edit import WATCH_HEAD, edit_watch_paths, encode_toml_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def set_watch_path(file: Path, path: str, *, is_kept: bool) -> bool:
    """Write the path into the configuration, or take it out; whether the file changed. Raises `CommandRefused`."""
    text = read_text(file) or ""
    fresh = edit_watch_paths(text, path, is_kept=is_kept)
    if fresh is None:
        do = f"write {encode_toml_value(path)} into" if is_kept else f"take {encode_toml_value(path)} out of"
        hint = f"{do} `paths` under {WATCH_HEAD} by hand"
        raise CommandRefused(f"{file} is not laid out so that it can be changed for you", kind="config", hint=hint)
    if is_kept and fresh != text:
        _require_valid_config(fresh, file)
    if fresh != text:
        write_text(file, fresh)
    return fresh != text


def _require_valid_config(text: str, file: Path) -> None:
    """Raise `CommandRefused` for a configuration with which a daemon would not start."""
    from ctxgc.config import BadConfig, parse_config

    try:
        parse_config(text, file, {})
    except BadConfig as error:
        hint = "the path is not kept: mend the file, or keep a folder above several paths instead of them"
        raise CommandRefused(str(error), kind="config", hint=hint) from None


def config_file() -> Path:
    """The configuration that the daemon reads."""
    from ctxgc.config import config_path

    return config_path(os.environ)
