"""Filters in a query's text: what they may take away, and that they add nothing."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.core.segment import Access, Kind, PathUse, Role, SessionKey
from ctxgc.stash.contract import PutSession, Query, SessionRow
from tests.effort import effort
from tests.stash.samples import KEY, OTHER, put, sqlite_in

THIRD = SessionKey("codex", "s3")
PROJECTS = {KEY: "/work/app", OTHER: "/work/secret", THIRD: "/work/app"}

bounds = {
    "key": st.sampled_from(list(PROJECTS)),
    "project": st.sampled_from(["/work/app", "/work/secret", "secret"]),
}
others = {
    "kinds": st.sampled_from([(Kind.USER,), (Kind.TOOL_CALL,), (Kind.USER, Kind.TOOL_CALL)]),
    "tools": st.sampled_from([("Read",), ("Bash", "Read")]),
    "path": st.sampled_from(["a.py", "*.md"]),
    "task": st.sampled_from(["auth", "docs"]),
    "tags": st.sampled_from([("x",), ("x", "y")]),
    "states": st.sampled_from([("resident",), ("evicted",)]),
    "after_s": st.sampled_from([3.0, 6.0]),
    "before_s": st.sampled_from([3.0, 6.0]),
    "here": st.sampled_from(["/work/secret", "/work/app/src"]),
}
bounded = st.sampled_from([{"key": key} for key in PROJECTS] + [{"project": project} for project in PROJECTS.values()])
params = bounded | st.fixed_dictionaries({}, optional=bounds | others)
PLACES = (
    *("project:secret", "project:/work/app", "PROJECT:app", "project:s?"),
    *("session:s2", "session:codex:s2", "session:client:s1", "session:nobody"),
)
FACTS = (
    *("kind:user", "kind:tool_call", "tool:Bash", "tool:read", "path:a.py", "path:*", "task:auth", "task:docs"),
    *("tag:x", "tag:y", "state:resident", "state:evicted"),
    *("since:2026-01-01", "since:9w", "until:1970-01-02", "until:2036-01-01"),
)
written = st.lists(st.sampled_from(PLACES), max_size=2) | st.lists(st.sampled_from(PLACES + FACTS), max_size=4)


@pytest.fixture
async def stash(tmp_path):
    stash = sqlite_in(tmp_path, search_s_max=60.0)
    await stash.open()
    await stash.apply([PutSession(SessionRow(key=key, project=project)) for key, project in PROJECTS.items()])
    for key in PROJECTS:
        call = {"key": key, "kind": Kind.TOOL_CALL, "role": Role.ASSISTANT}
        paths = (PathUse("/work/a.py", Access.READ),)
        await stash.apply([put(0, "lamp one", key=key), put(1, "lamp two", key=key, task="auth", tags=("x",))])
        await stash.apply([put(2, "lamp", tool="Read", paths=paths, **call), put(3, "lamp", tool="Bash", **call)])
        await stash.apply([put(n, "lamp", key=key, tags=("x", "y"), task="docs") for n in range(4, 8)])
    yield stash
    await stash.close()


async def found(stash, text, **said):
    reply = await stash.search(Query(text=text, limit=100, **said))
    return {(hit.row.key, hit.row.seq) for hit in reply.hits}, reply.notes


@settings(effort(200), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(said=params, filters=written, words=st.sampled_from(["lamp", "", "lanp"]))
async def test_filters_in_a_query_only_take_hits_away_from_what_the_caller_allowed(stash, said, filters, words):
    allowed, _ = await found(stash, words, **said)

    hits, _ = await found(stash, " ".join([*filters, words]), **said)

    assert hits <= allowed


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ({"project": "/work/app"}, "project:secret"),
        ({"project": "/work/app"}, "session:codex:s2"),
        ({"key": KEY}, "session:codex:s2"),
        ({"key": KEY}, "project:/work/secret"),
        ({"kinds": (Kind.USER,)}, "kind:tool_call"),
        ({"tools": ("Read",)}, "tool:Bash"),
        ({"task": "auth"}, "task:docs"),
        ({"states": ("evicted",)}, "state:resident"),
        ({"before_s": 6.0}, "since:2026-01-01"),
        ({}, "project:app project:secret"),
        ({}, "session:nobody"),
    ],
)
@pytest.mark.parametrize("words", ["lamp", ""])
async def test_a_filter_that_contradicts_another_finds_nothing_and_the_reply_says_so(stash, said, written, words):
    hits, notes = await found(stash, f"{written} {words}", **said)

    assert not hits
    assert any("no segment can pass all filters" in note for note in notes)


async def test_filters_of_a_query_narrow_together(stash):
    hits, _ = await found(stash, "project:app session:codex:s3 tag:x tag:y since:1970-01-01 lamp", task="docs")

    assert hits == {(THIRD, seq) for seq in range(4, 8)}
    assert (await found(stash, "tool:bash tool:read lamp", key=KEY))[0] == {(KEY, 2), (KEY, 3)}


async def test_a_flood_of_filters_is_cut_and_the_reply_says_so(stash):
    hits, notes = await found(stash, " ".join(f"tag:t{n}" for n in range(600)) + " lamp", project="/work/app")

    assert not hits
    assert "of 600 filters, the first 32 count" in notes


@pytest.mark.parametrize("text", ["state:evictd", "kind:nonsense", "since:foo"])
async def test_a_filter_whose_value_is_none_is_a_word_and_the_reply_says_so(stash, text):
    _, notes = await found(stash, f"lamp {text}")

    assert any(text in note and "filter" in note for note in notes)
    assert not any("filter" in note for note in (await found(stash, f'lamp "{text}" kind:user http://x std::y'))[1])
