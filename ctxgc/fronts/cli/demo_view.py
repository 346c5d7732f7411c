"""The screen of a demo: the window before and after, victims with reasons, a `why`, a search, the proof."""

from __future__ import annotations

from ctxgc.core.display_texts import tokens_text
from ctxgc.fronts.cli import terminal
from ctxgc.fronts.cli.recall import print_hits
from ctxgc.fronts.cli.terminal import format_count, pluralize, printable_line
from ctxgc.fronts.cli.window import VICTIM_HEAD, print_why, victim_row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ctxgc.fronts.cli.demo_run import DemoRun


def print_demo(page: terminal.Page, story: DemoRun, totals: dict[str, Any], about: str) -> None:
    """The whole page."""
    children = sum(len(report["children"]) for report in story.reports.values())
    sessions = pluralize(len(story.reports) - children, "session")
    chains = f" with {pluralize(children, 'side chain')}" if children else ""
    page.print_line(f"{sessions}{chains}{f': {about}' if about else ''}", "bold")
    page.print_line("read into a private daemon in a temporary folder; nothing of yours was touched", "dim")
    if len(story.reports) > 1:
        _print_session_reports(page, story)
    _print_window_before_and_after(page, story, totals)
    if story.victims:
        page.print_title(f"The largest of {pluralize(totals['evicted'], 'segment')} that left, and why")
        page.print_table(VICTIM_HEAD, [victim_row(victim) for victim in story.victims])
    if story.why:
        page.print_title(f"ctxgc why {story.why.id}")
        print_why(page, story.why)
    if story.hits:
        page.print_title(f'ctxgc search "{printable_line(story.query)}"')
        print_hits(page, story.hits)
    _print_proof(page, totals)


def _print_session_reports(page: terminal.Page, story: DemoRun) -> None:
    rows = [
        (
            "  side chain " + report["session"].rpartition("/")[2] if is_child else report["session"],
            tokens_text(report["tokens_before"]),
            tokens_text(report["tokens_after"]),
            tokens_text(report["budget_tokens"]),
            format_count(report["evicted"]),
            f"{report['recalls_exact']}/{report['recalls_tried']}",
            format_count(report["lost"]),
            ""
            if report["tokens_after"] <= report["budget_tokens"]
            else "protected by " + terminal.protections_in_words(report["protected_by"]),
        )
        for root in story.nest_side_chain_reports()
        for is_child, report in [(False, root), *((True, child) for child in root["children"])]
    ]
    page.print_line()
    page.print_table(("session", ">before", ">after", ">budget", ">left", ">exact", ">lost", "over budget"), rows)


def _print_window_before_and_after(page: terminal.Page, story: DemoRun, totals: dict[str, Any]) -> None:
    before, after = totals["tokens_before"], totals["tokens_after"]
    page.print_title("The window, in raw tokens")
    most = max((sums[0] for sums in story.kinds.values()), default=0) or 1
    page.print_line(f"  {'':10}  {'before':>8}  {'after':>8}", "dim")
    for kind, (then, now) in sorted(story.kinds.items(), key=lambda item: -item[1][0]):
        page.print_line(
            f"  {kind:10}  {tokens_text(then):>8}  {tokens_text(now):>8}  {_window_bar(page, then, now, most)}"
        )
    line = f"  {'all':10}  {tokens_text(before):>8}  {tokens_text(after):>8}"
    page.print_line(
        f"{line}  {terminal.format_percent(before - after, before)} freed; {_budget_overrun_in_words(totals)}", "bold"
    )
    over = [report for report in story.reports.values() if report["tokens_after"] > report["budget_tokens"]]
    if over:
        which = "" if len(story.reports) == 1 else f"of {_sessions_in_words(len(over))} over its budget "
        page.print_line(
            f"  what stays {which}is protected: {terminal.protections_in_words(totals['protected_by'])}", "yellow"
        )


def _sessions_in_words(sessions: int) -> str:
    return "the session" if sessions == 1 else f"each of {format_count(sessions)} sessions"


def _budget_overrun_in_words(totals: dict[str, Any]) -> str:
    budget, over = tokens_text(totals["budget_tokens"]), totals["tokens_after"] - totals["budget_tokens"]
    return f"{tokens_text(over)} over the budget of {budget}" if over > 0 else f"the budget was {budget}"


def _window_bar(page: terminal.Page, before: int, after: int, most: int, width: int = 30) -> str:
    """Tokens that stayed in full colour, freed tokens in light."""
    full = round(width * after / most)
    freed_columns = max(round(width * before / most) - full, 0)
    solid, light = ("█", "░") if page.can_utf8 else ("#", ".")
    return page.style_text(solid * full, "cyan") + page.style_text(light * freed_columns, "dim")


def _print_proof(page: terminal.Page, totals: dict[str, Any]) -> None:
    is_sound = not totals["lost"] and totals["recalls_exact"] == totals["recalls_tried"]
    skipped = totals["skipped_records"] - totals["unread_records"]
    page.print_title("Is everything still there?")
    page.print_fields(
        (
            (
                "recalled",
                f"{format_count(totals['recalls_exact'])} of {format_count(totals['recalls_tried'])}"
                " evicted segments, byte for byte",
            ),
            (
                "lost",
                f"{format_count(totals['lost'])} of {pluralize(totals['segments'], 'segment')},"
                " by a second parse of the files",
            ),
            ("skipped", f"{pluralize(skipped, 'record')} without any part of a window" if skipped else ""),
            ("not read", _unread_rest_in_words(totals)),
            ("not checked", _unchecked_segments_in_words(totals)),
            ("time", f"{totals['seconds']:.1f} s"),
        )
    )
    if not is_sound:
        page.print_line("  " + page.style_text("SOMETHING IS WRONG", "red", "bold"))
    elif _unread_rest_in_words(totals):
        page.print_line(
            "  "
            + page.style_text("readable segments are there; the unread rest lies in damaged lines", "yellow", "bold")
        )
    elif totals["unchecked"]:
        page.print_line("  " + page.style_text("what was checked is there; not every segment was", "yellow", "bold"))
    else:
        page.print_line("  " + page.style_text("nothing was lost", "green", "bold"))
    page.print_line()
    page.print_line(
        "Your own sessions: `ctxgc import PATH`, then `ctxgc collect --dry-run`. `ctxgc help` lists the rest.", "dim"
    )


def _unchecked_segments_in_words(totals: dict[str, Any]) -> str:
    segments = totals["unchecked"]
    return f"{pluralize(segments, 'segment')} that the second parse did not find" if segments else ""


def _unread_rest_in_words(totals: dict[str, Any]) -> str:
    """The unread rest of a damaged file beyond its segments; empty without a rest."""
    records, texts = totals["unread_records"], totals["unread_texts"]
    parts = [pluralize(records, "damaged record")] if records else []
    parts += [f"{pluralize(texts, 'text')} of damaged lines, by a scan of the raw bytes"] if texts else []
    return ", ".join(parts)
