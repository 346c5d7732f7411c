"""No verb opens the daemon's own stash as a file: closing the file would drop every SQLite lock of the daemon on it."""

import asyncio
import os
import subprocess
import sys

import pytest

from ctxgc.core.errors import BadTranscript
from ctxgc.daemon.feeds.watch import WatchedPath
from ctxgc.stash.sqlite import SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_watch import look

READS = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM segment'); db.close()"


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
@pytest.mark.parametrize("way", ["import", "watch", "add_file"])
async def test_the_daemons_own_stash_is_refused_and_keeps_its_locks(tmp_path, suffix, way):
    path, link = tmp_path / "state" / "stash.sqlite3", tmp_path / "opencode.db"
    async with bench_on(SqliteStash(path, reserve_bytes=0)) as bench:
        await bench.call("session.open", session="s")
        await bench.call("segment.add", session="client:s", segment={"id": "a", "kind": "user", "text": "one"})
        link.symlink_to(f"{path}{suffix}")
        match way:
            case "import":
                [failed] = (await bench.call("import", paths=[str(link)]))["failed"]
                assert "own stash" in failed["error"]
            case "watch":
                watched = WatchedPath(str(link))
                await look(bench, watched, link)
                assert "own stash" in watched.error
            case "add_file":
                with pytest.raises(BadTranscript, match="own stash"):
                    await bench.call("segment.add_file", session="client:s", id="f", kind="attachment", path=str(link))
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", READS, str(path)], check=True)

        assert f"{path.name}-wal" in os.listdir(path.parent)
        await bench.call("segment.add", session="client:s", segment={"id": "b", "kind": "user", "text": "two"})
