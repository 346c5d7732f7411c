"""`ctxgc install` and `ctxgc uninstall`: an agent has the gateway, the tools or the hooks for good, and no more.

    plan ──shown──▶ asked ──▶ services started ──▶ settings written, recorded
    uninstall ──▶ settings as they were ──with the last agent──▶ services gone

The services start before an agent's settings change: an agent whose base URL leads nowhere reaches no model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ctxgc.fronts.cli.commands import CommandSpec
from ctxgc.fronts.cli.configuration import load_config_or_refuse
from ctxgc.fronts.cli.context import CommandRefused, Shell, refuse_usage
from ctxgc.fronts.cli.terminal import printable_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctxgc.config import Config
    from ctxgc.fronts.cli.terminal import Page
    from ctxgc.fronts.setup.agent_settings import AgentPlan
    from ctxgc.fronts.setup.changes import FileEdit, NewFile
    from ctxgc.fronts.setup.records import Records
    from ctxgc.fronts.setup.services import Host

AGENTS = ("claude", "codex", "opencode")
SERVICES = "services"
"""The record of the services' files, beside those of the agents."""


class InstallWork:
    """Files to be written or removed, and sentences that say so. Nothing happens before `apply`."""

    def __init__(self) -> None:
        self.texts: dict[str, str | None] = {}
        """The new text of each file; `None`: the file goes."""
        self.records: dict[str, list[FileEdit]] = {}
        self.changes: list[dict[str, str]] = []
        self.notes: list[str] = []

    def add_change(self, file: str, what: str) -> None:
        """Say what happens to a file."""
        self.changes.append({"file": file, "change": what})

    def apply(self, records: Records) -> None:
        """Write the record first: what was there before is then known whatever happens."""
        from ctxgc.fronts.setup.files import write_text

        for name, edits in self.records.items():
            if edits:
                records.save_with_made_folders(name, edits)
        for file, text in self.texts.items():
            if text is None:
                Path(file).resolve().unlink(missing_ok=True)  # A link of the user's stays.
            else:
                write_text(Path(file), text)
        for name, edits in self.records.items():
            if not edits:
                records.save(name, [])


def install(shell: Shell, args: argparse.Namespace) -> int:
    """Show the changes, ask, and apply the changes."""
    from ctxgc.fronts.setup import services
    from ctxgc.fronts.setup.records import Records

    config, host = load_config_or_refuse(), services.current_host()
    records = Records(str(config.daemon.lock_dir))
    work, init_system = _plan_installation(shell, config, host, records, args, makes_secret=False)
    if not args.json:
        _print_changes(shell.page, work, init_system)
    if (work.texts or init_system) and not args.dry_run and _confirm_changes(args):
        # Planned anew: before the yes there may have been no secret, and none was made.
        work, init_system = _plan_installation(shell, config, host, records, args, makes_secret=True)
        for name in (SERVICES, *args.agents):  # The services first.
            _apply_installation_part(work, name, records)
            if name == SERVICES and init_system:
                services.start_services(host, init_system)
    reply = {"changes": work.changes, "notes": work.notes, "services": init_system, "dry_run": args.dry_run}
    idle = "" if work.texts or init_system else "every part is installed already"
    return shell.print_reply(reply, lambda page: _print_outcome(page, args, idle))


def _plan_installation(
    shell: Shell, config: Config, host: Host, records: Records, args: argparse.Namespace, *, makes_secret: bool
) -> tuple[InstallWork, str]:
    """The work of an installation, and the manager that is to run the services. Raises `CommandRefused`."""
    from ctxgc.fronts.cli import gateway_status
    from ctxgc.fronts.cli.base_url import STAND_IN, gateway_address
    from ctxgc.gateway.secret import SECRET_FILE
    from ctxgc.protocol.secret_file import read_secret

    work, needs_gateway = InstallWork(), False
    for agent in dict.fromkeys(args.agents):
        plan = _plan_agent(agent, config, host, records, args, makes_secret=makes_secret)
        _add_agent_plan(work, agent, plan, records)
        needs_gateway |= plan.needs_gateway
    if needs_gateway:
        secret = read_secret(str(config.daemon.lock_dir), SECRET_FILE)
        if not secret:
            work.notes.append(f"{STAND_IN} stands for the gateway's secret, which the installation makes")
        address = gateway_address(config.gateway)
        status = gateway_status.fetch_own_status(address, secret or STAND_IN)
        if status and (warning := gateway_status.other_build_warning(address, status)):
            work.notes.append(warning)
    try:
        init_system = _add_service_files(
            work, host, records, is_wanted=not args.no_service, needs_gateway=needs_gateway
        )
    except CommandRefused:
        if args.dry_run and not args.json:  # The changes are what was asked for; the refusal comes after them.
            _print_changes(shell.page, work, "")
        raise
    return work, init_system


def _apply_installation_part(work: InstallWork, name: str, records: Records) -> None:
    """The part of the work with this record."""
    part = InstallWork()
    part.records = {name: work.records[name]} if name in work.records else {}
    files = {edit.file for edit in part.records.get(name, [])}
    part.texts = {file: text for file, text in work.texts.items() if file in files}
    part.apply(records)


def _plan_agent(
    agent: str, config: Config, host: Host, records: Records, args: argparse.Namespace, *, makes_secret: bool
) -> AgentPlan:
    from ctxgc.fronts.setup.agent_settings import PLANS, Options
    from ctxgc.fronts.setup.agent_tools import hooks_plan, installed_parts, join_plans, mcp_plan, plugin_plan
    from ctxgc.fronts.setup.services import ctxgc_command

    command = ctxgc_command(host.environment, host.program("ctxgc"))
    if args.plugin and agent != "opencode":
        refuse_usage("--plugin is for opencode")
    standing = records.load(agent)
    # A part that is there already stays; no part asked for means the gateway, as before there were others.
    asked = {part for part in ("gateway", "plugin", "mcp", "hooks") if getattr(args, part)} or {"gateway"}
    parts, plans = asked | installed_parts(standing), []
    uses_gateway = "gateway" in asked or ("gateway" in parts and "plugin" not in parts)
    options = Options(has_status_line=not args.no_status_line, command=command, makes_secret=makes_secret)
    if uses_gateway:
        plans.append(PLANS[agent](config, host.environment, options, standing))
    plans += [mcp_plan(agent, host.environment, options, standing)] if "mcp" in parts else []
    if "hooks" in parts and agent != "opencode":
        plans.append(hooks_plan(agent, host.environment, options, standing))
    elif "hooks" in parts or ("plugin" in parts and not uses_gateway):
        does = {"collects": not uses_gateway, "has_hooks": "hooks" in parts}
        plans.append(plugin_plan(host.environment, options, standing, **does))
    return join_plans(plans)


def _add_agent_plan(work: InstallWork, agent: str, plan: AgentPlan, records: Records) -> None:
    from ctxgc.fronts.setup.changes import text_with_edit
    from ctxgc.fronts.setup.records import is_file_unchanged

    standing = {edit.file: edit for edit in records.load(agent)}
    edits = []
    for edit in plan.edits:
        text, noted = text_with_edit(edit, standing.pop(edit.file, None))
        edits.append(noted)
        if text is not None:
            work.texts[edit.file] = text
            for change in noted.changes:
                # Never the value before: it may hold a key.
                verb = "set, in place of yours, to" if change.previous is not None else "set to"
                verb = "gets, behind what is there," if change.is_item else verb
                work.add_change(edit.file, f"{'.'.join(change.path)} {verb} {change.value}")
    _add_new_files(work, plan.new_files, edits)
    for file in standing.keys() - {new.edit.file for new in plan.new_files}:  # From base URLs to the plugin, or back.
        if standing[file].format == "whole" and not is_file_unchanged(Path(file), [standing[file]]):
            continue  # The user's, since the user changed the file.
        raise CommandRefused(f"{file} is of another installation of {agent}", hint=f"`ctxgc uninstall {agent}` first")
    work.records[agent] = edits
    work.notes += plan.notes


def _add_new_files(work: InstallWork, new_files: tuple[NewFile, ...], edits: list[FileEdit]) -> None:
    from ctxgc.fronts.setup.files import read_text

    for file in new_files:
        edits.append(file.edit)
        present = read_text(Path(file.edit.file))
        if present != file.text:
            work.texts[file.edit.file] = file.text
            work.add_change(file.edit.file, "a new file" if present is None else "written anew")


def _add_service_files(work: InstallWork, host: Host, records: Records, *, is_wanted: bool, needs_gateway: bool) -> str:
    """Add the services' files; the manager for the services, empty without a manager. Raises `CommandRefused`."""
    from ctxgc.fronts.cli.gateway_processes import require_aiohttp
    from ctxgc.fronts.setup import services

    if not needs_gateway:
        return ""
    require_aiohttp()
    if not is_wanted:
        work.notes.append("the gateway must run whenever the agent does: `ctxgc gateway` starts it")
        return ""
    init_system = services.detect_init_system(host)
    if not init_system:
        raise CommandRefused(
            "no service manager of yours answers here: without a gateway the agent would reach no model",
            hint="--no-service, if you see to it that `ctxgc gateway` runs whenever the agent does",
        )
    services.refuse_environment_settings(host)
    new_files, kept = services.plan_service_files(host, init_system, records.load(SERVICES))
    edits: list[FileEdit] = []
    _add_new_files(work, tuple(new_files), edits)
    work.records[SERVICES] = edits
    work.notes += [f"{file} is yours and stays as it is" for file in kept]
    return init_system


def _print_changes(page: Page, work: InstallWork, init_system: str) -> None:
    for change in work.changes:
        page.print_line(f"{printable_line(change['file'])}: {printable_line(change['change'])}")
    if init_system:
        page.print_line(
            f"{init_system} runs the daemon and the gateway, now and after each login; those that run now are restarted"
        )
    for note in work.notes:
        page.print_line(printable_line(note), "dim")


def _confirm_changes(args: argparse.Namespace) -> bool:
    if args.yes:
        return True
    if args.json or not sys.stdin.isatty():
        raise CommandRefused(
            "no terminal is here to answer yes", kind="usage", hint="--yes agrees; --dry-run only shows the changes"
        )
    sys.stdout.write("Change this? [y/N] ")
    sys.stdout.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandRefused("nothing was changed")
    return True


def _print_outcome(page: Page, args: argparse.Namespace, idle: str) -> None:
    """Say how the command ended; `idle` says why there was nothing to do."""
    if idle:
        page.print_line(idle)
    elif args.dry_run:
        page.print_line("nothing was changed: --dry-run", "dim")
    else:
        page.print_line("done; a running agent keeps the old settings, the next run has the new settings")


def uninstall(shell: Shell, args: argparse.Namespace) -> int:
    """Put an agent's settings back; with the last agent the services go too."""
    from ctxgc.fronts.setup import services
    from ctxgc.fronts.setup.records import Records

    config, host, work = load_config_or_refuse(), services.current_host(), InstallWork()
    records = Records(str(config.daemon.lock_dir))
    names = [name for name in records.installed_names() if name != SERVICES]
    agents = list(dict.fromkeys(args.agents or names))
    if unknown := [name for name in agents if name not in AGENTS]:
        refuse_usage(f"{unknown[0]!r} is no agent that is installed", f"there are {', '.join(AGENTS)}")
    for agent in agents:
        _add_removal(work, agent, records)
    is_last = not set(names) - set(agents) and SERVICES in records.installed_names()
    if is_last:
        _add_removal(work, SERVICES, records)
    reply = {"changes": work.changes, "notes": work.notes, "dry_run": args.dry_run}
    if not args.json and work.records:
        _print_changes(shell.page, work, "")
        if is_last:
            shell.page.print_line("the services of the daemon and the gateway stop and go")
    if work.records and not args.dry_run and _confirm_changes(args):
        for agent in agents:  # The settings first: no agent may be left with a base URL that leads nowhere.
            _apply_removal(work, agent, records)
        if is_last:
            services.stop_services(host, services.detect_init_system(host))
            _apply_removal(work, SERVICES, records)
    idle = "" if work.records else f"nothing to take back: {'; '.join(work.notes) or 'no agent is installed'}"
    return shell.print_reply(reply, lambda page: _print_outcome(page, args, idle))


def _add_removal(work: InstallWork, name: str, records: Records) -> None:
    from ctxgc.fronts.setup.changes import text_without_edit
    from ctxgc.fronts.setup.files import read_text

    edits = records.load(name)
    if not edits:
        work.notes.append(f"{name} is not installed")
        return
    work.records[name] = edits
    for edit in edits:
        text, kept = text_without_edit(edit)
        work.notes += [f"{edit.file}: {key} is not ours any more and stays" for key in kept]
        if text != read_text(Path(edit.file)):
            work.texts[edit.file] = text
            what = (
                "removed"
                if text is None
                else f"{', '.join('.'.join(change.path) for change in edit.changes)} as before"
            )
            work.add_change(edit.file, what)


def _apply_removal(work: InstallWork, name: str, records: Records) -> None:
    if name not in work.records:
        return
    from ctxgc.fronts.setup.records import remove_made_folders

    part = InstallWork()
    files = {edit.file for edit in work.records[name]}
    part.texts = {file: text for file, text in work.texts.items() if file in files}
    part.records = {name: []}
    part.apply(records)
    remove_made_folders(work.records[name])


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--yes", action="store_true", help="change it without asking")


def _add_install_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agents", nargs="+", choices=AGENTS, metavar="AGENT", help=", ".join(AGENTS))
    _add_shared_arguments(parser)
    parser.add_argument("--gateway", action="store_true", help="its requests go through the gateway: the default")
    parser.add_argument("--mcp", action="store_true", help="its model has search, recall and pins as tools")
    parser.add_argument(
        "--hooks", action="store_true", help="it tells ctxgc of its work, and goes on from working sets"
    )
    parser.add_argument("--no-service", action="store_true", help="leave it to you to run the daemon and the gateway")
    parser.add_argument("--no-status-line", action="store_true", help="leave Claude Code's status line alone")
    parser.add_argument("--plugin", action="store_true", help="OpenCode: by the plugin, without the gateway")


def _add_uninstall_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "agents", nargs="*", metavar="AGENT", help=f"{', '.join(AGENTS)}; default: all that are installed"
    )
    _add_shared_arguments(parser)


COMMANDS = {
    "install": CommandSpec(install, _add_install_arguments, notes="`ctxgc uninstall` puts every file back as it was."),
    "uninstall": CommandSpec(uninstall, _add_uninstall_arguments),
}
