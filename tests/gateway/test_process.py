"""`ctxgc gateway` as a process: it starts, serves, refuses what it must, and ends when told to."""

import asyncio
import importlib.util
import json
import signal
import socket
import subprocess
import sys
import threading
from uuid import uuid4

import pytest

from ctxgc.fronts.cli.main import main
from tests.daemon.harness import DaemonProcess
from tests.gateway.agent import ClaudeAgent
from tests.gateway.stage import MESSAGES, ScriptedDaemon, Stage
from tests.gateway.upstream import Upstream


@pytest.fixture
def home():
    """A daemon's home, without the daemon."""
    made = DaemonProcess()
    yield made
    made.close()


def gateway(home, *words, **env):
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", "gateway", "--port", "0", "--no-spawn", *words]
    return subprocess.Popen(command, env=home.env | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ctxgc(home, *words):
    command = [sys.executable, "-m", "ctxgc.fronts.cli.main", *words]
    return subprocess.run(command, env=home.env, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_the_process_serves_reads_its_modes_again_and_ends_when_told_to(home):
    with Stage(mode="off") as stage:
        config = home.folder / "config" / "ctxgc" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(f'[gateway]\nupstream_anthropic = "{stage.upstream.url}"\n')
        process = gateway(home)
        said = process.stdout.readline() + process.stdout.readline()
        stage.running.port = int(said.rpartition("http://127.0.0.1:")[2].partition(",")[0])

        assert "no daemon yet" in said
        assert stage.ask(MESSAGES, ClaudeAgent().run(2).body()) == ClaudeAgent().run(2).body()
        assert status(stage)["mode"] == "shadow"

        config.write_text(config.read_text() + 'mode = "on"\nmodes = { codex = "off" }\n')
        stage.until(lambda: status(stage)["mode"] == "on")
        assert status(stage)["modes"] == {"codex": "off"}

        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_running_gateway_is_shown_outlives_the_daemon_and_is_stopped_by_the_command(home):
    process = gateway(home)
    url = (process.stdout.readline() + process.stdout.readline()).rpartition("http://")[2].partition(",")[0]

    ctxgc(home, "up")
    assert f"gateway at http://{url}, pid {process.pid}" in ctxgc(home, "status")
    assert f"still runs at http://{url} (pid {process.pid})" in ctxgc(home, "down")
    assert f"http://{url} (pid {process.pid}) has stopped" in ctxgc(home, "gateway", "--stop")

    process.communicate(timeout=20)
    assert process.returncode == 0
    assert "gateway" not in ctxgc(home, "down")


def test_a_gateway_that_cannot_write_its_file_serves_all_the_same(home):
    (home.folder / "taken").write_text("no folder")
    process = gateway(home, CTXGC_DAEMON__STATE_DIR=str(home.folder / "taken"))
    said = process.stdout.readline() + process.stdout.readline()

    assert "mode shadow" in said
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "will not show this gateway" in errors


def status(stage):
    return json.loads(stage.send("/ctxgc/status", headers={}, method="GET").body)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--host", "0.0.0.0"], 78, "not a loopback address"),
        (["--port", "TAKEN"], 75, "cannot listen on 127.0.0.1"),
        (["--port", "99999"], 2, "'99999' is no TCP port"),
        (["--port=-1"], 2, "'-1' is no TCP port"),
        (["--port", "http"], 2, "'http' is no TCP port"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_address_that_cannot_or_must_not_be_served_ends_it_with_one_sentence(
    words, code, says, flags, tmp_path, capsys
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [word.replace("TAKEN", str(taken.getsockname()[1])) for word in words]

        assert main(["gateway", "--no-spawn", "--socket", str(tmp_path / "none"), *words, *flags]) == code

    said = capsys.readouterr()
    assert says in said.err
    assert "Traceback" not in said.err
    if flags:
        assert says in json.loads(said.out.splitlines()[-1])["error"]["message"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[gateway]\nhosst = "x"\n', "did you mean `host`?"),
        ('[gateway]\nhost = "0.0.0.0"\n', "write 127.0.0.1"),
        ("not TOML", "not TOML"),
    ],
)
def test_a_configuration_that_will_not_do_is_all_that_is_said_of_it(text, says, tmp_path, capsys):
    file = tmp_path / "c.toml"
    file.write_text(text)

    assert main(["gateway", "--no-spawn", "--socket", str(tmp_path / "none"), "--config", str(file)]) == 78

    said = capsys.readouterr()
    assert says in said.err
    assert said.out == ""


def test_without_its_library_it_says_how_to_get_it(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "aiohttp" else find(name))

    assert main(["gateway", "--no-spawn"]) == 1
    said = capsys.readouterr().err
    assert "pip install '.[gateway]'" in said
    assert "ctxgc[gateway]" not in said, "no index has it, and anyone could put something there under this name"


def test_sixty_four_streams_at_once_are_each_their_own():
    daemon = ScriptedDaemon(lambda ids: [id_ for id_ in ids if id_ == "call_0"])
    replies, bodies = {}, {}
    with Stage(daemon, wait_s=5.0) as stage:

        def stream(number):
            body = f'data: {{"number": {number}}}\n\n'.encode() * 50
            replies[number] = stage.send(MESSAGES, body, {"x-ctxgc-session": str(uuid4()), "x-test": "drips"}).body
            bodies[number] = body

        threads = [threading.Thread(target=stream, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert replies == bodies
    assert len(replies) == 64


async def test_a_slow_reader_holds_the_upstream_back():
    """Back-pressure: what the agent does not read, the gateway does not pile up."""
    sent = 0

    class Flood(Upstream):
        async def _flood(self, request):
            nonlocal sent
            out = self.stream()
            await out.prepare(request)
            while sent < 2**30:
                await out.write(b"x" * 2**16)
                sent += 2**16
            return out

    with Stage(mode="off", upstream=Flood()) as stage:
        head = f"POST {MESSAGES} HTTP/1.1\r\nhost: localhost\r\nx-test: flood\r\ncontent-length: 2\r\n\r\n{{}}".encode()
        with stage.raw(head) as connection:
            connection.recv(100)
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)

    assert sent < 64 * 2**20
