"""The daemon and the gateway as services of the user's own manager: systemd on Linux, launchd on macOS.

    units or plists ──written──▶ the manager told ──▶ daemon and gateway run now and after each login

A `Host` names the system and runs the manager's commands, so that a test can be any system.
"""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ctxgc.fronts.cli.context import CommandRefused
from ctxgc.fronts.setup.changes import FileEdit, NewFile, new_file
from ctxgc.fronts.setup.files import read_text
from ctxgc.fronts.setup.packaged import UNITS, packaged_text
from ctxgc.fronts.setup.records import is_file_unchanged
from ctxgc.protocol import discovery

COMMAND_S = 60.0
SYSTEMD, LAUNCHD = "systemd", "launchd"
LAUNCHD_AGENTS = {"ctxgc.daemon": ("ctxgcd",), "ctxgc.gateway": ("ctxgc", "gateway", "--no-spawn")}
"""The agents of launchd: label, program and arguments."""
HANDED_ON = ("XDG_CONFIG_HOME", "XDG_STATE_HOME")
"""Variables that name folders: the services must find the same ones."""


def run_command(command: Sequence[str]) -> tuple[int, str]:
    """The command's exit code and its output."""
    try:
        done = subprocess.run(  # noqa: S603 (the manager's own commands, by fixed words)
            command, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, (done.stderr or done.stdout).strip()


def program_path(name: str) -> str:
    """The absolute path of a program of ours: beside this interpreter, else on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise CommandRefused(f"there is no program `{name}` on the path", hint="install ctxgc first: `pipx install .`")
    return os.path.abspath(found)


@dataclass(frozen=True, slots=True)
class Host:
    """The system that services are installed on."""

    system: str
    """As `sys.platform` says it."""
    environment: Mapping[str, str]
    uid: int
    run: Callable[[Sequence[str]], tuple[int, str]]
    program: Callable[[str], str]
    """The absolute path of one of our programs."""


def current_host() -> Host:
    """The system of this process."""
    return Host(sys.platform, os.environ, os.getuid(), run_command, program_path)


def detect_init_system(host: Host) -> str:
    """The user's service manager, `systemd` or `launchd`; empty where none answers."""
    if host.system == "darwin":
        return LAUNCHD
    code, _ = host.run(["systemctl", "--user", "show-environment"])
    return SYSTEMD if code == 0 else ""


def refuse_environment_settings(host: Host) -> None:
    """Raise `CommandRefused` where settings come from variables that a service would not have."""
    names = [
        name for name in host.environment if name.startswith("CTXGC_") and (name == "CTXGC_SOCKET" or "__" in name)
    ]
    if names:
        raise CommandRefused(
            f"{', '.join(sorted(names))} is set here, and a service would not see it", kind="config",
            hint=f"put it into {discovery.config_file(host.environment)}, or unset it",
        )  # fmt: skip


def service_files(host: Host, init_system: str) -> list[tuple[Path, str]]:
    """The files of the services, each with its text."""
    home = Path(discovery.home_folder(host.environment))
    if init_system == LAUNCHD:
        discovery.socket_path("", host.environment)  # Raises where the path is too long for the system.
        folder = home / "Library" / "LaunchAgents"
        return [(folder / f"{label}.plist", _launchd_plist(host, label)) for label in LAUNCHD_AGENTS]
    config = host.environment.get("XDG_CONFIG_HOME", "")
    folder = (Path(config) if config.startswith("/") else home / ".config") / "systemd" / "user"
    return [(folder / Path(name).name, _systemd_unit(host, packaged_text(name))) for name in UNITS]


def _launchd_plist(host: Host, label: str) -> str:
    program, *arguments = LAUNCHD_AGENTS[label]
    log = os.path.join(discovery.xdg_state_folder(host.environment), "ctxgc", f"{label}.log")
    values = {
        "Label": label,
        "ProgramArguments": [host.program(program), *arguments],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ProcessType": "Background",
        "Umask": 0o077,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    if own := _inherited_variables(host):
        values["EnvironmentVariables"] = own
    return plistlib.dumps(values).decode()


def _inherited_variables(host: Host) -> dict[str, str]:
    return {name: host.environment[name] for name in HANDED_ON if host.environment.get(name, "").startswith("/")}


def _systemd_unit(host: Host, text: str) -> str:
    """A unit with the programs' places, and the folders of this user."""

    def exec_start_lines(found: re.Match[str]) -> str:
        program, *arguments = found[1].split(" ")
        path = host.program(program.rpartition("/")[2])
        words = " ".join([_quote_path(path), *arguments])
        lines = [
            f'Environment="{name}={value}"'.replace("%", "%%") for name, value in _inherited_variables(host).items()
        ]
        return "\n".join([f"ExecStart={words}", *lines])

    return re.sub(r"^ExecStart=(.+)$", exec_start_lines, text, flags=re.M)


def _quote_path(path: str) -> str:
    path = path.replace("%", "%%").replace("$", "$$")
    return path if re.fullmatch(r"[\w%$/.+@-]+", path) else '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def plan_service_files(host: Host, init_system: str, standing: Sequence[FileEdit]) -> tuple[list[NewFile], list[str]]:
    """Files to be written, and the user's own files under the same names, which stay."""
    new_files, kept = [], []
    for path, text in service_files(host, init_system):
        present = read_text(path)
        if present not in (None, text) and not is_file_unchanged(path, standing):
            kept.append(str(path))
            continue
        new_files.append(new_file(path, text))
    return new_files, kept


def start_services(host: Host, init_system: str) -> None:
    """Have systemd or launchd start daemon and gateway, now and at each login. Raises `CommandRefused`."""
    for command in _start_commands(host, init_system):
        code, said = host.run(command)
        if code and (command[0] == "systemctl" or "bootstrap" in command):
            raise CommandRefused(
                f"`{' '.join(command)}` failed: {said or code}", hint="`ctxgc uninstall` takes all back"
            )


def _start_commands(host: Host, init_system: str) -> list[list[str]]:
    # Those that run unmanaged hold the lock and the port.
    before = [[host.program("ctxgc"), "gateway", "--stop"], [host.program("ctxgc"), "down", "--no-spawn"]]
    if init_system == SYSTEMD:
        units = ["ctxgcd.socket", "ctxgc-gateway.service"]
        return [
            ["systemctl", "--user", "daemon-reload"],
            *([] if host.run(["systemctl", "--user", "is-active", *units])[0] == 0 else before),
            ["systemctl", "--user", "enable", "--now", *units],
        ]
    domain = f"gui/{host.uid}"
    folder = Path(discovery.home_folder(host.environment)) / "Library" / "LaunchAgents"
    return [
        *(["launchctl", "bootout", f"{domain}/{label}"] for label in LAUNCHD_AGENTS),
        *before,
        *(["launchctl", "bootstrap", domain, str(folder / f"{label}.plist")] for label in LAUNCHD_AGENTS),
    ]


def stop_services(host: Host, init_system: str) -> None:
    """Let the manager run the services no more; fine where the manager does not know them."""
    if init_system == SYSTEMD:
        host.run(
            ["systemctl", "--user", "disable", "--now", "ctxgc-gateway.service", "ctxgcd.socket", "ctxgcd.service"]
        )
    else:
        for label in LAUNCHD_AGENTS:
            host.run(["launchctl", "bootout", f"gui/{host.uid}/{label}"])


def ctxgc_command(environment: Mapping[str, str], program: str) -> str:
    """The command in an agent's shell: by its name where the path finds the command, else by its place.

    The path of an activated virtual environment is this shell's alone: an agent of tomorrow does not have it.
    """
    folders = environment.get("PATH", "").split(os.pathsep)
    found = next((folder for folder in folders if os.access(os.path.join(folder, "ctxgc"), os.X_OK)), "")
    activated = environment.get("VIRTUAL_ENV", "")
    return "ctxgc" if found and not (activated and found.startswith(activated)) else program
