"""Lexemes: what an index holds of a text, made once in here so that every engine finds alike.

    "getUserName: Straße 数据库 --no-verify"
        lexemes ──▶ getusernam  strass  数据 据库  no verifi      in order, for words and phrases
        extras  ──▶ get user name  --no-verify                    behind the text: parts of words, words with signs

A lexeme is the stem of a run of letters, digits and their marks, without case and accents: English, in their scripts
Russian and Greek, light stems of Arabic and Hebrew. An underscore ends a run, and so does another script. Scripts
without spaces become pairs of characters. Emoji are lexemes.
Sources: Porter 2001 (Snowball), by its own library; light stems, Larkey, Ballesteros & Connell 2007; pairs of
characters: CJK indexing as in Lucene's CJKAnalyzer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import Stemmer

WORD_CHARS_MAX = 64
"""A longer word is data (base64, minified code): its start stands for it, and it has no parts."""
CAMEL_CHARS_MIN = 3
LEXEMES_REMEMBERED_MAX = 2**16
STEM_TAILS, TAILLESS_CHARS_MAX = ("ie", "e", "i", "l", "y"), 2
"""Ends of stems that a word may have otherwise (dying, cried, sensibility), and the length up to which no stem has one:
all other stems of ASCII begin their words."""

_stemmer = Stemmer.Stemmer("english", 0)
_STEMMERS = {script: Stemmer.Stemmer(language, 0) for script, language in (("\u0370", "greek"), ("\u0400", "russian"))}
"""The stemmers of other scripts, by the first letter of each script's block."""
_BLOCKS = (("\u0370", "\u03ff"), ("\u0400", "\u052f"))
_ARTICLE = re.compile("^(?:(?:[\u0648\u0628\u0643\u0641]?\u0627\u0644|\u0644\u0644)|\u05d5?\u05d4)(?=.{3})")
_ARABIC_ENDING = re.compile(
    "(?<=.{3})(?:\u0647\u0627|\u0627[\u0646\u062a]|[\u0648\u064a]\u0646|\u064a?[\u0647\u064a])$"
)
"""Articles of Arabic and Hebrew, which are one word with their noun, and the commonest endings of Arabic."""
_ARABIC_FORMS = str.maketrans(
    "\u0629\u0649\u0622\u0623\u0625\u0671\u0624\u0626",
    "\u0647\u064a\u0627\u0627\u0627\u0627\u0648\u064a",
    "\u0640\u0653\u0654\u0655\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652\u0670",
)
_UNDECOMPOSED = str.maketrans(
    {"ı": "i", "ł": "l", "đ": "d", "ð": "d", "ø": "o", "ħ": "h", "ŧ": "t", "æ": "ae", "œ": "oe", "þ": "th"}
)
"""Letters that Unicode does not take apart, and that a keyboard without them spells so."""
_LONGEST_WORD = "x" * (4 * WORD_CHARS_MAX)
"""As long as any word that the stemmer is given, in bytes of UTF-8."""

STEMMER_VERSION = tuple(map(int, Stemmer.version().split(".")[:3]))
"""Part of the index's version: another stemmer makes other lexemes."""


def _combining_mark_ranges() -> str:
    """Ranges of combining marks: general ones, and the vowel signs of the scripts of India, block by block."""
    general = "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    india = "".join(
        f"{chr(at)}-{chr(at + 3)}{chr(at + 0x3A)}-{chr(at + 0x3C)}{chr(at + 0x3E)}-{chr(at + 0x4F)}"
        f"{chr(at + 0x51)}-{chr(at + 0x57)}{chr(at + 0x62)}-{chr(at + 0x63)}"
        for at in range(0x0900, 0x0E00, 0x80)
    )
    return general + india + "\u200d"


COMBINING_MARKS = _combining_mark_ranges()
SPACELESS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "\u3040-\u309f",
    "\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f",
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff",
    "\u0e00-\u0e7f",
    "\u0e80-\u0eff",
    "\u1000-\u109f",
    "\u1780-\u17ff",
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf",
    "\u1b00-\u1b7f",
    "\ua980-\ua9df",
)
"""Han, Hiragana, Katakana, Hangul, Thai, Lao, Burmese, Khmer, Tai scripts, Balinese, Javanese: no spaces between words,
or endings without a space."""
EMOJI = "\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55"

_LETTER = f"[^\\W_{''.join(SPACELESS)}]"
_ASCII_RUN = re.compile(r"[\x00-\x7f]+")
_PLAIN = bytes(ord(chr(at).lower()) if at < 128 and chr(at).isalnum() else ord(" ") for at in range(256))
"""Words of ASCII in lower case with spaces between them: five times as fast as the pattern."""
_TOKEN = re.compile(
    f"(?P<word>{_LETTER}+(?:[{COMBINING_MARKS}]+{_LETTER}*)*)"
    f"|(?P<run>{'|'.join(f'[{script}]+' for script in SPACELESS)})"
    f"|(?P<emoji>[{EMOJI}])"
)
_FOREIGN = re.compile(
    f"[^\\W\x00-\x7f]|[{EMOJI}{COMBINING_MARKS}{''.join(SPACELESS)}]"
)  # Newer letters are none to Python.
_RUN_END = re.compile("|".join(f"[{script}](?![{script}])" for script in SPACELESS))
_NOT_INDEXED = re.compile(r"[\x00-/:-@\[-`{-\x7f]+")

# Opens with the capital, which is rare and which the engine looks for at memory speed; what is before it comes after.
_HUMP = re.compile(r"[A-Z](?:(?<=[a-z0-9][A-Z])|[A-Z][a-z]{2})")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\WA-Za-z0-9_]+")
_WORD = re.compile(r"[^\W_]+")

SIGNED = re.compile(
    r"(?<![\w-])--[A-Za-z][\w-]*"
    r"|(?:(?<=[ \t\"'`(\[{=|,])|(?<![^\n])(?=-[A-Za-z]+\Z))-[A-Za-z]{1,16}(?![\w-])"
    r"|(?<![\w#&])#[A-Za-z]\w*"
    r"|(?<![\w+#])[A-Za-z]\w?(?:\+\+|#)(?![\w+#])"
)
"""Words of which a sign is a part: `--flag`, `-x`, `#include`, `C++`. A dash at the start of a line is a diff's."""


@lru_cache(maxsize=LEXEMES_REMEMBERED_MAX)
def stem(word: str) -> str:
    """The stem of a lower-case word; of a long one its start, which is no word of any language."""
    if len(word) >= WORD_CHARS_MAX:
        return word[:WORD_CHARS_MAX]
    if "\u0590" <= word[:1] <= "\u06ff":
        return _ARABIC_ENDING.sub("", _ARTICLE.sub("", word.translate(_ARABIC_FORMS))) or word
    stemmer = _stemmer if word.isascii() else _STEMMERS.get(_block_start(word[0]), _stemmer)
    return str(stemmer.stemWord(word))


def _block_start(letter: str) -> str:
    """The first letter of the block of Greek or Cyrillic that a letter is of; of another the letter."""
    return next((first for first, last in _BLOCKS if first <= letter <= last), letter)


def overwrite_last_word() -> None:
    """Overwrite the stemmers' own copies of their last words, which a stemmer keeps until the next word comes."""
    for stemmer in (_stemmer, *_STEMMERS.values()):
        stemmer.stemWord(_LONGEST_WORD)


@lru_cache(maxsize=LEXEMES_REMEMBERED_MAX)
def normalize_word(word: str) -> str:
    """A word without case, accents and letters' variants: `Straße` and `STRASSE`, `é` in one character or in two."""
    if word.isascii():
        return word.lower()
    plain = unicodedata.normalize("NFKD", word.casefold())
    plain = re.sub("[\u0300-\u036f\u200d]", "", plain).casefold().translate(_UNDECOMPOSED)
    return _NOT_INDEXED.sub("", unicodedata.normalize("NFC", plain)) or word.casefold()


def normalize_nfc(text: str) -> str:
    """The text with composed characters: a file's name on macOS spells é in two, a person types it in one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def lexemes(text: str) -> list[str]:
    """The lexemes of a text, in order."""
    if not has_only_ascii_words(text):
        return [lexeme for lexeme, _, _ in lexeme_spans(text)]
    return list(map(stem, blank_out_signs(text).split()))


def blank_out_signs(text: str) -> str:
    """The words of a plain text in lower case, at their places, with a space for every other character."""
    return text.encode("ascii", "replace").translate(_PLAIN).decode("ascii")


def common_word_prefix(lexeme: str) -> str:
    """The letters that every word of ASCII with this stem begins with."""
    if len(lexeme) <= TAILLESS_CHARS_MAX:
        return lexeme
    return lexeme.removesuffix(next(filter(lexeme.endswith, STEM_TAILS), ""))


def has_only_ascii_words(text: str) -> bool:
    """Whether all words of a text are letters and digits of ASCII, whatever signs stand between them."""
    return text.isascii() or not _FOREIGN.search(_ASCII_RUN.sub("", text))


def lexeme_spans(text: str) -> Iterator[tuple[str, int, int]]:
    """The lexemes of a text in order, each with its half-open range of characters."""
    for token in _TOKEN.finditer(text):
        start, end = token.span()
        if token.lastgroup == "word":
            yield stem(normalize_word(token[0])), start, end
        elif token.lastgroup == "emoji" or end - start == 1:
            yield normalize_word(token[0]), start, end
        else:
            for at in range(start, end - 1):
                yield normalize_word(text[at : at + 2]), at, at + 2


def is_spaceless(character: str) -> bool:
    """Whether words of the character's script stand without spaces: one character is a part of pairs, then."""
    token = _TOKEN.match(character)
    return token is not None and token.lastgroup == "run"


def camel_parts(word: str) -> tuple[str, ...]:
    """The lower-case parts of a camelCase word, no part of any other word: `getHTTPName` → get, http, name."""
    if len(word) > WORD_CHARS_MAX or not _HUMP.search(word):
        return ()
    parts = tuple(part.lower() for part in _PART.findall(word))
    return parts if len(parts) > 1 else ()


def extra_index_words(text: str) -> list[str]:
    """What the index has of a text behind its lexemes: parts of camelCase words, signed words, last letters of runs.

    Each once. The last letter of a run begins no pair, and a query for one letter asks for pairs that begin with it.
    """
    words: list[str] = []
    if _HUMP.search(text):
        for word in dict.fromkeys(_WORD.findall(text)):
            if len(word) >= CAMEL_CHARS_MIN and not word.islower():
                words += (stem(normalize_word(part)) for part in camel_parts(word))
    if "-" in text or "#" in text or "++" in text:
        words += dict.fromkeys(word.lower()[:WORD_CHARS_MAX] for word in SIGNED.findall(text))
    if not text.isascii():
        words += dict.fromkeys(map(normalize_word, _RUN_END.findall(text)))
    return words
