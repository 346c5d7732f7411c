"""The codec of `ctxgc/1`: bytes to requests and back, without a socket, a clock or a loop.

    bytes ──LineSplitter──▶ lines ──Decoder──▶ Request | Batch | Refusal
    bytes ◀── append_result, encode_error, encode_event, encode_gap

A line is decoded alike however the stream was cut. A faulty line becomes a `Refusal` to send back; a refusal that
`closes` is the last line of its connection. Params stay raw JSON: each verb validates its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, cast

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from ctxgc.core.errors import BadLine, BadParams, BadRequest, CtxgcError, FrameTooLarge
from ctxgc.protocol.limits import (
    BAD_LINES_MAX,
    BATCH_MAX,
    DEADLINE_MS_MAX,
    FRAME_BYTES_DEFAULT,
    ID_CHARS_MAX,
    METHOD_CHARS_MAX,
)

NO_PARAMS = Raw(b"{}")
OPEN_BRACE = ord("{")
CHUNK_BYTES_MIN = 4096
"""Smaller reads are merged, so that a client sending single bytes costs its bytes and not an object for each."""
HTTP_LINE = re.compile(rb"[A-Z]{3,10} \S+ HTTP/\d")
TEXT_FIRST_BYTES = frozenset(b"\t\r\n" + bytes(range(0x20, 0x7F)))
WHO_WE_ARE = "this socket speaks ctxgc/1: one JSON-RPC 2.0 object per line"
TRY_PING = """send a line such as {"id":1,"method":"ping"}"""

# Integers beyond 2^53 do not survive the JSON parsers of editors.
Id = Annotated[int, Meta(ge=-(2**53), le=2**53)] | Annotated[str, Meta(max_length=ID_CHARS_MAX)]


class Request(Struct, gc=False, tag_field="jsonrpc", tag="2.0"):
    """A call; without an id a notification, which is executed and never answered."""

    method: Annotated[str, Meta(max_length=METHOD_CHARS_MAX)]
    params: Raw = NO_PARAMS
    id: Id | UnsetType = UNSET
    deadline_ms: Annotated[int, Meta(ge=0, le=DEADLINE_MS_MAX)] | UnsetType = UNSET


class Refusal(Struct, gc=False):
    """The answer to a line that is no request."""

    error: CtxgcError
    id: Id | None = None
    closes: bool = False


class Batch(Struct):
    """A JSON array of calls, to be answered by a single array."""

    items: list[Request | Refusal]


ClientLine = Request | Batch | Refusal


class ErrorData(Struct, omit_defaults=True):
    """`kind` is the stable word, `hint` the next step, `field` the param at fault."""

    kind: str
    retryable: bool | UnsetType = UNSET
    field: str = ""
    hint: str = ""


class ErrorBody(Struct):
    """An error in its form on the wire."""

    code: int
    message: str
    data: ErrorData | UnsetType = UNSET


class Message(Struct, gc=False):
    """A line of the server, in a client's reading: an answer (`id` with `result` or `error`) or an event (`method`)."""

    id: int | str | None = None
    result: Raw | UnsetType = UNSET
    error: ErrorBody | UnsetType = UNSET
    method: str = ""
    params: Raw = NO_PARAMS


class _Answer(Struct, gc=False, tag_field="jsonrpc", tag="2.0"):
    id: int | str | None
    result: Any


class _Failure(Struct, tag_field="jsonrpc", tag="2.0"):
    id: int | str | None
    error: ErrorBody


class _Event(Struct, tag_field="jsonrpc", tag="2.0"):
    method: str
    params: dict[str, Any]


class _EncodedCall(Struct, tag_field="jsonrpc", tag="2.0", omit_defaults=True):
    id: int | str | UnsetType
    method: str
    params: Any
    deadline_ms: int | UnsetType = UNSET


class _AnyId(Struct):
    id: Any = None


_decode_request = msgspec.json.Decoder(Request).decode
_RAWS = msgspec.json.Decoder(Raw)
# An array of four million numbers fits a line: no object must be built for items beyond a batch.
_HEADS = msgspec.json.Decoder(
    msgspec.defstruct("_Head", [(f"item_{i}", Raw, None) for i in range(BATCH_MAX + 1)], array_like=True)
)
_ANY_IDS = msgspec.json.Decoder(_AnyId)
_MESSAGES = msgspec.json.Decoder(Message)
_ENCODER = msgspec.json.Encoder()


class LineSplitter:
    """A stream cut into lines of at most `frame_bytes_max`. After a longer line `is_too_long` is set, for good.

    The start of an unfinished line is kept in its chunks and joined once, at its newline: joining at every read makes
    an 8 MiB line cost 143 ms instead of 0.3.
    """

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_DEFAULT) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._chunks: list[bytes] = []
        self._partial_bytes = 0
        self.is_too_long = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines completed by `data`, without newlines."""
        if self.is_too_long:
            return []
        lines = data.split(b"\n")
        tail = lines.pop()
        if lines and self._chunks:
            lines[0] = b"".join((*self._chunks, lines[0]))
            self._chunks.clear()
            self._partial_bytes = 0
            if len(lines[0]) > self._frame_bytes_max:
                self.is_too_long = True
                return []
        if len(data) > self._frame_bytes_max:
            for number, line in enumerate(lines):
                if len(line) > self._frame_bytes_max:
                    self.is_too_long = True
                    return lines[:number]
        if tail:
            self._buffer_tail(tail)
        return lines

    def _buffer_tail(self, tail: bytes) -> None:
        self._partial_bytes += len(tail)
        if self._partial_bytes > self._frame_bytes_max:
            self.is_too_long = True
            self._chunks.clear()
        elif self._chunks and len(self._chunks[-1]) < CHUNK_BYTES_MIN:
            self._chunks[-1] += tail
        else:
            self._chunks.append(tail)


class Decoder:
    """The server's half: a stream of bytes to requests. Raises on no bytes of a client."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_DEFAULT) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._lines = LineSplitter(frame_bytes_max)
        self._bad_lines_in_row = 0
        self._is_first_read = True
        self._is_first_line = True
        self.is_closed = False

    def feed(self, data: bytes) -> list[ClientLine]:
        """Lines completed by `data`. A line without a newline is never executed."""
        if self.is_closed or not data:
            return []
        if self._is_first_read:
            self._is_first_read = False
            if data[0] not in TEXT_FIRST_BYTES:
                return [self._refuse_and_close(BadLine(WHO_WE_ARE, hint=TRY_PING))]
        decoded: list[ClientLine] = []
        for line in self._lines.feed(data):
            parsed = self._decode_or_refuse_line(line)
            if parsed is not None:
                decoded.append(parsed)
                if self.is_closed:
                    return decoded
        if self._lines.is_too_long:
            text = f"a line is longer than {self._frame_bytes_max} bytes"
            decoded.append(self._refuse_and_close(FrameTooLarge(text, hint="send large text with segment.add_file")))
        return decoded

    def _decode_or_refuse_line(self, line: bytes) -> ClientLine | None:
        try:
            parsed = _parse_line(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._refuse_bad_line(line, error) if line.strip() else None
        self._bad_lines_in_row = 0
        self._is_first_line = False
        return parsed

    def _refuse_bad_line(self, line: bytes, error: Exception) -> Refusal:
        is_first, self._is_first_line = self._is_first_line, False
        if is_first and HTTP_LINE.match(line):
            return self._refuse_and_close(BadLine(WHO_WE_ARE, hint=TRY_PING))
        self._bad_lines_in_row += 1
        if self._bad_lines_in_row >= BAD_LINES_MAX:
            return self._refuse_and_close(
                BadLine(f"{BAD_LINES_MAX} lines in a row were not JSON; {WHO_WE_ARE}", hint=TRY_PING)
            )
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Refusal(BadLine(f"not a line of JSON: {reason}", hint=TRY_PING))

    def _refuse_and_close(self, error: CtxgcError) -> Refusal:
        self.is_closed = True
        return Refusal(error, closes=True)


def _parse_line(line: bytes) -> ClientLine:
    """A client's line, parsed. Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError for a line that is not
    JSON."""
    try:
        if not line.isascii():
            line.decode()  # Skipping over raw params checks escapes, numbers and nesting, but not UTF-8.
        request = _decode_request(line)
        if memoryview(request.params)[0] == OPEN_BRACE:
            return request
        return Refusal(BadParams("params must be an object", field="params"), _valid_id(line))
    except msgspec.ValidationError as error:
        _RAWS.decode(line)  # Raises if the line is not even JSON behind the refused part.
        if not line.lstrip().startswith(b"["):
            return Refusal(BadRequest(f"not a request: {error}", hint=TRY_PING), _valid_id(line))
    items = [item for item in msgspec.structs.astuple(_HEADS.decode(line)) if item is not None]
    if not 1 <= len(items) <= BATCH_MAX:
        return Refusal(BadRequest(f"a batch holds 1 to {BATCH_MAX} requests"))
    return Batch([_decode_batch_item(bytes(item)) for item in items])


def _decode_batch_item(line: bytes) -> Request | Refusal:
    parsed = _parse_line(line)
    return Refusal(BadRequest("a batch holds requests, not batches")) if isinstance(parsed, Batch) else parsed


def _valid_id(line: bytes) -> Id | None:
    """The id in JSON that is no request, if an answer may carry the id."""
    try:
        return cast(Id, msgspec.convert(_ANY_IDS.decode(line).id, Id))
    except (msgspec.DecodeError, RecursionError):
        return None


def append_result(out: bytearray, id: int | str, result: Any) -> None:
    """Append an answer's line to `out`. `bytes` and `Raw` are JSON already; any other value is encoded.

    Raises the exceptions of msgspec for a value that is not JSON (TypeError, a lone surrogate's UnicodeEncodeError),
    and then leaves `out` unchanged.
    """
    if type(result) is bytes:
        result = Raw(result)
    size_before = len(out)
    try:
        _ENCODER.encode_into(_Answer(id, result), out, -1)
    except BaseException:
        del out[size_before:]
        raise
    out += b"\n"


def encode_error(id: int | str | None, error: CtxgcError) -> bytes:
    """An error's line: `code` for JSON-RPC, `data.kind` for programs, `message` and `data.hint` for people."""
    data = ErrorData(error.kind, error.is_retryable, _escape_surrogates(error.field), _escape_surrogates(error.hint))
    return _ENCODER.encode(_Failure(id, ErrorBody(error.number, _escape_surrogates(str(error)), data))) + b"\n"


def join_answers(lines: Sequence[bytes]) -> bytes:
    """The line that answers a batch; nothing where every request was a notification."""
    answers = [line.rstrip(b"\n") for line in lines if line]
    return b"[" + b",".join(answers) + b"]\n" if answers else b""


def encode_event(seq: int, topic: str, params: dict[str, Any]) -> bytes:
    """An event's line."""
    return _ENCODER.encode(_Event("event", {"seq": seq, "topic": topic, **params})) + b"\n"


def encode_gap(first_seq: int, last_seq: int) -> bytes:
    """The line in place of events that are no longer kept."""
    return _ENCODER.encode(_Event("event.gap", {"from": first_seq, "to": last_seq})) + b"\n"


def encode_request(id: int | str | UnsetType, method: str, params: Any, deadline_ms: int | UnsetType = UNSET) -> bytes:
    """A client's line; without an id a notification."""
    return _ENCODER.encode(_EncodedCall(id, method, params, deadline_ms)) + b"\n"


def decode_message(line: bytes) -> Message:
    """A server's line, in a client's reading. Raises msgspec.DecodeError."""
    return _MESSAGES.decode(line)


def _escape_surrogates(text: str) -> str:
    # An error may quote a file name, and file names may hold bytes that are not UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()
