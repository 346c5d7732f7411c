"""The stash on SQLite: one file, one writer, a few readers, one task for group commit and maintenance.

    apply ──▶ GroupCommit ──▶ the writer's thread (one transaction for many callers)
    reads ──▶ the thread of a free reader
    idle  ──▶ maintenance on the writer's thread: reindex, merge, erase

One process opens the file for writing at a time; the file is never on a network file system.

A stash at `MEMORY` is a database in memory: the stash ends with its process, and no byte touches a disk. Its only
connection writes and reads in turn. Two connections to memory have no WAL: one that reads while the other writes is
refused, or sees uncommitted rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ctxgc.core.errors import CtxgcError, ReadOnly, ShuttingDown, StashGone, StorageFailed
from ctxgc.core.segment import Piece, SessionKey
from ctxgc.stash import files, maintenance, newest_segment, reading, schema
from ctxgc.stash.backup import write_backup
from ctxgc.stash.contract import Collection, Mutation, Op, Query, SearchResult, SegmentRow, SessionRow
from ctxgc.stash.db_thread import DbThread, shrink_memory
from ctxgc.stash.deadline import Deadline
from ctxgc.stash.examination import examine_stash
from ctxgc.stash.file_watch import FileWatch
from ctxgc.stash.group_commit import GroupCommit
from ctxgc.stash.health import Examination, StashStatus
from ctxgc.stash.index_text import TOKENIZER_VERSION
from ctxgc.stash.search import SEARCH_S_MAX, search
from ctxgc.stash.sqlite_errors import ctxgc_error_of, damage_error
from ctxgc.stash.waking import SqliteWakingReads
from ctxgc.stash.writing import Batch, Failpoint, Writer, no_failpoint

MEMORY = Path(":memory:")
"""The path of a stash that is not kept."""

READERS = 3
RESERVE_BYTES = max(256 * 2**20, 2 * schema.WAL_BYTES_MAX)
"""On a full disk even deleting and checkpointing fail: the stash stops storing while room for them is left."""
SPACE_CHECK_S = 1.0
LOOK_S = 2.0
"""Between two looks at the files of a stash that nobody writes to; each commit looks too."""

QUIET_S = 0.05
BUSY_PAUSE_S = 0.2
ERASE_QUIET_S = 1.0
ERASE_WAIT_S_MAX = 30.0
RETRY_S = 5.0
INTERRUPT_OPS = 2000
"""SQLite asks the deadline once in this many of its own instructions: each question costs a call of Python."""

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]


class SqliteStash(SqliteWakingReads):
    """`Stash` in a SQLite file. Arguments after the path are for tests: space, time and failures are injected."""

    def __init__(
        self,
        path: Path,
        *,
        reserve_bytes: int = RESERVE_BYTES,
        search_s_max: float = SEARCH_S_MAX,
        failpoint: Failpoint | None = None,
        free_bytes: Callable[[Path], int] = files.free_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._is_on_disk = path != MEMORY
        self._reserve_bytes = reserve_bytes
        self._search_s_max = search_s_max
        self._fail = failpoint or no_failpoint
        self._free_bytes = free_bytes
        self._clock = clock
        self._read_only = ""
        self._next_space_check_s = 0.0
        self._maintenance_error = ""
        self._look_error = ""
        self._writer_thread: DbThread | None = None
        self._writer: Writer | None = None
        self._readers: asyncio.Queue[tuple[DbThread, Deadline]] = asyncio.Queue()
        self._reader_threads: list[DbThread] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._group = GroupCommit(self._commit)
        self._has_changed = asyncio.Event()
        self._erasing = asyncio.Lock()
        self._watch = FileWatch(path)

    async def open(self) -> None:
        """Open or create the file. Raises `StashDamaged`, `Incompatible`, `StorageFailed`, with no connection open."""
        if self._writer_thread is not None:
            return
        if self._is_on_disk:
            files.ensure_private_file(self.path)
        try:
            self._writer_thread = await DbThread.open(self._uri("rw"), schema.configure_writer)
            await self._writer_thread.run(self._prepare_file)
            for _ in range(READERS if self._is_on_disk else 1):
                reader, deadline = self._writer_thread, Deadline()
                if self._is_on_disk:
                    reader = await DbThread.open(self._uri("ro"), schema.configure_reader)
                await self._readers.put((reader, deadline))
                self._reader_threads.append(reader)
                await reader.run(lambda db, late=deadline: db.set_progress_handler(late, INTERRUPT_OPS))  # type: ignore[misc]
        except BaseException as error:
            await self._close_connections()
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):  # The second: a damaged schema, quoted.
                raise self._opening_error(error) from error
            raise
        self._group = GroupCommit(self._commit)
        loops = [self._group.run(), self._maintain()]
        if self._is_on_disk:
            self._watch.record_file_stats()
            loops.append(self._watch_files())
        # In no group: the end of one loop must not end group commit. close() ends all of them.
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        self._has_changed.set()

    async def close(self) -> None:
        """Commit the accepted batches, checkpoint the file, release its connections. Idempotent."""
        if self._writer_thread is None:
            return
        await self._group.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        try:
            # A failure here costs a check at the next opening, and nothing else.
            with contextlib.suppress(sqlite3.Error, StashGone):
                await self._run_on_writer(self._writer_thread, self._seal_file, shrinks=True)
        finally:
            await self._close_connections()

    async def apply(self, mutations: Sequence[Mutation]) -> None:
        """Commit all mutations or none, durable on return."""
        if self._writer_thread is None:
            raise ShuttingDown("the stash is not open", hint="connect again")
        self._require_writable()
        if mutations:
            await self._group.submit(mutations)

    async def sessions(
        self, *, project: str = "", source: str = "", limit: int = 100, offset: int = 0
    ) -> list[SessionRow]:
        """Sessions, the most recently updated first."""
        return await self._run_on_reader(lambda db: reading.sessions(db, project, source, limit, offset))

    async def session(self, key: SessionKey) -> SessionRow | None:
        """A session's row."""
        return await self._run_on_reader(lambda db: reading.session(db, key))

    async def sessions_named(self, text: str) -> list[SessionKey]:
        """Sessions a person may mean by `text`."""
        return await self._run_on_reader(lambda db: reading.sessions_named(db, text))

    async def sessions_numbered(self, number: int) -> list[SessionKey]:
        """Sessions of this number."""
        return await self._run_on_reader(lambda db: reading.sessions_numbered(db, number))

    async def sessions_with_segment(self, segment_id: str) -> list[SessionKey]:
        """Sessions with a segment of exactly this id."""
        return await self._run_on_reader(lambda db: reading.sessions_with_segment(db, segment_id))

    async def rows(self, key: SessionKey, seqs: Sequence[int] | None = None) -> list[SegmentRow]:
        """Segments of a session in seq order, without content: all of them, or only `seqs`."""
        return await self._run_on_reader(lambda db: reading.rows(db, key, seqs))

    async def contents(self, key: SessionKey, seqs: Sequence[int]) -> dict[int, tuple[bytes, tuple[Piece, ...]]]:
        """(skeleton, body) by seq; raises `StorageFailed` for a damaged body."""
        return await self._run_on_reader(lambda db: reading.contents(db, key, seqs))

    async def search(self, query: Query) -> SearchResult:
        """Ranked hits within the time bound."""
        return await self._read_within_deadline(lambda db, deadline: search(db, deadline, query, self._search_s_max))

    async def collections(self, key: SessionKey, *, limit: int = 50) -> list[Collection]:
        """The journal, newest first."""
        return await self._run_on_reader(lambda db: reading.collections(db, key, limit))

    async def collection(self, key: SessionKey, number: int) -> Collection | None:
        """A line of the journal."""
        return await self._run_on_reader(lambda db: reading.collection(db, key, number))

    async def newest_collection_in_force(self, key: SessionKey) -> Collection | None:
        """The newest collection that stands."""
        return await self._run_on_reader(lambda db: reading.newest_collection_in_force(db, key))

    async def remembered_op(self, key: SessionKey, op_id: str) -> Op | None:
        """The remembered reply of a mutation."""
        return await self._run_on_reader(lambda db: reading.remembered_op(db, key, op_id))

    async def file_position(self, path: str) -> tuple[bytes, int] | None:
        """(head digest, offset) of a watched file."""
        return await self._run_on_reader(lambda db: reading.file_position(db, path))

    async def status(self) -> StashStatus:
        """Counts and health."""
        try:
            known = self._status_without_counts
            return await self._run_on_reader(lambda db: reading.status_with_counts(db, known()))
        except StorageFailed as failure:
            return self._status_without_counts(failure)

    async def examine(self, *, is_deep: bool = False) -> Examination:
        """Read pages and a sample of bodies within a time, or all of both, and say what is damaged."""
        return await examine_stash(self._read_within_deadline, is_deep=is_deep)

    async def backup(self, path: str) -> int:
        """A consistent copy to a path that does not exist yet; returns bytes written."""
        parent = self.path.parent
        # The folder may be gone, and the open files be the last copy of the stash.
        folder = parent if self._is_on_disk and parent.is_dir() else None
        return await self._run_on_reader(lambda db: write_backup(db, Path(path), folder))

    async def drop_caches(self, on_thread: Callable[[], None]) -> None:
        """Free the pages and the values that connections keep for later; `on_thread` runs on the thread of each."""

        def drop(db: sqlite3.Connection) -> None:
            shrink_memory(db)
            if self._writer is not None:
                self._writer.renew_compressor()
            on_thread()

        # Behind what each thread is doing: a reader that waits for its turn here would be missing elsewhere.
        threads = [self._writer_thread, *self._reader_threads] if self._writer_thread is not None else []
        for thread in dict.fromkeys(threads):
            await thread.run(drop)
            await thread.run(lambda _: None)

    def _uri(self, mode: str) -> str:
        return f"{self.path.absolute().as_uri()}?mode={mode}" if self._is_on_disk else "file::memory:"

    def _prepare_file(self, db: sqlite3.Connection) -> None:
        self._fail("open")
        files.require_sound_database(db, self.path)
        schema.migrate(db, before_step=lambda: self._fail("migrate"))
        self._fail("started")
        db.execute("BEGIN IMMEDIATE")
        if schema.get_counter(db, "tokenizer_version") != TOKENIZER_VERSION:
            schema.start_reindexing(db)
        schema.set_counter(db, "is_clean", 0)
        if self._is_on_disk:
            newest_segment.add_missing_segments_to_counter(db, self.path)
        db.execute("COMMIT")
        self._writer = Writer(db, self._fail)

    def _seal_file(self, db: sqlite3.Connection) -> None:
        self._fail("close")
        schema.set_counter(db, "is_clean", 1)
        maintenance.checkpoint_wal(db, self._fail)

    def _status_without_counts(self, failure: StorageFailed | None = None) -> StashStatus:
        """The status of a file that cannot be read: without counts."""
        trouble = self._watch.trouble or failure
        return StashStatus(
            path=str(self.path),
            bytes_on_disk=files.database_bytes(self.path) if self._is_on_disk else 0,
            is_read_only=bool(trouble or self._read_only),
            read_only_reason=str(trouble or self._read_only),
            read_only_hint=trouble.hint if trouble else ReadOnly.next_step,
            maintenance_error="; ".join(filter(None, (self._maintenance_error, self._look_error))),
        )

    async def _commit(self, batches: list[Batch]) -> Sequence[CtxgcError | None]:
        thread, writer = self._writer_thread, self._writer
        if thread is None or writer is None:
            raise ShuttingDown("the stash is not open", hint="connect again")
        outcomes = await self._run_on_writer(thread, lambda _: writer.commit(batches))
        full = next((outcome for outcome in outcomes if isinstance(outcome, ReadOnly)), None)
        if full is not None:
            self._read_only = str(full)
            self._next_space_check_s = self._clock() + SPACE_CHECK_S
        self._has_changed.set()
        return outcomes

    def _require_writable(self) -> None:
        """Look at the disk at most once a second; raise `ReadOnly` while the disk is nearly full or the file gone."""
        if self._watch.trouble is not None:
            raise self._watch.trouble
        now = self._clock()
        if self._is_on_disk and now >= self._next_space_check_s:
            self._next_space_check_s = now + SPACE_CHECK_S
            free = self._free_bytes(self.path.parent)
            why = f"the disk of the stash has {free // 2**20} MB free; below {self._reserve_bytes // 2**20} MB"
            why += " ctxgc stores nothing more, and keeps reading and recalling"
            self._read_only = why if free < self._reserve_bytes else ""
        if self._read_only:
            raise ReadOnly(self._read_only)

    async def _run_on_writer(self, thread: DbThread, operation: Operation[T], *, shrinks: bool = False) -> T:
        """Run an operation of the writer's, whose outcome counts only if nobody else touched the files."""
        if not self._is_on_disk:
            return await thread.run(operation)
        return await thread.run(lambda db: self._watch.run_guarded(db, operation, shrinks=shrinks))

    async def _watch_files(self) -> None:
        """Notice changes of the files while no batch is written."""
        while (thread := self._writer_thread) is not None and self._watch.trouble is None:
            try:
                await self._run_on_writer(thread, lambda _: None)
                self._look_error = ""
            except Exception as error:  # The next look may succeed, and `status` says so until then.
                self._look_error = f"the look at the files failed: {error}"
            await asyncio.sleep(LOOK_S)

    async def _maintain(self) -> None:
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            await asyncio.sleep(QUIET_S)
            try:
                await self._run_maintenance_steps()
                if await self._run_on_reader(reading.count_pending_erasures):
                    await self._wait_for_quiet()
                    await self._erase_forgotten_bytes()
                self._maintenance_error = ""
            except Exception as error:  # The stash works without maintenance, and `status` says so.
                self._maintenance_error = f"upkeep failed: {error}"
                await asyncio.sleep(RETRY_S)
                self._has_changed.set()

    async def _run_maintenance_steps(self) -> None:
        for step in (maintenance.reindex_slice, maintenance.merge_index_step):
            while (writer := self._writer_thread) is not None:
                if not await self._run_on_writer(writer, lambda db, do=step: do(db, self._fail)):  # type: ignore[misc]
                    break
                if self._has_changed.is_set():  # Writers first.
                    await asyncio.sleep(BUSY_PAUSE_S)

    async def _wait_for_quiet(self) -> None:
        """Erasing holds the writer for as long as the file takes to copy: wait for a pause, up to a bound."""
        end = self._clock() + ERASE_WAIT_S_MAX
        while self._clock() < end:
            self._has_changed.clear()
            await asyncio.sleep(ERASE_QUIET_S)
            if not self._has_changed.is_set():
                return

    async def _erase_forgotten_bytes(self) -> None:
        async with self._erasing:
            thread = self._writer_thread
            if thread is None:
                return
            rids = await self._run_on_writer(thread, lambda db: maintenance.begin_erasing(db, self._fail))
            if rids:
                while await self._run_on_writer(thread, lambda db: maintenance.merge_index_step(db, self._fail)):
                    pass
                if await self._run_on_writer(
                    thread, lambda db: maintenance.finish_erasing(db, self._fail, rids), shrinks=True
                ):
                    self._watch.forbid_shrinking()

    async def _run_on_reader(self, function: Operation[T]) -> T:
        return await self._read_within_deadline(lambda db, _: function(db))

    async def _read_within_deadline(self, function: Callable[[sqlite3.Connection, Deadline], T]) -> T:
        """Run a function on a free reader; the deadline that the function sets interrupts its statements."""
        if self._writer_thread is None:
            raise ShuttingDown("the stash is not open", hint="connect again")
        thread, deadline = await self._readers.get()

        def run_within_deadline(db: sqlite3.Connection) -> T:
            self._fail("read")
            return function(db, deadline)

        try:
            return await thread.run(run_within_deadline)
        except sqlite3.Error as error:
            hint = self._watch.trouble.hint if self._watch.trouble else "try again; if it persists, run `ctxgc doctor`"
            raise StorageFailed(f"the stash could not be read: {error}", hint=hint) from error
        finally:
            self._readers.put_nowait((thread, deadline))

    async def _close_connections(self) -> None:
        """Close every connection; a reader in use is closed when its operation ends."""
        writer, self._writer_thread, self._writer = self._writer_thread, None, None  # From here on, calls are refused.
        while self._reader_threads:
            reader, _ = await self._readers.get()
            self._reader_threads.remove(reader)
            if reader is not writer:
                await reader.close()
        if writer is not None:
            await writer.close()

    def _opening_error(self, error: sqlite3.Error | UnicodeDecodeError) -> CtxgcError:
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            return ctxgc_error_of(error)
        return damage_error(self.path, str(error))
