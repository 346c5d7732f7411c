"""The daemon's life: start, stop, examination."""

from __future__ import annotations

import os
import sys
import time

from ctxgc.fronts.cli import gateway_status, terminal
from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.context import EXIT_BUSY, EXIT_CONFIG, EXIT_REFUSED, CommandRefused, Shell
from ctxgc.fronts.cli.terminal import printable_line
from ctxgc.protocol import discovery
from ctxgc.protocol.blocking_client import CallFailed
from ctxgc.protocol.record import json_members

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ctxgc.protocol.replies.daemon import DoctorReply, StatsReply, StoppingReply

POLL_S = 0.02
STOP_S = 60.0
DEEP_S = 3600.0
SYSTEMCTL_S = 5.0


def up(shell: Shell, args: argparse.Namespace) -> int:
    """Start the daemon unless a daemon runs; print the daemon's place."""
    was_up = _is_daemon_up(shell)
    reply: StatsReply = shell.call("stats", {})
    return shell.print_reply(reply, lambda page: _print_daemon_place(page, reply, was_up))


def _print_daemon_place(page: terminal.Page, reply: StatsReply, was_up: bool) -> None:
    page.print_line(f"ctxgcd {reply.version} {'is already running' if was_up else 'is up'}", "bold")
    by = "systemd starts it when something connects (ctxgcd.socket is active)" if _is_systemd_listening() else ""
    page.print_fields(
        (
            ("pid", str(reply.pid)),
            ("socket", printable_line(reply.socket)),
            ("state", printable_line(reply.state_folder)),
            ("systemd", by),
        )
    )
    if not was_up:
        page.print_line(
            "`ctxgc import PATH` reads a transcript, `ctxgc watch PATH` follows one, `ctxgc down` stops", "dim"
        )


def _is_systemd_listening() -> bool:
    """Whether the user's service manager holds the socket."""
    import shutil
    import subprocess

    systemctl = shutil.which("systemctl")
    if systemctl is None or "XDG_RUNTIME_DIR" not in os.environ:
        return False
    ask = [systemctl, "--user", "is-active", "--quiet", "ctxgcd.socket"]
    try:
        return subprocess.run(ask, timeout=SYSTEMCTL_S, capture_output=True).returncode == 0  # noqa: S603 (fixed words)
    except (OSError, subprocess.SubprocessError):
        return False


def _is_daemon_up(shell: Shell) -> bool:
    try:
        shell.call("ping", {}, spawn=False)
    except CallFailed as failure:
        if failure.kind != "unreachable":
            raise
        shell.close()
        return False
    return True


def down(shell: Shell, args: argparse.Namespace) -> int:
    """Stop the daemon and wait until its process is gone; fine if there is none, not if a daemon is out of reach."""
    if not _is_daemon_up(shell):
        shell.refuse_unreachable_daemon()
        return _print_stop_reply(shell, {"stopped": False}, discovery.state_folder(os.environ), "ctxgcd is not running")
    stats: StatsReply = shell.call("stats", {}, spawn=False)
    pid = stats.pid
    reply: StoppingReply = shell.call("shutdown", {}, spawn=False)
    shell.close()
    give_up_s = time.monotonic() + max(args.timeout, STOP_S)
    while _is_process_alive(pid):
        if time.monotonic() > give_up_s:
            raise CommandRefused(
                f"ctxgcd (pid {pid}) is still finishing", kind="busy", hint="`ctxgc down` again in a moment"
            )
        time.sleep(POLL_S)
    return _print_stop_reply(shell, json_members(reply), stats.state_folder, f"ctxgcd (pid {pid}) has stopped")


def _print_stop_reply(shell: Shell, reply: dict[str, Any], folder: str, text: str) -> int:
    running = gateway_status.running_gateways_as_json(folder)

    def print_page(page: terminal.Page) -> None:
        page.print_line(text)
        gateway_status.print_still_running_gateways(page, running)

    return shell.print_reply(reply | {"gateways": running}, print_page)


def _is_process_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return _process_state(pid) != "Z"  # A zombie has stopped; only its parent has not looked yet.


def _process_state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(") ")[2][:1]
    except OSError:
        return ""


def _add_doctor_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--repair", action="store_true", help="stop the daemon and repair the stash, after a backup")
    what.add_argument(
        "--secrets", action="store_true", help="stop the daemon and redact the credentials that the stash holds"
    )
    what.add_argument("--deep", action="store_true", help="read all pages and every text, not a sample")
    parser.add_argument("--dry-run", action="store_true", help="with --secrets: count, and change nothing")


def doctor(shell: Shell, args: argparse.Namespace) -> int:
    """Have the daemon examine itself; where the daemon does not come up, have its stash checked in a child process."""
    if args.dry_run and not args.secrets:
        raise CommandRefused("`--dry-run` goes with `--secrets`", hint="`ctxgc doctor --secrets --dry-run`")
    if args.repair or args.secrets:
        if _is_daemon_up(shell):
            args.timeout = max(args.timeout, STOP_S)
            down(shell, args)
        if args.secrets:
            code = _run_ctxgcd(shell, "--redact", *(["--dry-run"] if args.dry_run else []))
        else:
            code = _run_ctxgcd(shell, "--repair")
        if code == 0 and not args.json:
            shell.page.print_line(
                "the daemon does not run: `ctxgc up`, or any command that needs the daemon, starts it", "dim"
            )
        return code
    try:
        args.timeout = max(args.timeout, DEEP_S) if args.deep else args.timeout
        reply: DoctorReply = shell.call("doctor", {"deep": True} if args.deep else {})
    except CallFailed as failure:
        if failure.kind != "unreachable" or args.no_spawn:
            raise
        sys.stderr.write(
            f"ctxgc: {terminal.printable_text(str(failure))}\n       checking the stash without the daemon\n"
        )
        return _run_ctxgcd(shell, "--check")
    shell.print_reply(reply, lambda page: _print_checks(page, reply))
    return 0 if reply.ok else EXIT_REFUSED


def _print_checks(page: terminal.Page, reply: DoctorReply) -> None:
    for check in reply.checks:
        sign = page.style_text("ok  ", "green") if check.ok else page.style_text("FAIL", "red", "bold")
        page.print_line(f"  {sign}  {check.name:14} {printable_line(check.detail)}")
        if check.hint and not check.ok:
            page.print_line(f"        {printable_line(check.hint)}", "yellow")
    page.print_line("all is well" if reply.ok else "a check needs a hand: see above")


def _run_ctxgcd(shell: Shell, *flags: str) -> int:
    """Run `ctxgcd --check`, `--repair` or `--redact` as a child process and show the output; its exit code."""
    import subprocess

    child = [sys.executable, "-m", "ctxgc.daemon.main", *flags]
    sys.stdout.flush()
    done = subprocess.run(child, capture_output=shell.args.json, text=True)  # noqa: S603 (our own program)
    if shell.args.json:
        shell.print_json({"ok": done.returncode == 0, "output": done.stdout + done.stderr})
    if flags != ("--check",) or done.returncode in (0, EXIT_CONFIG, EXIT_BUSY):
        return done.returncode
    sys.stderr.write(
        "ctxgc: the daemon cannot use its stash as it is\n       `ctxgc doctor --repair` makes a backup, then repairs\n"
    )
    return EXIT_REFUSED


COMMANDS = {
    "up": CommandSpec(up),
    "down": CommandSpec(down),
    "doctor": CommandSpec(doctor, _add_doctor_arguments, timeout_s=120.0),
}
