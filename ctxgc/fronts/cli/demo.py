"""`ctxgc demo`: real transcripts through a private daemon, collected to a budget, every claim checked.

The user's own files stay untouched: daemon, stash and socket live in a temporary folder that is removed at the end.
"""

from __future__ import annotations

import os
import sys
import time

from ctxgc.fronts.cli import own_sessions, progress, terminal
from ctxgc.fronts.cli.commands import CommandSpec, parse_tokens
from ctxgc.fronts.cli.context import EXIT_REFUSED, CommandRefused, Shell
from ctxgc.fronts.cli.sessions import file_failure_sentence

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from ctxgc.protocol.replies.daemon import FailedReply

SAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample", "quayside.jsonl")
SAMPLE_QUERY = "double review"
TRANSCRIPT_ENDINGS = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
DEMO_S = 3600.0


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="transcripts, or folders of them; default: a sample session"
    )
    parser.add_argument(
        "--budget", metavar="N", type=parse_tokens, help="tokens of each window; default: a third of the window"
    )


def demo(shell: Shell, args: argparse.Namespace) -> int:
    """Run the demonstration; 1 if a segment was lost, not exact, or not readable."""
    # The adapters and their JSON library cost 50 ms: not for those who only ask for help or completions.
    from ctxgc.fronts.cli import demo_view
    from ctxgc.fronts.cli.demo_run import DemoRun
    from ctxgc.fronts.cli.private_daemon import PrivateDaemon

    started_s = time.monotonic()
    files = find_transcripts(args.paths) if args.paths else [SAMPLE]
    with PrivateDaemon(args.timeout) as daemon:
        weight = sum(map(progress.work_bytes, files))
        with progress.ProgressBar("demo", 2 * weight) as bar:
            story = DemoRun(daemon.client, args.budget, bar)
            story.import_files(files)
            if not story.reports:
                raise CommandRefused(
                    _no_session_message(args.paths, story.failed), hint="give transcripts, or folders of transcripts"
                )
            story.collect_and_check_sessions(SAMPLE_QUERY if not args.paths else "", weight)
    totals = {**story.sum_reports(), "seconds": round(time.monotonic() - started_s, 3)}
    shell.print_reply(
        {"sessions": story.nest_side_chain_reports(), "totals": totals},
        lambda page: demo_view.print_demo(
            page, story, totals, "" if args.paths else "a sample session that ships with ctxgc"
        ),
    )
    if not args.paths:
        _suggest_own_sessions(shell)
    for failed in story.failed:
        sys.stderr.write(f"ctxgc: not read: {terminal.printable_line(file_failure_sentence(failed))}\n")
    is_there = not totals["lost"] and totals["recalls_exact"] == totals["recalls_tried"]
    return 0 if is_there and not story.failed and not totals["unread_texts"] else EXIT_REFUSED


def _no_session_message(paths: list[str], failed: list[FailedReply]) -> str:
    return "; ".join(map(file_failure_sentence, failed)) or f"no transcript in {', '.join(paths)}"


def find_transcripts(paths: list[str]) -> list[str]:
    """The files meant by paths: themselves, and in folders every file with a transcript's name."""
    files: list[str] = []
    for path in map(os.path.abspath, paths):
        if not os.path.isdir(path):
            files.append(path)
            continue
        for folder, _, names in sorted(os.walk(path)):
            files += [os.path.join(folder, name) for name in sorted(names) if name.endswith(TRANSCRIPT_ENDINGS)]
    return files


def _suggest_own_sessions(shell: Shell) -> None:
    """Name the folders of the user's own sessions and the command to try them. Looks whether the folders exist, never
    into them.
    """
    for folder in filter(os.path.isdir, own_sessions.session_folders(os.environ)):
        typed = terminal.printable_line(own_sessions.folder_as_typed(folder, os.environ))
        text = f"You have sessions of your own in {typed}; `ctxgc demo {typed}` does the same with them."
        (sys.stderr if shell.args.json else sys.stdout).write(text + "\n")


COMMANDS = {"demo": CommandSpec(demo, _add_demo_arguments, timeout_s=DEMO_S)}
