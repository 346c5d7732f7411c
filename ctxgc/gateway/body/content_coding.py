"""Content codings of request bodies: a body is decoded to be read, and an edited body is encoded alike.

    body, coding ──decode_body──▶ plain body, at most `bytes_max`        edited body ──encode_body──▶ the same coding

An unedited body goes on unchanged. An edited body goes out in its agent's coding: the upstream takes that coding, as
the agent's own choice shows, and the upload, the slowest way of all, stays short. Brotli is read where its library is
installed, as the extra `gateway` does. A body may be in several codings, one in the other.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from types import MappingProxyType

import zstandard

try:
    import brotli  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ImportError:
    brotli = None

BROTLI = "br"
READ_CODINGS = frozenset({"zstd", "gzip", "x-gzip", "deflate"} | ({BROTLI} if brotli else set()))
STACKED_MAX = 3
"""Codings of a body, one in the other: no client has more, and each costs the time of another pass."""

_ZLIB, _GZIP, _RAW = zlib.MAX_WBITS, zlib.MAX_WBITS | 16, -zlib.MAX_WBITS
_WINDOW_BITS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (_ZLIB, _RAW)}
)
"""Containers under each name, in the order in which they are tried: some clients call raw deflate `deflate`."""
_LEVEL = 1
"""The fastest level: the time to compress is time that the agent waits."""
_STEP_BYTES = 2**20


class BadCoding(Exception):
    """A body in another coding than the headers name."""


class BodyTooLong(Exception):
    """A body that is longer than the bound, once decoded."""


def body_coding(header: str) -> str | None:
    """The codings of a body by `content-encoding`, in the order of application: `gzip,zstd`.

    Empty for a plain body; `None` for a body that cannot be read here.
    """
    names = [name.strip() for name in header.lower().split(",")]
    codings = [name for name in names if name not in ("", "identity")]
    return ",".join(codings) if len(codings) <= STACKED_MAX and READ_CODINGS.issuperset(codings) else None


def decode_body(body: bytes, coding: str, bytes_max: int) -> bytes:
    """The plain body. Raises `BadCoding`, and `BodyTooLong` as soon as the bound is passed."""
    for name in reversed(coding.split(",") if coding else ()):
        body = _undo_coding(body, name, bytes_max)
    return body


def encode_body(body: bytes, coding: str) -> bytes:
    """The body in a coding that `decode_body` has read before."""
    for name in coding.split(",") if coding else ():
        body = _apply_coding(body, name)
    return body


def _undo_coding(body: bytes, coding: str, bytes_max: int) -> bytes:
    if coding == "zstd":
        return _decode_zstd(body, bytes_max)
    if coding == BROTLI and brotli:
        return _decode_brotli(body, bytes_max)
    for bits in _WINDOW_BITS.get(coding, ()):
        try:
            return _decode_zlib(body, bits, bytes_max)
        except zlib.error:
            continue
    raise BadCoding(f"the body is not in the coding {coding[:40]!r}")


def _apply_coding(body: bytes, coding: str) -> bytes:
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=_LEVEL).compress(body)
    if coding == BROTLI and brotli:
        return bytes(brotli.compress(body, quality=_LEVEL))
    if coding in _WINDOW_BITS:
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[coding][0])
        return packer.compress(body) + packer.flush()
    return body


def _decode_zstd(body: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True)
        while part := reader.read(min(_STEP_BYTES, bytes_max + 1 - size)):
            size += len(part)
            if size > bytes_max:
                raise BodyTooLong(f"the body is longer than {bytes_max} bytes once decoded")
            parts.append(part)
    except zstandard.ZstdError as fault:
        raise BadCoding("the body is not in the coding 'zstd'") from fault
    if not parts:
        raise BadCoding("the body ends before its first byte in the coding 'zstd'")
    return b"".join(parts)


def _decode_brotli(body: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    stream = brotli.Decompressor()
    try:
        part = stream.process(body, output_buffer_limit=_STEP_BYTES)
        while part:
            size += len(part)
            if size > bytes_max:
                raise BodyTooLong(f"the body is longer than {bytes_max} bytes once decoded")
            parts.append(part)
            part = b"" if stream.is_finished() else stream.process(b"", output_buffer_limit=_STEP_BYTES)
    except brotli.error as fault:
        raise BadCoding("the body is not in the coding 'br'") from fault
    if not stream.is_finished():
        raise BadCoding("the body ends before its end in the coding 'br'")
    return b"".join(parts)


def _decode_zlib(body: bytes, bits: int, bytes_max: int) -> bytes:
    """Each member of the body, in order, as gzip allows. Raises `zlib.error`."""
    parts: list[bytes] = []
    size, rest = 0, body
    while rest:
        member = zlib.decompressobj(bits)
        part = member.decompress(rest, bytes_max + 1 - size)
        size += len(part)
        if size > bytes_max:
            raise BodyTooLong(f"the body is longer than {bytes_max} bytes once decoded")
        if not member.eof:
            raise zlib.error("the body ends within a member")
        parts.append(part)
        rest = member.unused_data
    return b"".join(parts)
