"""A real agent at work, headless, in a home of its own: straight to the model, or through ctxgc.

agent ──▶ Tap ──▶ ctxgc gateway ──▶ AgentModel        `Through`: what was sent and what arrived, request by request
                      └──▶ ctxgcd
agent ─────────────────────────────▶ AgentModel        `straight`: what it costs without us
"""

import asyncio
import base64
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from ctxgc.protocol.blocking_client import LineClient
from tests.e2e.agent_model import STAMP, AgentModel
from tests.gateway.upstream import DECODERS

ROOT = Path(__file__).parent.parent.parent
AGENT_S = 170
START_S = 20
PROMPT = "Read every part, one after the other."
CTXGC = (sys.executable, "-m", "ctxgc.fronts.cli.main")


def agents_folder():
    """Where `install_agents.sh` puts the agents."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("CTXGC_AGENTS_DIR") or Path(cache) / "ctxgc-agents")


class Agent(NamedTuple):
    """How an agent is run without a person, and told of a base URL where `ctxgc run` is not the one to do so."""

    name: str
    source: str
    words: tuple[str, ...]
    variables: dict[str, str]
    straight: tuple[dict[str, str], tuple[str, ...]]
    config: dict | None = None
    login: dict | None = None
    """What Codex keeps of its login."""


QUIET_CLAUDE = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "ANTHROPIC_API_KEY": "x"}
QUIET_OPENCODE = {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"}
CODEX_PROVIDER = (
    'model_providers.own={name="OpenAI", base_url="$URL/v1", wire_api="responses", requires_openai_auth=true, '
    "supports_websockets=false}"
)


def forged_token(**claims):
    """A token that nobody signed, in the shape of a login's."""
    parts = ({"alg": "none"}, {"exp": 2**33, **claims}, {})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


ACCOUNT = {"chatgpt_account_id": "forged", "chatgpt_plan_type": "pro", "chatgpt_user_id": "nobody"}
CHATGPT_LOGIN = {
    "auth_mode": "chatgpt",
    "OPENAI_API_KEY": None,
    "tokens": {
        "id_token": forged_token(email="nobody@example.org", **{"https://api.openai.com/auth": ACCOUNT}),
        "access_token": forged_token(**{"https://api.openai.com/auth": ACCOUNT}),
        "refresh_token": "forged",
        "account_id": "forged",
    },
    "last_refresh": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
}
CHAT = {
    "model": "own/m",
    "small_model": "own/m",
    "provider": {
        "own": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": "$URL/v1", "apiKey": "x"},
            "models": {"m": {"tool_call": True, "limit": {"context": 400_000, "output": 8000}}},
        }
    },
}


def opencode(provider):
    """OpenCode with a provider of its own catalogue, whose base URL `ctxgc run` lays over this configuration."""
    model = {"m": {"tool_call": True, "limit": {"context": 400_000, "output": 8000}}}
    own = {"options": {"apiKey": "x"}, "models": model}
    straight = {"provider": {provider: {"options": {"baseURL": "$URL/v1"}}}}
    return Agent(
        "opencode",
        "opencode",
        ("run", "--format", "json", PROMPT),
        QUIET_OPENCODE,
        ({"OPENCODE_CONFIG_CONTENT": json.dumps(straight)}, ()),
        config={"model": f"{provider}/m", "small_model": f"{provider}/m", "provider": {provider: own}},
    )


AGENTS = {
    "claude": Agent(
        "claude",
        "claude_code",
        ("-p", PROMPT, "--output-format", "json", "--allowedTools", "Bash"),
        QUIET_CLAUDE,
        ({"ANTHROPIC_BASE_URL": "$URL"}, ()),
    ),
    "codex": Agent(
        "codex",
        "codex",
        ("exec", "--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox", PROMPT),
        {"CODEX_API_KEY": "x"},
        ({}, ("-c", 'model_provider="own"', "-c", CODEX_PROVIDER)),
    ),
    "codex_chatgpt": Agent(
        "codex",
        "codex",
        ("exec", "--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox", PROMPT),
        {},
        ({}, ("-c", 'model_provider="own"', "-c", CODEX_PROVIDER)),
        login=CHATGPT_LOGIN,
    ),
    "opencode_anthropic": opencode("anthropic"),
    "opencode_openai": opencode("openai"),
    "opencode_own": Agent(
        "opencode", "opencode", ("run", "--format", "json", PROMPT), QUIET_OPENCODE, ({}, ()), config=CHAT
    ),
}


class Workplace:
    """A home for one run: the agent's programs, the files it is to read, a stash and a socket."""

    def __init__(self, turns, file_bytes, **env):
        # Not pytest's tmp_path: a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ctxgc-a-"))
        self.work = self.folder / "work"
        self.work.mkdir()
        for number in range(turns):
            (self.work / f"part{number:03}.txt").write_text(file_text(number, file_bytes))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CTXGC_", "ANTHROPIC_", "OPENAI_", "CLAUDE"))}
        self.env = kept | {
            "HOME": str(self.folder),
            "PWD": str(self.work),  # OpenCode believes this, not where it is.
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_STATE_HOME": str(self.folder / "state-home"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "CODEX_HOME": str(self.folder / "codex"),
            "PATH": f"{agents_folder() / 'node_modules' / '.bin'}:{os.environ['PATH']}",
            "CTXGC_SOCKET": str(self.folder / "run" / "s"),
            "CTXGC_DAEMON__STATE_DIR": str(self.folder / "state"),
            "CTXGC_STASH__RESERVE_BYTES": "0",
            # The agents go round the same files: with pointers nothing would be left to collect.
            "CTXGC_ENTRY__REFERENCES": "false",
            **env,
        }
        (self.folder / "codex").mkdir()

    def run(self, agent, before, url, words=(), variables=None):
        """Run the agent to its end; what it printed. `before`: the words that start it."""
        self.prepare(agent, url)
        env = self.env | agent.variables | (variables or {})
        done = subprocess.run(
            [*before, *words, *agent.words],
            env=env,
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=AGENT_S,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
        return done.stdout

    def prepare(self, agent, url):
        """Write the agent's configuration and login."""
        if agent.config is not None:
            text = json.dumps(agent.config).replace("$URL", url)
            folder = self.folder / "config" / "opencode"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "opencode.json").write_text(text)
        if agent.login is not None:
            (self.folder / "codex" / "auth.json").write_text(json.dumps(agent.login))

    def client(self):
        return LineClient(self.env["CTXGC_SOCKET"], 60)

    def close(self):
        subprocess.run([*CTXGC, "down"], env=self.env, capture_output=True, timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)


WORDS = [
    "harbour",
    "lamp",
    "ferry",
    "crane",
    "tide",
    "rope",
    "anchor",
    "pilot",
    "signal",
    "cargo",
    "quay",
    "mast",
    "buoy",
    "chart",
    "crew",
    "dock",
    "hull",
    "wharf",
]


def file_text(number, size_bytes):
    """A file that tokenizes as a log would, and repeats no line."""
    drawn = random.Random(number)
    lines = [f"{number:03}.{line:04} " + " ".join(drawn.choices(WORDS, k=10)) for line in range(size_bytes // 72)]
    return "\n".join(lines) + "\n"


class Served:
    """An `AgentModel` and a `Tap` on a loop in a thread of its own."""

    def __init__(self, turns, model_class=AgentModel):
        self.model = model_class(turns=turns, keeps=False)
        self.tap = Tap()

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self.model.start())
        self._do(self.tap.start())
        return self

    def __exit__(self, *error):
        self._do(self.tap.stop())
        self._do(self.model.runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(START_S)


class Tap:
    """Passes everything on to `to` and keeps the bodies, numbered by a header that goes along."""

    def __init__(self):
        self.to = ""
        self.bodies = {}

    async def start(self):
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self.runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]
        self.session = ClientSession(auto_decompress=False, timeout=ClientTimeout(total=None))

    async def stop(self):
        await self.session.close()
        await self.runner.cleanup()

    async def _pass(self, request):
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "connection")}
        if request.method == "POST":
            headers[STAMP] = str(len(self.bodies))
            self.bodies[headers[STAMP]] = DECODERS[request.headers.get("content-encoding", "")](body)
        try:
            return await self._passed(request, headers, body)
        except ClientError:  # A gateway that was killed.
            return web.Response(status=503)

    async def _passed(self, request, headers, body):
        async with self.session.request(
            request.method, self.to + request.raw_path, headers=headers, data=body or None, allow_redirects=False
        ) as reply:
            out = web.StreamResponse(status=reply.status, headers={"content-type": reply.content_type})
            with suppress(ConnectionError):  # An agent may hang up once it has read what it wants.
                await out.prepare(request)
                async for data in reply.content.iter_any():
                    await out.write(data)
                await out.write_eof()
            return out


def straight(agent, turns, file_bytes, model_class=AgentModel):
    """The model that an agent was run against without ctxgc."""
    place = Workplace(turns, file_bytes)
    try:
        with Served(turns, model_class) as served:
            url = served.model.url
            variables, words = agent.straight
            variables = {name: value.replace("$URL", url) for name, value in variables.items()}
            place.run(agent, [agent.name], url, [word.replace("$URL", url) for word in words], variables)
            return served.model
    finally:
        shutil.rmtree(place.folder, ignore_errors=True)


class Through:
    """An agent that was run through a gateway and a daemon, both still there to be asked until the end."""

    def __init__(self, agent, turns, file_bytes, mode="on", model_class=AgentModel, before=None, **env):
        self.agent = agent
        self._before = before or [*CTXGC, "run", "--mode", mode, agent.name]
        self.served = Served(turns, model_class)
        self._turns, self._file_bytes, self._mode, self._env = turns, file_bytes, mode, env

    def __enter__(self):
        self.served.__enter__()
        model, tap = self.served.model, self.served.tap
        url = f"http://127.0.0.1:{tap.port}"
        self.place = self.make_place(
            CTXGC_GATEWAY__PORT=str(tap.port),
            CTXGC_GATEWAY__UPSTREAM_ANTHROPIC=model.url,
            CTXGC_GATEWAY__UPSTREAM_OPENAI=model.url,
            CTXGC_GATEWAY__UPSTREAM_CHATGPT=f"{model.url}/v1",
            **self._env,
        )
        self.log = self.place.folder / "gateway.log"
        self.start_gateway("0")
        try:
            tap.to = self._listening()
            self.printed = self.work(url)
        except BaseException:
            self.__exit__()
            raise
        return self

    def make_place(self, **env):
        """A home for the run."""
        return Workplace(self._turns, self._file_bytes, **env)

    def work(self, url):
        """Have the agent do its work; what it printed."""
        return self.place.run(self.agent, self._before, url)

    def start_gateway(self, port):
        """Start the gateway, in the place of an earlier one if there was one."""
        with self.log.open("wb") as log:
            command = [*CTXGC, "gateway", "--port", port, "--mode", self._mode]
            self.gateway = subprocess.Popen(command, env=self.place.env, stdout=log, stderr=log)

    def __exit__(self, *error):
        self.gateway.terminate()
        self.gateway.wait(START_S)
        self.place.close()
        self.served.__exit__()

    def _listening(self):
        gives_up_at = time.monotonic() + START_S
        while time.monotonic() < gives_up_at:
            text = self.log.read_text()
            if "http://" in text:
                return text.partition("gateway: ")[2].partition(",")[0].strip()
            assert self.gateway.poll() is None, text
            time.sleep(0.05)
        raise AssertionError(text)

    @property
    def model(self):
        return self.served.model

    def sessions(self):
        """What the daemon knows, once it has been told of something: the last sync may still be under way."""
        gives_up_at = time.monotonic() + START_S
        with self.place.client() as client:
            while True:
                known = client.call("session.list", {})["sessions"]
                if known or time.monotonic() > gives_up_at:
                    return [session["session"] for session in known]
                time.sleep(0.05)

    def pairs(self):
        """Each call to the model: as the agent sent it, and as it arrived."""
        return [(self.served.tap.bodies[one.number], one.body) for one in self.model.requests]
