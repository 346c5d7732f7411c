"""An agent's session in stages, straight to the model or behind the gateway, with what happens in a long one.

Desk   command, environment, folder ──▶ the agent's stages of work
 ├─ straight   nothing to kill; a pause moves the model's clock
 └─ behind     `kill_daemon`, `kill_gateway` by SIGKILL, each started again; a pause moves every clock
"""

import os
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.e2e.agent_model import FILES
from tests.e2e.agent_run import CTXGC, ROOT, Agent, Served, Through, Workplace, agents_folder
from tests.e2e.scripted_model import ScriptedModel

FILE_BYTES = 8000
STAGE_S = 300
END_S = 5
WAIT_MS = "1000"
CLOCK_BYTES = 8


class Desk(NamedTuple):
    """Where an agent works: how it starts there, and what a test does around it."""

    model: ScriptedModel
    command: list[str]
    """The words that start the agent."""
    env: dict[str, str]
    folder: Path
    pause: Callable[[float], None]
    kill_daemon: Callable[[], None] = lambda: None
    kill_gateway: Callable[[], None] = lambda: None

    def run(self, *words, turns):
        """Run the agent until it ends; the model ends the stage after so many more steps."""
        self.model.begin_stage(turns)
        done = subprocess.run(
            [*self.command, *words],
            env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=STAGE_S,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    def wait_for(self, name):
        """Wait until there is a file of this name in the folder."""
        gives_up_at = time.monotonic() + STAGE_S
        while not (self.folder / name).exists():
            assert time.monotonic() < gives_up_at, f"no file {name}"
            time.sleep(0.02)

    @contextmanager
    def start(self, *words, turns):
        """An agent that works, to be written to and read meanwhile; killed where it takes too long."""
        self.model.begin_stage(turns)
        agent = subprocess.Popen(
            [*self.command, *words],
            env=self.env, cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        watch = threading.Timer(STAGE_S, agent.kill)
        watch.start()
        try:
            yield agent
        finally:
            watch.cancel()
            agent.terminate()
            with suppress(subprocess.TimeoutExpired):
                agent.wait(END_S)
            agent.kill()  # OpenCode's server now and then does not end by itself.
            agent.wait()


class Story(NamedTuple):
    """A session of one agent, as a test tells it."""

    agent: Agent
    tell: Callable[[Desk], None]
    is_newest: bool
    script: dict
    files: dict[str, str]
    """Files of the home and the work folder, by path below the home."""


def _placed(story, **env):
    folder = agents_folder() / "newest" if story.is_newest else agents_folder()
    path = f"{folder / 'node_modules' / '.bin'}:{agents_folder() / 'node_modules' / '.bin'}:{os.environ['PATH']}"
    return Workplace(FILES, FILE_BYTES, PATH=path, **env)


def _furnished(place, story, url):
    for name, text in story.files.items():
        file = place.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    place.prepare(story.agent, url)


def straight(story):
    """The model that the story was told to without ctxgc."""
    place = _placed(story)
    try:
        with Served(0, ScriptedModel) as served:
            model = served.model
            model.script = story.script
            _furnished(place, story, model.url)
            variables, words = story.agent.straight
            variables = {name: value.replace("$URL", model.url) for name, value in variables.items()}
            command = [story.agent.name, *(word.replace("$URL", model.url) for word in words)]
            story.tell(Desk(model, command, place.env | story.agent.variables | variables, place.work, pause_of(model)))
            return model
    finally:
        shutil.rmtree(place.folder, ignore_errors=True)


def pause_of(model):
    def pause(seconds):
        model.now_s += seconds

    return pause


class Behind(Through):
    """A story that was told behind a gateway and a daemon, both still there to be asked until the end."""

    def __init__(self, story):
        self.story = story
        self.killed = []
        # On a busy machine the daemon is late for the first request behind a new gateway, which then goes as it came.
        super().__init__(story.agent, 0, FILE_BYTES, model_class=ScriptedModel, CTXGC_GATEWAY__WAIT_MS=WAIT_MS)

    def work(self, url):
        place, model = self.place, self.model
        model.script = self.story.script
        _furnished(place, self.story, url)
        env = place.env | self.story.agent.variables
        desk = Desk(model, self._before, env, place.work, self._pause, self._kill_daemon, self._kill_gateway)
        self.story.tell(desk)
        return ""

    def make_place(self, **env):
        place = _placed(self.story, **env)
        self._clock = place.folder / "clock"
        self._clock.write_bytes(bytes(CLOCK_BYTES))
        place.env |= {"CTXGC_TEST_CLOCK": str(self._clock), "PYTHONPATH": f"{ROOT}/tests/e2e/moved_clock:{ROOT}"}
        return place

    def _pause(self, seconds):
        self.model.now_s += seconds
        with self._clock.open("r+b") as file:
            [before] = struct.unpack("d", file.read(CLOCK_BYTES))
            file.seek(0)
            file.write(struct.pack("d", before + seconds))

    def _kill_daemon(self):
        with self.place.client() as client:
            pid = client.call("hello", {})["pid"]
        os.kill(pid, signal.SIGKILL)
        self.killed.append("daemon")
        subprocess.run([*CTXGC, "up"], env=self.place.env, check=True, capture_output=True, timeout=60)

    def _kill_gateway(self):
        port = self.served.tap.to.rpartition(":")[2]
        self.gateway.kill()
        self.gateway.wait()
        self.killed.append("gateway")
        self.start_gateway(port)
        self._listening()
