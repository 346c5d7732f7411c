"""A provider's bill as a program has it: the `usage` of a response, or the whole response, of any API."""

from __future__ import annotations

from typing import Any

from ctxgc.client.lists import encode_json_value
from ctxgc.gateway.billing.usage import ReplyUsage, UsageScanner


def reply_usage(usage: Any) -> ReplyUsage | None:
    """The bill in a usage or in a response, dict or object; `None` without one."""
    if usage is None:
        return None
    scanner = UsageScanner("application/json")
    plain = encode_json_value(usage)
    scanner.feed(plain)
    return scanner.take_usage() or _bare_usage(plain)


def _bare_usage(plain: bytes) -> ReplyUsage | None:
    scanner = UsageScanner("application/json")
    scanner.feed(b'{"usage":%b}' % plain)
    return scanner.take_usage()


class StreamUsage:
    """The bill of a streamed reply, from its events as they pass."""

    def __init__(self) -> None:
        self._scanner = UsageScanner("text/event-stream")

    def feed(self, event: Any) -> None:
        """The next event, dict or object. An event that has no JSON tells nothing."""
        try:
            plain = encode_json_value(event)
        except (TypeError, ValueError):
            return
        if b'"usage"' in plain:
            self._scanner.feed(b"data: %b\n\n" % plain)

    def take_usage(self) -> dict[str, int] | None:
        """The bill in the shape of Anthropic's API; `None` where no event told of one."""
        bill = self._scanner.take_usage()
        if bill is None:
            return None
        return {
            "input_tokens": bill.input_tokens,
            "cache_read_input_tokens": bill.cache_read_tokens,
            "cache_creation_input_tokens": bill.cache_creation_tokens,
            "output_tokens": bill.output_tokens,
        }
