"""The planner: which queries it asks of SQLite, and what it says when time runs out."""

import random
import sqlite3

import pytest

from ctxgc.core.ranking import CANDIDATES_MAX
from ctxgc.core.segment import Access, Kind, PathUse
from ctxgc.stash import reading
from ctxgc.stash import search as planner
from ctxgc.stash.contract import PutSession, Query, SessionRow
from ctxgc.stash.filters import scope_of
from tests.stash.samples import KEY, file_in, put, puts, sqlite_in

FILTERS = {
    "nothing": {},
    "session": {"key": KEY},
    "project": {"project": "/p"},
    "kind and tool": {"kinds": ("tool_call",), "tools": ("Read",)},
    "path": {"path": "a.py"},
    "task": {"task": "auth"},
    "tag": {"tags": ("x",)},
    "state": {"states": ("evicted",)},
    "time": {"after_s": 5.0, "before_s": 9.0},
}


@pytest.fixture
async def stash(tmp_path):
    stash = sqlite_in(tmp_path)
    await stash.open()
    paths = (PathUse("/p/a.py", Access.READ),)
    await stash.apply(
        [PutSession(SessionRow(key=KEY, project="/p")), put(0, "word", tags=("x",), task="auth", paths=paths)]
    )
    await stash.apply([put(n, "word", kind=Kind.TOOL_CALL, tool="Read") for n in range(1, 9)])
    yield stash
    await stash.close()


def plan_of(db, sql, values):
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


@pytest.mark.parametrize("said", FILTERS.values(), ids=FILTERS.keys())
async def test_a_text_query_is_driven_by_the_index_and_a_listing_never_scans_the_table(tmp_path, stash, said):
    with sqlite3.connect(file_in(tmp_path)) as db:
        scope = scope_of(db, Query(text="", **said))

        for is_ranked in (False, True):
            sql = planner.matching_sql(scope, is_ranked=is_ranked)
            steps = plan_of(db, sql, ("text : (word)", *scope.values, 10))
            # One probe of the text index for each id once ran for 150 s.
            assert "VIRTUAL TABLE INDEX" in steps[0], steps
            assert "=" not in steps[0].partition("INDEX")[2], steps
            assert steps[1] == "SEARCH s USING INTEGER PRIMARY KEY (rowid=?)"
        sql, values = planner.listing_sql(scope)
        steps = plan_of(db, sql, (*values, 10, 0))
    assert not [step for step in steps if step in ("SCAN s", "SCAN path_use", "SCAN path", "SCAN session")], steps


async def test_reading_a_session_or_its_bodies_never_scans_a_table(tmp_path, stash):
    # On a connection of its own: the stash's readers serve its maintenance too, which may count whole tables.
    statements = set()
    with sqlite3.connect(file_in(tmp_path), isolation_level=None) as db:
        db.set_trace_callback(statements.add)
        reading.rows(db, KEY)
        reading.rows(db, KEY, [0])
        reading.bodies(db, KEY, [0])
        reading.collections(db, KEY, 50)
        reading.collection(db, KEY, 1)
        reading.standing_collection(db, KEY)
        reading.op(db, KEY, "x")
        reading.resolve(db, "s")
        reading.position(db, "/x")
        db.set_trace_callback(None)

        steps = [step for sql in statements if sql.startswith("SELECT") for step in plan_of(db, sql, ())]
    assert len(steps) > 10
    assert not [step for step in steps if step.startswith("SCAN") and "INDEX" not in step], steps


async def test_a_query_out_of_time_answers_with_what_is_recent_and_says_so(tmp_path, monkeypatch):
    stash = sqlite_in(tmp_path, search_s_max=0.0)
    monkeypatch.setattr("ctxgc.stash.sqlite.INTERRUPT_OPS", 1)
    await stash.open()
    await stash.apply(puts("word one", "word two", "other"))

    reply = await stash.search(Query(text="word"))

    assert reply.is_partial
    assert "out of time" in reply.notes[0]
    assert {hit.match for hit in reply.hits} <= {"recent"}
    await stash.close()


async def test_what_was_found_before_time_ran_out_is_not_thrown_away(stash, monkeypatch):
    def too_slow(*_):
        raise sqlite3.OperationalError("interrupted")

    monkeypatch.setattr(planner, "_gather", too_slow)
    await stash.apply([put(9, "needle here"), put(10, "nothing")])

    reply = await stash.search(Query(text="needle"))

    assert [(hit.row.seq, hit.match) for hit in reply.hits] == [(9, "recent")]
    assert reply.is_partial


async def test_segments_with_all_words_are_not_thrown_away_when_time_runs_out_while_they_are_ranked(stash, monkeypatch):
    matching = planner._matching

    def too_slow(*arguments, is_ranked=False):
        if is_ranked:
            raise sqlite3.OperationalError("interrupted")
        return matching(*arguments)

    monkeypatch.setattr(planner, "_matching", too_slow)
    await stash.apply([put(n, "common needle") for n in range(9, 60)])
    await stash.apply([put(n, "common") for n in range(60, 500)])

    reply = await stash.search(Query(text="common needle", limit=10))

    assert reply.is_partial
    assert [hit.match for hit in reply.hits] == ["all"] * 10


async def test_common_words_are_ranked_among_the_newest_and_the_reply_says_so(stash, monkeypatch):
    monkeypatch.setattr(planner, "AND_ROWS_MIN", 50)
    await stash.apply([put(n, "common word") for n in range(9, 200)])

    reply = await stash.search(Query(text="common word"))

    assert "newest" in reply.notes[0]
    assert min(hit.row.seq for hit in reply.hits) > 150


async def test_a_fill_asks_for_the_rare_words_only(stash, monkeypatch):
    monkeypatch.setattr(planner, "FILL_ROWS_MAX", 5)
    monkeypatch.setattr(planner, "RAREST_ROWS_MIN", 5)
    await stash.apply([put(n, "common") for n in range(9, 60)])
    await stash.apply([put(60, "rare")])

    reply = await stash.search(Query(text="common rare missing"))

    assert [hit.row.seq for hit in reply.hits] == [60]
    assert reply.notes == ("no segment has all words; the rest have some of: rare",)


async def test_where_the_rarest_word_does_not_fill_a_page_the_next_ones_do(stash, monkeypatch):
    monkeypatch.setattr(planner, "FILL_ROWS_MAX", 5)
    await stash.apply([put(n, "usual") for n in range(9, 60)])
    await stash.apply([put(60, "rare")])

    reply = await stash.search(Query(text="usual rare missing", limit=10))

    assert reply.hits[0].row.seq == 60
    assert len(reply.hits) == 10
    assert reply.next_offset == 10
    assert reply.notes == ("no segment has all words; the rest have some of: rare, usual",)


@pytest.mark.parametrize("text", ["ferry", "ferry lamp", "ferry lamp missing", "rare ferry"])
@pytest.mark.parametrize("limit", [7, 10])
async def test_pages_follow_each_other_without_repeat_whatever_the_engine_and_the_ranking_each_put_first(
    stash, text, limit
):
    dice = random.Random(5)
    said = [
        dice.choices(["ferry", "lamp", *(f"w{n}" for n in range(60))], k=dice.randrange(5, 300)) for _ in range(300)
    ]
    said += [["rare"]] * 3
    await stash.apply([put(n, " ".join(words)) for n, words in enumerate(said, 9)])

    seen, offset = [], 0
    while offset >= 0:
        reply = await stash.search(Query(text=text, limit=limit, offset=offset))
        seen += [hit.row.seq for hit in reply.hits]
        offset = reply.next_offset

    assert len(seen) == len(set(seen)) == CANDIDATES_MAX


async def test_a_match_deep_in_a_long_text_still_has_its_snippet(stash):
    await stash.apply([put(9, "filler " * 20_000 + "needle" + " filler" * 100)])

    hit = (await stash.search(Query(text="needle"))).hits[0]

    assert "\x02needle\x03" in hit.snippet


async def test_words_beyond_the_bound_are_left_out_and_the_reply_says_so(stash):
    reply = await stash.search(Query(text=" ".join(f"w{n}" for n in range(100))))

    assert reply.notes[0] == "84 further words of the query were left out"


async def test_a_long_query_takes_steps_in_proportion_to_the_segments_that_have_its_words(tmp_path, stash):
    def steps_of(query):
        counted = []
        with sqlite3.connect(file_in(tmp_path)) as db:
            db.set_progress_handler(lambda: counted.append(1), 100)
            planner.search(db, planner.Deadline(), Query(text=query), seconds=float("inf"))
        return len(counted)

    await stash.apply([put(n, "a b c d e " * 20) for n in range(9, 1500)])

    assert steps_of("a b c d e f* g* -h") < 3 * steps_of("a")
