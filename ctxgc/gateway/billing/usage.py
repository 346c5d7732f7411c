"""The bill of a reply, read on the side while the reply streams past. Sans-I/O: bytes in, numbers out.

    SSE   data: {… "usage": {…} …}      every event with usage; later numbers replace earlier ones, zeros do not
    JSON  {… "usage": {…} …}            at the end of the body

A scanner never delays a byte, keeps at most an event (or a body) and gives up beyond its bound, for good: a reply
without known usage teaches nothing, and does no harm.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ctxgc.gateway.billing.reply_inflater import BadData, ReplyInflater
from ctxgc.gateway.billing.sse import EventStream, data_lines, event_data, split_events

EVENT_BYTES_MAX = 2**20
BODY_BYTES_MAX = 8 * 2**20
PLAIN_BYTES_MAX = 64 * 2**20
"""Decompressed bytes of a reply; beyond them the scanner gives up."""

READABLE = frozenset({"identity", "gzip", "x-gzip", "deflate"})
"""Codings in which a reply's bill can be read."""


_READ_NAMES = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "num_cached_tokens")
"""Names of tokens read from the cache: OpenAI's and Moonshot's, DeepSeek's, that of proxies before Anthropic, and of
vLLM."""
_WRITTEN_NAMES = ("cache_write_tokens", "cache_write_input_tokens", "cache_creation_input_tokens")


class ReplyUsage(NamedTuple):
    """Billed tokens of a reply."""

    input_tokens: int
    """Input tokens that were neither read from the cache nor written to it."""
    cache_read_tokens: int
    cache_creation_tokens: int
    output_tokens: int


class UsageScanner:
    """Reads a reply: `feed` takes the body in any cuts, `take_usage` gives the bill at its end. Never raises."""

    def __init__(self, content_type: str, encoding: str = "") -> None:
        self._events = EventStream(EVENT_BYTES_MAX) if "event-stream" in content_type.lower() else None
        coding = encoding.strip().lower()
        self._inflater = ReplyInflater() if coding in READABLE - {"identity"} else None
        self._is_lost = bool(coding) and coding not in READABLE
        self._body = b""
        self._plain_bytes = 0
        self._counts: dict[str, Any] = {}
        self.calls = 0
        """Tool calls of an Anthropic reply seen so far; the reason to stop counts as another."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""
        if self._is_lost:
            return
        if self._inflater is not None:
            try:
                data = self._inflater.feed(data, PLAIN_BYTES_MAX)
            except BadData:
                self._is_lost = True
                return
        self._plain_bytes += len(data)
        self.calls += data.count(b'"tool_use"')
        if self._events is not None:
            self._read_completed_events(self._events, data)
        else:
            self._body += data
            self._is_lost = len(self._body) > BODY_BYTES_MAX
        if self._is_lost or self._plain_bytes > PLAIN_BYTES_MAX:
            self._is_lost, self._body = True, b""

    def take_usage(self) -> ReplyUsage | None:
        """The bill so far; ask at the end of the body."""
        if not self._is_lost and self._events is not None:
            self._read_event(self._events.take_rest())
        elif not self._is_lost:
            self._read_usage(self._body)
            self._body = b""
        return _normalize_usage(self._counts) if self._counts else None

    def _read_completed_events(self, stream: EventStream, data: bytes) -> None:
        events = stream.feed(data)
        if b'"usage"' in events:  # Most reads hold no usage, and are not even split.
            for event in split_events(events):
                if b'"usage"' in event:
                    self._read_event(event)
        if stream.is_too_long:
            # Some servers write no empty lines: then each line of data is an event.
            self._read_event(stream.take_lines())
        if stream.is_too_long:
            self._is_lost = True
            stream.take_rest()

    def _read_event(self, event: bytes) -> None:
        if not self._read_usage(event_data(event)):
            for line in data_lines(event):
                if b'"usage"' in line:
                    self._read_usage(line)

    def _read_usage(self, data: bytes) -> bool:
        """Take the usage of an event or body; False for bytes that are no JSON."""
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        for holder in _possible_usage_holders(event):
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                _merge_counts(self._counts, usage)
        return True


def _possible_usage_holders(event: Any) -> list[Any]:
    """Parts of an event that may hold usage: the top, Anthropic's message, Responses' response, Groq's part, Moonshot's
    choices."""
    if not isinstance(event, dict):
        return []
    choices = event.get("choices")
    parts = [event.get(name) for name in ("message", "response", "x_groq")]
    return [event, *parts, *(choices if isinstance(choices, list) else ())]


def _merge_counts(counts: dict[str, Any], usage: dict[str, Any]) -> None:
    """Later numbers replace earlier ones. A zero does not: some servers fill a last event with zeros."""
    for key, value in usage.items():
        if isinstance(value, dict):
            under = counts.get(key)
            counts[key] = merged = dict(under) if isinstance(under, dict) else {}
            for name, number in value.items():
                if number or name not in merged:
                    merged[name] = number
        elif value or (key not in counts and value is not None):
            counts[key] = value


def _normalize_usage(counts: dict[str, Any]) -> ReplyUsage | None:
    """The bill under common names. OpenAI's dialects count tokens read and written as input too; Anthropic does not."""
    if "prompt_tokens" in counts:
        return _normalize_whole_prompt_usage(counts, "prompt_tokens", "completion_tokens")
    if "input_tokens" not in counts:
        return None
    if "input_tokens_details" in counts or "cached_tokens" in counts:
        return _normalize_whole_prompt_usage(counts, "input_tokens", "output_tokens")
    return ReplyUsage(
        _token_count(counts["input_tokens"]),
        _token_count(counts.get("cache_read_input_tokens")),
        _token_count(counts.get("cache_creation_input_tokens"))
        or _sum_cache_creation_tokens(counts.get("cache_creation")),
        _token_count(counts.get("output_tokens")),
    )


def _normalize_whole_prompt_usage(counts: dict[str, Any], prompt: str, completion: str) -> ReplyUsage:
    """A bill whose prompt counts every token, at any price."""
    details = counts.get(f"{prompt}_details")
    places = [details if isinstance(details, dict) else {}, counts]
    read = max(_token_count(place.get(name)) for place in places for name in _READ_NAMES)
    written = max(_token_count(place.get(name)) for place in places for name in _WRITTEN_NAMES)
    plain = max(_token_count(counts[prompt]) - read - written, 0)
    return ReplyUsage(plain, read, written, _token_count(counts.get(completion)))


def _sum_cache_creation_tokens(creation: Any) -> int:
    """Tokens written for each life of an entry (`ephemeral_5m_input_tokens`); some proxies leave out their sum."""
    return sum(map(_token_count, creation.values())) if isinstance(creation, dict) else 0


def _token_count(value: Any) -> int:
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
