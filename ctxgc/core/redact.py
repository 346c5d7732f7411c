"""Redaction: credentials leave a segment before the segment is written.

    bytes ──rules──▶ spans ──merge──▶ «redacted:KIND» in their place ──again, until nothing is found──▶ bytes

Pure, deterministic, and idempotent by construction: a mark holds nothing that a rule takes for a secret. Every rule
opens with a literal, which the regex engine finds at memory speed; the hint keeps clean text cheap, and a combined
alternation would be slower. A rule with an issuer's prefix trusts the prefix; a rule that only knows a name (`token =
…`) also asks that the value look random, because code is full of such names.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from math import log2
from typing import Any, NamedTuple

from ctxgc.core.segment import COMMAND_CHARS_MAX, Piece, Segment, text_bytes

ENTROPY_BITS_MIN = 3.0
"""Bits a character; English and identifiers of this length have less variety, random text has more."""
JUMBLED_CHARS_MIN = 8
JUMBLED_RUN_MAX = 3.0
"""The mean run of one character class: about 2 in random text, 4 and more in words, however they are cased."""


class Rule(NamedTuple):
    """One kind of secret: the last group that matched is redacted, or else the whole match."""

    kind: str
    pattern: re.Pattern[bytes]
    must_look_random: bool = False


class Family(NamedTuple):
    """Rules that need looking at only where `gate` is found at all."""

    gate: re.Pattern[bytes]
    rules: tuple[Rule, ...]


class SecretSpan(NamedTuple):
    """A secret's place: half-open offsets."""

    start: int
    end: int
    kind: str


def _prefix_rule(kind: str, prefix: str, rest: str, *, must_look_random: bool = False) -> Rule:
    # The boundary is asserted behind the prefix: an assertion before it would hide the literal from the engine.
    return Rule(kind, re.compile(rf"{prefix}(?<![A-Za-z0-9]{prefix}){rest}".encode()), must_look_random)


def _single_rule_family(rule: Rule) -> Family:
    return Family(rule.pattern, (rule,))


_KEY_HEAD = rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_KEY_TAIL = rb"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
# Base64 and what languages and tools put around its lines. Code that only names head and tail has brackets between
# them, and no line of base64 near the head.
_KEY_BODY = (
    rb"(?=[\s\S]{0,300}?[A-Za-z0-9+/]{40})"
    rb"""(?:[A-Za-z0-9+/=\s\\:,.|>"'\xe2\x86\x92]|-(?!----(?:BEGIN|END) )){0,16384}+"""
)
# A digest after the "@" makes it an image reference, `docker://name:tag@sha256:…`.
_URL_PASSWORD = rb"""://[^\s/@:"'`<>\\]{0,64}:([A-Za-z0-9!$%&()*+,;=:._~^-]{3,128})@(?!sha256:)[A-Za-z0-9\[]"""

ISSUED = (
    Family(
        re.compile(rb"A(?:KIA|SIA|Iza)"),
        (
            _prefix_rule("aws_key", "A[KS]IA", "[A-Z0-9]{16}(?![A-Za-z0-9])"),
            _prefix_rule("google_key", "AIza", "[A-Za-z0-9_-]{35,}"),
        ),
    ),
    Family(
        re.compile(rb"g(?:h[pousr]_|ithub_pat_|lpat-)"),
        (
            _prefix_rule("github_token", "gh[pousr]_", "[A-Za-z0-9]{36,}"),
            _prefix_rule("github_token", "github_pat_", "[A-Za-z0-9_]{22,}"),
            _prefix_rule("gitlab_token", "glpat-", "[A-Za-z0-9_-]{20,}"),
        ),
    ),
    Family(
        re.compile(rb"x(?:ox[abeoprs]-|app-)"),
        (
            _prefix_rule("slack_token", "xox[abeoprs]-", "[A-Za-z0-9-]{10,}", must_look_random=True),
            _prefix_rule("slack_token", "xapp-", "[0-9]-[A-Za-z0-9-]{20,}"),
        ),
    ),
    Family(
        re.compile(rb"_[A-Za-z0-9]{16}"),
        (
            _prefix_rule("stripe_key", "sk_(?:live|test)_", "[A-Za-z0-9]{16,}"),
            _prefix_rule("stripe_key", "rk_(?:live|test)_", "[A-Za-z0-9]{16,}"),
            _prefix_rule("npm_token", "npm_", "[A-Za-z0-9]{36,}"),
            _prefix_rule("huggingface_token", "hf_", "[A-Za-z0-9]{30,}"),
        ),
    ),
    Family(
        re.compile(rb"sk-"),
        (
            _prefix_rule("anthropic_key", "sk-ant-", "[A-Za-z0-9_-]{20,}"),
            _prefix_rule("openai_key", "sk-", "[A-Za-z0-9_-]{20,}", must_look_random=True),
        ),
    ),
    _single_rule_family(_prefix_rule("google_key", "ya29[.]", "[A-Za-z0-9_.-]{20,}")),
    _single_rule_family(_prefix_rule("google_key", "GOCSPX-", "[A-Za-z0-9_-]{20,}")),
    Family(
        re.compile(rb"\.eyJ"),
        (Rule("jwt", re.compile(rb"eyJ(?<![\w-]eyJ)[\w-]{8,}+\.eyJ[\w-]{8,}+\.[\w-]{10,}+")),),
    ),
    Family(
        re.compile(rb"-----BEGIN "),
        (
            Rule("private_key", re.compile(_KEY_HEAD + _KEY_BODY + _KEY_TAIL)),
            # Cut off before its end: the lines of base64 after the head, with whatever a tool puts before each.
            Rule("private_key", re.compile(_KEY_HEAD + rb"(?:[^-]{0,24}?[A-Za-z0-9+/=]{40,}+){1,400}")),
        ),
    ),
    _single_rule_family(Rule("url_password", re.compile(_URL_PASSWORD))),
)
"""Secrets in an issuer's form."""

_ENDING = rb"(?:[_-]?(?:access[_-]?key|key|value|token))?"
_TYPE = rb":[ \t]{0,8}[a-z][a-z_.|\[\] ]{0,40}="
_ASSIGNS = rb"""(?![a-z0-9_-])\\{0,3}["'`]?\]?[ \t]{0,8}(?:""" + _TYPE + rb"""|:=|=>|=|:)[ \t]{0,8}"""
_QUOTED = rb"""\\{0,3}["'`]([^\s"'`\\\x00-\x1f\x7f-\xff]{10,}+)\\{0,3}["'`]"""
# What opens a bracket behind a bare value makes it a call. It is matched, and then refused, rather than asserted
# away: so no character is looked at twice, however many names stand before it.
_BARE = rb"([a-z0-9+/_=~.-]{16,}+)([(\[{<])?"


_KEYS = (b"api", b"access", b"private")
_JOINTS = (b"", b"[_-]")


_BRACKET_GROUP = 3
"""In an assignment: 1 is a quoted value, 2 a bare one, 3 the bracket that makes it a call."""


def _family_of(name: bytes) -> Family:
    pattern = re.compile(name + _ENDING + _ASSIGNS + rb"(?:" + _QUOTED + rb"|" + _BARE + rb")")
    return _single_rule_family(Rule("secret", pattern, must_look_random=True))


# Searched in a lower-cased copy, which has the same offsets and costs less than ignoring case.
NAMED = (
    _family_of(rb"pass(?:w(?:or)?d|phrase)"),
    _family_of(rb"secret"),
    _family_of(rb"token"),
    _family_of(rb"key(?:" + b"|".join(b"(?<=%s%skey)" % (word, joint) for word in _KEYS for joint in _JOINTS) + b")"),
    _single_rule_family(
        Rule("authorization", re.compile(rb"b(?:earer|asic)[ \t]{1,8}([a-z0-9._~+/=-]{16,}+)"), must_look_random=True)
    ),
)
"""Secrets recognised by the text before; their value must look random too."""

_SECRET_NAME = re.compile(
    rb".*(?:pass(?:w(?:or)?d|phrase)|secret|token|(?:api|access|private)[_-]?key)" + _ENDING, re.DOTALL
)

_PLACEHOLDER = re.compile(rb"[${<*]|(?:%[dqsv]|pass(?:word|wd)?|pwd?|secret|token|x+|\*+|redacted)$", re.IGNORECASE)
_SEPARATORS = re.compile(rb"[-_./: ]+")
_RUNS = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^A-Za-z0-9]+")


def redact(data: bytes) -> tuple[bytes, int]:
    """`data` with each secret replaced by `«redacted:KIND»`, and how many were.

    The same object if there was none. Every pass removes bytes that no later pass can find again, so it ends;
    linear in each pass. About 100 MB/s on clean text.
    """
    count = 0
    while spans := find_secrets(data):
        data = _replace(data, spans)
        count += len(spans)
    return data, count


def redact_segment(segment: Segment) -> tuple[Segment, int]:
    """A segment without secrets, and how many its skeleton and body held. The same object if there was none.

    The skeleton stays canonical JSON: its strings are redacted one by one, so a mark never breaks the syntax.
    """
    skeleton, count = _redact_json(segment.skeleton)
    body: list[Piece] = []
    for piece in segment.body:
        data, found = redact(piece.data)
        body.append(piece._replace(data=data) if found else piece)
        count += found
    # Both repeat what skeleton and body hold, so what is found in them is not counted again.
    command = _redact_text(segment.command)[:COMMAND_CHARS_MAX]
    sources = tuple(map(_redact_text, segment.edit_sources))
    if not count and command == segment.command and sources == segment.edit_sources:
        return segment, 0
    # The attempt is words of the command: a secret among them would outlive its own redaction.
    facts = segment.facts if command == segment.command else segment.facts._replace(attempt=command)
    cleaned = replace(segment, skeleton=skeleton, body=tuple(body), command=command, edit_sources=sources, facts=facts)
    return cleaned, count


def find_secrets(data: bytes) -> list[SecretSpan]:
    """Where secrets lie, in order and without overlap; where two overlap, the earlier names the whole."""
    lowered = data.lower()
    spans = _matches(ISSUED, data, data) + _matches(NAMED, lowered, data)
    return _merge(spans)


def looks_random(value: bytes) -> bool:
    """Whether a value reads like a generated credential rather than a word, a path or a name.

    True if its characters vary enough and one part of it, between separators, changes character class as often
    as random text does. Says no to `get_token_v2`, `your-api-key-here` and `0123456789`.
    """
    if _PLACEHOLDER.match(value) or b"://" in value or _entropy_bits(value) < ENTROPY_BITS_MIN:
        return False
    return any(
        len(part) >= JUMBLED_CHARS_MIN and len(part) / len(_RUNS.findall(part)) < JUMBLED_RUN_MAX
        for part in _SEPARATORS.split(value)
    )


def _matches(families: tuple[Family, ...], searched: bytes, data: bytes) -> list[SecretSpan]:
    spans: list[SecretSpan] = []
    for rule in (rule for family in families if family.gate.search(searched) for rule in family.rules):
        for match in rule.pattern.finditer(searched):
            if match.lastindex == _BRACKET_GROUP:
                continue
            start, end = match.span(match.lastindex or 0)
            if _is_secret(rule, data[start:end]):
                spans.append(SecretSpan(start, end, rule.kind))
    return spans


def _is_secret(rule: Rule, value: bytes) -> bool:
    if rule.kind == "url_password":
        return not _PLACEHOLDER.match(value)
    return looks_random(value) if rule.must_look_random else True


def _merge(spans: list[SecretSpan]) -> list[SecretSpan]:
    merged: list[SecretSpan] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(span.end, merged[-1].end))
        else:
            merged.append(span)
    return merged


def _replace(data: bytes, spans: list[SecretSpan]) -> bytes:
    parts: list[bytes] = []
    at = 0
    for span in spans:
        parts += (data[at : span.start], f"«redacted:{span.kind}»".encode())
        at = span.end
    return b"".join((*parts, data[at:]))


def _entropy_bits(value: bytes) -> float:
    size = len(value)
    return -sum(n / size * log2(n / size) for n in Counter(value).values())


def _redact_text(text: str) -> str:
    return redact(text_bytes(text))[0].decode("utf-8", "surrogatepass")


def _redact_json(skeleton: bytes) -> tuple[bytes, int]:
    if not find_secrets(skeleton):
        return skeleton, 0
    try:
        value, count = _redact_value(json.loads(skeleton))
    except (ValueError, RecursionError):
        return redact(skeleton)  # No JSON that anyone can read: then there is no syntax to keep either.
    if not count:
        return skeleton, 0
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(), count
    except UnicodeEncodeError:  # A lone surrogate is no UTF-8; a skeleton holds it as an escape.
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), count


def _redact_value(value: Any, key: str = "") -> tuple[Any, int]:
    if isinstance(value, str):
        data = text_bytes(value)
        if _SECRET_NAME.fullmatch(text_bytes(key).lower()) and len(data) >= 10 and looks_random(data):
            return "«redacted:secret»", 1
        data, count = redact(data)
        return data.decode("utf-8", "surrogatepass") if count else value, count
    if isinstance(value, list):
        parts = [_redact_value(part, key) for part in value]
        return [part for part, _ in parts], sum(found for _, found in parts)
    if isinstance(value, dict):
        pairs = {name: _redact_value(part, name) for name, part in value.items()}
        return {name: part for name, (part, _) in pairs.items()}, sum(found for _, found in pairs.values())
    return value, 0
