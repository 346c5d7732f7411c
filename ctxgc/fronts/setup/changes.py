"""Changes of settings files that can be taken back: each with the value before.

install     text ──changes──▶ text       the record: the changes, the whole file before, a digest of the file after
uninstall   the file is as we wrote it ─▶ the whole file before
            the user edited it since   ─▶ each value that is still ours goes back, everything else stays
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.setup import json_edit, toml_edit
from ctxgc.fronts.setup.files import read_text, text_digest
from ctxgc.fronts.setup.json_edit import Uneditable


@dataclass(frozen=True, slots=True)
class Change:
    """A value of a settings file: ours and the value before."""

    path: tuple[str, ...]
    value: str
    """The value as text of the file: JSON; for a key of TOML the text itself, for a table all its lines."""
    previous: str | None = None
    """What stood there: the value's JSON, or the whole line of TOML; `None` where nothing did."""
    made_from: int = 0
    """The depth of the first key on the path that was not there."""
    empty_parent: str | None = None
    """The empty object in which the first of those keys was put, with its spaces."""
    is_item: bool = False
    """Whether the value is a single item of the list at the path: the other items are the user's."""


@dataclass(frozen=True, slots=True)
class FileEdit:
    """The changes of a file. `format` is `json`, `toml`, or `whole` for a file that is ours alone."""

    file: str
    format: str
    changes: tuple[Change, ...]
    existed: bool = True
    before: str = ""
    """The whole file as it was."""
    written: str = ""
    """The digest of the file as it was written."""
    made_folders: tuple[str, ...] = ()
    """The folders above the file that the installation makes, the innermost first."""


class NewFile(NamedTuple):
    """A file of ours alone, with the text."""

    edit: FileEdit
    text: str


def new_file(path: Path, text: str) -> NewFile:
    """A file to be written whole, and to be removed by an uninstallation if unchanged."""
    return NewFile(FileEdit(str(path), "whole", (), existed=False, written=text_digest(text)), text)


def apply_changes(text: str, edit: FileEdit) -> tuple[str, FileEdit]:
    """The text with the changes, and the edit with the values before. Raises `Uneditable`."""
    changes = []
    for change in edit.changes:
        text, noted = (_apply_json_change if edit.format == "json" else _apply_toml_change)(text, change)
        changes.append(noted)
    return text, replace(edit, changes=tuple(changes), written=text_digest(text))


def _apply_json_change(text: str, change: Change) -> tuple[str, Change]:
    path = change.path
    previous = json_edit.value_text_at(text, path)
    made_from = next((d for d in range(1, len(path) + 1) if json_edit.value_text_at(text, path[:d]) is None), 0)
    parent = json_edit.value_text_at(text, path[: made_from - 1]) if made_from else None
    is_empty = parent is not None and not json_edit.decode_json(parent)
    if not change.is_item:
        fresh = json_edit.set_member(text, path, change.value)
    elif previous is None:
        fresh = json_edit.set_member(text, path, f"[{change.value}]")
    else:
        fresh = json_edit.append_item(text, path, change.value)
    return fresh, replace(change, previous=previous, made_from=made_from, empty_parent=parent if is_empty else None)


def _apply_toml_change(text: str, change: Change) -> tuple[str, Change]:
    if len(change.path) > 1:
        return toml_edit.add_table(text, change.path, change.value), change
    (key,) = change.path
    previous = toml_edit.line_of_key(text, key)
    return toml_edit.set_key(text, key, change.value), replace(change, previous=previous)


def undo_changes(text: str, edit: FileEdit) -> tuple[str, list[str]]:
    """The text without our changes, and the keys whose values are no longer ours and stay. Raises `Uneditable`."""
    kept = []
    for change in reversed(edit.changes):
        name = ".".join(change.path)
        if change.is_item:
            text = _remove_item(text, change)
        elif edit.format == "json":
            if not _is_same_json(json_edit.value_text_at(text, change.path), change.value):
                kept.append(name)
                continue
            text = _undo_json_change(text, change)
        elif len(change.path) > 1:
            without = toml_edit.drop_table(text, change.value)
            kept += [name] if without is None else []
            text = text if without is None else without
        else:
            if toml_edit.parse_toml(text).get(name) != change.value:
                kept.append(name)
                continue
            text = toml_edit.restore_key(text, name, change.previous)
    return text, kept


def _is_same_json(present: str | None, value: str) -> bool:
    return present is not None and json_edit.decode_json(present) == json_edit.decode_json(value)


def _remove_item(text: str, change: Change) -> str:
    """The text without our item of a list, wherever in the list the item stands now."""
    present = json_edit.value_text_at(text, change.path)
    if present is None or not isinstance(json_edit.decode_json(present), list):
        return text
    ours = json_edit.decode_json(change.value)
    fresh = json_edit.map_items(text, change.path, lambda item: _remove_hooks(item, ours))
    if fresh != text and json_edit.decode_json(json_edit.value_text_at(fresh, change.path) or "") == []:
        was_empty = change.previous is not None and json_edit.decode_json(change.previous) == []
        return _undo_json_change(fresh, change if was_empty else replace(change, previous=None))
    return fresh


def _remove_hooks(item: str, ours: Any) -> str | None:
    """A list's item without our hooks, known by their commands; `None` for an item of ours alone."""
    value = json_edit.decode_json(item)
    if value == ours:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("hooks"), list) or not isinstance(ours, dict):
        return item
    commands = {hook["command"] for hook in ours.get("hooks", ())}

    def is_ours(hook: str) -> bool:
        decoded = json_edit.decode_json(hook)
        return isinstance(decoded, dict) and decoded.get("command") in commands

    fresh = json_edit.map_items(item, ("hooks",), lambda hook: None if is_ours(hook) else hook)
    return None if fresh != item and not json_edit.decode_json(fresh)["hooks"] else fresh


def _undo_json_change(text: str, change: Change) -> str:
    path = change.path
    if change.previous is not None:
        return json_edit.set_member(text, path, change.previous)
    text = json_edit.drop_member(text, path)
    # Objects that we made go too, unless something of the user's stands in them now.
    for depth in range(len(path) - 1, change.made_from - 1, -1):
        parent = json_edit.value_text_at(text, path[:depth])
        if parent is None or json_edit.decode_json(parent):
            return text
        text = json_edit.drop_member(text, path[:depth])
    parent_path = path[: change.made_from - 1]
    parent = json_edit.value_text_at(text, parent_path)
    if change.empty_parent is not None and parent is not None and not json_edit.decode_json(parent):
        text = _replace_value(text, parent_path, change.empty_parent)
    return text


def _replace_value(text: str, path: tuple[str, ...], value: str) -> str:
    if path:
        return json_edit.set_member(text, path, value)
    node = json_edit.parse_nodes(text)
    return text[: node.start] + value + text[node.end :]


def text_with_edit(edit: FileEdit, standing: FileEdit | None) -> tuple[str | None, FileEdit]:
    """The file's new text, `None` without a change, and the edit to be recorded. Raises `CommandRefused`.

    A standing edit is taken back first, so that the values before us stay known.
    """
    path = Path(edit.file)
    present = read_text(path)
    try:
        base, existed, before = present or "", present is not None, present or ""
        if standing is not None and present is not None:
            base, _ = undo_changes(present, standing)
            # A file that an installation made is the user's from the user's first setting in it.
            existed = standing.existed or not _is_empty_file(base, edit.format)
            before = standing.before if text_digest(present) == standing.written else base
        is_empty = edit.format == "json" and json_edit.is_blank(base)
        text, noted = apply_changes("{}\n" if is_empty else base, edit)
    except Uneditable as error:
        raise CommandRefused(
            f"{path} cannot be changed for you: {error}", kind="config", hint="mend it first"
        ) from None
    noted = replace(noted, existed=existed, before=before)
    return (None if text == present else text), noted


def text_without_edit(edit: FileEdit) -> tuple[str | None, list[str]]:
    """The file's text to come, `None` where the file is to go, and the keys that stay. Raises `CommandRefused`."""
    path = Path(edit.file)
    present = read_text(path)
    if present is None:
        return None, []
    if edit.format == "whole":
        return (None, []) if text_digest(present) == edit.written else (present, [path.name])
    try:
        is_as_written = text_digest(present) == edit.written
        text, kept = (edit.before, []) if is_as_written else undo_changes(present, edit)
        is_bare = not edit.existed and _is_empty_file(text, edit.format)
    except Uneditable as error:
        keys = ", ".join(".".join(change.path) for change in edit.changes)
        raise CommandRefused(
            f"{path} cannot be changed for you: {error}", kind="config", hint=f"mend it, or take out {keys} by hand"
        ) from None
    return (None if is_bare else text), kept


def _is_empty_file(text: str, file_format: str) -> bool:
    """Whether a file holds nothing: no line, and no member of a JSON object."""
    return json_edit.is_blank(text) or (file_format == "json" and not json_edit.decode_json(text) and "/" not in text)
