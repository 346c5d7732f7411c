"""Logged requests of the model APIs that the gateway reads: whole documents, or a request or message a line.

    [messages] │ {messages, system} │ {input, instructions}          one document, one session
    a message a line                                                 the lines are one list
    a request a line       a session by first message, or by name    its last request is the window
    an answer: in its request's record, or on a line behind          the end of that request's list

The content tells a list's API: each API spells a tool's call and result in its own way. Cline and Roo keep their lists
(`api_conversation_history.json`) in the shape of Anthropic's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from ctxgc.adapters.contract import Event, SegmentAdmitted, SessionOpened, WindowReplaced
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.json_values import as_dict, as_list, as_text, clean_name
from ctxgc.adapters.transcripts.json_document import DocumentTranscript, document_digest, document_of
from ctxgc.adapters.transcripts.resync import NO_TEXT, decode_stretch, is_blank, salvage_records
from ctxgc.adapters.wire.anthropic_messages import AnthropicMessages
from ctxgc.adapters.wire.openai_chat import OpenAiChat
from ctxgc.adapters.wire.openai_responses import OpenAiResponses
from ctxgc.adapters.wire.rendering import encode_json
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Departure, Segment, Status

ANTHROPIC_BLOCKS = frozenset(
    {"tool_use", "tool_result", "thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use", "document"}
)
RESPONSES_ITEMS = frozenset(
    {"function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "local_shell_call",
     "web_search_call", "file_search_call", "mcp_call", "reasoning", "item_reference"}
)  # fmt: skip
RESPONSES_TEXTS = frozenset({"input_text", "output_text", "input_image", "input_file"})
CHAT_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
LIST_KEYS = ("messages", "input")
ANSWER_KEYS = ("response", "output", "choices")
"""Members under which loggers and servers put an answer."""
UNREAD = "unread_answers"
"""The member of a holder that counts the answers which are not understood."""


def is_anthropic(head: bytes) -> bool:
    """A message of Anthropic's shape with a block that no other API has, or a request with its `system`."""
    return any(
        _block_types(value) & ANTHROPIC_BLOCKS or ("messages" in value and _list_or_text(value.get("system")))
        for value in _messages_in(head)
    )


def is_responses(head: bytes) -> bool:
    """An item of a Responses list, in a request, in a bare list or on a line; or a request with its `input`."""
    return any(
        as_text(value.get("type")) in RESPONSES_ITEMS
        or _block_types(value) & RESPONSES_TEXTS
        or ("model" in value and "messages" not in value and _list_or_text(value.get("input")))
        for value in _messages_in(head)
    )


def is_openai_chat(head: bytes) -> bool:
    """A message with a role and content, bare or in a list: the least strict of all, so ask it last."""
    return any(
        value.get("role") in CHAT_ROLES and bool({"content", "tool_calls", "tool_call_id"} & value.keys())
        for value in _messages_in(head)
    )


def _messages_in(head: bytes) -> Iterator[dict[str, Any]]:
    """The messages and items on the first bytes of a document or of lines; the last item may be cut."""
    start = decode_stretch(head).lstrip(NO_TEXT)
    if not start.startswith(("[", "{")):
        return
    for record in salvage_records(start, _is_message, is_final=True).records:
        values = [record, *(item for key in LIST_KEYS for item in as_list(record.get(key)))]
        yield from (value for value in values if isinstance(value, dict) and not _is_host_record(value))


def _is_message(value: dict[str, Any]) -> bool:
    return "role" in value or "call_id" in value


def _list_or_text(value: object) -> bool:
    return isinstance(value, list | str) and bool(value)


def _is_host_record(value: dict[str, Any]) -> bool:
    """Whether a record wraps its message, as the logs of hosts do."""
    return "message" in value or "payload" in value or "sessionId" in value


def _block_types(message: dict[str, Any]) -> set[str]:
    if message.get("role") not in CHAT_ROLES:
        return set()
    return {as_text(as_dict(block).get("type")) for block in as_list(message.get("content"))}


def list_holders(data: bytes, list_key: str) -> list[dict[str, Any]]:
    """The document, or the requests a line, as objects that hold a list under this key; messages a line are one list.

    An object from lines is named by the first message of its list: a log of lines grows. Raises `BadTranscript`.
    """
    try:
        document = document_of(data)
    except ValueError:
        pass
    else:
        if isinstance(document, list):
            return [{list_key: document}]
        return _holders_of([as_dict(document)], list_key)
    text = decode_stretch(data)
    found = salvage_records(text, lambda value: _is_message(value) or list_key in value, is_final=True)
    if not found.records or found.torn or not is_blank(text[found.end :]):
        raise BadTranscript("neither a document nor whole lines")
    holders = _holders_of(found.records, list_key)
    return [{"session": document_digest(encode_json(holder[list_key][:1]))} | holder for holder in holders]


def _holders_of(records: list[dict[str, Any]], list_key: str) -> list[dict[str, Any]]:
    """Each request with its answers: those in the request's record, and the messages on the lines behind."""
    holders: list[dict[str, Any]] = []
    for record in records:
        sent = record.get(list_key)
        if isinstance(sent, str) and not _is_message(record):
            sent = [{"role": "user", "content": sent}]
        if isinstance(sent, list):
            answers = [_answers_in(record[name]) for name in ANSWER_KEYS if name in record]
            holders.append(record | {list_key: [*sent, *chain.from_iterable(filter(None, answers))], UNREAD: 0})
            holders[-1][UNREAD] += answers.count(None)
            continue
        if not holders:
            holders.append({list_key: [], UNREAD: 0})
        answer = _answers_in(record)
        holders[-1][list_key] += answer or ()
        holders[-1][UNREAD] += answer is None
    return holders


def _answers_in(value: Any) -> list[Any] | None:
    """The messages or items of a server's answer, in whatever it is wrapped; None for an answer that is not read."""
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}] if value else []
    if isinstance(value, list):
        parts = [_answers_in(part) for part in value]
        return None if None in parts else [message for part in parts for message in part or ()]
    if not isinstance(value, dict):
        return [] if value is None else None
    if _is_message(value) or as_text(value.get("type")) in RESPONSES_ITEMS:
        return [value]
    wrapped = [value[name] for name in ("message", "body", *ANSWER_KEYS) if name in value]
    if wrapped:
        return _answers_in(wrapped[0])
    return [value] if as_text(value.get("type")) else None


def session_of(holder: dict[str, Any], digest: str) -> str:
    """The session that an object with a list belongs to, by the names that loggers use."""
    names = (as_text(holder.get(key)) for key in ("session_id", "conversation_id", "session", "id"))
    return clean_name(next(filter(None, names), "")) or digest


class _WireDocument(DocumentTranscript):
    """What the readers of all APIs share: each session's lists in order, of which the last is the window."""

    list_key = ""

    def _value(self, data: bytes) -> Any:
        return list_holders(data, self.list_key)

    def _segments(self, holder: dict[str, Any]) -> list[Segment]:
        """The segments of one list, with facts. Raises `BadTranscript`."""
        raise NotImplementedError

    def _events(self, document: Any, digest: str) -> Iterator[Event]:
        windows: dict[str, dict[str, Segment]] = {}
        admitted: dict[tuple[str, str], Segment] = {}
        for holder in document:
            if not isinstance(holder.get(self.list_key), list | str):
                raise BadTranscript(f"no list `{self.list_key}` in this document")
            self.records = max(self.records, len(holder[self.list_key]))
            if holder.get(UNREAD):
                self.skipped["answer"] += holder[UNREAD]
            session = session_of(holder, digest)
            if session not in windows:
                yield SessionOpened(session, model=clean_name(as_text(holder.get("model"))))
            windows[session] = {segment.id: segment for segment in self._segments(holder)}
            for segment in windows[session].values():
                known = admitted.get((session, segment.id))
                if known is None or (known.status is Status.PENDING and segment.status is not Status.PENDING):
                    admitted[session, segment.id] = segment
                    yield SegmentAdmitted(session, segment)
        for session, window in windows.items():
            if any(name == session and id_ not in window for name, id_ in admitted):
                slots = tuple((segment.id, place) for place, segment in enumerate(window.values()))
                yield WindowReplaced(session, slots, Departure.HOST_COMPACTED)


class AnthropicDocument(_WireDocument):
    """Logged requests to Anthropic's Messages API, and lists in its shape."""

    source = "anthropic"
    list_key = "messages"

    def _segments(self, holder: dict[str, Any]) -> list[Segment]:
        window = AnthropicMessages().parse(encode_json(holder))
        self.skipped.update(window.skipped)
        return add_facts(window.segments, "")


class ResponsesDocument(_WireDocument):
    """Logged requests to OpenAI's Responses API, and bare lists of its items."""

    source = "openai_responses"
    list_key = "input"

    def _segments(self, holder: dict[str, Any]) -> list[Segment]:
        said = holder[self.list_key]
        items = [{"role": "user", "content": said}] if isinstance(said, str) else said
        window = OpenAiResponses().parse(encode_json(holder | {self.list_key: items}))
        self.skipped.update(window.skipped)
        return add_facts(window.segments, "")


class OpenAiChatDocument(_WireDocument):
    """Logged requests to a server of OpenAI's Chat Completions, and bare lists of its messages."""

    source = "openai_chat"
    list_key = "messages"

    def _segments(self, holder: dict[str, Any]) -> list[Segment]:
        window = OpenAiChat().parse(encode_json(holder))
        self.skipped.update(window.skipped)
        return add_facts(window.segments, "")
