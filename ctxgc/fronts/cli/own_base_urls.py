"""Base URLs in users' files of agents: read, so that no run replaces a user's URL by the gateway's unasked.

    opencode   opencode.json(c), config.json: global, OPENCODE_CONFIG, from the folder up; OPENCODE_CONFIG_CONTENT
    codex      $CODEX_HOME/config.toml: `openai_base_url`, and a `model_provider` of the user's own
    pi         ~/.pi/agent/models.json                goose      ~/.config/goose/config.yaml
    crush      crush.json, .crush.json: global, from the folder up

Files are never changed. A file that cannot be read has no base URL; its agent will say what is wrong with the file.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE_BYTES_MAX = 2**20
FOLDERS_MAX = 64
"""Folders from the working one upwards that are looked at."""
PROVIDERS = ("anthropic", "openai")
_VARIABLE = re.compile(r"\{env:(\w+)\}")
_GOOSE_HOST = re.compile(r"^(OPENAI|ANTHROPIC)_HOST:[ \t]*[\"']?([^\s\"'#]+)", re.M)


class OwnBaseUrl(NamedTuple):
    """The base URL of a provider as a file, or a variable, of the user's sets it."""

    provider: str
    url: str
    place: str
    """The file or variable, and the setting in it."""


def opencode_base_urls(environment: Mapping[str, str]) -> Iterator[OwnBaseUrl]:
    """Base URLs of OpenCode's configuration, the strongest last."""
    folder = os.path.join(_config_home(environment), "opencode")
    files = [os.path.join(folder, name) for name in ("config.json", "opencode.json", "opencode.jsonc")]
    files += [environment.get("OPENCODE_CONFIG", "")]
    for above in _working_folder_and_parents(environment):
        files += [os.path.join(above, *names) for names in _OPENCODE_FILES]
    files += [os.path.join(environment.get("OPENCODE_CONFIG_DIR", ""), name) for name in ("opencode.json",)]
    texts = [(place, _read_text(place)) for place in files if os.path.isabs(place)]
    texts.append(("OPENCODE_CONFIG_CONTENT", environment.get("OPENCODE_CONFIG_CONTENT", "")))
    for place, text in texts:
        for provider in PROVIDERS:
            url = _nested_text(_decode_json_or_none(text), "provider", provider, "options", "baseURL")
            if url := _VARIABLE.sub(lambda found: environment.get(found[1], ""), url):
                yield OwnBaseUrl(provider, url, f"provider.{provider}.options.baseURL in {place}")


_OPENCODE_FILES = [(*folder, name) for folder in ((), (".opencode",)) for name in ("opencode.json", "opencode.jsonc")]


def codex_base_urls(environment: Mapping[str, str]) -> Iterator[OwnBaseUrl]:
    """The base URL of Codex's own configuration. A provider of the user's own counts as one, wherever it leads."""
    import tomllib

    home = environment.get("CODEX_HOME") or os.path.join(_home_folder(environment), ".codex")
    place = os.path.join(home, "config.toml")
    try:
        settings = tomllib.loads(_read_text(place))
    except tomllib.TOMLDecodeError:
        return
    profile = _nested_table(settings, "profiles", str(settings.get("profile", "")))
    provider = profile.get("model_provider") or settings.get("model_provider") or "openai"
    if provider != "openai":
        url = _nested_table(settings, "model_providers", str(provider)).get("base_url")
        yield OwnBaseUrl("openai", str(url or f"provider {provider}"), f"model_provider = {provider} in {place}")
    elif isinstance(url := settings.get("openai_base_url"), str) and url:
        yield OwnBaseUrl("openai", url, f"openai_base_url in {place}")


def pi_base_urls(environment: Mapping[str, str]) -> Iterator[OwnBaseUrl]:
    """Base URLs of Pi's own providers in the models file."""
    folder = environment.get("PI_CODING_AGENT_DIR") or os.path.join(_home_folder(environment), ".pi", "agent")
    yield from _json_base_urls(os.path.join(folder, "models.json"), "baseUrl")


def crush_base_urls(environment: Mapping[str, str]) -> Iterator[OwnBaseUrl]:
    """Base URLs of Crush's JSON configuration."""
    folders = [os.path.join(_config_home(environment), "crush"), *_working_folder_and_parents(environment)]
    for folder in folders:
        for name in ("crush.json", ".crush.json"):
            yield from _json_base_urls(os.path.join(folder, name), "base_url")


def goose_base_urls(environment: Mapping[str, str]) -> Iterator[OwnBaseUrl]:
    """Hosts of Goose's configuration, of which only lines at its left edge are read."""
    place = os.path.join(_config_home(environment), "goose", "config.yaml")
    for name, url in _GOOSE_HOST.findall(_read_text(place)):
        yield OwnBaseUrl(name.lower(), url, f"{name}_HOST in {place}")


READERS: dict[str, Callable[[Mapping[str, str]], Iterable[OwnBaseUrl]]] = {
    "opencode": opencode_base_urls,
    "codex": codex_base_urls,
    "pi": pi_base_urls,
    "goose": goose_base_urls,
    "crush": crush_base_urls,
}
"""By the name of the agent's program."""


def _json_base_urls(place: str, key: str) -> Iterator[OwnBaseUrl]:
    settings = _decode_json_or_none(_read_text(place))
    for provider in PROVIDERS:
        if url := _nested_text(settings, "providers", provider, key):
            yield OwnBaseUrl(provider, url, f"providers.{provider}.{key} in {place}")


def _home_folder(environment: Mapping[str, str]) -> str:
    return environment.get("HOME") or os.path.expanduser("~")


def _config_home(environment: Mapping[str, str]) -> str:
    """The agents' folder of configurations: a relative one is ignored, by the XDG base directory specification."""
    own = environment.get("XDG_CONFIG_HOME", "")
    return own if own.startswith("/") else os.path.join(_home_folder(environment), ".config")


def _working_folder_and_parents(environment: Mapping[str, str]) -> list[str]:
    """The working folder and the folders above, the outermost first."""
    folder = os.path.abspath(environment.get("PWD") or os.curdir)
    folders = [folder]
    while len(folders) < FOLDERS_MAX and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
        folders.append(folder)
    return folders[::-1]


def _read_text(place: str) -> str:
    try:
        with open(place, "rb") as file:
            return file.read(FILE_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""


def _decode_json_or_none(text: str) -> Any:
    """The value of a text of JSON, with comments and trailing commas or without; `None` for any other text."""
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    from ctxgc.fronts.setup import json_edit

    try:
        return json_edit.decode_json(text)
    except (json_edit.Uneditable, ValueError):
        return None


def _nested_text(value: Any, *keys: str) -> str:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _nested_table(settings: dict[str, Any], *keys: str) -> dict[str, Any]:
    value: Any = settings
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
