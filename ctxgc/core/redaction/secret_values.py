"""Whether a value reads like a generated credential, or like a person's password, rather than a name in code."""

from __future__ import annotations

import re
from collections import Counter
from math import log2

ENTROPY_BITS_MIN = 3.0
"""Bits a character; English and identifiers of this length have less variety, random text has more."""
JUMBLED_CHARS_MIN = 8
JUMBLED_RUN_MAX = 3.4
"""The mean run of one character class: about 2 in random text, 4 and more in words, however they are cased."""
PASSWORD_CHARS_MIN = 6
STRONG_CHARS_MIN = 8
WORDY_CHARS_MIN = 14
"""A password of lower-case letters alone; names of this length in code have a joint or a capital."""

_PLACEHOLDER = re.compile(
    rb"\xc2\xab|[${<*]|[^\n]*(?:\xc2\xabredacted|\*\*\*\*|x{6}|\.\.\.|\$\{|\{\{|<[a-zA-Z])|%[(dqsv]"
    rb"|(?:pass(?:word|wd)?|pwd?|secret|token|x+|\*+|redacted|null|none|true|false|undefined)$"
    rb"|[^\n]*(?:example|placeholder|change[_-]?me|your[_-]|[_-]here|dummy|redacted|insert|replace|0123456|abcdefg)",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(rb"[-_./: ]+")
_RUNS = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^A-Za-z0-9]+")
_HEX = re.compile(rb"(?=[^\n]*[0-9])(?=[^\n]*[a-fA-F])[0-9a-fA-F]{32,}$")
_MIXED = re.compile(rb"(?=[^\n]*[0-9])(?=[^\n]*[a-z])(?=[^\n]*[A-Z])[^\n]{20,}$")
"""Long enough to be judged whole: the separators of base64 may leave it only short parts."""
_SYMBOL = re.compile(rb"[!@#$%^&*+?~|]")
_CODE = re.compile(
    rb"[A-Za-z_][\w.:-]*[(\[{<]|[(\[{]|/(?![A-Za-z0-9+/]{23,}={0,2}$)|\.{1,2}/|[~]/|[A-Za-z]:\\|[\w.-]+\.[a-z]{2,4}$|.*[()\[\]{}<>]|%[sdrvq]|.*%[sd(]"
    rb"|.*[\\|](?:[dwsbn]|$)|[rbfu]?[\"']|[-+*/=!?]+$|@[a-z]+$|[$][A-Za-z_]\w*$|[?][A-Za-z]"
)
_SHELL_CODE = re.compile(
    rb"[A-Za-z_][\w.:-]*[(\[{<]|[(\[{/]|\.{1,2}/|[~]/|[A-Za-z]:\\|[\w.-]+\.[a-z]{2,4}$|[$]|.*(?:[$][({]|`[^`]*`|%[sd(])"
    rb"|[rbfu]?[\"']|@[a-z]+$"
)
"""Signs that a shell reads as more than text."""
_APP_PASSWORD = re.compile(rb"[a-z]{4}(?: [a-z]{4}){3}$")
_NUMBER = re.compile(rb"[0-9]+$")
_NAME = re.compile(rb"[A-Za-z_]\w*(?:(?:\.|->|::|-)\w+)*$")


def looks_random(value: bytes) -> bool:
    """Whether a value reads like a generated credential rather than a word, a path or a name.

    True if its characters vary enough and one part of it, between separators, changes character class as often
    as random text does. Says no to `get_token_v2`, `your-api-key-here` and `0123456789`.
    """
    if _PLACEHOLDER.match(value) or b"://" in value or entropy_bits_per_char(value) < ENTROPY_BITS_MIN:
        return False
    if _HEX.match(value) or (_MIXED.match(value) and _has_short_runs(value)):
        return True
    return any(len(part) >= JUMBLED_CHARS_MIN and _has_short_runs(part) for part in _SEPARATORS.split(value))


def _has_short_runs(text: bytes) -> bool:
    return len(text) / len(_RUNS.findall(text)) < JUMBLED_RUN_MAX


def looks_like_password(value: bytes, *, is_literal: bool, is_shell: bool = False) -> bool:
    """Whether a value that a password's name is given is a password, and no name, call, path or placeholder.

    `is_literal`: no language reads the value as a name, as between quotes or in an env file. `is_shell`: a shell reads
    the value, where brackets behind a sign call nothing.
    """
    code = _SHELL_CODE if is_shell else _CODE
    if len(value) < PASSWORD_CHARS_MIN or _PLACEHOLDER.match(value) or code.match(value) or b"://" in value:
        return False
    if _NUMBER.match(value):
        return is_literal
    has_letter, has_digit = any(map(_is_letter, value)), any(48 <= byte < 58 for byte in value)
    if not has_letter:
        return False
    if _APP_PASSWORD.match(value):
        return is_literal
    if _SYMBOL.search(value):
        return is_literal or looks_random(value)
    if has_digit and not _SEPARATORS.search(value):
        return is_literal or looks_random(value)
    if value.isalpha() and value.islower():
        return is_literal and len(value) >= WORDY_CHARS_MIN
    return looks_random(value) or (is_literal and has_digit and not _NAME.match(value))


def is_strong_password(value: bytes) -> bool:
    """Whether a value is a password wherever it stands: letters, digits, and signs or letters of both cases."""
    if len(value) < STRONG_CHARS_MIN or not looks_like_password(value, is_literal=True):
        return False
    has_digit, has_cases = any(48 <= byte < 58 for byte in value), not value.islower() and not value.isupper()
    return has_digit and (has_cases or _SYMBOL.search(value) is not None)


def is_placeholder(value: bytes) -> bool:
    """Whether a value only stands for a secret: a variable, a redaction, an example."""
    return _PLACEHOLDER.match(value) is not None


def looks_like_code_or_path(value: bytes) -> bool:
    """Whether a value reads like a call, a path, a file's name or a format rather than a secret."""
    return _CODE.match(value) is not None


def entropy_bits_per_char(value: bytes) -> float:
    """Bits a character, by the value's own frequencies."""
    size = len(value)
    return -sum(n / size * log2(n / size) for n in Counter(value).values())


def _is_letter(byte: int) -> bool:
    return 65 <= byte <= 90 or 97 <= byte <= 122 or byte > 127
