"""While an index is rebuilt, writes go on; the index is in the end that of the bodies, and of nothing else."""

import sqlite3

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctxgc.core.segment import State
from ctxgc.stash import maintenance, schema
from ctxgc.stash.contract import Forget
from ctxgc.stash.encoding import encode_puts
from ctxgc.stash.writing import Writer
from tests.stash.samples import KEY, pending, put

SEQS = 4
steps = st.lists(
    st.tuples(
        st.sampled_from(["begin", "complete", "rewrite", "forget", "rebuild", "slice"]), st.integers(0, SEQS - 1)
    ),
    max_size=20,
)


def no_failure(_):
    pass


def index_of(db):
    """Each posting of the index, from a table that asks fts5 itself."""
    db.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.posting USING fts5vocab('main', 'search', 'instance')")
    postings = sorted(db.execute("SELECT * FROM temp.posting").fetchall())
    db.execute("DROP TABLE temp.posting")
    return postings, db.execute("SELECT count(*) FROM search_docsize").fetchall()


def finish(db):
    while maintenance.reindex_slice(db, no_failure):
        pass


@given(steps)
@example([("begin", 0), ("rebuild", 0), ("complete", 0), ("slice", 0), ("forget", 0)])
@example([("complete", 0), ("rebuild", 0), ("rewrite", 0), ("slice", 0), ("forget", 0)])
@example([("complete", 0), ("rebuild", 0), ("rewrite", 0), ("rewrite", 0), ("slice", 0), ("forget", 0)])
def test_whatever_is_written_while_the_index_is_rebuilt_no_word_is_in_it_that_no_body_has(steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maintenance, "REINDEX_ROWS", 2)
        db = sqlite3.connect(":memory:", isolation_level=None)
        schema.migrate(db)
        writer = Writer(db, no_failure)
        for number, (step, seq) in enumerate(steps):
            take_step(db, writer, step, seq, f"word{number}")
        finish(db)
        kept = index_of(db)
        schema.start_reindexing(db)
        finish(db)

    assert kept == index_of(db)


def test_a_body_whose_words_are_unknown_costs_the_index_and_the_rest_of_the_batch_counts_on_that():
    db = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(db)
    writer = Writer(db, no_failure)
    assert writer.commit([[put(0, "lamp"), put(1, "desk"), put(2, "chair")]]) == [None]
    db.execute("UPDATE body SET frame = x'00' WHERE rid = (SELECT rid FROM segment WHERE seq = 0)")

    assert writer.commit([[Forget(KEY, [0, 1])]]) == [None]

    finish(db)
    kept = index_of(db)
    schema.start_reindexing(db)
    finish(db)
    assert kept == index_of(db)
    assert "chair" in {posting[0] for posting in kept[0]}


def take_step(db, writer, step, seq, word):
    known = db.execute("SELECT rid, sid, state FROM segment WHERE seq = ?", (seq,)).fetchone()
    if step == "rebuild":
        schema.start_reindexing(db)
    elif step == "slice":
        maintenance.reindex_slice(db, no_failure)
    elif step == "begin":
        assert writer.commit([[pending(seq)]]) == [None]
    elif step == "complete":
        assert writer.commit([[put(seq, word)]]) == [None]
    elif step == "forget":
        assert writer.commit([[Forget(KEY, [seq])]]) == [None]
    elif known is not None and known[2] != State.FORGOTTEN:
        [encoded] = encode_puts([put(seq, word)])
        writer.rewrite_content(*known[:2], encoded)
        db.execute("UPDATE segment SET kind = 'user', tool = '' WHERE rid = ?", known[:1])
