"""The drawings of docs/design/policy.md: SVG by hand, legible on light and dark paper, no script and no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from math import exp
from typing import NamedTuple

STYLE = """<style>
.paper{fill:#fbfaf7;stroke:#e4e2dc}text{fill:#4b555c;font:12px system-ui,-apple-system,"Segoe UI",sans-serif}
.title{fill:#1d2327;font-size:15px;font-weight:600}.tick{fill:#5f696f;font-size:11px}.halo{paint-order:stroke;stroke:#fbfaf7;stroke-width:3.5px;stroke-linejoin:round}.grid{stroke:#e4e2dc}
.a{stroke:#0b7a75;fill:#0b7a75}.b{stroke:#b4531f;fill:#b4531f}text.a,text.b{stroke:none;font-weight:600}
.other{fill:#7a858c}.bound{stroke:#7a858c;stroke-dasharray:4 4}.hollow{fill:#fbfaf7;stroke:#7a858c;stroke-width:1.6}
path.line{fill:none;stroke-width:2.2;stroke-linejoin:round}path.whisker{stroke-width:1.6;opacity:.42;fill:none}
.zero{stroke:#7a858c}.goal{fill:#0b7a75;opacity:.07}
@media(prefers-color-scheme:dark){.paper{fill:#171b1f;stroke:#2b3237}text{fill:#b4bdc3}.title{fill:#eceeef}
.tick{fill:#9aa5ac}.halo{stroke:#171b1f}.grid{stroke:#2b3237}.a{stroke:#3fc1b7;fill:#3fc1b7}.b{stroke:#f0935c;fill:#f0935c}
.other{fill:#94a0a7}.bound,.zero{stroke:#94a0a7}.hollow{fill:#171b1f;stroke:#94a0a7}.goal{fill:#3fc1b7;opacity:.1}}
</style>"""
PANEL_WIDTH, PANEL_HEIGHT = 330, 300
LEFT, TOP, GAP, BOTTOM = 56, 66, 74, 66
FAULTS_SHOWN = 4.2

Scale = Callable[[float], float]


class Point(NamedTuple):
    """A setting: faults per 100 turns, cost in percent, and their intervals where they are drawn."""

    faults: float
    cost: float
    faults_interval: Sequence[float] = ()
    cost_interval: Sequence[float] = ()


class Panel(NamedTuple):
    """One agent's part of a frontier drawing."""

    title: str
    lines: dict[str, list[Point]]
    """By css class: the frontier of a scope."""
    chosen: dict[str, Point]
    """By css class: the out-of-fold point, with whiskers."""
    others: dict[str, Point]
    """Policies to compare with, by name."""
    bounds: dict[str, Point]
    """What perfect knowledge reaches, by name."""
    certified: float
    """No policy costs less."""


def svg(width: int, height: int, label: str, parts: Iterable[str]) -> str:
    """A drawing on its own sheet of paper."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="'
    paper = f'<rect class="paper" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="12"/>'
    return head + f'{escape(label)}">\n{STYLE}\n{paper}\n' + "\n".join(parts) + "\n</svg>\n"


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """A word at a place."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def frontier(title: str, panels: Sequence[Panel], legend: dict[str, str]) -> str:
    """Cost against faults: lower left is better. One panel an agent, one line a scope."""
    width = LEFT + len(panels) * PANEL_WIDTH + (len(panels) - 1) * GAP + 34
    parts = [text(24, 32, title, "title")]
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + number * (PANEL_WIDTH + GAP), TOP)
    x = LEFT + 0.0
    for kind, name in legend.items():
        y = TOP + PANEL_HEIGHT + 52
        parts += [f'<path class="line {kind}" d="M{x:.0f} {y - 4}h22"/>', text(x + 28, y, name, kind)]
        x += 50 + 6.6 * len(name)
    parts.append(text(x, TOP + PANEL_HEIGHT + 52, "crosses: out of fold, 95 % · rings: perfect knowledge", "tick"))
    return svg(width, TOP + PANEL_HEIGHT + BOTTOM, title, parts)


def _panel(panel: Panel, left: float, top: float) -> list[str]:
    shown = [*(point for line in panel.lines.values() for point in line), *panel.chosen.values()]
    costs = [point.cost for point in (*shown, *panel.bounds.values())] + [panel.certified]
    low = 5 * (min(costs) // 5) - 0.0
    high = max(max(costs), *(point.cost for point in panel.others.values() if point.cost < 100)) + 4.0

    def x(faults: float) -> float:
        return left + PANEL_WIDTH * min(faults, FAULTS_SHOWN) / FAULTS_SHOWN

    def y(cost: float) -> float:
        return top + PANEL_HEIGHT * (high - min(cost, high)) / (high - low)

    parts = [text(left, top - 10, panel.title, "title")]
    for cost in range(int(low), int(high) + 1, 10 if high - low > 45 else 5):
        parts.append(f'<path class="grid" d="M{left} {y(cost):.1f}h{PANEL_WIDTH}"/>')
        parts.append(text(left - 8, y(cost) + 4, f"{cost} %", "tick", "end"))
    for faults in range(int(FAULTS_SHOWN) + 1):
        parts.append(text(x(faults), top + PANEL_HEIGHT + 18, str(faults), "tick", "middle"))
    parts.append(text(left + PANEL_WIDTH, top + PANEL_HEIGHT + 35, "faults in 100 turns", "tick", "end"))
    at = y(panel.certified)
    parts.append(f'<path class="bound" d="M{left} {at:.1f}h{PANEL_WIDTH}"/>')
    parts.append(text(left + PANEL_WIDTH, at - 5, "no policy costs less", "tick halo", "end"))
    for kind, line in panel.lines.items():
        drawn = [point for point in sorted(line) if point.faults <= FAULTS_SHOWN]
        path = "L".join(f"{x(point.faults):.1f} {y(point.cost):.1f}" for point in drawn)
        parts.append(f'<path class="line {kind}" d="M{path}"/>')
    for kind, point in panel.chosen.items():
        parts += _cross(kind, point, x, y)
    for name, point in panel.others.items():
        if point.cost <= high and point.faults <= FAULTS_SHOWN:
            parts.append(f'<circle class="other" cx="{x(point.faults):.1f}" cy="{y(point.cost):.1f}" r="4"/>')
            parts.append(_beside(x(point.faults), y(point.cost) - 7, name, left))
    for name, point in panel.bounds.items():
        parts.append(f'<circle class="hollow" cx="{x(point.faults):.1f}" cy="{y(point.cost):.1f}" r="4.5"/>')
        parts.append(text(x(point.faults) + 9, y(point.cost) + 4, name, "tick halo"))
    return parts


def _beside(x: float, y: float, name: str, left: float) -> str:
    is_far = x > left + PANEL_WIDTH * 0.6
    return text(x + (4 if is_far else -4), y, name, "tick halo", "end" if is_far else "start")


def _cross(kind: str, point: Point, x: Scale, y: Scale) -> list[str]:
    (left, right), (low, high) = point.faults_interval, point.cost_interval
    across = f"M{x(left):.1f} {y(point.cost):.1f}H{x(right):.1f}M{x(point.faults):.1f} {y(low):.1f}V{y(high):.1f}"
    spot = f'cx="{x(point.faults):.1f}" cy="{y(point.cost):.1f}"'
    return [f'<path class="whisker {kind}" d="{across}"/>', f'<circle class="{kind}" {spot} r="5"/>']


def weights(rows: Sequence[tuple[str, float]]) -> str:
    """Times the odds that a body is needed again, by trait; one is in the middle."""
    row_height, middle, scale = 27, 490.0, 72.0
    parts = [text(24, 32, "Times the odds of being needed again, all else equal", "title")]
    bottom = 58 + row_height * len(rows)
    parts.append(f'<path class="zero" d="M{middle} 50V{bottom}"/>')
    for number, (name, weight) in enumerate(rows):
        y = 58 + row_height * number
        start = min(middle, middle + scale * weight)
        kind = "a" if weight > 0 else "b"
        parts.append(text(252, y + 14, name, "", "end"))
        box = f'x="{start:.1f}" y="{y + 2}" width="{abs(scale * weight):.1f}" height="16" rx="3"'
        parts.append(f'<rect class="{kind}" {box}/>')
        end, anchor = (middle + scale * weight + 8, "start") if weight > 0 else (start - 8, "end")
        parts.append(text(end, y + 14, f"× {exp(weight):.2g}", kind, anchor))
    return svg(680, bottom + 20, "Weights of the reuse estimate", parts)
