"""Calls that Cline and Roo write as XML in a text, with their results in the user's next message.

    assistant  "I look.\\n<read_file><path>a.py</path></read_file>"          text, tool_use
    user       "[read_file for 'a.py'] Result:", "import os…", "<envi…"     tool_result, text

A result is one if the reply before made the call. Whatever may hold a person's words stays the user's text: answers,
feedback, and the results of tools that ask.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from ctxgc.adapters.json_values import as_dict, as_list, as_text

TOOLS = (
    "access_mcp_resource", "apply_diff", "browser_action", "codebase_search", "execute_command", "fetch_instructions",
    "insert_content", "list_code_definition_names", "list_files", "read_file", "replace_in_file", "search_and_replace",
    "search_files", "use_mcp_tool", "web_fetch", "web_search", "write_to_file",
)  # fmt: skip
"""Tools whose results no person says."""
_HEADER = re.compile(rf"\[({'|'.join(TOOLS)})(?: for '[^\0]{{0,4096}}?)?\] Result:[ \t]*\n?")
_ANY_HEADER = re.compile(r"\[[a-z_]{3,40}(?: for [^\0]{0,4096}?)?\] Result:")
_PERSON = re.compile(
    r"<(?:feedback|user_feedback|user_message|answer|task)\b"
    r"|The user (?:approved|did|denied|edited|made|provided|rejected|replied|responded|said|wants)\b"
)
_FAILED = re.compile(r"\s*(?:The tool execution failed|<error>|<error_details>)")
_HOST = re.compile(r"\s*<environment_details>")
_OPENING = re.compile(r"\s*<([A-Za-z_]\w{0,63})>")
_WHOLE = ("content", "diff")
"""Parameters whose text may have tags of any kind: each ends at its last closing tag."""
_PATH = re.compile(r"<path>([^<]*)</path>")


class _XmlCall(NamedTuple):
    """A call in a reply's text: where the call stands, and the blocks that stand for call and result."""

    start: int
    end: int
    use: dict[str, Any]


def has_xml_result(message: Mapping[str, Any]) -> bool:
    """Whether this is a user's message with the result of a call in XML."""
    blocks = as_list(message.get("content")) if message.get("role") == "user" else []
    return any(_HEADER.match(_block_text_or_empty(block)) for block in blocks)


def convert_xml_calls(messages: Sequence[Any]) -> list[Any]:
    """The messages, with calls and results in XML as blocks of Anthropic's; other messages are the same objects."""
    said: list[Any] = []
    uses: Counter[bytes] = Counter()
    for message in messages:
        before = as_dict(said[-1]) if said else {}
        if isinstance(message, dict) and has_xml_result(message) and before.get("role") == "assistant":
            reply, message = _pair_calls_with_results(before, message, uses)
            said[-1] = reply
        said.append(message)
    return said


def _pair_calls_with_results(
    reply: dict[str, Any], message: dict[str, Any], uses: Counter[bytes]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A reply and the user's message behind it, with each call of the reply that the message answers."""
    content = reply.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)
    at = max((n for n, block in enumerate(blocks) if _block_text_or_empty(block)), default=-1)
    text = _block_text_or_empty(blocks[at]) if blocks else ""
    calls: list[_XmlCall] = []
    results: list[Any] = []
    rest: list[Any] = []
    for group in _group_blocks_by_result(as_list(message.get("content"))):
        header = _HEADER.match(_block_text_or_empty(group[0]))
        is_said = header is None or any(_PERSON.search(_block_text_or_empty(block)) for block in group)
        call = (
            None if is_said or header is None else _extract_call(text, header[1], calls[-1].end if calls else 0, uses)
        )
        if call is None or header is None:
            rest += group
            continue
        calls.append(call)
        first = {"type": "text", "text": _block_text_or_empty(group[0])[header.end() :]}
        output = [first, *group[1:]] if first["text"] else group[1:]
        is_error = any(_FAILED.match(_block_text_or_empty(block)) for block in output)
        result = {"type": "tool_result", "tool_use_id": call.use["id"], "content": output, "is_error": is_error}
        results.append(result)
    if not calls:
        return reply, message
    split = [*blocks[:at], *_split_reply(text, calls), *blocks[at + 1 :]]
    return reply | {"content": split}, message | {"content": [*results, *rest]}


def _group_blocks_by_result(blocks: Sequence[Any]) -> Iterator[list[Any]]:
    """Runs of blocks: a result with its output, or a block of the user or the host.

    An output is the rest of the header's block or one text behind a bare header, and images: a text more may be a
    person's.
    """
    group: list[Any] = []
    has_text = True
    for block in blocks:
        text = _block_text_or_empty(block)
        header = _ANY_HEADER.match(text)
        if group and (header or _HOST.match(text) or (has_text and text)):
            yield group
            group, has_text = [], True
        if header:
            has_text = bool(text[header.end() :].strip())
        elif text:
            has_text = True
        group.append(block)
    if group:
        yield group


def _extract_call(text: str, tool: str, start: int, uses: Counter[bytes]) -> _XmlCall | None:
    """The call of this tool in a reply's text, behind the calls that are known."""
    first = text.find(f"<{tool}>", start)
    closing = f"</{tool}>"
    last = text.rfind(closing, first) if tool in ("write_to_file", "apply_diff") else text.find(closing, first)
    if min(first, last) < 0:
        return None
    end = last + len(closing)
    name = blake2b(text[first:end].encode("utf-8", "surrogatepass"), digest_size=8).digest()
    uses[name] += 1
    id_ = f"xml_{name.hex()}" + (f"_{uses[name]}" if uses[name] > 1 else "")
    value = _parse_input(text[first + len(tool) + 2 : last])
    return _XmlCall(first, end, {"type": "tool_use", "id": id_, "name": tool, "input": value})


def _parse_input(text: str) -> dict[str, str]:
    """The parameters of a call, in the order of their tags."""
    value: dict[str, str] = {}
    at = 0
    while (opening := _OPENING.match(text, at)) is not None:
        name, closing = opening[1], f"</{opening[1]}>"
        end = text.rfind(closing, opening.end()) if name in _WHOLE else text.find(closing, opening.end())
        if end < 0:
            break
        value[name] = text[opening.end() : end].strip("\n")
        at = end + len(closing)
    paths = _PATH.findall(value.get("args", ""))
    return value | {"path": paths[0]} if len(paths) == 1 else value


def _split_reply(text: str, calls: Sequence[_XmlCall]) -> Iterator[dict[str, Any]]:
    """A reply's text around its calls."""
    at = 0
    for call in calls:
        if text[at : call.start].strip():
            yield {"type": "text", "text": text[at : call.start]}
        yield call.use
        at = call.end
    if text[at:].strip():
        yield {"type": "text", "text": text[at:]}


def _block_text_or_empty(block: object) -> str:
    value = as_dict(block)
    return as_text(value.get("text")) if value.get("type") == "text" else ""
