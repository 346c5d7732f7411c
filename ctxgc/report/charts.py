"""Charts as SVG text, by hand: no library, no script, no network. Colours are classes that the page's style fills in.

Coordinates are in pixels of a drawing `WIDTH` wide, rounded to a tenth, so that the same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

WIDTH = 920
ROW = 26
POINTS_MAX = 1200
"""A line with more points than pixels shows no more."""


class Dot(NamedTuple):
    """A value with its interval, and the placebo's value."""

    value: float
    low: float
    high: float
    placebo: float | None = None


class Row(NamedTuple):
    """A line of a dot plot."""

    name: str
    cost: Dot
    faults: Dot
    mark: str
    """Class: `ours`, `base`, `oracle` or `other`."""


class Panel(NamedTuple):
    """A horizontal scale between two pixels."""

    left: float
    right: float
    low: float
    high: float
    step: float
    """Between two lines of its grid."""

    def x_of_value(self, value: float) -> float:
        """Where a value lies; values beyond the scale lie on its edge."""
        share = (value - self.low) / (self.high - self.low or 1)
        return self.left + (self.right - self.left) * min(max(share, 0.0), 1.0)


def tick_step(span: float, ticks: int) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides a span into about so many parts."""
    raw = max(span, 1e-9) / ticks
    power = 10.0 ** floor(log10(raw))
    return next(power * step for step in (1.0, 2.0, 5.0, 10.0) if power * step >= raw)


def fit_scale(left: float, right: float, values: Sequence[float], *, from_zero: bool, high_max: float = 1e18) -> Panel:
    """A scale with round ends around the values."""
    low = 0.0 if from_zero else min(values, default=0.0)
    high = min(max(*values, 0.1, low + 0.1), high_max)
    step = tick_step(high - low, 5)
    return Panel(left, right, floor(low / step) * step, ceil(high / step) * step, step)


def svg_drawing(height: float, parts: Sequence[str], label: str) -> str:
    """A drawing with a name for screen readers."""
    head = f'<svg viewBox="0 0 {WIDTH} {_px_text(height)}" role="img" aria-label="{escape(label)}">'
    return head + "".join(parts) + "</svg>"


def dot_plot(rows: Sequence[Row], label: str, bound: float | None = None) -> str:
    """Cost on the left, faults on the right, a line a policy; whiskers are intervals, diamonds the placebo.

    `bound` is the cost that no policy can go below.
    """
    top, left = 48, 196
    costs = [value for row in rows for value in (row.cost.low, row.cost.high)]
    costs += [bound] if bound is not None else []
    faults = [value for row in rows for value in (row.faults.high, row.faults.placebo or 0.0)]
    cost_panel = fit_scale(left, 500, costs, from_zero=False, high_max=180)
    fault_panel = fit_scale(590, 850, faults, from_zero=True)
    bottom = top + ROW * len(rows)
    parts = [
        _grid_svg(cost_panel, top, bottom, "cost, % of no collection", lambda value: f"{value:g}", strong=100.0),
        _grid_svg(fault_panel, top, bottom, "faults in 100 turns", lambda value: f"{value:g}"),
    ]
    if bound is not None:
        x = _px_text(cost_panel.x_of_value(bound))
        title = f"<title>no policy can cost less than {bound:.1f} %</title>"
        parts.append(
            f'<line class="bound" x1="{x}" x2="{x}" y1="{_px_text(top - 4)}" y2="{_px_text(bottom)}">{title}</line>'
        )
    for number, row in enumerate(rows):
        y = top + ROW * (number + 0.5)
        if row.mark == "ours":
            parts.append(
                f'<rect class="band" x="0" y="{_px_text(y - ROW / 2)}" width="{WIDTH}" height="{ROW}" rx="6"/>'
            )
        parts.append(f'<g class="{row.mark}">' + _text_svg(left - 14, y, row.name, "end", "name"))
        parts.append(_dot_svg(cost_panel, row.cost, y, f"{row.name}: cost {row.cost.value:.1f} %"))
        parts.append(_text_svg(560, y, f"{row.cost.value:.1f}", "end", "value"))
        parts.append(_dot_svg(fault_panel, row.faults, y, f"{row.name}: {row.faults.value:.2f} faults in 100 turns"))
        parts.append(_text_svg(910, y, f"{row.faults.value:.2f}", "end", "value") + "</g>")
    return svg_drawing(bottom + 6, parts, label)


def _dot_svg(scale: Panel, dot: Dot, y: float, title: str) -> str:
    x, low, high = scale.x_of_value(dot.value), scale.x_of_value(dot.low), scale.x_of_value(dot.high)
    parts = [
        f'<line class="whisker" x1="{_px_text(low)}" x2="{_px_text(high)}" y1="{_px_text(y)}" y2="{_px_text(y)}"/>'
    ]
    if dot.placebo is not None:
        at = scale.x_of_value(dot.placebo)
        parts.append(f'<path class="placebo" d="M{_px_text(at)} {_px_text(y - 5)}l4 5-4 5-4-5z"/>')
    parts.append(
        f'<circle class="dot" cx="{_px_text(x)}" cy="{_px_text(y)}" r="4.5"><title>{escape(title)}</title></circle>'
    )
    return "".join(parts)


def _grid_svg(
    scale: Panel, top: float, bottom: float, name: str, tell: Callable[[float], str], strong: float | None = None
) -> str:
    parts = [_text_svg(scale.left, 8, name, "start", "axis")]
    for number in range(round((scale.high - scale.low) / scale.step) + 1):
        value = scale.low + number * scale.step
        is_strong = strong is not None and abs(value - strong) < scale.step / 1e6
        x = _px_text(scale.x_of_value(value))
        style = "grid strong" if is_strong else "grid"
        parts.append(f'<line class="{style}" x1="{x}" x2="{x}" y1="{_px_text(top - 4)}" y2="{_px_text(bottom)}"/>')
        parts.append(_text_svg(scale.x_of_value(value), top - 12, tell(round(value, 9)), "middle", "tick"))
    return "".join(parts)


def window_chart(windows: Mapping[str, Sequence[int]], cuts: Sequence[int], label: str) -> str:
    """Prompt tokens by turn, a line a policy; dashed where the host itself cut its window."""
    left, right, top, bottom = 54, WIDTH - 150, 16, 300
    turns = max(map(len, windows.values()), default=0)
    most = max((max(line, default=0) for line in windows.values()), default=0) or 1
    step = tick_step(most, 5)
    high = ceil(most / step) * step

    def x(turn: float) -> float:
        return left + (right - left) * turn / max(turns - 1, 1)

    def y(tokens: float) -> float:
        return bottom - (bottom - top) * tokens / high

    parts = []
    for number in range(round(high / step) + 1):
        at = _px_text(y(number * step))
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{at}" y2="{at}"/>')
        parts.append(_text_svg(left - 8, y(number * step), _thousands_text(number * step), "end", "tick"))
    for cut in cuts:
        at = _px_text(x(cut))
        title = "<title>the host compacted its window here</title>"
        parts.append(f'<line class="cut" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}">{title}</line>')
    turn_step = tick_step(turns, 8)
    for number in range(int(max(turns - 1, 0) / turn_step) + 1):
        parts.append(_text_svg(x(number * turn_step), bottom + 16, f"{number * turn_step:g}", "middle", "tick"))
    parts.append(_text_svg(right, bottom + 34, "turn", "end", "axis"))
    ends = _spread_places({name: y(line[-1]) for name, line in windows.items() if line}, 16)
    for number, (name, line) in enumerate(windows.items()):
        if not line:
            continue
        points = [(x(turn), y(tokens)) for turn, tokens in _downsample_line(line)]
        path = "M" + "L".join(f"{_px_text(px)} {_px_text(py)}" for px, py in points)
        parts.append(f'<path class="line line{number}" d="{path}"><title>{escape(name)}</title></path>')
        parts.append(_text_svg(right + 10, ends[name], name, "start", f"end line{number}"))
    return svg_drawing(bottom + 42, parts, label)


def _downsample_line(line: Sequence[int]) -> list[tuple[int, int]]:
    """At most `POINTS_MAX` points of a line: of each bucket its highest, for peaks matter most."""
    size = ceil(len(line) / POINTS_MAX)
    return [
        max(((turn, line[turn]) for turn in range(at, min(at + size, len(line)))), key=lambda point: point[1])
        for at in range(0, len(line), size)
    ]


def _spread_places(places: Mapping[str, float], gap: float) -> dict[str, float]:
    """Places moved down until no two are closer than a gap."""
    positions: dict[str, float] = {}
    last = -gap
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        last = max(place, last + gap)
        positions[name] = last
    return positions


def share_bar_chart(rows: Sequence[tuple[str, Mapping[str, float]]], label: str) -> str:
    """A bar a row, cut into named shares of 100."""
    left, right, gap = 150, WIDTH - 10, 12
    parts = []
    for number, (name, shares) in enumerate(rows):
        y = number * (ROW + gap)
        parts.append(_text_svg(left - 14, y + ROW / 2, name, "end", "name"))
        at = float(left)
        for part, share in shares.items():
            wide = (right - left) * share / 100
            title = f"<title>{escape(name)}: {share:.1f} % {escape(part)}</title>"
            bar = f'x="{_px_text(at)}" y="{_px_text(y)}" width="{_px_text(max(wide - 1, 0))}" height="{ROW}" rx="3"'
            parts.append(f'<rect class="share {escape(part)}" {bar}>{title}</rect>')
            if wide > 70:
                parts.append(_text_svg(at + wide / 2, y + ROW / 2, f"{part} {share:.0f} %", "middle", f"inside {part}"))
            elif wide > 26:
                parts.append(_text_svg(at + wide / 2, y + ROW / 2, f"{share:.0f}", "middle", f"inside {part}"))
            at += wide
    return svg_drawing(len(rows) * (ROW + gap), parts, label)


def _text_svg(x: float, y: float, text: str, anchor: str, style: str) -> str:
    place = f'x="{_px_text(x)}" y="{_px_text(y)}" text-anchor="{anchor}" dominant-baseline="central"'
    return f'<text class="{style}" {place}>{escape(text)}</text>'


def _thousands_text(tokens: float) -> str:
    return f"{tokens / 1000:g} k" if tokens else "0"


def _px_text(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
