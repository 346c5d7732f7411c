"""The drawings of docs/performance.md: times over sizes, both in logarithms, in the style of the policy's drawings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from perf.policy_plots import svg, text

COLOURS = {
    "s0": ("#0b7a75", "#3fc1b7"),
    "s1": ("#b4531f", "#f0935c"),
    "s2": ("#5b4fa8", "#a99df0"),
    "s3": ("#93630a", "#e0b04a"),
    "s4": ("#a3325f", "#f07fa8"),
    "s5": ("#2f6d2f", "#7cc77c"),
    "s6": ("#5f696f", "#a6b1b8"),
}
"""Classes of lines, with the colour on light and on dark paper."""
PANEL_WIDTH, PANEL_HEIGHT = 300, 330
LEFT, TOP, BOTTOM, LABELS = 62, 70, 52, 152
LABEL_HEIGHT = 15.0
UNITS = ((1e3, "s"), (1.0, "ms"), (1e-3, "µs"), (1e-6, "ns"))

Scale = Callable[[float], float]


class Line(NamedTuple):
    """A series: (segments, milliseconds, lowest, highest) of each size, ascending."""

    name: str
    points: Sequence[tuple[int, float, float, float]]


class Panel(NamedTuple):
    """A part of a drawing with axes of its own."""

    title: str
    lines: Sequence[Line]


def log_log(title: str, panels: Sequence[Panel]) -> str:
    """Times over sizes; each line is named behind its end, and whiskers run from the lowest to the highest round."""
    each = LEFT + PANEL_WIDTH + LABELS
    parts = [_style(), text(24, 32, title, "title")]
    for number, panel in enumerate(panels):
        parts += _panel(panel, number * each + LEFT)
    return svg(each * len(panels), TOP + PANEL_HEIGHT + BOTTOM, title, parts)


def duration_text(milliseconds: float) -> str:
    """A time, short: `12 µs`, `3.4 ms`, `1.2 s`."""
    size, unit = next(((size, unit) for size, unit in UNITS if milliseconds >= size), UNITS[-1])
    number = milliseconds / size
    return f"{number:.0f} {unit}" if number >= 10 or number == round(number) else f"{number:.1f} {unit}"


def _style() -> str:
    light = "".join(f".{name}{{stroke:{colour};fill:{colour}}}" for name, (colour, _) in COLOURS.items())
    dark = "".join(f".{name}{{stroke:{colour};fill:{colour}}}" for name, (_, colour) in COLOURS.items())
    names = ",".join(f"text.{name}" for name in COLOURS)
    return f"<style>{light}@media(prefers-color-scheme:dark){{{dark}}}{names}{{stroke:none;font-weight:600}}</style>"


def _panel(panel: Panel, left: float) -> list[str]:
    points = [point for line in panel.lines for point in line.points]
    sizes = sorted({size for size, *_ in points})
    low, high = floor(log10(min(p[2] for p in points))), ceil(log10(max(p[3] for p in points)))
    first, last = log10(sizes[0]), log10(sizes[-1])

    def x(size: float) -> float:
        return left + PANEL_WIDTH * (log10(size) - first) / (last - first)

    def y(time: float) -> float:
        return TOP + PANEL_HEIGHT * (high - log10(time)) / (high - low)

    parts = [text(left, TOP - 12, panel.title, "title")]
    for decade in range(low, high + 1):
        parts.append(f'<path class="grid" d="M{left:.0f} {y(10.0**decade):.1f}h{PANEL_WIDTH}"/>')
        parts.append(text(left - 8, y(10.0**decade) + 4, duration_text(10.0**decade), "tick", "end"))
    for size in sizes:
        parts.append(f'<path class="grid" d="M{x(size):.1f} {TOP}v{PANEL_HEIGHT}"/>')
        words = f"{size // 1_000_000} M" if size >= 1_000_000 else f"{size // 1000} k"
        parts.append(text(x(size), TOP + PANEL_HEIGHT + 18, words, "tick", "middle"))
    parts.append(text(left + PANEL_WIDTH, TOP + PANEL_HEIGHT + 36, "segments", "tick", "end"))
    for kind, line in zip(COLOURS, panel.lines, strict=False):
        parts += _drawn(kind, line, x, y)
    return parts + _labels(panel.lines, x, y)


def _drawn(kind: str, line: Line, x: Scale, y: Scale) -> list[str]:
    path = "L".join(f"{x(size):.1f} {y(time):.1f}" for size, time, _, _ in line.points)
    whiskers = "".join(f"M{x(size):.1f} {y(low):.1f}V{y(high):.1f}" for size, _, low, high in line.points)
    parts = [f'<path class="line {kind}" d="M{path}"/>', f'<path class="whisker {kind}" d="{whiskers}"/>']
    spots = (f'<circle class="{kind}" cx="{x(size):.1f}" cy="{y(time):.1f}" r="3"/>' for size, time, *_ in line.points)
    return parts + list(spots)


def _labels(lines: Sequence[Line], x: Scale, y: Scale) -> list[str]:
    """The names behind the ends of the lines, pushed apart where lines of the largest size end close to each other."""
    largest = max(line.points[-1][0] for line in lines)
    parts, free = [], 0.0
    placed = sorted((y(line.points[-1][1]), kind, line) for kind, line in zip(COLOURS, lines, strict=False))
    for at, kind, line in placed:
        size = line.points[-1][0]
        is_at_edge = size == largest
        free = max(at + 4, free + LABEL_HEIGHT) if is_at_edge else free
        parts.append(text(x(size) + 10, free if is_at_edge else at + 4, line.name, kind))
    return parts
