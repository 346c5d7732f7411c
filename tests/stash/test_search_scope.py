"""A search held to a project or a session answers as if there were no other: in hits, order and notes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctxgc.core.segment import SessionKey
from ctxgc.stash.contract import PutSession, Query, SessionRow
from tests.effort import effort
from tests.stash.samples import KEY, OTHER, put, puts, sqlite_in

OWN, SECRET = "/work/app", "/work/secret"
OWN_TEXTS = ("please look at the lamp", "grep --lamp finds ContentOverlap in stash/search.py", "the lantern is broken")
OTHER_TEXTS = (
    *("flamingo crimsonwalrus lampost", "--draft and -walrus of the lanterns", "lantern lanterns lanterm lanterm"),
    *("数据库 连接池 crimsonwalrus", "ContentOverlook in stash/searches.py lampe", "broke broken brokem brokem brokem"),
)
WORDS = (
    *("lamp", "lamb", "lampo", "lampots", "lanterx", "lanterm", "brokex", "flaminog", "crimsonwalrux", "crimsonwalrus"),
    *(
        "-draft",
        "-walrus",
        "-lamp",
        "NOT",
        "数据库存",
        "ContentOver",
        "stash/sear",
        "--draft",
        '"crimsonwalrus"',
        "the",
    ),
)


@pytest.fixture
async def alone_and_beside(tmp_path):
    """A stash with the own project alone, and one with another project's sessions beside."""
    stashes = [sqlite_in(tmp_path / name, search_s_max=60.0) for name in ("alone", "beside")]
    for stash in stashes:
        await stash.open()
        await stash.apply([PutSession(SessionRow(key=KEY, project=OWN)), *puts(*OWN_TEXTS)])
    others = [SessionKey("codex", f"s{number}") for number in range(3)]
    for key in (OTHER, *others):
        texts = [put(seq, text, key=key) for seq, text in enumerate(OTHER_TEXTS)]
        await stashes[1].apply([PutSession(SessionRow(key=key, project=SECRET)), *texts])
    yield stashes
    for stash in stashes:
        await stash.close()


@settings(effort(200), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=5),
    limit=st.sampled_from([{"project": OWN}, {"key": KEY}]),
)
async def test_what_is_said_in_a_scope_does_not_depend_on_what_lies_outside(alone_and_beside, words, limit):
    query = Query(text=" ".join(words), here=OWN, **limit)

    alone, beside = [await stash.search(query) for stash in alone_and_beside]

    assert alone.notes == beside.notes
    assert [(hit.row.seq, hit.match, hit.snippet) for hit in alone.hits] == [
        (hit.row.seq, hit.match, hit.snippet) for hit in beside.hits
    ]
