"""Conversations as hypothesis draws them, each written twice: as a host's log, and as the request the host sends.

    steps ──log──▶ bytes of a transcript          steps ──request──▶ bytes of a model API's list

The steps know nothing of hosts; a `Host` knows the tools of one, and both of its writings.
"""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from hypothesis import strategies as st

CWD = "/w"
START_S = 1_790_000_000
FILES = ("a.py", "/w/src/b.py", "./a.py", "n.ipynb")
OUTPUTS = (
    "done",
    "1\tdef total_of(rows):\n2\t    return sum(rows)\n",
    "the harbour_master said no\n" * 3,
    "x\n…606 tokens truncated…\ny",
    "File unchanged since last read.",
    "<persisted-output>",
    " \n",
)
TEXTS = ("look at total_of", "why is the tide late?", "go on", "let me see")
COMMANDS = (
    "cat a.py",
    "cd /w && cat a.py",
    "sed -n '1,40p' src/b.py",
    "cargo test -q lock",
    "make all",
    "ctxgc recall '#1'",
    "cat a.py > b.py",
    "ls",
)
RUNS_ON = ("Process running with session ID {n}\n", "Script running with cell ID {n}\nOutput:\n")


@dataclass
class Call:
    """A call of a tool with what came back."""

    id: str
    tool: str
    input: dict | str
    output: str
    is_error: bool = False


@dataclass
class Step:
    """What is said to the model, and the reply with its calls."""

    prompt: str
    thought: str
    answer: str
    calls: list[Call] = field(default_factory=list)


def id_of(number, length, is_behind):
    """A call id of this length; two of them differ in front, or only behind."""
    name = f"call{number}"
    return (name + "x" * (length - len(name)) if is_behind else "x" * (length - len(name)) + name)[-length:]


IDS = st.builds(
    id_of, st.integers(0, 5), st.sampled_from([6, 20, 199, 200, 201, 300, 480, 512, 513, 600]), st.booleans()
)
PATHS = st.sampled_from(FILES)
RANGES = st.sampled_from([{}, {"offset": 1, "limit": 40}, {"offset": 10}])
SHELL = st.sampled_from(COMMANDS)


def one_of_tools(**tools):
    """(tool, input) of any of these."""
    return st.one_of(*(st.tuples(st.just(name.replace("__", ".")), given) for name, given in tools.items()))


def objects(**fields):
    return st.fixed_dictionaries(fields)


OLD = st.sampled_from(["def total_of(rows):", "    return sum(rows)\n" * 30])
TODOS = st.sampled_from([{"todos": [{"content": "first"}]}, {"todos": []}])
CLAUDE_TOOLS = one_of_tools(
    Read=st.builds(lambda path, lines: {"file_path": path} | lines, PATHS, RANGES),
    READ=objects(file_path=PATHS),
    NotebookRead=objects(notebook_path=PATHS),
    str_replace_based_edit_tool=st.one_of(
        objects(command=st.just("view"), path=PATHS),
        objects(command=st.just("create"), path=PATHS, file_text=OLD),
        objects(command=st.just("str_replace"), path=PATHS, old_str=OLD, new_str=st.just("")),
    ),
    Edit=objects(file_path=PATHS, old_string=OLD, new_string=st.just("")),
    Write=objects(file_path=PATHS, content=OLD),
    Bash=objects(command=SHELL),
    TodoWrite=TODOS,
    Grep=objects(pattern=st.just("tide"), path=PATHS),
    Task=objects(prompt=st.sampled_from(TEXTS)),
)
OPENCODE_TOOLS = one_of_tools(
    read=st.builds(lambda path, lines: {"filePath": path} | lines, PATHS, RANGES),
    edit=objects(filePath=PATHS, oldString=OLD, newString=st.just("")),
    write=objects(filePath=PATHS, content=OLD),
    bash=objects(command=SHELL),
    todowrite=TODOS,
)
QWEN_TOOLS = one_of_tools(
    read_file=objects(absolute_path=PATHS),
    edit=objects(file_path=PATHS, old_string=OLD, new_string=st.just("")),
    write_file=objects(file_path=PATHS, content=OLD),
    run_shell_command=objects(command=SHELL),
    grep_search=objects(pattern=st.just("tide"), path=PATHS),
    todo_write=TODOS,
)
PATCH = "*** Begin Patch\n*** Update File: a.py\n@@\n-def total_of(rows):\n+def total(rows):\n*** End Patch"
SCRIPT = 'const r = await tools.exec_command({cmd:"COMMAND"}); text(JSON.stringify(r));'
POLL = "const r = await tools.write_stdin({session_id:1,chars:''}); text(r.output);"
NUMBERS = st.sampled_from([1, 2])
CODEX_TOOLS = one_of_tools(
    exec_command=objects(cmd=SHELL),
    shell=objects(command=SHELL.map(lambda command: ["bash", "-lc", command])),
    write_stdin=objects(session_id=NUMBERS, chars=st.just("")),
    wait=objects(cell_id=NUMBERS.map(str)),
    apply_patch=st.just(PATCH),
    exec=st.one_of(SHELL.map(lambda command: SCRIPT.replace("COMMAND", command)), st.just(POLL)),
    update_plan=objects(plan=st.just([{"step": "first"}])),
)


def steps(tools, outputs=OUTPUTS):
    """Steps that use these tools."""
    calls = st.builds(
        lambda id_, tool, output, is_error: Call(id_, *tool, output, is_error),
        IDS,
        tools,
        st.sampled_from(outputs),
        st.booleans(),
    )
    return st.lists(
        st.builds(
            Step,
            prompt=st.sampled_from(TEXTS),
            thought=st.sampled_from(["", "hm"]),
            answer=st.sampled_from(["", *TEXTS]),
            calls=st.lists(calls, max_size=3, unique_by=lambda call: call.id),
        ),
        min_size=2,
        max_size=3,
    ).filter(lambda steps: all(step.answer or step.calls for step in steps))


# Claude Code


def claude_log(steps, session="s"):
    lines = []

    def record(kind, content, **fields):
        number = len(lines) + 1
        base = {"type": kind, "uuid": f"u{number}", "parentUuid": f"u{number - 1}" if lines else None}
        base |= {"sessionId": session, "cwd": CWD, "timestamp": START_S}
        lines.append(base | {"message": {"role": kind, "content": content} | fields})

    for number, step in enumerate(steps):
        record("user", [{"type": "text", "text": step.prompt}])
        for block in _claude_blocks(step):
            record("assistant", [block], id=f"msg_{number}")
        if step.calls:
            record("user", [_claude_result(call) for call in step.calls])
    return _lines(lines)


def claude_request(steps, signature="sig"):
    messages = []
    for step in steps:
        messages.append({"role": "user", "content": [{"type": "text", "text": step.prompt}]})
        messages.append({"role": "assistant", "content": _claude_blocks(step, signature)})
        if step.calls:
            messages.append({"role": "user", "content": [_claude_result(call) for call in step.calls]})
    return messages


def _claude_blocks(step, signature="sig"):
    thought = [{"type": "thinking", "thinking": step.thought, "signature": signature}] if step.thought else []
    said = [{"type": "text", "text": step.answer}] if step.answer else []
    return [*thought, *said, *({"type": "tool_use", "id": c.id, "name": c.tool, "input": c.input} for c in step.calls)]


def _claude_result(call):
    error = {"is_error": True} if call.is_error else {}
    return {"type": "tool_result", "tool_use_id": call.id, "content": call.output} | error


# Codex


def codex_log(steps, session="s"):
    meta = {"type": "session_meta", "payload": {"id": session, "cwd": CWD}}
    items = [{"type": "response_item", "payload": item} for item in codex_request(steps)]
    return _lines([{"timestamp": START_S} | line for line in [meta, *items]])


def codex_request(steps):
    items = []
    for step in steps:
        items.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": step.prompt}]})
        if step.thought:
            items.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": step.thought}]})
        if step.answer:
            said = [{"type": "output_text", "text": step.answer}]
            items.append({"type": "message", "role": "assistant", "content": said})
        kinds = ["custom_tool_call" if isinstance(call.input, str) else "function_call" for call in step.calls]
        for call, kind in zip(step.calls, kinds, strict=True):
            value = {"input": call.input} if kind == "custom_tool_call" else {"arguments": json.dumps(call.input)}
            items.append({"type": kind, "call_id": call.id, "name": call.tool} | value)
        for call, kind in zip(step.calls, kinds, strict=True):
            output = "execution error\n" + call.output if call.is_error else call.output
            parts = [{"type": "input_text", "text": part} for part in ("Script completed\n", output)]
            items.append(
                {"type": f"{kind}_output", "call_id": call.id, "output": parts if call.tool == "exec" else output}
            )
    return items


# Droid and Qwen Code


def droid_log(steps, session="s"):
    header = {"type": "session_start", "id": session, "cwd": CWD, "timestamp": START_S}
    messages = claude_request(steps)
    records = [{"type": "message", "id": f"m{number}", "message": said} for number, said in enumerate(messages)]
    return _lines([header, *({"timestamp": START_S} | record for record in records)])


def qwen_log(steps, session="s"):
    records = []

    def record(kind, role, parts):
        number = len(records) + 1
        base = {"uuid": f"u{number}", "parentUuid": f"u{number - 1}" if records else None, "sessionId": session}
        records.append(
            base | {"timestamp": START_S, "cwd": CWD, "type": kind, "message": {"role": role, "parts": parts}}
        )

    for step in steps:
        record("user", "user", [{"text": step.prompt}])
        thought = [{"text": step.thought, "thought": True}] if step.thought else []
        said = [{"text": step.answer}] if step.answer else []
        calls = [{"functionCall": {"id": c.id, "name": c.tool, "args": c.input}} for c in step.calls]
        record("assistant", "model", [*thought, *said, *calls])
        for call in step.calls:
            answer = {"id": call.id, "name": call.tool, "response": {"output": call.output}}
            record("tool_result", "user", [{"functionResponse": answer}])
    return _lines(records)


def chat_request(steps):
    messages = []
    for step in steps:
        messages.append({"role": "user", "content": step.prompt})
        message = {"role": "assistant", "content": step.answer or None}
        message |= {"reasoning_content": step.thought} if step.thought else {}
        calls = [
            {"id": c.id, "type": "function", "function": {"name": c.tool, "arguments": json.dumps(c.input)}}
            for c in step.calls
        ]
        messages.append(message | ({"tool_calls": calls} if calls else {}))
        messages += [{"role": "tool", "tool_call_id": c.id, "content": c.output} for c in step.calls]
    return messages


def without_errors(steps):
    """Chat Completions has no place for the failure of a call."""
    return [replace(step, calls=[replace(call, is_error=False) for call in step.calls]) for step in steps]


# OpenCode


def opencode_log(steps, session="s"):
    messages = []

    def message(role, parts):
        number = len(messages) + 1
        times = {"created": START_S * 1000, "completed": START_S * 1000}
        info = {"id": f"msg_{number}", "role": role, "time": times, "finish": "stop"}
        messages.append({"info": info, "parts": parts})

    for step in steps:
        message("user", [{"type": "text", "text": step.prompt}])
        parts = [{"type": "reasoning", "text": step.thought}] if step.thought else []
        parts += [{"type": "text", "text": step.answer}] if step.answer else []
        message("assistant", [*parts, *map(_opencode_tool, step.calls)])
    info = {"id": session, "projectID": "p", "directory": CWD}
    return json.dumps({"info": info, "messages": messages}).encode()


def _opencode_tool(call):
    status = "error" if call.is_error else "completed"
    said = {"error": call.output} if call.is_error else {"output": call.output}
    times = {"start": START_S * 1000, "end": START_S * 1000}
    return {
        "type": "tool",
        "callID": call.id,
        "tool": call.tool,
        "state": {"status": status, "input": call.input, "time": times} | said,
    }


def opencode_request(steps):
    """As OpenCode talks to Anthropic's API."""
    return claude_request(steps, signature="")


def _lines(records):
    return b"".join(json.dumps(_stamped(record)).encode() + b"\n" for record in records)


def _stamped(record):
    return record | {"timestamp": datetime.fromtimestamp(record["timestamp"], UTC).isoformat()}


@dataclass(frozen=True)
class Host:
    """A host: how its sessions are called, what it calls, and both of its writings."""

    source: str
    wire: str
    steps: st.SearchStrategy
    log: object
    request: object


HOSTS = {
    host.source: host
    for host in (
        Host("claude_code", "anthropic_messages", steps(CLAUDE_TOOLS), claude_log, claude_request),
        Host(
            "codex",
            "openai_responses",
            steps(CODEX_TOOLS, (*OUTPUTS, *(text.format(n=n) for text in RUNS_ON for n in (1, 2)))),
            codex_log,
            codex_request,
        ),
        Host("droid", "anthropic_messages", steps(CLAUDE_TOOLS), droid_log, claude_request),
        Host("qwen_code", "openai_chat", steps(QWEN_TOOLS).map(without_errors), qwen_log, chat_request),
        Host("opencode", "anthropic_messages", steps(OPENCODE_TOOLS), opencode_log, opencode_request),
    )
}
