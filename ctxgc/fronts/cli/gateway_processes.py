"""The gateway's processes: what they need, started for an agent, and ended.

start_gateway   a process that outlives the command ──▶ its status, or the last line of its log
stop_gateways   SIGTERM, until the gateway's file is gone
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time

from ctxgc.fronts.cli import gateway_status
from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.gateway import pidfile
from ctxgc.protocol.spawn import LOG_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen
    from typing import Any

INSTALL_HINT = "in the checkout of ctxgc: pip install '.[gateway]', or pipx install --force '.[gateway]'"
"""Not `ctxgc[gateway]`: no index has the package, and anyone could publish under this name."""

START_S = 15.0
START_POLL_S, STOP_POLL_S = 0.05, 0.02
LOG_NAME = "gateway.log"
LOG_BYTES_READ_MAX = 2000


def start_gateway(url: str, secret: str, socket: str, mode: str) -> dict[str, Any]:
    """Start a gateway that outlives the command; the gateway's status. Raises `CommandRefused`."""
    import subprocess

    require_aiohttp()
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "gateway", "--socket", socket]
    command += ["--mode", mode] if mode else []
    log_path = os.path.join(os.path.dirname(socket), LOG_NAME)
    log = os.open(log_path, LOG_FLAGS, 0o600)
    try:
        child = subprocess.Popen(  # noqa: S603 (our own program)
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    finally:
        os.close(log)
    status = _wait_for_gateway(url, secret, child, log_path)
    sys.stderr.write(f"ctxgc: started the gateway at {url}, pid {child.pid}, mode {status['mode']}; log {log_path}\n")
    sys.stderr.write("       it goes on when the agent has ended; `ctxgc gateway --stop` ends it\n")
    return status


def _wait_for_gateway(url: str, secret: str, child: Popen[bytes], log_path: str) -> dict[str, Any]:
    gives_up_at = time.monotonic() + START_S
    while True:
        # Where two start at once one of them finds the port taken and goes; the other serves both.
        is_gone = child.poll() is not None
        status = gateway_status.fetch_own_status(url, secret)
        if status is not None:
            return status
        if is_gone or time.monotonic() > gives_up_at:
            raise CommandRefused(
                f"the gateway did not start: {_last_log_line(log_path)}", kind="unreachable", hint=log_path
            )
        time.sleep(START_POLL_S)


def _last_log_line(log_path: str) -> str:
    with open(log_path, "rb") as log:
        lines = log.read(LOG_BYTES_READ_MAX).decode("utf-8", "replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def stop_gateways(meant: list[pidfile.GatewayProcess], wait_s: float) -> list[pidfile.GatewayProcess]:
    """Stop gateways, and wait; the stopped gateways. Requests in flight have a few seconds to end."""
    import signal

    for gateway in meant:
        try:
            os.kill(gateway.pid, signal.SIGTERM)
        except ProcessLookupError:  # It went by itself.
            continue
    gives_up_s = time.monotonic() + wait_s
    left = meant
    while left and time.monotonic() < gives_up_s:
        left = [gateway for gateway in left if pidfile.is_gateway_running(gateway)]
        time.sleep(STOP_POLL_S if left else 0)
    return [gateway for gateway in meant if gateway not in left]


def has_aiohttp() -> bool:
    """Whether the gateway's extra is installed."""
    return importlib.util.find_spec("aiohttp") is not None


def require_aiohttp() -> None:
    """Raise `CommandRefused` where the gateway's extra is not installed."""
    if not has_aiohttp():
        raise CommandRefused("the gateway needs aiohttp", hint=INSTALL_HINT)
