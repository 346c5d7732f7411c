"""Redaction: credentials leave a text before the text is written.

    bytes ──issued, named──▶ spans ──merge──▶ «redacted:KIND» in their place ──again, until nothing is found──▶ bytes

Pure, deterministic, and idempotent by construction: a redaction has no part that a pattern takes for a secret.
Credentials of an issuer's form are in `issued_secrets`, credentials that the text before them names in `named_secrets`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ctxgc.core.redaction.issued_secrets import find_issued_secrets
from ctxgc.core.redaction.named_secrets import find_named_secrets
from ctxgc.core.redaction.secret_span import SecretSpan

NAME_BYTES_MIN = 6
"""No credential is shorter, its name or its issuer's prefix included."""
REDACTION_START = "«redacted:"
"""The start of a redaction, the text that stands in a secret's place."""
_START = REDACTION_START.encode()
_END = "»".encode()
REDACTION_BYTES_MAX = 64
"""No redaction is longer."""
NUMBER_MIN = 100_000
"""No shorter number is a password."""
ARGUMENTS_BYTES_MAX = 65_536
"""Of a list of arguments that is read as a line too: no system starts a command with many more."""
TITLE_NAMES = ("name", "key", "Name", "element")
TITLED_NAMES = ("value", "Value", "text")
"""Members of an object whose value has its name in another member: variables, and what is typed into a form."""
COMMAND_NAMES = ("command", "cmd", "program", "executable", "file")
ARGUMENT_NAMES = ("args", "arguments", "argv", "params")
"""A command in one member of an object and its arguments in another."""
BASE_ID_CHARS_MAX = 480
"""Of a call id in a segment's id: with an ordinal or a digest behind it the id has to fit a name of the protocol."""
BASE_ID_ROUNDS_MAX = 8
"""A cut to the bound may leave half a redaction, which is judged again."""
_ENDS = ("~2", "~98765", "~8f3a2c9d71e6b04f~1")
"""Ends of ids: an ordinal, a long one, and a digest's with an ordinal. The last reads as a secret wherever any does."""


def redact(data: bytes) -> tuple[bytes, int]:
    """`data` with each secret replaced by `«redacted:KIND»`, and how many were.

    The same object if there was none. Every pass removes bytes that no later pass can find again, so it ends;
    linear in each pass.
    """
    count = 0
    while spans := find_secrets(data):
        data = _replace_spans(data, spans)
        count += len(spans)
    return data, count


def redact_text(text: str) -> str:
    """A name, a path, a title or a command without secrets. The same object if there was none."""
    if len(text) < NAME_BYTES_MIN:
        return text
    data, count = redact(_encode_text(text))
    return _decode_text(data) if count else text


def redact_base_id(id_: str) -> str:
    """An id that takes ordinals, without secrets: with any ordinal behind it too, no pattern finds a secret in it.

    `secret:~11` reads as a value that a name is given. Empty where no such id was found.
    """
    for _ in range(BASE_ID_ROUNDS_MAX):
        base = redact_text(id_)[:BASE_ID_CHARS_MAX]
        for end in _ENDS:
            base = redact_text(base + end).removesuffix(end)[:BASE_ID_CHARS_MAX]
        if base == id_:
            return base
        id_ = base
    return ""


def redact_texts(texts: Iterable[str]) -> list[str]:
    """Each text as `redact_text` has it; many short clean texts cost one search."""
    texts = list(texts)
    joined = "\n".join(texts)
    return texts if not find_secrets(_encode_text(joined)) else list(map(redact_text, texts))


def redactions_by_secret(text: str) -> dict[str, str]:
    """The redaction of each secret of a text, by the secret, for names that repeat words of the text."""
    data = _encode_text(text)
    found = {_decode_text(data[span.start : span.end]): f"{REDACTION_START}{span.kind}»" for span in find_secrets(data)}
    return {secret: redaction for secret, redaction in found.items() if len(secret) >= NAME_BYTES_MIN}


def find_secrets(data: bytes) -> list[SecretSpan]:
    """Where secrets lie, in order and without overlap; where two overlap, the earlier names the whole."""
    return _merge_spans(
        [span for span in find_issued_secrets(data) + find_named_secrets(data) if not _is_redaction(data, span)]
    )


def redact_json(document: bytes) -> tuple[bytes, int]:
    """A JSON document without secrets in its strings and names, and how many were; the syntax stays.

    A document that nobody can parse is redacted as text. The same object if there was no secret.
    """
    try:
        value, count = redact_json_value(json.loads(document))
    except (ValueError, RecursionError):
        return redact(document)
    if not count:
        return document, 0
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(), count
    except UnicodeEncodeError:  # A lone surrogate is no UTF-8; a skeleton holds it as an escape.
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), count


def redact_json_value(value: Any, name: str = "") -> tuple[Any, int]:
    """A JSON value without secrets, and how many were. `name` is what the value is the value of."""
    if isinstance(value, str):
        return _redact_named_value(value, name)
    if isinstance(value, list):
        value, count = _redact_arguments(value)
        before = [part if isinstance(part, str) and part.startswith("-") else name for part in ["", *value]]
        parts = [redact_json_value(part, option) for part, option in zip(value, before, strict=False)]
        return [part for part, _ in parts], count + sum(found for _, found in parts)
    if isinstance(value, dict):
        return _redact_object(value)
    if type(value) is int and value >= NUMBER_MIN and name:
        text, count = _redact_named_value(str(value), name)
        return (text, count) if count else (value, 0)
    return value, 0


def _redact_arguments(parts: list[Any], command: str = "") -> tuple[list[Any], int]:
    """A list of a command's arguments, read as the line that the list stands for."""
    if len(parts) + bool(command) < 2 or not all(isinstance(part, str) for part in parts):
        return parts, 0
    texts = list(map(_encode_text, [command, *parts]))
    spans = find_secrets(b" ".join(texts)[:ARGUMENTS_BYTES_MAX])
    cleaned: list[str] = []
    count = at = 0
    for text in texts:
        own = [s._replace(start=s.start - at, end=s.end - at) for s in spans if at <= s.start < s.end <= at + len(text)]
        cleaned.append(_decode_text(_replace_spans(text, own)) if own else _decode_text(text))
        count += len(own)
        at += len(text) + 1
    return (cleaned[1:], count) if count else (parts, 0)


def _redact_object(value: dict[str, Any]) -> tuple[dict[str, Any], int]:
    title = next((value[name] for name in TITLE_NAMES if isinstance(value.get(name), str)), "")
    if isinstance(value.get("element"), str) and "password" in title.lower():
        title = "password"  # `Password field` of a form.
    command = next((value[name] for name in COMMAND_NAMES if isinstance(value.get(name), str)), "")
    cleaned: dict[str, Any] = {}
    count = 0
    for name, part in value.items():
        if command and name in ARGUMENT_NAMES and isinstance(part, list):
            part, found = _redact_arguments(part, command)
            count += found
        clean_part, found = redact_json_value(part, title if title and name in TITLED_NAMES else name)
        clean_name = redact_text(name)
        if clean_name is not name:
            found += 1
            clean_name = _unused_name(clean_name, value.keys() | cleaned.keys())
        cleaned[clean_name] = clean_part
        count += found
    return cleaned, count


def _unused_name(name: str, names: Iterable[str]) -> str:
    """The name, or the name with an ordinal: two secrets are two names of an object."""
    number, names = 1, set(names)
    while (numbered := name if number == 1 else f"{name}~{number}") in names:
        number += 1
    return numbered


def _redact_named_value(text: str, name: str) -> tuple[str, int]:
    """A string of an object: its name tells of it as a name in a text does."""
    data, count = redact(_encode_text(text))
    if name and data and b"\n" not in data:
        joint = b" " if name.startswith("-") else b": "
        head = _encode_text(name) + joint
        whole, found = redact(head + data)
        if found and whole.startswith(head):
            data, count = whole[len(head) :], count + found
    return (_decode_text(data) if count else text), count


def _is_redaction(data: bytes, span: SecretSpan) -> bool:
    """Whether a span is a redaction already, whole or its kind: a pattern that took redactions for secrets would never
    end."""
    start = data.rfind(_START, max(0, span.start - REDACTION_BYTES_MAX), span.start + len(_START))
    return start >= 0 and data.find(_END, start, span.end + len(_END)) + len(_END) >= span.end


def _merge_spans(spans: list[SecretSpan]) -> list[SecretSpan]:
    merged: list[SecretSpan] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(span.end, merged[-1].end))
        else:
            merged.append(span)
    return merged


def _replace_spans(data: bytes, spans: list[SecretSpan]) -> bytes:
    parts: list[bytes] = []
    at = 0
    for span in spans:
        parts += (data[at : span.start], f"{REDACTION_START}{span.kind}»".encode())
        at = span.end
    return b"".join((*parts, data[at:]))


def _encode_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
