"""The record of an installation: the edits that stand, by agent, in the state folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.setup.changes import Change, FileEdit
from ctxgc.fronts.setup.files import missing_folders, read_text, text_digest, write_text

FOLDER = "install"


def is_file_unchanged(path: Path, edits: Sequence[FileEdit]) -> bool:
    """Whether a file is as an installation wrote it."""
    text = read_text(path)
    return text is not None and any(edit.file == str(path) and edit.written == text_digest(text) for edit in edits)


def remove_made_folders(edits: list[FileEdit]) -> None:
    """Remove the folders that an installation made, as far as they are empty."""
    for folder in sorted({folder for edit in edits for folder in edit.made_folders}, key=len, reverse=True):
        with suppress(OSError):
            os.rmdir(folder)


class Records:
    """The installed edits, by agent, in the state folder: `install/AGENT.json`, for the user's eyes only."""

    def __init__(self, state_folder: str) -> None:
        self.folder = Path(state_folder) / FOLDER

    def load(self, name: str) -> list[FileEdit]:
        """The edits of an agent's files that stand; empty without an installation."""
        text = read_text(self.folder / f"{name}.json")
        if text is None:
            return []
        try:
            rows: list[dict[str, Any]] = json.loads(text)
            return [
                FileEdit(
                    **{
                        **row,
                        "changes": tuple(Change(**_change_fields(one)) for one in row["changes"]),
                        "made_folders": tuple(row.get("made_folders", ())),
                    }
                )
                for row in rows
            ]
        except (ValueError, TypeError, KeyError):
            where = self.folder / f"{name}.json"
            raise CommandRefused(
                f"{where} is no record of an installation", hint="take it away, and the settings back by hand"
            ) from None

    def save(self, name: str, edits: list[FileEdit]) -> None:
        """Keep the edits; with none, the record goes."""
        path = self.folder / f"{name}.json"
        if edits:
            write_text(path, json.dumps([asdict(edit) for edit in edits], indent=1))
        else:
            path.unlink(missing_ok=True)

    def save_with_made_folders(self, name: str, edits: list[FileEdit]) -> None:
        """Keep edits whose files are written next, with the folders that the writing makes or an earlier one made."""
        made = {edit.file: edit.made_folders for edit in self.load(name)}
        folders = {edit.file: missing_folders(edit.file) + made.get(edit.file, ()) for edit in edits}
        self.save(name, [replace(edit, made_folders=tuple(dict.fromkeys(folders[edit.file]))) for edit in edits])

    def installed_names(self) -> list[str]:
        """All that is installed."""
        return sorted(path.stem for path in self.folder.glob("*.json"))


def _change_fields(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "path": tuple(row["path"])}
