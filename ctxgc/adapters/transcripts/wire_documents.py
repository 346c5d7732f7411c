"""Logged requests of the model APIs that the gateway reads: whole documents, or a request or message a line.

    [messages] │ {messages, system} │ {input, instructions}          one document, one session
    a message a line                                                 the lines are one list
    a request a line       a session by first message, or by name    its last request is the window
    an answer: in its request's record, or on a line behind          the end of that request's list

The content tells a list's API: each API spells a tool's call and result in its own way. Cline and Roo keep their lists
(`api_conversation_history.json`) in the shape of Anthropic's, with native calls or with calls in XML.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, NamedTuple

from ctxgc.adapters.contract import (
    DOCUMENT_BYTES_MAX,
    RESULT_PIECE,
    Event,
    SegmentAdmitted,
    SessionOpened,
    WindowReplaced,
)
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.foreign_blocks import foreign_block_names
from ctxgc.adapters.json_values import as_dict, as_list, as_text, clean_name, encode_json
from ctxgc.adapters.transcripts.json_document import DocumentTranscript, decode_document, document_digest
from ctxgc.adapters.transcripts.jsonl import parse_json_object
from ctxgc.adapters.transcripts.resync import NO_TEXT, decode_stretch, is_blank_stretch, salvage_records
from ctxgc.adapters.transcripts.xml_calls import convert_xml_calls, has_xml_result
from ctxgc.adapters.wire.anthropic_messages import AnthropicMessages
from ctxgc.adapters.wire.openai_chat import OpenAiChat
from ctxgc.adapters.wire.openai_responses import OpenAiResponses
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Departure, Piece, Role, Segment, Status

ANTHROPIC_BLOCKS = frozenset(
    {"tool_use", "tool_result", "thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use", "document"}
)
RESPONSES_ITEMS = frozenset(
    {"function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "local_shell_call",
     "web_search_call", "file_search_call", "mcp_call", "reasoning", "item_reference"}
)  # fmt: skip
RESPONSES_TEXTS = frozenset({"input_text", "output_text", "input_image", "input_file"})
CHAT_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
CHAT_ONLY_ROLES = frozenset({"system", "developer", "tool", "function"})
LIST_KEYS = ("messages", "input")
ANSWER_KEYS = ("response", "output", "choices")
"""Members under which loggers and servers put an answer."""
SESSION_KEYS = ("session_id", "conversation_id", "session")
REQUEST_KEYS = ("request", "request_body", "body", "input", "params", "data")
"""Members under which loggers put a request, as an object or as JSON in a text."""
REQUEST_DEPTH_MAX = 3
"""Of such members in each other."""
UNREAD = "unread_answers"
"""The member of a holder that counts the answers which are not understood."""


def is_anthropic(head: bytes) -> bool:
    """A message of Anthropic's shape with a block that no other API has, or a request with its `system`; or Cline's."""
    messages = list(_head_messages(head))
    roles = {as_text(message.get("role")) for message in messages}
    return any(
        _block_types(value) & ANTHROPIC_BLOCKS or ("messages" in value and _is_list_or_text(value.get("system")))
        for value in messages
    ) or (any(map(has_xml_result, messages)) and roles.isdisjoint(CHAT_ONLY_ROLES))


def is_openai_responses(head: bytes) -> bool:
    """An item of a Responses list, in a request, in a bare list or on a line; or a request with its `input`."""
    return any(
        as_text(value.get("type")) in RESPONSES_ITEMS
        or _block_types(value) & RESPONSES_TEXTS
        or ("model" in value and "messages" not in value and _is_list_or_text(value.get("input")))
        for value in _head_messages(head)
    )


def is_openai_chat(head: bytes) -> bool:
    """A message with a role and content, bare or in a list: the least strict of all, so ask it last."""
    return any(
        as_text(value.get("role")) in CHAT_ROLES and bool({"content", "tool_calls", "tool_call_id"} & value.keys())
        for value in _head_messages(head)
    )


def _head_messages(head: bytes) -> Iterator[dict[str, Any]]:
    """The messages and items on the first bytes of a document or of lines; the last item may be cut."""
    start = decode_stretch(head).lstrip(NO_TEXT)
    if not start.startswith(("[", "{")):
        return
    for record in salvage_records(start, _is_message, is_final=True).records:
        request = next((found for key in LIST_KEYS if (found := find_request(record, key)) is not None), record)
        values = [record, request, *(item for key in LIST_KEYS for item in as_list(request.get(key)))]
        yield from (value for value in values if isinstance(value, dict) and not _is_host_record(value))


def _is_message(value: dict[str, Any]) -> bool:
    return "role" in value or "call_id" in value


def _is_list_or_text(value: object) -> bool:
    return isinstance(value, list | str) and bool(value)


def _is_host_record(value: dict[str, Any]) -> bool:
    """Whether a record wraps its message, as the logs of hosts do."""
    return "message" in value or "payload" in value or "sessionId" in value


def _block_types(message: dict[str, Any]) -> set[str]:
    if as_text(message.get("role")) not in CHAT_ROLES:
        return set()
    return {as_text(as_dict(block).get("type")) for block in as_list(message.get("content"))}


def find_request(record: Any, list_key: str, depth_left: int = REQUEST_DEPTH_MAX) -> dict[str, Any] | None:
    """The request in a logger's record, which may be the record itself; `None` for a record without a list."""
    if isinstance(record, str) and record.startswith("{"):
        record = parse_json_object(record.encode("utf-8", "surrogatepass"))
    if not isinstance(record, dict):
        return None
    if isinstance(record.get(list_key), list) or (isinstance(record.get(list_key), str) and "model" in record):
        return record
    wrapped = (record[key] for key in REQUEST_KEYS if depth_left and key in record and not _is_message(record))
    return next((found for one in wrapped if (found := find_request(one, list_key, depth_left - 1)) is not None), None)


class LoggedRequests(NamedTuple):
    """What a document or a log of lines holds."""

    holders: list[dict[str, Any]]
    """Objects with a list each."""
    is_log: bool = False
    """Records a line: more may follow."""
    torn: int = 0
    """Places of a log that hold no whole record."""
    is_cut: bool = False
    """The last line has no end yet."""


def read_requests(data: bytes, list_key: str) -> LoggedRequests:
    """The document, or the requests a line, as objects that hold a list under this key; messages a line are one list.

    An object from lines is named by the first message of its list: a log of lines grows. A damaged line costs itself.
    Raises `BadTranscript`.
    """
    try:
        document = decode_document(data)
    except ValueError:
        pass
    else:
        if isinstance(document, list):
            return LoggedRequests([{list_key: document}])
        is_line = data.endswith(b"\n") and b"\n" not in data.strip()
        holders = _join_answers_to_requests([as_dict(document)], list_key)
        return LoggedRequests(_name_sessions(holders, list_key) if is_line else holders, is_log=is_line)
    text = decode_stretch(data)
    if "\n" not in text:
        text = text.replace("\r", "\n")  # JSON has no raw carriage return in a string.
    whole = salvage_records(text, lambda _: False, is_final=True).records
    if not whole or text.lstrip(NO_TEXT).startswith("["):
        raise BadTranscript("neither a document nor whole lines")
    has_requests = any(find_request(record, list_key) is not None for record in whole)
    found = salvage_records(
        text, lambda one: find_request(one, list_key) is not None if has_requests else _is_message(one), is_final=True
    )
    rest = text[found.end :]
    named_holders = _name_sessions(_join_answers_to_requests(found.records, list_key), list_key)
    is_cut = not is_blank_stretch(rest) and "\n" not in rest.strip("\n")
    return LoggedRequests(
        named_holders, is_log=True, torn=found.torn + (not is_blank_stretch(rest) and not is_cut), is_cut=is_cut
    )


def _name_sessions(holders: list[dict[str, Any]], list_key: str) -> list[dict[str, Any]]:
    """The holders of a log, each with a session: the holder's own name, or a name by the list's first message."""
    return [{"session": document_digest(encode_json(holder[list_key][:1]))} | holder for holder in holders]


def _join_answers_to_requests(records: list[dict[str, Any]], list_key: str) -> list[dict[str, Any]]:
    """Each request with its answers: those in the request's record, and the messages on the lines behind."""
    holders: list[dict[str, Any]] = []
    for record in records:
        request = find_request(record, list_key)
        if request is not None and not (isinstance(request[list_key], str) and _is_message(record)):
            sent = request[list_key]
            sent = [{"role": "user", "content": sent}] if isinstance(sent, str) else sent
            answers = [_answer_messages(record[name]) for name in ANSWER_KEYS if name in record]
            names = {name: record[name] for name in SESSION_KEYS if name in record}
            holders.append(request | names | {list_key: [*sent, *chain.from_iterable(filter(None, answers))]})
            holders[-1][UNREAD] = answers.count(None)
            continue
        if not holders:
            holders.append({list_key: [], UNREAD: 0})
        answer = _answer_messages(record)
        holders[-1][list_key] += answer or ()
        holders[-1][UNREAD] += answer is None
    return holders


def _answer_messages(value: Any) -> list[Any] | None:
    """The messages or items of a server's answer in any wrapping; `None` for an unreadable answer."""
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}] if value else []
    if isinstance(value, list):
        parts = [_answer_messages(part) for part in value]
        return None if None in parts else [message for part in parts for message in part or ()]
    if not isinstance(value, dict):
        return [] if value is None else None
    if _is_message(value) or as_text(value.get("type")) in RESPONSES_ITEMS:
        return [value]
    wrapped = [value[name] for name in ("message", "body", *ANSWER_KEYS) if name in value]
    if wrapped:
        return _answer_messages(wrapped[0])
    return [value] if as_text(value.get("type")) else None


def _session_id_of_request(holder: dict[str, Any], digest: str) -> str:
    """The session that an object with a list belongs to, by the names that loggers use."""
    names = (as_text(holder.get(key)) for key in (*SESSION_KEYS, "id"))
    return clean_name(next(filter(None, names), "")) or digest


def _end_unanswered_calls(segments: list[Segment]) -> list[Segment]:
    """A call that the model spoke after has no result to come: an error without output, as in a log."""
    last_turn = max((segment.born_turn for segment in segments if segment.role is Role.ASSISTANT), default=0)
    return [
        replace(segment, body=(*segment.body, Piece(RESULT_PIECE, b"")), status=Status.ERROR)
        if segment.status is Status.PENDING and segment.born_turn < last_turn
        else segment
        for segment in segments
    ]


class _WireDocument(DocumentTranscript):
    """What the readers of all APIs share: each session's lists in order, of which the last is the window."""

    list_key = ""

    def __init__(self, document_bytes_max: int = DOCUMENT_BYTES_MAX) -> None:
        super().__init__(document_bytes_max)
        self._admitted: dict[tuple[str, str], Segment] = {}
        self._opened: set[str] = set()
        self._read_bytes = 0

    def finish(self) -> list[Event]:
        """Read the document, or a log of lines as far as the log has come: events of what is new."""
        if self._size == self._read_bytes:
            return []
        self._read_bytes = self._size
        self.skipped.clear()
        return super().finish()

    def _decode_document(self, data: bytes) -> Any:
        requests = read_requests(data, self.list_key)
        self.is_growing = requests.is_log
        self.skipped.update({"malformed": requests.torn} if requests.torn else {})
        self.skipped.update({"truncated": 1} if requests.is_cut else {})
        return requests.holders

    def _count_foreign_blocks(self, events: list[Event]) -> None:
        self.skipped.update(foreign_block_names(self._admitted.values()))

    def _segments_of_list(self, holder: dict[str, Any]) -> list[Segment]:
        """The segments of one list, with facts. Raises `BadTranscript`."""
        raise NotImplementedError

    def _events_of_document(self, document: Any, digest: str) -> Iterator[Event]:
        windows: dict[str, dict[str, Segment]] = {}
        for holder in document:
            if not isinstance(holder.get(self.list_key), list | str):
                raise BadTranscript(f"no list `{self.list_key}` in this document")
            self.records = max(self.records, len(holder[self.list_key]))
            if holder.get(UNREAD):
                self.skipped["answer"] += holder[UNREAD]
            session = _session_id_of_request(holder, digest)
            if session not in self._opened:
                self._opened.add(session)
                yield SessionOpened(session, model=clean_name(as_text(holder.get("model"))))
            windows[session] = {
                segment.id: segment for segment in _end_unanswered_calls(self._segments_of_list(holder))
            }
            for segment in windows[session].values():
                known = self._admitted.get((session, segment.id))
                if known is None or (known.status is Status.PENDING and segment.status is not Status.PENDING):
                    self._admitted[session, segment.id] = segment
                    yield SegmentAdmitted(session, segment)
        for session, window in windows.items():
            if any(name == session and id_ not in window for name, id_ in self._admitted):
                slots = tuple((segment.id, place) for place, segment in enumerate(window.values()))
                yield WindowReplaced(session, slots, Departure.HOST_COMPACTED)


class AnthropicDocument(_WireDocument):
    """Logged requests to Anthropic's Messages API, and lists in its shape."""

    source = "anthropic"
    list_key = "messages"

    def _segments_of_list(self, holder: dict[str, Any]) -> list[Segment]:
        said = holder[self.list_key]
        messages = convert_xml_calls(said) if isinstance(said, list) else said
        window = AnthropicMessages().parse(encode_json(holder | {self.list_key: messages}))
        self.skipped.update(window.skipped)
        return add_facts(window.segments, "")


class ResponsesDocument(_WireDocument):
    """Logged requests to OpenAI's Responses API, and bare lists of its items."""

    source = "openai_responses"
    list_key = "input"

    def _segments_of_list(self, holder: dict[str, Any]) -> list[Segment]:
        said = holder[self.list_key]
        items = [{"role": "user", "content": said}] if isinstance(said, str) else said
        window = OpenAiResponses().parse(encode_json(holder | {self.list_key: items}))
        self.skipped.update(window.skipped)
        return add_facts(window.segments, "")


class OpenAiChatDocument(_WireDocument):
    """Logged requests to a server of OpenAI's Chat Completions, and bare lists of its messages."""

    source = "openai_chat"
    list_key = "messages"

    def _segments_of_list(self, holder: dict[str, Any]) -> list[Segment]:
        window = OpenAiChat().parse(encode_json(holder))
        self.skipped.update(window.skipped)
        return add_facts(window.segments, "")
