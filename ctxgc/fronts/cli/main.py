"""The `ctxgc` command: a thin client of the daemon.

    argv ──▶ table ──▶ one parser ──▶ one module's function ──▶ lines to the daemon's socket ──▶ a page, or JSON

Exit codes: 0 done · 1 refused · 2 usage · 69 daemon unreachable · 75 busy, try again · 78 configuration. The common
path imports argparse, json and socket and no heavier module; `tests/fronts` holds that.
"""

from __future__ import annotations

import argparse
import os
import sys

from ctxgc.fronts.cli import commands
from ctxgc.fronts.cli.context import EXIT_REFUSED, EXIT_USAGE, CommandRefused, Shell
from ctxgc.protocol.blocking_client import CallFailed

NEVER_FAILS = "hook"
"""The command whose exit code is 0 whatever happens: an agent shows a hook's failure to its user, and takes code 2,
which a wrong option would give, for a veto of what the agent is about to do."""
VALUED = ("--socket", "--timeout", "--session")
"""Options that may stand before the command and take a value."""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return the exit code. Never raises but for a programmer's error."""
    words = sys.argv[1:] if argv is None else argv
    if split_arguments(words)[1] != NEVER_FAILS:
        return _run_with_guarded_streams(words)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)
    try:
        _run_with_guarded_streams(words, complains=False)
    except Exception as fault:  # A fault of ours is no matter of the agent's either.
        sys.stderr.write(f"ctxgc: the hook failed: {type(fault).__name__}\n")
    return 0


def _run_with_guarded_streams(words: list[str], *, complains: bool = True) -> int:
    """Run a command; the exit code, whatever becomes of the standard streams."""
    if sys.stdout is None:  # Closed, as by `>&-`. What we open next would get its number, and our output with it.
        if sys.stderr is not None:
            sys.stderr.write("ctxgc: standard output is closed\n")
        return EXIT_REFUSED
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)
    try:
        code = _run_command(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    except BrokenPipeError:  # The reader (`head`) has enough.
        _discard_stdout()
        return EXIT_REFUSED
    except OSError as error:
        if error.filename is not None:  # Of a file or folder. Of what is left, the daemon's is Unreachable.
            raise
        _discard_stdout()
        if complains:
            sys.stderr.write(f"ctxgc: standard output cannot be written: {error.strerror}\n")
        return EXIT_REFUSED


def _run_command(argv: list[str]) -> int:
    """Find the command, parse the words, run the command; its exit code. Raises OSError where stdout takes no more."""
    before, name, after = split_arguments(argv)
    if name in ("", "help"):
        return _print_help(before, after)
    if name not in commands.command_names():
        return _report_unknown_command(name, [*before, *after])
    spec = commands.load_command(name)
    parser = commands.build_parser(name, spec)
    try:
        args = parser.parse_args([*before, *commands.escape_literal_words(parser, spec, after)])
    except SystemExit as stop:  # argparse has printed the help asked for.
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    except CommandRefused as refused:
        return _report_usage_error([*before, *after], refused)
    shell = Shell(args)
    try:
        return spec.run(shell, args)
    except (CallFailed, CommandRefused) as failure:
        return shell.print_failure(failure)
    finally:
        shell.close()


def _discard_stdout() -> None:
    """Give stdout up: Python would complain once more at its last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def split_arguments(argv: list[str]) -> tuple[list[str], str, list[str]]:
    """Options before the command, the command, and the words behind; the command is empty if there is none."""
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] in VALUED else 1
    if at >= len(argv):
        return argv, "", []
    return argv[:at], argv[at], argv[at + 1 :]


def _print_help(before: list[str], after: list[str]) -> int:
    if after and after[0] in commands.command_names():
        sys.stdout.write(commands.build_parser(after[0], commands.load_command(after[0])).format_help())
        return 0
    if "--version" in before:
        return _run_command(["version"])
    asked = after or not before or any(flag in before for flag in ("-h", "--help"))
    (sys.stdout if asked else sys.stderr).write(help_overview())
    return 0 if asked else EXIT_USAGE


def help_overview() -> str:
    """The help of the whole program: commands by group, a line each."""
    lines = ["usage: ctxgc COMMAND [ARGUMENTS]", "", "A garbage collector for the context of LLM sessions.", ""]
    for title, group in commands.GROUPS.items():
        lines.append(title)
        lines += [f"  {name:11} {text}" for name, (_, text) in group.items()]
        lines.append("")
    lines.append("`ctxgc COMMAND --help` says more. `ctxgc demo` shows a collection and touches nothing of yours.")
    return "\n".join(lines) + "\n"


def _report_unknown_command(name: str, words: list[str]) -> int:
    near = [known for known in commands.command_names() if known.startswith(name[:2])]
    hint = f"did you mean {' or '.join(f'`ctxgc {known}`' for known in near)}?" if near else "`ctxgc help` lists them"
    return _report_usage_error(words, CommandRefused(f"there is no command {name!r}", kind="usage", hint=hint))


def _report_usage_error(words: list[str], refused: CommandRefused) -> int:
    """Report a usage error for arguments that could not be parsed; as JSON if the options ask for JSON."""
    return Shell(argparse.Namespace(json="--json" in words)).print_failure(refused)


if __name__ == "__main__":
    sys.exit(main())
