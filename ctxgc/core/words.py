"""Words of code and prose: what search matches on, the same for every engine.

    "getUserName: connected"  ──words──▶  getusername  connected
                              ──parts──▶  get user name
                              ──stem───▶  connect

A word is a run of letters and digits; an underscore ends it. A camelCase word also counts as its parts.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

CAMEL_CHARS_MAX = 64
"""A longer word is not an identifier but data (base64, minified code): it is not split."""

STEM_CHARS_MAX = 64
"""SQLite's porter leaves a longer word as it is; so does `stem`."""

STEMS_REMEMBERED_MAX = 16_384

WORD = re.compile(r"[^\W_]+")
CAMEL_CHARS_MIN = 3
# Opens with the capital, which is rare and which the engine looks for at memory speed; what is before it comes after.
_HUMP = re.compile(r"[A-Z](?:(?<=[a-z0-9][A-Z])|[A-Z][a-z]{2})")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\WA-Za-z0-9_]+")


def composed(text: str) -> str:
    """The text with composed characters: a file's name on macOS spells é in two, a person types it in one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def camel_parts(word: str) -> tuple[str, ...]:
    """The lower-case parts of a camelCase word, or nothing if it is not one: `getHTTPName` → get, http, name."""
    if len(word) > CAMEL_CHARS_MAX or not _HUMP.search(word):
        return ()
    parts = tuple(part.lower() for part in _PART.findall(word))
    return parts if len(parts) > 1 else ()


def camel_words(text: str) -> list[str]:
    """The distinct camelCase words of a text, in order of first appearance."""
    if not _HUMP.search(text):
        return []
    words = dict.fromkeys(WORD.findall(text))
    return [
        word
        for word in words
        if not word.islower() and CAMEL_CHARS_MIN <= len(word) <= CAMEL_CHARS_MAX and _HUMP.search(word)
    ]


# A memo of a pure function, bounded: texts repeat their words, and ranking a page stems thousands of them.
@lru_cache(maxsize=STEMS_REMEMBERED_MAX)
def stem(word: str) -> str:
    """The Porter stem of a lower-case word, letter for letter what SQLite's `porter` tokenizer stores.

    Source: Porter 1980, with the author's later `bli` and `logi` rules, as in SQLite's fts5_tokenize.c.
    """
    if not 3 <= len(word.encode("utf-8", "replace")) <= STEM_CHARS_MAX:
        return word
    word = _plural(word)
    word = _past(word)
    if len(word) > 1 and word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    word = _swap(word, _STEP_2)
    word = _swap(word, _STEP_3)
    word = _drop(word)
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_short(word[:-1])):
            word = word[:-1]
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word


_STEP_2 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("logi", "log"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
)
_STEP_3 = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_STEP_4 = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion"),
    *("ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


def _shape(word: str) -> str:
    """`c` and `v` for each letter; y is a vowel after a consonant."""
    shape = ""
    for letter in word:
        is_vowel = letter in "aeiou" or (letter == "y" and shape[-1:] == "c")
        shape += "v" if is_vowel else "c"
    return shape


def _measure(word: str) -> int:
    """How many times a vowel is followed by a consonant: Porter's m."""
    return _shape(word).count("vc")


def _has_vowel(word: str) -> bool:
    return "v" in _shape(word)


def _ends_short(word: str) -> bool:
    """Consonant, vowel, consonant at the end, the last not w, x or y: a syllable that keeps its e."""
    return _shape(word).endswith("cvc") and word[-1] not in "wxy"


def _plural(word: str) -> str:
    if not word.endswith("s") or word.endswith("ss"):
        return word
    if word.endswith("sses") or (word.endswith("ies") and len(word) > 3):
        return word[:-2]
    return word[:-1]


def _past(word: str) -> str:
    if word.endswith("eed") and len(word) > 3:
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        if word.endswith(ending):
            bare = word[: -len(ending)]
            return _mend(bare) if _has_vowel(bare) else word
    return word


def _mend(word: str) -> str:
    """What is left when `ed` or `ing` went: hop(p)ed → hop, fil(ed) → file."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if len(word) > 1 and word[-1] == word[-2] and word[-1] not in "aeioulsz":
        return word[:-1]
    if _measure(word) == 1 and _ends_short(word):
        return word + "e"
    return word


def _swap(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    for ending, other in rules:
        if word.endswith(ending) and len(word) > len(ending):
            bare = word[: -len(ending)]
            return bare + other if _measure(bare) > 0 else word
    return word


def _drop(word: str) -> str:
    for ending in sorted(_STEP_4, key=len, reverse=True):
        if word.endswith(ending) and len(word) > len(ending):
            bare = word[: -len(ending)]
            if ending == "ion" and not bare.endswith(("s", "t")):
                return word
            return bare if _measure(bare) > 1 else word
    return word
