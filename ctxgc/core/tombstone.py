"""Tombstones: the lines in place of evicted bodies, which tell the model the content and the way back.

A bare gap makes agents read the same file a dozen times. A tombstone names the tool, the file and its lines, the size
and the way back, in 60 tokens or fewer. A tombstone names the content and copies none, so that `forget` leaves no trace
in rendered text; and a tombstone never changes with time, so that a prompt cache survives (I14).
"""

from __future__ import annotations

from ctxgc.core.display_texts import compact_tokens_text
from ctxgc.core.segment import COMMAND_CHARS_MAX, LINE_MAX, Access, Address, Kind, PathUse, Segment, parse_address

LABEL_CHARS_MAX = 72
"""A label for people."""
TOMBSTONE_LABEL_BYTES_MAX = 32
"""A token is at least one byte, so a label of so many bytes keeps every tombstone within 60 tokens, in any script."""
_BEGINS = "[evicted by ctxgc:"
LONG_COMMAND = "a long command"


def path_and_lines_text(use: PathUse) -> str:
    """A path with its lines: `src/a.py:10-40`; a whole file without."""
    if use.last_line == LINE_MAX:
        return use.path if use.first_line == 1 else f"{use.path}:{use.first_line}-"
    return f"{use.path}:{use.first_line}-{use.last_line}"


def segment_label(segment: Segment, bytes_max: int = 4 * LABEL_CHARS_MAX) -> str:
    """A segment in a few words: tool with path and lines, or with its command. Never body text.

    Of any other segment the kind, with the file or the name of the output: `attachment: docs/api.md`. At most
    `LABEL_CHARS_MAX` characters and `bytes_max` bytes: of a path the end, of a command the beginning.
    """
    is_tool_call = segment.kind is Kind.TOOL_CALL
    head = _replace_unprintable(segment.tool or ("tool call" if is_tool_call else segment.kind.value))
    touched = [use for use in segment.paths if use.access is not Access.MENTION or not is_tool_call]
    # A command of that length was cut, and its text may be a piece of the body: a label holds nothing of it.
    command = segment.command if len(segment.command) < COMMAND_CHARS_MAX else ""
    if command and (is_tool_call or not touched):
        return _truncate_end(f"{head}: {_replace_unprintable(' '.join(command.split()))}", LABEL_CHARS_MAX, bytes_max)
    if not touched:
        is_cut = is_tool_call and segment.command and not command
        return _truncate_end(f"{head}: {LONG_COMMAND}" if is_cut else head, LABEL_CHARS_MAX, bytes_max)
    more = f" +{len(touched) - 1}" if len(touched) > 1 and is_tool_call else ""
    head = _truncate_end(head, LABEL_CHARS_MAX // 3, bytes_max // 3) + (" " if is_tool_call else ": ")
    path = _replace_unprintable(path_and_lines_text(touched[0]))
    return (
        head + _truncate_start(path, LABEL_CHARS_MAX - len(head + more), bytes_max - len((head + more).encode())) + more
    )


def _replace_unprintable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _truncate_end(text: str, chars_max: int, bytes_max: int) -> str:
    """As much of the beginning as fits, with an ellipsis if that is not all."""
    if len(text) <= chars_max and len(text.encode()) <= bytes_max:
        return text
    return text[: chars_max - 1].encode()[: bytes_max - 3].decode("utf-8", "ignore") + "…"


def _truncate_start(text: str, chars_max: int, bytes_max: int) -> str:
    if len(text) <= chars_max and len(text.encode()) <= bytes_max:
        return text
    return "…" + text[1 - chars_max :].encode()[3 - bytes_max :].decode("utf-8", "ignore")


def address_in_tombstone(text: str) -> Address | None:
    """The address in a tombstone, if the text may be a tombstone."""
    if not (text.startswith(_BEGINS) and text.endswith("]")):
        return None
    return parse_address(text.rpartition(" ")[2].removesuffix("]"))


def tombstone_text(segment: Segment, address: Address, body_tokens: int, *, can_recall: bool = True) -> str:
    """The tombstone of a segment, fixed for the segment's life (I14).

    Wherever a model types the command, the command means this segment and no other session's. Where the model's shell
    is kept from the daemon's socket (not `can_recall`), the way back is to make the call again.
    """
    begin, end = tombstone_affixes(address, can_recall=can_recall)
    return begin + tombstone_words(segment, body_tokens) + end


def tombstone_affixes(address: Address, *, can_recall: bool = True) -> tuple[str, str]:
    """The text before and behind the `tombstone_words` of every segment.

    Prefix, words and suffix meet at token boundaries of o200k, so the token counts of the parts add up.
    """
    way_back = f"ctxgc recall {address}" if can_recall else "make the call again"
    return _BEGINS, f"; get it back: {way_back}]"


def tombstone_words(segment: Segment, body_tokens: int) -> str:
    """The segment's own part of its tombstone: label and size."""
    label = _balance_brackets(segment_label(segment, TOMBSTONE_LABEL_BYTES_MAX))
    return f" {label}, {compact_tokens_text(body_tokens)} tokens"


def _balance_brackets(text: str) -> str:
    """The text without a bracket that would close the tombstone's own, or leave the tombstone open: round brackets
    stand there.
    """
    signs, opened = list(text), list[int]()
    for at, sign in enumerate(text):
        if sign == "[":
            opened.append(at)
        elif sign == "]" and opened:
            opened.pop()
        elif sign == "]":
            signs[at] = ")"
    for at in opened:
        signs[at] = "("
    return "".join(signs)
