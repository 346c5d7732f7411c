"""The hidden recall tool stays behind its door: unasked for it is not there, and the gateway works without its room."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ctxgc.gateway import main

ROOT = Path(__file__).parent.parent.parent
RUN_S = 120

SERVE = """
import sys
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import ScriptedDaemon, Stage

with Stage(ScriptedDaemon(lambda ids: ids[:-2]), recall_tool=sys.argv[1]) as stage:
    agent = ClaudeAgent()
    for turns in (2, 6):
        stage.ask(agent.run(turns).path, agent.body())
    assert stage.counters.edited > 0, "the gateway edits"
print(*sorted(name for name in sys.modules if name.startswith("ctxgc.gateway.recall")))
"""


def serve(root, recall_tool):
    """Serve an agent from the package under `root`, in a process of its own; the modules of the tool that it loaded."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", SERVE, recall_tool]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(("recall_tool", "is_loaded"), [("never", False), ("always", True)])
def test_nothing_of_the_hidden_tool_is_imported_unless_the_settings_ask_for_it(recall_tool, is_loaded):
    assert bool(serve(ROOT, recall_tool)) is is_loaded


@pytest.fixture
def without_tool(tmp_path):
    """A copy of the package and of the tests' stage, without the room of the tool and the line that names it."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "recall")
    shutil.copytree(ROOT / "ctxgc", tmp_path / "ctxgc", ignore=ignored)
    for name in ("gateway", "contracts"):
        shutil.copytree(ROOT / "tests" / name, tmp_path / "tests" / name, ignore=ignored)
    (tmp_path / "tests" / "__init__.py").touch()
    path = tmp_path / "ctxgc" / "gateway" / "main.py"
    wiring = f'HIDDEN_TOOL = "{main.HIDDEN_TOOL}"'
    assert path.read_text().count(wiring) == 1
    path.write_text(path.read_text().replace(wiring, 'HIDDEN_TOOL = ""'))
    return tmp_path


@pytest.mark.parametrize("recall_tool", ["never", "always"])
def test_without_the_tools_room_and_the_line_that_names_it_the_gateway_edits_as_ever(without_tool, recall_tool):
    assert not (without_tool / "ctxgc" / "gateway" / "recall").exists()
    assert serve(without_tool, recall_tool) == []


def test_no_module_outside_the_tools_room_names_it_but_by_the_wiring_line():
    outside = [path for path in (ROOT / "ctxgc").rglob("*.py") if "recall" not in path.parts]

    named = {path.relative_to(ROOT).as_posix(): path.read_text().count("gateway.recall.") for path in outside}

    assert {path: count for path, count in named.items() if count} == {"ctxgc/gateway/main.py": 1}
