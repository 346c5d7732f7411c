"""Secrets that a command takes: `mysql -pX`, `redis-cli -a X`, `echo X | docker login --password-stdin`.

    -x after a space or a quote ──▶ its value ──a command before it?──▶ value that is no placeholder ──▶ span

A list of arguments in JSON or in code reads as the line does: the joint of two arguments is a space, or a comma between
quotes. Every option is looked at once, with a bounded part of the line before it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ctxgc.core.redaction.secret_span import NO_SECRET, Outcome, single_secret
from ctxgc.core.redaction.secret_values import is_placeholder, looks_like_code_or_path, looks_like_password

LINE_CHARS_MAX = 400
"""Of a command, between its name and its secret."""
ECHO_CHARS_MAX = 300
"""Of a command, between what it prints and the pipe."""

OPTION_SIGN = re.compile(rb"""-(?:(?<=[\s"'\[]-)[a-z]|(?<=--)[ub])""")
PIPE_SIGN = re.compile(
    rb"\|[ ]{0,4}(?:sudo[ ](?:-[a-z]{1,3}[ ]){0,3})?(?:(?:ch|smb)passwd|passwd[ ]--stdin|sudo[ ]-s|sudo[ ]-ks"
    rb"|[a-z0-9_./-]{1,40}[ ][^\n|;]{0,160}?(?:--password-stdin|--with-token|--passphrase-fd[ ]0|--stdin))"
)
_JOINT = rb"""(?:[ \t]{1,8}(?:\\{1,2}(?:\r?\n|n)[ \t]{0,16})?|=|\\{0,3}["'],\s{0,24}(?=\\{0,3}["']))"""
"""Between an option and its value."""
_VALUE = (
    rb"""(?:\\{0,3}"(?P<double>(?!-)[^"\\\n]{3,256}+)|\\{0,3}'(?P<single>(?!-)[^'\\\n]{3,256}+)"""
    rb"""|(?P<bare>(?![-$])[^\s"'\\|;&<>]{3,256}+))"""
)
_USER = rb"""\\{0,3}["']?[^\s:"'\\]{1,128}:"""
_GOES_ON = (b"\\", b",", b"[", b"(", b"{")
"""What a line ends in that goes on: a backslash, or a list's middle."""
_WEB = re.compile(rb"(?:^|[^\w-]|\\n)(?:curl|wget|https?|xhs?)(?![\w-])", re.IGNORECASE)


class _SecretOption(NamedTuple):
    """An option's form with the value, and the commands with a secret in the option."""

    form: re.Pattern[bytes]
    command: re.Pattern[bytes]


def _make_option(letters: bytes, commands: bytes, *, joint: bytes = _JOINT, before: bytes = b"") -> _SecretOption:
    form = re.compile(b"-(?:" + letters + b")" + joint + before + _VALUE)
    return _SecretOption(form, re.compile(rb"(?:^|[^\w-]|\\n)(?:" + commands + rb")(?![\w-])"))


_GLUED = b""
_EITHER = rb"(?:" + _JOINT + rb")?"
_LOGINS = (
    rb"(?:docker|podman|nerdctl|buildah|skopeo|oras|crane|helm|az|oc|cf|argocd|ibmcloud|regctl)\b[\s\S]{0,200}\blogin"
)
_OPTIONS: dict[bytes, tuple[_SecretOption, ...]] = {
    b"p": (
        _make_option(b"p", rb"(?:mysql|mariadb)[\w-]*|7z[a-z]*|7zz|rar|unrar", joint=_GLUED),
        _make_option(b"p", rb"sshpass|mongo\w*", joint=_EITHER),
        _make_option(
            b"p",
            _LOGINS + rb"|cqlsh|cypher-shell|beeline|twine|evil-winrm|nxc|netexec|crackmapexec|hydra|medusa|veracrypt"
            rb"|steghide|useradd|usermod|security|altool|hdbsql|nuget[\s\S]{0,200}\bsources?",
        ),
        _make_option(b"pw", rb"plink|pscp|psftp|putty|winscp"),
    ),
    b"P": (
        _make_option(b"P", rb"zip|unzip", joint=_EITHER),
        _make_option(b"P", rb"sqlcmd|bcp|isql|osql|tsql|freebcp|ipmitool|mosquitto_\w+|ssh-keygen|security"),
    ),
    b"a": (
        _make_option(b"a", rb"redis-cli|valkey-cli|keydb-cli", joint=_EITHER),
        _make_option(b"ap", rb"swaks"),
        _make_option(b"a", rb"https?|xhs?", before=_USER),
    ),
    b"A": (_make_option(b"A", rb"snmp\w+"),),
    b"X": (_make_option(b"X", rb"snmp\w+"),),
    b"s": (_make_option(b"(?:store|srcstore)pass", rb"keytool|jarsigner"),),
    b"d": (_make_option(b"deststorepass", rb"keytool"),),
    b"N": (_make_option(b"N", rb"ssh-keygen", joint=_EITHER),),
    b"w": (_make_option(b"w", rb"ldap\w+|security"),),
    b"k": (
        _make_option(b"keypass", rb"keytool|jarsigner"),
        _make_option(b"k", rb"openssl|nuget|dotnet[\s\S]{0,100}\bnuget|security"),
    ),
    b"K": (_make_option(b"K", rb"openssl"),),
    b"h": (_make_option(b"hp", rb"rar|unrar", joint=_GLUED),),
    b"x": (_make_option(b"xp", rb"sendemail|sendEmail"),),
    b"U": (
        _make_option(
            b"U",
            rb"smbclient|smbget|rpcclient|winexe|wmic|net|smbmap|nmblookup",
            before=rb"""\\{0,3}["']?[^\s"'%]{1,64}%""",
        ),
    ),
    b"b": (
        _make_option(b"b(?:ody)?", rb"gh[\s\S]{0,80}\bsecret"),
        _make_option(b"b", rb"curl", before=rb"""\\{0,3}["']?[^\s;="'\\]{1,64}="""),
    ),
}
_WORD = _JOINT + rb"""\\{0,3}["']?[^\s"'\\-][^\s"'\\]{0,200}"""
_POSITIONAL = re.compile(
    rb"-(?:[A-Za-z]{0,4}n[A-Za-z]{0,4}"
    + _WORD
    + rb"|(?![A-Za-z]{0,8}n)[A-Za-z]{0,5}b[A-Za-z]{0,5}(?:"
    + _WORD
    + rb"){2})"
    + _JOINT
    + _VALUE
)
"""`htpasswd -b FILE USER PASSWORD`, and without a file where `-n` only prints."""
_HTPASSWD = re.compile(rb"htpasswd(?![\w-])")
_USER_OPTION = re.compile(
    rb"""-u(?:ser)?""" + _EITHER + rb"""\\{0,3}["']?[^\s:"'\\]{1,128}:(?:\\{0,3}"(?P<double>[^"\\\n]{1,128}+)"""
    rb"""|\\{0,3}'(?P<single>[^'\\\n]{1,128}+)|(?P<bare>[^\s"'\\]{1,128}+))"""
)
_COMMA_USER = re.compile(rb"-u" + _JOINT + rb"""\\{0,3}["']?[^\s,"'\\]{1,64},(?P<bare>[^\s"'\\]{3,128}+)""")
_LFTP = re.compile(rb"(?:^|[^\w-])n?c?lftp(?![\w-])")
_PROXY_USER = re.compile(rb"-U" + _JOINT + rb"""\\{0,3}["']?[^\s:"'\\]{1,64}:(?P<bare>[^\s"'\\]{1,128}+)""")
_ECHO = re.compile(
    rb"""(?:^|[^\w-]|\\n)(?:echo|printf)[ ]{1,4}(?:-[neE]{1,3}[ ])?(?:["']?%s(?:\\{1,2}n)?["']?[ ])?"""
    rb"""(?:\\{0,3}"(?P<double>[^"\\\n]{3,256}+)(?:\\{1,2}n)?\\{0,3}"|\\{0,3}'(?P<single>[^'\\\n]{3,256}+)(?:\\{1,2}n)?\\{0,3}'"""
    rb"""|(?P<bare>[^\s"'\\|;&<>]{3,256}+))[ ]{0,4}$"""
)
_SECURE_STRING = re.compile(
    rb"""convertto-securestring[ ](?:-string[ ])?\\{0,3}["']((?!\$)[^"'\\\n]{3,256})\\{0,3}["'][ ]{1,4}$""",
    re.IGNORECASE,
)
_ARGUMENT_WORD = re.compile(rb"[A-Z_]+[\])]?$|\$|-")


def find_option_secret(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The secret that an option's value is, if the line's command takes one there."""
    at = match.start()
    letter = data[at + 1 : at + 2]
    if letter in b"Aa" and lowered.startswith(b"-asplaintext", at):
        before = max(0, at - ECHO_CHARS_MAX)
        typed = _SECURE_STRING.search(data[before:at])
        if typed is None or is_placeholder(typed[1]):
            return NO_SECRET
        return single_secret(before + typed.start(1), before + typed.end(1), "password")
    if letter == b"u":
        return _find_user_password(data, at)
    if letter == b"U" and (proxy := _PROXY_USER.match(data, at)) and _WEB.search(_command_line_before(data, at)):
        return _judge_value(proxy)
    for option in _OPTIONS.get(letter, ()):
        if (found := option.form.match(data, at)) and option.command.search(_command_line_before(data, at)):
            return _judge_value(found)
    found = _POSITIONAL.match(data, at)
    return _judge_value(found) if found and _HTPASSWD.search(_command_line_before(data, at)) else NO_SECRET


def find_piped_secret(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The secret that a command prints into a pipe for the next command."""
    at = match.start()
    printed = _ECHO.search(data[max(0, at - ECHO_CHARS_MAX) : at])
    if printed is None:
        return NO_SECRET
    shift = max(0, at - ECHO_CHARS_MAX)
    start, end = (shift + place for place in printed.span(_value_group_name(printed)))
    value = data[start:end]
    if b"chpasswd" in match[0] and b":" in value:
        start += value.index(b":") + 1
    value = data[start:end]
    is_none = is_placeholder(value) or _ARGUMENT_WORD.match(value)
    return NO_SECRET if is_none else single_secret(start, end, "password")


def _find_user_password(data: bytes, at: int) -> Outcome:
    found = _USER_OPTION.match(data, at)
    if found is None:
        comma = _COMMA_USER.match(data, at)
        return _judge_value(comma) if comma and _LFTP.search(_command_line_before(data, at)) else NO_SECRET
    value = found[_value_group_name(found)]
    if is_placeholder(value) or value.isdigit():
        return NO_SECRET
    if _WEB.search(_command_line_before(data, at)) or looks_like_password(value, is_literal=True):
        return single_secret(*found.span(_value_group_name(found)), "password")
    return NO_SECRET


def _command_line_before(data: bytes, at: int) -> bytes:
    """The command's line up to an option; a continued line is one line."""
    part = data[max(0, at - LINE_CHARS_MAX) : at]
    part = part[max(part.rfind(b"|"), part.rfind(b";")) + 1 :].rpartition(b"&&")[2]
    end = part.rfind(b"\n")
    while end >= 0 and part.endswith(_GOES_ON, 0, end):
        end = part.rfind(b"\n", 0, end)
    return part[end + 1 :]


def _value_group_name(match: re.Match[bytes]) -> str:
    """The name of the group that holds the value, by how the value is quoted."""
    return next(name for name in ("bare", "double", "single") if match.groupdict().get(name) is not None)


def _judge_value(match: re.Match[bytes]) -> Outcome:
    name = _value_group_name(match)
    value = match[name]
    if (
        is_placeholder(value)
        or _ARGUMENT_WORD.match(value)
        or (name == "bare" and looks_like_code_or_path(value) and b"(" in value)
    ):
        return NO_SECRET
    return single_secret(*match.span(name), "password")
