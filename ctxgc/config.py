"""The configuration: a TOML file, overridden by `CTXGC_SECTION__KEY`, checked as a whole, then frozen.

    defaults ◀── config.toml ◀── environment ──▶ Config

A reload makes a new `Config`; a `Config` is never changed. Every key has a unit and a description, of which the
reference page is made. Only daemon and gateway load this module: pydantic is too slow to import for a command that
answers at once.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from ctxgc.config_sections import (
    CollectConfig,
    ConfigSection,
    DaemonConfig,
    EntryConfig,
    GatewayConfig,
    McpConfig,
    PacerConfig,
    PricesConfig,
    ProtectConfig,
    RedactConfig,
    StashConfig,
    WatchConfig,
)
from ctxgc.protocol import discovery

ENV_PREFIX = "CTXGC_"
ENV_JOINT = "__"
EXIT_CODE = 78
CONFIG_BYTES_MAX = 2**20


FORMER_KEYS = {
    ("gateway", "recall_tool"): "`ctxgc install AGENT --mcp` gives the agent's model a recall tool",
    ("gateway", "recall_scope"): "the recall tool of `ctxgc mcp` reaches its own project; see `mcp.projects`",
}
"""Keys without an effect, each with what stands in its place."""

_log = logging.getLogger("ctxgc.config")


class BadConfig(Exception):
    """The configuration cannot be used; the message names the place, the key and the way out. A program exits 78."""

    exit_code = EXIT_CODE


def config_path(env: Mapping[str, str]) -> Path:
    """The configuration file, which may be absent: `$XDG_CONFIG_HOME/ctxgc/config.toml`, by default under
    `~/.config`."""
    return Path(discovery.config_file(env))


class Config(ConfigSection):
    """Every setting of a user."""

    daemon: DaemonConfig = Field(default_factory=DaemonConfig)
    collect: CollectConfig = CollectConfig()
    pacer: PacerConfig = PacerConfig()
    prices: PricesConfig = PricesConfig()
    protect: ProtectConfig = ProtectConfig()
    redact: RedactConfig = RedactConfig()
    stash: StashConfig = StashConfig()
    watch: WatchConfig = WatchConfig()
    gateway: GatewayConfig = GatewayConfig()
    entry: EntryConfig = EntryConfig()
    mcp: McpConfig = McpConfig()


def load_config(path: Path | None, env: Mapping[str, str]) -> Config:
    """The configuration in force: `path`, or else the user's file if there is one, under the environment.

    Raises `BadConfig` with every fault found. A file that was named must exist; the user's own may be absent.
    """
    file = path or config_path(env)
    return parse_config(_read_text(file, is_required=path is not None), file, env)


def parse_config(text: str, file: Path, env: Mapping[str, str]) -> Config:
    """The configuration of a file's text, under the environment. Raises `BadConfig` with every fault found."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{file}: not TOML: {error}") from None
    overrides = _environment_overrides(env)
    _drop_former_keys(values, overrides)
    for (section, key), (_, value) in overrides.items():
        table = values.setdefault(section, {})
        if isinstance(table, dict):  # Else the model reports the fault.
            table[key] = value
    if isinstance(daemon := values.setdefault("daemon", {}), dict):
        daemon.setdefault("state_dir", discovery.default_state_folder(env))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        sources = {place: name for place, (name, _) in overrides.items()}
        lines = [_config_error_message(dict(fault), file, text, sources) for fault in error.errors()]
        raise BadConfig("\n".join(lines)) from None


def _read_text(file: Path, *, is_required: bool) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(CONFIG_BYTES_MAX + 1)
        if len(content) > CONFIG_BYTES_MAX:
            raise BadConfig(f"{file}: longer than {CONFIG_BYTES_MAX} bytes; is it the right file?")
        return content.decode()
    except FileNotFoundError:
        if is_required:
            raise BadConfig(f"{file}: no such file; leave --config out to use the defaults") from None
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"{file}: cannot be read: {error}") from None


def _drop_former_keys(values: dict[str, Any], overrides: dict[tuple[str, str], tuple[str, Any]]) -> None:
    """Take out keys that a former version had, and say so: a daemon that stands still over one would be no help."""
    for (section, key), instead in FORMER_KEYS.items():
        table = values.get(section)
        in_file = isinstance(table, dict) and table.pop(key, None) is not None
        variable, _ = overrides.pop((section, key), ("", None))
        if in_file or variable:
            _log.warning("%s: `%s.%s` has no effect any more; %s", variable or "configuration", section, key, instead)


def _environment_overrides(env: Mapping[str, str]) -> dict[tuple[str, str], tuple[str, Any]]:
    """(section, key) → (variable, value). A variable without the joint, like CTXGC_SOCKET, is not a setting."""
    overrides: dict[tuple[str, str], tuple[str, Any]] = {}
    for name in sorted(env):
        section, joint, key = name.removeprefix(ENV_PREFIX).lower().partition(ENV_JOINT)
        if name.startswith(ENV_PREFIX) and joint:
            overrides[section, key] = (name, _parse_list_or_text(name, env[name]))
    return overrides


def _parse_list_or_text(name: str, value: str) -> Any:
    if not value.startswith("["):
        return value  # pydantic reads numbers and booleans from text.
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        raise BadConfig(f'{name}: not a list; write it as in the file: ["one", "two"]') from None


def _config_error_message(fault: dict[str, Any], file: Path, text: str, sources: Mapping[tuple[str, str], str]) -> str:
    section, key = (*map(str, fault["loc"]), "", "")[:2]
    named = (name for place, name in sources.items() if place == (section, key) or (not key and place[0] == section))
    where = next(named, f"{file}{_line_suffix_of_key(text, section, key)}")
    name = f"{section}.{key}" if key else section
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown {'key' if key else 'section'} `{name}`{_key_suggestion(section, key)}"
    if fault["type"] == "model_type":
        return f"{where}: `{name}` is a section; write [{name}] and its keys below"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: `{name}`: {message[:1].lower()}{message[1:]}, not {shortened(fault['input'])}"


def _key_suggestion(section: str, key: str) -> str:
    sections = Config.model_fields
    model = sections[section].annotation if key else Config
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    keys = list(model.model_fields)
    close = get_close_matches(key or section, keys, n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; there are: {', '.join(keys)}"


def _line_suffix_of_key(text: str, section: str, key: str) -> str:
    """`:LINE` of a key in a TOML text, or of its section, or empty: a hint for the eye, not a parser."""
    place, inside = "", False
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].strip()
        if words.startswith("["):
            inside = words.strip("[] ") == section
            place = f":{number}" if inside else place
        elif words.partition("=")[0].strip() in ((key,) if inside else (f"{section}.{key}", section)):
            return f":{number}"
    return place
