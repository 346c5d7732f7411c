"""Imports: reading again changes nothing, a bad file harms nobody, and other clients are answered meanwhile."""

import asyncio
import gzip
import json
import os
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
import pytest
import zstandard

from ctxgc.adapters.transcripts.claude_record import _NOTES
from ctxgc.core.errors import Cancelled
from ctxgc.daemon.feeds import importing
from ctxgc.daemon.rpc import CallContext
from ctxgc.fronts.cli.demo import SAMPLE
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from ctxgc.tokens.calibration import Calibration
from tests.daemon.harness import NoClient, bench_on, bench_over, open_stash
from tests.daemon.transcripts import worked

SESSION = {"session": "claude_code:a1"}


async def imported(bench, *paths, **more):
    """The import's reply, held to what every import promises of its failures."""
    reply = await bench.call("import", paths=[str(path) for path in paths], **more)
    assert all({"path", "kind", "error", "hint"} == set(failure) for failure in reply["failed"])
    return reply


async def everything(stash):
    """All that a stash holds, but for when it was written and for the session numbers that were drawn."""
    known = {}
    for found in await stash.sessions():
        rows = await stash.rows(found.key)
        bodies = await stash.contents(found.key, [row.seq for row in rows])
        journal = await stash.collections(found.key)
        known[found.key] = (replace(found, updated_s=0, created_s=0, number=0), rows, bodies, journal)
    return known


async def once(path):
    """What one import of this file leaves."""
    async with bench_on(SqliteStash(MEMORY)) as bench:
        await imported(bench, path)
        return await everything(bench.stash)


async def states(bench):
    return {s["id"]: s["state"] for s in (await bench.call("segment.list", **SESSION))["segments"]}


@pytest.fixture
def log(tmp_path):
    """A file with a session of forty turns."""
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(40).data)
    return path


@pytest.mark.parametrize("source", ["made", "sample"])
async def test_importing_again_changes_nothing_not_even_after_a_collection(bench, log, source):
    path = log if source == "made" else SAMPLE
    first = await imported(bench, path)
    for session in first["sessions"]:
        await bench.call("heap.collect", session=session["session"], budget_tokens=2000, unit="raw")
    before = await everything(bench.stash)

    again = await imported(bench, path)

    assert [session["added"] for session in again["sessions"]] == [0] * len(first["sessions"])
    after = await everything(bench.stash)
    for key in before:
        for then, now in zip(before[key], after[key], strict=True):
            assert now == then


async def test_a_file_that_is_read_again_teaches_only_by_the_bills_of_turns_that_are_new(bench, tmp_path, monkeypatch):
    asked = []
    observe = Calibration.observe
    monkeypatch.setattr(Calibration, "observe", lambda *step: asked.append(step) or observe(*step))
    path, log = tmp_path / "a1.jsonl", worked(20)
    path.write_bytes(log.data)
    await imported(bench, path)
    first = len(asked)

    path.write_bytes(log.works(3).data)
    await imported(bench, path)

    assert first > 15
    assert 0 < len(asked) - first < 3


async def test_a_file_that_is_read_again_without_news_reads_no_bodies(tmp_path, log):
    async with bench_on(SqliteStash(tmp_path / "state")) as bench:
        await imported(bench, log)
    async with bench_on(SqliteStash(tmp_path / "state")) as restarted:
        await imported(restarted, log)

        assert not restarted.services.registry.awake_sessions[0].indexes.has_text


async def test_what_was_evicted_when_its_host_rewound_is_evicted_when_it_returns(tmp_path):
    path, log = tmp_path / "a1.jsonl", worked(1)
    fork = log.last
    log.user("go on")
    tip = log.works(4).last
    async with bench_on(SqliteStash(tmp_path / "state")) as bench:
        path.write_bytes(log.data)
        await imported(bench, path)
        await bench.call("segment.evict", **SESSION, ids=["toolu_002"])
        log.record("user", parent=fork, message={"role": "user", "content": "another way"})
        path.write_bytes(log.data)
        await imported(bench, path)
        assert (await states(bench))["toolu_002"] == "departed"

        log.record("user", parent=tip, message={"role": "user", "content": "as before"})
        path.write_bytes(log.data)
        await imported(bench, path)

        back = await states(bench)
    async with bench_on(SqliteStash(tmp_path / "state")) as restarted:
        assert await states(restarted) == back
    assert [back[f"toolu_00{n}"] for n in range(1, 4)] == ["resident", "evicted", "resident"]


async def test_a_file_that_the_host_compacted_keeps_its_window_and_what_was_evicted(bench, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(20).compacts().works(20).data)
    await imported(bench, path)
    await bench.call("heap.collect", **SESSION, budget_tokens=1500, unit="raw")
    before = await states(bench)
    assert set(before.values()) == {"resident", "evicted", "departed"}

    await imported(bench, path)

    assert await states(bench) == before


async def test_what_was_forgotten_does_not_come_back_with_an_import(bench, log):
    await imported(bench, log)
    await bench.call("stash.forget", **SESSION, ids=["toolu_004", "toolu_006"])

    await imported(bench, log)

    assert (await states(bench))["toolu_004"] == "forgotten"
    assert (await bench.call("stash.search", query="log4"))["hits"] == []
    async with bench_on(bench.stash) as restarted:
        await imported(restarted, log)
        assert (await states(restarted))["toolu_006"] == "forgotten"


async def test_a_call_that_was_forgotten_while_it_ran_stays_forgotten_when_its_result_comes(bench, tmp_path):
    path, lines = tmp_path / "a1.jsonl", worked(3).data.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    await imported(bench, path)
    last = max(await states(bench))
    await bench.call("stash.forget", **SESSION, ids=[last])

    path.write_bytes(b"".join(lines))
    await imported(bench, path)

    assert (await states(bench))[last] == "forgotten"
    assert (await bench.call("session.show", **SESSION))["forgotten"] == 1


@pytest.mark.parametrize("cut", [1, 7, 30, 79, 80])
async def test_an_import_that_stopped_in_the_middle_is_finished_by_the_next(log, tmp_path, cut):
    whole = await once(log)
    lines = log.read_bytes().splitlines(keepends=True)
    part = tmp_path / "part.jsonl"
    part.write_bytes(b"".join(lines[:cut]) + lines[cut][:50])
    async with open_stash(SqliteStash(MEMORY)) as stash:
        async with bench_over(stash) as first:
            await imported(first, part)

        async with bench_over(stash) as second:
            await imported(second, log)

        [(row, rows, bodies, _)] = (await everything(stash)).values()
        [(whole_row, whole_rows, whole_bodies, _)] = whole.values()
        assert (rows, bodies) == (whole_rows, whole_bodies)
        assert (row.turn, row.model, row.skipped_records) == (
            whole_row.turn,
            whole_row.model,
            whole_row.skipped_records,
        )


async def test_gzip_in_any_number_of_members_is_read_as_the_plain_file(log, tmp_path):
    data = log.read_bytes()
    packed = tmp_path / "a1.jsonl.gz"
    packed.write_bytes(gzip.compress(data[:9000]) + gzip.compress(data[9000:]))

    assert await once(packed) == await once(log)


def line(n, **fields):
    return (
        json.dumps({"type": "user", "uuid": f"u{n}", "parentUuid": None, "sessionId": "a1"} | fields).encode() + b"\n"
    )


GOOD = worked(3).data
SURROGATE = line(1, message={"role": "user", "content": "lone \ud800 surrogate \udfff"})
NUL = line(2, message={"role": "user", "content": "a\0b"})
ODD_CALL = {
    "type": "tool_use",
    "id": "toolu_\udfff\0",
    "name": "\ud800\0",
    "input": {"\udcff": "\ud800", "command": "\ud800"},
}
ODD_RESULT = {"type": "tool_result", "tool_use_id": "toolu_\udfff\0", "content": "\ud800 is odd\n" * 200}
STRANGE = {
    "surrogates in calls": line(5, message={"role": "user", "content": "go"})
    + line(6, type="assistant", message={"role": "assistant", "id": "m\ud800", "content": [ODD_CALL]}, parentUuid="u5")
    + line(7, message={"role": "user", "content": [ODD_RESULT]}, parentUuid="u6"),
    "malformed": GOOD + b"{not json\n]\n",
    "binary": bytes(range(256)) * 4000,
    "binary after a start": GOOD + bytes(range(256)) * 4000,
    "empty": b"",
    "newlines": b"\n" * 10_000,
    "spaces": GOOD + b" " * 2**20 + b"\n",
    "only spaces": b" " * 2**20,
    "truncated": GOOD[:-40],
    "truncated gzip": gzip.compress(GOOD * 50)[:-300],
    "broken gzip": gzip.compress(GOOD) + b"\x1f\x8b\x08garbage",
    "a gzip's first bytes": gzip.compress(GOOD)[:9],
    "surrogates": GOOD + SURROGATE,
    "surrogates in names": GOOD + line(1, message={"role": "user", "content": "x"}, cwd="/\ud800", sessionId="\udcff"),
    "NUL": GOOD + NUL,
    "deep": GOOD + b'{"type":' + b"[" * 100_000 + b"\n",
    "deep and closed": GOOD + b'{"type":"user","x":' + b"[" * 5000 + b"]" * 5000 + b"}\n",
    "deep input": GOOD + line(3, message={"role": "assistant", "content": [{"type": "tool_use", "input": [[[]]] * 9}]}),
    "wrong types": GOOD + b'{"type":1,"message":2}\n{"type":"assistant","message":{"content":7,"usage":[]}}\n[]\n3\n',
    "huge numbers": GOOD + line(4, timestamp=10**400, message={"role": "user", "content": "x", "usage": {"a": 1e308}}),
    "infinite": GOOD + b'{"type":"user","uuid":"x","timestamp":Infinity,"message":{"role":"user","content":"x"}}\n',
    "loop of parents": GOOD + line("u9", parentUuid="uu9") + line("u8", parentUuid="uu8"),
}


@pytest.mark.parametrize("name", STRANGE)
async def test_a_strange_file_is_counted_or_listed_and_never_a_stack_trace(kept_bench, tmp_path, name):
    folder = tmp_path / "logs"
    folder.mkdir()
    path, good = folder / "strange.jsonl", folder / "z.jsonl"
    path.write_bytes(STRANGE[name])
    good.write_bytes(worked(3, session="b2").data)

    reply = await imported(kept_bench, folder)

    assert "claude_code:b2" in {session["session"] for session in reply["sessions"]}
    read = [session for session in reply["sessions"] if session["path"] == str(path)]
    assert read or [*(failure["path"] for failure in reply["failed"]), *reply.get("passed_over_files", ())] == [
        str(path)
    ]
    for session in read:
        for verb in ("heap.collect", "session.render", "segment.list", "session.show", "heap.log"):
            await kept_bench.call(verb, session=session["session"])
    await kept_bench.call("stash.search", query="odd ferry")
    async with bench_on(kept_bench.stash) as restarted:
        again = await imported(restarted, path)
        assert [session["added"] for session in again["sessions"]] == [0] * len(read)


COUNTED = {
    "malformed": {"malformed": 2},
    "truncated": {"truncated": 1},
    "truncated gzip": {"truncated": 1},
    "broken gzip": {"damaged_gzip": 1},
}


@pytest.mark.parametrize("name", COUNTED)
async def test_what_could_not_be_read_is_counted_under_its_name(bench, tmp_path, name):
    path = tmp_path / "strange.jsonl"
    path.write_bytes(STRANGE[name])

    [session] = (await imported(bench, path))["sessions"]

    assert session["skipped"].items() >= COUNTED[name].items()
    assert (await bench.call("session.show", **SESSION))["skipped_records"] == session["skipped_records"]


@asynccontextmanager
async def pings(bench):
    """Another client that pings all the time; yields the list of its answers."""
    answers = []

    async def ping():
        while True:
            answers.append(await bench.call("ping"))
            await asyncio.sleep(0.001)

    task = asyncio.ensure_future(ping())
    try:
        yield answers
    finally:
        task.cancel()


@pytest.mark.slow
async def test_other_clients_are_answered_while_a_line_of_thirty_megabytes_is_read(bench, tmp_path):
    path = tmp_path / "huge.jsonl"
    huge = line(1, message={"role": "user", "content": "the ferry waits for the tide " * 1_200_000})
    path.write_bytes(GOOD + huge + worked(2, session="b2").data)

    async with pings(bench) as answers:
        reply = await imported(bench, path)

    assert len(huge) > 30 * 2**20
    assert len(answers) > 20
    assert {session["session"] for session in reply["sessions"]} >= {"claude_code:a1", "claude_code:b2"}


async def test_what_is_no_regular_file_is_listed_and_nothing_waits_for_it(bench, tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "empty").mkdir()
    paths = ["pipe.jsonl", "loop.jsonl", "empty", "missing.jsonl"]

    async with asyncio.timeout(5):
        reply = await imported(bench, *(tmp_path / name for name in paths), "/proc/self/mem")

    listed = {os.path.basename(failure["path"]): failure["kind"] for failure in reply["failed"]}
    assert set(listed) == {*paths, "mem"}
    assert listed["pipe.jsonl"] == "bad_transcript"
    assert listed["empty"] == listed["missing.jsonl"] == "not_found"
    assert listed["mem"] == "unreadable"


async def test_a_folder_of_links_in_a_circle_is_read_once(bench, tmp_path):
    (tmp_path / "a1.jsonl").write_bytes(GOOD)
    (tmp_path / "around").symlink_to(tmp_path)
    (tmp_path / "nowhere.jsonl").symlink_to("gone")
    (tmp_path / "itself.jsonl").symlink_to("itself.jsonl")

    reply = await imported(bench, tmp_path)

    assert [session["session"] for session in reply["sessions"]] == ["claude_code:a1"]


async def test_a_file_whose_name_is_not_text_is_read_or_listed(bench, tmp_path):
    (tmp_path / os.fsdecode(b"\xff.jsonl")).write_bytes(GOOD)

    reply = await imported(bench, tmp_path)

    assert len(reply["sessions"]) + len(reply["failed"]) == 1


async def test_after_an_import_the_newest_session_of_a_folder_is_the_one_last_written(bench, tmp_path):
    for at, name in enumerate(("c3", "a1", "b2")):
        file = tmp_path / f"{name}.jsonl"
        file.write_bytes(worked(2, session=name).data)
        os.utime(file, (1000 + at, 1000 + at))

    await imported(bench, tmp_path)

    assert [one["session"] for one in (await bench.call("session.list"))["sessions"]] == [
        "claude_code:b2",
        "claude_code:a1",
        "claude_code:c3",
    ]


async def test_a_side_chain_is_a_session_of_its_own_and_child_of_its_parent(bench):
    reply = await imported(bench, SAMPLE)

    [child] = [session for session in reply["sessions"] if session["parent"]]
    shown = await bench.call("session.show", session=child["parent"])
    assert shown["children"] == [child["session"]]


async def test_a_format_nobody_knows_is_refused_by_file(bench, log):
    reply = await imported(bench, log, format="morse")

    assert [failure["kind"] for failure in reply["failed"]] == ["bad_transcript"]
    assert len((await imported(bench, log))["sessions"]) == 1


async def test_a_transcript_is_known_behind_thousands_of_records_that_are_not(bench, tmp_path):
    unknown = b"".join(b'{"kind":"weather","n":%d}\n' % n for n in range(5000))
    path = tmp_path / "a1.jsonl"
    path.write_bytes(unknown + worked(3).data)

    reply = await imported(bench, path)

    assert reply["sessions"][0]["segments"] == 4
    assert reply["sessions"][0]["skipped_records"] == 5000


async def test_a_transcript_is_known_behind_a_first_record_of_any_usual_length(bench, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(json.dumps({"kind": "weather", "text": "rain " * 200_000}).encode() + b"\n" + worked(3).data)

    assert (await imported(bench, path))["sessions"][0]["segments"] == 4


async def test_a_gzip_that_is_cut_off_gives_what_it_has_and_says_that_it_ends_early(bench, tmp_path):
    whole = gzip.compress(worked(60).data)
    path = tmp_path / "a1.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])

    cut = await imported(bench, path)
    path.write_bytes(whole)
    again = await imported(bench, path)

    assert 0 < cut["sessions"][0]["segments"] < 61
    assert [(failure["kind"], "cut off" in failure["error"]) for failure in cut["failed"]] == [("ends_early", True)]
    assert (again["sessions"][0]["segments"], again["failed"]) == (61, [])


async def test_a_session_that_no_command_could_name_is_refused_with_the_reason(bench, tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_bytes(worked(2, session="x" * 600).data)

    reply = await imported(bench, path)

    assert "characters or more" in reply["failed"][0]["error"]
    assert (await bench.call("session.list"))["sessions"] == []


async def test_a_users_text_of_nothing_but_white_space_is_counted(bench, tmp_path):
    log = worked(2)
    log.user(" " * 2**20)
    path = tmp_path / "a1.jsonl"
    path.write_bytes(log.data)

    assert (await imported(bench, path))["sessions"][0]["skipped"] == {"blank": 1}


def note(kind):
    return json.dumps({"type": kind, "sessionId": "b9", "leafUuid": "u1"}).encode() + b"\n"


PASSED_OVER = {
    "agent-a1.meta.json": b'{"agentType":"worker","description":"x"}',
    "sessions-index.json": b'{"version":1,"entries":[{"sessionId":"s","fullPath":"/x"}]}',
    "empty.jsonl": b"",
    "mark.jsonl": b"\xef\xbb\xbf",
    "blank.jsonl": b"\xef\xbb\xbf\r\n \n",
    **{f"{kind}.jsonl": json.dumps({"type": kind, "snapshot": {}}).encode() for kind in sorted(_NOTES)},
    "notes.jsonl": note("summary") + note("file-history-snapshot"),
}


async def test_what_a_host_keeps_beside_its_logs_is_passed_over_and_counted(bench, tmp_path):
    (tmp_path / "a1.jsonl").write_bytes(GOOD)
    for name, data in PASSED_OVER.items():
        (tmp_path / name).write_bytes(data)

    reply = await imported(bench, tmp_path)

    assert reply["failed"] == []
    assert {os.path.basename(path) for path in reply["passed_over_files"]} == set(PASSED_OVER)
    assert reply["passed_over"] == len(PASSED_OVER)
    assert [session["session"] for session in reply["sessions"]] == ["claude_code:a1"]


@pytest.mark.parametrize("name", ["agent-a1.meta.json", "sessions-index.json", "s1.settings.json"])
async def test_what_a_host_keeps_beside_its_logs_is_passed_over_where_a_shell_names_it_too(bench, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(PASSED_OVER.get(name, b'{"model":"m"}'))

    reply = await imported(bench, path)

    assert (reply["failed"], reply["passed_over_files"]) == ([], [str(path)])


async def test_a_session_under_the_name_of_a_sidecar_is_read(bench, tmp_path):
    path = tmp_path / "agent-a1.meta.json"
    path.write_bytes(GOOD)

    assert len((await imported(bench, path))["sessions"]) == 1


async def test_a_document_named_by_itself_is_refused_with_the_formats_that_are_read(bench, tmp_path):
    path = tmp_path / "settings.json"
    path.write_bytes(b'{"version":1,"entries":[]}')

    [failure] = (await imported(bench, path))["failed"]

    assert failure["kind"] == "bad_transcript"
    assert "claude_code" in failure["hint"]
    assert "openai_chat" in failure["hint"]


async def test_records_without_one_segment_are_not_read_and_open_no_session(bench, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"type":"horoscope","sessionId":"s","uuid":"u"}\n' * 3)

    reply = await imported(bench, path)

    assert [failure["kind"] for failure in reply["failed"]] == ["bad_transcript"]
    assert "3 horoscope" in reply["failed"][0]["error"]
    assert (await bench.call("session.list"))["sessions"] == []


async def test_a_rollout_that_its_host_packed_with_zstd_is_the_same_session(bench, tmp_path):
    (tmp_path / "a1.jsonl").write_bytes(GOOD)
    [plain] = (await imported(bench, tmp_path))["sessions"]
    (tmp_path / "a1.jsonl.zst").write_bytes(zstandard.compress(GOOD))
    (tmp_path / "a1.jsonl").unlink()

    [packed] = (await imported(bench, tmp_path))["sessions"]

    assert (packed["session"], packed["segments"], packed["added"]) == (plain["session"], plain["segments"], 0)


class LeavingClient(NoClient):
    """A client that closes after some slices of its import."""

    def __init__(self, slices):
        super().__init__()
        self.slices = slices

    @property
    def is_gone(self):
        self.slices -= 1
        return self.slices < 0


async def call_for(bench, client, **params):
    params = msgspec.Raw(json.dumps(params).encode())
    return await bench.verbs.call("import", params, CallContext(client))


@pytest.fixture
def long_log(tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(3 * importing.SLICE_BYTES // 1000).data)
    assert path.stat().st_size > 3 * importing.SLICE_BYTES
    return path


@pytest.mark.slow
async def test_an_import_ends_with_its_client_and_goes_on_from_there_when_it_is_repeated(bench, long_log):
    with pytest.raises(Cancelled):
        await call_for(bench, LeavingClient(2), paths=[str(long_log)])
    stored = (await bench.call("stats"))["segments"]
    rest = await imported(bench, long_log)

    assert stored > 0
    assert rest["sessions"][0]["added"] > 0
    assert rest["sessions"][0]["added"] + stored == rest["sessions"][0]["segments"]
    assert await everything(bench.stash) == await once(long_log)


@pytest.mark.slow
async def test_an_import_in_the_background_goes_on_without_its_client(bench, long_log):
    params = msgspec.Raw(json.dumps({"paths": [str(long_log)], "durability": "async"}).encode())
    bench.verbs.call("import", params, CallContext(LeavingClient(0)))
    await asyncio.gather(*bench.tasks)

    assert await everything(bench.stash) == await once(long_log)


async def test_a_client_that_only_writes_no_more_still_gets_its_import(running_daemon, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(4).data)
    request = {"jsonrpc": "2.0", "id": 1, "method": "import", "params": {"paths": [str(path)]}}
    reader, writer = await asyncio.open_unix_connection(running_daemon.socket)

    writer.write(json.dumps(request).encode() + b"\n")
    writer.write_eof()
    reply = json.loads(await reader.readline())

    assert reply["result"]["sessions"][0]["added"] > 0
    writer.close()


@pytest.mark.slow
async def test_the_daemon_notices_that_the_client_of_an_import_has_closed(running_daemon, tmp_path):
    path = tmp_path / "a1.jsonl"
    path.write_bytes(worked(8 * importing.SLICE_BYTES // 1000).data)
    request = {"jsonrpc": "2.0", "id": 1, "method": "import", "params": {"paths": [str(path)]}}
    _, writer = await asyncio.open_unix_connection(running_daemon.socket)
    writer.write(json.dumps(request).encode() + b"\n")
    await writer.drain()
    writer.close()

    counts = [-2, -1]
    while counts[-1] != counts[-2]:
        await asyncio.sleep(0.5)
        counts.append(running_daemon.call("stats")["segments"])

    again = running_daemon.call("import", paths=[str(path)])
    assert again["sessions"][0]["added"] > 0


@pytest.mark.parametrize("is_folder", [False, True])
async def test_a_packed_file_that_is_damaged_before_its_first_record_fails_by_name(bench, tmp_path, is_folder):
    packed = bytearray(gzip.compress(b'{"type":"user"}\n' * 9))
    packed[10] ^= 0xFF
    path = tmp_path / "flipped.jsonl.gz"
    path.write_bytes(packed)

    reply = await imported(bench, tmp_path if is_folder else path)

    assert [(entry["path"], "gzip is damaged" in entry["error"]) for entry in reply["failed"]] == [(str(path), True)]
    assert not reply.get("passed_over")
