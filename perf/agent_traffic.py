"""Request traffic of real coding agents, generated: each request of a session in the exact shape that its agent sends.

    work (calls and what comes back) ──▶ agent (its wire format, breakpoints, headers) ──▶ requests, one a turn

Shapes were captured from Claude Code 2.1.332, OpenCode 1.18.33 and Codex 0.171.0. Every word is made from a seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from perf.texts import code_like
from tests.gateway.upstream import seal, sign

SESSION = "0b3c9e5e-0000-4000-8000-0000000000b1"
OPENCODE_SESSION = "ses_0000000000b1AbCdEfGhIjKl"
SHORT, LONG = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
FOLDER = "/home/dev/work"


EXEC = """// @exec: {{"max_output_tokens": 20000}}
const shown = await tools.exec_command({{cmd: "{command}", max_output_tokens: 20000}});
text(shown.output);"""
"""The script by which Codex runs a command."""


class Call(NamedTuple):
    """One tool call of a turn, and its result."""

    name: str
    input: dict[str, Any]
    result: str
    is_error: bool = False


Turn = list[Call]


class Request(NamedTuple):
    """One request of an agent."""

    path: str
    wire: str
    body: bytes


# Work


def words(size_bytes: int, seed: int) -> str:
    """Text of this many bytes."""
    return code_like(size_bytes, seed).decode()


def round_three(turns: int, size_bytes: int = 8000) -> Iterator[Turn]:
    """Made to be collected: three files of eight kilobytes, shown in turn again and again."""
    files = [words(size_bytes, seed) for seed in range(3)]
    for number in range(turns):
        name = f"part{number % 3:03}.txt"
        yield [Call("Bash", {"command": f"cat {name}", "description": f"Show {name}"}, files[number % 3])]


def parallel(turns: int, width: int = 12) -> Iterator[Turn]:
    """Each turn reads the same twelve files at once: more blocks than a breakpoint of the agent's looks back."""
    names = [f"{FOLDER}/src/m{at:02}.py" for at in range(width)]
    for _ in range(turns):
        yield [Call("Read", {"file_path": name}, numbered(words(4000, hash_of(name)).split("\n"))) for name in names]


def hash_of(name: str) -> int:
    """A seed from a name, the same in every process."""
    return sum((at + 1) * ord(char) for at, char in enumerate(name))


def numbered(lines: list[str], offset: int = 0) -> str:
    """Lines as Claude Code's Read shows them."""
    return "\n".join(f"{at:>6}\t{line}" for at, line in enumerate(lines, offset + 1))


class Work:
    """Realistic work: a hot file that moves on every fifteen steps, read whole, in parts and again; greps; edits; tests
    that fail."""

    FILES, HOT_STEPS = 12, 15

    def __init__(self, seed: int = 1) -> None:
        self.chance = random.Random(seed)
        self.paths = [f"{FOLDER}/src/module_{at:02}.py" for at in range(self.FILES)]
        self.lines = {
            path: words(40 * self.chance.randint(60, 400), at).split("\n") for at, path in enumerate(self.paths)
        }

    def turns(self, count: int) -> Iterator[Turn]:
        """So many turns of work."""
        for step in range(count):
            hot = self.paths[step // self.HOT_STEPS % self.FILES]
            yield self._turn(step, hot)

    def _turn(self, step: int, hot: str) -> Turn:
        if step % self.HOT_STEPS == 0:
            near = self.chance.sample(self.paths, self.chance.randint(1, 2))
            return [self._read(path) for path in dict.fromkeys([hot, *near])]
        kind = self.chance.random()
        if kind < 0.22:
            return [self._edit(hot, step)]
        if kind < 0.36:
            return [self._test(step, hot)]
        if kind < 0.44:
            return [self._grep()]
        if kind < 0.54:
            return [self._part(hot)]
        if kind < 0.64:
            return [self._read(hot), self._part(self.chance.choice(self.paths))]
        return [self._read(hot)]

    def _read(self, path: str) -> Call:
        return Call("Read", {"file_path": path}, numbered(self.lines[path]))

    def _part(self, path: str) -> Call:
        lines = self.lines[path]
        offset, limit = self.chance.randrange(max(1, len(lines) - 40)), self.chance.choice((40, 80, 120))
        shown = numbered(lines[offset : offset + limit], offset)
        return Call("Read", {"file_path": path, "offset": offset + 1, "limit": limit}, shown)

    def _edit(self, path: str, step: int) -> Call:
        lines = self.lines[path]
        at = self.chance.randrange(len(lines) - 6)
        old = lines[at : at + self.chance.randint(2, 6)]
        new = [*old[:-1], f"    step_{step} = {self.chance.randrange(9999)}", *words(160, step).split("\n")]
        self.lines[path] = [*lines[:at], *new, *lines[at + len(old) :]]
        given = {"file_path": path, "old_string": "\n".join(old), "new_string": "\n".join(new), "replace_all": False}
        shown = numbered(self.lines[path][max(0, at - 4) : at + len(new) + 4], max(0, at - 4))
        return Call("Edit", given, f"The file {path} has been updated. The result of `cat -n` on a part:\n{shown}")

    def _grep(self) -> Call:
        word = self.chance.choice(("token", "config", "session", "buffer", "reply"))
        hits = [
            f"{path}:{at}:{line}"
            for path in self.chance.sample(self.paths, 5)
            for at, line in enumerate(self.lines[path], 1)
            if word in line
        ]
        given = {"pattern": word, "path": f"{FOLDER}/src", "output_mode": "content"}
        return Call("Grep", given, "\n".join(hits[: self.chance.choice((10, 25, 60))]) or "No matches found")

    def _test(self, step: int, path: str) -> Call:
        lines = [f"E   {line}" for line in words(80 * 90, step).split("\n")][: self.chance.randint(5, 90)]
        given = {"command": f"pytest -x tests/test_{path.rpartition('/')[2]}", "description": "Run the tests"}
        return Call("Bash", given, "\n".join(["F" * 12, *lines, f"{len(lines)} failed in 0.{step:03}s"]), True)


# Agents


class ClaudeCode:
    """Claude Code 2.1.332: breakpoints on the last two blocks of its system prompt and on its last block; an hour's
    life with a login, five minutes with a key. The reminders behind the prompt come once as a list with a breakpoint,
    then as a string."""

    path, wire = "/v1/messages?beta=true", "anthropic_messages"
    headers: ClassVar[Mapping[str, str]] = {
        "x-claude-code-session-id": SESSION,
        "x-app": "cli",
        "anthropic-version": "2023-06-01",
    }
    SYSTEM_BYTES, TOOL_BYTES, TOOLS, REMINDER_BYTES, ENVIRONMENT_BYTES = 14_000, 1_900, 11, 4_000, 12_000

    def __init__(self, point: dict[str, str]) -> None:
        self.breakpoint = point
        names = ("Bash", "Read", "Edit", "Grep", "Write", "Glob", "Task", "Skill", "TodoWrite", "ToolSearch", "Agent")
        tools: list[dict[str, Any]] = [
            {"name": name, "description": words(self.TOOL_BYTES, 900 + at), "input_schema": {"type": "object"}}
            for at, name in enumerate(names[: self.TOOLS])
        ]
        deferred = {"name": "DeferredToolPlaceholder", "description": "Deferred.", "input_schema": {"type": "object"}}
        system = [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.332;"},
            {"type": "text", "text": "You are an agent for software engineering.", "cache_control": point},
            {"type": "text", "text": words(self.SYSTEM_BYTES, 950), "cache_control": point},
        ]
        ids = {"device_id": "d" * 64, "account_uuid": "", "session_id": SESSION}
        tail = {
            "system": system,
            "tools": [*tools, deferred | {"defer_loading": True}],
            "metadata": {"user_id": json.dumps(ids)},
            "max_tokens": 128_000,
            "thinking": {"type": "adaptive"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "output_config": {"effort": "high"},
            "stream": True,
        }
        self.tail = json.dumps(tail)[1:]
        reminder = f"<system-reminder>\nCodebase instructions.\n{words(self.REMINDER_BYTES, 960)}\n</system-reminder>"
        first = [{"type": "text", "text": reminder}, {"type": "text", "text": "Read every part, one after the other."}]
        self.settled = [_message("user", first)]
        self.last: tuple[str, Any] = ("system", words(self.ENVIRONMENT_BYTES, 970))

    def request(self) -> Request:
        """The next request, with a breakpoint on its last block."""
        role, content = self.last
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        last = _message(role, [*blocks[:-1], blocks[-1] | {"cache_control": self.breakpoint}])
        listed = ",".join([*self.settled, last])
        return Request(self.path, self.wire, f'{{"model":"claude-sonnet-5","messages":[{listed}],{self.tail}'.encode())

    def take(self, number: int, turn: Turn) -> None:
        """The model answers with these calls, and the agent makes them."""
        self.settled += [_message(*self.last), _message("assistant", answer_of(number, turn))]
        results = [
            {"tool_use_id": call_id(number, at), "type": "tool_result", "content": call.result}
            | ({"is_error": True} if call.is_error else {})
            for at, call in enumerate(turn)
        ]
        self.last = ("user", results)


class OpenCode:
    """OpenCode 1.18.33 over Anthropic's API: breakpoints on its system prompt and on the last block of each of the last
    two messages."""

    path, wire = "/v1/messages", "anthropic_messages"
    headers: ClassVar[Mapping[str, str]] = {"x-session-affinity": OPENCODE_SESSION, "anthropic-version": "2023-06-01"}

    def __init__(self) -> None:
        schema = {"type": "object", "properties": {}}
        tools = [
            {"name": name, "description": words(1_600, 800 + at), "input_schema": schema}
            for at, name in enumerate(("bash", "read", "edit", "grep", "write", "glob", "task", "todowrite"))
        ]
        system = [{"type": "text", "text": words(12_000, 850), "cache_control": SHORT}]
        tail = {"tools": tools, "tool_choice": {"type": "auto"}, "stream": True}
        self.head = json.dumps({"model": "claude-sonnet-5", "max_tokens": 32_000, "system": system})[:-1]
        self.tail = json.dumps(tail)[1:]
        self.messages: list[tuple[str, list[dict[str, Any]]]] = [
            ("user", [{"type": "text", "text": "Read every part, one after the other."}])
        ]
        self.settled: list[str] = []

    def request(self) -> Request:
        """The next request, with a breakpoint on the last block of each of its last two messages."""
        newest = [
            _message(role, [*blocks[:-1], blocks[-1] | {"cache_control": SHORT}]) for role, blocks in self.messages
        ]
        listed = ",".join([*self.settled, *newest])
        return Request(self.path, self.wire, f'{self.head},"messages":[{listed}],{self.tail}'.encode())

    def take(self, number: int, turn: Turn) -> None:
        """The model answers with these calls, and the agent makes them."""
        self.settled += [_message(*message) for message in self.messages]
        calls = [call._replace(name=call.name.lower()) for call in turn]
        said = [block for block in answer_of(number, calls) if block["type"] != "thinking"]
        results = [
            {"type": "tool_result", "tool_use_id": call_id(number, at), "content": [_text(call.result)]}
            for at, call in enumerate(turn)
        ]
        self.messages = [("assistant", said), ("user", results)]


class Codex:
    """Codex 0.171.0 with a key: no breakpoints, the thread's id as the key of the cache, sealed reasoning."""

    path, wire = "/v1/responses", "openai_responses"
    headers: ClassVar[Mapping[str, str]] = {"session-id": SESSION, "thread-id": SESSION}

    def __init__(self) -> None:
        tools = [
            {"type": "function", "name": name, "description": words(2_400, 700 + at), "parameters": {"type": "object"}}
            for at, name in enumerate(("exec", "write_stdin", "apply_patch", "update_plan", "view_image"))
        ]
        first = [
            {"type": "additional_tools", "role": "developer", "tools": tools},
            _spoken("developer", words(9_000, 750)),
            _spoken("user", f"<environment_context>\n  <cwd>{FOLDER}</cwd>\n</environment_context>"),
            _spoken("user", "Read every part, one after the other."),
        ]
        tail = {
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "reasoning": {"effort": "medium", "context": "all_turns"},
            "store": False,
            "stream": True,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": SESSION,
            "client_metadata": {"thread_id": SESSION},
        }
        self.head = json.dumps({"model": "gpt-6.2-sol", "instructions": words(14_000, 760)})[:-1]
        self.tail = json.dumps(tail)[1:]
        self.settled = [json.dumps(item) for item in first]

    def request(self) -> Request:
        """The next request."""
        listed = ",".join(self.settled)
        return Request(self.path, self.wire, f'{self.head},"input":[{listed}],{self.tail}'.encode())

    def take(self, number: int, turn: Turn) -> None:
        """The model answers with these calls, and the agent makes them."""
        items: list[dict[str, Any]] = [_spoken("assistant", f"Step {number}.", "output_text")]
        for at, call in enumerate(turn):
            named = {"type": "custom_tool_call", "call_id": call_id(number, at), "name": "exec"}
            items.append(named | {"input": EXEC.format(command=call.input["command"])})
        if number % 2:
            items.insert(0, {"type": "reasoning", "summary": [], "encrypted_content": seal(items)})
        outputs = [
            {"type": "custom_tool_call_output", "call_id": call_id(number, at), "output": call.result}
            for at, call in enumerate(turn)
        ]
        self.settled += [json.dumps(item) for item in (*items, *outputs)]


Agent = ClaudeCode | OpenCode | Codex


def requests_of(agent: Agent, turns: Iterator[Turn]) -> Iterator[Request]:
    """All requests of a session: the first, and one after each turn."""
    yield agent.request()
    for number, turn in enumerate(turns):
        agent.take(number, turn)
        yield agent.request()


def answer_of(number: int, turn: Turn) -> list[dict[str, Any]]:
    """What Anthropic's model answers: every second turn thinks first, under a signature over the whole turn."""
    blocks: list[dict[str, Any]] = [_text(f"Step {number}.")]
    for at, call in enumerate(turn):
        blocks.append({"type": "tool_use", "id": call_id(number, at), "name": call.name, "input": call.input})
    if number % 2:
        blocks.insert(0, {"type": "thinking", "thinking": f"Now step {number}.", "signature": ""})
        blocks[0]["signature"] = sign(blocks)
    return blocks


def call_id(number: int, at: int) -> str:
    """The id of a turn's call."""
    return f"toolu_{number:04}_{at:02}"


def _message(role: str, content: Any) -> str:
    return json.dumps({"role": role, "content": content})


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _spoken(role: str, text: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
