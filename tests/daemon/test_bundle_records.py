"""A bundle that no daemon wrote: what enters the stash is bounded, redacted and whole, or the file is refused."""

import json
import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.config import Config
from ctxgc.core.errors import CtxgcError
from ctxgc.core.segment import SessionKey
from ctxgc.daemon.feeds.session_bundle import encode_bundle
from ctxgc.stash.contract import Forget, PutSession, SessionRow
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.core.made_secrets import issued
from tests.daemon.harness import bench_on
from tests.effort import effort
from tests.stash.samples import put

SECRETS = [issued(seed)["github"] for seed in (11, 12, 13)]
MARK = "«redacted:github_token»"
OWN = SessionKey("client", "s")
BEFORE_THE_RULE = Config.model_validate({"redact": {"enabled": False}})
NAMES = st.sampled_from([*(f"x {secret}" for secret in SECRETS), f"x {MARK}", f"x {MARK}~2", f"x {MARK}~3", "plain"])


@asynccontextmanager
async def other_stash():
    async with bench_on(SqliteStash(MEMORY)) as bench:
        yield bench


async def bundle_of(row, ids, forgotten=()):
    """The file of a session whose rows were written before the rule about credentials."""
    async with bench_on(SqliteStash(MEMORY), config=BEFORE_THE_RULE) as bench:
        puts = [put(seq, f"text {seq}", key=row.key, id=id_) for seq, id_ in enumerate(ids)]
        await bench.stash.apply([PutSession(row), *puts, Forget(row.key, list(forgotten))])
        session = await bench.services.registry.get(row.key)
        return b"".join([block async for block in encode_bundle(bench.services, session)])


async def imported(bench, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.jsonl"
        path.write_bytes(data)
        return await bench.call("import", paths=[str(path)])


def signed(data, change):
    """The file with changed lines, and a checksum that is right again."""
    *lines, end = map(json.loads, data.splitlines())
    change(lines)
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    end["end"] |= {"digest": blake2b(body, digest_size=32).hexdigest()}
    return body + json.dumps(end).encode() + b"\n"


@effort(25)
@given(st.lists(NAMES, min_size=1, max_size=7, unique=True), st.data())
async def test_no_segment_is_dropped_where_redaction_makes_ids_equal(ids, data):
    forgotten = data.draw(st.sets(st.integers(0, len(ids) - 1)))
    file = await bundle_of(SessionRow(key=OWN, created_s=5.0), ids, forgotten)
    async with other_stash() as bench:
        reply = await imported(bench, file)
        rows = await bench.stash.rows(OWN)
        bodies = await bench.stash.contents(OWN, range(len(ids)))

    assert reply["failed"] == []
    assert reply["sessions"][0]["added"] == len(rows) == len(ids)
    assert len({row.segment.id for row in rows}) == len(ids)
    assert not any(secret in row.segment.id for row in rows for secret in SECRETS)
    kept = [(seq, f"text {seq}") for seq in range(len(ids)) if seq not in forgotten]
    assert [(seq, bodies[seq][1][0].data.decode()) for seq in sorted(bodies)] == kept


async def test_a_header_is_redacted_and_the_session_answers_to_its_name():
    secret = SECRETS[0]
    texts = dict.fromkeys(("project", "title", "task", "parent", "parent_segment", "model"), f"of {secret}")
    file = await bundle_of(SessionRow(key=SessionKey("client", f"s {secret}"), created_s=5.0, **texts), ["a"])
    async with other_stash() as bench:
        [session] = (await imported(bench, file))["sessions"]
        row = await bench.stash.session(SessionKey("client", f"s {MARK}"))

        assert secret not in repr(row)
        assert (row.title, row.task, row.project) == (f"of {MARK}",) * 3
        assert (await bench.call("session.show", session=session["session"]))["segments"] == 1


PACING = {"format": 1, "trust": [0, 0, 0], "account": [0.0, 0.0, 0, -1], "is_real": None, "model": "m",
          "unmarked": False, "lookback": 20, "least": 1024, "frames": [1.2, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0],
          "blocks": [0, 0], "entries": []}  # fmt: skip
HUGE = st.sampled_from([2**31 - 1, 2**31, 2**50, 2**53 - 1, 2**63, 2**70, -2, -(2**40), 1e308, float("inf"), "x", None])
SEGMENT_FIELDS = st.sampled_from(["seq", "place", "touched_turn", "touches", "recalled_turn", "garbage_by",
                                  "redactions", "collection"])  # fmt: skip
SESSION_FIELDS = st.sampled_from(["budget_tokens", "window_max_tokens", "turn", "created_s", "updated_s",
                                  "hidden_tokens", "ratio", "skipped_records", "number", "faults"])  # fmt: skip
JOURNAL_FIELDS = st.sampled_from(["id", "wall_s", "turn", "target_tokens", "before_tokens", "after_tokens",
                                  "predicted_cost", "actual_cost", "undoes"])  # fmt: skip
LINE = {"id": 1, "wall_s": 1.0, "turn": 0, "trigger": "asked", "target_tokens": 1, "before_tokens": 2,
        "after_tokens": 1, "evictions": [{"seq": 1, "reason": "value"}]}  # fmt: skip
VERBS = {
    "session.show": {}, "segment.list": {}, "heap.log": {}, "heap.why": {"id": "b"}, "segment.touch": {"ids": ["b"]},
    "heap.collect": {"budget_tokens": 1, "must_fit": False}, "session.rehydrate": {}, "heap.plan": {"budget_tokens": 1},
    "segment.add": {"segment": {"id": "n", "kind": "user", "text": "next"}}, "stash.recall": {"id": "b"},
}  # fmt: skip


@st.composite
def hostile_changes(draw):
    """A change of one number of a bundle."""
    value, what = (
        draw(HUGE),
        draw(st.sampled_from(["segment", "session", "journal", "evicted", "edge", "born", "pacing"])),
    )
    match what:
        case "segment":
            field = draw(SEGMENT_FIELDS)
            more = {"garbage": "superseded_read"} if field == "garbage_by" else {}
            return lambda lines: lines[2]["row"].update({field: value} | more)
        case "session":
            field = draw(SESSION_FIELDS)
            return lambda lines: lines[0]["row"].update({field: value})
        case "journal":
            field = draw(JOURNAL_FIELDS)
            return lambda lines: lines.append({"collection": LINE | {field: value}})
        case "evicted":
            eviction = {"seq": 1, "reason": "value"} | {draw(st.sampled_from(["seq", "by", "freed_tokens"])): value}
            return lambda lines: lines.append({"collection": LINE | {"evictions": [eviction]}})
        case "edge":
            return lambda lines: lines[2]["row"].update(edges=[draw(st.permutations([0, value]))])
        case "born":
            return lambda lines: lines[2].update(born_turn=value)
        case _:
            part = draw(st.sampled_from(["trust", "account", "frames", "blocks"]))
            broken = PACING | {part: [value] * len(PACING[part])}
            pacing = draw(st.sampled_from([json.dumps(broken), "[" * 60_000, "{" * 70_000]))
            return lambda lines: lines[0]["row"].update(pacing=pacing)


@effort(60)
@given(hostile_changes())
async def test_hostile_numbers_are_refused_by_name_or_the_session_answers_every_verb(change):
    file = signed(await bundle_of(SessionRow(key=OWN, created_s=5.0, number=123456789), ["a", "b", "c"]), change)
    async with other_stash() as bench:
        reply = await imported(bench, file)
        if reply["failed"]:
            assert [failed["kind"] for failed in reply["failed"]] == ["bad_transcript"]
            assert await bench.stash.sessions() == []
            return
        for verb, params in VERBS.items():
            try:
                await bench.call(verb, session="client:s", **params)
            except CtxgcError as error:
                assert error.kind != "internal"  # noqa: PT017 - a sentence for the user is an answer too


@pytest.mark.parametrize("is_cut", [True, False])
async def test_a_damaged_file_of_a_known_session_is_said_to_be_damaged(is_cut):
    file = await bundle_of(SessionRow(key=OWN, created_s=5.0), ["a", "b", "c"])
    async with other_stash() as bench:
        await imported(bench, file)
        before = await bench.stash.rows(OWN)
        lines = file.splitlines(keepends=True)
        damaged = b"".join(lines[:-2]) if is_cut else file.replace(b"text 1", b"text 7")

        [failed] = (await imported(bench, damaged))["failed"]

        assert "ends early" in failed["error"] if is_cut else "checksum" in failed["error"]
        assert await bench.stash.rows(OWN) == before


async def test_a_number_that_another_session_has_is_drawn_anew():
    row = SessionRow(key=OWN, created_s=5.0, number=123456789)
    file = await bundle_of(row, ["a"])
    async with other_stash() as bench:
        await bench.stash.apply([PutSession(replace(row, key=SessionKey("client", "first")))])
        await imported(bench, file)

        assert await bench.stash.sessions_numbered(123456789) == [SessionKey("client", "first")]
        assert (await bench.stash.session(OWN)).number > 0


SURE = [
    ("turns", lambda lines: lines[2]["row"].update(touched_turn=2**31)),
    ("touches", lambda lines: lines[2]["row"].update(touches=2**53 - 1)),
    ("born", lambda lines: lines[2].update(born_turn=2**31)),
    ("proof", lambda lines: lines[2]["row"].update(garbage="superseded_read", garbage_by=3)),
    ("edge", lambda lines: lines[2]["row"].update(edges=[[3, 1]])),
    ("journal", lambda lines: lines.append({"collection": LINE | {"id": 2**70}})),
    ("journal", lambda lines: lines.extend([{"collection": LINE}, {"collection": LINE | {"turn": 1}}])),
    ("seq", lambda lines: lines[2]["row"].update(seq=0)),
    ("count", lambda lines: lines.pop()),
]


@pytest.mark.parametrize(
    "change", [change for _, change in SURE], ids=[f"{name}{at}" for at, (name, _) in enumerate(SURE)]
)
async def test_a_value_beyond_a_column_leaves_no_session(change):
    file = signed(await bundle_of(SessionRow(key=OWN, created_s=5.0), ["a", "b", "c"]), change)
    async with other_stash() as bench:
        [failed] = (await imported(bench, file))["failed"]

        assert failed["kind"] == "bad_transcript"
        assert await bench.stash.sessions() == []


@pytest.mark.parametrize("ratio", [1e308, -1.0, 1e-300])
async def test_a_ratio_of_no_tokenizer_is_learned_again(ratio):
    file = signed(
        await bundle_of(SessionRow(key=OWN, created_s=5.0, ratio=1.3), ["a"]),
        lambda lines: lines[0]["row"].update(ratio=ratio),
    )
    async with other_stash() as bench:
        await imported(bench, file)

        assert (await bench.stash.session(OWN)).ratio == 0.0
        assert (await bench.call("session.show", session="client:s"))["ratio"] > 0
