"""Secrets in an issuer's form: `credential_kinds` searched for at memory speed.

    bytes ──translate──▶ runs of ≥ 20 token characters ──▶ words of each run ──left part?──▶ the whole form

A single expression of all forms would try each form at every byte: 3 MB/s. Every form holds a long run of letters,
digits, `-` and `_`, which `bytes.find` jumps to, and begins at the start of a word of that run: a thousandth of
ordinary text.
"""

from __future__ import annotations

import base64
import binascii
import re

from ctxgc.core.redaction.credential_kinds import CREDENTIAL_KINDS, SHAPES, CredentialKind
from ctxgc.core.redaction.secret_span import SecretSpan
from ctxgc.core.redaction.secret_values import looks_random

RUN_CHARS = 20
"""No issued form has a shorter run; words of ordinary text seldom have a longer run."""
SHAPE_CHARS_MAX = 128
"""The part of a shape that may lie behind its run."""
LEFT_CHARS_MAX = 44
"""A left part with a dot or a slash begins before its run."""

_TOKEN_CLASS = bytes(
    97 if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"-_") else 32 for byte in range(256)
)
_RUN = b"a" * RUN_CHARS
_VARIED = re.compile(rb"[0-9]|[A-Z]{2}[a-z]|[a-z][A-Z]{2}|[A-Z][a-z][A-Z]|[A-Z]{12}")
"""A feature of random text that most names lack: a digit, or capitals side by side."""
_WORD = re.compile(rb"[A-Za-z0-9]+")
_JOINTS = frozenset(b".:~|!$/")
"""Signs between a left part and its run."""
_SLASH, _BEFORE_SLASH = ord("/"), (b"/", b"0")
_GLUE = frozenset(b"\\%[;")
"""Signs that may have a letter of their own before the word."""
_PLAIN_BEFORE = frozenset((b'"', b"'", b" ", b"\n", b"=", b","))
_PLAIN_AFTER = frozenset((b'"', b"'", b" ", b"\n", b",", b")", b"(", b";"))
"""Signs that join a run to no other run."""
_AZURE_SIGNATURE = b"JQQJ99"
_AFTER_COLOUR = re.compile(rb"[0-9]{0,3}m")
_HEAD_CHARS = 2
"""Characters of a left part that choose the forms to try."""


def _forms_by_head() -> dict[bytes, list[tuple[CredentialKind, re.Pattern[bytes]]]]:
    forms: dict[bytes, list[tuple[CredentialKind, re.Pattern[bytes]]]] = {}
    for kind in CREDENTIAL_KINDS:
        for left in kind.left.split():
            form = re.compile(f"{re.escape(left)}({kind.right})".encode())
            forms.setdefault(left[:_HEAD_CHARS].encode(), []).append((kind, form))
    return forms


_FORMS = _forms_by_head()
_PROOF_CHARS = 5
_PROOFS = tuple(
    left.encode()
    for kind in CREDENTIAL_KINDS
    if not kind.must_look_random
    for left in kind.left.split()
    if len(left) >= _PROOF_CHARS and left[-1] in "-_"
)
"""Left parts that no word begins with: what follows may be letters alone."""
_SHAPES = [(kind, hint.encode(), re.compile(f"(?<![A-Za-z0-9])(?:{form})".encode())) for kind, hint, form, _ in SHAPES]
_EXAMPLE = b"EXAMPLE"
"""The end of the keys in the documentation of AWS."""

_PACKED_KEY_CHARS = 64
_JWT = re.compile(rb"eyJ[\w-]{8,}+\.(?:eyJ)?[\w-]{8,}+\.[\w-]{10,}+(?:\.[\w-]{10,}+){0,2}")
_KEY_HEAD = rb"-{4,5} ?BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
_KEY_TAIL = rb"-{4,5} ?END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
# Base64 and what languages and tools put around its lines. Code that only names head and tail has brackets between
# them, and no line of base64 near the head.
_KEY_BODY = (
    rb"(?=(?:[^-]|-(?!-{3,4} ?BEGIN )){0,300}?[A-Za-z0-9+/]{40})"
    rb"""(?:[A-Za-z0-9+/=\s\\:,.|>"'\xe2\x86\x92]|-(?!-{3,4} ?(?:BEGIN|END) )){0,16384}+"""
)
_PRIVATE_KEYS = (
    re.compile(_KEY_HEAD + _KEY_BODY + _KEY_TAIL),
    # Cut off before its end: the lines of base64 after the head, with whatever a tool puts before each.
    re.compile(_KEY_HEAD + rb"(?:[^-]{0,24}?[A-Za-z0-9+/=]{40,}+){1,400}"),
)
_ROWS_BEFORE_TAIL = re.compile(
    rb"[^-(){}\[\]]{0,104}?[A-Za-z0-9+/=]{40,}+(?:[^-(){}\[\]]{0,24}?[A-Za-z0-9+/=]{40,}+){0,400}"
)
"""Read backwards from a tail whose head was cut off."""
_TAIL = re.compile(_KEY_TAIL)
_ROWS_CHARS_MAX = 16_384
_JENKINS_SECRET = re.compile(rb"\{AQAA[A-Za-z0-9+/]{20,4096}={0,2}\}")
_AWS_SECRET = re.compile(rb"""[\\"'\s,;:|/]{1,16}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])""")
"""A secret of AWS has no form but its length; beside its id it is one."""
_STATIC_KEY = re.compile(rb"BEGIN OpenVPN Static key V1-{4,5}((?:\s|\\[nr]|[0-9a-f]){32,2048})")
_PUTTY_KEY = re.compile(rb"Private-Lines: [0-9]{1,4}\s{1,4}([A-Za-z0-9+/=\s]{40,16384}+)")
_HASH = re.compile(
    rb"\$(?:2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}|(?:apr1|[156]|y|7)\$[^\s$:]{1,64}(?:\$[^\s$:]{1,64})?\$[./A-Za-z0-9]{22,}"
    rb"|argon2(?:id?|d)\$v=[0-9]+\$[^\s$]{4,64}\$[A-Za-z0-9+/]{8,}\$[A-Za-z0-9+/]{16,}"
    rb"|ANSIBLE_VAULT;[0-9.]{1,8};AES256(?:;[\w.-]{1,64})?((?:(?:\s|\\[nr]){1,24}[0-9a-f]{16,}+){1,4096}+))"
)


def find_issued_secrets(data: bytes) -> list[SecretSpan]:
    """Secrets that their own form shows, in no order. Linear; about 200 MB/s on code."""
    spans: list[SecretSpan] = []
    classes = data.translate(_TOKEN_CLASS)
    at, before = classes.find(_RUN), 0
    while at >= 0:
        end = classes.find(b" ", at + RUN_CHARS)
        end = len(data) if end < 0 else end
        run = data[at:end]
        if run.isalnum() and run[:_HEAD_CHARS] not in _FORMS and _AZURE_SIGNATURE not in run:
            # One word, a digest as a rule: no form begins in it, and what lies around it joins it to none.
            is_plain = data[at - 1 : at] in _PLAIN_BEFORE and data[end : end + 1] in _PLAIN_AFTER
        else:
            # `snake_case` is told without the engine, which is half of the work on code.
            is_plain = run.islower() and run.replace(b"_", b"").isalpha()
        if not is_plain and (_VARIED.search(run) or run.startswith(_PROOFS)):
            start = at
            if at and data[at - 1] in _JOINTS and (data[at - 1] != _SLASH or data[at - 2 : at - 1] in _BEFORE_SLASH):
                start = max(before, at - LEFT_CHARS_MAX)
            _search_token_run(data, start, at, end, spans)
        before, at = end, classes.find(_RUN, end)
    if b"PRIVATE KEY" in data:
        for pattern in _PRIVATE_KEYS:
            spans += [SecretSpan(*match.span(), "private_key") for match in pattern.finditer(data)]
        spans += _keys_without_head(data)
    if b"BEGIN OpenVPN" in data:
        spans += [SecretSpan(*match.span(1), "private_key") for match in _STATIC_KEY.finditer(data)]
    spans += [SecretSpan(*match.span(), "jenkins_secret") for match in _JENKINS_SECRET.finditer(data)]
    spans += [SecretSpan(*match.span(1), "private_key") for match in _PUTTY_KEY.finditer(data)]
    for match in _HASH.finditer(data):
        place = match.span(1) if match[1] else match.span()
        spans.append(SecretSpan(*place, "vault_file" if match[1] else "password_hash"))
    return spans


def _keys_without_head(data: bytes) -> list[SecretSpan]:
    spans: list[SecretSpan] = []
    before = 0
    for tail in _TAIL.finditer(data):
        rows = data[max(before, tail.start() - _ROWS_CHARS_MAX) : tail.start()]
        match = _ROWS_BEFORE_TAIL.match(rows[::-1])
        if match:
            spans.append(SecretSpan(tail.start() - match.end(), tail.end(), "private_key"))
        before = tail.end()
    return spans


def _search_token_run(data: bytes, start: int, begin: int, end: int, spans: list[SecretSpan]) -> None:
    window = data[start : end + 1]
    has_words = start != begin or b"-" in window or b"_" in window
    for begun in [word.start() for word in _WORD.finditer(data, start, end)] if has_words else (start,):
        at = _word_start(data, begun) if begun and data[begun - 1] in _GLUE else begun
        if forms := _FORMS.get(data[at : at + _HEAD_CHARS]):
            _match_forms(data, at, forms, spans)
    if start == begin and window[-1:] not in (b".", b":") and b"-us" not in window and _AZURE_SIGNATURE not in window:
        return
    if window.endswith(b".") and (at := data.find(b"eyJ", start, end)) >= 0:
        # The first part of a token reaches to the run's end, so a later `eyJ` of the run would end there too.
        match = _JWT.match(data, at)
        if match:
            spans.append(SecretSpan(*match.span(), "jwt"))
    for name, hint, shape in _SHAPES:
        if hint in window:
            match = shape.search(data, start, end + SHAPE_CHARS_MAX)
            if match and match.start() < end:
                spans.append(SecretSpan(*match.span(), name))


def _match_forms(
    data: bytes, at: int, forms: list[tuple[CredentialKind, re.Pattern[bytes]]], spans: list[SecretSpan]
) -> None:
    for kind, form in forms:
        match = form.match(data, at)
        if match is None or match[0].endswith(_EXAMPLE):
            continue
        if kind.must_look_random and not looks_random(match[1]):
            continue
        if kind.kind == "private_key" and not _is_packed_private_key(match[0]):
            continue
        spans.append(SecretSpan(*match.span(), kind.kind))
        if kind.kind == "aws_key" and (beside := _AWS_SECRET.match(data, match.end())):
            spans.append(SecretSpan(*beside.span(1), "aws_secret"))


def _word_start(data: bytes, at: int) -> int:
    """Where the word really begins: an escape, a percent code or a terminal's colour may be glued to it."""
    before = data[at - 1 : at]
    if before == b"\\":
        return at + 5 if data[at : at + 1] == b"u" else at + 1
    if before == b"%":
        return at + 2
    if before in (b"[", b";"):
        colour = _AFTER_COLOUR.match(data, at)
        return colour.end() if colour else at
    return at


def _is_packed_private_key(value: bytes) -> bool:
    packed = b"".join(value.split())[:_PACKED_KEY_CHARS]
    try:
        return b"PRIVATE KEY" in base64.b64decode(packed[: len(packed) // 4 * 4])
    except binascii.Error:
        return False
