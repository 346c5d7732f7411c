"""An awake session: heap and indexes, and the only place that changes heap and indexes.

    asleep ──rows──▶ awake ──change: heap and stash together──▶ awake
                       ▲            │ the commit failed
                       └───rows─────┘ stale: memory is thrown away, the table is the truth

Mutations of a session run one at a time, across their commits: `transaction()` holds the session's lock until the stash
has answered. Admissions, pins and the like touch the heap at once, and a failed commit throws the whole heap away;
evictions wait (`Transaction.on_commit`): no body leaves the window before the decision is durable (I1, I2). Reads take
no lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from ctxgc.core.errors import NotFound
from ctxgc.core.heap import EVICTED, FORGOTTEN, REPLY_KINDS, Heap, Now
from ctxgc.core.pacing.regret_budget import RegretAccount
from ctxgc.core.pacing.trust import Trust
from ctxgc.core.recall_commands import recalled_name, recalled_slots
from ctxgc.core.reference import ReferenceIndex
from ctxgc.core.rules import Rules
from ctxgc.core.segment import Renderer, Segment, SessionKey, legacy_session_number, parse_address
from ctxgc.daemon.sessions.frozen_objects import pause_python_gc
from ctxgc.daemon.sessions.intake import PreparedSegment
from ctxgc.daemon.sessions.pacing_state import pacing_of_tools, stored_trust
from ctxgc.daemon.sessions.request_ledger import RequestLedger
from ctxgc.daemon.sessions.session_index import SessionIndex, SessionSettings
from ctxgc.daemon.sessions.transaction import Transaction
from ctxgc.stash.contract import Put, PutSession, SessionRow, SetGarbage, SetRecalled, Stash, Touch
from ctxgc.stash.segment_columns import ROWS_PER_BATCH
from ctxgc.tokens.calibration import Calibration

TEXTS_PER_SLICE = 256
"""Bodies read at a time, where a stash of an older version has no keys of texts."""
KEYS_PER_SLICE = 2048
"""Segments whose keys are read at a time when the word index of a waking session is rebuilt: some milliseconds."""


class Session:
    """An awake session. Build with `wake`; change inside `transaction`; read freely."""

    def __init__(self, row: SessionRow, stash: Stash, settings: SessionSettings, clock: Callable[[], float]) -> None:
        self.row = row
        self.number = row.number or legacy_session_number(row.key)
        """The number that the addresses of the session's segments begin with."""
        self._clock = clock
        self.settings = settings
        self.open_paths: tuple[str, ...] = ()
        """Files that a client says are open in front of the user."""
        self.version = 0
        """Grows with every change: a reply that was made for an older version is not current."""
        self._stash = stash
        self._lock = asyncio.Lock()
        self._is_stale = False
        self.is_new = False
        """The stash has no row of the session yet."""
        self._adopt_indexes(SessionIndex(settings))

    def _adopt_indexes(self, indexes: SessionIndex) -> None:
        self.indexes = indexes
        self.last_collection = 0
        self.calibration = Calibration.from_stored_ratio(self.row.model, self.row.ratio)
        self.account = RegretAccount()
        """The pacer's account of collections since the session woke."""
        self.ledger: RequestLedger | None = None
        """The gateway's requests, from the first on."""

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
        """Build a session's heap from its rows. O(rows); texts are read only at an admission."""
        session = cls(row, stash, settings, clock)
        session.is_new = is_new
        if not is_new:
            await session._load_indexes()
        return session

    @property
    def key(self) -> SessionKey:
        """The session's name for good."""
        return self.row.key

    @property
    def heap(self) -> Heap:
        """The session's segments, in columns."""
        return self.indexes.heap

    @property
    def reference_index(self) -> ReferenceIndex:
        """The holders of each word, line and path."""
        return self.indexes.index

    @property
    def trust(self) -> Trust:
        """What bills say of the model of the provider's cache, before the gateway's first request here too."""
        return self.ledger.trust if self.ledger else stored_trust(self.row.pacing)

    @property
    def rules(self) -> Rules:
        """The configured rules with the session's own task."""
        rules = self.settings.rules
        if not self.row.task and not self.open_paths:
            return rules
        return replace(rules, task=self.row.task, open_paths=self.open_paths)

    def wall_clock_s(self) -> float:
        """Unix time."""
        return self._clock()

    def now(self, wall_s: float = 0.0) -> Now:
        """The session's clock."""
        return Now(self.row.turn, wall_s)

    @property
    def is_gateway_managed(self) -> bool:
        """Whether the gateway sets the window; a transcript then only adds facts to the window's segments."""
        return self.ledger is not None and not self.ledger.is_off

    def billed_window_tokens(self, raw_tokens: int) -> int:
        """Raw window tokens as the model bills them, the hidden prefix included."""
        return self.calibration.to_billed_tokens(raw_tokens) + self.row.hidden_tokens

    def raw_budget(self, tokens: int, unit: str) -> int:
        """A budget over the whole window, in raw tokens."""
        return tokens if unit == "raw" else self.calibration.raw_budget(tokens, self.row.hidden_tokens)

    def slot(self, name: str) -> int:
        """The slot of a name: an id, `#seq`, an address, or an unambiguous prefix of an id."""
        known_slot = self.heap.slot_of.get(name)
        if known_slot is not None:
            return known_slot
        if name.startswith("#") and name[1:].isdigit() and int(name[1:]) < len(self.heap):
            return int(name[1:])
        address = parse_address(name)
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

    def unforgotten_slots(self, names: Iterable[str]) -> list[int]:
        """As `slots`, and raise `NotFound` for a forgotten segment, which has no content to pin, tag or bring back."""
        slots = self.slots(names)
        forgotten = [slot for slot in slots if self.heap.state[slot] == FORGOTTEN]
        if forgotten:
            name = self.heap.ids[forgotten[0]]
            raise NotFound(f"segment {name!r} was forgotten", hint="only the id is left")
        return slots

    def adopt_settings(self, settings: SessionSettings) -> None:
        """Take new settings. The heap is built from all but the rules, so the next change rebuilds the heap."""
        old, self.settings = self.settings, settings
        self._is_stale |= replace(old, rules=settings.rules) != settings
        self.version += 1

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Hold the session for a single atomic change; commits on leaving.

        A body that raises before touching the heap changes no state. If the commit fails, memory is rebuilt from rows
        before the next look, and the error goes to the caller.
        """
        async with self._lock:
            await self.refresh_if_stale()
            tx = Transaction()
            try:
                yield tx
                # Not before: until here the pacer asks how long the session was silent.
                self.set_row_fields(tx, updated_s=max(self.row.updated_s, min(tx.latest_s, self._clock())))
                if tx.mutations or tx.is_row_changed or self.is_new:
                    await _await_outcome(self._stash.apply([PutSession(self.row), *tx.mutations]))
                    self.is_new = False
            except BaseException:
                self._is_stale |= bool(tx.mutations or tx.is_row_changed)
                self.version += 1
                raise
            tx.run_commit_actions()
            self.version += 1

    async def ensure_current(self) -> None:
        """Return once memory agrees with the stash again; at once, unless a commit has failed."""
        if self._is_stale:
            async with self._lock:
                await self.refresh_if_stale()

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold the session as it is: no change begins before the caller leaves."""
        async with self._lock:
            await self.refresh_if_stale()
            yield

    async def wait_for_commit(self) -> None:
        """Return once no change is under way: for a reader of a segment that the stash does not have yet."""
        async with self._lock:
            await self.refresh_if_stale()

    def invalidate(self) -> None:
        """Rebuild memory before the next look: the rows hold less after a forget, and memory must not hold more."""
        self._is_stale = True

    async def refresh_if_stale(self) -> None:
        """Rebuild a heap that a failed commit left in doubt."""
        if not self._is_stale:
            return
        row = await self._stash.session(self.key)
        self.row = row or self.row
        self.is_new = row is None
        await self._load_indexes()

    async def _load_indexes(self) -> None:
        newest = await self._stash.collections(self.key, limit=1)
        settings = indexes = None
        with pause_python_gc():
            while settings is not self.settings:  # A reload meanwhile changes what is built from the rows.
                settings = self.settings
                indexes = await self._restore_indexes(settings)
        assert indexes is not None
        # From here nothing waits: who reads without the lock sees the old memory or the new one, never half of one.
        self._is_stale = False
        self._adopt_indexes(indexes)
        self.last_collection = newest[0].id if newest else 0

    async def _restore_indexes(self, settings: SessionSettings) -> SessionIndex:
        """Memory as the rows have it. No row changes meanwhile: who changes rows holds the session, or its sleep."""
        indexes, rows = SessionIndex(settings), ROWS_PER_BATCH
        while rows == ROWS_PER_BATCH:
            columns = await self._stash.segment_columns(self.key, len(indexes.heap))
            rows = len(columns.seqs)
            # Beside the loop, in an object that nobody else has: a thousand rows would stall every other session.
            await asyncio.to_thread(indexes.restore, columns)
        return indexes

    async def ensure_word_index(self) -> None:
        """Rebuild the index of words of a session that was asleep; call before an admission."""
        indexes = self.indexes
        with pause_python_gc():
            for start in range(0, 0 if indexes.has_text else len(indexes.heap), KEYS_PER_SLICE):
                seqs = range(start, min(start + KEYS_PER_SLICE, len(indexes.heap)))
                keys = await self._stash.text_keys(self.key, seqs)
                unknown = [seq for seq, known in keys.items() if known is None or self.settings.has_words]
                for at in range(0, len(unknown), TEXTS_PER_SLICE):
                    some = unknown[at : at + TEXTS_PER_SLICE]
                    headers = {row.seq: row.segment for row in await self._stash.rows(self.key, some)}
                    bodies = await self._stash.contents(self.key, some)
                    keys |= await asyncio.to_thread(indexes.add_words_of_texts, headers, bodies)
                await asyncio.to_thread(indexes.add_text_keys, keys)
        indexes.has_text = True

    def admit(self, tx: Transaction, prepared: PreparedSegment, *, is_pinned: bool = False) -> bool:
        """Admit a segment, or complete the pending segment of its id. False for a known segment.

        Call `ensure_word_index` first. References and proofs are derived here; unknown `refs` raise `NotFound`.
        """
        segment = prepared.segment
        references = (self.slot(name) for name in segment.refs)
        admitted = self.indexes.admit(
            self.key, prepared, references, recalled=self._recalled_slot(segment), is_pinned=is_pinned
        )
        if admitted is None:
            return False
        tx.add(Put(admitted.row))
        self._note_command_recalls(tx, admitted.row.seq, segment.born_turn, recalled_slots(admitted.refs))
        if admitted.reread_slot >= 0 and self.row.rendered_by is not Renderer.AGENT:
            self._note_reread(tx, admitted.reread_slot, segment.born_turn)
        if admitted.proofs:
            tx.add(SetGarbage(self.key, [(old, proof.reason, proof.by) for old, proof in admitted.proofs]))
        # An observed session is told after the fact, by records with times; any other as it happens.
        tx.note_time(segment.wall_s if self.row.rendered_by is Renderer.AGENT else self._clock())
        spoken = segment.kind in REPLY_KINDS
        self.set_row_fields(tx, turn=max(self.row.turn, segment.born_turn + spoken))
        return True

    def _note_reread(self, tx: Transaction, slot: int, turn: int) -> None:
        """Note a read of what an evicted body shows: a lesson for the pacer, and a recall for the journal."""
        self.account = self.account.after_reread(self.heap.tool_name(slot))
        tx.add(SetRecalled(self.key, [slot], turn + 1))
        self.indexes.grant_grace(slot, turn + 1)

    def drop_lessons_of_forgotten_tools(self, tx: Transaction) -> None:
        """Drop what names a tool of no segment any more, from memory and from the row. O(slots)."""
        heap = self.heap
        tools = {heap.tool_name(slot) for slot in range(len(heap)) if heap.state[slot] != FORGOTTEN}
        self.account = self.account._replace(lessons=self.account.lessons.of_tools(tools))
        self.set_row_fields(tx, pacing=pacing_of_tools(self.row.pacing, tools))

    def _recalled_slot(self, segment: Segment) -> int:
        """The slot recalled by a command, -1 for any other command and for a segment of another session."""
        name = recalled_name(segment)
        try:
            return self.slot(name) if name else -1
        except NotFound:
            return -1

    def _note_command_recalls(self, tx: Transaction, slot: int, turn: int, recalled: Sequence[int]) -> None:
        """Note each recalled segment as a page fault, unless the daemon noted the fault in its answer to the recall."""
        heap = self.heap
        for target in recalled:
            is_noted = heap.grace.last_turn(target) >= turn
            if heap.state[target] == EVICTED and not is_noted:
                self.set_row_fields(tx, faults=self.row.faults + 1)
                self.account = self.account.after_command_recall(heap.tool_name(target))
            heap.touch(target, turn)
            tx.add(Touch(self.key, [(target, turn)]), SetRecalled(self.key, [slot, target], turn + 1))
            self.indexes.grant_grace(target, turn + 1)
            self.indexes.grant_grace(slot, turn + 1)

    def set_row_fields(self, tx: Transaction, **fields: Any) -> None:
        """Change fields of the session's row."""
        if any(getattr(self.row, name) != value for name, value in fields.items()):
            self.row = replace(self.row, **fields)
            tx.is_row_changed = True


async def _await_outcome(commit: Awaitable[object]) -> None:
    """Wait for a commit's outcome, whoever cancels the wait.

    A batch that is under way commits all the same: until then the session stays held, so that no wake reads the rows.
    """
    under_way = asyncio.ensure_future(commit)
    try:
        await asyncio.shield(under_way)
    except asyncio.CancelledError:
        while not under_way.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([under_way])
        if not under_way.cancelled():
            under_way.exception()  # Looked at, or asyncio would log the error of the commit as nobody's.
        raise
