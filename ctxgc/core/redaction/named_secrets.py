"""Secrets that the text around them names: assignments, commands, headers, addresses, and files of known layouts.

    bytes ──each pattern's literal──▶ anchored expression ──▶ value ──judge──▶ span

Every pattern begins with a literal that the engine finds at memory speed. Names are searched in a lower-cased copy,
which has the same offsets and costs less than ignoring case. The patterns of a family are in a module of their own:
`assigned_secrets`, `command_secrets`, `web_secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ctxgc.core.redaction.assigned_secrets import KEYS, PASSWORDS, find_assigned_key, find_assigned_password
from ctxgc.core.redaction.command_secrets import OPTION_SIGN, PIPE_SIGN, find_option_secret, find_piped_secret
from ctxgc.core.redaction.secret_span import NO_SECRET, Outcome, SecretSpan, single_secret
from ctxgc.core.redaction.secret_values import (
    is_placeholder,
    looks_like_code_or_path,
    looks_like_password,
    looks_random,
)
from ctxgc.core.redaction.web_secrets import (
    AT_SIGN,
    AUTHORIZATION,
    CALLBACK,
    COOKIE,
    SCHEME,
    SIGNATURE,
    find_authorization,
    find_callback_code,
    find_cookies,
    find_password_before_at_sign,
    find_signature,
    find_webhook_secret,
)

SHORT_CHARS = 256
"""A text this short is passed over by one expression of all literals, which is slower a byte and needs one call."""
LOGIN_CHARS_MAX = 500
"""From a user's name to the password of a file of logins."""
JWK_CHARS_MAX = 8192
"""On each side of a key's type."""
HOST_CHARS_MAX = 200
"""Of a line of `.pgpass` before its port."""
MANIFEST_CHARS_MAX = 16_384
"""Around the kind of a manifest."""

_LOGIN = re.compile(rb"""gin(?<=login)(?=[\s\\("'])""")
_NETRC = re.compile(
    rb"login\s{1,40}[^\s/]{1,128}\s{1,40}(?:account\s{1,40}[^\s]{1,128}\s{1,40})?passw(?:or)?d\s{1,40}([^\s\"']{3,256})",
    re.IGNORECASE,
)
_LOGIN_CALL = re.compile(
    rb"""login\(\\{0,3}["'][^"'\s\\]{1,128}\\{0,3}["'],\s{0,8}\\{0,3}["']([^"'\s\\]{3,512})\\{0,3}["']""", re.IGNORECASE
)
_LOGIN_TOKEN = re.compile(rb"""login(?:[ ]{1,4}|["'],\s{0,24})["']?([A-Za-z0-9._-]{16,512})""")
_LOGIN_COMMAND = re.compile(rb"""(?:vault|cargo|npm|hf|huggingface-cli|wandb)(?:[ ]|["'],\s{0,24}["'])$""")
_PGPASS = tuple(
    re.compile(head + rb"""[^\s:/*"']{1,64}:((?:[^\s:\\"',]|\\[:\\]){3,128})(?=\s|$|["']|\\{1,7}[nr])""")
    for head in (rb"432:(?:\*|[^\s:/]{1,64}):", rb":\*:(?:\*:)?")
)
_PGPASS_HEAD = re.compile(rb"(?:^|[\s\"'`/]|\\n|input\.)[\w.*-]{1,100}(?::(?:\*|[0-9]{0,5}|\w{1,63}))?$")
_WORDS = re.compile(
    rb"""phrase["'`]?[ ]?[:=][ ]?["'`]?((?:[a-z]{3,9}[ -]){3,9}[a-z]{3,9})(?=["'`]|[ ]*(?:[\r\n]|\\n|$))"""
)
_PROSE = re.compile(
    rb"\b(?:and|are|because|before|cannot|does|enter|for|from|has|invalid|is|key|not|passphrase|password|please|required|the"
    rb"|this|used?|using|when|which|will|with|without|you|your)\b"
)
"""Words of messages about a passphrase; dice choose none of them for one."""
_MNEMONIC, _PHRASE = (
    re.compile(name + rb"\W{1,12}((?:[a-z]{3,8}[ ,]{1,2}){11,23}[a-z]{3,8})") for name in (b"mnemonic", b"phrase")
)
_PHRASE_SIGN = re.compile(rb"phrase(?=\W)")
_FOREIGN_NAMES = tuple(
    re.compile((name + "[ ]?(?:：|:|=|是|为|は)[ ]{0,4}").encode() + rb"""["'`]?([^\s"'`<>\\]{6,512}+)""")
    for name in ("密(?:码|碼)", "口令", "ароль", "ワード", "비밀번호", "ña")
)
"""The ends of a password's names in Chinese, Russian, Japanese, Korean and Spanish."""
_JWK = re.compile(rb"""\\{0,3}"(?:d|p|q|dp|dq|qi|k)\\{0,3}"[ ]?:[ ]?\\{0,3}"([A-Za-z0-9_-]{20,})""")
_K_WORDS = re.compile(rb"k(?:(?<=hook)|ie(?<=cookie))")
"""Words of two patterns that one search finds: a search costs more than what it finds."""
_JWK_SIGN = re.compile(rb'kty(?<="kty)')
_MANIFEST = re.compile(rb"kind\\{0,3}\"?: ?\\{0,3}\"?secret(?:[\"\s\\]|$)")
_MANIFEST_LINES = re.compile(rb"^([ ]*)(?:string)?data:[ \t]*\n((?:\1[ ]+[^\n]*\n?)+)", re.MULTILINE | re.IGNORECASE)
_MANIFEST_OBJECT = re.compile(rb"\\{0,3}\"(?:string)?data\\{0,3}\"[ ]?:\s{0,8}\{([^{}]{0,16384})\}", re.IGNORECASE)
_MANIFEST_VALUE = re.compile(rb":[ \t]{0,8}\\{0,3}[\"']?([^\s\"',\\]{4,16384})")
_ESCAPED_SPACE = re.compile(rb"\\{1,7}[nrt]")


def find_named_secrets(data: bytes) -> list[SecretSpan]:
    """Secrets that the text around them names, in no order. Linear; about 100 MB/s on code."""
    lowered = data.lower()
    spans: list[SecretSpan] = []
    if not data.isascii():
        for name in _FOREIGN_NAMES:
            spans += [
                SecretSpan(*m.span(1), "secret") for m in name.finditer(data) if _looks_like_password_with_digit(m[1])
            ]
    if len(data) <= SHORT_CHARS and not _ANY.search(lowered):
        return spans
    for pattern, secrets_of in _PATTERNS:
        passed_over = 0
        for match in pattern.finditer(lowered):
            # A long value that is none is judged once, however many names stand in it.
            if match.start() >= passed_over:
                secrets, passed_over = secrets_of(data, lowered, match)
                spans += secrets
    return spans


def _looks_like_password_with_digit(text: bytes) -> bool:
    return any(48 <= byte < 58 for byte in text) and looks_like_password(text, is_literal=True)


def _find_pgpass_password(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The last field of a line of `.pgpass`: `host:port:database:user:password`."""
    value = data[match.start(1) : match.end(1)]
    begun = _PGPASS_HEAD.search(data, max(0, match.start() - HOST_CHARS_MAX), match.start())
    return NO_SECRET if begun is None or is_placeholder(value) else single_secret(*match.span(1), "password")


def _find_login_secret(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The password of a `.netrc`, of a call that logs in, and the token of a command that does."""
    at = match.start() - len("lo")
    if (token := _LOGIN_TOKEN.match(data, at)) and _LOGIN_COMMAND.search(lowered, max(0, at - 48), at):
        is_secret = looks_random(token[1]) and not looks_like_code_or_path(token[1])
        return single_secret(*token.span(1), "password") if is_secret else NO_SECRET
    if call := _LOGIN_CALL.match(data, at):
        is_secret = looks_like_password(call[1], is_literal=True)
        return single_secret(*call.span(1), "password") if is_secret else NO_SECRET
    entry = _NETRC.match(_unescape_spaces(data[at : at + LOGIN_CHARS_MAX]))
    if entry is None or is_placeholder(entry[1]):
        return NO_SECRET
    return single_secret(at + entry.start(1), at + entry.end(1), "password")


def _find_mnemonic(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    return single_secret(*match.span(1), "mnemonic")


def _find_recovery_phrase(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """A phrase of recovery, or a passphrase of dice."""
    if recovery := _PHRASE.match(lowered, match.start()):
        return single_secret(*recovery.span(1), "mnemonic")
    words = _WORDS.match(lowered, match.start())
    return NO_SECRET if words is None or _PROSE.search(words[1]) else single_secret(*words.span(1), "mnemonic")


def _find_webhook_or_cookies(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The secret of a webhook's address, or of cookies."""
    if match[0] == b"k":
        return find_webhook_secret(data, lowered, match)
    cookies = COOKIE.match(lowered, match.start())
    return find_cookies(data, lowered, cookies) if cookies else NO_SECRET


def _unescape_spaces(part: bytes) -> bytes:
    """A part of a text in JSON, with ends of lines and tabs where their escapes are: offsets stay."""
    if b"\\" not in part:
        return part
    return _ESCAPED_SPACE.sub(
        lambda escape: b" " * (len(escape[0]) - 1) + (b" " if escape[0].endswith(b"t") else b"\n"), part
    )


def _find_jwk_members(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The private members of a JSON Web Key."""
    end = data.find(b"}", match.end(), match.end() + JWK_CHARS_MAX)
    end = end if end >= 0 else match.end() + JWK_CHARS_MAX
    start = max(data.rfind(b"{", 0, match.start()), match.start() - JWK_CHARS_MAX, 0)
    members = _JWK.finditer(data, start, end)
    return [SecretSpan(*member.span(1), "private_key") for member in members], end


def _find_manifest_values(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The values of a Kubernetes Secret: base64 hides no credential."""
    start = max(data.rfind(b"\n---", 0, match.start()), match.start() - MANIFEST_CHARS_MAX, 0)
    end = data.find(b"\n---", match.end(), match.end() + MANIFEST_CHARS_MAX)
    end = min(match.end() + MANIFEST_CHARS_MAX, len(data)) if end < 0 else end
    part = _unescape_spaces(data[start:end])
    spans: list[SecretSpan] = []
    for pattern, group in ((_MANIFEST_LINES, 2), (_MANIFEST_OBJECT, 1)):
        for block in pattern.finditer(part):
            values = _MANIFEST_VALUE.finditer(part, *block.span(group))
            places = [value.span(1) for value in values if not is_placeholder(value[1])]
            spans += [SecretSpan(start + first, start + last, "secret") for first, last in places]
    return spans, end


_PATTERNS: tuple[tuple[re.Pattern[bytes], Callable[[bytes, bytes, re.Match[bytes]], Outcome]], ...] = (
    *((pattern, find_assigned_password) for pattern in PASSWORDS),
    *((pattern, find_assigned_key) for pattern in KEYS),
    (_LOGIN, _find_login_secret),
    (_K_WORDS, _find_webhook_or_cookies),
    (AT_SIGN, find_password_before_at_sign),
    (OPTION_SIGN, find_option_secret),
    (PIPE_SIGN, find_piped_secret),
    (AUTHORIZATION, find_authorization),
    (SCHEME, find_authorization),
    (SIGNATURE, find_signature),
    (CALLBACK, find_callback_code),
    *((pattern, _find_pgpass_password) for pattern in _PGPASS),
    (_MNEMONIC, _find_mnemonic),
    (_PHRASE_SIGN, _find_recovery_phrase),
    (_JWK_SIGN, _find_jwk_members),
    (_MANIFEST, _find_manifest_values),
)

_ANY = re.compile(
    rb"pass|pwd?|psk|identified by|secret|token|cred|key|login|hook|@|[ \"'\[-]-[a-z]|auth|bearer|basic|cookie|sig"
    rb"|code=|mnemonic|phrase|kind|kty|432:|:\*:|\|"
)
"""A literal of each pattern."""
