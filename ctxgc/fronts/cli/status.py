"""`ctxgc status`: the daemon, the gateways and the session at hand on a screen, or that session on a line.

    stats, session.show, gateways ──▶ a screen · `--json`: all three · `--line`: what an editor shows all the time

Starts no daemon. A line is always printed, also after an error: a status line has no place for an error.
"""

from __future__ import annotations

import json
import os
import sys

from ctxgc.core.display_texts import tokens_text
from ctxgc.fronts.cli import gateway_status, terminal
from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.context import CommandRefused, Shell, agent_window_tokens, refuse_usage
from ctxgc.fronts.cli.terminal import format_count, pluralize, printable_line
from ctxgc.protocol import discovery
from ctxgc.protocol.blocking_client import CallFailed, Unreachable
from ctxgc.protocol.record import json_members

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ctxgc.protocol.replies.daemon import StatsReply
    from ctxgc.protocol.replies.heap import CollectionReply
    from ctxgc.protocol.replies.sessions import ShowReply

LINE_S = 2.0
"""How long a line may keep its reader waiting."""
TOLD_BYTES_MAX = 2**20
MODES = {
    "shadow": "shadow: collections are decided and journalled, no request is edited; `ctxgc mode on` edits requests",
    "on": "on: evicted bodies leave the requests",
    "off": "off: the gateway only passes requests on; `ctxgc mode` switches it",
}
"""The gateway's modes, explained."""
RENDERERS = {
    "agent": "the agent: ctxgc watches, and the agent's window never changes",
    "client": "a client: the program that opened the session sends what ctxgc renders",
    "gateway": "the gateway: evicted bodies leave the requests",
}
"""The renderers of a window, explained."""
EDITED = ("on", "gateway", "client")
"""Modes and renderers with which evicted bodies are out of what the model gets; with the others, they would be."""
IN_ONE_WORD = {"agent": "watching", "client": "rendering", "gateway": "on"}
"""The renderers, on the status line."""
NEXT = {
    "limit": "next at the limit",
    "cold": "next request: cold",
    "looking": "next when it pays",
    "paused": "paused: bills differ",
}


def _add_status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--line", action="store_true", help="the session on one line, for a status line")
    parser.add_argument("--stdin", action="store_true", help="with --line: the session that Claude Code names on stdin")


def status(shell: Shell, args: argparse.Namespace) -> int:
    """A screen or a line; starts no daemon."""
    if args.line:
        return _print_status_line(shell, args)
    if args.stdin:
        refuse_usage("--stdin goes with --line")
    reply = _call_stats(shell)
    try:
        window: ShowReply | None = shell.call("session.show", shell.session_params(), spawn=False)
    except CallFailed as failure:
        if args.session or failure.kind != "not_found":
            raise
        window = None
    except CommandRefused:  # The working directory is gone.
        window = None
    running = gateway_status.gateways_with_status(reply.state_folder)
    if args.json:
        shell.print_json(json_members(reply) | {"window": window, "gateways": running})
        return 0
    _print_daemon_status(shell.page, reply, has_gateway=bool(running))
    gateway_status.print_gateway_statuses(shell.page, running)
    if window is None:
        shell.page.print_line()
        none = "no session of this directory yet; `ctxgc sessions` lists all"
        shell.page.print_line(
            none if reply.sessions else "no sessions yet; `ctxgc import PATH` reads a transcript", "dim"
        )
    else:
        _print_session_status(shell.page, window, gateway_status.unsynced_reason(running, str(window.session)))
    return 0


def _print_status_line(shell: Shell, args: argparse.Namespace) -> int:
    args.timeout = min(args.timeout, LINE_S)
    try:
        shell.connect(spawn=False)
        if args.stdin:
            args.session = _session_in_json(sys.stdin.read(TOLD_BYTES_MAX)) or args.session
        reply: ShowReply = shell.call("session.show", shell.session_params(), spawn=False)
    except CallFailed as failure:
        why = {"unreachable": "not running", "not_found": "no session", "deadline": "busy", "busy": "busy"}
        text = f"ctxgc: {why.get(failure.kind, failure.kind)}"
        return shell.print_reply({"line": text}, lambda page: page.print_line(text))
    return shell.print_reply(reply, lambda page: page.print_line(printable_line(session_status_line(reply))))


def _session_in_json(text: str) -> str:
    """The session in the JSON that Claude Code writes to its status line's command; empty if there is none."""
    try:
        record = json.loads(text)
    except ValueError:
        return ""
    named = record.get("session_id") if isinstance(record, dict) else None
    return f"claude_code:{named}" if isinstance(named, str) and named else ""


def session_status_line(reply: ShowReply) -> str:
    """A session's state as a short line."""
    mode, waits = reply.gateway or reply.rendered_by, reply.next_collection
    freed = terminal.Billing(reply).billed_part_tokens(reply.freed_tokens)
    parts = [f"ctxgc {IN_ONE_WORD.get(mode, mode)}", f"{tokens_text(agent_window_tokens(reply))} tokens"]
    if freed:
        parts.append(f"{tokens_text(freed)} {'freed' if mode in EDITED else 'could go'}")
    if reply.cache_hit_rate is not None:
        parts.append(f"{reply.cache_hit_rate:.0%} cached")
    if reply.faults:
        parts.append(pluralize(reply.faults, "fault"))
    if waits.state == "growing":
        parts.append(f"next in {tokens_text(waits.due_tokens - waits.grown_tokens)}")
    elif waits.state in NEXT:
        parts.append(NEXT[waits.state])
    return " · ".join(parts)


def _call_stats(shell: Shell) -> StatsReply:
    try:
        reply: StatsReply = shell.call("stats", {}, spawn=False)
    except Unreachable as failure:
        failure.hint += gateway_status.running_gateways_hint(discovery.state_folder(os.environ))
        raise
    return reply


def _print_daemon_status(page: terminal.Page, reply: StatsReply, *, has_gateway: bool) -> None:
    page.print_line(f"ctxgcd {reply.version}, pid {reply.pid}, up {terminal.format_duration(reply.uptime_s)}", "bold")
    page.print_fields(
        (
            ("socket", printable_line(reply.socket)),
            ("state", f"{printable_line(reply.state_folder)}, {terminal.format_bytes(reply.stash_bytes)}"),
            (
                "memory",
                f"{terminal.format_bytes(reply.rss_bytes)},"
                f" {terminal.format_bytes(reply.text_cache_bytes)} of it cached text",
            ),
            (
                "stash",
                f"{pluralize(reply.segments, 'segment')} in {pluralize(reply.sessions, 'session')}, "
                f"{pluralize(reply.heaps_loaded, 'heap')} loaded",
            ),
            (
                "work",
                f"{pluralize(reply.collections, 'collection')}, {pluralize(reply.faults, 'page fault')}",
            ),
            (
                "served",
                f"{pluralize(reply.requests, 'request')}, {format_count(reply.errors)} of them answered with an error",
            ),
            ("follows", pluralize(reply.watched, "path") if reply.watched else ""),
            ("gateway", "" if has_gateway else "none runs; `ctxgc run AGENT` starts one"),
            (
                "erasing",
                pluralize(reply.erasures_pending, "erasure") + " pending" if reply.erasures_pending else "",
            ),
        )
    )
    if reply.read_only:
        page.print_line(f"  the stash takes no writes: {printable_line(reply.read_only)}", "red")
    if 0 < reply.stash_bytes_max < reply.stash_bytes:
        limit = terminal.format_bytes(reply.stash_bytes_max)
        page.print_line(f"  the stash is larger than {limit}; `ctxgc doctor` says what to forget", "yellow")
    if reply.tokens_estimated:
        page.print_line("  token counts are estimates: the ranks could not be read; `ctxgc doctor` says more", "yellow")


def _print_session_status(page: terminal.Page, reply: ShowReply, not_followed: str) -> None:
    page.print_line()
    page.print_line(printable_line(f"{reply.session}  {reply.title}").rstrip(), "bold")
    limit = reply.budget_tokens or reply.next_collection.limit_tokens
    tokens = agent_window_tokens(reply)
    window = f"{tokens_text(tokens)} tokens"
    if limit:
        window = f"{page.share_bar(tokens / limit)} {window} of {tokens_text(limit)}"
    billing = terminal.Billing(reply)
    mode = reply.gateway or reply.rendered_by
    freed, evictable = (
        billing.billed_part_tokens(reply.freed_tokens),
        billing.billed_part_tokens(reply.evictable_tokens),
    )
    garbage = billing.billed_part_tokens(reply.garbage_tokens)
    hits = reply.cache_hit_rate
    page.print_fields(
        (
            ("window", window),
            ("of it", f"{tokens_text(evictable)} evictable, {tokens_text(garbage)} proven garbage"),
            (
                "freed",
                f"{tokens_text(freed)} tokens {'are' if mode in EDITED else 'would be'} out of it" if freed else "",
            ),
            ("cache", f"{hits:.0%} of the prompt tokens were read from it" if hits is not None else ""),
            ("saved", _savings_in_words(reply, mode)),
            ("shorten", _shortening_in_words(reply)),
            ("faults", format_count(reply.faults)),
            ("dropped", _departed_in_words(reply)),
            ("mode", MODES.get(reply.gateway, printable_line(reply.gateway))),
            (
                "rendered by",
                "" if reply.gateway else RENDERERS.get(reply.rendered_by, printable_line(reply.rendered_by)),
            ),
            ("turn", str(reply.turn)),
            ("last", _last_collection_in_words(reply.last_collection, billing)),
            ("next", not_followed or printable_line(reply.next_collection.words)),
        )
    )


def _departed_in_words(reply: ShowReply) -> str:
    """The host's departed segments, in raw tokens, and the commands that bring segments back."""
    if not reply.departed:
        return ""
    what = f"{pluralize(reply.departed, 'segment')}, {tokens_text(reply.departed_tokens)} raw tokens, by the host"
    return f"{what}; `ctxgc rehydrate` and `ctxgc recall --query WORDS` bring them back"


def _shortening_in_words(reply: ShowReply) -> str:
    """Counts of `entry.shorten = "shadow"`."""
    counts = reply.shortening
    if counts is None:
        return ""
    saved = f"{tokens_text(counts.saved_tokens)} raw tokens of {pluralize(counts.results, 'long result')}"
    asked = f"{counts.asked_back} of {pluralize(counts.parts, 'page')} would have been asked back"
    return f"in shadow: {saved} would have stayed out; {asked}, {tokens_text(counts.asked_back_tokens)} tokens"


def _savings_in_words(reply: ShowReply, mode: str) -> str:
    """The session's savings by its collections in dollars, and the price behind the amount."""
    if reply.saved_usd is None or reply.price is None or not reply.collections:
        return ""
    lost, amount = reply.saved_usd < 0, terminal.format_dollars(abs(reply.saved_usd))
    what = (
        f"{amount} {'lost' if lost else 'saved'}"
        if mode in EDITED
        else f"{amount} would be {'lost' if lost else 'saved'}"
    )
    return f"{what}; {printable_line(terminal.price_in_words(reply.price))}"


def _last_collection_in_words(one: CollectionReply | None, billing: terminal.Billing) -> str:
    """The last collection: trigger, predicted cost, actual cost."""
    if one is None:
        return "no collection yet"
    actual = (
        ""
        if one.actual_cost is None
        else f", {_cost_in_words(billing.billed_part_tokens(one.actual_cost))} by the bill"
    )
    head = f"#{one.collection}, {terminal.time_ago(one.wall_s)}, {printable_line(one.trigger)}"
    usd = one.predicted_usd if one.actual_usd is None else one.actual_usd
    money = "" if usd is None else f", {terminal.format_dollars(usd)}"
    costs = f"{_cost_in_words(billing.billed_part_tokens(one.predicted_cost))} predicted{actual}"
    return f"{head}: {terminal.collection_effect_in_words(one, billing)}; {costs}{money}"


def _cost_in_words(cost: float) -> str:
    return f"{'saves' if cost <= 0 else 'costs'} {tokens_text(abs(cost))}"


COMMANDS = {
    "status": CommandSpec(
        status,
        _add_status_arguments,
        has_session=True,
        notes="With --json: what the daemon says of itself, the session under `window`, null if there is none, and "
        "`gateways`, each with what it counts.",
    ),
}
