"""The screens of a replay: a table for each agent, its notes, and the explanation of a turn's faults."""

from __future__ import annotations

from ctxgc.core.display_texts import tokens_text
from ctxgc.fronts.cli.terminal import Page, format_count, format_dollars, pluralize, printable_line
from ctxgc.replay.study_report import ALL_AGENTS
from ctxgc.replay.terms import SHIPPED
from ctxgc.report.numbers import number_text, policy_cells
from ctxgc.report.replay_page import REASONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD = (
    "policy",
    ">cost %",
    ">95 %",
    ">prompt %",
    ">faults",
    ">95 %",
    ">placebo",
    ">explicit",
    ">vs LRU",
    ">worst %",
    ">any turn %",
    ">misses %",
    ">µs",
)
NARROW = (0, 1, 2, 3, 4, 6, 7)
"""The columns that a narrow terminal shows."""
WIDE_COLUMNS = 118


def print_report(page: Page, report: dict[str, Any], html: str = "") -> None:
    """The whole report."""
    prices, agents = report["prices"], dict(report["agents"])
    if len(agents) == 2:  # One agent and its double.
        del agents[ALL_AGENTS]
    _print_saving(page, report["agents"][ALL_AGENTS])
    for name, agent in agents.items():
        _print_agent(page, report, name, agent)
    page.print_line()
    page.print_line(f"Prices: {prices['billed_by']}, as of {prices['as_of']}. Costs are % of no collection.", "dim")
    page.print_line("Faults and explicit re-reads are per 100 turns; beside them what coincidence alone gives.", "dim")
    if money := report["money"]:
        page.print_line(printable_line(_money_in_words(money)), "dim")
    if prices["is_flat"]:
        page.print_line("A flat plan has no bill: judge it by prompt % and cache misses %.", "dim")
    if html:
        page.print_line(f"The page is {printable_line(html)}")


def _print_saving(page: Page, everything: dict[str, Any]) -> None:
    """The answer, before its tables."""
    rows = {row["name"]: row for row in everything["policies_with_inputs_and_thinking"]}
    if SHIPPED not in rows:
        return
    row = rows[SHIPPED]
    faults, chance = row["faults_per_100_turns"], row["placebo_faults_per_100_turns"]
    missed = f"missed something {number_text(faults, 2)} times in 100 turns"
    by_chance = f", {number_text(chance, 2)} of them by coincidence alone" if chance is not None else ""
    page.print_line(
        f"ctxgc as it ships would have cost {number_text(row['cost_pct'], 1)} % of doing nothing, and", "bold"
    )
    page.print_line(f"{missed}{by_chance}.", "bold")


def _money_in_words(money: dict[str, Any]) -> str:
    """The prompts' bill in dollars, with the shipped policy and without any."""
    saved = f"{format_dollars(money['with_usd'])} instead of {format_dollars(money['without_usd'])}"
    whose = f"the prompts of {pluralize(money['sessions'], 'session')} whose models have a known price"
    return f"In dollars: {saved} for {whose}, list prices of {money['as_of']}."


def _print_agent(page: Page, report: dict[str, Any], name: str, agent: dict[str, Any]) -> None:
    sessions, turns = pluralize(agent["sessions"], "session"), pluralize(agent["turns"], "turn")
    page.print_title(f"{name}: {sessions}, {turns}")
    page.print_line("tool results", "dim")
    times = report["timing"]["policy_us_per_turn"]
    _print_policy_table(page, [policy_cells(row, times) for row in agent["policies"]])
    page.print_line("with old tool inputs and old thinking", "dim")
    _print_policy_table(page, [policy_cells(row, {}) for row in agent["policies_with_inputs_and_thinking"]])
    profile, host, precision = agent["heap_profile"], agent["host_compactions"], agent["placebo_precision"]
    shares = [f"{part} {share:.0f} %" for part, share in profile.items() if share is not None]
    other = agent["bounds_with_inputs_and_thinking"]
    lost = f"{format_count(host['files_read_again'])} of {format_count(host['files_read_before'])} files read again"
    page.print_fields(
        [
            ("heap", ", ".join(shares)),
            ("host", f"{pluralize(host['cuts'], 'cut')} of its own, after them {lost}" if host["cuts"] else "no cuts"),
            ("placebo", f"precision {precision:.2f}" if precision is not None else "none: one session only"),
            ("bounds", f"{_bounds_in_words(agent['bounds'])}; with inputs and thinking {_bounds_in_words(other)}"),
        ]
    )


def _print_policy_table(page: Page, rows: list[list[str]]) -> None:
    columns = range(len(HEAD)) if page.width >= WIDE_COLUMNS else NARROW
    page.print_table([HEAD[at] for at in columns], [[row[at] for at in columns] for row in rows])


def _bounds_in_words(bounds: dict[str, Any]) -> str:
    cost, faults = bounds["certified_cost_pct"], bounds["certified_faults_per_100_turns"]
    return f"cost {number_text(cost, 1)} %, faults at the budget {number_text(faults, 2)}"


def print_explanation(page: Page, found: dict[str, Any]) -> None:
    """The segments that a turn needed, with the missing segments and the reasons."""
    page.print_line(f"{found['source']} {found['session']}, turn {found['turn']}", "bold")
    if not found["needs"]:
        page.print_line("its output shows no need of any earlier tool result")
    for need in found["needs"]:
        missing = need["missing"]
        state = "in the window" if need["in_window"] else "evicted, but another holder was in the window"
        if missing:
            reason = REASONS.get(missing["reason"], missing["reason"].replace("_", " "))
            state = (
                f"missing: went at turn {missing['gone_turn']}, {reason}; {tokens_text(missing['size_tokens'])} tokens"
            )
        page.print_line()
        page.print_line(f"  {page.style_text(printable_line(need['what']), 'bold')}  from turn {need['born_turn']}")
        page.print_line(f"    {page.style_text(state, 'red' if missing else 'green')}")
        for text in need["wanted"]:
            page.print_line(f"    wanted: {printable_line(text)[:100]}", "dim")
