"""A file of a user that has nothing to read yet, as `/proc/kmsg`: a read without waiting answers None."""

import asyncio
import io
import os
import subprocess
import sys
import time

import pytest

from ctxgc.core.errors import BadParams
from ctxgc.daemon.project_files import read_unchanged_file

DEMO_PARSE = """
import sys
from ctxgc.fronts.cli import demo_verify

print(demo_verify.digest_transcript(sys.argv[1]))
"""


class SilentFile(io.FileIO):
    """A plain file by its facts, without a byte now."""

    def read(self, size=-1):
        return None


@pytest.fixture
def silent(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"x" * 5000)
    monkeypatch.setattr(os, "fdopen", lambda descriptor, mode: SilentFile(descriptor, mode))
    return path


async def test_an_import_of_a_file_that_has_nothing_to_read_yet_passes_the_file_over(bench, silent):
    for format_name in ("", "codex"):
        reply = await bench.call("import", paths=[str(silent)], format=format_name)

        assert (reply["passed_over"], reply["failed"]) == (1, [])


async def test_a_watch_of_a_file_that_has_nothing_to_read_yet_meets_no_error(bench, silent):
    await bench.call("watch.add", path=str(silent.parent))
    while not (watched := (await bench.call("watch.list"))["watched"][0])["files_looked_at"]:  # noqa: ASYNC110 - a watch tells nobody
        await asyncio.sleep(0.01)

    assert (watched["files"], watched["error"]) == (1, "")


async def test_a_file_that_has_nothing_to_read_yet_becomes_no_segment(bench, silent):
    await bench.call("session.open", session="s")

    with pytest.raises(BadParams):
        await bench.call("segment.add_file", path=str(silent))


def test_a_project_file_that_has_nothing_to_read_yet_is_no_content(silent):
    assert read_unchanged_file(str(silent), str(silent.parent), time.time() + 60) is None


@pytest.mark.parametrize("name", ["fifo", "/proc/kmsg"])
def test_the_demo_waits_for_no_pipe_and_no_device(tmp_path, name):
    os.mkfifo(tmp_path / "fifo")
    child = subprocess.run(
        [sys.executable, "-c", DEMO_PARSE, str(tmp_path / name)], capture_output=True, timeout=60, check=True
    )

    assert child.stdout == b"ParsedFile(sessions={}, unread_texts=0)\n"
