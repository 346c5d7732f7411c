"""The house rules, executable: rooms and their doors, purity of the core, sizes, names."""

import ast
import re
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ctxgc"
FILES = sorted(PACKAGE.rglob("*.py"))
OURS = {
    "core": set(),
    "tokens": {"core"},
    "adapters": {"core"},
    "stash": {"core"},
    "config": {"protocol", "config_sections"},
    "config_sections": {"protocol"},
    "protocol": {"core"},
    "replay": {"core", "adapters", "tokens"},
    "daemon": {"core", "tokens", "adapters", "stash", "config", "config_sections", "protocol"},
    "gateway": {"protocol", "config", "adapters", "core"},
    "client": {"protocol", "config", "adapters", "core", "gateway"},
    "integrations": {"client"},
    "report": {"replay"},
    "fronts": {"protocol", "config", "config_sections", "adapters", "core", "replay", "report", "gateway"},
}
FRAMEWORKS = {
    *("langchain", "langchain_core", "langgraph", "pydantic_ai", "agents", "litellm", "anthropic", "openai"),
}
"""Optional extras, a module of `integrations` each."""
THIRD_PARTY = {
    "core": {"sortedcontainers", "Stemmer"},
    "tokens": {"tiktoken", "cachetools"},
    "adapters": {"msgspec", "zstandard"},
    "stash": {"aiosqlite", "zstandard"},
    "config": {"pydantic"},
    "config_sections": {"pydantic"},
    "protocol": {"msgspec", "pydantic", "pydantic_core"},
    "replay": set(),
    "daemon": {"uvloop", "watchfiles", "cachetools", "msgspec", "pydantic"},
    "report": set(),
    "client": {"msgspec"},
    "integrations": {*FRAMEWORKS},
    "gateway": {"msgspec", "zstandard"},
    "fronts": {"msgspec", "zstandard"},
}
GATEWAY_ONLY = {"aiohttp", "multidict", "yarl", "uvloop", "brotli"}
"""An optional extra: the gateway alone may import it, and nothing else loads the gateway at its top."""
SUB_ROOMS = {
    "adapters": {
        "": set(),  # Files of no sub-room: the contract, values of JSON, JSON with places, skeletons.
        "facts": {""},
        "builder": {"", "facts"},
        "host_texts": {"", "facts"},
        "wire": {"", "facts", "builder", "host_texts"},
        "transcripts": {"", "facts", "builder", "host_texts", "wire"},
    },
    "core": {
        "": set(),  # Segments, heap, references, roots, mark, plans, and the words for them.
        "search": {""},
        "redaction": {""},
        "pacing": {""},
        "entry": {"", "redaction", "pacing"},
    },
    "daemon": {
        "sessions": set(),
        "": {"sessions"},  # Services, settings, events, replies, the seam between socket and verbs.
        "feeds": {"", "sessions"},
        "verbs": {"", "sessions", "feeds"},
        "server": {"", "sessions", "verbs"},
        "main": {"", "sessions", "feeds", "verbs", "server"},
    },
    "fronts": {
        "": set(),
        "cli.terminal": set(),
        "cli.context": {"cli.terminal"},
        "mcp": {"cli.terminal", "cli.context"},
        "setup": {"cli.context"},
        "cli": {"cli.terminal", "cli.context", "mcp", "setup"},
        "setup.agent_settings": {"cli", "cli.context", "setup"},
        "setup.agent_tools": {"cli.context", "setup", "setup.agent_settings"},
        "cli.install": {
            *("cli", "cli.terminal", "cli.context", "setup", "setup.agent_settings", "setup.agent_tools"),
        },
    },
    "gateway": {
        "": set(),  # Settings, counters, the daemon's client, log and pid file.
        "billing": set(),
        "body": {""},
        "identity": {"body", "billing"},
        "editing": {"", "body", "identity"},
        "http": {"", "billing", "body", "identity", "editing"},
        "main": {"", "editing", "http"},
    },
    "protocol": {"replies": set(), "": {"replies"}},
}
"""The sub-rooms of each room and their doors, the lowest first: folders, and files that open what their folder may not.
Nothing of the room imports what no row lists, such as a `main`."""
GATEWAY_EXTRA = {"http": {"aiohttp", "multidict", "yarl"}, "body": {"brotli"}, "main": {"uvloop"}}
"""Which sub-room imports what of the optional extra."""
PURE = {
    *("__future__", "array", "bisect", "collections", "dataclasses", "enum", "errno", "fnmatch", "functools"),
    *("base64", "binascii", "hashlib", "heapq", "itertools", "json", "math", "operator", "re", "types", "typing"),
    "unicodedata",
}
"""What the core may use of the standard library: modules of values, without clock, disk, chance or threads."""
PARAMETERS_MAX = 6
"""A function with more has a value in it that nobody named."""
BAD_NAMES = {"utils", "helpers", "common", "misc", "util", "helper", "manager"}


@cache
def nodes_of(source: str) -> list[ast.AST]:
    """Every node of a file, which several rules look at; the module itself comes first."""
    return list(ast.walk(ast.parse(source)))


@cache
def source_of(path: Path) -> str:
    return path.read_text()


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(source: str) -> list[str]:
    """Every name that is imported, in full: `from a.b import c` is `a.b.c`, a module or a name in one."""
    found: list[str] = []
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which door is used"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def refused(path: Path, source: str) -> list[str]:
    """What a module imports through a door that its room does not have; what is not listed is not a door."""
    room = room_of(path)
    standard = PURE if room == "core" else sys.stdlib_module_names
    gateway = GATEWAY_ONLY if room == "gateway" else set()
    doors = OURS.get(room, set(OURS)) | {room, "__version__"}
    beyond = []
    for name in imports(source):
        top, _, rest = name.partition(".")
        is_open = (
            rest.partition(".")[0] in doors
            if top == "ctxgc"
            else top in standard | THIRD_PARTY.get(room, set()) | gateway
        )
        beyond += [] if is_open else [name]
    return beyond


def sub_room_of(room: str, name: str) -> str:
    """The sub-room that a dotted name below its room is in: a file with a row of its own, else its folder."""
    parts = name.split(".")
    candidates = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((each for each in candidates if each in SUB_ROOMS[room]), "")


def refused_in_room(path: Path, source: str) -> list[str]:
    """What a file imports of another sub-room, or of the gateway's optional extra, without a door to it."""
    room, *rest = path.relative_to(PACKAGE).with_suffix("").parts
    sub_room = sub_room_of(room, ".".join(rest))
    doors = SUB_ROOMS[room][sub_room] | {sub_room}
    beyond = []
    for name in imports(source):
        top = name.partition(".")[0]
        if room == "gateway" and top in GATEWAY_ONLY:
            is_open = top in GATEWAY_EXTRA.get(sub_room, set())
        elif name.startswith(f"ctxgc.{room}."):
            is_open = sub_room_of(room, name.removeprefix(f"ctxgc.{room}.")) in doors
        else:
            is_open = True
        beyond += [] if is_open else [name]
    return beyond


def circle(sources: dict[str, str]) -> list[str]:
    """Modules, by dotted name, that import each other round in a circle, if any do."""

    def module_of(name: str) -> str:
        while name and name not in sources:
            name = name.rpartition(".")[0]
        return name

    edges = {name: {module_of(target) for target in imports(text)} - {name, ""} for name, text in sources.items()}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_room_opens_only_the_doors_it_has():
    assert not {str(path): beyond for path in FILES if (beyond := refused(path, source_of(path)))}


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("core/collector.py", "import requests"),
        ("core/collector.py", "import numpy as np"),
        ("core/collector.py", "import threading"),
        ("core/collector.py", "from datetime import datetime"),
        ("core/collector.py", "def f():\n    import os.path"),
        ("core/collector.py", "from ctxgc.stash import schema"),
        ("adapters/transcripts/codex.py", "from ctxgc import tokens"),
        ("daemon/sessions/session.py", "from ctxgc.replay import trace"),
        ("daemon/sessions/session.py", "import yaml"),
        ("fronts/cli/main.py", "import aiohttp"),
        ("replay/trace.py", "import msgspec"),
    ],
)
def test_a_door_that_is_not_listed_is_refused(place, line):
    assert refused(PACKAGE / place, line)


def test_a_sub_room_opens_only_the_doors_it_has():
    files = [path for path in FILES if room_of(path) in SUB_ROOMS]

    assert not {str(path): beyond for path in files if (beyond := refused_in_room(path, source_of(path)))}


def test_sub_rooms_are_all_listed_and_open_onto_each_other_in_no_circle():
    folders = {path.parent.relative_to(PACKAGE).parts for path in PACKAGE.glob("*/*/__init__.py")}

    assert folders == {(room, name) for room, table in SUB_ROOMS.items() for name in table if is_folder(room, name)}
    for room, table in SUB_ROOMS.items():
        assert list(TopologicalSorter(table).static_order())
        assert set().union(*table.values()) <= table.keys()
        for name in table.keys() - {""}:
            place = PACKAGE / room / name.replace(".", "/")
            assert place.is_dir() or place.with_suffix(".py").is_file(), f"{room}: no {name}"


@pytest.mark.parametrize("room", SUB_ROOMS)
def test_every_door_between_sub_rooms_is_used(room):
    used = {name: set() for name in SUB_ROOMS[room]}
    for path in (path for path in FILES if room_of(path) == room):
        _, *rest = path.relative_to(PACKAGE).with_suffix("").parts
        inner = [
            name.removeprefix(f"ctxgc.{room}.")
            for name in imports(source_of(path))
            if name.startswith(f"ctxgc.{room}.")
        ]
        used[sub_room_of(room, ".".join(rest))] |= {sub_room_of(room, name) for name in inner}

    assert all(doors <= used[name] for name, doors in SUB_ROOMS[room].items())


def test_the_page_of_the_architecture_has_the_same_doors():
    _, _, page = (ROOT / "docs" / "design" / "architecture.md").read_text().partition("| sub-room |")
    rows = re.findall(r"^\| `(\w+)(?:/([\w.]+))?`[^|]* \| [^|]+ \| ([^|]+) \|$", page, re.M)
    told = {
        (room, name): set(re.findall(r"`([\w.]+)`", doors)) | ({""} if "plain files" in doors else set())
        for room, name, doors in rows
    }
    listed = {(room, name): doors for room, table in SUB_ROOMS.items() for name, doors in table.items()}

    assert {key: doors for key, doors in told.items() if key[0] in SUB_ROOMS.keys() - {"gateway"}} == {
        key: doors for key, doors in listed.items() if key[0] != "gateway" and key != ("fronts", "")
    }


def is_folder(room: str, name: str) -> bool:
    """Whether a row of a room's table is a folder."""
    return bool(name) and (PACKAGE / room / name).is_dir()


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("gateway/identity/headers.py", "from ctxgc.gateway.editing import window_sync"),
        ("gateway/editing/request_editor.py", "from ctxgc.gateway.http.server import Proxy"),
        ("gateway/http/server.py", "from ctxgc.gateway import main"),
        ("gateway/main.py", "from ctxgc.gateway.identity.headers import identity_in_headers_or_path"),
        ("gateway/settings.py", "from ctxgc.gateway.http.upstream import Upstreams"),
        ("gateway/settings.py", "from yarl import URL"),
        ("gateway/editing/window_sync.py", "import aiohttp"),
        ("gateway/main.py", "import aiohttp"),
        ("adapters/wire/openai_responses.py", "from ctxgc.adapters.transcripts.codex import Codex"),
        ("adapters/host_texts/folds.py", "from ctxgc.adapters.wire import rendering"),
        ("adapters/skeletons.py", "from ctxgc.adapters.builder import Birth"),
        ("adapters/facts/shell.py", "from ctxgc.adapters import builder"),
        ("core/collector.py", "from ctxgc.core.search import ranking"),
        ("core/collector.py", "from ctxgc.core.pacing.pacer import PacerRules"),
        ("core/pacing/pacer.py", "from ctxgc.core.entry import shortening"),
        ("daemon/verbs/admin.py", "from ctxgc.daemon.server.socket_server import Server"),
        ("daemon/sessions/session.py", "from ctxgc.daemon.services import Services"),
        ("daemon/services.py", "from ctxgc.daemon.server import hub"),
        ("daemon/server/hub.py", "from ctxgc.daemon.main import main"),
        ("fronts/mcp/tools.py", "from ctxgc.fronts.cli import sessions"),
        ("fronts/cli/context.py", "from ctxgc.fronts.cli.agents import AGENTS"),
        ("fronts/setup/changes.py", "from ctxgc.fronts.cli import agents"),
        ("fronts/cli/status.py", "from ctxgc.fronts.setup.agent_settings import PLANS"),
        ("protocol/replies/heap.py", "from ctxgc.protocol import messages"),
    ],
)
def test_a_door_between_sub_rooms_that_is_not_listed_is_refused(place, line):
    assert refused_in_room(PACKAGE / place, line)


def test_files_and_functions_are_small_and_say_what_they_are():
    for path in FILES:
        text = source_of(path)
        module, *nodes = nodes_of(text)
        assert text.count("\n") <= 400, f"{path}: two ideas in one room?"
        assert ast.get_docstring(module), f"{path}: a module opens with what it is"
        assert path.stem not in BAD_NAMES, path
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        long = [each.name for each in functions if each.end_lineno - each.lineno >= 60]
        assert not long, f"{path}: longer than 60 lines"


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many arguments a caller may give."""
    taken = node.args
    named = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg]
    return len([each for each in named if each is not None and each.arg not in ("self", "cls")])


def trains(source: str) -> set[str]:
    """Names of the functions that take more than six parameters."""
    functions = (n for n in nodes_of(source) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if parameters(function) > PARAMETERS_MAX}


def test_no_function_takes_more_than_six_parameters():
    found = {f"{path.relative_to(PACKAGE)} {name}" for path in FILES for name in trains(source_of(path))}

    assert not found


@pytest.mark.parametrize(
    ("signature", "is_train"), [("self, a, b, *c, d, e, **f", False), ("a, b, /, c, *, d, e, f, g=1", True)]
)
def test_a_parameter_of_any_kind_counts(signature, is_train):
    assert bool(trains(f"def f({signature}): ...")) is is_train


def test_imports_stand_at_the_top_except_where_a_front_loads_what_is_heavy():
    for path in (path for path in FILES if room_of(path) not in ("fronts", "__init__")):
        nodes = nodes_of(source_of(path))
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        lines = {line for each in functions for line in range(each.lineno, each.end_lineno + 1)}
        inside = [n.lineno for n in nodes if isinstance(n, ast.Import | ast.ImportFrom) and n.lineno in lines]
        assert not inside, path


def test_no_module_imports_itself_in_a_circle():
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in FILES}

    assert not circle({name.removesuffix(".__init__"): source_of(path) for path, name in names.items()})


@pytest.mark.parametrize("line", ["from ctxgc.a import y", "from ctxgc.a.y import f", "import ctxgc.a.y"])
def test_a_circle_is_seen_however_the_import_is_spelt(line):
    assert circle({"ctxgc.a": "", "ctxgc.a.x": line, "ctxgc.a.y": "from ctxgc.a import x"})
    assert not circle({"ctxgc.a": "", "ctxgc.a.x": line, "ctxgc.a.y": "import json"})


@pytest.mark.parametrize("name", ["blocking_client", "discovery", "peer", "secret_file", "spawn"])
def test_the_common_ctl_path_is_light(name):
    allowed = re.compile(
        r"^(ctxgc\.protocol|__future__|json|os|socket|sys|typing|errno|pathlib|collections|itertools|stat|tempfile|time|fcntl|pwd|secrets)"
    )
    for imported in imports((PACKAGE / "protocol" / f"{name}.py").read_text()):
        assert allowed.match(imported), f"protocol/{name}.py must stay standard library only, not {imported}"
