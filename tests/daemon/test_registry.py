"""Which session a name means, and which one is meant where none is named."""

import pytest

from ctxgc.core.errors import BadParams, NotFound
from ctxgc.core.segment import SessionKey
from ctxgc.daemon.sessions.registry import Registry
from ctxgc.daemon.sessions.session_index import SessionSettings
from ctxgc.stash.contract import PutSession, SessionRow
from ctxgc.stash.sqlite import MEMORY, SqliteStash

MAIN = SessionKey("claude_code", "5a3d1e00-main")


@pytest.fixture
async def registry():
    stash = SqliteStash(MEMORY)
    await stash.open()
    rows = [SessionRow(key=MAIN, project="/work", updated_s=1.0)]
    rows += [
        SessionRow(
            key=SessionKey(MAIN.source, f"{MAIN.session}/a{n}"), project="/work", parent=MAIN.session, updated_s=9.0
        )
        for n in range(20)
    ]
    rows.append(SessionRow(key=SessionKey("codex", "77-other"), project="/else", updated_s=5.0))
    await stash.apply([PutSession(row) for row in rows])
    yield Registry(stash, SessionSettings(), lambda: 0.0, segments_max=1000)
    await stash.close()


async def test_a_sessions_side_chains_do_not_make_its_prefix_ambiguous(registry):
    assert await registry.resolve("5a3d") == MAIN
    assert await registry.resolve("claude_code:5a3d") == MAIN


async def test_a_prefix_that_names_several_side_chains_stays_ambiguous(registry):
    with pytest.raises(BadParams, match="may mean"):
        await registry.resolve(f"{MAIN.session}/a")


async def test_without_a_name_a_side_chain_is_never_meant_while_there_is_a_session(registry):
    assert await registry.resolve("", "/work") == MAIN
    assert await registry.resolve("") == SessionKey("codex", "77-other")


async def test_a_folder_below_a_project_means_its_session_and_no_other_folder_means_any(registry):
    assert await registry.resolve("", "/work/src/deep") == MAIN
    with pytest.raises(NotFound, match="no session belongs to /nowhere"):
        await registry.resolve("", "/nowhere")


async def test_a_session_that_no_change_has_written_yet_is_meant_by_no_name(registry):
    ghost = await registry.open(SessionRow(key=SessionKey("codex", "ghost")))

    with pytest.raises(NotFound):
        await registry.resolve("codex:ghost")

    async with ghost.transaction():
        pass
    assert await registry.resolve("codex:ghost") == ghost.key
