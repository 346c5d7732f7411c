"""Secrets that the text before them names: `password = …`, `Authorization: …`, `user:password@host`, `-u user:pw`.

    bytes ──bytes.find each literal──▶ anchored expression ──▶ value ──judge──▶ span

Code is full of such names, so each value is judged too: a value of a key or token must look random, a value of a
password must be no name, call, path or placeholder. Names are searched in a lower-cased copy, which has the same
offsets and costs less than ignoring case.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from ctxgc.core.issued_secrets import SecretSpan
from ctxgc.core.randomness import is_code, is_placeholder, looks_like_password, looks_random

QUOTED_KEY_CHARS_MIN = 10
BARE_KEY_CHARS_MIN = 16
ENV_KEY_CHARS_MIN = 8
COOKIE_CHARS_MIN = 8
LONG_VALUE_CHARS = 256
"""A longer value is judged once, however many names stand in it."""
LINE_CHARS_MAX = 400
"""Of a command, between its name and its password."""
SHORT_CHARS = 256
"""A text this short is passed over by one expression of all literals, which is slower a byte and needs one call."""
DSN_CHARS_MAX = 200
NAME_CHARS_MAX = 40
MANIFEST_CHARS_MAX = 16_384
"""Around the kind of a manifest."""

_Q = rb"""\\{0,3}["'`]"""
_TYPE = rb":[ \t]{0,8}[a-z][a-z_.|\[\] ]{0,40}="
# What joins a name to its value: signs, a comma between quotes, an attribute, an element's end; spaces alone join an
# option and its value. The value's first characters are looked at here, so that code is passed over without a call.
_JOIN = (
    rb"""(?=[\\"'`\])\s:=!,>%])"""
    rb"(?:(?:"
    + _Q
    + rb")?\]?\)?(?P<before>[ \t]{0,8})(?P<sign>"
    + _TYPE
    + rb"|:=|=>|[=!]==?|=|:|%3d|%3a)(?P<after>[ \t]{0,8})"
    rb"|(?:" + _Q + rb")?[,\s](?:\s|\\[nrt]){0,60}(?:" + _Q + rb")?value(?:" + _Q + rb")?[ \t]{0,4}:[ \t]{0,4}"
    rb"|" + _Q + rb"[ \t]{0,4},[ \t]{0,4}(?=" + _Q + rb")"
    rb"|" + _Q + rb"[ \t]{1,4}(?:value|content)=(?=" + _Q + rb")"
    rb"|>(?=[^\s<>]{6,512}</)"
    rb"|[ \t]{1,4}(?=" + _Q + rb")"
    rb"|(?(option)(?P<spaces>[ \t]{1,4})(?=[^\s-])|(?!)))"
    rb"""(?=[rbfu]?\\{0,3}["'`](?:[^\s"'`]{6}|[a-z]{4} )|[^\s"'`(\[{<$][^\s"'`(\[{<\\]{5})"""
)
_QUOTED = re.compile(
    rb"""[rbfu]?\\{0,3}(?:"([^\s"\\\x00-\x1f\x7f]{1,4096}+)\\{0,3}"|'([^\s'\\\x00-\x1f\x7f]{1,4096}+)\\{0,3}'"""
    rb"""|`([^\s`\\]{1,4096}+)`|["']([a-z]{4}(?: [a-z]{4}){3})["'])"""
)
_BARE = re.compile(rb"""[^\s"'`<>\\\x00-\x1f\x7f]{1,4096}+""")
_SUFFIX = rb"(?!s[^a-z0-9_-])(?P<suffix>[a-z0-9_-]{0,24}+)"


def _assignments(name: bytes, rest: bytes = b"") -> re.Pattern[bytes]:
    """A name that a value is given; the literal comes first, which the engine finds at memory speed."""
    return re.compile(name + rb"(?P<option>(?<=-" + name + rb"))?" + rest + _SUFFIX + _JOIN)


_KEY_WORDS = (
    *(b"api", b"access", b"private", b"account", b"secret", b"signing", b"encryption", b"master", b"auth", b"shared"),
    *(b"storage", b"service", b"webhook", b"admin", b"deploy", b"license", b"preshared", b"app", b"client", b"crypt"),
    *(b"application", b"subscription", b"functions", b"session", b"cipher", b"hmac", b"jwt", b"ssh", b"gpg", b"aes"),
    *(b"?", b"&"),
)
"""What makes a key a secret; a cache key or a primary key is none."""
_NO_VALUE = re.compile(
    rb"(?:.*[_-])?(?:ids?|names?|paths?|files?|filename|ur[il]s?|endpoints?|types?|counts?|len|length|size|limit|index|idx"
    rb"|budget|arn|version|refs?|field|ttl|expir[a-z]*|in|at|ms|digest|fingerprint|kind|policy|usage|max|min|pattern"
    rb"|regex|format|label|title|prompt|hint|rotation|provider|s?manager|mgr|store|scopes?|s)$"
    rb"|(?:ids?|names?|files?|paths?|types?|ur[il]|counts?)$|i[zs]e[a-z_-]*$"
)
"""The end of a name whose value tells of a secret and is none: `token_count`, `secret_name`, `tokenizer`."""
_NETRC = re.compile(rb"login\s{1,40}[^\s/]{1,128}\s{1,40}passw(?:or)?d\s{1,40}([^\s]{3,256})")
_TYPE_NAME = re.compile(rb"::\w*$")
_NO_TOKEN = re.compile(
    rb"::\w*$|(?:next|change|lock|update|client|idempotency|page|pagination|continuation|sync|start|resume|public_?key)"
    rb"[ _-]?$"
)
"""What stands before a name that is a type's, or a token's that opens nothing: of a page, of a repeated request."""
_OPTION = re.compile(rb"(?:^|[\s\"'])--?[a-z0-9-]*-$")

_AT_URL = re.compile(
    rb"://(?=[^\s/\"'`<>\\]{0,256}@|hooks\.|[a-z.]*discord|[a-z0-9.-]+\.webhook\.)|://(?=[^\s/@:]{0,128}:[^\s@\"'`<>]{1,256}@)"
)
_URL = re.compile(
    rb"""://[^\s/:@"'`<>\\]{0,128}:(?![0-9]{1,5}[/?#])([^\s"'`<>\\]{1,256}?)@(?!sha256:)"""
    rb"""(?=[\[A-Za-z0-9$_{][\w.:\[\]${}-]{0,128}+(?!@))"""
)
_URL_USER = re.compile(rb"://([A-Za-z0-9_.-]{16,255}+)(?::x-oauth-basic)?@[A-Za-z0-9]")
_HOOK = re.compile(
    rb"://(?:hooks\.slack\.com/(?:services|workflows|triggers)/|(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks/[0-9]+/"
    rb"|[a-z0-9.-]+\.webhook\.office\.com/webhookb2/|hooks\.zapier\.com/hooks/catch/)([A-Za-z0-9+/_@.%-]{16,400})"
)
_DSN = re.compile(rb"[^\s:@\"'`/]{1,64}:([^\s\"'`]{1,128})$")
_USER_OPTION = re.compile(rb"""-u(?:ser|[ \t=]|(?=["']))[ \t=]{0,4}\\{0,2}["']?[^\s:"'\\]{1,128}:([^\s"'\\]{1,128})""")
_WEB_COMMAND = re.compile(rb"\b(?:curl|wget|https?|xh)\b[^\n]*$")
_PASSWORD_COMMAND = re.compile(
    rb"""\b(?:sshpass|mysql\w*|mariadb\w*|docker[ ]login|podman[ ]login|htpasswd|az[ ]login)\b[^\n|;&]*$"""
)
_PASSWORD_OPTION = re.compile(rb"""-p[ \t=]{0,4}\\{0,2}["']?([^\s"'\\-][^\s"'\\]{2,128})""")
_AUTHORIZATION = re.compile(
    rb"""auth(?:=[(\[]["'][^"'\s]{1,128}["'],[ ]?["'](?P<pair>[^"'\s]{1,512})["']"""
    rb"""|(?:orization)?\\{0,3}["'`]?[ \t]{0,8}(?:[:=]|(?<=["'`]),)[ \t]{0,8}\\{0,3}["'`]?"""
    rb"""(?:(?:bearer|basic|token|apikey|api-key|digest|negotiate|key)(?:[ \t]|%20){1,8})?"""
    rb"""(?P<value>[^\s"'`,;\\<>(){}\[\]]{8,4096}+)(?![(\[{]))"""
)
_PAIR_GROUP = _AUTHORIZATION.groupindex["pair"]
_BEARER, _BASIC = (
    re.compile(scheme + rb"(?:[ \t]|%20){1,8}()([a-z0-9._~+/=-]{16,4096}+)") for scheme in (b"bearer", b"basic")
)
_COOKIE = re.compile(
    rb"""cookies?\\{0,3}["'`]?[ \t]{0,8}[:=,][ \t]{0,8}\\{0,3}["'`]?"""
    rb"""((?:[^\s=;,:"'`\\(){}<>]{1,128}=[^\s;"'`\\(){}<>]{0,4096};?[ \t]{0,4}){1,64})"""
)
_COOKIE_PART = re.compile(rb"([^\s=;]+)=([^\s;]+)")
_COOKIE_NAME = re.compile(rb".*(?:sess|sid|auth|token|csrf|jwt|login|remember)", re.IGNORECASE)
_SIGNATURE = re.compile(rb"sig(?:nature)?=([a-z0-9%+/=_-]{20,512})")
_PHRASES = tuple(
    re.compile(name + rb"\W{1,12}((?:[a-z]{3,8}[ ,]{1,2}){11,23}[a-z]{3,8})") for name in (b"mnemonic", b"phrase")
)
_JWK = re.compile(rb"""\\{0,3}"(?:d|p|q|dp|dq|qi|k)\\{0,3}"[ ]?:[ ]?\\{0,3}"([A-Za-z0-9_-]{20,})""")
_MANIFEST = re.compile(rb"kind\"?: ?\"?secret[\"\s]")
_MANIFEST_LINES = re.compile(rb"^([ ]*)(?:string)?data:[ \t]*\n((?:\1[ ]+[^\n]*\n?)+)", re.MULTILINE | re.IGNORECASE)
_MANIFEST_OBJECT = re.compile(rb"\"(?:string)?data\"[ ]?:\s{0,8}\{([^{}]{0,16384})\}", re.IGNORECASE)
_MANIFEST_VALUE = re.compile(rb":[ \t]+[\"']?([^\s\"',]{4,16384})")


def find_named(data: bytes) -> list[SecretSpan]:
    """Secrets that the text before them names, in no order. Linear; about 100 MB/s on code."""
    lowered = data.lower()
    if len(data) <= SHORT_CHARS and not _ANY.search(lowered):
        return []
    spans: list[SecretSpan] = []
    for rule, secrets_of in _RULES:
        passed_over = 0
        for match in rule.finditer(lowered):
            # A long value that is none is judged once, however many names stand in it.
            if match.start() >= passed_over:
                secrets, passed_over = secrets_of(data, lowered, match)
                spans += secrets
    spans += _manifest_secrets(data, lowered)
    if b'"kty' in data:
        spans += [SecretSpan(*match.span(1), "private_key") for match in _JWK.finditer(data)]
    return spans


Outcome = tuple[list[SecretSpan], int]
"""Secrets, and the end of a long value that is none."""
NOTHING: Outcome = ([], 0)


def _secret(start: int, end: int, kind: str) -> Outcome:
    return [SecretSpan(start, end, kind)], 0


def _password(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    at, suffix = match.start(), match["suffix"]
    if _NO_VALUE.match(suffix):
        return NOTHING
    if lowered.startswith(b"psk", at) and (lowered[at - 1 : at].isalpha() or suffix[:1].isalpha()):
        return NOTHING  # `DeepSkyBlue`
    is_bare_pass = lowered.startswith(b"pass", at) and not lowered.startswith((b"passw", b"passp", b"passc"), at)
    if is_bare_pass and match["sign"] is None and match["spaces"] is None:
        return NOTHING  # ``pass `shape=0` ``
    if is_bare_pass and (suffix[:1].isalpha() or (lowered[at - 1 : at].isalpha() and data[at : at + 1] != b"P")):
        return NOTHING  # `bypass = …`, `passing …`
    start, end, is_literal = _value_of(data, lowered, match)
    if not is_literal and data[start:end].isalpha():
        return NOTHING
    if looks_like_password(data[start:end], is_literal=is_literal):
        return _secret(start, end, "secret")
    return [], end if end - start > LONG_VALUE_CHARS else 0


def _key(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    at = match.start()
    if _NO_VALUE.match(match["suffix"]):
        return NOTHING
    rule = _NO_TOKEN if lowered.startswith(b"token", at) else _TYPE_NAME
    if rule.search(lowered, max(0, at - NAME_CHARS_MAX), at):
        return NOTHING
    if lowered.startswith(b"key", at) and not _is_secret_key(data, lowered, at, match.start("before")):
        return NOTHING
    start, end, is_literal = _value_of(data, lowered, match)
    value = data[start:end]
    if value.isalpha() and len(value) < BARE_KEY_CHARS_MIN:
        return NOTHING
    is_secret = lowered.startswith(b"secret", at) and is_literal and not value.isdigit()
    if is_secret and looks_like_password(value, is_literal=True):
        return _secret(start, end, "secret")
    is_quoted = data[start - 1 : start] in (b'"', b"'", b"`")
    size_min = QUOTED_KEY_CHARS_MIN if is_quoted else ENV_KEY_CHARS_MIN if is_literal else BARE_KEY_CHARS_MIN
    if len(value) >= size_min and not is_code(value) and looks_random(value):
        return _secret(start, end, "secret")
    return [], end if end - start > LONG_VALUE_CHARS else 0


def _is_secret_key(data: bytes, lowered: bytes, at: int, end: int) -> bool:
    before = lowered[max(0, at - 16) : at]
    if before.endswith((b"_", b"-", b" ", b".")):
        if data.startswith(b"KEY", at) and before.endswith(b"_") and data.startswith(b"=", end):
            return True  # An environment's variable.
        before = before[:-1]
    return before.endswith(_KEY_WORDS)


def _value_of(data: bytes, lowered: bytes, match: re.Match[bytes]) -> tuple[int, int, bool]:
    """The place of the value that a name is given, and whether no language reads the value as a name."""
    start, at = match.end(), match.start()
    if match["spaces"] and not _OPTION.search(lowered, max(0, at - LINE_CHARS_MAX), at):
        return start, start, False
    quoted = _QUOTED.match(data, start)
    if quoted is not None:
        assert quoted.lastindex is not None
        return *quoted.span(quoted.lastindex), True
    bare = _BARE.match(data, start)
    if bare is None:
        return start, start, False
    value = bare[0]
    if lowered[at - 1 : at] in (b"?", b"&") or (b"&" in value and b"=" in value.partition(b"&")[2]):
        value = value.partition(b"&")[0]
    value = value.partition(b";")[0] if b";" in value else value
    stripped = value.rstrip(b",)]}")
    sign = match["sign"]
    is_code_line = len(stripped) < len(value) or sign in (b":=", b"==", b"!=", b"===", b"!==", b"=>")
    is_spaced = bool(match["before"]) or (sign == b"=" and bool(match["after"]))
    return start, start + len(stripped), not is_code_line and not is_spaced


def _url(data: bytes, lowered: bytes, found: re.Match[bytes]) -> Outcome:
    at = found.start()
    hook = _HOOK.match(data, at)
    if hook:
        return _secret(*hook.span(1), "webhook_url")
    match = _URL.match(data, at)
    if match:
        return NOTHING if is_placeholder(match[1]) else _secret(*match.span(1), "url_password")
    match = _URL_USER.match(data, at)
    return _secret(*match.span(1), "url_password") if match and looks_random(match[1]) else NOTHING


def _dsn(data: bytes, lowered: bytes, found: re.Match[bytes]) -> Outcome:
    start = max(0, found.start() - DSN_CHARS_MAX)
    match = _DSN.search(data[start : found.start()])
    if match is None or is_placeholder(match[1]):
        return NOTHING
    return _secret(start + match.start(1), found.start(), "url_password")


def _user_option(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    at, value = match.start(), data[match.start(1) : match.end(1)]
    if data[at - 1 : at].isalnum() or is_placeholder(value) or value.isdigit():
        return NOTHING
    is_web = _WEB_COMMAND.search(lowered, max(0, at - LINE_CHARS_MAX), at)
    if is_web or looks_like_password(value, is_literal=True):
        return _secret(*match.span(1), "password")
    return NOTHING


def _password_option(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    at = match.start()
    if not data[at - 1 : at].isspace() or not _PASSWORD_COMMAND.search(lowered, max(0, at - LINE_CHARS_MAX), at):
        return NOTHING
    return _whole(data, lowered, match)


def _whole(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    return NOTHING if is_placeholder(data[match.start(1) : match.end(1)]) else _secret(*match.span(1), "password")


def _authorization(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    assert match.lastindex is not None
    start, end = match.span(match.lastindex)
    value = data[start:end]
    if _TYPE_NAME.search(lowered, max(0, match.start() - NAME_CHARS_MAX), match.start()):
        return NOTHING
    if match.lastindex == _PAIR_GROUP:
        is_secret = looks_like_password(value, is_literal=True)
    else:
        is_secret = not is_code(value) and (looks_random(value) or _is_user_password(value))
    return _secret(start, end, "authorization") if is_secret else ([], end if len(value) > LONG_VALUE_CHARS else 0)


def _is_user_password(value: bytes) -> bool:
    """Whether base64 holds `user:password`, as Basic authorization and docker's settings keep it."""
    try:
        text = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in text[1:-1] and text.isascii() and all(32 <= byte < 127 for byte in text)


def _cookie(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    spans = [
        SecretSpan(*part.span(2), "cookie")
        for part in _COOKIE_PART.finditer(data, match.start(1), match.end(1))
        if len(part[2]) >= COOKIE_CHARS_MIN
        and not is_placeholder(part[2])
        and (looks_random(part[2]) or (_COOKIE_NAME.match(part[1]) and not is_code(part[2])))
    ]
    return spans, 0


def _signature(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    value = data[match.start(1) : match.end(1)]
    if data[match.start() - 1 : match.start()].isalnum() or not looks_random(value):
        return NOTHING
    return _secret(*match.span(1), "signature")


def _phrase(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    return _secret(*match.span(1), "mnemonic")


def _manifest_secrets(data: bytes, lowered: bytes) -> list[SecretSpan]:
    """The values of a Kubernetes Secret: base64 hides no credential."""
    spans: list[SecretSpan] = []
    done = 0
    for kind in _MANIFEST.finditer(lowered):
        if kind.start() < done:
            continue
        start = max(data.rfind(b"\n---", 0, kind.start()), kind.start() - MANIFEST_CHARS_MAX, 0)
        done = data.find(b"\n---", kind.end(), kind.end() + MANIFEST_CHARS_MAX)
        done = min(kind.end() + MANIFEST_CHARS_MAX, len(data)) if done < 0 else done
        for rule, group in ((_MANIFEST_LINES, 2), (_MANIFEST_OBJECT, 1)):
            for block in rule.finditer(data, start, done):
                values = _MANIFEST_VALUE.finditer(data, *block.span(group))
                spans += [SecretSpan(*v.span(1), "secret") for v in values if not is_placeholder(v[1])]
    return spans


_RULES: tuple[tuple[re.Pattern[bytes], Callable[[bytes, bytes, re.Match[bytes]], Outcome]], ...] = (
    (_assignments(b"pass", rb"(?:w(?:or)?d|phrase|code)?"), _password),
    (_assignments(b"pwd"), _password),
    (_assignments(b"psk"), _password),
    (_assignments(b"identified by"), _password),
    (_assignments(b"secret"), _key),
    (_assignments(b"token"), _key),
    (_assignments(b"credential"), _key),
    (_assignments(b"key"), _key),
    (_NETRC, _whole),
    (_AT_URL, _url),
    (re.compile(rb"@tcp\("), _dsn),
    (_USER_OPTION, _user_option),
    (_PASSWORD_OPTION, _password_option),
    (_AUTHORIZATION, _authorization),
    (_BEARER, _authorization),
    (_BASIC, _authorization),
    (_COOKIE, _cookie),
    (_SIGNATURE, _signature),
    (_PHRASES[0], _phrase),
    (_PHRASES[1], _phrase),
)

_ANY = re.compile(
    rb"pass|p[ws][dk]|identified by|secret|token|credential|key|login|://|@tcp|-[up]|auth|bearer|basic|cookie|sig"
    rb"|mnemonic|phrase|kind|kty"
)
"""A literal of each rule."""
