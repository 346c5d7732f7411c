"""The sections of the configuration: every key with its unit, its default and its bounds.

The docstring of a key is its entry on the reference page.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ctxgc.protocol import discovery
from ctxgc.protocol.agents import AGENTS
from ctxgc.protocol.limits import FRAME_BYTES_MAX


def _kind_name_in_force(name: object) -> object:
    return "tool_call" if name == "exchange" else name  # The older name, taken for one more version.


def _require_absolute_path(path: Path) -> Path:
    path = Path(discovery.expand_home(str(path), os.environ))
    if not path.is_absolute():
        raise ValueError("must be an absolute path, or start with ~/")
    return path


MEMORY = Path(":memory:")
"""The state folder of a daemon whose stash lives in memory."""


def _require_absolute_path_or_memory(path: Path) -> Path:
    return path if path == MEMORY else _require_absolute_path(path)


def similar_agent(name: str) -> str:
    """The agent that an unknown name misspells, such as the name of the agent's program; empty if there is none."""
    short = [agent for agent in AGENTS if len(name) >= 4 and agent.startswith(name)]
    return "" if name in AGENTS else next(iter(short or get_close_matches(name, AGENTS, n=1, cutoff=0.8)), "")


def _refuse_misspelt_agents(modes: dict[str, str]) -> dict[str, str]:
    for name in modes:
        # No request would ever come from an unknown agent, and its mode would silently never apply.
        if meant := similar_agent(name.partition(":")[0]):
            raise ValueError(f"no agent is called `{name.partition(':')[0]}`; did you mean `{meant}`?")
    return modes


def _profile_name_in_force(name: object) -> object:
    """The name in force for an older name of a price profile."""
    return "subscription" if name == "flat" else name


AbsolutePath = Annotated[Path, AfterValidator(_require_absolute_path)]
StateDir = Annotated[Path, AfterValidator(_require_absolute_path_or_memory)]
Bytes = Annotated[int, Field(ge=0, le=2**50)]
Tokens = Annotated[int, Field(ge=0, le=2**40)]
Turns = Annotated[int, Field(ge=0, le=10_000)]
Upstream = Annotated[str, Field(pattern=r"^(https?://[^\s?#]+)?$", max_length=2048)]
Globs = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...], Field(max_length=1000)]


class ConfigSection(BaseModel):
    """Rules of all sections: frozen, and an unknown key is an error, so that no misspelt key is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DaemonConfig(ConfigSection):
    """`[daemon]`: folders, socket, and bounds of memory."""

    state_dir: StateDir = Field(default_factory=lambda: Path(discovery.default_state_folder(os.environ)))
    """Folder of the stash and its backups, mode 0700. Default: `$XDG_STATE_HOME/ctxgc`. With `:memory:` the stash lives
    in memory and ends with the daemon: nothing is kept, and only locks are written, into the default folder."""
    socket: AbsolutePath | None = None
    """Path of the Unix socket. Default: `$CTXGC_SOCKET`, else `$XDG_RUNTIME_DIR/ctxgc/ctxgc.sock`; without
    `XDG_RUNTIME_DIR`, `~/.local/state/ctxgc/ctxgc.sock`."""
    idle_exit_s: Annotated[float, Field(ge=0)] = 0.0
    """Seconds without a client or a watch before the daemon exits; 0: never."""
    frame_bytes_max: Annotated[int, Field(ge=64 * 2**10, le=FRAME_BYTES_MAX)] = 8 * 2**20
    """Bytes of the longest request line; advertised in `hello`."""
    heap_segments_max: Annotated[int, Field(ge=1000)] = 1_000_000
    """Segments of all heaps in memory together; beyond it the least recently used heaps go."""
    text_cache_bytes_max: Bytes = 64 * 2**20
    """Bytes of segment text kept in memory."""
    clients_max: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Connections at once; one more is refused."""

    @property
    def lock_dir(self) -> Path:
        """Folder of locks and pidfiles: the state folder, or its default where the stash lives in memory."""
        return Path(discovery.default_state_folder(os.environ)) if self.state_dir == MEMORY else self.state_dir


class CollectConfig(ConfigSection):
    """`[collect]`: the evictable kinds, and the segments that stay."""

    kinds: tuple[
        Annotated[Literal["tool_call", "attachment", "thinking"], BeforeValidator(_kind_name_in_force)], ...
    ] = (
        "tool_call",
        "attachment",
        "thinking",
    )
    """Kinds of segments whose bodies may be evicted."""
    tool_inputs: bool = True
    """Whether large inputs of old tool calls may be evicted."""
    recent_turns: Turns = 3
    """Turns (assistant replies) at the end of the window that are never touched."""
    file_turns: Turns = 12
    """Turns for which the newest read of a touched file is kept."""
    error_turns: Turns = 4
    """Turns after which a failed call is garbage, if a later attempt succeeded."""
    min_gain_tokens: Tokens = 50
    """The least raw tokens that an eviction frees beyond the tombstone."""
    recall_grace_turns: Turns = 3
    """Turns for which a recalled segment is left alone."""


class PacerConfig(ConfigSection):
    """`[pacer]`: when to collect without being asked."""

    enabled: bool = False
    """Whether sessions are collected without being asked."""
    profile: Annotated[
        Literal["auto", "cache_5m", "cache_1h", "openai", "openai_5_6", "openai_6_1", "subscription", "uncached"],
        BeforeValidator(_profile_name_in_force),
    ] = "auto"
    """How the provider bills a prompt. `auto`: as each request says. Any other profile wins over the request:
    `cache_5m` and `cache_1h`: Anthropic's caches, `openai`: OpenAI's prices of the request's model, `openai_5_6` and
    `openai_6_1`: OpenAI's prices from GPT-5.6 and from GPT-6.1 on, `subscription`: a plan instead of a bill,
    `uncached`. A plan counts by rules that are not public: the assumption is that a token counts whole, and a tenth
    where the cache had it. `flat` is the older name of `subscription`."""
    fault_price_tokens: Tokens = 0
    """What a page fault is held to cost, in input tokens; higher collects less. 0: what was tuned for the profile."""
    horizon_turns: Annotated[int, Field(ge=0, le=1000)] = 0
    """Turns ahead over which a saving counts. 0: what was tuned for the profile."""
    recent_turns: Turns = 2
    """Turns whose segments the pacer leaves alone; where a budget is to be held, `collect.recent_turns` are."""
    window_max_tokens: Tokens = 0
    """Hard limit on a window in billed tokens; 0: none."""
    low_ratio: Annotated[float, Field(ge=0.05, le=1.0)] = 0.5
    """The part of the hard limit that a hard collection goes down to."""


class ModelPriceConfig(BaseModel):
    """A model's price, in US dollars for a million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Annotated[float, Field(ge=0, le=10_000)]
    output: Annotated[float, Field(ge=0, le=10_000)] = 0.0


class PricesConfig(ConfigSection):
    """`[prices]`: the models' prices, for the amounts in dollars."""

    models: Annotated[dict[str, ModelPriceConfig], Field(max_length=1000)] = {}
    """Prices of models in US dollars for a million tokens, before the list prices that ctxgc has:
    `my-model = { input = 2.0, output = 10.0 }`."""


class ProtectConfig(ConfigSection):
    """`[protect]`: segments that are never evicted."""

    paths: Globs = ()
    """Globs; tool calls on matching files are kept. `[slug]` also means a folder of that name."""
    tools: Globs = ()
    """Tools whose calls are kept, by name."""


class RedactConfig(ConfigSection):
    """`[redact]`: credentials in admitted segments."""

    enabled: bool = True
    """Whether secrets in content are replaced by a redaction before anything is stored. Secrets in names always are."""


class StashConfig(ConfigSection):
    """`[stash]`: disk."""

    reserve_bytes: Bytes = 256 * 2**20
    """Bytes that must stay free on the disk; below this the stash turns read-only."""
    bytes_max: Bytes = 0
    """Bytes on disk beyond which `doctor` and `status` name sessions to forget; nothing is dropped unasked. 0: any
    size."""


class WatchConfig(ConfigSection):
    """`[watch]`: transcripts to follow from the start."""

    paths: Annotated[tuple[AbsolutePath, ...], Field(max_length=32)] = ()
    """Transcripts, or folders of them."""


class GatewayConfig(ConfigSection):
    """`[gateway]`: the local server between agents and their models' APIs."""

    host: str = "127.0.0.1"
    """Loopback address to listen on; any other is refused."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    """TCP port to listen on; 0: any free one."""
    upstream_anthropic: Upstream = ""
    """Base URL that serves Anthropic's API, with or without `/v1` at its end; empty: Anthropic's own."""
    upstream_openai: Upstream = ""
    """Base URL that serves OpenAI's API, with or without `/v1` at its end; empty: OpenAI's own."""
    upstream_chatgpt: Upstream = ""
    """Base URL that serves Codex with a ChatGPT login; empty: ChatGPT's own."""
    wait_ms: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Milliseconds that a request may be held back for a decision; after that the request passes unedited.

    The first request of a session with bodies out may wait up to a second after the gateway began.
    """
    mode: Literal["shadow", "on", "off"] = "shadow"
    """`shadow` computes and journals, `on` edits requests too, `off` only passes them on."""
    modes: Annotated[dict[str, Literal["shadow", "on", "off"]], AfterValidator(_refuse_misspelt_agents)] = {}
    """Modes of agents (`codex`) or single sessions (`codex:ID`), before `mode`; read again when the file changes."""
    context_edits_allowed: Globs = ()
    """Types of edits under `context_management` beside which ctxgc may edit too.

    `compaction`: also beside a summary of the server in a list of Anthropic's.
    """
    hosts_allowed: Globs = ()
    """Names of this machine in requests, beside the loopback's: `host.docker.internal`."""
    auth: Literal["auto", "secret"] = "auto"
    """How a request shows its user: `secret` by the word in its base URL; `auto` also by its process, on Linux."""


class EntryConfig(ConfigSection):
    """`[entry]`: results that no request has carried yet, in sessions of mode `on` and in `messages.collect`."""

    references: bool = True
    """Whether a new result shows lines that the window shows already by a pointer to them: no text is lost by it."""
    shorten: Literal["off", "shadow", "on"] = "off"
    """Whether a new long result leaves out lines that are hardly asked for later: the stash has them, and a note in
    their place says how to get exactly them. `shadow` changes no request, and counts what that would have saved, and
    how much of it a later reply used."""
    tools_except: Globs = ()
    """Tools whose results enter whole, by name."""
    agents_except: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    """Agents whose results enter whole, by the name of their sessions: `codex`."""
    projects_except: Annotated[tuple[AbsolutePath, ...], Field(max_length=1000)] = ()
    """Folders whose sessions' results enter whole."""


class McpConfig(ConfigSection):
    """What the tools of `ctxgc mcp` reach."""

    projects: Literal["own", "all"] = "own"
    """`own`: sessions of the folders that the agent works in; `all`: every session of the user."""
