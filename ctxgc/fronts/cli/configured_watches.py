"""`ctxgc watch --keep`: the path in `[watch] paths` of the configuration, which a daemon follows from its start.

The file is edited as text, as `ctxgc mode` edits it: comments and order survive, and the new file, read again, differs
in the paths alone.
"""

from __future__ import annotations

import os
import re
import tomllib

from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.cli.mode import replace_file
from ctxgc.fronts.setup.toml_edit import encode_toml_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

SECTION = "[watch]"
_PATHS = re.compile(r"\s*paths\s*=")


def set_watch_path(file: Path, path: str, *, is_kept: bool) -> bool:
    """Write the path into the configuration, or take it out; whether the file changed. Raises `CommandRefused`."""
    target = file.resolve()  # A link stays a link.
    try:
        text = target.read_text(encoding="utf-8") if target.exists() else ""
        fresh = edit_watch_paths(text, path, is_kept=is_kept)
        if fresh is None:
            do = f"write {encode_toml_value(path)} into" if is_kept else f"take {encode_toml_value(path)} out of"
            hint = f"{do} `paths` under {SECTION} by hand"
            raise CommandRefused(f"{file} is not laid out so that it can be changed for you", kind="config", hint=hint)
        if is_kept and fresh != text:
            _require_valid_config(fresh, file)
        if fresh != text:
            replace_file(target, fresh)
    except (OSError, UnicodeError) as error:
        raise CommandRefused(f"{file}: cannot be changed: {error}", kind="config") from None
    return fresh != text


def _require_valid_config(text: str, file: Path) -> None:
    """Raise `CommandRefused` for a configuration with which a daemon would not start."""
    from ctxgc.config import BadConfig, parse_config

    try:
        parse_config(text, file, {})
    except BadConfig as error:
        hint = "the path is not kept: mend the file, or keep a folder above several paths instead of them"
        raise CommandRefused(str(error), kind="config", hint=hint) from None


def edit_watch_paths(text: str, path: str, *, is_kept: bool) -> str | None:
    """The TOML text with that path followed, or not; `None` where no line of its own can say so."""
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    watch = expected.setdefault("watch", {})
    paths = watch.get("paths", []) if isinstance(watch, dict) else None
    if not isinstance(paths, list):
        return None
    if (path in paths) == is_kept:
        return text
    watch["paths"] = [*paths, path] if is_kept else [other for other in paths if other != path]
    lines = text.splitlines()
    heads = [at for at, line in enumerate(lines) if line.split("#")[0].strip() == SECTION]
    if not heads:
        lines += [""] * bool(lines) + [SECTION]
        heads = [len(lines) - 1]
    start = heads[0] + 1
    end = next((at for at in range(start, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    kept = [line for line in lines[start:end] if not _PATHS.match(line)]
    fresh = "\n".join([*lines[:start], f"paths = {encode_toml_value(watch['paths'])}", *kept, *lines[end:]]) + "\n"
    try:
        return fresh if tomllib.loads(fresh) == expected else None
    except tomllib.TOMLDecodeError:
        return None


def config_file() -> Path:
    """The configuration that the daemon reads."""
    from ctxgc.config import config_path

    return config_path(os.environ)
