"""Secrets that addresses and headers hold: `user:password@host`, webhooks, `Authorization`, `Cookie`, signatures.

`@`, `hook`, `auth`, `cookie`, `sig=` ──▶ anchored expression ──▶ value ──judge──▶ span
"""

from __future__ import annotations

import base64
import binascii
import re

from ctxgc.core.redaction.secret_span import NO_SECRET, Outcome, SecretSpan, single_secret
from ctxgc.core.redaction.secret_values import (
    is_placeholder,
    is_strong_password,
    looks_like_code_or_path,
    looks_like_password,
    looks_random,
)

COOKIE_CHARS_MIN = 8
LONG_VALUE_CHARS = 256
"""A longer value is judged once, however many names stand in it."""
USER_CHARS_MAX = 200
"""Of `user:password` before an `@`."""
URL_CHARS_MAX = 400
"""Of a URL before its `@`."""
HOST_CHARS_MAX = 128
"""Of a webhook's address before the word that tells it."""
NAME_CHARS_MAX = 40

_URL = re.compile(
    rb"://(?=[^\s/\"'`<>\\]{0,256}@|hooks\.|[a-z.]*discord|[a-z0-9.-]+\.webhook\.|open\.(?:feishu|larksuite)\.)"
    rb"|://(?=[^\s/@:]{0,128}:[^\s@\"'`<>]{1,256}@)"
)
_URL = re.compile(
    rb""":/{1,2}[^\s/:@"'`<>\\]{0,128}:(?![0-9]{1,5}[/?#])([^\s"'`<>\\]{1,256}?)@(?!sha256:)"""
    rb"""(?=[\[A-Za-z0-9$_{][\w.:\[\]${}-]{0,128}+(?!@))"""
)
_URL_USER = re.compile(rb":/{1,2}([A-Za-z0-9_.-]{16,255}+)(?::(?:x-oauth-basic|x-token-auth)?)?@[A-Za-z0-9]")
_HOOK = re.compile(
    rb":/{1,2}(?:hooks\.slack\.com/(?:services|workflows|triggers)/|(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks/[0-9]+/"
    rb"|[a-z0-9.-]+\.webhook\.office\.com/webhookb2/|hooks\.zapier\.com/hooks/catch/"
    rb"|open\.(?:feishu\.cn|larksuite\.com)/open-apis/bot/v2/hook/)([A-Za-z0-9+/_@.%-]{16,400})"
)
AT_SIGN = re.compile(rb"@(?<=[^\s(\"'][^\s(\"']@)")
_DSN = re.compile(rb"[^\s:@\"'`/]{1,64}:([^\s\"'`]{1,128})$")
_SCHEME_END = b":/"
"""A path that is a URL has lost one of its two slashes."""
_HOST = re.compile(rb"(?:[A-Za-z][\w-]*(?:\.[\w-]+)*|[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?![\w@])")
_USER_AT_HOST = re.compile(rb"(?:^|[\s\"'=(,`/])(?:[\w.-]{1,64}[/\\])?[\w.+-]{1,64}:([^\s:@/\"'`<>\\]{6,64})$")
_ORACLE = re.compile(
    rb"(?:thin:|(?:sqlplus|impdp|expdp|rman[ ]target|exp|imp|sqlldr)[ ]{1,4}(?:-\w{1,8}[ ]){0,3})"
    rb"[\"']?[\w$.]{1,64}/([^\s@/\"'\\]{3,128})$"
)

AUTHORIZATION = re.compile(
    rb"""uth(?<=auth)(?:=?[(\[]\\{0,3}["'][^"'\s\\]{1,128}\\{0,3}["'],[ ]{0,4}\\{0,3}["']"""
    rb"""(?P<pair>[^"'\s\\]{1,512})\\{0,3}["']"""
    rb"""|(?:orization)?\\{0,3}["'`]?[ \t]{0,8}(?:[:=]|(?<=["'`]),)[ \t]{0,8}\\{0,3}["'`]?"""
    rb"""(?:digest[ ][^\n]{0,400}?response=\\{0,3}["']?(?P<digest>[0-9a-f]{32,128})(?![0-9a-z])"""
    rb"""|(?:[a-z][a-z0-9-]{1,24}(?:[ \t]|%20){1,8})?(?!credential=)"""
    rb"""(?P<value>[^\s"'`,;\\<>(){}\[\]]{8,4096}+)(?![(\[{]))"""
    rb"""|\\{0,3}"[ ]?:\s{0,16}\{\s{0,16}\\{0,3}"[^"{}\s]{1,80}"[ ]?:[ ]?\\{0,3}"(?P<inner>[^\s"\\]{16,256})"""
    rb"""|[ \t]{1,8}(?P<plain>[^\s"'\\(){}\[\],;:=]{4,256})(?=$|[\s"'\\]))"""
)
_PLAIN_AUTH = re.compile(rb"(?:master|(?:redis|valkey|keydb)-cli[ ][^\n|;]{0,200}[ ])auth[ \t]{1,8}[^\s]+$")
"""Commands in which a word behind `auth` is a password."""
SCHEME = re.compile(rb"b(?:earer|asic)(?:[ \t]|%20){1,8}(?P<value>[a-z0-9._~+/=-]{16,4096}+)")
COOKIE = re.compile(
    rb"""kie(?<=cookie)s?(?:\\{0,3}["'`]?[ \t]{0,8}[:=,]|[ \t](?=[ \t]{0,4}\\{0,3}["']))[ \t]{0,8}\\{0,3}["'`]?"""
    rb"""((?:[^\s=;,:"'`\\(){}<>]{1,128}=[^\s;"'`\\(){}<>]{0,4096};?[ \t]{0,4}){1,64})"""
)
_COOKIE_PART = re.compile(rb"([^\s=;]+)=([^\s;]+)")
_COOKIE_NAME = re.compile(rb".*(?:sess|sid|auth|token|csrf|jwt|login|remember)", re.IGNORECASE)
SIGNATURE = re.compile(rb"g(?<=sig)(?:nature)?=([a-z0-9%+/=_-]{20,512})")
CALLBACK = re.compile(rb"code=([a-z0-9._~%/+-]{16,2048})")
_TYPE_NAME = re.compile(rb"::\w*$")


def find_webhook_secret(data: bytes, lowered: bytes, found: re.Match[bytes]) -> Outcome:
    """The part of a webhook's address that makes the address a secret."""
    start = data.rfind(_SCHEME_END, max(0, found.start() - HOST_CHARS_MAX), found.start())
    hook = _HOOK.match(data, start) if start >= 0 else None
    return single_secret(*hook.span(1), "webhook_url") if hook else NO_SECRET


def find_password_before_at_sign(data: bytes, lowered: bytes, found: re.Match[bytes]) -> Outcome:
    """The password before an `@`: of an address with a scheme or without, of a driver, and of Oracle."""
    at = found.start()
    start = data.rfind(_SCHEME_END, max(0, at - URL_CHARS_MAX), at)
    if start >= 0 and (outcome := _find_url_password(data, start)) is not NO_SECRET:
        return outcome
    start = max(0, at - USER_CHARS_MAX)
    before = data[start:at]
    match: re.Match[bytes] | None = None
    if lowered.startswith(b"@tcp(", at):
        match = _DSN.search(before)
        is_secret = match is not None and not is_placeholder(match[1])
    elif match := _ORACLE.search(before):
        is_secret = not is_placeholder(match[1])
    elif b":" in before[-64:] and _HOST.match(data, at + 1):
        match = _USER_AT_HOST.search(before)
        is_secret = match is not None and is_strong_password(match[1])
    return single_secret(start + match.start(1), at, "url_password") if match and is_secret else NO_SECRET


def _find_url_password(data: bytes, at: int) -> Outcome:
    """The password of a URL, or the token in its user's place."""
    user = _URL_USER.match(data, at)
    if user and looks_random(user[1]):
        return single_secret(*user.span(1), "url_password")
    match = _URL.match(data, at)
    return NO_SECRET if match is None or is_placeholder(match[1]) else single_secret(*match.span(1), "url_password")


def find_authorization(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The secret of a header, or of a pair of user and password in a call."""
    name = match.lastgroup
    assert name is not None
    start, end = match.span(name)
    value = data[start:end]
    if _TYPE_NAME.search(lowered, max(0, match.start() - NAME_CHARS_MAX), match.start()):
        return NO_SECRET
    if name == "pair":
        is_secret = looks_like_password(value, is_literal=True)
    elif name == "plain":
        is_secret = (
            not is_placeholder(value)
            and _PLAIN_AUTH.search(lowered, max(0, start - URL_CHARS_MAX), match.end()) is not None
        )
    else:
        is_secret = name == "digest" or (
            not looks_like_code_or_path(value) and (looks_random(value) or _is_base64_user_password(value))
        )
    return (
        single_secret(start, end, "authorization") if is_secret else ([], end if len(value) > LONG_VALUE_CHARS else 0)
    )


def _is_base64_user_password(value: bytes) -> bool:
    """Whether base64 holds `user:password`, as Basic authorization and docker's settings keep it."""
    try:
        text = base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return b":" in text[1:-1] and text.isascii() and all(32 <= byte < 127 for byte in text)


def find_cookies(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The cookies of a header that open a session."""
    spans = [
        SecretSpan(*part.span(2), "cookie")
        for part in _COOKIE_PART.finditer(data, match.start(1), match.end(1))
        if len(part[2]) >= COOKIE_CHARS_MIN
        and not is_placeholder(part[2])
        and (looks_random(part[2]) or (_COOKIE_NAME.match(part[1]) and not looks_like_code_or_path(part[2])))
    ]
    return spans, 0


def find_signature(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The signature of a signed address."""
    value = data[match.start(1) : match.end(1)]
    at = match.start() - len("si")
    if data[at - 1 : at].isalnum() or not looks_random(value):
        return NO_SECRET
    return single_secret(*match.span(1), "signature")


def find_callback_code(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The code that a login brings back in a query."""
    value = data[match.start(1) : match.end(1)]
    if (
        data[match.start() - 1 : match.start()] not in (b"?", b"&")
        or looks_like_code_or_path(value)
        or not looks_random(value)
    ):
        return NO_SECRET
    return single_secret(*match.span(1), "authorization")
