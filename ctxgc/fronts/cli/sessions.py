"""Sessions: imported, listed, shown, exported."""

from __future__ import annotations

import os
import sys

from ctxgc.core.display_texts import tokens_text
from ctxgc.fronts.cli import own_sessions, progress, terminal
from ctxgc.fronts.cli.commands import KINDS, STATES, CommandSpec, current_kind_name, parse_count, parse_positive_number
from ctxgc.fronts.cli.context import EXIT_REFUSED, Shell, agent_window_tokens, print_change, refuse_usage
from ctxgc.fronts.cli.terminal import format_count, pluralize, printable_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ctxgc.protocol.replies.daemon import BackgroundReply, FailedReply, ImportReply, WatchReply
    from ctxgc.protocol.replies.segments import ContentReply, SegmentReply, SegmentsReply
    from ctxgc.protocol.replies.sessions import RenderReply, SessionsReply, ShowReply
    from ctxgc.protocol.replies.stash import ExportReply

LONG_S = 3600.0
PASSED_OVER_SHOWN = 3
NAME_COLUMNS = 60
"""On a terminal a session's name is cut to this, or one long name pushes every other column out of sight."""
IN_WINDOW = STATES[:2]
"""States of a place in the window: the text itself, or a tombstone in its stead."""


def _add_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="a transcript (.jsonl, .json, .gz, .zst), or a folder of them"
    )
    parser.add_argument("--format", default="", help="the transcript's format; default: detected from the content")
    parser.add_argument(
        "--background", action="store_true", help="do not wait: the daemon goes on without this command"
    )


def import_(shell: Shell, args: argparse.Namespace) -> int:
    """Import file by file for a person, in a single call for a program."""
    paths = [os.path.abspath(path) for path in args.paths]
    if args.background:
        taken: BackgroundReply = shell.call("import", {"paths": paths, "format": args.format, "durability": "async"})
        return shell.print_reply(
            taken, lambda page: page.print_line(f"{pluralize(len(paths), 'path')} taken: the daemon goes on")
        )
    parts: list[ImportReply] = []
    if args.json or len(paths) == 1 or not sys.stderr.isatty():
        parts.append(shell.call("import", {"paths": paths, "format": args.format}))
    else:
        with progress.ProgressBar("import", sum(map(progress.work_bytes, paths))) as bar:
            for path in paths:
                bar.show_note(os.path.basename(path))
                parts.append(shell.call("import", {"paths": [path], "format": args.format}))
                bar.advance(progress.work_bytes(path))
    shell.print_reply(parts[0], lambda page: _print_import(page, parts, args.format))
    return EXIT_REFUSED if any(part.failed for part in parts) else 0


def _print_import(page: terminal.Page, parts: list[ImportReply], format_name: str) -> None:
    # The adapters cost 50 ms: not for those who only ask for help or completions.
    from ctxgc.adapters.contract import DAMAGE_KINDS

    sessions = [failure for part in parts for failure in part.sessions]
    failed = [failure for part in parts for failure in part.failed]
    rows = [
        (
            format_count(session.segments),
            format_count(session.added),
            tokens_text(session.resident_tokens),
            format_count(session.skipped_records),
            session.session,
        )
        for session in sessions
    ]
    if rows:
        page.print_table((">segments", ">new", ">raw tokens", ">skipped", "session"), rows)
    for failure in failed:
        what = "read in part" if failure.kind == "ends_early" else "not read"
        page.print_line(f"  {what}: {printable_line(file_failure_sentence(failure))}", "red")
        if failure.hint:
            page.print_line(f"  {printable_line(failure.hint)}", "dim")
    if passed_over := sum(part.passed_over or 0 for part in parts):
        names = [os.path.basename(path) for part in parts for path in part.passed_over_files or ()][:PASSED_OVER_SHOWN]
        more = ", …" if passed_over > len(names) else ""
        known = printable_line(", ".join(names))
        page.print_line(f"  passed over: {pluralize(passed_over, 'file')} that no session is in ({known}{more})", "dim")
    if not rows:
        if not failed and not passed_over:
            hint = f"as {format_name}; without --format the format is detected" if format_name else "for ctxgc to read"
            page.print_line(f"no session in it {hint}")
        return
    damage = sum(failure.skipped.get(kind, 0) for failure in sessions for kind in DAMAGE_KINDS)
    if damage:
        page.print_line(
            f"  {pluralize(damage, 'record')} damaged beyond reading; what else the files hold is in", "yellow"
        )
    size, seconds = sum(part.bytes for part in parts), sum(part.seconds for part in parts)
    speed = size / seconds if seconds else 0
    added = sum(session.added for session in sessions)
    page.print_line(
        f"{pluralize(added, 'segment')} new in {pluralize(len(rows), 'session')}; "
        f"{terminal.format_bytes(size)} in {seconds:.1f} s ({terminal.format_bytes(speed)}/s)"
    )
    page.print_line(
        "`ctxgc show --session S` looks into one, `ctxgc collect --dry-run --session S` says what would go", "dim"
    )


def file_failure_sentence(failed: FailedReply) -> str:
    """The error of a file, with its path once."""
    return failed.error if failed.path in failed.error else f"{failed.path}: {failed.error}"


def _add_watch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", nargs="?", default="", metavar="PATH", help="a transcript, or a folder of them")
    parser.add_argument("--keep", action="store_true", help="follow PATH after a restart of the daemon too")
    parser.add_argument("--remove", action="store_true", help="stop following PATH, now and after a restart")


def watch(shell: Shell, args: argparse.Namespace) -> int:
    """Follow, stop following, or list the followed paths."""
    if (args.remove or args.keep) and (not args.path or (args.remove and args.keep)):
        refuse_usage("--keep or --remove takes a path", "`ctxgc watch` lists the followed paths")
    if args.path:
        method = "watch.remove" if args.remove else "watch.add"
        path = os.path.abspath(args.path)
        reply: WatchReply = shell.call(method, {"path": path})
        if args.keep or args.remove:
            from ctxgc.fronts.cli import configured_watches

            configured_watches.set_watch_path(configured_watches.config_file(), path, is_kept=args.keep)
    else:
        reply = shell.call("watch.list", {})
    return shell.print_reply(reply, lambda page: _print_watches(page, reply))


def _print_watches(page: terminal.Page, reply: WatchReply) -> None:
    if reply.changed:
        print_change(page, reply)
    rows = [
        (
            path_watch.path,
            _progress_in_words(path_watch.files_looked_at, path_watch.files_found),
            terminal.format_bytes(path_watch.bytes_read),
            path_watch.error,
        )
        for path_watch in reply.watched
    ]
    if rows:
        page.print_table(("followed", ">looked at", ">read", "error"), rows)
    elif not reply.changed:
        folder = printable_line(own_sessions.folder_as_typed(own_sessions.session_folders(os.environ)[0], os.environ))
        page.print_line(f"nothing is followed; `ctxgc watch {folder}` follows Claude Code's sessions")


def _progress_in_words(done: int, found: int) -> str:
    """How far a watch is in the files that were there at its beginning."""
    return format_count(found) if done >= found else f"{format_count(done)} of {format_count(found)}"


def _add_sessions_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", default="", metavar="PATH", help="only sessions of this working directory")
    parser.add_argument("--source", default="", help="only sessions of this agent: claude_code, codex, …")
    parser.add_argument("--limit", type=parse_positive_number, default=20, help="how many; default: 20")
    parser.add_argument("--offset", type=parse_count, default=0, help="where to go on")


def sessions(shell: Shell, args: argparse.Namespace) -> int:
    """List sessions."""
    project = os.path.abspath(args.project) if args.project else ""
    params = {"project": project, "source": args.source, "limit": args.limit, "offset": args.offset}
    reply: SessionsReply = shell.call("session.list", params)
    return shell.print_reply(reply, lambda page: _print_sessions(page, reply))


def _print_sessions(page: terminal.Page, reply: SessionsReply) -> None:
    if not reply.sessions:
        page.print_line("no sessions yet; `ctxgc import PATH` reads a transcript, `ctxgc demo` shows a sample")
        return
    rows = [
        (
            terminal.fit_columns(session.session, NAME_COLUMNS).rstrip() if page.is_terminal else session.session,
            terminal.time_ago(session.updated_s),
            format_count(session.turn),
            session.rendered_by,
            session.title or session.project,
        )
        for session in reply.sessions
    ]
    page.print_table(("session", "updated", ">turn", "rendered by", "about"), rows)
    if reply.next_offset > 0:
        page.print_line(f"more: `ctxgc sessions --offset {reply.next_offset}`", "dim")


def _add_show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("segment", nargs="?", default="", metavar="SEGMENT", help="look at this segment")
    parser.add_argument("--segments", action="store_true", help="with --json: the list of segments, of every state")
    parser.add_argument("--state", action="append", default=[], choices=STATES, help="only segments in this state")
    parser.add_argument(
        "--kind", action="append", default=[], type=current_kind_name, choices=KINDS, help="only segments of this kind"
    )
    parser.add_argument(
        "--limit", type=parse_positive_number, default=30, help="how many segments, the newest; default: 30"
    )


def show(shell: Shell, args: argparse.Namespace) -> int:
    """Show a session, or a segment."""
    if args.segment:
        content: ContentReply = shell.call(
            "segment.get", {**shell.session_params(), "id": args.segment, "with_content": args.json}
        )
        return shell.print_reply(content, lambda page: _print_segment(page, content))
    wants_list = args.segments or args.state or args.kind
    if args.json and not wants_list:
        shell.print_json(shell.call("session.show", shell.session_params()))
        return 0
    states = args.state or ([] if args.json else IN_WINDOW)  # What a host compacted away is older than all of it.
    params = {**shell.session_params(), "states": states, "kinds": args.kind}
    first: SegmentsReply = shell.call("segment.list", {**params, "limit": 1})
    newest = {"limit": args.limit, "offset": max(first.total - args.limit, 0)}
    listed: SegmentsReply = shell.call("segment.list", params | newest)
    if args.json:
        shell.print_json(listed)
        return 0
    reply: ShowReply = shell.call("session.show", shell.session_params())
    _print_session(shell.page, reply)
    _print_segments(shell.page, listed, terminal.Billing(reply))
    return 0


def _sent_window_in_words(reply: ShowReply) -> str:
    """The window that the agent sends; of a session that ctxgc only watches, beside the window as planned."""
    sent, planned = (tokens_text(tokens) for tokens in (agent_window_tokens(reply), reply.billed_tokens))
    return f"{sent} tokens" if sent == planned else f"{sent} tokens as the agent sends it, {planned} as planned here"


def _print_session(page: terminal.Page, reply: ShowReply) -> None:
    page.print_line(printable_line(f"{reply.session}  {reply.title}").rstrip(), "bold")
    budget, billing = reply.budget_tokens, terminal.Billing(reply)
    beside = billing.system_and_tools_tokens
    hidden = f", {tokens_text(beside)} of them system prompt and tools" if beside else ""
    states = ", ".join(f"{format_count(number)} {state}" for state in STATES if (number := getattr(reply, state)))
    page.print_fields(
        (
            ("project", printable_line(reply.project)),
            ("model", printable_line(reply.model)),
            ("task", printable_line(reply.task)),
            ("parent", printable_line(reply.parent)),
            ("children", printable_line(", ".join(reply.children))),
            ("rendered by", reply.rendered_by),
            ("turn", f"{reply.turn}, updated {terminal.time_ago(reply.updated_s)}"),
            ("segments", f"{format_count(reply.segments)}: {states}; {format_count(reply.pinned)} pinned"),
            ("window", f"{_sent_window_in_words(reply)}{hidden}"),
            (
                "budget",
                f"{page.share_bar(reply.pressure)} {reply.pressure:.0%} of {tokens_text(budget)}" if budget else "",
            ),
            (
                "evictable",
                f"{tokens_text(billing.billed_part_tokens(reply.evictable_tokens))} tokens, "
                f"{tokens_text(billing.billed_part_tokens(reply.garbage_tokens))} proven garbage",
            ),
            (
                "so far",
                f"{pluralize(reply.collections, 'collection')}, {pluralize(reply.faults, 'page fault')}",
            ),
            ("skipped", pluralize(reply.skipped_records, "record") if reply.skipped_records else ""),
        )
    )
    page.print_line()
    most = max((kind.resident_tokens for kind in reply.kinds), default=0) or 1
    for kind in sorted(reply.kinds, key=lambda one: -one.resident_tokens):
        page.print_line(
            f"  {kind.kind:10}  {page.share_bar(kind.resident_tokens / most)}  "
            f"{tokens_text(billing.billed_part_tokens(kind.resident_tokens)):>8} tokens"
            f"  of {pluralize(kind.segments, 'segment')}"
            + (f", {format_count(kind.evicted_segments)} evicted" if kind.evicted_segments else "")
        )


def _print_segments(page: terminal.Page, reply: SegmentsReply, billing: terminal.Billing) -> None:
    page.print_line()
    if not reply.segments:
        page.print_line("  no such segment; `ctxgc show --segments --json` lists those of every state", "dim")
        return
    rows = [
        (
            segment.id,
            segment.state + (" pin" if segment.is_pinned else ""),
            format_count(billing.billed_part_tokens(segment.tokens)),
            str(segment.born_turn),
            terminal.segment_label(segment)
            + (f" · {segment.garbage}" if segment.garbage else "")
            + (f" · {_elisions_in_words(segment)}" if segment.elided else ""),
        )
        for segment in reply.segments
    ]
    page.print_table(("segment", "state", ">tokens", ">turn", "what"), rows)
    if len(rows) < reply.total:
        page.print_line(f"  the newest {len(rows)} of {format_count(reply.total)}; `--limit N` shows more", "dim")


def _elisions_in_words(segment: SegmentReply) -> str:
    """The lines of a segment that stand elsewhere, in a few words."""
    runs = segment.elided or []
    pointers = sum(not run.is_in_stash for run in runs)
    words = [pluralize(pointers, "pointer")] if pointers else []
    words += [f"lines {run.first_line}-{run.last_line} in the stash" for run in runs if run.is_in_stash]
    return ", ".join(words)


def _print_segment(page: terminal.Page, reply: ContentReply) -> None:
    page.print_line(printable_line(f"{reply.id}  {terminal.segment_label(reply)}"), "bold")
    page.print_fields(
        (
            ("session", printable_line(reply.session)),
            ("state", reply.state + (f" ({reply.departure})" if reply.departure else "")),
            (
                "kind",
                f"{reply.kind} by {reply.role}, {reply.status}" + (", pinned" if reply.is_pinned else ""),
            ),
            ("tokens", f"{format_count(reply.tokens)} raw, of them body {format_count(reply.body_tokens)}"),
            (
                "turns",
                f"born {reply.born_turn}, touched {reply.touched_turn}, {pluralize(reply.touches, 'time')}",
            ),
            ("elided", _elisions_in_words(reply)),
            ("garbage", f"{reply.garbage} {reply.garbage_by}".strip()),
            ("tags", printable_line(", ".join(reply.tags))),
            ("task", printable_line(reply.task)),
            ("redacted", pluralize(reply.redactions, "place") if reply.redactions else ""),
            ("pieces", ", ".join(f"{piece.name} {terminal.format_bytes(piece.bytes)}" for piece in reply.pieces)),
            ("digest", reply.digest),
        )
    )
    if reply.state == "forgotten":
        page.print_line("only the id is left", "dim")
        return
    page.print_line(
        f"`ctxgc recall {reply.id}` prints its content, `ctxgc why {reply.id}` says why it is where it is", "dim"
    )


def _add_render_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        default="anthropic_messages",
        choices=("anthropic_messages", "openai_chat", "openai_responses"),
        help="which API's list; default: anthropic_messages",
    )


def render(shell: Shell, args: argparse.Namespace) -> int:
    """Print the window in a model API's form."""
    import json

    reply: RenderReply = shell.call("session.render", {**shell.session_params(), "format": args.format})
    return shell.print_reply(
        reply, lambda page: page.print_line(terminal.printable_text(json.dumps(reply.messages, indent=2)))
    )


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the file to write; no such file may exist")


def export(shell: Shell, args: argparse.Namespace) -> int:
    """Have the daemon write a session to a file."""
    reply: ExportReply = shell.call("export", {**shell.session_params(), "path": os.path.abspath(args.path)})
    return shell.print_reply(reply, lambda page: page.print_line(printable_line(reply.changed)))


COMMANDS = {
    "import": CommandSpec(import_, _add_import_arguments, timeout_s=LONG_S),
    "watch": CommandSpec(watch, _add_watch_arguments),
    "sessions": CommandSpec(sessions, _add_sessions_arguments),
    "show": CommandSpec(show, _add_show_arguments, has_session=True),
    "render": CommandSpec(render, _add_render_arguments, has_session=True),
    "export": CommandSpec(export, _add_export_arguments, has_session=True, timeout_s=LONG_S),
}
