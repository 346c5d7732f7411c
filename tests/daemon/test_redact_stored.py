"""`ctxgc doctor --secrets`: a stash of before a rule loses its credentials, and nothing else."""

import asyncio
import contextlib
import json
import sqlite3

import pytest

from ctxgc.config import Config
from ctxgc.core.errors import StashDamaged, StorageFailed
from ctxgc.core.segment import Access, PathUse, SessionKey
from ctxgc.daemon import redact_stored
from ctxgc.stash import redaction, schema
from ctxgc.stash.contract import Op, PutOp, PutPosition, PutSession, Query, SessionRow
from ctxgc.stash.redaction import redact_stash
from ctxgc.stash.sqlite import SqliteStash
from tests.core.made_contexts import COMMANDS, LINES
from tests.core.made_secrets import issued, named
from tests.daemon.harness import COUNTER, bench_on
from tests.daemon.test_secrets import found_on_disk
from tests.stash.samples import put, sqlite_in
from tests.stash.test_versions import unpack

SECRETS = issued(11)
KEY = SessionKey("client", f"of {SECRETS['github']}")


async def fill(path):
    """A stash of a build that redacted nothing: each kind in a text, and one in each name."""
    name = SECRETS["github"]
    stash = SqliteStash(path, reserve_bytes=0)
    async with bench_on(stash, config=Config.model_validate({"redact": {"enabled": False}})) as bench:
        await bench.call("session.open", session="s")
        for n, secret in enumerate(SECRETS.values()):
            segment = {"id": f"kind{n}", "kind": "user", "text": f"plainword{n} {secret} end"}
            await bench.call("segment.add", session="client:s", segment=segment)
        await stash.apply(
            [
                PutSession(SessionRow(key=KEY, title=name, task=name, project=f"/p/{name}", number=123456789)),
                put(0, "in names", key=KEY, id=f"a {name}", tags=(name,), task=name, tool=name, command=name),
                put(1, "two ids", key=KEY, id=f"a {SECRETS['npm']}", paths=(PathUse(f"/p/{name}", Access.READ),)),
                PutOp(KEY, f"op {name}", Op(b'{"text":"x"}', b"")),
                PutPosition(f"/logs/{name}.jsonl", b"head", 7),
            ]
        )
    assert len(found_on_disk(path.parent, SECRETS.values())) == len(SECRETS)


def run(path, *, is_dry=False, progress=lambda done, total: None):
    return redact_stash(path, redact_stored.row_redactor(COUNTER), progress, is_dry=is_dry)


async def test_every_credential_that_was_stored_is_gone_from_the_files_and_the_rest_is_found(tmp_path):
    path = tmp_path / "state" / "stash.sqlite3"
    await fill(path)

    expected = run(path, is_dry=True)
    counted = run(path)

    assert counted == expected
    assert counted.segments == len(SECRETS) + 2
    assert counted.names == 3
    assert found_on_disk(path.parent, SECRETS.values()) == []
    async with bench_on(SqliteStash(path, reserve_bytes=0)) as bench:
        found = await bench.call("stash.search", query="plainword3")
        shown = await bench.call("segment.get", session="client:s", id="kind3")
        named = await bench.call("segment.list", session=str(KEY))
        await bench.call("stash.recall", session=str(KEY), id=f"a {SECRETS['github']}")
    assert [hit["id"] for hit in found["hits"]] == ["kind3"]
    assert shown["pieces"][0]["text"].startswith("plainword3 «redacted:")
    assert [segment["id"] for segment in named["segments"]] == ["a «redacted:github_token»", "a «redacted:npm_token»"]


async def test_what_intake_redacts_today_is_redacted_in_what_an_older_version_stored(tmp_path):
    path, made = tmp_path / "state" / "stash.sqlite3", named(11)
    texts = [made[line][0].format(made[line][1]) for line in (*COMMANDS, *LINES)]
    secrets = [made[line][1] for line in (*COMMANDS, *LINES)]
    stash = SqliteStash(path, reserve_bytes=0)
    async with bench_on(stash, config=Config.model_validate({"redact": {"enabled": False}})) as bench:
        await bench.call("session.open", session="s")
        for n, text in enumerate(texts):
            call = {"id": f"c{n}", "kind": "tool_call", "tool": "x", "text": text, "input": {"c": ["sh", "-c", text]}}
            await bench.call("segment.add", session="client:s", segment=call)
    assert len(found_on_disk(path.parent, secrets)) == len(secrets)

    run(path)

    assert found_on_disk(path.parent, secrets) == []


async def test_a_dry_run_changes_no_byte(tmp_path):
    path = tmp_path / "state" / "stash.sqlite3"
    await fill(path)
    before = path.read_bytes()

    run(path, is_dry=True)

    assert path.read_bytes() == before


async def test_a_second_run_finds_nothing(tmp_path):
    path = tmp_path / "state" / "stash.sqlite3"
    await fill(path)
    run(path)

    again = run(path)

    assert (again.secrets, again.segments, again.names) == (0, 0, 0)


async def test_a_run_that_was_broken_off_goes_on_where_it_was(tmp_path, monkeypatch):
    path = tmp_path / "state" / "stash.sqlite3"
    await fill(path)
    expected = run(path, is_dry=True)
    monkeypatch.setattr(redaction, "SLICE_ROWS", 20)

    def break_off(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, progress=break_off)
    with sqlite3.connect(path) as db:
        first = db.execute("SELECT count(*) FROM segment WHERE redactions > 0").fetchone()[0]
    rest = run(path)

    assert first + rest.segments == expected.segments
    assert 0 < first < expected.segments
    assert found_on_disk(path.parent, SECRETS.values()) == []


def old_stash(folder):
    """A stash that the code of version 2 wrote, with a credential in a tag and in a command."""
    path = unpack(2, folder)
    with contextlib.closing(sqlite3.connect(path)) as db:
        values = (json.dumps([SECRETS["github"]]), f"export T={SECRETS['npm']}")
        db.execute("UPDATE segment SET tags = ?, command = ? WHERE seq = 0", values)
        db.commit()
    return path


async def test_a_stash_of_an_older_version_is_counted_as_it_is_redacted_and_a_dry_run_leaves_it_as_it_was(tmp_path):
    path = old_stash(tmp_path)
    before = path.read_bytes()

    expected = run(path, is_dry=True)
    untouched = path.read_bytes()
    beside = sorted(path.parent.iterdir())
    counted = run(path)

    assert untouched == before
    assert beside == [path]
    assert counted == expected
    assert (counted.segments, run(path).segments) == (1, 0)
    stored = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert not [secret for secret in SECRETS.values() if secret.encode() in stored]
    stash = sqlite_in(tmp_path)
    await stash.open()
    for _ in range(500):  # The index is of an older version too, and is filled anew.
        found = await stash.search(Query(text="lamp"))
        if not found.is_partial:
            break
        await asyncio.sleep(0.02)
    assert {hit.row.seq for hit in found.hits} == {0, 1, 2}
    await stash.close()


@pytest.mark.parametrize("is_dry", [True, False])
async def test_a_damaged_stash_is_refused_with_the_next_step(tmp_path, is_dry):
    path = tmp_path / "state" / "stash.sqlite3"
    await fill(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))

    with pytest.raises(StashDamaged, match="is damaged") as refused:
        run(path, is_dry=is_dry)

    assert "ctxgcd --repair" in refused.value.hint


async def test_a_stash_that_another_process_writes_to_is_refused_with_the_next_step(tmp_path, monkeypatch):
    path = old_stash(tmp_path)
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_MS", 0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(StorageFailed) as refused:
            run(path)

    assert refused.value.hint
