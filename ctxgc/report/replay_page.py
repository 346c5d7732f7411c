"""The report as an HTML file: no network, no script, light and dark; the page shows labels, never the text of a
session.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ctxgc.replay.policy_registry import is_oracle
from ctxgc.replay.study_report import ALL_AGENTS, Report
from ctxgc.replay.terms import NONE, SHIPPED
from ctxgc.report.charts import Dot, Row, dot_plot, share_bar_chart, window_chart
from ctxgc.report.numbers import policy_cells
from ctxgc.report.style import STYLE

SCOPES = {
    "policies": "tool results",
    "policies_with_inputs_and_thinking": "tool results, old tool inputs, old thinking",
}
REASONS = {
    "value": "unlikely to be needed again",
    "host": "the host itself cleared it",
    "ranked": "the coldest under the hard limit",
}
"""What the reasons of victims mean to a person; proofs of garbage are words already."""


def report_html(report: Report) -> str:
    """The whole page. The same report gives the same bytes."""
    agents = dict(report["agents"])
    everyone = agents.pop(ALL_AGENTS)
    parts = [
        _head_html(report, everyone, list(agents)),
        _section_html("Cost and faults by policy", _NOTE_POLICIES, _policies_html(agents, everyone)),
        _section_html("One session, turn by turn", _window_note(report), _window_html(report)),
        _section_html("What the window was full of", _NOTE_PROFILE, _profiles_html(agents, everyone)),
        _section_html("The largest faults", _NOTE_FAULTS, _faults_html(report["worst_faults"])),
        _section_html("Every number", "", _tables_html(report, agents, everyone)),
        _foot_html(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>ctxgc replay</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


_NOTE_POLICIES = (
    "Each policy was played on the same recorded sessions, billed turn by turn. Whiskers are 95 % intervals over "
    "sessions. Diamonds are the placebo: faults that remain when each turn's output is replaced by another session's, "
    "so only what lies to the right of a diamond is more than coincidence. Hollow dots know the future, and no policy "
    "whatever can cost less than the orange line."
)
_NOTE_PROFILE = (
    "Of all tokens of evictable bodies in all prompts, without any collection: live before their last use, drag after "
    "it, void if nothing ever used them."
)
_NOTE_FAULTS = (
    "What the shipped policy evicted and a later turn would have wanted, largest first. In a live session each of "
    "these is one recall, byte for byte. Came, went and wanted are turns."
)


def _section_html(title: str, note: str, body: str) -> str:
    lead = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{body}</section>" if body else ""


def _head_html(report: Report, everyone: Report, agents: Sequence[str]) -> str:
    prices = report["prices"]
    ours = next((row for row in everyone["policies"] if row["name"] == SHIPPED), None)
    facts = f"{everyone['sessions']:,} sessions · {everyone['turns']:,} turns · {', '.join(agents) or 'no agent'}"
    if ours is None or ours["cost_pct"] is None:
        return f'<header><p class="brand">ctxgc replay</p><h1>{escape(facts)}</h1></header>'
    main = ours["prompt_tokens_pct"] if prices["is_flat"] else ours["cost_pct"]
    what = "of the prompt tokens they had" if prices["is_flat"] else "of what they did"
    tiles = [
        ("cost", f"{ours['cost_pct']:.1f} %", _interval_tile_text(ours["interval"])),
        ("prompt tokens", f"{ours['prompt_tokens_pct']:.1f} %", "of no collection"),
        ("faults / 100 turns", f"{ours['faults_per_100_turns']:.2f}", _placebo_text(ours)),
        ("re-read after eviction", f"{ours['explicit_faults_per_100_turns']:.2f}", "per 100 turns"),
        ("dearest session", f"{ours['worst_session_cost_pct']:.1f} %", "100 is no collection"),
    ]
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value}</dd><small>{escape(more)}</small></div>"
        for name, value, more in tiles
    )
    billed = (
        f"{prices['billed_by']}, prices as of {prices['as_of']}: read {prices['read']:g} ×, write {prices['write']:g} ×"
    )
    return (
        f'<header><p class="brand">ctxgc replay</p><h1>With ctxgc, these sessions would have cost '
        f'<b>{main:.1f} %</b> {what}.</h1><p class="facts">{escape(facts)}<br>{escape(billed)}</p>'
        f"<dl>{cells}</dl></header>"
    )


def _interval_tile_text(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.1f} – {interval[1]:.1f}" if interval else "too few sessions for an interval"


def _placebo_text(row: Report) -> str:
    placebo = row["placebo_faults_per_100_turns"]
    return f"placebo {placebo:.2f}" if placebo is not None else "no placebo: one session only"


def _policies_html(agents: dict[str, Report], everyone: Report) -> str:
    parts = [_figure_html(everyone, "policies", "All agents, tool results")]
    rest = list(SCOPES)[1]
    parts.append(_details_html("All agents", SCOPES[rest], _figure_html(everyone, rest, f"All agents, {SCOPES[rest]}")))
    for name, agent in agents.items():
        figures = [
            f"<h3>{escape(about)}</h3>{_figure_html(agent, scope, f'{name}, {about}')}"
            for scope, about in SCOPES.items()
        ]
        parts.append(_details_html(name, f"{agent['sessions']:,} sessions, {agent['turns']:,} turns", "".join(figures)))
    return "".join(parts)


def _details_html(title: str, more: str, body: str) -> str:
    return f"<details><summary>{escape(title)} <small>{escape(more)}</small></summary>{body}</details>"


def _figure_html(agent: Report, scope: str, label: str) -> str:
    bound = agent[scope.replace("policies", "bounds")]["certified_cost_pct"]
    return f"<figure>{_plot_html(agent[scope], label, bound)}</figure>"


def _plot_html(policies: Sequence[Report], label: str, bound: float | None) -> str:
    rows = []
    for row in sorted(policies, key=lambda row: row["cost_pct"] or 0.0):
        cost, faults = row["cost_pct"], row["faults_per_100_turns"]
        if cost is None or faults is None:
            continue
        cost_low, cost_high = row["interval"] or (cost, cost)
        low, high = row["faults_interval"] or (faults, faults)
        placebo = row["placebo_faults_per_100_turns"]
        rows.append(
            Row(row["name"], Dot(cost, cost_low, cost_high), Dot(faults, low, high, placebo), _style_class(row["name"]))
        )
    return dot_plot(rows, label, bound) if rows else ""


def _style_class(name: str) -> str:
    if name == SHIPPED:
        return "ours"
    if name == NONE:
        return "base"
    return "oracle" if is_oracle(name) else "other"


def _window_note(report: Report) -> str:
    longest = report["longest_session"]
    if longest is None:
        return ""
    cuts = len(longest["host_cuts"])
    after = f" Dashed: the host compacted its own window, {cuts} times." if cuts else ""
    return f"Tokens in each prompt of the longest session, {longest['source']} {longest['session'][:12]}…{after}"


def _window_html(report: Report) -> str:
    longest = report["longest_session"]
    if longest is None:
        return ""
    return f"<figure>{window_chart(longest['windows'], longest['host_cuts'], 'Prompt tokens by turn')}</figure>"


def _profiles_html(agents: dict[str, Report], everyone: Report) -> str:
    named = [*agents.items(), ("all", everyone)] if len(agents) > 1 else list(agents.items())
    rows = [(name, agent["heap_profile"]) for name, agent in named if agent["heap_profile"]["live"] is not None]
    return f"<figure>{share_bar_chart(rows, 'Live, drag and void by agent')}</figure>" if rows else ""


def _faults_html(faults: Sequence[Report]) -> str:
    if not faults:
        return '<p class="note">None.</p>'
    rows = [
        (
            f"{fault['size_tokens']:,}",
            fault["what"],
            f"{fault['source']} {fault['session'][:8]}",
            str(fault["born_turn"]),
            str(fault["gone_turn"]),
            str(fault["turn"]),
            REASONS.get(fault["reason"], fault["reason"].replace("_", " ")),
        )
        for fault in faults
    ]
    return _table_html((">tokens", "what was missing", "session", ">came", ">went", ">wanted", "why it had gone"), rows)


def _tables_html(report: Report, agents: dict[str, Report], everyone: Report) -> str:
    parts = []
    for name, agent in [*agents.items(), (ALL_AGENTS, everyone)]:
        body = "".join(
            f"<h3>{escape(about)}</h3>{_policy_table_html(report, agent[scope])}" for scope, about in SCOPES.items()
        )
        precision = agent["placebo_precision"]
        host = agent["host_compactions"]
        sentences = [f"{agent['sessions']:,} sessions, {agent['turns']:,} turns, {agent['episodes']:,} episodes"]
        sentences.append(
            f"placebo precision {precision:.2f}" if precision is not None else "no placebo: one session only"
        )
        if host["read_again_pct"] is not None:
            sentences.append(
                f"the host compacted {host['cuts']} times; {host['read_again_pct']:.0f} % of its files were re-read"
            )
        parts.append(_details_html(name, "; ".join(sentences), body))
    return "".join(parts)


def _policy_table_html(report: Report, policies: Sequence[Report]) -> str:
    times = report["timing"]["policy_us_per_turn"]
    head = ("policy", ">cost %", ">interval", ">prompt %", ">faults", ">interval", ">placebo", ">explicit", ">vs LRU")
    rows = [policy_cells(row, times) for row in policies]
    return _table_html((*head, ">worst session %", ">worst turn %", ">cache misses %", ">µs a turn"), rows)


def _table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    styles = [' class="right"' if name.startswith(">") else "" for name in head]
    top = "".join(f"<th{style}>{escape(name.removeprefix('>'))}</th>" for name, style in zip(head, styles, strict=True))
    body = "".join(
        f"<tr{_row_class_attribute(row[0])}>"
        + "".join(f"<td{style}>{escape(cell)}</td>" for cell, style in zip(row, styles, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _row_class_attribute(name: str) -> str:
    return ' class="ours"' if name == SHIPPED else ""


def _foot_html(report: Report) -> str:
    skipped = len(report["skipped"])
    files = f"{report['files']:,} transcripts" + (f", {skipped:,} skipped" if skipped else "")
    return (
        f"<footer><p>{files}. A fault is a segment that a turn's output shows to have been needed and that was not in "
        "the window: two rare words, or one edited line, that nothing else in the prompt contains. Evidence is lexical "
        "and the replay is open loop: the model is not asked again. Read faults beside their placebo, and cost beside "
        f"its interval.</p><p>Just-enough policies hold {report['budget_tokens']:,} tokens. Made by "
        "<code>ctxgc replay</code>; nothing was sent anywhere.</p></footer>"
    )
