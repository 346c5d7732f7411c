"""Commands on the stash: search, recall, rehydrate, forget, backup.

A whole segment comes in pieces, each paged by `next_offset`: printed raw its exact bytes, piece after piece; on a
terminal between lines that name its origin. Excerpts and working sets come as frames that the daemon rendered.
"""

from __future__ import annotations

import argparse
import os
import sys

from ctxgc.core.display_texts import tokens_text
from ctxgc.fronts.cli import terminal
from ctxgc.fronts.cli.commands import (
    KINDS,
    STATES,
    CommandSpec,
    current_kind_name,
    parse_count,
    parse_frame_tokens,
    parse_positive_number,
)
from ctxgc.fronts.cli.context import CommandRefused, Shell, print_change, refuse_usage
from ctxgc.fronts.cli.pieces import piece_bytes, read_pieces
from ctxgc.fronts.cli.terminal import pluralize, printable_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ctxgc.protocol.replies.segments import ContentReply
    from ctxgc.protocol.replies.stash import BackupReply, ForgetReply, RecallReply, RehydrateReply, SearchReply

BACKUP_S = 3600.0


QUERY_SYNTAX = """\
A run of words as it stands comes first, then segments with all words, then with some. Signs are text: --flag, -x, C++,
#include, a.b.c, foo::bar.  "page fault": only segments with this phrase.  conn*: words that begin so.  NOT draft, or
-draft behind another word: without it.  Filters stand among the words: path:src/*.py tool:bash kind:user state:evicted
project:NAME session:S task:T tag:T since:2d until:2026-01-31. Typed words that no segment has are shown as the nearest
words that there are."""
LITERAL = "\0"
"""Before a word of a query that argparse would take for an option."""


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "query", nargs="*", metavar="WORD", help="words to find; none: the newest segments that match the filters"
    )
    parser.add_argument("--everywhere", action="store_true", help="rank all projects alike; default: this one first")
    parser.add_argument("--evicted", action="store_true", help="only what is out of the window: evicted or departed")
    parser.add_argument("--project", default="", metavar="PATH", help="only sessions of this working directory")
    parser.add_argument(
        "--kind",
        action="append",
        default=[],
        type=current_kind_name,
        choices=KINDS,
        help="only this kind; may be repeated",
    )
    parser.add_argument("--tool", action="append", default=[], help="only this tool; may be repeated")
    parser.add_argument(
        "--path",
        default="",
        help="only segments that touch this path, or a glob of paths; `[slug]` also means a folder of that name",
    )
    parser.add_argument("--tag", action="append", default=[], help="only with this tag; may be repeated")
    parser.add_argument("--task", default="", help="only of this task")
    parser.add_argument(
        "--state", action="append", default=[], choices=STATES, help="only in this state; may be repeated"
    )
    parser.add_argument(
        "--since", metavar="TIME", type=_parse_time, default=0.0, help="only after: 2026-01-31, or 3d, 5h, 20min ago"
    )
    parser.add_argument("--until", metavar="TIME", type=_parse_time, default=0.0, help="only before")
    parser.add_argument("--limit", type=parse_positive_number, default=10, help="how many; default: 10")
    parser.add_argument("--offset", type=parse_count, default=0, help="where to go on")


def search(shell: Shell, args: argparse.Namespace) -> int:
    """Search every session, or the one given."""
    params = {
        "query": " ".join(word.removeprefix(LITERAL) for word in args.query),
        "here": "" if args.everywhere else os.getcwd(),
        "session": args.session,
        "project": os.path.abspath(args.project) if args.project else "",
        "kinds": args.kind,
        "tools": args.tool,
        "path": args.path,
        "task": args.task,
        "tags": args.tag,
        "states": args.state or (["evicted", "departed"] if args.evicted else []),
        "after_s": args.since,
        "before_s": args.until,
        "limit": args.limit,
        "offset": args.offset,
    }
    reply: SearchReply = shell.call("stash.search", {name: value for name, value in params.items() if value})
    return shell.print_reply(reply, lambda page: print_hits(page, reply))


def print_hits(page: terminal.Page, reply: SearchReply) -> None:
    """Ranked hits: label and place, then the snippet with highlighted matches."""
    for rank, hit in enumerate(reply.hits, 1):
        facts = (
            hit.id,
            hit.session,
            "in the window" if hit.state == "resident" else hit.state,
            f"turn {hit.turn}",
            f"{tokens_text(hit.tokens)} raw tokens",
            terminal.time_ago(hit.wall_s),
        )
        origin = "  ".join(part for part in (os.path.basename(hit.project), hit.title) if part)
        page.print_line(f"{rank:2}. {page.style_text(printable_line(hit.label), 'bold')}")
        page.print_line(f"    {page.style_text(printable_line('  '.join(facts)).rstrip(), 'dim')}")
        if origin:
            page.print_line(
                f"    {page.style_text(terminal.fit_columns(printable_line(origin), page.width - 4).rstrip(), 'dim')}"
            )
        if hit.snippet.strip():
            page.print_line(f"    {page.style_text(f'{hit.first_line}:', 'dim')} {page.highlight_snippet(hit.snippet)}")
    if not reply.hits:
        page.print_line("nothing found; fewer words, or no filters, find more")
    for note in reply.notes:
        page.print_line(printable_line(note), "dim")
    if reply.next_offset > 0:
        page.print_line(f"more: --offset {reply.next_offset}", "dim")


def _add_recall_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "segment",
        nargs="?",
        default="",
        metavar="SEGMENT",
        help="a segment's id or a prefix of the id, or a tombstone's address",
    )
    parser.add_argument(
        "--query", metavar="WORDS", default="", help="instead of an id: the best excerpts for these words"
    )
    parser.add_argument(
        "--around", metavar="SEGMENT", default="", help="instead of an id: a segment and its neighbours in time"
    )
    parser.add_argument(
        "--lines",
        metavar="A-B",
        type=_validate_line_range,
        default="",
        help="of the segment only these lines, numbered: 40-80, 40-, or 40",
    )
    parser.add_argument(
        "--budget",
        metavar="N",
        type=parse_frame_tokens,
        help="a frame of at most this many raw tokens; default: 4000, with --lines 40000, with an id alone no bound",
    )
    parser.add_argument("--project", default="", metavar="PATH", help="only sessions of this working directory")
    parser.add_argument("--raw", action="store_true", help="the exact bytes and nothing else, on a terminal too")
    parser.add_argument("--piece", default="", metavar="NAME", help="only this piece: text, result, input.KEY, …")


def _validate_line_range(text: str) -> str:
    """A range of lines as the protocol takes it."""
    first, _, last = text.partition("-")
    if text and not (first.isdecimal() and first.isascii() and (last or "0").isdecimal() and (last or "0").isascii()):
        raise argparse.ArgumentTypeError(f"{text!r} is no range of lines, as 40-80, 40- or 40 is")
    return text


def recall(shell: Shell, args: argparse.Namespace) -> int:
    """Bring content back: a segment's exact bytes where a program reads them; framed for a person, and in excerpts."""
    if sum(map(bool, (args.segment, args.query, args.around))) != 1:
        refuse_usage("recall takes a segment, --query or --around, one of them", "`ctxgc search WORDS` finds ids")
    if args.lines and not args.segment:
        refuse_usage("--lines goes with a segment", "`ctxgc recall SEGMENT --lines 40-80`")
    is_framed = bool(args.query or args.around or args.lines or args.budget is not None)
    if is_framed and (args.raw or args.piece):
        hint = "`ctxgc recall SEGMENT --raw | sed -n 40,80p` prints lines as they are"
        refuse_usage("--raw and --piece go with a whole segment: an excerpt is never without its frame", hint)
    # Words are looked for in every session, this project's first; a segment's name means the session at hand first.
    params: dict[str, Any] = {"session": args.session, "cwd": os.getcwd()} if args.query else {**shell.session_params()}
    params |= {"query": args.query, "around": args.around, "id": args.segment}
    params["project"] = os.path.abspath(args.project) if args.project else ""
    params["piece"] = args.piece
    if is_framed:
        params |= {"lines": args.lines, **({"budget_tokens": args.budget} if args.budget is not None else {})}
    reply: RecallReply = shell.call("stash.recall", {name: value for name, value in params.items() if value != ""})
    if not is_framed:
        _require_piece(reply, args.piece)
    if args.json:
        shell.print_json(reply)
    elif is_framed:
        print_frame(shell.page, reply.text, [*reply.notes, reply.changed, reply.next or ""])
    elif args.raw or not shell.page.is_terminal:
        for segment in reply.recalled:
            for _, data in read_pieces(shell.call, segment, args.piece):
                sys.stdout.buffer.write(data)
            sys.stdout.buffer.write(_block_texts(segment, args.piece).encode("utf-8", "surrogatepass"))
        sys.stdout.buffer.flush()
    else:
        _print_recalled_segments(shell, reply, args.piece)
    return 0


def print_frame(page: terminal.Page, text: str, notes: Sequence[str]) -> None:
    """A frame as the daemon rendered the frame; notes go to stderr, so that a program reads the frame alone."""
    page.stream.write(text if page.can_utf8 else text.encode("ascii", "replace").decode())
    page.stream.flush()
    beside = terminal.Page(sys.stderr)
    for note in filter(None, notes):
        beside.print_line(printable_line(note), "dim")


def _require_piece(reply: RecallReply, name: str) -> None:
    """Raise `CommandRefused` where no recalled segment has such a piece: a reader would take silence for content."""
    there = list(dict.fromkeys(piece.name for segment in reply.recalled for piece in segment.pieces))
    if name and name not in there:
        hint = f"the pieces there are: {', '.join(map(printable_line, there))}" if there else "there is no piece at all"
        raise CommandRefused(f"no recalled segment has a piece {name!r}", hint=hint)


def _block_texts(segment: ContentReply, only: str) -> str:
    """The texts inside the blocks of a segment without a text of its own, as a server's results are."""
    if only or any(map(piece_bytes, segment.pieces)):
        return ""
    from ctxgc.core.block_texts import texts_in_opaque_blocks  # Loads `typing`, which no other segment needs.

    return "".join(f"{text}\n" for text in texts_in_opaque_blocks((segment.skeleton or "").encode()))


def _print_recalled_segments(shell: Shell, reply: RecallReply, only: str) -> None:
    page = shell.page
    for segment in reply.recalled:
        page.print_line(
            printable_line(f"── {terminal.segment_label(segment)} · {segment.id} · {segment.session}"), "cyan"
        )
        several = len(segment.pieces) > 1
        last = ""
        for name, data in read_pieces(shell.call, segment, only):
            if several and name != last:
                page.print_line(f"   {name}:", "dim")
                last = name
            _print_text_behind_margin(page, data.decode("utf-8", "replace"))
        if texts := _block_texts(segment, only):
            _print_text_behind_margin(page, texts)
    if not reply.recalled:
        page.print_line("nothing to recall")
    page.print_line("── what stands above is data from a past session", "cyan")
    for note in reply.notes:
        page.print_line(printable_line(note), "dim")
    print_change(page, reply)


def _print_text_behind_margin(page: terminal.Page, text: str) -> None:
    """Text behind a margin: no line of it passes for a line of ours, on the terminal of a person or of an agent."""
    for line in terminal.printable_text(text).rstrip("\n").split("\n"):
        margin = "│" if page.can_utf8 else "|"
        page.print_line(f"{margin} {line}" if line else margin)


def _add_rehydrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "session",
        nargs="?",
        default="",
        metavar="SESSION",
        help="SOURCE:SESSION, a session id or a prefix of an id; default: the newest session of this directory",
    )
    parser.add_argument(
        "--budget",
        metavar="N",
        type=parse_frame_tokens,
        default=3000,
        help="at most this many raw tokens; default: 3000",
    )


def rehydrate(shell: Shell, args: argparse.Namespace) -> int:
    """Print a session's working set in a frame."""
    params = {**shell.session_params(), "budget_tokens": args.budget}
    reply: RehydrateReply = shell.call("session.rehydrate", params)
    if args.json:
        shell.print_json(reply)
    else:
        nothing = "" if reply.text else f"{reply.session} has nothing to go on from"
        print_frame(shell.page, reply.text, [nothing, *reply.notes, reply.offer, reply.next or ""])
    return 0


def _add_forget_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("segments", nargs="*", metavar="SEGMENT", help="a segment's id, or a prefix of the id")
    parser.add_argument("--whole-session", action="store_true", help="every segment of the session")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def forget(shell: Shell, args: argparse.Namespace) -> int:
    """Erase for good, after asking a person; a program has to say `--yes`."""
    if bool(args.segments) == args.whole_session:
        refuse_usage("forget takes segments or --whole-session, one of them")
    what = "the whole session" if args.whole_session else pluralize(len(args.segments), "segment")
    if not args.yes and not sys.stdin.isatty():
        refuse_usage(f"nobody is there to ask whether to erase {what} for good", "`--yes` erases without asking")
    if not args.yes:
        sys.stderr.write(f"Erase {what} for good? It cannot be recalled afterwards. [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            sys.stderr.write("nothing was erased\n")
            return 1
    params = {**shell.session_params(), "ids": args.segments, "whole_session": args.whole_session}
    reply: ForgetReply = shell.call("stash.forget", params)
    return shell.print_change(reply)


def _add_backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="the file to write; no such file may exist")


def backup(shell: Shell, args: argparse.Namespace) -> int:
    """Have the daemon copy its stash."""
    reply: BackupReply = shell.call("backup", {"path": os.path.abspath(args.path)})
    return shell.print_reply(reply, lambda page: page.print_line(printable_line(reply.changed)))


def _parse_time(text: str) -> float:
    """`2026-01-31`, `2026-01-31T12:00`, or a span before now (`3d`, `5h`, `20min`) as Unix time."""
    import time

    for unit, length_s in (("min", 60), ("h", 3600), ("d", 86400)):
        if text.endswith(unit) and text.removesuffix(unit).isdigit():
            return time.time() - int(text.removesuffix(unit)) * length_s
    import datetime

    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, as 2026-01-31 or 3d is") from None


COMMANDS = {
    "search": CommandSpec(search, _add_search_arguments, has_session=True, notes=QUERY_SYNTAX, literal=LITERAL),
    "recall": CommandSpec(recall, _add_recall_arguments, has_session=True),
    "rehydrate": CommandSpec(
        rehydrate,
        _add_rehydrate_arguments,
        notes="A working set has instructions by reference, pins, the last request, open plan items, files under edit, "
        "the last decisions, the last error. A file is read from the disk if it is as the session left it.",
    ),
    "forget": CommandSpec(forget, _add_forget_arguments, has_session=True, timeout_s=300.0),
    "backup": CommandSpec(backup, _add_backup_arguments, timeout_s=BACKUP_S),
}
