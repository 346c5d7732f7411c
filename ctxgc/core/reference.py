"""References: the older segments that a new segment builds on, derived from facts and text, never asked for.

    edge          from → to (always older)                                        mark follows
    parent        tool call → the user text it serves                              yes
    same file     read, edit, write → the newest segment that holds those lines   yes
    edit source   edit → the newest read that holds most of its old lines         yes
    identifier    a rare code word → its newest holder                            yes
    chain         member of a task → the member before                            yes
    given         what a client said                                              yes
    recalls       `ctxgc recall` in the shell → what it brought back              yes
    supersedes    newer read, plan, write → what it replaces                      no: it makes that garbage
    summarises    summary → what it stands for                                    no

A code word has six characters or more and an underscore, a digit or a camel hump. A word is a reference only while at
most three segments hold the word; a common word is no reference. Words and lines are kept as 64-bit hashes: the index
answers questions for holders, and cannot be read back.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable
from itertools import islice

from ctxgc.core.bounded_dict import drop_oldest
from ctxgc.core.paths import PathIndex
from ctxgc.core.segment import Access, EdgeKind, Kind, Segment, Status

HOLDERS_MAX = 3
WORDS_MAX = 400_000
LINES_MAX = 200_000
TASKS_MAX = 4096
"""Bounds of the index (I12); what was first met longest ago is dropped first."""
WORDS_PER_SEGMENT_MAX = 4096
TEXT_CHARS_MAX = 2**20
"""Of each piece, only so much is looked through for words and lines."""
IDENTIFIER_EDGES_MAX = 8
LINE_CHARS_MIN = 8

_COMMON = -1
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{5,63}")
# Keys are the tool's words, not the speaker's; an escape would stick to the word behind it (`\\nfoo_bar`).
_JSON_SYNTAX = re.compile(r'\\(?:u[0-9a-fA-F]{4}|.)|"[^"\\]*":')
_LINE_NUMBER = re.compile(r"^\s*\d+(?:→|\t|: ?)")

Ref = tuple[int, int]


def code_words(text: str) -> list[str]:
    """Distinct code words of a text, in order of appearance, at most `WORDS_PER_SEGMENT_MAX`."""
    words = []
    for word in dict.fromkeys(_WORD.findall(text, 0, TEXT_CHARS_MAX)):
        # Plain words are lower, UPPER or Capitalised letters; what is left has a digit, an underscore or a hump.
        if word.isalpha() and (word[1:].islower() or word.isupper()):
            continue
        words.append(word)
        if len(words) == WORDS_PER_SEGMENT_MAX:
            break
    return words


def source_lines(text: str) -> list[str]:
    """Distinct lines as an edit would quote them: without line numbers and outer space, 8 characters or more."""
    stripped = (_LINE_NUMBER.sub("", line).strip() for line in text[:TEXT_CHARS_MAX].splitlines())
    return list(dict.fromkeys(line for line in stripped if len(line) >= LINE_CHARS_MIN))


class ReferenceIndex:
    """The holders of words, lines and paths in a session. A cache: rebuilt from the stash when a session wakes."""

    def __init__(self) -> None:
        self.paths = PathIndex()
        self._words: dict[int, tuple[int, ...] | int] = {}
        self._lines: dict[int, int] = {}
        self._spoken: tuple[Segment | None, list[str]] = (None, [])
        """The code words that the segment looked at last speaks: it is referred from, and then recorded."""
        self._users: list[int] = []
        self._task_member: dict[str, int] = {}

    @property
    def entry_count(self) -> int:
        """Words and lines in the index: nearly all of the index's memory."""
        return len(self._words) + len(self._lines)

    def table_sizes(self) -> dict[str, int]:
        """Entries held, by table."""
        uses = sum(len(history.uses) for history in self.paths.histories.values())
        return {
            "words": len(self._words),
            "lines": len(self._lines),
            "path_uses": uses,
            "paths": len(self.paths.histories),
            "tasks": len(self._task_member),
        }

    def derive_references(
        self, slot: int, segment: Segment, given: Iterable[int] = (), *, recalled: int = -1
    ) -> list[Ref]:
        """References of a segment that takes `slot`, newest evidence first, without duplicates.

        `recalled` is the slot that the segment recalled, if any. Reads the index only; `add_facts` and `add_text`
        record the segment afterwards. O(words, lines and paths of the segment).
        """
        refs: list[Ref] = [(target, EdgeKind.GIVEN) for target in given if target < slot]
        if 0 <= recalled < slot:
            refs.append((recalled, EdgeKind.RECALLS))
        # A call that completes late may be older than the newest user text.
        users_before = bisect_left(self._users, slot)
        if segment.kind is Kind.TOOL_CALL and users_before:
            refs.append((self._users[users_before - 1], EdgeKind.PARENT))
        for use in segment.paths:
            holder = self.paths.newest_holder(use, slot) if use.access is not Access.MENTION else -1
            if holder >= 0:
                refs.append((holder, EdgeKind.SAME_FILE))
        source = self._edit_source_slot(slot, segment)
        if source >= 0:
            refs.append((source, EdgeKind.EDIT_SOURCE))
        refs += self._identifier_refs(slot, segment)
        member = self._task_member.get(segment.task, -1) if segment.task else -1
        if 0 <= member < slot:
            refs.append((member, EdgeKind.CHAIN))
        return [ref for ref in dict.fromkeys(refs) if ref[0] != slot]

    def holders_of(self, text: str) -> list[int]:
        """The slots that hold a rare code word, ascending, or else the newest slot that holds a line."""
        holders, newest = self._words.get(hash(text)), self._lines.get(hash(text), -1)
        if isinstance(holders, tuple):
            return sorted(holders)
        return [newest] if newest >= 0 and holders is None else []

    def _edit_source_slot(self, slot: int, segment: Segment) -> int:
        if not segment.edit_sources:
            return -1
        votes: Counter[int] = Counter()
        for text in segment.edit_sources:
            for line in source_lines(text):
                holder = self._lines.get(hash(line), -1)
                if 0 <= holder < slot:
                    votes[holder] += 1
        return max(votes, key=lambda holder: (votes[holder], holder), default=-1)

    def _identifier_refs(self, slot: int, segment: Segment) -> list[Ref]:
        votes: dict[int, int] = {}
        for word in self._spoken_words(segment):
            holders = self._words.get(hash(word), ())
            if isinstance(holders, tuple):
                newest = max((holder for holder in holders if holder < slot), default=-1)
                if newest >= 0:
                    votes[newest] = votes.get(newest, 0) + 1
        ranked = sorted(votes, key=lambda holder: (-votes[holder], -holder))
        return [(holder, EdgeKind.IDENTIFIER) for holder in ranked[:IDENTIFIER_EDGES_MAX]]

    def add_facts(self, slot: int, segment: Segment) -> None:
        """Record who speaks, the task and the paths of the segment in `slot`. Needs no content."""
        if segment.kind is Kind.USER:
            insort(self._users, slot)
        if segment.task:
            self._task_member[segment.task] = max(slot, self._task_member.get(segment.task, -1))
            drop_oldest(self._task_member, TASKS_MAX)
        for use in segment.paths:
            # A call that failed shows no lines and changes none, or at least nobody knows which.
            known = use._replace(access=Access.MENTION) if segment.status is Status.ERROR else use
            self.paths.record_use(known, slot, segment.born_turn)

    def add_text(self, slot: int, segment: Segment) -> None:
        """Record the words and lines that the segment in `slot` holds. Twice is as good as once."""
        results = [piece.text for piece in segment.body if piece.name == "result"]
        self._add_words(slot, [*self._spoken_words(segment), *code_words("\n".join(results))])
        self._spoken = None, []  # It would keep the text.
        is_ok = segment.status is not Status.ERROR
        if is_ok and any(use.access is not Access.MENTION for use in segment.paths):
            self._add_lines(slot, segment)

    def _spoken_words(self, segment: Segment) -> list[str]:
        known, words = self._spoken
        if known is not segment:
            words = code_words(spoken_text(segment))
            self._spoken = segment, words
        return words

    def _add_words(self, slot: int, said: list[str]) -> None:
        words, alone = self._words, (slot,)  # Most words have one holder: a tuple for all of a segment's.
        for key in map(hash, islice(dict.fromkeys(said), WORDS_PER_SEGMENT_MAX)):
            holders = words.get(key)
            if holders is None:
                words[key] = alone
            elif isinstance(holders, tuple) and slot not in holders:
                words[key] = (*holders, slot) if len(holders) < HOLDERS_MAX else _COMMON
        drop_oldest(words, WORDS_MAX)

    def _add_lines(self, slot: int, segment: Segment) -> None:
        lines = self._lines
        for piece in segment.body:
            # What an edit replaced is what it needed, not what it holds.
            for line in source_lines(piece.text) if ".old" not in piece.name else ():
                key = hash(line)
                lines[key] = max(slot, lines.get(key, -1))
        drop_oldest(lines, LINES_MAX)


def spoken_text(segment: Segment) -> str:
    """The speaker's words: of a tool call the call, not the result; else the whole text."""
    pieces = [piece.text for piece in segment.body if piece.name != "result"]
    if segment.kind is Kind.TOOL_CALL:
        pieces.append(_JSON_SYNTAX.sub(" ", segment.skeleton.decode("utf-8", "replace")))
    return "\n".join(pieces)
