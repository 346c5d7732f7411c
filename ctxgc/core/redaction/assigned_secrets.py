"""Secrets that a name is given: `password = …`, `API_KEY=…`, `the token is …`, `<secret>…</secret>`, `-storepass …`.

    name ──joint──▶ value ──judge──▶ span

Code is full of such names, so each value is judged: a value of a key or token must look random, a value of a password
must be no name, call, path or placeholder. Words alone between a name and its value are a weaker joint than a sign, and
the value has to be the stronger.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ctxgc.core.redaction.secret_span import NO_SECRET, Outcome, single_secret
from ctxgc.core.redaction.secret_values import (
    PASSWORD_CHARS_MIN,
    is_placeholder,
    is_strong_password,
    looks_like_code_or_path,
    looks_like_password,
    looks_random,
)

QUOTED_KEY_CHARS_MIN = 10
BARE_KEY_CHARS_MIN = 16
ENV_KEY_CHARS_MIN = 8
LONG_VALUE_CHARS = 256
"""A longer value is judged once, however many names stand in it."""
LINE_CHARS_MAX = 400
"""Before a name: the line that says whether the name is an option or a setting."""
INI_CHARS_MAX = 2000
"""Before a name: the section of an INI file that the name may stand in."""
NAME_CHARS_MAX = 40
SPACES_IN_PASSWORD_MAX = 3

_Q = rb"""\\{0,3}["'`]"""
_TYPE = rb":[ \t]{0,8}[a-z][a-z_.|\[\] ]{0,40}="
_DIGIT_NEAR = rb"(?=[^\s0-9]{0,80}+[0-9])"
"""A value that words alone join to its name has a digit, or the value would be the next word."""
_SPACED = (
    rb"[ \t](?:(?(option)(?<!auth-pass[ ])(?P<spaces>[ \t]{0,3})(?=[^\s-])|(?!))"
    rb"|(?P<said>(?:is|was|are|to|be|set[ ]to)(?:[ ]?[:=])?[ \t]{1,4})" + _DIGIT_NEAR + rb"|[ \t]{0,3}(?=" + _Q + rb")"
    rb"|(?P<near>[ \t]{0,3}(?:(?:\||->|-|\xe2\x86\x92|\xe2\x80\x93)[ \t]{1,4}(?:\*\*)?|\*\*|(?![-=:(|*])))"
    + _DIGIT_NEAR
    + rb")"
)
_QUOTE_ENDED = (
    rb"""[\\"'`]{1,4}(?:,(?:\s|\\[nrt]){0,60}(?:""" + _Q + rb")?value(?:" + _Q + rb")?[ \t]{0,4}:[ \t]{0,4}"
    rb"|[ \t]{0,4},[ \t]{0,16}(?=" + _Q + rb")"
    rb"|[ \t]{1,4}(?:value|content)=(?=" + _Q + rb")"
    rb"|[ \t]{1,4}(?=" + _Q + rb")"
    rb"|[ ]\{[^{}]{0,200}?default[ ]{0,8}=[ ]{0,8}(?=" + _Q + rb")"
    rb"|(?(option)(?P<listed>,\s{0,24})(?=" + _Q + rb")|(?!)))"
)
# What joins a name to its value: signs, a comma between quotes, an attribute, an element's end; spaces alone join an
# option and its value. Each way begins with its own characters, which the engine tells apart without a try. The value's
# first characters are looked at here, so that code is passed over without a call.
_JOIN = (
    rb"""(?=[\\"'`\])\s:=!,>%(*])(?:"""
    + _SPACED
    + rb"|"
    + _QUOTE_ENDED
    + rb"|>(?=[^\s<>]{6,512}</)|\([ ]?(?="
    + _Q
    + rb")|:[ \t]{0,4}[|>][+-]?[ \t]{0,4}(?:\r?\n|\\{1,7}n)[ \t]{1,32}"
    rb"|[:*](?P<bold>\*{1,2}:?[ \t]{0,4}|\*[ \t]{0,4})"
    + _DIGIT_NEAR
    + rb"|(?![ ][a-z(*])(?:"
    + _Q
    + rb")?[\])]{0,2}(?P<before>[ \t]{0,8})(?P<sign>"
    + _TYPE
    + rb"|:=|=>|[=!]==?|=|:|%3d|%3a)(?P<after>[ \t]{0,8})"
    rb"|(?:" + _Q + rb")?[,\s](?:\s|\\[nrt]){0,60}(?:" + _Q + rb")?value(?:" + _Q + rb")?[ \t]{0,4}:[ \t]{0,4})"
)
_VALUE = (
    rb"""(?=[rbfu]?\\{0,3}(?:"(?:[^\s"\\]|\\\S){6}|'(?:[^\s'\\]|\\\S){6}|`[^\s`]{6}|["'][a-z]{4} )"""
    rb"""|(?![a-z_][\w.:-]*+(?:[(\[{]|<(?!/)))[^\s"'`(\[{<$][^\s"'`(\[{<\\]{5}"""
    rb"""|(?<==)(?:"[^"\n]{6}|'[^'\n]{6}|(?![a-z_][\w.:-]*+(?:[(\[{]|<(?!/)))[^\s"'`(\[{<$][^\s"'`]{5}"""
    rb"""|\{(?=[^{}\s"'.\[\]()]{0,64}[;@#$%^&*+?])[^{}\s"']{6}))"""
)
_NO_PASSWORD = rb"(?![a-z_]{1,64}[,)\]}])"
_NO_KEY = rb"""(?!["'`]?(?:[a-z]{1,15}|[a-z]{1,20}_[a-z_]{1,40})["'`\s,;)\]}])"""
"""Words of code, which the judgement of a value would refuse."""
_ELEMENT = (
    rb"""|[ ][a-z ]{0,24}\\{0,3}"[^{}\n]{0,80}?\\{0,3}"(?:text|value)\\{0,3}"[ ]?:[ ]?(?=\\{0,3}"[^\s"\\]{3})"""
    rb"""|(?:(?<=wpa_passphrase)|(?<=auth-pass)|(?<=change_password))"""
    rb"""[ \t]{1,4}["']?[^\s"'-][^\s"']{0,63}["']?[ \t]{1,4}(?=[^\s-])"""
)
"""The joint of the name of a form's element to the text that was typed, and a command to the second of its words."""
_PAIR = rb"""|\((?=\\{0,3}["'][^"'\n]{1,128}["'],)"""
"""A call of a user and a password."""
_POETRY = rb"|(?<=pypi-token)\.[\w-]{1,40}[ ]{1,4}(?=[^\s-]{16})"
_QUOTED = re.compile(
    rb"""[rbfu]?(?:"((?:[^\s"\\\x00-\x1f\x7f]|\\[^\s\x00-\x1f]){1,4096}+)"|\\{1,3}"([^\s"\\\x00-\x1f\x7f]{1,4096}+)\\{1,3}\""""
    rb"""|\\{0,3}'((?:[^\s'\\\x00-\x1f\x7f]|\\[^\s\x00-\x1f]){1,4096}+)\\{0,3}'"""
    rb"""|`([^\s`\\]{1,4096}+)`|["']([a-z]{4}(?: [a-z]{4}){3})["'])"""
)
_QUOTED_WORDS = re.compile(rb"""(?:"([^"\n]{6,256}+)"|'([^'\n]{6,256}+)')""")
"""The value of an environment's variable or of a connection string, which may hold spaces."""
_BRACED = re.compile(rb"\{([^{}\s\"']{6,64})\}")
_BARE = re.compile(rb"""[^\s"'`<>\\\x00-\x1f\x7f]{1,4096}+""")
_NUMBER = re.compile(rb"[0-9]{6,64}$")
_CALL_PAIR = re.compile(rb"""\(?\\{0,3}["'][^"'\n]{1,128}["'],\s{0,8}\\{0,3}["']([^"'\s\\]{3,512})\\{0,3}["']""")
_USER_AND_PASSWORD = re.compile(rb"[\w.@+-]{1,64}[:/]([^\s]{6,128})$")
_SUFFIX = rb"(?!s[^a-z0-9_-])(?P<suffix>[a-z0-9_-]{0,24}+)"

_KEY_WORDS = (
    *(b"api", b"access", b"private", b"account", b"secret", b"signing", b"encryption", b"master", b"auth", b"shared"),
    *(b"storage", b"service", b"webhook", b"admin", b"deploy", b"license", b"preshared", b"app", b"client", b"crypt"),
    *(b"application", b"subscription", b"functions", b"session", b"cipher", b"hmac", b"jwt", b"ssh", b"gpg", b"aes"),
    *(b"?", b"&", b"my"),
)
"""Words that make a key a secret; a cache key or a primary key is no secret."""
_NO_VALUE = re.compile(
    rb"(?:.*[_-])?(?:ids?|names?|paths?|files?|filename|ur[il]s?|endpoints?|types?|counts?|len|length|size|limit|index|idx"
    rb"|budget|arn|version|refs?|field|ttl|expir[a-z]*|in|at|ms|digest|fingerprint|kind|policy|usage|max|min|pattern"
    rb"|regex|format|label|title|prompt|hint|rotation|provider|s?manager|mgr|store|scopes?|s)$"
    rb"|(?:ids?|names?|files?|paths?|types?|ur[il]|counts?)$|i[zs]e[a-z_-]*$"
)
"""The end of a name whose value tells of a secret and is none: `token_count`, `secret_name`, `tokenizer`."""
_TYPE_NAME = re.compile(rb"::\w*$")
_NO_TOKEN = re.compile(
    rb"::\w*$|(?:next|change|lock|update|client|idempotency|page|pagination|continuation|sync|start|resume|public_?key)"
    rb"[ _-]?$"
)
"""What stands before a name that is a type's, or a token's that opens nothing: of a page, of a repeated request."""
_OPTION = re.compile(rb"(?:^|[\s\"'])--?[a-z0-9.-]*$")
_SETTING = re.compile(
    rb"(?:^|[\s\"'`|;&.(]|\\n)(?:setx|set[ ](?:-[a-z]{1,4}[ ]){0,2}|[\w./-]{1,40}[ ]{1,4}config[ ][^\n]{0,80}"
    rb"|config(?:ure)?[ ]set[ ]|(?:nmcli|mysqladmin)[ ][^\n]{0,200}|nuget[ ]|ngrok[ ][^\n]{0,40}|sentinel[ ])"
    rb"[^\s]{0,200}$"
)
"""Commands that give a name a value without a sign between the two."""
_LINE_END = re.compile(rb"[^\s]+[ \t]*(?:$|[\r\n]|\\[nr])")
_PLAIN_NAME = re.compile(rb"(?:set[ ])?[\w.-]*$")
_LINE_OF_NAME = re.compile(rb"(?:^|\n|\\n|\r)[ \t]{0,16}(?:set[ ])?[\w.-]{0,40}$")
_SECTION = re.compile(rb"(?:^|\n)\[[\w .:\"'@/-]{1,64}\][ \t]*\r?\n[^{}();]*$")


def _compile_assignment(
    anchor: bytes, names: tuple[bytes, ...], no_value: bytes, rest: bytes = b"", more: bytes = b""
) -> re.Pattern[bytes]:
    """A name that a value is given. `anchor` ends the name, and begins with its rarest letters: most of the time goes
    into the search for them."""
    option = rb"|".join(rb"(?<=[a-z-]" + name + rb")" for name in names)
    join = rb"(?:" + _JOIN + no_value + _VALUE + more + rb")"
    return re.compile(anchor + rb"(?P<option>" + option + rb")?" + rest + _SUFFIX + join)


def _name_start(lowered: bytes, match: re.Match[bytes]) -> int:
    """The start of the name; the anchor is the name's end."""
    at = match.start()
    return at - 2 if lowered.startswith((b"cret", b"ken"), at) else at


PASSWORDS = (
    _compile_assignment(
        rb"p(?:ass|w|sk)", (b"pass", b"pw", b"psk"), _NO_PASSWORD, rb"(?:w(?:or)?d|phrase|code|d)?", _ELEMENT
    ),
    _compile_assignment(rb"by(?<=identified by)", (b"identified by",), _NO_PASSWORD),
)
KEYS = (
    _compile_assignment(rb"cret(?<=secret)", (b"secret",), _NO_KEY),
    _compile_assignment(rb"k(?:ey|(?<=tok)en)", (b"key", b"token"), _NO_KEY, more=_POETRY),
    _compile_assignment(rb"cred", (b"cred",), _NO_KEY, rb"(?:ential)?s?(?![a-z])", _PAIR),
)


class _AssignedValue(NamedTuple):
    """A value's place, and the strength of the evidence around the value."""

    start: int
    end: int
    is_literal: bool
    """No language reads the value as a name, as between quotes or in an env file."""
    joint: str = "sign"
    """The joint of value and name: a `sign`, a command that sets values (`set`), a verb of
    a sentence (`said`), or no more than nearness (`near`)."""
    is_shell: bool = False
    """A shell reads the value: brackets in it call nothing."""


def find_assigned_password(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The password that a name is given."""
    suffix = match["suffix"]
    if _NO_VALUE.match(suffix) or _is_part_of_other_word(data, lowered, match):
        return NO_SECRET
    value = _locate_value(data, lowered, match)
    text = data[value.start : value.end]
    if not value.is_literal and text.isalpha():
        return NO_SECRET
    if value.joint == "set":
        is_secret = len(text) >= PASSWORD_CHARS_MIN and not is_placeholder(text) and not looks_like_code_or_path(text)
    elif value.joint == "near":
        is_secret = is_strong_password(text)
    elif value.joint == "said":
        is_secret = _has_digit(text) and looks_like_password(text, is_literal=True)
    elif b" " in text:
        is_short = text.count(b" ") <= SPACES_IN_PASSWORD_MAX
        is_secret = is_short and looks_like_password(text.replace(b" ", b""), is_literal=True, is_shell=True)
    else:
        is_number = match["sign"] in (b":", b"=") and not suffix and _NUMBER.match(text)
        is_secret = bool(is_number) or looks_like_password(text, is_literal=value.is_literal, is_shell=value.is_shell)
    if is_secret:
        return single_secret(value.start, value.end, "secret")
    return [], value.end if value.end - value.start > LONG_VALUE_CHARS else 0


def _is_part_of_other_word(data: bytes, lowered: bytes, match: re.Match[bytes]) -> bool:
    """Whether the literal is part of a word that names no password."""
    at, suffix = match.start(), match["suffix"]
    if lowered.startswith((b"psk", b"pw"), at):
        # `DeepSkyBlue`, `pwm`
        is_short = not lowered.startswith(b"pwd", at)
        return is_short and (lowered[at - 1 : at].isalpha() or suffix[:1].isalpha())
    if not lowered.startswith(b"pass", at) or lowered.startswith((b"passw", b"passp", b"passc"), at):
        return False
    if suffix == b"e" and lowered.endswith(b"mot de ", 0, at):
        return False
    if match["option"] is not None and _OPTION.search(lowered, max(0, at - LINE_CHARS_MAX), at):
        return False
    if lowered.endswith((b"require", b"auth-"), 0, at):
        return False
    if match["sign"] is None and match["spaces"] is None and not (match["said"] or match["bold"]):
        return True  # ``pass `shape=0` ``
    # `bypass = …`, `passing …`
    return suffix[:1].isalpha() or (lowered[at - 1 : at].isalpha() and data[at : at + 1] != b"P")


def find_assigned_key(data: bytes, lowered: bytes, match: re.Match[bytes]) -> Outcome:
    """The key or token that a name is given."""
    at = _name_start(lowered, match)
    if _NO_VALUE.match(match["suffix"]):
        return NO_SECRET
    rule = _NO_TOKEN if lowered.startswith(b"token", at) else _TYPE_NAME
    if rule.search(lowered, max(0, at - NAME_CHARS_MAX), at):
        return NO_SECRET
    if lowered.startswith(b"key", at) and not _is_secret_key_name(data, lowered, at, match.start("before")):
        return NO_SECRET
    value = _locate_value(data, lowered, match)
    text = data[value.start : value.end]
    if lowered.startswith(b"cred", at) and (pair := _find_pair_password(data, match, value)):
        return single_secret(*pair, "secret")
    if text.isalpha() and len(text) < BARE_KEY_CHARS_MIN:
        return NO_SECRET
    is_secret = (
        lowered.startswith(b"secret", at) and value.is_literal and value.joint in ("sign", "set") and not text.isdigit()
    )
    if is_secret and looks_like_password(text, is_literal=True, is_shell=value.is_shell):
        return single_secret(value.start, value.end, "secret")
    if len(text) >= _key_chars_min(data, value) and not looks_like_code_or_path(text) and looks_random(text):
        return single_secret(value.start, value.end, "secret")
    return [], value.end if value.end - value.start > LONG_VALUE_CHARS else 0


def _find_pair_password(data: bytes, match: re.Match[bytes], value: _AssignedValue) -> tuple[int, int] | None:
    """The password's place in `credentials: user:password`, or in a call of a user and a password."""
    call = _CALL_PAIR.match(data, match.end() - 1)
    if call is not None:
        return call.span(1) if looks_like_password(call[1], is_literal=True) else None
    pair = _USER_AND_PASSWORD.match(data[value.start : value.end])
    return (value.start + pair.start(1), value.end) if pair and is_strong_password(pair[1]) else None


def _key_chars_min(data: bytes, value: _AssignedValue) -> int:
    if data[value.start - 1 : value.start] in (b'"', b"'", b"`"):
        return QUOTED_KEY_CHARS_MIN
    return ENV_KEY_CHARS_MIN if value.is_literal and value.joint in ("sign", "set") else BARE_KEY_CHARS_MIN


def _is_secret_key_name(data: bytes, lowered: bytes, at: int, end: int) -> bool:
    before = lowered[max(0, at - 16) : at]
    if before.endswith((b"_", b"-", b" ", b".")):
        if data.startswith(b"KEY", at) and before.endswith(b"_") and data.startswith(b"=", end):
            return True  # An environment's variable.
        before = before[:-1]
    return before.endswith(_KEY_WORDS)


def _locate_value(data: bytes, lowered: bytes, match: re.Match[bytes]) -> _AssignedValue:
    """The value that a name is given, or an empty place."""
    start, at = match.end(), _name_start(lowered, match)
    joint = _joint_kind(data, lowered, match)
    is_tight = match["sign"] == b"=" and not match["before"] and not match["after"]
    is_shell = is_tight and data[at : at + 2].isupper()
    is_string = is_shell or (is_tight and b";" in data[max(0, at - NAME_CHARS_MAX) : at])
    quoted = _QUOTED.match(data, start) or (_QUOTED_WORDS.match(data, start) if is_string else None)
    if quoted is not None:
        assert quoted.lastindex is not None
        return _AssignedValue(*quoted.span(quoted.lastindex), is_literal=True, joint=joint, is_shell=is_shell)
    braced = _BRACED.match(data, start) if is_tight else None
    if braced is not None:
        return _AssignedValue(*braced.span(1), is_literal=True)
    bare = _BARE.match(data, start)
    if bare is None:
        return _AssignedValue(start, start, is_literal=False)
    return _locate_bare_value(data, lowered, match, bare[0], joint, is_shell)


def _locate_bare_value(
    data: bytes, lowered: bytes, match: re.Match[bytes], value: bytes, joint: str, is_shell: bool
) -> _AssignedValue:
    start, at, sign = match.end(), _name_start(lowered, match), match["sign"]
    if lowered[at - 1 : at] in (b"?", b"&") or (b"&" in value and b"=" in value.partition(b"&")[2]):
        value = value.partition(b"&")[0]
    value = value.partition(b";")[0] if b";" in value else value
    if joint != "sign":
        return _AssignedValue(start, start + len(value.rstrip(b",)]}.*:;!?|")), is_literal=True, joint=joint)
    stripped = value if is_shell else value.rstrip(b",)]}")
    is_code_line = len(stripped) < len(value) or sign in (b":=", b"==", b"!=", b"===", b"!==", b"=>")
    is_spaced = (bool(match["before"]) and match["suffix"] != b"e") or (sign == b"=" and bool(match["after"]))
    is_literal = not is_code_line and (not is_spaced or _is_literal_setting(data, at, start, start + len(value)))
    return _AssignedValue(start, start + len(stripped), is_literal, is_shell=is_shell)


def _joint_kind(data: bytes, lowered: bytes, match: re.Match[bytes]) -> str:
    """How a value is joined to its name. A space joins an option, and what a command or a line of settings sets."""
    if match["said"] or match["bold"]:
        return "said"
    if match["near"] is None and match["spaces"] is None and match["listed"] is None:
        return "sign"
    at = _name_start(lowered, match)
    line = max(0, at - LINE_CHARS_MAX)
    if match["near"] is None and _OPTION.search(lowered, line, at):
        return "sign"
    if match["listed"] or (match["near"] and not match["near"].isspace()):
        return "near"
    if _SETTING.search(lowered, line, at):
        return "set"
    is_line = _LINE_OF_NAME.search(lowered, line, at) and _LINE_END.match(data, match.end())
    return "said" if is_line else "near"


def _is_literal_setting(data: bytes, at: int, start: int, end: int) -> bool:
    """Whether a line with spaces around its sign gives a setting: of an INI file, of `set`, or plainly a password."""
    line = data.rfind(b"\n", 0, at) + 1
    name = _PLAIN_NAME.match(data, line, at)
    if name is None or data[end : end + 1] not in (b"", b"\n", b"\r"):
        return False
    if name[0].startswith(b"set ") or is_strong_password(data[start:end]):
        return True
    return _SECTION.search(data, max(0, line - INI_CHARS_MAX), line) is not None


def _has_digit(text: bytes) -> bool:
    return any(48 <= byte < 58 for byte in text)
