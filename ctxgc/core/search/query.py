"""Queries: what a person or an agent typed, as terms to look up.

    panic "page fault" src/auth.py --no-verify path:*.rs foo NOT draft
      ──parse──▶ terms      panic, "page fault", "src auth py", --no-verify, foo
                 required   "page fault"               in quotes: no hit without it
                 excluded   draft                      and a note in the reply
                 filters    path = *.rs
                 phrase     every word in order: a run as it stands in a text comes first

What is typed is text unless it is unmistakable. Any text parses; nothing in it is ever an engine's own syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from ctxgc.core.search.lexemes import SIGNED, camel_parts, is_spaceless, lexemes, normalize_nfc, normalize_word, stem
from ctxgc.core.segment import Kind, State

TERMS_MAX = 48
"""Rarer terms tell more: of a longer query the rarest are looked at."""
TERMS_READ_MAX = 128
"""Terms of a query whose rarity is looked up."""
PHRASE_WORDS_MAX, PHRASE_LEXEMES_MAX = 16, 64
"""A longer query is an account, not a run of words that somebody remembers."""
PARTS_FROM_TOKENS = 3
"""In a query of so many words, a path or an identifier also counts by its parts."""
EXCLUDED_LETTERS_MIN = 3
COPIED_LEXEMES_MIN = 4
"""A run of so many words that stands in a text was copied from it: a NOT in it is text."""
ACCOUNT_WORDS_MIN, LONG_ACCOUNT_WORDS_MIN = 4, 8
"""Words of a query that make it an account: with a word of the stop list among them, and without."""

_STOP_WORDS = """
a an the and or of to in on at for with by from is are was were be been being do does did have has had it its this that
these those i you he she they we me him her them us my your his their our what when where who whom which why how s t not
no if as so than then there about into would could should can will may might also just any some such
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that tell nothing alone; between other words they stand in phrases."""

MOMENT = re.compile(r"(\d{1,6})(min|h|d|w)|\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?)?")
"""A moment as a filter: a span before now, or a day."""
_ANY = re.compile(r".+", re.DOTALL)
FIELDS = {
    **dict.fromkeys(("path", "tool", "project", "session", "task", "tag"), _ANY),
    **dict.fromkeys(("since", "until"), MOMENT),
    "kind": re.compile("|".join(kind.value for kind in Kind)),
    "state": re.compile("|".join(state.value for state in State if state is not State.FORGOTTEN)),
}
"""The fields of filters, and what their values look like: `kind:string` is text."""

_TOKEN = re.compile(r'([A-Za-z]+:)?"([^"]*)"|(\S+)')
_FILTER = re.compile(r"([A-Za-z]+):([^:].*)", re.DOTALL)
_AROUND = "\"'`()[]{}<>,;"
_SIGNS = "-+#"
"""The signs that are a part of a word."""
_HASH = re.compile(r"(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{6,40}")

_VERSION = re.compile(r"[vV]?[0-9]+(\.[0-9]+)+")


class Term(NamedTuple):
    """One thing asked for: any of `ways`, each a run of adjacent lexemes. `text` is what was typed, for notes."""

    ways: tuple[tuple[str, ...], ...]
    is_prefix: bool = False
    """The last lexeme of each way is the start of a lexeme."""
    text: str = ""

    def __str__(self) -> str:
        return self.text or " ".join(self.ways[0])

    @property
    def is_word(self) -> bool:
        """Whether this is one whole lexeme: no run, no start, no other way."""
        return not self.is_prefix and len(self.ways) == len(self.ways[0]) == 1

    @property
    def is_identifier(self) -> bool:
        """Whether the word as it stands comes before its humps and before longer words: a camelCase word or a hash."""
        return len(self.ways) > 1 or (self.is_prefix and bool(_HASH.fullmatch(self.text)))


class SearchQuery(NamedTuple):
    """A parsed query. `parts` are terms to try where `terms` match nothing; `excluded` terms were unmistakable."""

    terms: tuple[Term, ...] = ()
    required: tuple[Term, ...] = ()
    excluded: tuple[Term, ...] = ()
    phrase: tuple[str, ...] = ()
    literal: str = ""
    """The query in lower case, spaces evened out: a text that holds it as it is typed comes first."""
    filters: tuple[tuple[str, str], ...] = ()
    unread_filters: tuple[str, ...] = ()
    """What looks like a filter and has no value of one: words of the query, and a note in the reply."""
    parts: tuple[Term, ...] = ()
    is_account: bool = False
    """A sentence, and not words that somebody remembers: what stands around a segment may answer it too."""
    is_empty: bool = False
    """Nothing was typed but filters."""

    def with_terms(self, terms: Iterable[Term]) -> SearchQuery:
        """The query with other terms, without required terms."""
        return self._replace(terms=tuple(dict.fromkeys(terms)), required=(), phrase=(), literal="", parts=())

    @property
    def word_count(self) -> int:
        """The number of words asked for: a word with signs and the same word without signs count once."""
        return len({str(term).strip(_SIGNS) for term in self.terms})

    @property
    def has_signs(self) -> bool:
        """Whether signs tell texts apart that have the same words."""
        return any(not (character.isalnum() or character.isspace()) for character in self.literal)

    @property
    def has_outer_signs(self) -> bool:
        """Whether the query begins or ends with signs that end no sentence: words with these signs were copied."""
        core = self.literal.rstrip(".?!,:")
        return bool(core) and not (core[0].isalnum() and core[-1].isalnum())

    @property
    def bigrams(self) -> frozenset[tuple[str, str]]:
        """Pairs of lexemes side by side in the query; humps make no pair, or humps would outdo their word."""
        runs = [self.phrase, *(term.ways[0] for term in self.terms)]
        return frozenset(pair for run in runs for pair in pairwise(run) if pair[0] != pair[1])


class _Token(NamedTuple):
    text: str
    is_quoted: bool


def parse_query(query: str, is_flag: Iterable[str] = (), *, excludes: bool = True) -> SearchQuery:
    """Read a query; `is_flag`: `-words` that stand in texts as flags, and so are no exclusions here either.

    `excludes=False`: no word excludes, as in words copied out of a text.
    """
    flags = frozenset(is_flag)
    filters: list[tuple[str, str]] = []
    bare: list[_Token] = []
    excluded: dict[Term, None] = {}
    tokens = list(_tokenize(normalize_nfc(query), filters))
    skip = False
    for at, token in enumerate(tokens):
        if skip:
            skip = False
            continue
        if excludes and not token.is_quoted and token.text == "NOT" and _is_exclusion(tokens, at):
            excluded[_plain_term(tokens[at + 1].text)] = None
            skip = True
        elif (
            excludes
            and not token.is_quoted
            and (at or filters)
            and looks_like_exclusion(token.text)
            and token.text.lower() not in flags
        ):
            excluded[_plain_term(token.text[1:])] = None
        else:
            bare.append(token)
    terms, required, parts = _terms_of_tokens(bare)
    phrase = tuple(lexeme for token in bare for lexeme in lexemes(token.text.rstrip("*")))
    is_short = len(bare) <= PHRASE_WORDS_MAX and len(phrase) <= PHRASE_LEXEMES_MAX
    is_run = is_short and len(phrase) > 1 and len(bare) > 1
    return SearchQuery(
        terms=tuple(terms)[:TERMS_READ_MAX],
        required=tuple(required),
        excluded=tuple(excluded),
        phrase=phrase if is_run else (),
        literal=" ".join(token.text for token in bare).lower() if is_short else "",
        filters=tuple(filters),
        parts=tuple(part for part in parts if part not in terms)[:TERMS_READ_MAX],
        is_account=_is_account(bare),
        is_empty=not tokens,
        unread_filters=tuple(token.text for token in bare if not token.is_quoted and _is_unread_filter(token.text)),
    )


def looks_like_exclusion(token: str) -> bool:
    """Whether a token looks like `-word`: a dash and letters alone, more than a short flag has."""
    return token[:1] == "-" and token[1:].isalpha() and len(token) > EXCLUDED_LETTERS_MIN


def _tokenize(query: str, filters: list[tuple[str, str]]) -> Iterator[_Token]:
    """The tokens of a query; filters go to `filters`."""
    for field, quoted, text in _TOKEN.findall(query):
        match = _FILTER.fullmatch(text or field + quoted)
        name, value = (match[1].lower(), match[2].strip('"')) if match else ("", "")
        if (text or field) and name in FIELDS and FIELDS[name].fullmatch(value):
            filters.append((name, value))
        elif text:
            yield _Token(text, False)
        else:
            if field:
                yield _Token(field, False)
            yield _Token(quoted, True)


def _is_unread_filter(text: str) -> bool:
    match = _FILTER.fullmatch(text)
    return match is not None and match[1].lower() in FIELDS


def _is_exclusion(tokens: list[_Token], at: int) -> bool:
    """Whether the NOT at this place excludes: among capitals (`IF NOT EXISTS`) NOT is text."""
    after = tokens[at + 1].text if at + 1 < len(tokens) else ""
    before = tokens[at - 1].text if at else ""
    is_loud = after.isupper() or (before.isupper() and len(before) > 1)
    return bool(lexemes(after)) and not is_loud


def _plain_term(text: str) -> Term:
    return Term((tuple(lexemes(text)),), text=text)


def _is_account(tokens: list[_Token]) -> bool:
    has_stop_word = any(normalize_word(token.text.strip(_AROUND)) in STOP_WORDS for token in tokens)
    return len(tokens) >= (ACCOUNT_WORDS_MIN if has_stop_word else LONG_ACCOUNT_WORDS_MIN)


def _terms_of_tokens(tokens: list[_Token]) -> tuple[list[Term], list[Term], list[Term]]:
    """The terms of the tokens, the required terms, and the parts of paths and identifiers."""
    terms: dict[Term, None] = {}
    required: list[Term] = []
    stops: dict[Term, None] = {}
    parts: dict[Term, None] = {}
    for token in tokens:
        if token.is_quoted:
            term = _plain_term(token.text)
            if term.ways[0]:
                terms[term] = None
                required.append(term)
            continue
        for term in _terms_of_unquoted_token(token.text):
            is_stop = (
                len(term.ways) == len(term.ways[0]) == 1
                and normalize_word(token.text.strip(_AROUND + ".?!:")) in STOP_WORDS
            )
            (stops if is_stop else terms)[term] = None
        parts.update(dict.fromkeys(_parts_of_token(token.text)))
    if len(tokens) >= PARTS_FROM_TOKENS:
        terms |= parts
    return list(terms or stops), required, list(parts)


def _terms_of_unquoted_token(token: str) -> Iterator[Term]:
    """The terms of a token without quotes: the word with signs, if any, and the run of lexemes."""
    core = token.strip(_AROUND)
    signed = next((word.lower() for word in SIGNED.findall(core) if len(word) == len(core)), "")
    if signed:
        yield Term(((signed,),), text=core)
        core = core.strip(_SIGNS)
        if len(core) < 2 or not core[1:]:
            return
    is_star = token.endswith("*") and len(token) > 1
    run = tuple(lexemes(core.rstrip("*")))
    if not run or (signed and len(core) < EXCLUDED_LETTERS_MIN):
        return
    humps = tuple(map(stem, map(normalize_word, camel_parts(core)))) if core.isalnum() else ()
    is_hash = bool(_HASH.fullmatch(core))
    is_letter = len(core) == 1 and is_spaceless(core)
    if _VERSION.fullmatch(core):
        other = (run[0].removeprefix("v") if run[0][0] == "v" else f"v{run[0]}", *run[1:])
        yield Term((run, other), text=core)
    elif humps:
        yield Term((run, humps), is_prefix=True, text=core)
    else:
        # The last part of a path may be a name's start, unless it has an ending.
        is_start = "/" in core and len(run) > 1 and "." not in core.rpartition("/")[2][1:]
        yield Term((run,), is_prefix=is_star or is_hash or is_letter or is_start, text=core)


def _parts_of_token(token: str) -> Iterator[Term]:
    """The words inside a path, an identifier or another run, each by itself."""
    words = re.findall(r"[^\W_]+", token)
    humps = [part for word in words for part in camel_parts(word)]
    if len(words) + len(humps) < 2:
        return
    for word in [*words, *humps]:
        run = tuple(lexemes(word))
        if run and len(word) > 1 and normalize_word(word) not in STOP_WORDS:
            yield Term((run,), text=word)
