"""Output for people: colours, tables, bars and numbers, fitted to the terminal; and tokens as a model bills them.

Colour only on a terminal, and never where `NO_COLOR` is set. Text from a session is data: characters that could steer
the terminal (escape sequences, carriage returns) are shown as visible signs instead of being sent.
"""

from __future__ import annotations

import os
import time

from ctxgc.core.display_texts import MATCH_END, MATCH_START, SHADOW, tokens_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

    from ctxgc.protocol.replies.heap import CollectionReply, LogReply, PriceReply
    from ctxgc.protocol.replies.segments import SegmentReply
    from ctxgc.protocol.replies.sessions import ShowReply

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
WIDTH_DEFAULT = 100
WIDTH_UNCUT = 10_000
"""Of a file or pipe: what a program reads is never cut to fit."""
WIDTH_MAX = 140
PROTECTIONS = {
    "system": "system prompts",
    "user": "what the user said",
    "assistant": "what the model said",
    "thinking": "thoughts",
    "pinned": "pins",
    "recent": "the newest turns",
    "pending": "open calls",
    "plan": "the newest plan",
    "file": "files in use",
    "summary": "summaries",
    "task": "the task at hand",
    "open": "open files",
    "protected": "what the configuration protects",
    "recalled": "recalled just now",
    "pointed": "lines that pointers lead to",
    "skeleton": "the calls themselves",
    "tombstone": "tombstones",
    "small": "too small to gain by",
    "opaque": "images and the like",
    "system_and_tools": "system prompt and tools",
}
"""The protections of a window in words; a kind of segment that is never evicted goes by its own name."""
SNIPPET_INDENT = 4


class Page:
    """Writes for people to a stream."""

    def __init__(self, stream: TextIO, env: Mapping[str, str] = os.environ) -> None:
        self.stream = stream
        self.is_terminal = stream.isatty()
        self.has_colour = self.is_terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"
        self.width = _terminal_width(stream, env) if self.is_terminal else WIDTH_UNCUT
        self.can_utf8 = "utf" in (getattr(stream, "encoding", "") or "").lower()

    def style_text(self, text: str, *styles: str) -> str:
        """The text in these styles, or plain where colour is off."""
        if not (self.has_colour and text and styles):
            return text
        return f"\x1b[{';'.join(STYLES[style] for style in styles)}m{text}\x1b[0m"

    def print_line(self, text: str = "", *styles: str) -> None:
        """Print a line."""
        line = self.style_text(text, *styles)
        self.stream.write((line if self.can_utf8 else line.encode("ascii", "replace").decode()) + "\n")

    def print_title(self, text: str) -> None:
        """Print a heading, with an empty line before."""
        self.print_line()
        self.print_line(text, "bold")

    def print_fields(self, rows: Sequence[tuple[str, str]], indent: str = "  ") -> None:
        """Names and values, values in a column; rows without a value are left out."""
        wide = max((len(name) for name, value in rows if value), default=0)
        for name, value in rows:
            if value:
                self.print_line(f"{indent}{self.style_text(name.ljust(wide), 'dim')}  {value}")

    def print_table(self, head: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "  ") -> None:
        """Columns of their needed width, the last cut to fit; `>` before a heading aligns its column right."""
        right = [name.startswith(">") for name in head]
        names = [name.removeprefix(">") for name in head]
        cells = [[printable_line(cell) for cell in row] for row in rows]
        wide = [max([count_columns(name), *(count_columns(row[at]) for row in cells)]) for at, name in enumerate(names)]
        room = self.width - len(indent) - sum(wide[:-1]) - 2 * (len(wide) - 1)
        wide[-1] = min(wide[-1], max(room, 12))

        def line(row: Sequence[str]) -> str:
            out = [fit_columns(cell, wide[at], right=right[at]) for at, cell in enumerate(row)]
            return (indent + "  ".join(out)).rstrip()

        self.print_line(line(names), "dim")
        for row in cells:
            self.print_line(line(row))

    def share_bar(self, part: float, width: int = 24) -> str:
        """A filled bar for a share of 0 to 1."""
        filled = round(min(max(part, 0.0), 1.0) * width)
        full, rest = ("█", "░") if self.can_utf8 else ("#", ".")
        return self.style_text(full * filled, "cyan") + self.style_text(rest * (width - filled), "dim")

    def highlight_snippet(self, text: str) -> str:
        """A search snippet on a line, its matches highlighted."""
        parts = _crop_to_first_match(" ".join(text.split()), self.width - SNIPPET_INDENT).split(MATCH_START)
        out = [printable_line(parts[0])]
        for part in parts[1:]:
            match, _, rest = part.partition(MATCH_END)
            out.append(self.style_text(printable_line(match), "bold", "yellow") + printable_line(rest))
        return "".join(out)


def _crop_to_first_match(text: str, width: int) -> str:
    """At most so many characters of a snippet, the first match a third of the way in; control characters are not
    counted."""
    if len(text) <= width:
        return text
    start = min(max(text.find(MATCH_START) - width // 3, 0), len(text) - width)
    end = start + width
    while end < len(text) and end - start - sum(map(text[start:end].count, (MATCH_START, MATCH_END))) < width:
        end += 1
    return text[start:end]


def printable_line(text: str) -> str:
    """Text on one line that cannot steer a terminal: control and bidi characters become visible signs."""
    if text.isprintable():
        return text
    return "".join(_visible_char(char) for char in text)


def printable_text(text: str) -> str:
    """Like `plain`, but newlines and tabs stay: for content shown in full."""
    return "".join(char if char in "\n\t" or char.isprintable() else _visible_char(char) for char in text)


def _visible_char(char: str) -> str:
    code = ord(char)
    if code < 32:
        return chr(0x2400 + code)  # The control pictures: ␀ … ␟.
    return char if char.isprintable() or char == "\u00a0" else "�"


def count_columns(text: str) -> int:
    """How many terminal columns a text takes: wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_char_columns(char) for char in text)


def _char_columns(char: str) -> int:
    import unicodedata  # A shared library: only opened for text that needs it.

    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit_columns(text: str, width: int, *, right: bool = False) -> str:
    """Text padded to a width, or cut with an ellipsis."""
    space = width - count_columns(text)
    if space >= 0:
        return " " * space + text if right else text + " " * space
    while text and count_columns(text) > width - 1:
        text = text[:-1]
    return text + "…"


def format_count(number: float) -> str:
    """A whole number with thin grouping: `1,234,567`."""
    return f"{round(number):,}"


def format_dollars(amount: float) -> str:
    """An amount of money, short: `$12.30`, `$0.0042`."""
    size = abs(amount)
    return (
        f"{'-' if amount < 0 else ''}${size:,.2f}" if size >= 0.1 or not size else f"${amount:.4f}".replace("$-", "-$")
    )


def price_in_words(price: PriceReply) -> str:
    """The origin of a price, for a line below amounts in dollars."""
    origin = f"the list price of {price.as_of}" if price.as_of else "the price of your configuration"
    return f"dollars: {price.model} at {format_dollars(price.input_usd)} for a million input tokens, {origin}"


class Billing:
    """Raw tokens of a session as the model bills tokens: the unit of every number of a window."""

    __slots__ = ("ratio", "system_and_tools_tokens")

    def __init__(self, reply: ShowReply | LogReply) -> None:
        """By the `ratio` and `system_and_tools_tokens` of a reply."""
        self.ratio = reply.ratio
        self.system_and_tools_tokens = reply.system_and_tools_tokens

    def billed_part_tokens(self, raw_tokens: float) -> int:
        """Of a part of the window; rounded up, as the daemon does."""
        return -int(-raw_tokens * self.ratio // 1)

    def billed_window_tokens(self, raw_tokens: float) -> int:
        """Of a window, system prompt and tools included."""
        return self.billed_part_tokens(raw_tokens) + self.system_and_tools_tokens


def format_bytes(number: float) -> str:
    """Bytes, short: `950 B`, `12.3 KB`, `4.56 MB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(number) < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def format_percent(part: float, whole: float) -> str:
    """A share: `37 %`; empty without a whole."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def format_duration(seconds: float) -> str:
    """A span of time, short: `4 s`, `3 min`, `5 h`, `2 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def time_ago(wall_s: float) -> str:
    """The time since a moment; empty for an unknown moment."""
    if wall_s <= 0:
        return ""
    return f"{format_duration(max(time.time() - wall_s, 0))} ago"


def pluralize(number: int, noun: str) -> str:
    """`1 segment`, `2 segments`."""
    return f"{format_count(number)} {noun}" + ("" if number == 1 else "s")


def protections_in_words(sums: Mapping[str, int]) -> str:
    """The protections of a window with their tokens, the largest first."""
    ranked = sorted(sums.items(), key=lambda item: -item[1])
    return ", ".join(f"{PROTECTIONS.get(name, name)} {tokens_text(number)}" for name, number in ranked)


def collection_effect_in_words(one: CollectionReply, billing: Billing) -> str:
    """The effect of a journal entry: evicted, would have evicted, or brought back."""
    freed = billing.billed_window_tokens(one.before_tokens) - billing.billed_window_tokens(one.after_tokens)
    if one.undoes:
        return f"{tokens_text(-freed)} came back"
    verb = "would have evicted" if one.trigger == SHADOW else "evicted"
    asked = f", {format_count(one.asked_back)} asked back" if one.asked_back else ""
    return f"{verb} {format_count(one.evicted)}, freed {tokens_text(freed)}{asked}"


def segment_label(segment: SegmentReply) -> str:
    """A segment in a few words from its metadata: tool, path and lines, or command; never text of its body."""
    words = [segment.tool or segment.kind]
    paths = segment.paths
    if segment.command:
        words = [f"{words[0]}:", segment.command]
    elif paths:
        first = paths[0]
        words[0] += "" if segment.kind == "tool_call" else ":"
        lines = f":{first.first_line}-{first.last_line}" if first.last_line else ""
        more = f" +{len(paths) - 1}" if len(paths) > 1 else ""
        words.append(f"{first.path}{lines}{more}")
    return printable_line(" ".join(words))


def _terminal_width(stream: TextIO, env: Mapping[str, str]) -> int:
    if env.get("COLUMNS", "").isdigit():
        return min(int(env["COLUMNS"]), WIDTH_MAX) or WIDTH_DEFAULT
    try:
        return min(os.get_terminal_size(stream.fileno()).columns, WIDTH_MAX) or WIDTH_DEFAULT
    except (OSError, ValueError):
        return WIDTH_DEFAULT
