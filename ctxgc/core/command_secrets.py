"""Secrets that a command takes: `mysql -pX`, `redis-cli -a X`, `echo X | docker login --password-stdin`.

    bytes ──bytes.find each command──▶ its line to the option ──▶ value that is no placeholder ──▶ span

A list of arguments in JSON reads as the line does: the joint of two arguments is a space, or a comma between quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ctxgc.core.issued_secrets import SecretSpan
from ctxgc.core.randomness import is_placeholder

_GAP = rb"""(?:[ \t]{1,4}(?:\\{0,3}["'])?|\\{0,3}["'],[ \t\n]{0,16}\\{0,3}["'])"""
"""Between two arguments."""
_LINE = rb"[^\n|;&]{0,200}?"
_VALUE = rb"""((?![-$])[^\s"'\\|;&<>]{3,256})"""
_NAME = rb"(?i:[a-z0-9_]{0,40}(?:key|token|secret|passw|pwd|credential)[a-z0-9_]{0,24})"


def _option(*options: bytes, glued: bool = False) -> bytes:
    """The line of a command to the value of one of its options."""
    joint = rb"(?:" + _GAP + rb")?" if glued else rb"(?:" + _GAP + rb"|=)"
    return _LINE + _GAP + rb"(?:" + rb"|".join(options) + rb")" + joint + _VALUE


_COMMANDS = tuple(
    (name, re.compile(rb"(?<![\w.-])" + re.escape(name) + rest))
    for name, rest in (
        (b"redis-cli", _option(rb"-a", rb"--pass")),
        (b"mongo", rb"\w{0,8}" + _option(rb"-p")),
        (b"mysql", rb"\w{0,8}" + rb"(?![^\n]{0,200}-p[ =])" + _option(rb"-p", glued=True)),
        (b"mariadb", rb"[\w-]{0,8}" + _option(rb"-p", glued=True)),
        (b"sshpass", _option(rb"-p", glued=True)),
        (b"docker", _GAP + rb"login" + _option(rb"-p")),
        (b"az", _GAP + rb"login" + _option(rb"-p")),
        (b"podman", _GAP + rb"login" + _option(rb"-p")),
        (b"smbclient", _option(rb"-U", rb"--user").removesuffix(_VALUE) + rb"[^\s%]{1,64}%" + _VALUE),
        (b"keytool", _option(rb"-(?:store|key|deststore|srcstore)pass")),
        (b"ssh-keygen", _option(rb"-[NP]")),
        (b"7z", rb"[ar]?" + _LINE + _GAP + rb"-p" + _VALUE),
        (b"zip", _option(rb"-P", glued=True)),
        (
            b"htpasswd",
            _GAP + rb"-[a-zA-Z]{0,6}b[a-zA-Z]{0,6}" + _GAP + rb"[^\s]{1,200}" + _GAP + rb"[^\s]{1,64}" + _GAP + _VALUE,
        ),
        (b"ldap", rb"\w{2,12}" + _option(rb"-w")),
        (b"openssl", _option(rb"-k", rb"-K")),
        (b"nmcli", _LINE + _GAP + rb"password" + _GAP + _VALUE),
        (b"configure set", rb" [\w.]{0,64}(?:secret_access_key|session_token)" + _GAP + _VALUE),
        (
            b"config",
            _GAP + rb"set" + _GAP + rb"[^\s=]{0,200}(?:_authToken|_password|_auth)(?:=|" + _GAP + rb")" + _VALUE,
        ),
        (b"setx", _GAP + rb"(?:/[mM] )?" + _NAME + _GAP + _VALUE),
        (b"set -", rb"[a-zA-Z]{1,4} (?:-[a-zA-Z]{1,4} ){0,2}" + _NAME + _GAP + _VALUE),
    )
)
_ECHO = re.compile(
    rb"""(?:echo|printf)[ ]{1,4}(?:-n[ ])?(?:['"]?%s['"]?[ ])?\\{0,3}["']?(?:[\w.-]{1,64}:(?=[^|\n]{0,256}chpasswd))?"""
    rb"""((?![-$])[^\s"'\\|]{3,256})\\{0,3}["']?[ ]{0,4}\|[^\n|]{0,200}"""
    rb"(?:--with-token|--password-stdin|chpasswd|passwd --stdin)"
)
_PIPES = (b"-stdin", b"--with-token", b"chpasswd")
LINE_CHARS_MAX = 400
"""Of a command, on each side of the option that gives it away."""
_SIGNS = (
    re.compile(rb" -(?:[paPNwkKUb][\w ='\"$!@#%^&*]|storepass|srcstorepass)"),
    re.compile(rb""""-(?:[paPNwkKUb]|storepass)"""),
    re.compile(rb"config(?:ure)? set "),
    re.compile(rb"set -[a-zA-Z]{1,4} [^\n]{0,8}" + _NAME),
    re.compile(rb"setx "),
    re.compile(rb"nmcli "),
)
"""What each command's line has: a search for the names of all commands costs four times as much."""


def find_commands(data: bytes) -> list[SecretSpan]:
    """Secrets among the arguments of a command, in no order. Linear: the part around each sign is bounded."""
    spans: list[SecretSpan] = []
    for sign in _SIGNS:
        done = 0
        for match in sign.finditer(data):
            if match.start() >= done:
                start = max(0, match.start() - LINE_CHARS_MAX)
                done = min(len(data), match.end() + LINE_CHARS_MAX)
                part = data[start:done]
                for name, rule in _COMMANDS:
                    if name in part:
                        spans += _spans_of(rule.finditer(data, start, done))
                done -= LINE_CHARS_MAX // 2
    if b"|" in data and any(pipe in data for pipe in _PIPES):
        spans += _spans_of(_ECHO.finditer(data))
    return spans


def _spans_of(matches: Iterable[re.Match[bytes]]) -> list[SecretSpan]:
    return [SecretSpan(*m.span(1), "password") for m in matches if not is_placeholder(m[1])]
