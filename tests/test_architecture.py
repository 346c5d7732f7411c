"""The house rules, executable: rooms and their doors, purity of the core, sizes, names."""

import ast
import re
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
    "config": set(),
    "protocol": {"core"},
    "replay": {"core", "adapters", "tokens"},
    "daemon": {"core", "tokens", "adapters", "stash", "config", "protocol", "replay"},
    "fronts": {"protocol", "config", "adapters", "core", "replay"},
}
THIRD_PARTY = {
    "core": {"sortedcontainers"},
    "tokens": {"tiktoken", "cachetools"},
    "adapters": {"msgspec"},
    "stash": {"aiosqlite", "zstandard"},
    "config": {"pydantic"},
    "protocol": {"msgspec", "pydantic"},
    "replay": set(),
    "daemon": {"uvloop", "watchfiles", "cachetools", "msgspec", "pydantic"},
    "fronts": {"msgspec"},
}
IMPURE = {
    "asyncio",
    "sqlite3",
    "os",
    "time",
    "random",
    "logging",
    "pathlib",
    "socket",
    "subprocess",
    "io",
    "sys",
}
GATEWAY_ONLY = {"aiohttp", "multidict", "yarl", "uvloop"}
"""An optional extra: one folder of the fronts may import it, and nothing else loads that folder at its top."""
KNOWN = set().union(*THIRD_PARTY.values()) | GATEWAY_ONLY
BAD_NAMES = {"utils", "helpers", "common", "misc", "util", "helper", "manager"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> list[str]:
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which door is used"
            found += [
                f"{node.module}.{alias.name}" if node.module == "ctxgc" else str(node.module) for alias in node.names
            ]
    return found


def each_file():
    return pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))


@each_file()
def test_a_room_opens_only_the_doors_it_has(path):
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "ctxgc":
            target = parts[1] if len(parts) > 1 else ""
            assert target in OURS[room] | {room, "", "__version__"}, f"{room} must not import {name}"
        elif parts[0] in KNOWN:
            allowed = THIRD_PARTY[room] | (GATEWAY_ONLY if "gateway" in path.parent.parts else set())
            assert parts[0] in allowed, f"{room} must not import {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda p: p.name)
def test_the_core_is_pure(path):
    for name in imports(ast.parse(path.read_text())):
        assert name.split(".")[0] not in IMPURE, f"core must not import {name}"


@each_file()
def test_files_and_functions_are_small_and_say_what_they_are(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400, "two ideas in one room?"
    assert ast.get_docstring(tree), "a module opens with what it is"
    assert path.stem not in BAD_NAMES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is longer than 60 lines"


@each_file()
def test_imports_stand_at_the_top_except_where_a_front_loads_what_is_heavy(path):
    if room_of(path) in ("fronts", "__init__"):
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)], node.name


def test_no_module_imports_itself_in_a_circle():
    edges = {}
    for path in FILES:
        name = "ctxgc." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        edges[name.removesuffix(".__init__")] = set(imports(ast.parse(path.read_text())))
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name in done:
            return
        for target in edges.get(name, ()):
            if target in edges:
                visit(target, (*trail, name))
        done.add(name)

    for name in edges:
        visit(name, ())


def test_the_common_ctl_path_is_light():
    line = (PACKAGE / "protocol" / "line.py").read_text()
    allowed = re.compile(
        r"^(ctxgc\.protocol|__future__|json|os|socket|sys|typing|errno|pathlib|collections|itertools|stat|tempfile|time|fcntl)"
    )
    for name in imports(ast.parse(line)):
        assert allowed.match(name), f"protocol/line.py must stay standard library only, not {name}"
