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
