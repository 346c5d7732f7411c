"""References: the older segments that a new segment builds on, derived from facts and text, never asked for.

    edge         from → to (always older)                                                     followed
    given        what a client said                                                           by the mark
    path line    result that names `file:line` → the newest view of that line                 one hop from a root
    path spoken  text, thinking or call that names a file → the newest segment of the file    one hop from a root
    plan item    plan → the files that the plan names, and who defines two of its words       one hop from a root
    definition   text, thinking or call that says a code word → who defines the word          one hop from a root
    replaces     read, edit, write → the newest segment of those lines, which it replaces     no
    recalls      `ctxgc recall` in the shell → the segment that came back                     no

A derived edge is followed where the same segment seldom finds an edge of the kind in another session: its placebo share
is one in six at most (`python -m perf.bench_references`, docs/decisions/0047). Nothing follows `replaces`: whether the
older segment still is a view of lines is what counts (`core.liveness`). `refs` shows the edge.

A word is rare while at most three segments hold the word, or define it. Words are kept as 64-bit hashes: the index
answers questions for holders, and cannot be read back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice

from ctxgc.core.bounded_dict import drop_oldest_entries
from ctxgc.core.paths import PathIndex
from ctxgc.core.segment import LINE_MAX, Access, EdgeKind, Kind, PathUse, Segment, SegmentHeader, Status
from ctxgc.core.spoken_words import (
    WORDS_PER_SEGMENT_MAX,
    code_words,
    defined_words,
    named_files,
    named_lines,
    spoken_text,
)

HOLDERS_MAX = 3
WORDS_MAX = 400_000
DEFINITIONS_MAX = 100_000
"""Bounds of the index (I12); what was first met longest ago is dropped first."""
EDGES_PER_KIND_MAX = 8
PLAN_WORDS_MIN = 2
"""So many words of a plan make a segment that defines them an item of the plan."""

_COMMON = -1
_SPEAKING = frozenset({Kind.USER, Kind.ASSISTANT, Kind.THINKING, Kind.TOOL_CALL, Kind.SUMMARY})

Ref = tuple[int, int]


class ReferenceIndex:
    """The holders of definitions and paths in a session, and of words where asked for. A cache: rebuilt when a session
    wakes.

    No reference needs the holders of words: shortening in shadow asks for them, for half of the index's memory.
    """

    def __init__(self, *, has_words: bool = False) -> None:
        self.paths = PathIndex()
        self._has_words = has_words
        self._words: dict[int, tuple[int, ...] | int] = {}
        self._definers: dict[int, tuple[int, ...] | int] = {}
        self._spoken: tuple[Segment | None, str, list[str]] = (None, "", [])
        """What the segment looked at last speaks, and its code words: it is referred from, and then recorded."""

    @property
    def entry_count(self) -> int:
        """Words and definitions in the index: nearly all of the index's memory."""
        return len(self._words) + len(self._definers)

    def table_sizes(self) -> dict[str, int]:
        """Entries held, by table."""
        uses = sum(len(history.uses) for history in self.paths.histories.values())
        return {
            "words": len(self._words),
            "definitions": len(self._definers),
            "path_uses": uses,
            "paths": len(self.paths.histories),
        }

    def derive_references(
        self, slot: int, segment: Segment, given: Iterable[int] = (), *, recalled: int = -1
    ) -> list[Ref]:
        """References of a segment that takes `slot`, without duplicates, at most `EDGES_PER_KIND_MAX` of a derived
        kind.

        `recalled` is the slot that the segment recalled, if any. Reads the index only; `add_paths` and `add_words`
        record the segment afterwards. O(text, words and paths of the segment).
        """
        refs: list[Ref] = [(target, EdgeKind.GIVEN) for target in given if target < slot]
        if 0 <= recalled < slot:
            refs.append((recalled, EdgeKind.RECALLS))
        for use in segment.paths:
            holder = self.paths.newest_use_slot(use, slot) if use.access is not Access.MENTION else -1
            if holder >= 0:
                refs.append((holder, EdgeKind.REPLACES))
        if segment.kind is Kind.PLAN or segment.facts.is_plan:
            refs += self._references_of_kind(self._plan_item_slots(slot, segment), EdgeKind.PLAN_ITEM)
        elif segment.kind in _SPEAKING:
            refs += self._references_of_kind(self._spoken_file_slots(slot, segment), EdgeKind.PATH_SPOKEN)
            refs += self._references_of_kind(self._defining_slots(slot, segment), EdgeKind.DEFINITION)
        if segment.kind is Kind.TOOL_CALL:
            refs += self._references_of_kind(self._named_line_slots(slot, segment), EdgeKind.PATH_LINE)
        return [ref for ref in dict.fromkeys(refs) if ref[0] != slot]

    def _references_of_kind(self, targets: Iterable[int], kind: EdgeKind) -> list[Ref]:
        distinct = dict.fromkeys(target for target in targets if target >= 0)
        return [(target, kind) for target in islice(distinct, EDGES_PER_KIND_MAX)]

    def _spoken_file_slots(self, slot: int, segment: Segment) -> Iterator[int]:
        """The newest segments of the files that a segment speaks of, but for the files of the call itself."""
        own = {use.path for use in segment.paths}
        for words in dict.fromkeys(named_files(self._spoken_text_and_words(segment)[0])):
            path = self.paths.known_path(words)
            if path and path not in own:
                yield self.paths.newest_use_slot(PathUse(path, Access.READ, 1, LINE_MAX), slot)

    def _named_line_slots(self, slot: int, segment: Segment) -> Iterator[int]:
        """The newest views of the lines that a call's result names."""
        for piece in segment.body:
            for words, line in dict.fromkeys(named_lines(piece.text)) if piece.name == "result" else ():
                path = self.paths.known_path(words)
                if path and 0 < line <= LINE_MAX:
                    yield self.paths.newest_slot_with_view(PathUse(path, Access.READ, line, line), slot)

    def _plan_item_slots(self, slot: int, segment: Segment) -> Iterator[int]:
        yield from self._spoken_file_slots(slot, segment)
        votes = Counter(
            self._newest_slot_with_word(self._definers, word, slot) for word in self._spoken_text_and_words(segment)[1]
        )
        yield from sorted((h for h, count in votes.items() if count >= PLAN_WORDS_MIN), key=lambda h: (-votes[h], -h))

    def _defining_slots(self, slot: int, segment: Segment) -> Iterator[int]:
        votes = Counter(
            self._newest_slot_with_word(self._definers, word, slot) for word in self._spoken_text_and_words(segment)[1]
        )
        yield from sorted(votes, key=lambda holder: (-votes[holder], -holder))

    @staticmethod
    def _newest_slot_with_word(table: dict[int, tuple[int, ...] | int], word: str, before: int) -> int:
        """The newest slot under a rare word, older than `before`; -1 without such a slot."""
        holders = table.get(word_key(word), ())
        return max((h for h in holders if h < before), default=-1) if isinstance(holders, tuple) else -1

    def slots_with_word(self, word: str) -> list[int]:
        """The slots that hold a rare code word, ascending; none of a common word, or in an index without words."""
        holders = self._words.get(word_key(word))
        return sorted(holders) if isinstance(holders, tuple) else []

    def add_paths(self, slot: int, segment: Segment | SegmentHeader, *, is_outside: bool = False) -> None:
        """Record the paths of the segment in `slot`, in the window or outside. Needs no content."""
        for use in segment.paths:
            # A call that failed shows no lines and changes none, or at least nobody knows which.
            known = use._replace(access=Access.MENTION) if segment.status is Status.ERROR else use
            self.paths.record_use(known, slot, segment.born_turn, is_outside=is_outside)

    def add_words(self, slot: int, segment: Segment) -> None:
        """Record the words that the segment in `slot` defines, and holds. Twice is as good as once."""
        if self._has_words:
            results = "\n".join(piece.text for piece in segment.body if piece.name == "result")
            words = [*self._spoken_text_and_words(segment)[1], *code_words(results)]
            _add_slot_under_keys(self._words, slot, _distinct_keys(words))
            drop_oldest_entries(self._words, WORDS_MAX)
        self.add_definitions(slot, definition_keys(segment))
        self._spoken = None, "", []  # It would keep the text.

    def add_definitions(self, slot: int, keys: Iterable[int]) -> None:
        """Record the `definition_keys` of the segment in `slot`."""
        _add_slot_under_keys(self._definers, slot, keys)
        drop_oldest_entries(self._definers, DEFINITIONS_MAX)

    def _spoken_text_and_words(self, segment: Segment) -> tuple[str, list[str]]:
        """The text that a segment speaks, and its code words."""
        known, text, words = self._spoken
        if known is not segment:
            text = spoken_text(segment)
            words = code_words(text)
            self._spoken = segment, text, words
        return text, words


def word_key(word: str) -> int:
    """The 64-bit hash of a word, the same in every process: the stash keeps the keys of definitions."""
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little", signed=True)


def _distinct_keys(words: Iterable[str]) -> Iterator[int]:
    return map(word_key, islice(dict.fromkeys(words), WORDS_PER_SEGMENT_MAX))


def definition_keys(segment: Segment) -> Iterator[int]:
    """The keys of the distinct words that a segment defines, at most `WORDS_PER_SEGMENT_MAX`."""
    # What an edit replaced is what it needed, not what it defines.
    texts = [piece.text for piece in segment.body if ".old" not in piece.name]
    return _distinct_keys(word for text in texts for word in defined_words(text))


def _add_slot_under_keys(table: dict[int, tuple[int, ...] | int], slot: int, keys: Iterable[int]) -> None:
    alone = (slot,)  # Most words have one holder: a tuple for all of a segment's.
    for key in keys:
        holders = table.get(key)
        if holders is None:
            table[key] = alone
        elif isinstance(holders, tuple) and slot not in holders:
            table[key] = (*holders, slot) if len(holders) < HOLDERS_MAX else _COMMON
