"""The window of a session: additions, roots, victims, and their reasons."""

from __future__ import annotations

import argparse
import os
import sys

from ctxgc.core.display_texts import SHADOW, tokens_text
from ctxgc.fronts.cli import terminal
from ctxgc.fronts.cli.commands import (
    KINDS,
    CommandSpec,
    current_kind_name,
    parse_count,
    parse_positive_number,
    parse_tokens,
)
from ctxgc.fronts.cli.context import Shell, print_change, refuse_usage
from ctxgc.fronts.cli.terminal import format_count, pluralize, printable_line
from ctxgc.protocol.agents import CLIENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ctxgc.protocol.replies.heap import CollectionReply, LogReply, PlanReply, VictimReply, WhyReply
    from ctxgc.protocol.replies.segments import AddReply
    from ctxgc.protocol.replies.sessions import SessionReply

FILE_KINDS = ("attachment", "other", "user", "system")
COLLECT_S = 300.0
SESSION_CHARS_MAX = 400


def _parse_importance(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:  # Also where the text is `nan`.
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return value


def _add_add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="?", default="-", metavar="TEXT", help="the text; `-` or absent: standard input")
    parser.add_argument("--file", metavar="PATH", default="", help="this file's text, however large")
    parser.add_argument(
        "--kind", type=current_kind_name, choices=KINDS, default="", help="default: other; attachment for a file"
    )
    parser.add_argument("--id", default="", help="the segment's id; default: derived from kind and text")
    parser.add_argument("--tag", action="append", default=[], help="a tag to find the segment by; may be repeated")
    parser.add_argument("--task", default="", help="the segment's task")
    parser.add_argument("--ref", action="append", default=[], metavar="SEGMENT", help="an older segment as a reference")
    parser.add_argument("--importance", type=_parse_importance, default=0.5, help="0 to 1; default: 0.5")
    parser.add_argument("--pin", action="store_true", help="never evict the segment")


def add(shell: Shell, args: argparse.Namespace) -> int:
    """Admit text; without `--session`, into a session of the directory's own, which the first text opens.

    An agent's session is a mirror: what a person or a model adds in its directory is no part of it.
    """
    method, params = _admission_verb_and_params(args)
    session = {"session": args.session} if args.session else shell.directory_params()
    here = session.get("cwd", "")
    if here and not shell.has_session(project=here, source=CLIENT):
        opened: SessionReply = shell.call("session.open", {"session": here[-SESSION_CHARS_MAX:], "project": here})
        session = {"session": opened.session}
    reply: AddReply = shell.call(method, {**session, **params})
    return shell.print_reply(reply, lambda page: _print_added_segments(page, reply))


def _admission_verb_and_params(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    if args.file:
        if args.kind not in ("", *FILE_KINDS) or args.ref or args.task or args.pin:
            refuse_usage(
                f"--file goes with --id, --tag and --kind {'|'.join(FILE_KINDS)} only", "pipe the file in instead"
            )
        path = os.path.abspath(args.file)
        return "segment.add_file", {"path": path, "kind": args.kind or "attachment", "id": args.id, "tags": args.tag}
    text = args.text
    if text == "-":
        if sys.stdin.isatty():
            refuse_usage("there is no text to add", "ctxgc add TEXT, ctxgc add --file PATH, or pipe it in")
        text = _read_piped_text()
    if not text:
        refuse_usage("there is no text to add: it is empty", "ctxgc add TEXT, ctxgc add --file PATH, or pipe it in")
    segment = {"id": args.id, "kind": args.kind or "other", "text": text, "tags": args.tag, "task": args.task}
    more = {"refs": args.ref, "importance": args.importance, "is_pinned": args.pin}
    return "segment.add", {"segment": {**segment, **more}}


def _read_piped_text() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        refuse_usage("standard input is not UTF-8 text", "ctxgc add --file PATH takes any bytes")


def _print_added_segments(page: terminal.Page, reply: AddReply) -> None:
    for segment_id in reply.ids:
        page.print_line(
            f"{printable_line(segment_id)}  {page.style_text('in ' + printable_line(reply.session), 'dim')}", "bold"
        )
    print_change(page, reply)


def _add_segments_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("segments", nargs="+", metavar="SEGMENT", help="a segment's id, or a prefix of the id")


def pin(shell: Shell, args: argparse.Namespace) -> int:
    """Make segments roots."""
    return shell.print_change(shell.call("segment.pin", {**shell.session_params(), "ids": args.segments}))


def unpin(shell: Shell, args: argparse.Namespace) -> int:
    """Take pins back."""
    return shell.print_change(shell.call("segment.unpin", {**shell.session_params(), "ids": args.segments}))


def stash(shell: Shell, args: argparse.Namespace) -> int:
    """Evict by hand."""
    reply: PlanReply = shell.call("segment.evict", {**shell.session_params(), "ids": args.segments})
    return shell.print_reply(reply, lambda page: print_plan(page, reply))


def _add_collect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        metavar="N",
        type=parse_tokens,
        help="tokens of the whole window, 40000 or 40k; default: the session's budget, else a third of its raw tokens",
    )
    parser.add_argument("--raw", action="store_true", help="N counts o200k tokens, not billed tokens")
    parser.add_argument("--dry-run", action="store_true", help="list the victims, and change nothing")
    parser.add_argument(
        "--limit", type=parse_count, default=20, help="how many victims to list, the largest; default: 20"
    )


def collect(shell: Shell, args: argparse.Namespace) -> int:
    """Collect, or show the plan of a collection."""
    params = {**shell.session_params(), "unit": "raw" if args.raw else "billed", "limit": args.limit}
    if args.budget is not None:
        params["budget_tokens"] = args.budget
    reply: PlanReply = shell.call("heap.plan" if args.dry_run else "heap.collect", params)
    return shell.print_reply(reply, lambda page: print_plan(page, reply, args.budget))


def print_plan(page: terminal.Page, reply: PlanReply, asked_tokens: int | None = None) -> None:
    """A plan or a collection: victims with reasons, before and after, the cost, the effect on the agent."""
    before, after = reply.before_tokens, reply.after_tokens
    if reply.victims:
        page.print_table(VICTIM_HEAD, [victim_row(victim) for victim in reply.victims])
        if reply.evicted > len(reply.victims):
            page.print_line(f"  and {format_count(reply.evicted - len(reply.victims))} smaller ones", "dim")
        page.print_line()
    by_reason = sorted(reply.by_reason.items(), key=lambda item: -item[1].freed_tokens)
    cost = reply.predicted_cost
    verdict = "saves" if cost < 0 else "costs"
    page.print_fields(
        (
            ("session", printable_line(reply.session)),
            ("window", f"{tokens_text(before)} → {tokens_text(after)} {_unit_name(reply)}"),
            ("", page.share_bar(after / before if before else 0.0)),
            ("budget", _budget_in_words(reply, asked_tokens) if reply.trigger == "asked" else ""),
            (
                "evicted",
                f"{pluralize(reply.evicted, 'segment')}, {tokens_text(reply.freed_tokens)} freed",
            ),
            ("why", "; ".join(f"{name} {tokens_text(sums.freed_tokens)}" for name, sums in by_reason)),
            ("protected by", terminal.protections_in_words(reply.protected_by)),
            ("cost", f"{verdict} {tokens_text(abs(cost))} input tokens, predicted" if cost else ""),
            (
                "cache",
                f"{tokens_text(reply.cache_rewrite_tokens)} tokens to write again" if reply.evicted else "",
            ),
            ("effect", printable_line(reply.effect)),
        )
    )
    # The page names the holders in its own words: the reply's sentence would say them again.
    hint = (
        "the budget is not reached: what stays is protected; `ctxgc why SEGMENT` says why"
        if reply.protected_by
        else None
    )
    print_change(page, reply, hint if reply.protected_by else None)


def _unit_name(reply: PlanReply) -> str:
    return "tokens" if reply.unit == "billed" else "raw tokens"


def _budget_in_words(reply: PlanReply, asked_tokens: int | None) -> str:
    """The budget; a budget below the billed system prompt and tools means the smallest possible window."""
    target = tokens_text(reply.target_tokens)
    if asked_tokens is None or asked_tokens >= reply.target_tokens:
        return target
    return f"{tokens_text(asked_tokens)}, less than the {target} that are billed beside the window"


VICTIM_HEAD = (">freed", "why", "segment", "what")


def victim_row(victim: VictimReply, billing: terminal.Billing | None = None) -> tuple[str, ...]:
    """A victim as a row under `VICTIM_HEAD`; with `billing` its raw tokens as the model bills them."""
    freed = billing.billed_part_tokens(victim.freed_tokens) if billing else victim.freed_tokens
    reason = victim.reason + (f" by {victim.by}" if victim.by else f", {pluralize(victim.age_turns, 'turn')} old")
    if victim.asked_back_after_turns is not None:
        reason += f", asked back {pluralize(victim.asked_back_after_turns, 'turn')} later"
    return (format_count(freed), terminal.fit_columns(reason, 56).rstrip(), victim.id, victim.label)


def _add_why_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("segment", metavar="SEGMENT", help="a segment's id, or a prefix of the id")


def why(shell: Shell, args: argparse.Namespace) -> int:
    """Explain a segment."""
    reply: WhyReply = shell.call("heap.why", {**shell.session_params(), "id": args.segment})
    return shell.print_reply(reply, lambda page: print_why(page, reply))


def print_why(page: terminal.Page, reply: WhyReply) -> None:
    """The explanation, and the retaining path as a small tree: the root first."""
    page.print_line(f"{printable_line(reply.label)}  {page.style_text(printable_line(reply.id), 'dim')}", "bold")
    page.print_line(printable_line(reply.explanation))
    if reply.terms:
        key = sum(term.log_odds for term in reply.terms)
        terms = ", ".join(f"{term.name} {term.log_odds:+.1f}" for term in reply.terms)
        page.print_line(page.style_text(f"key {key:.1f}: {terms}; {_order_words(reply.verdict)}", "dim"))
    for depth, step in enumerate(reply.path):
        if depth == 0:
            head = f"{reply.root} root  " if reply.root else ""
        else:
            head = f"{'   ' * (depth - 1)}└─ {step.edge} → "
        page.print_line(
            f"  {page.style_text(head, 'cyan')}{printable_line(step.label)}  {page.style_text(step.id, 'dim')}"
        )


def _order_words(verdict: str) -> str:
    """Among which bodies the key decides: garbage goes before everything else, and live bodies go last."""
    among = {"garbage": "garbage, which goes before the rest", "live": "live bodies, which go last"}
    return f"the lowest key goes first among {among.get(verdict, 'bodies that are neither garbage nor live')}"


def _add_undo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "collection", nargs="?", type=parse_positive_number, default=0, metavar="N", help="which; default: the newest"
    )
    parser.add_argument("--force", action="store_true", help="even if a later collection ran")


def undo(shell: Shell, args: argparse.Namespace) -> int:
    """Take a collection back."""
    params = {**shell.session_params(), "collection": args.collection, "force": args.force}
    reply: PlanReply = shell.call("heap.undo", params)
    return shell.print_reply(reply, lambda page: _print_undo(page, reply))


def _print_undo(page: terminal.Page, reply: PlanReply) -> None:
    page.print_fields(
        (
            ("session", printable_line(reply.session)),
            (
                "window",
                f"{tokens_text(reply.before_tokens)} → {tokens_text(reply.after_tokens)} {_unit_name(reply)}",
            ),
            ("cost", f"costs {tokens_text(cost)} input tokens, predicted" if (cost := reply.predicted_cost) else ""),
            ("cache", f"{tokens_text(reply.cache_rewrite_tokens)} tokens to write again"),
            ("effect", printable_line(reply.effect)),
        )
    )
    print_change(page, reply)


def _add_log_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "collection",
        nargs="?",
        type=parse_positive_number,
        default=0,
        metavar="N",
        help="a collection, with its victims",
    )
    parser.add_argument("--limit", type=parse_positive_number, default=20, help="how many, the newest; default: 20")


def log(shell: Shell, args: argparse.Namespace) -> int:
    """Print the journal."""
    reply: LogReply = shell.call(
        "heap.log", {**shell.session_params(), "limit": args.limit, "collection": args.collection}
    )
    return shell.print_reply(reply, lambda page: _print_log(page, reply))


def _print_log(page: terminal.Page, reply: LogReply) -> None:
    billing = terminal.Billing(reply)
    rows = [
        (
            str(collection.collection),
            terminal.time_ago(collection.wall_s),
            collection.trigger + (f" undoes {collection.undoes}" if collection.undoes else ""),
            " → ".join(
                tokens_text(billing.billed_window_tokens(raw))
                for raw in (collection.before_tokens, collection.after_tokens)
            ),
            tokens_text(billing.billed_part_tokens(collection.predicted_cost)),
            "–" if collection.actual_cost is None else tokens_text(billing.billed_part_tokens(collection.actual_cost)),
            *((_cost_in_dollars(collection),) if reply.price else ()),
            terminal.collection_effect_in_words(collection, billing),
        )
        for collection in reply.collections
    ]
    if not rows:
        page.print_line("no collection yet; `ctxgc collect --dry-run` says what one would do")
        return
    money = (">dollars",) if reply.price else ()
    page.print_table((">#", "when", "trigger", "window", ">predicted cost", ">actual", *money, "what"), rows)
    foreseen = [one for one in reply.collections if one.trigger == SHADOW]
    if foreseen:
        freed = billing.billed_part_tokens(
            sum(collection.before_tokens - collection.after_tokens for collection in foreseen)
        )
        cost = billing.billed_part_tokens(sum(collection.predicted_cost for collection in foreseen))
        verdict = "saved" if cost <= 0 else "cost"
        usd = sum(one.predicted_usd or 0.0 for one in foreseen)
        page.print_line(
            f"in shadow: nothing was edited; {pluralize(len(foreseen), 'collection')} would have freed "
            f"{tokens_text(freed)} tokens and {verdict} {tokens_text(abs(cost))} input tokens"
            + (f", {terminal.format_dollars(abs(usd))}, predicted" if reply.price else ", predicted")
        )
    if reply.pause:
        page.print_line(printable_line(reply.pause))
    if reply.price:
        page.print_line(printable_line(terminal.price_in_words(reply.price)), "dim")
    for collection in reply.collections:
        if collection.victims:
            page.print_line()
            page.print_table(VICTIM_HEAD, [victim_row(victim, billing) for victim in collection.victims])


def _cost_in_dollars(one: CollectionReply) -> str:
    """The cost of a collection in dollars: by the bill, else as predicted; a saving is negative."""
    usd = one.predicted_usd if one.actual_usd is None else one.actual_usd
    return "–" if usd is None else terminal.format_dollars(usd)


COMMANDS = {
    "add": CommandSpec(
        add,
        _add_add_arguments,
        has_session="the newest `client:` session of this directory, opened if there is none",
    ),
    "collect": CommandSpec(collect, _add_collect_arguments, has_session=True, timeout_s=COLLECT_S),
    "why": CommandSpec(why, _add_why_arguments, has_session=True),
    "pin": CommandSpec(pin, _add_segments_argument, has_session=True),
    "unpin": CommandSpec(unpin, _add_segments_argument, has_session=True),
    "stash": CommandSpec(stash, _add_segments_argument, has_session=True),
    "undo": CommandSpec(undo, _add_undo_arguments, has_session=True),
    "log": CommandSpec(log, _add_log_arguments, has_session=True),
}
