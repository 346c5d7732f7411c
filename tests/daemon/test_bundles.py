"""A session that is exported, and imported into an empty stash, is the same session: rows, pins, journal, settings."""

import gzip
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.errors import BadParams, Conflict, NotFound, StorageFailed
from ctxgc.core.segment import SessionKey, State
from ctxgc.daemon.feeds import session_bundle
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.transcripts import worked
from tests.effort import effort

KEY = SessionKey("claude_code", "a1")
SESSION = {"session": str(KEY)}


async def whole(stash, key=KEY):
    """Everything that a stash keeps of a session."""
    rows = await stash.rows(key)
    return (
        await stash.session(key),
        rows,
        await stash.contents(key, [row.seq for row in rows]),
        await stash.collections(key, limit=1000),
    )


async def exported(bench, folder, session=SESSION, name="out.jsonl"):
    path = Path(folder) / name
    await bench.call("export", **session, path=str(path))
    return path


async def worn(bench, folder, acts):
    """A session that was read from its log, and then used."""
    log = Path(folder) / "a1.jsonl"
    log.write_bytes(worked(6).compacts().works(5).data)
    await bench.call("import", paths=[str(log)])
    names = [segment["id"] for segment in (await bench.call("segment.list", **SESSION, limit=500))["segments"]]
    done = []
    for act, number in acts:
        done.append(act)
        name = names[number % len(names)]
        try:
            match act:
                case "pin":
                    await bench.call("segment.pin", **SESSION, ids=[name])
                case "tag":
                    await bench.call("segment.tag", **SESSION, id=name, tags=["a", "é"], task="t", importance=0.9)
                case "evict":
                    await bench.call("segment.evict", **SESSION, ids=[name])
                case "collect":
                    await bench.call("heap.collect", **SESSION, budget_tokens=1, must_fit=False)
                case "undo":
                    await bench.call("heap.undo", **SESSION)
                case "touch":
                    await bench.call("segment.touch", **SESSION, ids=[name])
                case "recall":
                    await bench.call("stash.recall", **SESSION, id=name)
                case "forget":
                    await bench.call("stash.forget", **SESSION, ids=[name])
                case "ref":
                    await bench.call("segment.ref", **SESSION, id=name, refs=[names[0]])
                case "set":
                    await bench.call("session.set", **SESSION, budget_tokens=900 + number, task="tide", mode="client")
                case "close":
                    await bench.call("session.close", **SESSION)
        except (Conflict, NotFound, BadParams):
            done.remove(act)  # Nothing to act on.
    return done


ACTS = st.sampled_from(["pin", "tag", "evict", "collect", "undo", "touch", "ref", "recall", "forget", "set", "close"])


@effort(10)
@given(st.lists(st.tuples(ACTS, st.integers(0, 40)), max_size=12), st.booleans())
async def test_export_and_import_into_an_empty_stash_give_the_same_rows(acts, is_packed):
    with tempfile.TemporaryDirectory() as folder:
        async with bench_on(SqliteStash(MEMORY)) as bench:
            await worn(bench, folder, acts)
            path = await exported(bench, folder)
            before = await whole(bench.stash)
        if is_packed:
            path = path.with_suffix(".jsonl.gz")
            path.write_bytes(gzip.compress((Path(folder) / "out.jsonl").read_bytes()))
        async with bench_on(SqliteStash(MEMORY)) as other:
            reply = await other.call("import", paths=[str(path)])
            assert reply["failed"] == []
            assert await whole(other.stash) == before
            again = await exported(other, folder, name="again.jsonl")
            assert again.read_bytes() == (Path(folder) / "out.jsonl").read_bytes()


async def a_clients_session(bench):
    await bench.call("session.open", session="own", title="é", task="tide", budget_tokens=500)
    first = {"id": "a", "kind": "user", "text": "why?"}
    await bench.call("segment.add", session="client:own", segment=first)
    second = {"id": "b", "kind": "tool_call", "tool": "Read", "input": {"file_path": "/w/a"}, "text": "xé" * 50}
    await bench.call("segment.add", session="client:own", segment=second | {"refs": ["a"], "is_pinned": True})
    return SessionKey("client", "own")


async def test_references_of_a_client_come_back_and_the_client_goes_on(kept_bench, bench, tmp_path):
    key = await a_clients_session(kept_bench)
    path = await exported(kept_bench, tmp_path, {"session": str(key)})
    before = await whole(kept_bench.stash, key)

    await bench.call("import", paths=[str(path)])

    assert await whole(bench.stash, key) == before
    assert before[1][1].edges
    assert before[1][1].is_pinned
    reply = await bench.call("segment.add", session=str(key), segment={"kind": "user", "text": "go on", "refs": ["b"]})
    assert reply["added"] == 1


@given(st.floats(0, 1), st.booleans())
@effort(10)
async def test_a_file_that_was_cut_or_changed_is_refused_and_leaves_no_session(part, is_cut):
    with tempfile.TemporaryDirectory() as folder:
        async with bench_on(SqliteStash(MEMORY)) as bench:
            await worn(bench, folder, [("collect", 0)])
            path = await exported(bench, folder)
        text = bytearray(path.read_bytes())
        first, last = text.index(b"\n") + 1, len(text) - 2
        at = first + int(part * (last - first))
        if is_cut:
            del text[at:]
        else:
            text[at : at + 1] = b"~" if text[at : at + 1] != b"~" else b"_"
        path.write_bytes(text)
        async with bench_on(SqliteStash(MEMORY)) as other:
            reply = await other.call("import", paths=[str(path)])

            assert [failed["kind"] for failed in reply["failed"]] == ["bad_transcript"]
            assert await other.stash.session(KEY) is None


async def test_an_import_that_was_stopped_goes_on_where_it_is_repeated(bench, kept_bench, tmp_path, monkeypatch):
    monkeypatch.setattr(session_bundle, "SLICE_SEGMENTS", 4)
    await worn(kept_bench, tmp_path, [("pin", 1), ("collect", 0)])
    path = await exported(kept_bench, tmp_path)
    real, calls = bench.stash.apply, []

    async def stopped(mutations):
        calls.append(mutations)
        if len(calls) == 3:
            raise StorageFailed("the disk is gone")
        await real(mutations)

    monkeypatch.setattr(bench.stash, "apply", stopped)
    assert (await bench.call("import", paths=[str(path)]))["failed"]
    monkeypatch.setattr(bench.stash, "apply", real)
    await bench.call("import", paths=[str(path)])

    assert await whole(bench.stash) == await whole(kept_bench.stash)


async def test_a_session_that_is_there_keeps_its_own_states(bench, tmp_path):
    await worn(bench, tmp_path, [("pin", 1)])
    path = await exported(bench, tmp_path)
    await bench.call("heap.collect", **SESSION, budget_tokens=10, must_fit=False)
    before = (await whole(bench.stash))[1]

    await bench.call("import", paths=[str(path)])

    assert (await whole(bench.stash))[1] == before


async def test_an_export_that_fails_leaves_nothing_and_bars_no_retry(bench, tmp_path, monkeypatch):
    await worn(bench, tmp_path, [])
    real, before = os.link, set(os.listdir(tmp_path))

    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(StorageFailed) as failed:
        await exported(bench, tmp_path)
    monkeypatch.setattr(os, "link", real)

    assert "No space left" in str(failed.value)
    assert set(os.listdir(tmp_path)) == before
    path = await exported(bench, tmp_path)
    with pytest.raises(Conflict):
        await exported(bench, tmp_path)
    assert set(os.listdir(tmp_path)) == before | {path.name}


async def test_a_file_of_a_later_version_says_so(bench, kept_bench, tmp_path):
    await worn(kept_bench, tmp_path, [])
    path = await exported(kept_bench, tmp_path)
    header, rest = path.read_text().split("\n", 1)
    path.write_text(json.dumps(json.loads(header) | {"version": 9}) + "\n" + rest)

    [failed] = (await bench.call("import", paths=[str(path)]))["failed"]

    assert "version 9" in failed["error"]
    assert failed["hint"] == "upgrade ctxgc"


@pytest.mark.parametrize("refs", [["later"], ["nobody"], ["own"]])
async def test_a_reference_that_no_older_segment_answers_is_refused_by_name(bench, tmp_path, refs):
    records = [
        {"format": "ctxgc-segments", "version": 1, "session": "s"},
        {"kind": "user", "id": "own", "text": "a", "refs": refs},
        {"kind": "user", "id": "later", "text": "b"},
    ]
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))

    [failed] = (await bench.call("import", paths=[str(path)]))["failed"]

    assert f"{refs[0]!r}" in failed["error"]
    assert "'own'" in failed["error"]


async def test_memory_holds_a_slice_of_a_session_at_a_time(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(session_bundle, "SLICE_BYTES", 1000)
    await worn(bench, tmp_path, [])
    session = await bench.services.registry.get(KEY)

    blocks = [block async for block in session_bundle.encode_bundle(bench.services, session)]

    assert len(blocks) > 3
    assert sum(map(len, blocks)) > 2 * max(map(len, blocks))


async def test_a_forgotten_segment_stays_forgotten_in_the_other_stash(bench, kept_bench, tmp_path):
    await worn(kept_bench, tmp_path, [("forget", 3)])
    path = await exported(kept_bench, tmp_path)
    await bench.call("import", paths=[str(path)])
    rows = await bench.stash.rows(KEY)

    await bench.call("import", paths=[str(tmp_path / "a1.jsonl")])

    [gone] = [row for row in rows if row.state is State.FORGOTTEN]
    assert (await bench.stash.rows(KEY, [gone.seq])) == [gone]


async def test_every_act_of_these_tests_changes_a_session(bench, tmp_path):
    names = ["evict", "undo", "collect", "pin", "tag", "touch", "ref", "recall", "forget", "set", "close"]
    acts = [(name, number) for name in names for number in range(30 if name == "evict" else 4)]

    assert set(await worn(bench, tmp_path, acts)) == set(names)


async def test_one_changed_letter_of_a_text_is_noticed(bench, kept_bench, tmp_path):
    path = await exported(kept_bench, tmp_path, {"session": str(await a_clients_session(kept_bench))})
    path.write_text(path.read_text().replace("why?", "who?"))

    [failed] = (await bench.call("import", paths=[str(path)]))["failed"]

    assert "checksum" in failed["error"]


@pytest.mark.parametrize("lost", [1, 2])
async def test_an_export_that_lost_a_line_reads_as_segments_but_for_that_line(bench, kept_bench, tmp_path, lost):
    key = await a_clients_session(kept_bench)
    path = await exported(kept_bench, tmp_path, {"session": str(key)})
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for at, line in enumerate(lines) if at != lost]
    path.write_bytes(b"".join(kept))

    reply = await bench.call("import", paths=[str(path)], format="segments")

    assert reply["failed"] == []
    assert reply["sessions"][0]["segments"] == sum(b'"kind":' in line for line in kept[1:])
