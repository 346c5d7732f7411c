"""Header lines on their way through the gateway: to an upstream, and back to an agent."""

from __future__ import annotations

from collections.abc import Iterable, Set

from multidict import CIMultiDict

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def copy_headers(raw: Iterable[tuple[bytes, bytes]], dropped: Set[str]) -> CIMultiDict[str]:
    """Headers in their order and spelling, without the dropped names.

    A name that comes twice keeps its first spelling: the library takes another spelling for a new value. The library
    writes UTF-8 alone, so another value passes as its characters in Latin-1.
    """
    spelling: dict[str, str] = {}
    found: CIMultiDict[str] = CIMultiDict()
    for name, value in raw:
        written = name.decode("latin-1")
        if written.lower() not in dropped:
            found.add(spelling.setdefault(written.lower(), written), _decode_header(value))
    return found


def _decode_header(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
