"""Forgetting a session as a whole: nothing that was said in it or of it is left, and nothing brings it back."""

import json

from ctxgc.core.segment import SessionKey
from ctxgc.daemon.sessions.pacing_state import decode_pacing, encode_pacing
from ctxgc.daemon.sessions.request_ledger import RequestLedger
from ctxgc.stash.contract import FORGOTTEN_OF_SESSION
from tests.daemon.transcripts import worked
from tests.stash.samples import erase_now
from tests.stash.test_sqlite import NEEDLES, needles_on_disk

TITLE, TASK, PROJECT = NEEDLES[:3]


async def listed(bench):
    return json.dumps((await bench.call("session.list"))["sessions"])


async def test_after_forgetting_a_session_its_title_task_and_project_are_in_no_reply_and_no_file(kept_bench, tmp_path):
    said = {"title": TITLE, "task": TASK, "project": f"/home/{PROJECT}"}
    await kept_bench.call("session.open", session="s", op_id="opened", **said)
    await kept_bench.call("segment.add", session="s", segment={"kind": "user", "text": NEEDLES[3]})

    await kept_bench.call("stash.forget", session="s", whole_session=True)
    await erase_now(kept_bench.stash)

    assert needles_on_disk(tmp_path) == []
    assert "needle" not in await listed(kept_bench)


async def test_a_session_forgotten_whole_keeps_no_text_of_its_row_nor_on_the_next_request(kept_bench, tmp_path):
    facts = {"parent": NEEDLES[0], "parent_segment": NEEDLES[1], "model": NEEDLES[2]}
    sent = {"ids": ["a"], "session": "claude_code:s", "mode": "on", "format": "anthropic_messages"}
    segment = {"id": "a", "kind": "user", "role": "user", "text": "hello"}
    key = SessionKey("claude_code", "s")
    await kept_bench.call("window.sync", **sent, **facts, new=[segment])
    session = await kept_bench.services.registry.get(key)
    async with session.transaction() as tx:
        session.set_row_fields(tx, pacing=f'{{"x":"{NEEDLES[3]}"}}')

    await kept_bench.call("stash.forget", session=str(key), whole_session=True)
    await erase_now(kept_bench.stash)

    row = await kept_bench.stash.session(key)
    assert [getattr(row, name) for name in FORGOTTEN_OF_SESSION] == [""] * len(FORGOTTEN_OF_SESSION)
    assert needles_on_disk(tmp_path) == []

    await kept_bench.call("window.sync", **sent, **facts)

    row = await kept_bench.stash.session(key)
    assert (row.project, row.parent, row.parent_segment) == ("", "", "")


async def test_a_session_of_which_only_a_title_is_known_is_forgotten_too(kept_bench, tmp_path):
    await kept_bench.call("session.open", session="s", title=TITLE)

    forgotten = await kept_bench.call("stash.forget", session="s", whole_session=True)
    await erase_now(kept_bench.stash)

    assert forgotten["erasures_pending"] == 1
    assert needles_on_disk(tmp_path) == []


async def test_importing_the_transcript_again_brings_nothing_back(kept_bench, tmp_path):
    log = worked(4)
    log.record("ai-title", aiTitle=TITLE)
    path = tmp_path / "a1.jsonl"
    path.write_bytes(log.data)
    await kept_bench.call("import", paths=[str(path)])
    assert TITLE in await listed(kept_bench)
    await kept_bench.call("stash.forget", session="claude_code:a1", whole_session=True)
    path.write_bytes(log.works(1).data)

    await kept_bench.call("import", paths=[str(path)])

    [session] = (await kept_bench.call("session.list"))["sessions"]
    assert (session["title"], session["project"]) == ("", "")


async def test_what_was_forgotten_already_is_said_to_be_and_no_erasure_is_claimed_for_it(kept_bench):
    await kept_bench.call("session.open", session="s")
    for name in ("a", "b", "c"):
        await kept_bench.call("segment.add", session="s", segment={"kind": "user", "text": name * 9, "id": name})

    first = await kept_bench.call("stash.forget", session="s", ids=["a"])
    again = await kept_bench.call("stash.forget", session="s", ids=["a"])
    mixed = await kept_bench.call("stash.forget", session="s", ids=["a", "b"])
    whole = await kept_bench.call("stash.forget", session="s", whole_session=True)
    whole_again = await kept_bench.call("stash.forget", session="s", whole_session=True)

    assert first["changed"].startswith("1 segment gone from every query")
    assert "erases the bytes" in first["changed"]
    assert again["changed"] == "nothing changed: forgotten already"
    assert mixed["changed"].startswith("1 segment gone from every query")
    assert mixed["changed"].endswith("; 1 was forgotten already")
    assert whole["changed"].startswith("the session is gone from every query, its 1 segment with it")
    assert whole_again["changed"] == "nothing changed: forgotten already"
    assert [reply["erasures_pending"] for reply in (first, again, mixed, whole, whole_again)] == [1, 0, 1, 2, 0]


async def test_the_tool_of_a_forgotten_segment_is_in_no_lesson_of_the_row(bench):
    await bench.call("session.open", session="s")
    call = {"id": "c", "kind": "tool_call", "tool": TITLE, "input": {"q": "x"}, "text": "the tide\n" * 80}
    await bench.call("segment.add", session="s", segment=call)
    await bench.call("segment.evict", session="s", ids=["c"])
    await bench.call("stash.recall", session="s", id="c")
    known = await bench.services.registry.get(SessionKey("client", "s"))
    async with known.transaction() as tx:  # As a request through the gateway does.
        known.set_row_fields(tx, pacing=encode_pacing(RequestLedger(), known.account))
    before = (await bench.stash.session(known.key)).pacing

    await bench.call("stash.forget", session="s", ids=["c"])

    after = (await bench.stash.session(known.key)).pacing
    assert TITLE in before
    assert TITLE not in after
    assert decode_pacing(after)[1].lessons.session == decode_pacing(before)[1].lessons.session
