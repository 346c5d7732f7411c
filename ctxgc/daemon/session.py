"""A session that is awake: its heap and indexes, and the one place that changes them.

    asleep ──rows──▶ awake ──change: heap and stash together──▶ awake
                       ▲            │ the commit failed
                       └───rows─────┘ stale: what is in memory is thrown away, the table is the truth

Mutations of a session run one at a time, across their commits: `changing()` holds the session's lock until the stash
has answered. Admissions, pins and the like touch the heap at once and are thrown away with it if the commit fails;
evictions wait (`Change.then`): no body leaves the window before the decision is durable (I1, I2). Reads take no lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ctxgc.core.account import Account
from ctxgc.core.errors import NotFound
from ctxgc.core.garbage import GarbageIndex
from ctxgc.core.heap import EVICTED, FORGOTTEN, PENDING, PINNED, STATES, Entry, Heap, Now, Proof, entry_of
from ctxgc.core.policy import Rules
from ctxgc.core.recalled import copied, recalled_name
from ctxgc.core.reference import ReferenceIndex
from ctxgc.core.segment import DIGEST_BYTES, Kind, Segment, SessionKey, State, Status, address_in, session_number
from ctxgc.daemon.change import Change
from ctxgc.daemon.intake import Prepared, lost_entry, tombstone_tokens_at
from ctxgc.daemon.wiring import Wiring
from ctxgc.stash.contract import Edge, Put, PutSession, Recalled, SessionRow, SetGarbage, Stash, Stored, Touch
from ctxgc.tokens.calibration import Calibration

REPLY_KINDS = frozenset({Kind.ASSISTANT, Kind.THINKING, Kind.EXCHANGE, Kind.PLAN})
"""Kinds that an assistant's reply consists of: with them the session's turn moves on."""

FROM_ROWS = ("heap", "index", "garbage", "redacted", "left_evicted", "place_max", "_digests")
"""What `_fill` makes of a session's rows."""

TEXTS_PER_SLICE = 256
"""Bodies read at a time when the word index of a waking session is rebuilt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """What the configuration says to every session."""

    rules: Rules = field(default_factory=Rules)
    evictable_kinds: tuple[Kind, ...] = (Kind.EXCHANGE, Kind.ATTACHMENT, Kind.THINKING)
    has_evictable_inputs: bool = True
    recall_grace_turns: int = 3


class Session:
    """One awake session. Build with `wake`; change inside `changing`; read freely."""

    def __init__(self, row: SessionRow, stash: Stash, settings: SessionSettings, clock: Callable[[], float]) -> None:
        self.row = row
        self.number = session_number(row.key)
        """What its segments' addresses begin with."""
        self._clock = clock
        self.settings = settings
        self.open_paths: tuple[str, ...] = ()
        """Files that a client says are open in front of the user."""
        self.version = 0
        """Grows with every change: what was rendered for an older version is not current."""
        self._stash = stash
        self._lock = asyncio.Lock()
        self._is_stale = False
        self._has_text = False
        self.is_new = False
        """No row of it is in the stash yet."""
        self._reset()

    def _reset(self) -> None:
        self.heap = Heap(self.settings.evictable_kinds)
        self.index = ReferenceIndex()
        self.garbage = GarbageIndex(self.index.paths)
        self.place_max = 0
        self.last_collection = 0
        self.calibration = Calibration.resumed(self.row.model, self.row.ratio)
        self._digests = bytearray()
        self.redacted: set[int] = set()
        """Slots of which the stash holds less than was sent."""
        self.left_evicted: set[int] = set()
        """Slots that departed while their bodies were out."""
        self.account = Account()
        """What collecting saved since the session woke: the pacer's."""
        self.wiring: Wiring | None = None
        """What the gateway told of its requests, once it did."""

    @classmethod
    async def wake(
        cls,
        row: SessionRow,
        stash: Stash,
        settings: SessionSettings,
        clock: Callable[[], float],
        *,
        is_new: bool,
    ) -> Session:
        """Build a session's heap from its rows. O(rows); texts are read only when something is admitted."""
        session = cls(row, stash, settings, clock)
        session.is_new = is_new
        if not is_new:
            await session._load()
        return session

    @property
    def key(self) -> SessionKey:
        """Its name for good."""
        return self.row.key

    @property
    def is_changing(self) -> bool:
        """Whether a change is under way; such a session is not put to sleep."""
        return self._lock.locked()

    @property
    def rules(self) -> Rules:
        """The configured rules with the session's own task."""
        rules = self.settings.rules
        if not self.row.task and not self.open_paths:
            return rules
        return replace(rules, task=self.row.task, open_paths=self.open_paths)

    def now(self, wall_s: float = 0.0) -> Now:
        """The session's clock."""
        return Now(self.row.turn, wall_s)

    @property
    def is_told(self) -> bool:
        """Whether the gateway says what the window is; a transcript then only knows more of what is in it."""
        return self.wiring is not None and not self.wiring.is_off

    def billed(self, raw_tokens: int) -> int:
        """Raw window tokens as the model bills them, the hidden prefix included."""
        return self.calibration.billed(raw_tokens) + self.row.hidden_tokens

    def raw_budget(self, tokens: int, unit: str) -> int:
        """A budget over the whole window, in raw tokens."""
        return tokens if unit == "raw" else self.calibration.raw_budget(tokens, self.row.hidden_tokens)

    def slot(self, name: str) -> int:
        """The slot a person or program means: an id, `#seq`, an address, or an unambiguous prefix of an id."""
        found = self.heap.slot_of.get(name)
        if found is not None:
            return found
        if name.startswith("#") and name[1:].isdigit() and int(name[1:]) < len(self.heap):
            return int(name[1:])
        address = address_in(name)
        if address is not None and address.number == self.number and address.seq < len(self.heap):
            return address.seq
        matches = [slot for id_, slot in self.heap.slot_of.items() if id_.startswith(name)] if len(name) >= 4 else []
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise NotFound(f"{len(matches)} segments of {self.key} begin with {name!r}", hint="give more of the id")
        hint = "`ctxgc show` lists its ids; `--session S` names another, as `ctxgc search` shows it"
        raise NotFound(f"no segment {name!r} in session {self.key}", hint=hint)

    def slots(self, names: Iterable[str]) -> list[int]:
        """Slots of several names, each once, in order."""
        return list(dict.fromkeys(self.slot(name) for name in names))

    def kept(self, names: Iterable[str]) -> list[int]:
        """As `slots`, of segments that are not forgotten: of those nothing is left to pin, tag or bring back."""
        slots = self.slots(names)
        gone = [slot for slot in slots if self.heap.state[slot] == FORGOTTEN]
        if gone:
            name = self.heap.ids[gone[0]]
            raise NotFound(f"segment {name!r} was forgotten", hint="nothing of it is left but its id")
        return slots

    def adopt(self, settings: SessionSettings) -> None:
        """Take new settings. All but the rules are built into the heap, so that is rebuilt before the next change."""
        old, self.settings = self.settings, settings
        self._is_stale |= replace(old, rules=settings.rules) != settings
        self.version += 1

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Change]:
        """Hold the session for one atomic change; commits on leaving.

        If the body raises before it touched the heap, nothing happened. If the commit fails, memory is rebuilt from
        rows before anyone looks again, and the error goes to the caller.
        """
        async with self._lock:
            await self.refresh()
            change = Change()
            try:
                yield change
                # Not before: until here the pacer asks how long the session was silent.
                self.set_row(change, updated_s=max(self.row.updated_s, min(change.heard_s, self._clock())))
                if change.mutations or change.is_row_changed or self.is_new:
                    await self._stash.apply([PutSession(self.row), *change.mutations])
                    self.is_new = False
            except BaseException:
                self._is_stale |= bool(change.mutations or change.is_row_changed)
                self.version += 1
                raise
            change.settle()
            self.version += 1

    async def settled(self) -> None:
        """Return once memory agrees with the stash again; at once, unless a commit has failed."""
        if self._is_stale:
            async with self._lock:
                await self.refresh()

    async def committed(self) -> None:
        """Return once no change is under way: for a reader who met in the heap what the stash does not have yet."""
        async with self._lock:
            await self.refresh()

    def rebuild(self) -> None:
        """Throw away what memory holds before anyone looks again: the rows say less now, and that is the point."""
        self._is_stale = True

    async def refresh(self) -> None:
        """Rebuild what a failed commit left in doubt."""
        if not self._is_stale:
            return
        row = await self._stash.session(self.key)
        self.row = row or self.row
        self.is_new = row is None
        await self._load()

    async def _load(self) -> None:
        newest = await self._stash.collections(self.key, limit=1)
        rows = await self._stash.rows(self.key)
        settings = None
        while settings is not self.settings:  # A reload meanwhile changes what is built from them.
            settings = self.settings
            twin = Session(self.row, self._stash, settings, self._clock)
            # Beside the loop, in an object that nobody else has: ten thousand rows would stall every other session.
            await asyncio.to_thread(twin._fill, rows)
        # From here nothing waits: who reads without the lock sees the old heap or the new one, never half of one.
        self._is_stale = self._has_text = False
        self._reset()
        self.last_collection = newest[0].id if newest else 0
        for name in FROM_ROWS:
            setattr(self, name, getattr(twin, name))

    def _fill(self, rows: Sequence[Stored]) -> None:
        for row in rows:
            while len(self.heap) < row.seq:
                # A repair could not save this row. Slots are seqs, so something must stand in its slot.
                self.heap.admit(lost_entry(len(self.heap)), [])
            segment = row.segment
            is_said = row.state is not State.FORGOTTEN and segment.status is not Status.PENDING
            namings = self.index.paths.name(row.seq, segment.paths)[row.seq] if is_said else 0
            entry = replace(
                self._entry(row, namings),
                state=STATES.index(row.state),
                touched_turn=row.touched_turn,
                touches=row.touches,
            )
            refs = [edge for edge in row.edges if edge.target < row.seq]
            self.heap.admit(entry, refs)
            self._note_digest(row.seq, row.digest)
            if row.recalled_turn >= 0:
                self.spare(row.seq, row.recalled_turn)
            if row.redactions:
                self.redacted.add(row.seq)
            if row.state is State.DEPARTED and row.collection:
                self.left_evicted.add(row.seq)
            if row.garbage:
                self.heap.prove_garbage(row.seq, Proof(row.garbage, row.garbage_by))
            if is_said:
                self.garbage.admit(row.seq, segment)
                self.index.add_facts(row.seq, segment)
            self.place_max = max(self.place_max, segment.place)

    def _entry(self, row: Stored, namings: int = 0) -> Entry:
        return entry_of(
            row.segment,
            skeleton_tokens=row.skeleton_tokens,
            piece_tokens=[(name, tokens) for name, _, tokens in row.pieces],
            tombstone_tokens=row.tombstone_tokens,
            has_evictable_inputs=self.settings.has_evictable_inputs,
            namings=namings,
            is_pinned=row.is_pinned,
        )

    async def ensure_text(self) -> None:
        """Rebuild the index of words and lines of a session that was asleep; before admitting anything."""
        if self._has_text:
            return
        heap = self.heap
        for start in range(0, len(heap), TEXTS_PER_SLICE):
            seqs = range(start, min(start + TEXTS_PER_SLICE, len(heap)))
            headers = {row.seq: row.segment for row in await self._stash.rows(self.key, seqs)}
            bodies = await self._stash.bodies(self.key, seqs)
            await asyncio.to_thread(self._add_texts, headers, bodies)
        self._has_text = True

    def _add_texts(self, headers: dict[int, Any], bodies: dict[int, Any]) -> None:
        for seq in sorted(bodies):
            skeleton, body = bodies[seq]
            segment = replace(headers[seq], skeleton=skeleton, body=body)
            self.garbage.duplicates(seq, segment)
            self.index.add_text(seq, segment)

    def admit(self, change: Change, prepared: Prepared, *, is_pinned: bool = False) -> bool:
        """Admit a segment, or complete the pending one of its id. False if it is known already.

        Call `ensure_text` first. References and proofs are derived here; unknown `refs` raise `NotFound`.
        """
        segment, heap = prepared.segment, self.heap
        slot = heap.slot_of.get(segment.id, len(heap))
        is_known = slot < len(heap)
        if is_known and (not heap.is_set(slot, PENDING) or segment.status is Status.PENDING):
            return False
        given = [self.slot(name) for name in segment.refs]
        refs = self.index.refer(slot, segment, given, recalled=self._recalled_by(segment))
        is_open = segment.status is Status.PENDING
        namings = {} if is_open else self.index.paths.name(slot, segment.paths)
        proofs = [] if is_open else self.garbage.admit(slot, segment)
        row = Stored(
            key=self.key,
            seq=slot,
            segment=segment,
            digest=prepared.digest,
            skeleton_tokens=prepared.skeleton_tokens,
            pieces=prepared.pieces,
            tombstone_tokens=tombstone_tokens_at(prepared, slot),
            edges=tuple(Edge(*ref) for ref in refs),
            touched_turn=segment.born_turn,
            is_pinned=is_pinned or (is_known and heap.is_set(slot, PINNED)),
            redactions=prepared.redactions,
        )
        if is_known:
            heap.complete(slot, self._entry(row), refs)
        else:
            heap.admit(self._entry(row), refs)
        for later, number in namings.items():
            heap.set_namings(later, number)
        self._note_digest(slot, prepared.digest)
        if not is_open:
            self.index.add_facts(slot, segment)
            self.index.add_text(slot, segment)
        if prepared.redactions:
            self.redacted.add(slot)
        change.add(Put(row))
        self._note_recalls(change, slot, segment.born_turn, copied(refs))
        new = [(old, proof) for old, proof in proofs if heap.prove_garbage(old, proof)]
        if new:
            change.add(SetGarbage(self.key, [(old, proof.reason, proof.by) for old, proof in new]))
        self.place_max = max(self.place_max, segment.place)
        # An observed session is told after the fact, by records with times; any other as it happens.
        change.hear(segment.wall_s if self.row.mode == "observe" else self._clock())
        spoken = segment.kind in REPLY_KINDS
        self.set_row(change, turn=max(self.row.turn, segment.born_turn + spoken))
        return True

    def digest_of(self, slot: int) -> bytes:
        """The digest of a segment's content; zeros where it was forgotten or lost."""
        return bytes(self._digests[slot * DIGEST_BYTES : (slot + 1) * DIGEST_BYTES]).ljust(DIGEST_BYTES, b"\0")

    def _note_digest(self, slot: int, digest: bytes) -> None:
        # One flat column: as objects of their own they would cost a heap's slot half as much again.
        self._digests = self._digests.ljust(slot * DIGEST_BYTES, b"\0")
        self._digests[slot * DIGEST_BYTES : (slot + 1) * DIGEST_BYTES] = digest.ljust(DIGEST_BYTES, b"\0")

    def _recalled_by(self, segment: Segment) -> int:
        """The slot that a command brought back, -1 if it did not, or not out of this session."""
        name = recalled_name(segment)
        try:
            return self.slot(name) if name else -1
        except NotFound:
            return -1

    def _note_recalls(self, change: Change, slot: int, turn: int, recalled: Sequence[int]) -> None:
        """What a command brought back was needed: a page fault, unless the daemon noted that when it answered."""
        heap = self.heap
        for target in recalled:
            is_noted = heap.grace_until.get(target, -1) >= turn
            self.set_row(change, faults=self.row.faults + (heap.state[target] == EVICTED and not is_noted))
            heap.touch(target, turn)
            change.add(Touch(self.key, [(target, turn)]), Recalled(self.key, [slot, target], turn + 1))
            self.spare(target, turn + 1)
            self.spare(slot, turn + 1)

    def spare(self, slot: int, recalled_turn: int) -> None:
        """Keep what was recalled at this turn from collections for the grace period."""
        self.heap.grace_until[slot] = recalled_turn + self.settings.recall_grace_turns

    def set_row(self, change: Change, **fields: Any) -> None:
        """Change what is known of the session."""
        if any(getattr(self.row, name) != value for name, value in fields.items()):
            self.row = replace(self.row, **fields)
            change.is_row_changed = True
