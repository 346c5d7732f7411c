"""The planner: which queries it asks of SQLite, and what it says when time runs out."""

import json
import random
import sqlite3

import pytest

from ctxgc.core.segment import Access, Kind, PathUse, Role
from ctxgc.stash import candidates, filters, postings, reading, vocabulary
from ctxgc.stash import search as planner
from ctxgc.stash.contract import PutSession, Query, SessionRow
from ctxgc.stash.filters import build_scope
from tests.stash.samples import KEY, OTHER, file_in, put, puts, sqlite_in

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
    stash = sqlite_in(tmp_path, search_s_max=60.0)  # The order is asked of, not the time of a loaded machine.
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
        scope = build_scope(db, Query(text="", **said))

        for is_ranked in (False, True):
            sql, values = postings.matching_sql(scope, is_ranked=is_ranked)
            steps = plan_of(db, sql, ("text : (word)", *values, 10))
            # One probe of the text index for each id once ran for 150 s.
            assert "VIRTUAL TABLE INDEX" in steps[0], steps
            assert "=" not in steps[0].partition("INDEX")[2], steps
            rows = [] if scope.is_tagged else ["SEARCH s USING INTEGER PRIMARY KEY (rowid=?)"]
            assert steps[1:2] == rows
        sql, values = filters.newest_segments_sql(scope)
        steps = plan_of(db, sql, (*values, 10, 0))
    assert not [step for step in steps if step in ("SCAN s", "SCAN path_use", "SCAN path", "SCAN session")], steps


async def test_reading_a_session_or_its_bodies_never_scans_a_table(tmp_path, stash):
    # On a connection of its own: the stash's readers serve its maintenance too, which may count whole tables.
    statements = set()
    with sqlite3.connect(file_in(tmp_path), isolation_level=None) as db:
        db.set_trace_callback(statements.add)
        reading.rows(db, KEY)
        reading.rows(db, KEY, [0])
        reading.contents(db, KEY, [0])
        reading.collections(db, KEY, 50)
        reading.collection(db, KEY, 1)
        reading.newest_collection_in_force(db, KEY)
        reading.remembered_op(db, KEY, "x")
        reading.sessions_named(db, "s")
        reading.file_position(db, "/x")
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

    monkeypatch.setattr(planner, "gather_candidates", too_slow)
    await stash.apply([put(9, "needle here"), put(10, "nothing")])

    reply = await stash.search(Query(text="needle"))

    assert [(hit.row.seq, hit.match) for hit in reply.hits] == [(9, "recent")]
    assert reply.is_partial


async def test_candidates_are_not_thrown_away_when_time_runs_out_while_their_texts_are_read(stash, monkeypatch):
    def too_slow(*_):
        raise sqlite3.OperationalError("interrupted")

    monkeypatch.setattr(planner, "_score_candidates", too_slow)
    await stash.apply([put(n, "common needle") for n in range(9, 60)])

    reply = await stash.search(Query(text="common needle", limit=10))

    assert reply.is_partial
    assert [hit.match for hit in reply.hits] == ["some"] * 10


async def test_common_words_are_ranked_among_the_newest_and_the_reply_says_so(stash, monkeypatch):
    monkeypatch.setattr(candidates, "POSTINGS_MAX", 50)
    monkeypatch.setattr(candidates, "CANDIDATES_MAX", 50)
    monkeypatch.setattr(candidates, "RANKED_ROWS_MAX", 50)
    await stash.apply([put(n, "common word") for n in range(9, 200)])

    reply = await stash.search(Query(text="common word"))

    assert "newest" in reply.notes[0]
    assert min(hit.row.seq for hit in reply.hits) > 140


async def test_a_common_word_brings_no_candidates_beside_a_rare_one_but_counts_in_their_texts(stash, monkeypatch):
    monkeypatch.setattr(candidates, "POSTINGS_MAX", 50)
    monkeypatch.setattr(candidates, "LOT_MIN", 2)
    monkeypatch.setattr(candidates, "LOT_PER_TERM", 0)
    await stash.apply([put(n, "common") for n in range(9, 200)])
    await stash.apply([put(200, "rare common"), put(201, "rare"), put(202, "rare other")])

    reply = await stash.search(Query(text="common rare"))

    assert reply.hits[0].row.seq == 200
    assert {hit.row.seq for hit in reply.hits} == {200, 201, 202}


@pytest.mark.slow
@pytest.mark.parametrize("text", ["ferry", "ferry lamp", "ferry lamp missing", "rare ferry", "who saw the rare ferry"])
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

    whole, seen, offset = [], [], 0
    while offset >= 0:
        reply = await stash.search(Query(text=text, limit=limit, offset=offset))
        seen += [hit.row.seq for hit in reply.hits]
        offset = reply.next_offset
    for offset in (0, 100, 200):
        whole += [hit.row.seq for hit in (await stash.search(Query(text=text, limit=100, offset=offset))).hits]

    assert seen == whole
    assert len(seen) == len(set(seen)) >= candidates.CANDIDATES_MAX


async def test_a_run_of_words_as_it_stands_comes_before_any_text_with_the_same_words(stash):
    scattered = "repository git open to failed git repository open failed"
    await stash.apply([put(n, f"{scattered} {scattered} {n}") for n in range(9, 100)])
    await stash.apply([put(100, "filler " * 3000 + "Failed to open git repository: x")])
    await stash.apply([put(n, f"{scattered} {n}") for n in range(101, 200)])

    reply = await stash.search(Query(text="failed to open git repository"))

    assert reply.hits[0].row.seq == 100


async def test_of_equal_hits_the_newer_comes_first(stash):
    await stash.apply([put(9, "lamp here", wall_s=90.0), put(10, "lamp here", wall_s=50.0)])

    assert [hit.row.seq for hit in (await stash.search(Query(text="lamp"))).hits] == [9, 10]


async def test_hits_of_the_project_around_the_folder_come_first_and_others_after_them(stash):
    rows = [PutSession(SessionRow(key=key, project=project)) for key, project in ((KEY, "/p"), (OTHER, "/q"))]
    await stash.apply([*rows, put(9, "lamp lamp lamp"), put(0, "a lamp stands on the desk", key=OTHER)])

    async def order(here):
        return [hit.project for hit in (await stash.search(Query(text="lamp", here=here))).hits]

    assert await order("/q/src/deep") == ["/q", "/p"]
    assert await order("/p") == ["/p", "/q"]
    assert await order("") == await order("/elsewhere") == ["/p", "/q"]


async def test_pages_over_two_projects_do_not_repeat_or_skip(stash):
    await stash.apply([PutSession(SessionRow(key=OTHER, project="/q"))])
    await stash.apply([put(n, f"lamp {n}", key=OTHER) for n in range(17)])
    await stash.apply([put(n, f"lamp {n}") for n in range(9, 23)])

    seen, offset = [], 0
    while offset >= 0:
        reply = await stash.search(Query(text="lamp", here="/q", limit=5, offset=offset))
        seen += [(hit.project, hit.row.seq) for hit in reply.hits]
        offset = reply.next_offset

    assert [project for project, _ in seen] == ["/q"] * 17 + ["/p"] * 14
    assert len(set(seen)) == 31


async def test_words_that_no_segment_has_are_shown_as_the_nearest_and_the_reply_says_so(stash):
    await stash.apply([put(9, "the overlap of rectangles"), put(10, "version 4711")])

    reply = await stash.search(Query(text="overlp"))

    assert [hit.row.seq for hit in reply.hits] == [9]
    assert "overlap" in reply.notes[0]
    assert (await stash.search(Query(text="4712"))).hits == ()


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("git repositry", "repository"),
        ("chekpoint metdata branch", "checkpoint, metadata, branch"),
        ("lockfle", "lockfile"),
        ("berht", "berth"),
    ],
)
async def test_a_typo_is_shown_as_the_nearest_word_beside_correct_words_too(stash, typed, word):
    await stash.apply([put(9, "the checkpoint metadata of a branch in the git repository: lockfile, berth")])
    await stash.apply([put(n, "git deposit repose reposit lock ber branch") for n in range(10, 20)])

    reply = await stash.search(Query(text=typed))

    assert reply.hits[0].row.seq == 9
    assert any(word in note for note in reply.notes), reply.notes


@pytest.mark.parametrize("typed", ["缓存问题", "测试运行", "릴리즈상태", "缓存问题 lamp"])
async def test_a_run_without_spaces_that_no_segment_has_is_found_by_its_pairs(stash, typed):
    await stash.apply([put(9, "请检查缓存失效的问题,提交之前运行测试"), put(10, "릴리즈 상태 lamp"), put(11, "lamp")])

    reply = await stash.search(Query(text=typed))

    assert reply.hits[0].row.seq == (10 if typed.startswith("릴") else 9)
    assert any("showing results for" in note for note in reply.notes)


async def test_the_nearest_word_is_looked_for_among_a_bounded_number_of_lexemes(stash, monkeypatch):
    edits = []
    monkeypatch.setattr(vocabulary, "WORDS_READ_MAX", 20)
    monkeypatch.setattr(vocabulary, "_edit_distance", lambda *words: edits.append(words) or 9)
    await stash.apply([put(9, " ".join(f"zz{a}qq{b}" for a in "abcdefghij" for b in "abcdefghij"))])

    reply = await stash.search(Query(text="zzqqq"))

    assert (reply.hits, reply.is_partial) == ((), False)
    assert 0 < len(edits) <= 4 * 20


async def test_the_start_of_a_word_is_found_at_its_humps_alone(stash):
    await stash.apply([put(9, "class ContentOverlap(Base)"), put(10, "see src/stash/searching.py")])

    assert [hit.row.seq for hit in (await stash.search(Query(text="ContentOver"))).hits] == [9]
    assert [hit.row.seq for hit in (await stash.search(Query(text="stash/sear"))).hits] == [10]


@pytest.mark.parametrize(
    ("word", "others"),
    [
        ("NullPointerException", "null pointer exception seen"),
        ("readFileSync", "read file sync, readFileSyncOrNot"),
        ("XMLHttpRequest", "xml http request"),
        ("9f86d08", "9f86d081884c7d65"),
        ("9f86d08", "9f86d081884c7d65 9f86d08188 9f86d0819"),
    ],
)
@pytest.mark.parametrize("count", [4, 60])
async def test_an_identifier_as_it_stands_comes_before_its_humps_and_longer_words(stash, word, others, count):
    await stash.apply([put(9, f"then {word} was seen in a log of some length, and nobody knew why it came")])
    await stash.apply([put(n, others) for n in range(10, 10 + count)])

    for text in (word, f"{word} seen"):
        assert (await stash.search(Query(text=text))).hits[0].row.seq == 9


async def test_a_query_without_a_word_says_so_and_lists_nothing(stash):
    reply = await stash.search(Query(text="!! ..."))

    assert reply.hits == ()
    assert "no word is left" in reply.notes[0]


async def test_words_left_out_are_named_in_the_reply(stash):
    reply = await stash.search(Query(text="word NOT draft"))

    assert "draft" in reply.notes[0]


@pytest.mark.parametrize("typed", ["-draft", "--draft", "#draft", "--draft-mode"])
async def test_one_word_with_a_sign_is_one_word_in_the_reply_too(stash, typed):
    await stash.apply([put(9, "the draft mode is long"), put(10, "a draft-mode of a draft")])

    alone = await stash.search(Query(text=typed))
    beside = await stash.search(Query(text=f"{typed} word"))

    assert {hit.row.seq for hit in alone.hits} & {9, 10}
    assert not [note for note in alone.notes if "all words" in note]
    assert [note for note in beside.notes if "all words" in note]


async def test_filters_in_the_text_narrow_as_those_beside_it(stash):
    await stash.apply([put(9, "word here", kind=Kind.TOOL_CALL, tool="Bash", wall_s=1e9)])

    async def seqs(text):
        return [hit.row.seq for hit in (await stash.search(Query(text=text))).hits]

    assert await seqs("word tool:bash") == await seqs("tool:BASH") == [9]
    assert await seqs("word path:a.py") == [0]
    assert await seqs("word since:2001-01-01 project:P") == [9]
    assert await seqs("word project:other") == await seqs("word session:none") == []


async def test_signs_decide_between_segments_that_have_the_same_letters(stash):
    await stash.apply(
        [
            put(9, "written in C++ today"),
            put(10, "written in C today"),
            put(11, "run --no-verify"),
            put(12, "no verify"),
        ]
    )

    async def first(text):
        return (await stash.search(Query(text=text))).hits[0].row.seq

    assert [await first(text) for text in ("C++", "--no-verify", '"no verify"')] == [9, 11, 12]


@pytest.mark.parametrize("typed", [')" && git status', "git status ;", "&& git status"])
async def test_words_between_signs_find_the_call_with_these_signs_before_shorter_calls_of_the_same_words(stash, typed):
    def call(seq, command):
        skeleton = json.dumps({"input": {"command": command}}).encode()
        return put(seq, "On branch main", skeleton=skeleton, kind=Kind.TOOL_CALL, tool="Bash", wall_s=float(seq))

    long = 'cd "$(dirname build/tools/linux/x86/release)" && git status ; make all tests docs package install clean'
    await stash.apply([call(9, long), *(call(n, "git status") for n in range(10, 20))])

    reply = await stash.search(Query(text=typed))

    assert reply.hits[0].row.seq == 9


async def test_what_a_model_said_before_a_call_finds_the_call(stash):
    said = {"kind": Kind.ASSISTANT, "role": Role.ASSISTANT}
    call = {"kind": Kind.TOOL_CALL, "role": Role.ASSISTANT, "tool": "Bash"}
    await stash.apply([put(9, "I look at the harbour gate timetable", **said), put(10, "0 1 2", **call)])

    reply = await stash.search(Query(text="look at the harbour gate timetable"))

    assert [hit.row.seq for hit in reply.hits] == [9, 10]


async def test_a_turn_beside_one_with_the_words_is_near_and_a_remembered_word_has_no_such_hits(stash):
    said = {"kind": Kind.ASSISTANT, "role": Role.ASSISTANT}
    await stash.apply([put(9, "when does the ferry leave the harbour", **said), put(10, "at noon", **said)])

    account = (await stash.search(Query(text="when does the ferry leave the harbour"))).hits
    memory = (await stash.search(Query(text="ferry harbour"))).hits

    assert [(hit.row.seq, hit.match) for hit in account] == [(9, "all"), (10, "near")]
    assert [hit.row.seq for hit in memory] == [9]


async def test_a_match_deep_in_a_long_text_still_has_its_snippet(stash):
    await stash.apply([put(9, "filler " * 20_000 + "needle" + " filler" * 100)])

    hit = (await stash.search(Query(text="needle"))).hits[0]

    assert "\x02needle\x03" in hit.snippet


async def test_a_long_query_keeps_its_rarest_words_wherever_they_stand_and_the_reply_says_so(stash):
    await stash.apply([put(n, " ".join(f"w{m}" for m in range(80))) for n in range(9, 12)])
    await stash.apply([put(12, "needle")])

    reply = await stash.search(Query(text=" ".join(f"w{m}" for m in range(80)) + " needle"))

    assert "rarest 48" in reply.notes[0]
    assert 12 in [hit.row.seq for hit in reply.hits]


async def test_a_long_query_takes_steps_in_proportion_to_the_segments_that_have_its_words(tmp_path, stash):
    def steps_of(query):
        counted = []
        with sqlite3.connect(file_in(tmp_path)) as db:
            db.set_progress_handler(lambda: counted.append(1), 100)
            planner.search(db, planner.Deadline(), Query(text=query), seconds=float("inf"))
        return len(counted)

    await stash.apply([put(n, "b c d e f " * 20) for n in range(9, 1500)])

    assert steps_of("b c d e f* g* NOT h") < 10 * steps_of("b")


async def test_a_rare_run_of_common_words_is_found_however_old_it_is(stash, monkeypatch):
    monkeypatch.setattr(postings, "POSTINGS_MAX", 20)
    monkeypatch.setattr(postings, "WALKED_MAX", 40)
    await stash.apply([put(9, "see git_log there")])
    await stash.apply([put(n, f"log git {n}") for n in range(10, 300)])

    reply = await stash.search(Query(text="git_log"))

    assert [hit.row.seq for hit in reply.hits] == [9]


async def test_the_start_of_a_last_word_is_looked_for_where_no_segment_has_the_run_as_it_stands(stash):
    await stash.apply([put(9, "see stash/search.py"), put(10, "see stash/sear")])

    assert [hit.row.seq for hit in (await stash.search(Query(text="stash/sear"))).hits] == [10]
    assert [hit.row.seq for hit in (await stash.search(Query(text="stash/searc"))).hits] == [9]


@pytest.mark.parametrize("filler", ["filler ", "füller ", "填充 "])
@pytest.mark.parametrize("length", [100, 4_000, 40_000])
async def test_a_run_of_words_comes_first_wherever_it_stands_in_however_long_a_text(stash, filler, length):
    await stash.apply([put(9, filler * length + "harbour gate of the ferry")])
    await stash.apply([put(n, f"gate ferry of harbour {n}") for n in range(10, 13)])

    reply = await stash.search(Query(text="harbour gate of the ferry"))

    assert reply.hits[0].row.seq == 9


@pytest.mark.parametrize(
    "run", ["the token was NOT written to the file", "lock the cache -draft of this page", "if EITHER session has it"]
)
async def test_a_copied_run_is_text_whatever_words_are_in_it_and_comes_before_calls_about_these_words(stash, run):
    about = json.dumps({"input": {"command": f"{run.title().replace(' ', ', x, ')}"}}).encode()
    call = {"kind": Kind.TOOL_CALL, "role": Role.ASSISTANT, "tool": "Bash"}
    await stash.apply([put(n, "0", skeleton=about, **call) for n in range(9, 12)])
    await stash.apply([put(12, "filler " * 900 + f"and {run}, as they say " + "filler " * 900, **call)])

    reply = await stash.search(Query(text=run))

    assert reply.hits[0].row.seq == 12
    assert not [note for note in reply.notes if "left out" in note]


async def test_an_exclusion_holds_where_no_text_has_the_words_as_one_run(stash):
    await stash.apply([put(9, "the token was lost, then written"), put(10, "written: the token was found")])

    reply = await stash.search(Query(text="the token was written NOT lost"))

    assert [hit.row.seq for hit in reply.hits] == [10]
    assert [note for note in reply.notes if "left out" in note]


@pytest.mark.parametrize(
    ("typed", "text"), [("deadbeef", "deadbeefcafe"), ("0x7fff", "0x7fff5fbff8c0"), ("kestr", "kestrel")]
)
async def test_a_word_that_no_segment_has_is_looked_for_as_the_start_of_a_word_and_the_reply_says_so(
    stash, typed, text
):
    await stash.apply([put(9, f"saw {text} there")])

    alone, beside = [await stash.search(Query(text=query)) for query in (typed, f"{typed} there")]

    assert [hit.row.seq for hit in alone.hits] == [hit.row.seq for hit in beside.hits] == [9]
    assert f"{typed}*" in alone.notes[0]


@pytest.mark.parametrize("stored", ["1.2.3", "v1.2.3", "v1.2.3-rc.4"])
@pytest.mark.parametrize("typed", ["1.2.3", "v1.2.3", "V1.2.3"])
async def test_a_version_is_found_with_and_without_its_letter(stash, stored, typed):
    await stash.apply([put(9, f"upgrade to {stored} now")])

    assert [hit.row.seq for hit in (await stash.search(Query(text=typed))).hits] == [9]
