"""What a search asks of the index: work that grows with what is found, not with what the words or the session have."""

import sqlite3

import pytest

from ctxgc.core.segment import Access, PathUse
from ctxgc.stash import candidates, postings, schema
from ctxgc.stash import search as planner
from ctxgc.stash.contract import Query
from ctxgc.stash.filters import build_scope
from tests.stash.samples import KEY, OTHER, file_in, put, sqlite_in

COMMON_FROM = 40


@pytest.fixture
async def stash(tmp_path, monkeypatch):
    """A session of 200 segments and one of 20; `common` is in all, `rare` in few of each."""
    for module in (postings, candidates):
        monkeypatch.setattr(module, "POSTINGS_MAX", COMMON_FROM)
    monkeypatch.setattr(postings, "ENTRY_DEARNESS", 2)
    monkeypatch.setattr(postings, "FEW_FOUND_DEARNESS", 2)
    stash = sqlite_in(tmp_path, search_s_max=60.0)
    await stash.open()
    for key, count in ((KEY, 200), (OTHER, 20)):
        await stash.apply([put(n, f"common words {n} {'rare thing' * (n % 9 == 1)}", key=key) for n in range(count)])
    yield stash
    await stash.close()


def asked(tmp_path, query):
    """The statements of a search that look into the index, with their values, and the reply."""
    said = []
    with sqlite3.connect(file_in(tmp_path), isolation_level=None) as db:
        schema.configure_reader(db)
        db.set_trace_callback(said.append)
        reply = planner.search(db, planner.Deadline(), query, seconds=float("inf"))
    return [" ".join(sql.split()) for sql in said if "MATCH" in sql and not sql.startswith("--")], reply


def lists(statements, word):
    return [sql for sql in statements if "json_group_array" in sql and f'"{word}"' in sql]


async def test_a_common_word_beside_a_rare_one_is_counted_and_never_listed(tmp_path, stash):
    statements, reply = asked(tmp_path, Query(text="common rare"))

    assert reply.hits
    assert not [sql for sql in lists(statements, "common") if '"rare"' not in sql]
    assert len([sql for sql in statements if '("common")' in sql]) == 1


async def test_where_few_segments_have_all_the_words_the_index_is_not_asked_for_the_run(tmp_path, stash):
    await stash.apply([put(200 + n, f"old {n} words, in common") for n in range(17)])
    await stash.apply([put(217, "old words common to all")])

    statements, reply = asked(tmp_path, Query(text="old words common"))

    assert not lists(statements, "old word common")
    assert reply.hits[0].row.seq == 217


async def test_a_rare_word_is_looked_for_in_a_large_session_without_walking_all_of_it(tmp_path, stash):
    large, _ = asked(tmp_path, Query(text="rare", key=KEY))
    small, _ = asked(tmp_path, Query(text="rare", key=OTHER))

    assert not [sql for sql in large if "meta :" in sql]
    assert all("meta :" in sql for sql in lists(small, "rare"))


async def test_segments_of_a_session_are_known_without_a_look_at_their_rows(tmp_path, stash):
    with sqlite3.connect(file_in(tmp_path)) as db:
        scope = build_scope(db, Query(text="", key=KEY))
        for is_ranked in (False, True):
            sql, values = postings.matching_sql(scope, is_ranked=is_ranked, has_tags=False)
            steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", ('"rare"', *values, 10))]
            assert steps[1] == "SEARCH s USING COVERING INDEX segment_session (sid=? AND rowid=?)"


@pytest.mark.parametrize(
    "text", ["rare", "common", "rare common", "words common", "thing rare", "common wor*", "7 rare"]
)
@pytest.mark.parametrize("key", [KEY, OTHER])
async def test_a_session_answers_alike_whichever_way_its_segments_are_found(tmp_path, stash, monkeypatch, text, key):
    replies = []
    for dearness in (0, 2, 10**6):
        for name in ("ROW_DEARNESS", "ENTRY_DEARNESS", "FEW_FOUND_DEARNESS"):
            monkeypatch.setattr(postings, name, dearness)
        replies.append(asked(tmp_path, Query(text=text, key=key))[1])

    assert replies[0] == replies[1] == replies[2]
    assert replies[0].hits


async def test_a_run_of_words_is_looked_for_in_paths_only_where_a_path_has_the_rarest_of_them(tmp_path, stash):
    await stash.apply([put(200, "see gate/lock.py"), put(201, "gate")])

    statements, reply = asked(tmp_path, Query(text="gate/lock.py"))

    assert [hit.row.seq for hit in reply.hits] == [200]
    assert not [sql for sql in statements if 'path : ("gate lock py")' in sql]

    await stash.apply([put(202, "read", paths=(PathUse("/p/gate/lock.py", Access.READ),))])
    assert [hit.row.seq for hit in asked(tmp_path, Query(text="gate/lock.py"))[1].hits] == [202, 200]
