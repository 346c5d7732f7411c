"""The running gateways: found by their files in the state folder, asked for counts.

    state folder ──▶ pid, address ──GET /ctxgc/status──▶ mode and counts

Standard library only, and no `http.client`: `ctxgc status` imports this module, and `http.client` costs more than the
whole command.
"""

from __future__ import annotations

import json
import os
import socket
import time

from ctxgc.core.display_texts import tokens_text
from ctxgc.fronts.cli import terminal
from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.cli.terminal import format_count, pluralize, printable_line
from ctxgc.gateway import pidfile
from ctxgc.gateway.peer import listener_uid
from ctxgc.gateway.secret import PATH_PREFIX, SECRET_FILE
from ctxgc.protocol.secret_file import read_secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATUS_PATH = "/ctxgc/status"
FAULT_BEGIN = "ctxgc gateway: "
"""The beginning of the message of every error that is the gateway's own, in every version."""
ASK_S = 2.0
ANSWER_BYTES_MAX = 2**20

STILL = "nothing is collected there without the daemon; `ctxgc gateway --stop` ends it"
WHY = {
    "no_identity": "without a session's name",
    "mode_off": "in mode off",
    "not_understood": "not understood",
    "encoded": "compressed in a way that is not read",
    "too_large": "too large",
    "context_management": "edited by the API too",
    "compaction_item": "with a summary that only the API reads",
    "previous_response_id": "of a conversation that the API keeps",
    "daemon_late": "daemon too slow",
    "daemon_gone": "no daemon",
    "daemon_failed": "daemon at fault",
    "own_late": "gateway too slow",
    "own_fault": "gateway at fault",
    "refused": "refused when edited, and sent again as they came",
    "side_call": "beside a conversation (titles, monitors)",
}
"""Why a call passed unedited, by the gateway's word for it."""


class StatusRefused(ValueError):
    """A gateway answered, and refused the status: for the secret, or as a version without secrets."""


def fetch_status(url: str, secret: str = "") -> dict[str, Any]:
    """The status of the gateway at this address. Raises OSError, and ValueError for any other server.

    A gateway that refuses raises `StatusRefused`. The secret goes to a process of this user alone, where the kernel
    tells whose a port is.
    """
    host, _, port = url.removeprefix("http://").rpartition(":")
    if listener_uid((host.strip("[]"), int(port))) not in (None, os.geteuid()):
        raise PermissionError(f"another user's program listens at {url}")
    path = f"{PATH_PREFIX}{secret}{STATUS_PATH}" if secret else STATUS_PATH
    request = f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    answer = b""
    with socket.create_connection((host.strip("[]"), int(port)), ASK_S) as connection:
        connection.sendall(request.encode())
        while len(answer) < ANSWER_BYTES_MAX and (part := connection.recv(2**16)):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    is_served, status = head.split(b"\r\n")[0].split(b" ")[1:2] == [b"200"], json.loads(body)
    if not is_served and (fault := _gateway_error_message(status)):
        raise StatusRefused(fault)
    if not (is_served and isinstance(status, dict) and isinstance(status.get("modes"), dict) and "mode" in status):
        raise ValueError(f"what answers at {url} is no gateway")
    return status


def fetch_own_status(url: str, secret: str) -> dict[str, Any] | None:
    """The status of the user's gateway there; None where nobody listens. Raises `CommandRefused` for any other process.

    A gateway from before the secrets would send the path, and in it the secret, to its upstream: it is refused too.
    """
    try:
        return fetch_status(url, secret)
    except ConnectionRefusedError:
        return None
    except StatusRefused:
        raise CommandRefused(
            f"the gateway at {url} is of another version, or has another secret",
            hint="`ctxgc gateway --stop` ends the gateway of this state folder; then make the call again",
        ) from None
    except (OSError, ValueError):
        hint = "set another `port` under [gateway]"
        raise CommandRefused(f"something else than the gateway answers at {url}", hint=hint) from None


def other_build_warning(url: str, status: dict[str, Any]) -> str:
    """A sentence on a gateway that runs other code than this command, with the next step; empty for the same code."""
    from ctxgc.protocol.build import build_id

    build = printable_line(str(status.get("build") or "an older build"))
    if build == build_id():
        return ""
    return (
        f"the gateway at {url} runs {build}, and this command is {build_id()}: "
        "`ctxgc gateway --stop` ends it, and the next `ctxgc run` starts this build"
    )


def _gateway_error_message(answer: Any) -> str:
    """The words of an error of a gateway's own; empty for any other answer."""
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) and message.startswith(FAULT_BEGIN) else ""


def gateways_with_status(folder: str) -> list[dict[str, Any]]:
    """The gateways of this state folder: `pid`, `url`, `since_s`, and `status`, null without an answer."""
    return [
        {
            "pid": gateway.pid,
            "url": gateway.url,
            "since_s": gateway.since_s,
            "status": _fetch_status_or_none(gateway.url, folder),
        }
        for gateway in pidfile.running_gateways(folder)
    ]


def _fetch_status_or_none(url: str, folder: str) -> dict[str, Any] | None:
    try:
        return fetch_status(url, read_secret(folder, SECRET_FILE))
    except (OSError, ValueError):
        return None


def running_gateways_as_json(folder: str) -> list[dict[str, Any]]:
    """The gateways of this state folder, unasked: `pid` and `url`."""
    return gateways_as_json(pidfile.running_gateways(folder))


def gateways_as_json(some: list[pidfile.GatewayProcess]) -> list[dict[str, Any]]:
    """Gateways in JSON's form."""
    return [{"pid": gateway.pid, "url": gateway.url} for gateway in some]


def print_still_running_gateways(page: terminal.Page, running: list[dict[str, Any]]) -> None:
    """A sentence: gateways go on without the daemon."""
    for gateway in running:
        page.print_line(f"a gateway still runs at {printable_line(gateway['url'])} (pid {gateway['pid']}): {STILL}")


def running_gateways_hint(folder: str) -> str:
    """The same for a hint, where somebody asks for a daemon that is not there; empty if no gateway runs."""
    urls = [printable_line(gateway.url) for gateway in pidfile.running_gateways(folder)]
    return f"; the gateway at {' and '.join(urls)} goes on without it" if urls else ""


def unsynced_reason(running: list[dict[str, Any]], session: str) -> str:
    """Why the daemon did not get the last request of a session, as words; empty for a request that the daemon got."""
    for one in running:
        reason = ((one["status"] or {}).get("not_followed") or {}).get(session)
        if reason:
            words = printable_line(WHY.get(str(reason), str(reason)))
            return f"not followed: its last request went on as it came ({words}), so the numbers here are of before"
    return ""


def print_gateway_statuses(page: terminal.Page, running: list[dict[str, Any]]) -> None:
    """Each gateway's modes, counts, and reasons of unedited calls."""
    for gateway in running:
        page.print_line()
        since = terminal.format_duration(max(time.time() - gateway["since_s"], 0))
        page.print_line(f"gateway at {printable_line(gateway['url'])}, pid {gateway['pid']}, up {since}", "bold")
        if gateway["status"] is None:
            page.print_line("  it does not answer; `ctxgc gateway --stop` ends it", "red")
        else:
            page.print_fields(_status_rows(gateway["status"]))


def _status_rows(status: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    own = [f"{printable_line(name)} {printable_line(mode)}" for name, mode in status["modes"].items()]
    number = {name: int(status.get(name, 0)) for name in COUNTS}
    passed = sorted(status.get("passed_unedited", {}).items(), key=lambda item: -int(item[1]))
    would_free = number["would_free_tokens"]
    return (
        ("mode", ", ".join([printable_line(str(status["mode"])), *own])),
        (
            "calls",
            f"{pluralize(number['calls'], 'call')} to a model: {format_count(number['edited'])} edited, "
            f"{format_count(number['untouched'])} with nothing to edit; {pluralize(number['others'], 'other request')}",
        ),
        (
            "unedited",
            ", ".join(f"{format_count(times)} {WHY.get(reason, printable_line(reason))}" for reason, times in passed),
        ),
        (
            "kept out",
            f"{terminal.format_bytes(number['kept_out_bytes'])} of requests" if number["kept_out_bytes"] else "",
        ),
        ("pointers", _pointers_in_words(number)),
        ("in shadow", f"{tokens_text(would_free)} tokens (raw) would be out" if would_free else ""),
        ("faults", _failures_in_words(number)),
    )


COUNTS = (
    *("calls", "others", "edited", "untouched", "kept_out_bytes", "would_free_tokens"),
    *("upstream_faults", "sync_failures", "pointers", "late_entries"),
)


def _pointers_in_words(number: dict[str, int]) -> str:
    """The runs of lines that went upstream as pointers, and the requests whose new results went whole for want of an
    answer.
    """
    pointers, late = number["pointers"], number["late_entries"]
    parts = [f"{pluralize(pointers, 'run')} of lines that the window shows already"] if pointers else []
    parts += [f"{pluralize(late, 'request')} whole: the daemon was late"] if late else []
    return "; ".join(parts)


def _failures_in_words(number: dict[str, int]) -> str:
    upstream, daemon = number["upstream_faults"], number["sync_failures"]
    parts = [f"{format_count(upstream)} of the API or on the way to it"] if upstream else []
    parts += [f"{format_count(daemon)} times the daemon could not be told"] if daemon else []
    return ", ".join(parts)
