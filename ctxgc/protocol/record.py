"""A reply on the command's side: a JSON object whose members are attributes.

    one line of JSON ──json──▶ Record, read as the `Reply` that the verb's row names

msgspec would build the `Reply` itself, and the import of msgspec costs more than the rest of a command's start. So
mypy checks a command against the type, and at run time the command reads json's own object. Standard library only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Record(dict):  # type: ignore[type-arg]  # Its subscript would need `typing` at run time.
    """A JSON object. An absent member reads as `None`, like the default of a `Reply`."""

    __slots__ = ()
    __getattr__ = dict.get


def json_members(reply: Any) -> dict[str, Any]:
    """The members of a reply unchanged, for `--json`."""
    return dict(reply)
