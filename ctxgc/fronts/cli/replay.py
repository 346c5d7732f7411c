"""`ctxgc replay`: the cost and the faults of policies on recorded sessions. Needs no daemon.

    paths, or the user's own sessions ──ask──▶ study (worker processes) ──▶ tables, JSON, an HTML page, or one `why`

Only the requested page is written, and no data leaves the machine. Own sessions are read only after a yes.
"""

from __future__ import annotations

import os
import sys

from ctxgc.fronts.cli import own_sessions, progress, terminal
from ctxgc.fronts.cli.commands import CommandSpec, parse_tokens
from ctxgc.fronts.cli.context import CommandRefused, Shell, refuse_usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ctxgc.replay.terms import StudyTerms

PARTS = 1000
"""Steps of the progress bar."""
WORKERS_MAX = 64
NOTES = (
    "Needs no daemon. The first table is about tool results; the second lets old tool inputs and old thinking go too. "
    "`docs/howto/replay.md` says how to read them."
)


def _add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="transcripts, or folders of them; default: your own Claude Code and Codex sessions, after asking",
    )
    parser.add_argument(
        "--policy", metavar="NAME", action="append", default=[], help="only these policies; a wrong name lists them all"
    )
    parser.add_argument(
        "--budget", metavar="N", type=parse_tokens, help="tokens that just-enough policies may hold; default: 34k"
    )
    parser.add_argument(
        "--price",
        metavar="PROFILE",
        default="",
        help="cache_5m (default), cache_1h, openai, openai_5_6, openai_6_1, uncached, or subscription",
    )
    parser.add_argument(
        "--bill",
        choices=("true", "ideal"),
        default="true",
        help="true (default): as the provider's cache bills; ideal: as if it held every beginning of the last request",
    )
    parser.add_argument(
        "--mark",
        choices=("own", "none"),
        default="own",
        help="own (default): with the gateway's own cache breakpoint, as it ships; none: with the host's alone",
    )
    parser.add_argument(
        "--entry",
        choices=("whole", "references", "shorten"),
        default="whole",
        help="references: also with pointers in new results to the lines that the window shows already, alone and with "
        "ctxgc; shorten: also with long results shortened",
    )
    parser.add_argument("--html", metavar="FILE", default="", help="write the report as one self-contained page")
    parser.add_argument(
        "--why",
        metavar="SESSION:TURN",
        default="",
        help="instead: the segments that this turn needed or missed",
    )
    parser.add_argument("--workers", metavar="N", type=int, default=2, help="processes to work in; default: 2")
    parser.add_argument("--yes", action="store_true", help="read your own sessions without asking")


def replay(shell: Shell, args: argparse.Namespace) -> int:
    """Run the study and answer; a refusal without transcripts."""
    terms = _study_terms(args)
    why = _parse_session_turn(args.why) if args.why else None
    files = _select_transcripts(args)
    if why is not None:
        return _print_turn_explanation(shell, files, *why, terms)
    # The tokenizer and the parsers cost 200 ms: not for those who only ask for help.
    from ctxgc.fronts.cli import replay_page
    from ctxgc.replay.study import run_study
    from ctxgc.replay.study_report import report_of

    with progress.ProgressBar("replay", PARTS) as bar:

        def tell(share: float, note: str) -> None:
            bar.show_note(note)
            bar.advance(round(share * PARTS) - bar.done)

        study = run_study(files, terms, workers=args.workers, tell=tell)
    for skipped in study.skipped:
        sys.stderr.write(
            f"ctxgc: skipped: {terminal.printable_line(skipped.path)}: {terminal.printable_line(skipped.why)}\n"
        )
    if not study.results:
        raise CommandRefused(
            "none of these files holds a session to replay", hint="give transcripts, or folders of transcripts"
        )
    report = report_of(study)
    if args.html:
        _write_page(args.html, report)
    return shell.print_reply(report, lambda page: replay_page.print_report(page, report, args.html))


def _study_terms(args: argparse.Namespace) -> StudyTerms:
    from ctxgc.core.pacing.price_profiles import OLDER_NAMES
    from ctxgc.replay.policy_registry import policy_names
    from ctxgc.replay.prices import PRICE_PROFILES, PROFILE_DEFAULT
    from ctxgc.replay.terms import StudyTerms

    price = OLDER_NAMES.get(args.price, args.price) or PROFILE_DEFAULT
    if price not in PRICE_PROFILES:
        refuse_usage(f"there is no price profile {price!r}", f"one of: {', '.join(PRICE_PROFILES)}")
    names = policy_names(args.entry)
    for name in args.policy:
        if name not in names:
            refuse_usage(f"there is no policy {name!r}", f"one of: {', '.join(names)}")
    if not 1 <= args.workers <= WORKERS_MAX:
        refuse_usage(f"--workers must be 1 to {WORKERS_MAX}")
    default = StudyTerms()
    return StudyTerms(price, args.budget or default.budget_tokens, tuple(args.policy), args.bill, args.mark, args.entry)


def _parse_session_turn(text: str) -> tuple[str, int]:
    session, _, turn = text.rpartition(":")
    if not session or not turn.isdecimal():
        refuse_usage(
            f"--why takes SESSION:TURN, not {text!r}", "the page of `--html` lists sessions and turns with faults"
        )
    return session, int(turn)


def _select_transcripts(args: argparse.Namespace) -> list[str]:
    """The transcripts meant; the user's own only after a yes."""
    from ctxgc.replay.recorded_files import find_transcripts

    for path in args.paths:
        if not os.path.exists(path):
            raise CommandRefused(
                f"there is no {path}", kind="usage", hint="name transcripts, or folders of transcripts"
            )
    if args.paths:
        files = find_transcripts(args.paths)
        if not files:
            raise CommandRefused(
                "no transcript in these folders", hint="transcripts end in .jsonl or .json, perhaps .gz"
            )
        return files
    usual = own_sessions.session_folders(os.environ)
    own = list(filter(os.path.isdir, usual))
    files = find_transcripts(own)
    if not files:
        where = " and ".join(own_sessions.folder_as_typed(folder, os.environ) for folder in usual)
        raise CommandRefused(f"no sessions of yours in {where}", hint="name transcripts: `ctxgc replay PATH`")
    if not args.yes:
        _require_consent(own, files)
    return files


def _require_consent(folders: list[str], files: list[str]) -> None:
    bytes_all = sum(map(progress.work_bytes, files))
    count, size = terminal.pluralize(len(files), "transcript"), terminal.format_bytes(bytes_all)
    what = f"{count} ({size}) in {' and '.join(folders)}"
    if not sys.stdin.isatty():
        raise CommandRefused(f"these are your own: {what}", hint="`--yes` reads them; nothing leaves this machine")
    sys.stderr.write(f"Read {terminal.printable_line(what)}? Nothing leaves this machine. [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandRefused("nothing was read")


def _print_turn_explanation(shell: Shell, files: list[str], session: str, turn: int, terms: StudyTerms) -> int:
    from ctxgc.fronts.cli import replay_page
    from ctxgc.replay.why import explain_turn, find_session_episodes

    episodes = find_session_episodes(files, session)
    if not episodes:
        raise CommandRefused(f"no session {session!r} in these transcripts", hint="a prefix of its id is enough")
    explanation = explain_turn(episodes, turn, terms)
    if explanation is None:
        last = max(one.number for episode in episodes for one in episode.turns)
        raise CommandRefused(f"the session has no turn {turn}", hint=f"its last is {last}")
    return shell.print_reply(explanation, lambda page: replay_page.print_explanation(page, explanation))


def _write_page(path: str, report: dict[str, object]) -> None:
    from ctxgc.report.replay_page import report_html

    try:
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(report_html(report))
    except OSError as failure:
        raise CommandRefused(f"the page could not be written: {failure}", hint="give another `--html FILE`") from None


COMMANDS = {"replay": CommandSpec(replay, _add_replay_arguments, notes=NOTES)}
