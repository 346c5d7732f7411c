"""The script of an episode: the part of a replay that no policy changes, derived once.

episode, demand ──script_of──▶ admissions by turn, with references, proofs of garbage and paths ──▶ `simulate`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ctxgc.adapters.contract import RESULT_PIECE
from ctxgc.core.entry.elisions import is_elidable
from ctxgc.core.entry.shortening import BirthFacts, SaidWords, birth_facts, is_shortenable
from ctxgc.core.garbage import GarbageIndex
from ctxgc.core.heap import HeapEntry, Proof
from ctxgc.core.heap_entry import heap_entry_of
from ctxgc.core.recall_commands import recalled_name
from ctxgc.core.reference import ReferenceIndex
from ctxgc.core.segment import Access, PathUse, Segment, parse_address
from ctxgc.replay.demand import Demand, EvictionScope, greedy_cover
from ctxgc.replay.entry import WHOLE, EntryRules
from ctxgc.replay.trace import CountedSegment, Episode


@dataclass(frozen=True, slots=True)
class SlotAdmission:
    """A segment on its way into a heap: the part that does not depend on a policy, derived once."""

    entry: HeapEntry
    refs: tuple[tuple[int, int], ...]
    proofs: tuple[tuple[int, Proof], ...]
    uses: tuple[PathUse, ...]
    reads: tuple[int, ...]
    """Newest earlier segments of the lines that it reads, an edit of all lines: an explicit fault if one is out."""
    views: tuple[int, ...]
    """Newest earlier views of the lines that it reads: a view fault if one is out."""
    result: str | None = None
    """The text of a call's result where pointers may stand in it."""
    result_tokens: int = 0
    birth: BirthFacts | None = None
    """The facts that shortening rests upon; None where the result stays whole."""


@dataclass(frozen=True, slots=True)
class Step:
    """A turn, ready to be simulated."""

    turn: int
    wall_s: float
    before: tuple[SlotAdmission, ...]
    reply: tuple[SlotAdmission, ...]
    cleared: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EpisodeScript:
    """An episode, ready to be simulated under any policy: admissions, and demand by heap slot."""

    name: str
    source: str
    session: str
    number: int
    """Of the episode, from 0 in each session."""
    hidden_tokens: int
    steps: tuple[Step, ...]
    demand: Demand
    slots: tuple[int, ...]
    """Heap slot of each evictable segment of the demand, by its index."""
    uses: tuple[tuple[int, ...], ...]
    """Slots that each turn used, whatever the policy."""
    scope: EvictionScope
    entry: EntryRules = WHOLE
    """How results enter the window."""


def _recalled_slot(segment: Segment, slot_of: Mapping[str, int]) -> int:
    """The slot that a recorded command brought back. Slots are seqs: a transcript is admitted in its own order."""
    name = recalled_name(segment)
    address = parse_address(name)
    if address:
        return address.seq  # A stash draws the number, so a transcript cannot tell another session's, which are rare.
    return int(name[1:]) if name.startswith("#") else slot_of.get(name, -1)


def _slots_of_read_lines(newest: Callable[[PathUse, int], int], segment: Segment, slot: int) -> tuple[int, ...]:
    """The earlier slots that a search finds for the lines that a segment reads."""
    found = (newest(use, slot) for use in segment.paths if use.access is Access.READ)
    return tuple(old for old in found if old >= 0)


def script_of(episode: Episode, scope: EvictionScope, demand: Demand) -> EpisodeScript:
    """Derive the part that no policy changes: references, proofs, paths. With a placebo's demand, the placebo's
    script."""
    index = ReferenceIndex()
    garbage = GarbageIndex(index.paths)
    slot_of: dict[str, int] = {}
    said = SaidWords()

    def derive_admission(sized: CountedSegment) -> SlotAdmission:
        segment, slot = sized.segment, len(slot_of)
        slot_of[segment.id] = slot
        namings = index.paths.record_naming(slot, segment.paths)[slot]
        refs = index.derive_references(slot, segment, recalled=_recalled_slot(segment, slot_of))
        reads, views = (
            _slots_of_read_lines(newest, segment, slot)
            for newest in (index.paths.newest_use_slot, index.paths.newest_slot_with_view)
        )
        proofs = garbage.prove_garbage(slot, segment)
        index.add_paths(slot, segment)
        index.add_words(slot, segment)
        entry = heap_entry_of(segment, sized.tokens, has_evictable_inputs=scope.inputs, namings=namings)
        result, result_tokens = _result_text_and_tokens(sized)
        said.add(segment)
        birth = None
        if result is not None and is_shortenable(segment):
            birth = birth_facts(segment, namings, said.take_recent_words(segment.born_turn))
        return SlotAdmission(
            entry=entry,
            refs=tuple(refs),
            proofs=tuple(proofs),
            uses=segment.paths,
            reads=reads,
            views=views,
            result=result,
            result_tokens=result_tokens,
            birth=birth,
        )

    steps = []
    for turn in episode.turns:
        before = tuple(map(derive_admission, turn.before))
        cleared = tuple(slot_of[id_] for id_ in turn.cleared if id_ in slot_of)
        steps.append(Step(turn.number, turn.wall_s, before, tuple(map(derive_admission, turn.reply)), cleared))
    slots = tuple(slot_of[id_] for id_ in demand.ids)
    return EpisodeScript(
        name=episode.name,
        source=episode.source,
        session=episode.session,
        number=episode.number,
        hidden_tokens=episode.hidden_tokens,
        steps=tuple(steps),
        demand=demand,
        slots=slots,
        uses=tuple(tuple(slots[provider] for provider in greedy_cover(wants, None)) for wants in demand.wants),
        scope=scope,
    )


def _result_text_and_tokens(sized: CountedSegment) -> tuple[str | None, int]:
    """The text of a call's result and its tokens, where pointers may stand in it: as the daemon's `window.enter`."""
    body = sized.segment.body if is_elidable(sized.segment) else ()
    texts = [piece.text for piece in body if piece.name == RESULT_PIECE]
    return (texts[0], dict(sized.tokens.pieces)[RESULT_PIECE]) if texts else (None, 0)
