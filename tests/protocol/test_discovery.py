"""One answer to where the state folder, the socket and the configuration are, whoever asks: config, daemon, clients."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctxgc.config import BadConfig, config_path, load_config
from ctxgc.protocol import discovery

PLUGIN = Path(__file__).parent.parent.parent / "agents" / "opencode" / "ctxgc.ts"
XDG = ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")
BELOW_HOME = {"XDG_STATE_HOME": ".local/state", "XDG_CONFIG_HOME": ".config"}

names = st.text("abcdefgh-_.é ", min_size=1, max_size=12).filter(lambda name: name.strip("."))
absolute = names.map(lambda name: f"/{name}")
relative = st.one_of(names, names.map(lambda name: f"./{name}"), names.map(lambda name: f"../{name}"), st.just(""))
values = st.one_of(absolute, relative)
environments = st.fixed_dictionaries({"HOME": values}, optional=dict.fromkeys(XDG, values))


@given(environments)
def test_a_relative_xdg_path_is_as_if_it_were_not_set(environment):
    sound = {name: value for name, value in environment.items() if value.startswith("/")}

    assert discovery.state_folder(environment) == discovery.state_folder(sound)
    assert discovery.config_file(environment) == discovery.config_file(sound)
    assert discovery.socket_path("", environment) == discovery.socket_path("", sound)


@given(environments, st.sampled_from([None, "/srv/ctxgc", "~/ctxgc", "ctxgc", ""]))
def test_configuration_and_discovery_name_the_same_folder_and_file(environment, asked):
    named = {"CTXGC_DAEMON__STATE_DIR": asked} if asked is not None else {}
    environment = environment | named | {"XDG_CONFIG_HOME": "/nowhere/at/all"}

    assert str(config_path(environment)) == discovery.config_file(environment)
    default = discovery.default_state_folder(environment)
    assert default == discovery.state_folder({**environment, "CTXGC_DAEMON__STATE_DIR": ""})
    try:
        with patch.dict(os.environ, HOME=environment["HOME"]):
            configured = load_config(None, environment)
    except BadConfig:
        assert asked in ("ctxgc", ""), "only a state folder that is no absolute path is refused"
    else:
        assert str(configured.daemon.state_dir) == discovery.state_folder(environment)


@given(environments, st.sampled_from(["/", "/srv"]))
def test_no_answer_depends_on_the_working_directory(environment, folder):
    before = os.getcwd()
    here = (discovery.state_folder(environment), discovery.config_file(environment), *_sockets(environment))
    try:
        os.chdir(folder)
        there = (discovery.state_folder(environment), discovery.config_file(environment), *_sockets(environment))
    finally:
        os.chdir(before)

    assert here == there
    assert all(path.startswith("/") for path in here)


def _sockets(environment):
    return tuple(discovery.candidate_sockets("", environment))


@pytest.mark.parametrize("variable", XDG)
def test_an_absolute_xdg_path_is_used_as_it_is(variable):
    environment = {"HOME": "/home/u", variable: "/own"}

    found = {
        "XDG_STATE_HOME": discovery.state_folder(environment),
        "XDG_RUNTIME_DIR": os.path.dirname(discovery.socket_path("", environment)),
        "XDG_CONFIG_HOME": os.path.dirname(discovery.config_file(environment)),
    }
    assert found[variable] == "/own/ctxgc"


@pytest.mark.parametrize("configured", ["", "ctxgc", "./ctxgc", "~nobody-of-this-name/ctxgc"])
def test_a_configured_state_folder_that_no_daemon_would_take_is_ignored(configured):
    environment = {"HOME": "/home/u", "CTXGC_DAEMON__STATE_DIR": configured}

    assert discovery.state_folder(environment) == "/home/u/.local/state/ctxgc"


def test_without_xdg_paths_everything_is_below_home():
    environment = {"HOME": "/home/u"}

    assert discovery.state_folder(environment) == "/home/u/.local/state/ctxgc"
    assert discovery.socket_path("", environment) == "/home/u/.local/state/ctxgc/ctxgc.sock"
    assert discovery.config_file(environment) == "/home/u/.config/ctxgc/config.toml"


ASK_PLUGIN = """
import { pathToFileURL } from "node:url"
const { folders } = await import(pathToFileURL(process.argv[1]).href)
console.log(JSON.stringify(JSON.parse(process.argv[2]).map((env) => folders(env))))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@settings(max_examples=5)
@given(st.lists(environments, min_size=20, max_size=20))
def test_the_opencode_plugin_looks_for_the_daemon_at_the_same_places(asked):
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "ctxgc.mjs")
        copy.write_text(PLUGIN.read_text() + "\nexport { foldersIn as folders }\n")
        done = subprocess.run(
            ["node", "--input-type=module", "-e", ASK_PLUGIN, "--", str(copy), json.dumps(asked)],
            capture_output=True,
            check=True,
            text=True,
        )  # fmt: skip

    for environment, found in zip(asked, json.loads(done.stdout), strict=True):
        assert found == {
            "state": discovery.state_folder(environment),
            "socket": discovery.socket_path("", environment),
        }
