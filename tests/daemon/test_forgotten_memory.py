"""A daemon's memory holds no forgotten text for longer than a minute: looked at from outside, byte by byte."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctxgc.daemon import freed_memory
from tests.daemon.transcripts import worked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="another process's memory is read from /proc")

NEEDLE = re.compile(rb"zq[a-z]{2,5}[0-9]{3}needlewx")
SLICE_BYTES = 2**24
FORGOTTEN_S_MAX = 60.0


def needle(place, n):
    return f"zq{place}{n:03d}needlewx"


def in_memory(pid):
    """Every needle that the process holds anywhere: in objects, in freed blocks, in pages of SQLite, on stacks."""
    found = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, rights, *_, name = (
                [*line.split(maxsplit=5), ""][:6] if len(line.split()) < 6 else line.split(maxsplit=5)
            )
            if "r" not in rights or name.startswith("[v"):
                continue
            at, end = (int(side, 16) for side in area.split("-"))
            while at < end:
                try:
                    memory.seek(at)
                    data = memory.read(min(SLICE_BYTES, end - at))
                except OSError:  # An area that went away meanwhile.
                    break
                found.update(NEEDLE.findall(data))
                at += len(data) or end
    return found


def say_needles(client, folder, n):
    """One segment of each way in, with a needle in every field that holds text, and the reads that cache it."""
    segment = {
        "id": f"id{n}",
        "kind": "tool_call",
        "tool": needle("tool", n),
        "text": f"{needle('text', n)} words " * 30,
        "input": {"command": needle("comm", n), needle("key", n): needle("val", n)},
        "paths": [f"/p/{needle('path', n)}.py"],
        "tags": [needle("tag", n)],
        "task": needle("task", n),
    }
    client.call("segment.add", {"session": "client:s", "segment": segment, "op_id": needle("op", n)})
    client.call("segment.get", {"session": "client:s", "id": f"id{n}"})
    client.call("stash.search", {"query": needle("text", n)})
    client.call("stash.recall", {"session": "client:s", "id": f"id{n}"})
    log = worked(2)
    log.record("user", message={"role": "user", "content": f"{needle('log', n)} said " * 20})
    path = folder / f"log{n}.jsonl"
    path.write_bytes(log.data.replace(b"a1", f"b{n}".encode()))
    imported = client.call("import", {"paths": [str(path)]})
    listed = [{"role": "user", "content": f"{needle('list', n)} asked " * 20}]
    client.call(
        "messages.collect",
        {"session": f"client:l{n}", "format": "anthropic_messages", "messages": listed, "budget_tokens": 9000},
    )
    return [*(one["session"] for one in imported["sessions"]), f"client:l{n}"]


SEARCHER = """
import gc
from ctxgc.core.search import lexemes
from ctxgc.daemon import freed_memory

freed_memory.enable_overwrite_on_free()
functions = freed_memory.find_cached_functions()
gc.freeze()
lexemes.stem(lexemes.normalize_word("".join(("Zqword", "000", "needlewx"))))
input("searched\\n")
freed_memory.clear_function_caches([*functions, *freed_memory.find_cached_functions()])
lexemes.overwrite_last_word()
freed_memory.fill_free_blocks()
input("emptied\\n")
"""


def test_a_word_that_was_stemmed_is_in_no_byte_once_the_caches_of_lexemes_are_empty():
    child = subprocess.Popen([sys.executable, "-c", SEARCHER], stdin=-1, stdout=-1)
    with child:
        assert child.stdout.readline() == b"searched\n"
        assert in_memory(child.pid) == {b"zqword000needlewx"}, "the word was never there to be found"
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"emptied\n"
        left = in_memory(child.pid)
        child.communicate(b"\n")

    assert left == set()


@pytest.mark.slow
def test_what_was_forgotten_is_in_no_byte_of_the_daemons_memory_after_a_minute(running_daemon, tmp_path):
    pid = running_daemon.child.pid
    with running_daemon.client() as client:
        client.call("session.open", {"session": "s"})
        sessions = {session for n in range(12) for session in say_needles(client, tmp_path, n)}
        client.call("session.show", {"session": "client:s"})
        client.call("session.render", {"session": "client:s"})
    assert len(in_memory(pid)) > 12 * 8, "the needles were never there to be found"

    with running_daemon.client() as client:
        for session in {"client:s", *sessions}:
            client.call("stash.forget", {"session": session, "whole_session": True})
    end = time.monotonic() + FORGOTTEN_S_MAX
    while (left := in_memory(pid)) and time.monotonic() < end:
        time.sleep(1)

    assert sorted(left) == []


@pytest.mark.slow
def test_a_daemon_serves_on_after_its_memory_was_overwritten(running_daemon):
    with running_daemon.client() as client:
        client.call("session.open", {"session": "s"})
        for n in range(3):
            client.call(
                "segment.add", {"session": "s", "segment": {"id": f"id{n}", "kind": "user", "text": f"word{n}"}}
            )
        client.call("stash.forget", {"session": "client:s", "ids": ["id0"]})
        time.sleep(3)
        found = client.call("stash.search", {"query": "word1"})

    assert [hit["id"] for hit in found["hits"]] == ["id1"]
    assert json.dumps(client.call("stash.search", {"query": "word0"})["hits"]) == "[]"
    assert running_daemon.child.poll() is None


def test_filling_free_blocks_ends_where_nobody_says_how_large_the_process_is(monkeypatch):
    monkeypatch.setattr(freed_memory, "_virtual_memory_bytes", lambda: 0)

    freed_memory.fill_free_blocks()


def test_a_daemon_that_waits_for_a_forget_still_stops(running_daemon):
    running_daemon.call("ping")
    assert running_daemon.stop() == 0
