"""What every stash promises, whichever engine keeps it."""

from dataclasses import fields, replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.core.errors import Conflict, CtxgcError
from ctxgc.core.frame import Block, DataLine, render_frame
from ctxgc.core.segment import (
    NO_FACTS,
    Access,
    CallFacts,
    Departure,
    EdgeKind,
    Kind,
    PathUse,
    Renderer,
    Role,
    SessionKey,
    State,
    Status,
    legacy_session_number,
)
from ctxgc.stash.contract import (
    FORGOTTEN_OF_SESSION,
    OP_IDS_KEPT_PER_SESSION,
    ActualCost,
    AddEdges,
    Collection,
    Edge,
    Eviction,
    Forget,
    ForgetSession,
    Op,
    PutCollection,
    PutOp,
    PutPosition,
    PutSession,
    Query,
    SessionRow,
    SetGarbage,
    SetPinned,
    SetPlaces,
    SetRecalled,
    SetState,
    SetTags,
    Touch,
)
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.stash.samples import KEY, OTHER, any_bytes, any_text, pending, put, puts, sqlite_in, stored, text_of

ENGINES = {"file": sqlite_in, "memory": lambda _: SqliteStash(MEMORY)}
"""The contract is one engine's so far; the suite is for the second, and for each way the first is used."""

# Each example of a property gets its own session, so that one open stash serves them all.
fresh_keys = (SessionKey("client", f"fresh{n}") for n in count())
shared_stash = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(params=ENGINES)
async def stash(request, tmp_path):
    stash = ENGINES[request.param](tmp_path)
    await stash.open()
    yield stash
    await stash.close()


async def found(stash, text="", **said):
    return [hit.row.seq for hit in (await stash.search(Query(text=text, **said))).hits]


async def row(stash, seq=0, key=KEY):
    return (await stash.rows(key))[seq]


def journal(number=1, **said):
    return Collection(
        **{
            "id": number,
            "wall_s": 5.0,
            "turn": 3,
            "trigger": "asked",
            "target_tokens": 10,
            "before_tokens": 90,
            "after_tokens": 9,
        }
        | said
    )


# What was put


@shared_stash
@given(data=st.lists(any_bytes, min_size=1, max_size=5))
async def test_i9_a_body_comes_back_as_the_very_bytes_that_were_put(stash, data):
    key = next(fresh_keys)

    await stash.apply(puts(*data, key=key))

    bodies = await stash.contents(key, range(len(data)))
    assert [text_of(bodies[seq]) for seq in range(len(data))] == data


async def test_rows_come_back_whole_but_for_their_content(stash):
    told = stored(
        0,
        "body",
        kind=Kind.TOOL_CALL,
        role=Role.ASSISTANT,
        tool="Read",
        command="cat a.py",
        facts=CallFacts(attempt="cat a.py", recalls="#1", is_pure_read=True, is_cut=True),
        refs=("seg-9",),
        reply="msg-1",
        importance=0.75,
        task="auth",
        tags=("x", "y"),
        skeleton=b'{"call_id":"c","input":{},"name":"Read"}',
        paths=(PathUse("/p/b.py", Access.EDIT), PathUse("/p/a.py", Access.READ, 3, 9)),
        edges=(Edge(1, EdgeKind.REPLACES), Edge(2, EdgeKind.GIVEN)),
        state=State.DEPARTED,
        departure=Departure.REWOUND,
        touched_turn=4,
        touches=2,
        recalled_turn=3,
        is_pinned=True,
        garbage="duplicate",
        garbage_by=7,
        redactions=1,
    )

    await stash.apply([put(0, "body")._replace(row=told)])

    assert await stash.rows(KEY) == [replace(told, segment=replace(told.segment, skeleton=b"{}", body=()))]


async def test_i15_sessions_of_two_agents_share_nothing(stash):
    twin = SessionKey("codex", KEY.session)
    await stash.apply(puts("of the client"))
    await stash.apply(puts("of codex", key=twin))

    await stash.apply([SetPinned(KEY, [0], True), Forget(KEY, [0])])

    assert text_of((await stash.contents(twin, [0]))[0]) == b"of codex"
    assert not (await row(stash, key=twin)).is_pinned


async def test_unknown_sessions_and_seqs_are_absent_not_errors(stash):
    assert await stash.rows(OTHER) == []
    assert await stash.contents(OTHER, [0]) == {}
    assert await stash.session(OTHER) is None
    assert await stash.collections(OTHER) == []
    assert (await stash.search(Query(text="x", key=OTHER))).hits == ()


# Idempotence


async def test_putting_a_complete_segment_again_changes_nothing(stash):
    await stash.apply(puts("first"))
    before = await stash.rows(KEY)

    await stash.apply([put(0, "second"), put(5, "third", id="seg-0")])

    assert await stash.rows(KEY) == before
    assert text_of((await stash.contents(KEY, [0]))[0]) == b"first"


async def test_a_pending_segment_is_completed_in_place_and_keeps_what_the_session_said_of_it(stash):
    await stash.apply(
        [pending(0), SetPinned(KEY, [0], True), SetTags(KEY, 0, tags=("kept",)), SetPlaces(KEY, [(0, 42)])]
    )

    done = put(3, "the result", id="seg-0", kind=Kind.TOOL_CALL, role=Role.ASSISTANT, tool="Read", place=9)
    await stash.apply([done])

    now = await row(stash)
    assert (now.segment.status, now.segment.place, now.segment.tags) == (Status.OK, 42, ("kept",))
    assert now.is_pinned
    assert text_of((await stash.contents(KEY, [0]))[0]) == b"the result"
    assert await found(stash, "result") == [0]


async def test_a_taken_seq_is_a_conflict_and_the_batch_leaves_no_trace(stash):
    await stash.apply(puts("mine"))

    with pytest.raises(Conflict):
        await stash.apply([put(1, "new"), put(0, "theirs", id="another")])

    assert [r.segment.id for r in await stash.rows(KEY)] == ["seg-0"]
    assert await found(stash, "new") == []


MUTATIONS = [
    PutSession(SessionRow(key=KEY, title="t", updated_s=2.0)),
    SetState(KEY, [1], State.EVICTED),
    SetState(KEY, [0], State.DEPARTED, Departure.HOST_CLEARED),
    SetState(KEY, [1, 2], State.RESIDENT),
    SetPlaces(KEY, [(0, 7), (2, 1)]),
    Touch(KEY, [(0, 4), (0, 5), (1, 2)]),
    SetRecalled(KEY, [0, 2], 6),
    SetRecalled(KEY, [2], 5),
    SetPinned(KEY, [2], True),
    SetTags(KEY, 1, tags=("a",), importance=0.9),
    AddEdges(KEY, 2, [Edge(0, 1), Edge(1, 2)]),
    SetGarbage(KEY, [(0, "superseded", 2)]),
    PutCollection(KEY, journal(1, evictions=(Eviction(seq=0, reason="cold", freed_tokens=5, score=0.5),))),
    PutCollection(KEY, journal(2, trigger="undo", undoes=1), restores=[0]),
    PutCollection(KEY, journal(3, evictions=(Eviction(seq=2, reason="cold"),)), is_carried_out=False),
    ActualCost(KEY, 1, 12.5),
    Forget(KEY, [1]),
    ForgetSession(KEY),
    PutOp(KEY, "op", Op(b"reply", b"call")),
    PutPosition("/log", b"head", 99),
]


@shared_stash
@given(batch=st.lists(st.sampled_from(MUTATIONS), max_size=8))
async def test_applying_a_batch_again_changes_nothing(stash, batch):
    key = next(fresh_keys)
    moved = [*puts("zero", "one", "two", key=key), *(of_session(mutation, key) for mutation in batch)]
    await stash.apply(moved)
    before = [
        await stash.rows(key),
        await stash.collections(key),
        await stash.remembered_op(key, "op"),
        await stash.session(key),
    ]

    await stash.apply(moved[-1:])

    after = [
        await stash.rows(key),
        await stash.collections(key),
        await stash.remembered_op(key, "op"),
        await stash.session(key),
    ]
    assert after == before


def of_session(mutation, key):
    if isinstance(mutation, PutSession):
        return PutSession(replace(mutation.row, key=key))
    return mutation if isinstance(mutation, PutPosition) else mutation._replace(key=key)


# States


async def test_a_departure_is_kept_with_departed_and_cleared_otherwise(stash):
    await stash.apply([*puts("a"), SetState(KEY, [0], State.DEPARTED, Departure.HOST_COMPACTED)])
    assert (await row(stash)).departure is Departure.HOST_COMPACTED

    await stash.apply([SetState(KEY, [0], State.RESIDENT)])

    assert (await row(stash)).departure is None


async def test_touching_keeps_the_later_turn_and_counts_a_turn_once(stash):
    await stash.apply([*puts("a"), Touch(KEY, [(0, 5), (0, 5), (0, 3), (0, 8)])])

    now = await row(stash)
    assert (now.touched_turn, now.touches) == (8, 2)


async def test_a_collection_evicts_its_victims_and_an_undo_brings_them_back(stash):
    evictions = (Eviction(seq=1, reason="cold", freed_tokens=7, score=1.5), Eviction(seq=0, reason="duplicate", by=1))
    first = journal(1, evictions=evictions, protected_by=(("pinned", 30),), predicted_cost=-4.0)
    await stash.apply([*puts("a", "b"), PutCollection(KEY, first)])
    assert [(r.state, r.collection) for r in await stash.rows(KEY)] == [(State.EVICTED, 1)] * 2

    undo = journal(2, trigger="undo", undoes=1)
    await stash.apply([ActualCost(KEY, 1, 3.5), PutCollection(KEY, undo, restores=[0, 1])])

    assert [r.state for r in await stash.rows(KEY)] == [State.RESIDENT] * 2
    assert await stash.collections(KEY) == [undo, replace(first, actual_cost=3.5, undone_by=2)]


async def test_a_collection_that_was_not_carried_out_is_journalled_with_its_victims_and_moves_nobody(stash):
    foreseen = journal(1, trigger="shadow", evictions=(Eviction(seq=1, reason="value", freed_tokens=7),))
    await stash.apply([*puts("a", "b"), PutCollection(KEY, foreseen, is_carried_out=False)])

    assert [(r.state, r.collection) for r in await stash.rows(KEY)] == [(State.RESIDENT, 0)] * 2
    assert await stash.collections(KEY) == [foreseen]


async def test_any_line_of_a_long_journal_is_found_by_its_number(stash):
    lines = [journal(n, evictions=(Eviction(seq=n, reason="cold"),)) for n in range(1, 1202)]
    await stash.apply([PutCollection(KEY, line) for line in lines])

    assert await stash.collection(KEY, 1) == lines[0]
    assert await stash.collection(KEY, 1202) is await stash.collection(OTHER, 1) is None


async def test_the_newest_collection_that_stands_is_found_below_any_number_of_undos(stash):
    undone = [line for n in range(2, 1202, 2) for line in (journal(n), journal(n + 1, trigger="undo", undoes=n))]
    foreseen = journal(1202, trigger="shadow")
    await stash.apply([PutCollection(KEY, line) for line in (journal(1), *undone, foreseen)])

    assert await stash.newest_collection_in_force(KEY) == journal(1)
    assert await stash.newest_collection_in_force(OTHER) is None


async def test_the_latest_recall_of_a_segment_is_the_one_that_is_kept(stash):
    await stash.apply([*puts("one", "two"), SetRecalled(KEY, [0], 4), SetRecalled(KEY, [0], 2)])

    assert [r.recalled_turn for r in await stash.rows(KEY)] == [4, -1]


OTHER_LINES = {
    "wall_s": 6.0,
    "turn": 99,
    "trigger": "value",
    "target_tokens": 11,
    "before_tokens": 91,
    "after_tokens": 8,
    "evictions": (Eviction(seq=0, reason="cold", freed_tokens=7, score=0.5),),
    "protected_by": (("pinned", 31),),
    "predicted_cost": -5.0,
    "undoes": 1,
}
"""For each field of a journal's line, a value that another collection of the same number might have."""


@pytest.mark.parametrize("field", OTHER_LINES)
async def test_the_journal_is_not_rewritten(stash, field):
    evictions = (Eviction(seq=0, reason="cold", freed_tokens=7, score=0.25),)
    line = journal(2, evictions=evictions, protected_by=(("pinned", 30),), predicted_cost=-4.0)
    await stash.apply([*puts("a"), PutCollection(KEY, line), ActualCost(KEY, 2, 3.5)])

    with pytest.raises(Conflict):
        await stash.apply([PutCollection(KEY, replace(line, **{field: OTHER_LINES[field]}))])

    assert await stash.collections(KEY) == [replace(line, actual_cost=3.5)]


def test_every_field_of_a_journals_line_that_is_written_with_it_is_tried():
    later = {"id", "actual_cost", "undone_by"}
    assert {f.name for f in fields(Collection)} - later == set(OTHER_LINES)


async def test_a_line_of_the_journal_may_be_written_again_after_its_cost_and_its_undo_are_known(stash):
    line, undo = journal(1, predicted_cost=-4.0), journal(2, trigger="undo", undoes=1)
    await stash.apply([PutCollection(KEY, line), ActualCost(KEY, 1, 3.5), PutCollection(KEY, undo)])
    before = await stash.collections(KEY)

    await stash.apply([PutCollection(KEY, line)])

    assert await stash.collections(KEY) == before


ODD_PATHS = [
    "/w/app/[slug]/page.tsx",
    "/w/app/[...rest]/route.ts",
    "/w/routes/[id=integer]/+page.svelte",
    "/w/app/(marketing)/page.tsx",
    "/w/what?.md",
    "/w/star*.md",
    "/w/c'd.py",
    "/w/app/s/page.tsx",
]


async def test_a_path_search_finds_the_file_of_that_very_name_whatever_its_letters_mean_in_a_glob(stash):
    await stash.apply([put(seq, "x", paths=(PathUse(path, Access.READ),)) for seq, path in enumerate(ODD_PATHS)])

    for seq, path in enumerate(ODD_PATHS):
        for query in (path, path.removeprefix("/w/")):
            assert seq in await found(stash, path=query), query
    assert sorted(await found(stash, path="app/[slug]/*.tsx")) == [0, 7]
    assert await found(stash, path="app/[!s]/page.tsx") == []


# Forgetting


async def test_a_forgotten_segment_leaves_its_id_and_nothing_else(stash):
    facts = {"command": "cat key", "facts": CallFacts("cat key"), "paths": (PathUse("/k", Access.READ),)}
    secret = put(0, "swordfish", tool="Bash", task="t", tags=("x",), **facts)
    await stash.apply([secret, PutOp(KEY, "op", Op(b"swordfish", b"call")), AddEdges(KEY, 0, [Edge(0, 1)])])

    await stash.apply([Forget(KEY, [0])])

    now = await row(stash)
    assert (now.segment.id, now.state, now.digest, now.pieces) == ("seg-0", State.FORGOTTEN, b"", ())
    assert now.segment.facts == NO_FACTS
    assert (now.segment.tool, now.segment.command, now.segment.paths, now.segment.tags, now.edges) == (
        "",
        "",
        (),
        (),
        (),
    )
    assert await stash.contents(KEY, [0]) == {}
    assert await found(stash, "swordfish") == await found(stash, "", path="/k") == await found(stash) == []
    assert await stash.remembered_op(KEY, "op") is None


async def test_a_session_forgotten_whole_leaves_its_key_its_counters_and_bare_ids(stash):
    texts = dict.fromkeys(FORGOTTEN_OF_SESSION, "swordfish")
    known = SessionRow(key=KEY, turn=4, **texts)
    await stash.apply([PutSession(known), *puts("one", "two"), PutOp(KEY, "op", Op(b"reply", b"call"))])

    await stash.apply([ForgetSession(KEY)])

    assert await stash.session(KEY) == SessionRow(key=KEY, turn=4, forgotten=True)
    assert [(r.segment.id, r.state) for r in await stash.rows(KEY)] == [(f"seg-{n}", State.FORGOTTEN) for n in (0, 1)]
    assert await stash.remembered_op(KEY, "op") is None


async def test_what_is_forgotten_stays_forgotten(stash):
    await stash.apply([*puts("secret"), Forget(KEY, [0])])

    await stash.apply([put(0, "secret"), SetState(KEY, [0], State.RESIDENT), SetTags(KEY, 0, tags=("back",))])

    now = await row(stash)
    assert (now.state, now.segment.tags) == (State.FORGOTTEN, ())
    assert await found(stash, "secret") == []


async def test_forgetting_is_not_a_state_one_can_set(stash):
    await stash.apply(puts("a"))

    with pytest.raises(CtxgcError):
        await stash.apply([SetState(KEY, [0], State.FORGOTTEN)])


# Sessions, operations, positions


async def test_sessions_are_listed_newest_first_and_by_project(stash):
    rows = [SessionRow(key=SessionKey("client", f"s{n}"), project=f"/p{n % 2}", updated_s=float(n)) for n in range(4)]
    await stash.apply([PutSession(r) for r in rows])

    assert await stash.sessions() == rows[::-1]
    assert await stash.sessions(project="/p1", limit=1, offset=1) == [rows[1]]
    assert await stash.sessions(source="codex") == []


async def test_nothing_that_is_known_of_a_session_is_left_behind(stash):
    words = {str: "word", int: 7, float: 2.5, bool: True, Renderer: Renderer.GATEWAY}
    row = SessionRow(**{f.name: KEY if f.name == "key" else words[type(f.default)] for f in fields(SessionRow)})

    await stash.apply([PutSession(row)])

    assert await stash.session(KEY) == row


async def test_a_session_is_named_exactly_or_by_a_prefix(stash):
    keys = [SessionKey("client", "abc"), SessionKey("codex", "abcd"), SessionKey("codex", "x")]
    await stash.apply([PutSession(SessionRow(key=key)) for key in keys])

    assert await stash.sessions_named("abc") == [keys[0]]
    assert set(await stash.sessions_named("ab")) == {keys[0], keys[1]}
    assert await stash.sessions_named("codex:ab") == [keys[1]]
    assert await stash.sessions_named("codex:x") == [keys[2]]
    assert await stash.sessions_named("") == await stash.sessions_named("nothing%") == []


async def test_a_session_is_found_by_its_number(stash):
    keys = [SessionKey("client", "a"), SessionKey("codex", "a"), SessionKey("codex", "naïve\0 \udcff")]
    await stash.apply([PutSession(SessionRow(key=key)) for key in keys[:1]])
    await stash.apply([PutSession(SessionRow(key=key)) for key in keys[1:2]])

    twin = SessionKey("pi", "b")
    await stash.apply([PutSession(SessionRow(key=twin, number=legacy_session_number(keys[0])))])
    await stash.apply([PutSession(SessionRow(key=SessionKey("pi", "a"), number=123_456_789))])

    found = [await stash.sessions_numbered(legacy_session_number(key)) for key in keys]
    assert [set(some) for some in found] == [{keys[0], twin}, {keys[1]}, set()]
    assert await stash.sessions_numbered(123_456_789) == [SessionKey("pi", "a")]


async def test_a_segment_is_traced_to_every_session_that_holds_its_id(stash):
    await stash.apply([put(0, id="shared"), put(1, id="alone"), put(0, key=OTHER, id="shared")])

    assert set(await stash.sessions_with_segment("shared")) == {KEY, OTHER}
    assert await stash.sessions_with_segment("alone") == [KEY]
    assert await stash.sessions_with_segment("alon") == await stash.sessions_with_segment("") == []


async def test_i12_the_oldest_op_ids_are_dropped_beyond_the_bound(stash):
    ops = [PutOp(KEY, f"op{n}", Op(str(n).encode(), b"call")) for n in range(OP_IDS_KEPT_PER_SESSION + 2)]

    await stash.apply([*ops, PutOp(KEY, "op9", Op(b"again", b"other"))])

    assert await stash.remembered_op(KEY, "op1") is None
    assert await stash.remembered_op(KEY, "op2") == Op(b"2", b"call")
    assert await stash.remembered_op(KEY, "op9") == Op(b"9", b"call")


async def test_a_position_is_the_last_one_written(stash):
    await stash.apply([PutPosition("/log", b"h", 1), PutPosition("/log", b"h", 2)])

    assert await stash.file_position("/log") == (b"h", 2)
    assert await stash.file_position("/other") is None


# Search


@shared_stash
@given(text=any_text)
async def test_no_query_text_is_ever_a_syntax_error(stash, text):
    await stash.apply(puts("some words here", '"quoted" -text* (a OR b) NEAR/3 col:umn ^x'))

    await stash.search(Query(text=text))


async def test_segments_with_all_words_come_before_those_with_some(stash):
    await stash.apply(
        puts("token bug", "refresh of the page", "a token refresh bug in the middle of much else", "none")
    )

    reply = await stash.search(Query(text="token refresh bug"))

    assert reply.hits[0].row.seq == 2
    assert [hit.match for hit in reply.hits] == ["all", "some", "some"]
    assert sorted(hit.score for hit in reply.hits)[::-1] == [hit.score for hit in reply.hits]
    assert reply.notes


async def test_words_match_by_stem_case_and_the_parts_of_camel_case(stash):
    await stash.apply(puts("reconnecting now", "calls getUserName()", "snake get_user_name", "HTTPServer"))

    assert await found(stash, "RECONNECTED") == [0]
    assert sorted(await found(stash, '"user name"')) == [1, 2]
    assert sorted(await found(stash, "getUserName")) == [1, 2]
    assert await found(stash, "server") == [3]


async def test_phrases_exclusions_and_prefixes_do_what_they_say(stash):
    await stash.apply(puts("page fault", "fault page", "pager", "page fault draft"))

    assert sorted(await found(stash, '"page fault"')) == [0, 3]
    assert await found(stash, '"page fault" -draft') == [0]
    assert sorted(await found(stash, "pag*")) == [0, 1, 2, 3]
    assert await found(stash, "-draft") == [3]
    assert await found(stash, "page NOT draft NOT fault") == []


async def test_short_inputs_of_a_call_are_searchable_and_its_ids_are_not(stash):
    skeleton = b'{"call_id":"toolu_77","input":{"command":"pytest tests/auth","n":3},"name":"Bash"}'
    await stash.apply([put(0, "ok", skeleton=skeleton, kind=Kind.TOOL_CALL)])

    assert await found(stash, "pytest auth") == [0]
    assert await found(stash, "toolu_77") == await found(stash, "command") == []


async def test_a_text_that_was_brought_back_is_found_where_it_is_from(stash):
    frame = render_frame([Block(title="match", facts=("x",), lines=(DataLine(1, "the amber otter"),))])
    await stash.apply([put(0, "the amber otter"), put(1, f"before\n{frame}behind", kind=Kind.TOOL_CALL)])
    await stash.apply([put(2, f"{frame}[ctxgc: 3 segments]", kind=Kind.SYSTEM)])

    assert await found(stash, "amber otter") == await found(stash, '"the amber otter"') == [0]
    assert await found(stash, "before") == await found(stash, "behind") == [1]


async def test_every_filter_narrows(stash):
    reader = {"kind": Kind.TOOL_CALL, "tool": "Read", "paths": (PathUse("/p/src/a.py", Access.READ),)}
    await stash.apply([PutSession(SessionRow(key=KEY, project="/p")), PutSession(SessionRow(key=OTHER, project="/q"))])
    await stash.apply(
        [put(0, "word", task="auth", tags=("x", "y")), put(1, "word", **reader), put(2, "word", wall_s=50.0)]
    )
    await stash.apply([put(0, "word", key=OTHER), SetState(KEY, [0], State.EVICTED)])

    async def seqs(**said):
        with_text, without = await found(stash, "word", **said), await found(stash, **said)
        assert sorted(with_text) == sorted(without)
        return sorted(with_text)

    assert await seqs() == [0, 0, 1, 2]
    assert await seqs(key=KEY) == await seqs(project="/p") == [0, 1, 2]
    assert await seqs(project="/none") == await seqs(key=SessionKey("a", "b")) == []
    assert await seqs(kinds=(Kind.TOOL_CALL,)) == await seqs(tools=("Read",)) == [1]
    assert await seqs(task="auth") == await seqs(tags=("y", "x")) == await seqs(states=("evicted",)) == [0]
    assert await seqs(key=KEY, kinds=(Kind.USER, Kind.TOOL_CALL), after_s=1.5, before_s=50.0) == [1]


@pytest.mark.parametrize("path", ["/p/src/a.py", "a.py", "src/a.py", "*.py", "src/*", "/p/*/a.p?", "[!x].py"])
async def test_a_path_is_found_whole_by_name_by_its_end_and_by_glob(stash, path):
    await stash.apply([put(0, "x", paths=(PathUse("/p/src/a.py", Access.READ),)), put(1, "x"), put(2, "x")])
    await stash.apply([put(3, "x", paths=(PathUse("/p/src/xa.md", Access.READ),))])

    expected = [3, 0] if path == "src/*" else [0]
    assert await found(stash, "", path=path) == await found(stash, "x", path=path) == expected


@pytest.mark.parametrize("path", ["b.py", "/src/a.py", "p/src", "*.rs", "A.PY"])
async def test_another_path_is_not_found(stash, path):
    await stash.apply([put(0, "x", paths=(PathUse("/p/src/a.py", Access.READ),))])

    assert await found(stash, "", path=path) == []


async def test_pages_follow_each_other_without_gap_or_repeat(stash):
    await stash.apply(puts(*(f"common word {n}" for n in range(25))))

    for text in ("common", ""):
        seen, offset = [], 0
        while offset >= 0:
            reply = await stash.search(Query(text=text, limit=10, offset=offset))
            seen += [hit.row.seq for hit in reply.hits]
            offset = reply.next_offset
        assert sorted(seen) == list(range(25))


async def test_a_hit_says_where_it_is_from_and_highlights_what_matched(stash):
    await stash.apply(
        [PutSession(SessionRow(key=KEY, project="/p")), put(0, "x " * 500 + "the Needle\x02\nhere " + "y " * 500)]
    )

    hit = (await stash.search(Query(text="needles"))).hits[0]

    assert (hit.row.key, hit.project) == (KEY, "/p")
    assert "\x02Needle\x03  here" in hit.snippet
    assert len(hit.snippet) < 300


async def test_a_word_that_moves_with_a_completed_segment_is_no_longer_found_at_the_old_content(stash):
    await stash.apply([pending(0, skeleton=b'{"call_id":"c","input":{"q":"before"},"name":"Read"}')])
    assert await found(stash, "before") == [0]

    await stash.apply([put(0, "after", kind=Kind.TOOL_CALL)])

    assert await found(stash, "before") == []
    assert await found(stash, "after") == [0]


# Status


async def test_status_counts_segments_and_sessions(stash):
    await stash.apply([*puts("a", "b"), *puts("c", key=OTHER)])

    status = await stash.status()

    assert (status.segments, status.sessions, status.is_read_only, status.erasures_pending) == (3, 2, False, 0)
