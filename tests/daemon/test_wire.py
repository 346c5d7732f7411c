"""`window.sync`: the window is what was sent, what is out stays out, and shadow touches nothing."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import Tombstone
from ctxgc.adapters.transcripts.segments_json import segment_fields
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.config import Config
from ctxgc.core.errors import BadParams
from ctxgc.core.segment import Status, content_digest
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import COUNTER, DaemonProcess, FaultyStash, bench_on
from tests.daemon.transcripts import Log
from tests.effort import effort

WIRE = WIRE_FORMATS["anthropic_messages"]
TASK = {"role": "user", "content": "find out why the ferry is late"}
SMALL_WINDOW = Config(pacer={"window_max_tokens": 6000})
BILLED_WINDOW = Config(pacer={"window_max_tokens": 40_000})
BILLED_LINES = 400


def turn(n, text=None, lines=80):
    """One call with its large result."""
    use = {"type": "tool_use", "id": f"call_{n}", "name": "look_up", "input": {"log": n}}
    result = {
        "type": "tool_result",
        "tool_use_id": f"call_{n}",
        "content": text or f"log {n}: wait for the tide\n" * lines,
    }
    return [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]


def conversation(turns, lines=80):
    return [TASK, *(message for n in range(turns) for message in turn(n, lines=lines))]


class Host:
    """A gateway reduced to its talk: parses each request, tells what is new, keeps what is in force."""

    def __init__(self, call, session="claude_code:s", **fixed):
        self.call, self.session, self.fixed = call, session, fixed
        self.known = set()
        self.evicted = {}

    async def send(self, messages, **more):
        """Forward one request with what is in force, then tell of it; its bytes as they went upstream."""
        request = json.dumps(messages).encode()
        window = WIRE.parse(request, "claude_code")
        self.sent = WIRE.splice(request, window, self.stones(window))
        news = [s for s in window.segments if s.id not in self.known]
        ids = [s.id for s in window.segments]
        bare = [s.id for s in window.segments if s.id not in window.spans]
        digests = [content_digest(s.skeleton, s.body).hex() for s in window.segments]
        params = {"session": self.session, "format": WIRE.name, "ids": ids, "digests": digests, "fixed": bare}
        params |= self.fixed | more
        self.reply = await self.call("window.sync", **{"new": [segment_fields(s) for s in news]} | params)
        if self.reply["unknown"] and "new" not in more:
            asked = [s for s in window.segments if s.id in self.reply["unknown"]]
            self.reply = await self.call("window.sync", **{"new": [segment_fields(s) for s in asked]} | params)
        self.known |= {s.id for s in news if s.status is not Status.PENDING}
        self.evicted = self.reply["evicted"]
        return self.reply

    def stones(self, window):
        return {id_: Tombstone(**said) for id_, said in self.evicted.items() if id_ in window.spans}


async def states(bench, session="claude_code:s"):
    listed = await bench.call("segment.list", session=session)
    return {one["id"]: one["state"] for one in listed["segments"]}


@pytest.fixture
async def bench():
    async with bench_on(SqliteStash(MEMORY), config=SMALL_WINDOW) as made:
        yield made


async def test_the_window_is_exactly_what_was_sent_in_its_order(bench):
    host = Host(bench.call)
    await host.send(conversation(4))
    await host.send([TASK, *turn(3), *turn(1)])

    listed = await bench.call("segment.list", session="claude_code:s", states=["resident", "evicted"])

    assert [one["id"] for one in listed["segments"]][1:] == ["call_3", "call_1"]
    assert (await states(bench))["call_0"] == "departed"


async def test_shadow_evicts_nothing_and_says_what_it_would_have_saved(bench):
    host = Host(bench.call)

    for turns in range(1, 25):
        await host.send(conversation(turns))

    log = (await bench.call("heap.log", session="claude_code:s"))["collections"]
    assert host.reply["mode"] == "shadow"
    assert set((await states(bench)).values()) == {"resident"}
    assert host.reply["evicted"] == {}
    assert {one["trigger"] for one in log} == {"shadow"}
    assert all(one["after_tokens"] < one["before_tokens"] for one in log)
    assert host.reply["window"]["freed_tokens"] == sum(one["before_tokens"] - one["after_tokens"] for one in log)


async def test_where_recall_cannot_run_a_tombstone_says_to_make_the_call_again_for_all_its_life_I14(tmp_path):
    async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
        host = Host(bench.call, mode="on", can_recall=False)
        for turns in range(1, 25):
            await host.send(conversation(turns))
        before = dict(host.evicted)
    async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
        host.call = bench.call
        await host.send(conversation(24))

    assert before == host.evicted
    assert {said["text"].partition("; ")[2] for said in before.values()} == {"get it back: make the call again]"}


async def test_the_journal_of_shadow_names_what_would_have_left_and_a_restart_does_not_evict_it(tmp_path):
    async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
        host = Host(bench.call)
        for turns in range(1, 25):
            await host.send(conversation(turns))
    async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
        log = (await bench.call("heap.log", session="claude_code:s"))["collections"]
        newest = (await bench.call("heap.log", session="claude_code:s", collection=log[0]["collection"]))["collections"]
        after = await states(bench)

    victims = newest[0]["victims"]
    assert all(one["evicted"] for one in log)
    assert log[0]["before_tokens"] - log[0]["after_tokens"] == sum(one["freed_tokens"] for one in victims)
    assert {after[one["id"]] for one in victims} == {"resident"}


async def test_in_shadow_it_would_have_collected_when_and_what_it_collects_when_it_is_on(bench):
    shadow, on = Host(bench.call, "claude_code:a"), Host(bench.call, "claude_code:b", mode="on")

    for turns in range(1, 25):
        await shadow.send(conversation(turns))
        await on.send(conversation(turns))
        keys = ("trigger", "evicted", "freed_tokens")
        plans = [{key: host.reply["plan"][key] for key in keys} for host in (shadow, on) if host.reply["plan"]]
        assert len(plans) in (0, 2)
        assert plans[:1] == plans[1:]

    assert shadow.reply["window"]["freed_tokens"] == on.reply["window"]["freed_tokens"] > 0


async def test_on_evicts_and_everything_that_left_is_recalled_as_it_was(bench):
    host = Host(bench.call, mode="on")

    for turns in range(1, 25):
        await host.send(conversation(turns))

    assert len(host.evicted) > 10
    assert host.reply["window"]["resident_tokens"] < 6000
    for id_ in host.evicted:
        back = await bench.call("stash.recall", session="claude_code:s", id=id_)
        assert back["recalled"][0]["pieces"][-1]["text"] == f"log {id_[5:]}: wait for the tide\n" * 80


async def test_i14_between_two_collections_what_is_sent_only_grows(bench):
    host = Host(bench.call, mode="on")
    before, rewrites, planned = b"[", 0, []

    for turns in range(1, 40):
        had = dict(host.evicted)
        await host.send(conversation(turns))
        rewrites += not host.sent.startswith(before[:-1])
        before = host.sent
        planned.append(bool(host.reply["plan"]))
        assert planned[-1] or host.evicted == had
        assert had.items() <= host.evicted.items()

    log = (await bench.call("heap.log", session="claude_code:s"))["collections"]
    assert sum(planned) == len(log)
    assert rewrites == sum(planned[:-1]) > 1  # What the last answer decided would be seen in a request after it.


async def test_telling_the_same_again_changes_nothing(bench):
    host = Host(bench.call, mode="on")
    for turns in range(1, 20):
        first = await host.send(conversation(turns), usage={"input_tokens": turns * 500})
    session, applied = bench.services.registry.awake_sessions[0], FaultyStash(bench.stash)
    session._stash = applied

    host.known = set()
    again = await host.send(conversation(19), usage={"input_tokens": 19 * 500})

    keys = ("evicted", "unknown", "window", "conflicts")
    assert {key: again[key] for key in keys} == {key: first[key] for key in keys}
    assert (again["plan"], applied.applied) == (None, 0)


async def test_a_request_told_of_is_not_collected_for_again_however_late_it_is_repeated(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(6))

    again = await host.send(conversation(6), is_cold=True)
    later = await host.send([*conversation(6), {"role": "user", "content": "and now?"}], is_cold=True)

    assert again["plan"] is None
    assert later["plan"]["evicted"] > 0


async def test_unknown_segments_are_asked_for_and_until_then_the_window_stays(bench):
    host = Host(bench.call)
    await host.send(conversation(2))
    before = await states(bench)

    reply = await host.send(conversation(4)[1:], new=[])

    assert reply["unknown"] == ["call_2", "call_3"]
    assert await states(bench) == before
    host.known -= {"call_2", "call_3"}
    assert (await host.send(conversation(4)[1:]))["unknown"] == []


async def test_segments_may_come_ahead_of_a_window_that_does_not_fit_one_line(bench):
    host = Host(bench.call)
    window = WIRE.parse(json.dumps(conversation(6)).encode(), "claude_code")
    ahead = [segment_fields(s) for s in window.segments[:4]]

    await bench.call("window.sync", session="claude_code:s", format=WIRE.name, new=ahead)
    host.known = {record["id"] for record in ahead}
    reply = await host.send(conversation(6))

    listed = (await bench.call("segment.list", session="claude_code:s"))["segments"]
    assert reply["unknown"] == []
    assert [one["id"] for one in listed] == [s.id for s in window.segments]
    assert [one["born_turn"] for one in listed] == [s.born_turn for s in window.segments]


async def test_a_pending_call_is_completed_by_the_next_request(bench):
    host = Host(bench.call)
    await host.send(conversation(3)[:-1])
    again = await host.send(conversation(3)[:-1])

    await host.send(conversation(3))

    assert again["unknown"] == []

    shown = await bench.call("segment.get", session="claude_code:s", id="call_2")
    assert shown["status"] == "ok"
    assert shown["pieces"][-1]["text"].startswith("log 2")


async def test_a_rewind_departs_and_a_return_brings_back_even_the_tombstone(bench):
    host = Host(bench.call, mode="on")
    for turns in range(1, 20):
        await host.send(conversation(turns))
    had = dict(host.evicted)

    await host.send([TASK, {"role": "user", "content": "no: begin again"}])
    rewound = (await bench.call("segment.get", session="claude_code:s", id="call_0"))["departure"]
    await bench.call("session.set", session="claude_code:s", window_max_tokens=10**6)
    await host.send(conversation(19))

    assert rewound == "rewound"
    assert (host.evicted, host.reply["plan"]) == (had, None)


async def test_a_hosts_own_summary_is_recognised_and_what_it_stands_for_stays_recallable(bench):
    host = Host(bench.call)
    await host.send(conversation(5))
    summary = "This session is being continued from a previous conversation that ran out of context. The tide it was."

    await host.send([{"role": "user", "content": summary}, *turn(9)])

    gone = await bench.call("segment.get", session="claude_code:s", id="call_2")
    assert (gone["state"], gone["departure"]) == ("departed", "host_compacted")
    assert (await bench.call("stash.recall", session="claude_code:s", id="call_2"))["recalled"]


async def test_after_a_hosts_summary_the_sessions_clock_goes_on(bench):
    host = Host(bench.call)
    await host.send(conversation(9))

    await host.send([{"role": "user", "content": "carry on"}, *turn(20), *turn(21)])

    born = {
        id_: (await bench.call("segment.get", session="claude_code:s", id=id_))["born_turn"]
        for id_ in ("call_8", "call_20", "call_21")
    }
    assert born == {"call_8": 8, "call_20": 9, "call_21": 10}


async def test_the_clock_goes_on_where_a_model_repeats_its_words_after_a_compaction(bench):
    def wordy(n):
        use, result = turn(n)
        return [use | {"content": [{"type": "text", "text": f"Now part {n % 10}."}, *use["content"]]}, result]

    host, summary = Host(bench.call), {"role": "user", "content": "carry on"}
    await host.send([TASK, *(message for n in range(9) for message in wordy(n))])

    before = set()
    for last in range(10, 16):
        messages = [summary, *(message for n in range(10, last + 1) for message in wordy(n))]
        segments = WIRE.parse(json.dumps(messages).encode(), "claude_code").segments
        # As the gateway does: every segment that the request before did not have.
        await host.send(messages, new=[segment_fields(one) for one in segments if one.id not in before])
        before = {segment.id for segment in segments}

    born = [
        (await bench.call("segment.get", session="claude_code:s", id=f"call_{n}"))["born_turn"] for n in range(10, 16)
    ]
    assert born == list(range(born[0], born[0] + 6))


async def test_i15_two_sessions_with_the_same_call_ids_share_nothing(bench):
    one, other = Host(bench.call, "claude_code:a"), Host(bench.call, "codex:a")
    await one.send([TASK, *turn(0, "the ferry " * 50)])
    await other.send([TASK, *turn(0, "the lighthouse " * 50)])

    texts = [
        (await bench.call("segment.get", session=name, id="call_0"))["pieces"][-1]["text"][:8]
        for name in ("claude_code:a", "codex:a")
    ]

    assert texts == ["the ferr", "the ligh"]


async def test_a_sub_agent_is_a_session_of_its_own_below_its_parent(bench):
    await Host(bench.call).send(conversation(2))

    await Host(bench.call, "claude_code:s/a1", parent="claude_code:s").send(conversation(1))

    shown = await bench.call("session.show", session="claude_code:s")
    assert shown["children"] == ["claude_code:s/a1"]
    assert shown["segments"] == 3


async def test_a_redacted_body_stays_in_the_window(bench):
    secret = "token ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2 + "\n"
    host = Host(bench.call, mode="on")

    for turns in range(1, 25):
        messages = conversation(turns)
        messages[2] = turn(0, secret + "log 0: wait for the tide\n" * 80)[1]
        await host.send(messages)

    assert (await bench.call("segment.get", session="claude_code:s", id="call_0"))["redactions"]
    assert "call_0" not in host.evicted
    assert "call_1" in host.evicted


async def test_a_body_that_another_feed_brought_redacted_stays_in_the_window_too(bench):
    text = "token ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2 + "\n" + "log 0: wait for the tide\n" * 80
    await bench.call("session.open", source="claude_code", session="s")
    seen = {"kind": "tool_call", "id": "call_0", "tool": "look_up", "input": {"log": 0}, "text": text}
    await bench.call("segment.add", session="claude_code:s", segment=seen)
    host = Host(bench.call, mode="on")
    host.known = {"call_0"}

    for turns in range(1, 25):
        await host.send([TASK, *turn(0, text), *conversation(turns)[3:]])
        assert "call_0" not in host.evicted

    assert "call_1" in host.evicted


async def test_what_another_hand_edits_does_not_leave_and_what_is_out_stays_out(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(16))
    before = {id_ for id_, state in (await states(bench)).items() if state == "evicted"}
    messages = conversation(30)

    reply = await host.send(messages, held=[s.id for s in WIRE.parse(json.dumps(messages).encode()).segments])
    held = {id_ for id_, state in (await states(bench)).items() if state == "evicted"}
    reply_later = await host.send(conversation(31))

    assert before
    assert before == held == set(reply["evicted"])
    assert before < set(reply_later["evicted"])


async def test_what_was_evicted_and_cannot_be_edited_now_is_back_in_the_window(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(5))
    await bench.call("segment.evict", session="claude_code:s", ids=["call_0", "call_1"])

    reply = await host.send(conversation(6), fixed=["call_0"])

    assert set(reply["evicted"]) == {"call_1"}
    assert (await states(bench))["call_0"] == "resident"


async def test_in_shadow_what_was_evicted_by_hand_is_still_in_what_was_sent(bench):
    host = Host(bench.call)
    await host.send(conversation(5))
    await bench.call("segment.evict", session="claude_code:s", ids=["call_0"])

    reply = await host.send(conversation(6))

    sent = bench.services.registry.awake_sessions[0].ledger.last_request
    assert reply["evicted"] == {}
    assert sent.tokens == sent.full_tokens


async def test_in_shadow_what_was_evicted_by_hand_stays_so_although_its_request_cannot_be_edited_there(bench):
    host = Host(bench.call)
    await host.send(conversation(5))
    await bench.call("segment.evict", session="claude_code:s", ids=["call_0"])

    await host.send(conversation(6), fixed=["call_0"])

    assert (await states(bench))["call_0"] == "evicted"


async def test_what_the_wire_cannot_edit_is_not_counted_as_what_could_go(bench):
    thought = {"type": "thinking", "thinking": "hm " * 300, "signature": "sig"}
    use = {"type": "tool_use", "id": "w", "name": "Write", "input": {"path": "/a", "content": "tide\n" * 300}}
    messages = [TASK, {"role": "assistant", "content": [thought, use]}, turn(0)[1]]
    messages[2]["content"][0]["tool_use_id"] = "w"
    window = WIRE.parse(json.dumps(messages).encode(), "claude_code")
    new = [segment_fields(s) for s in window.segments]
    new[1]["fixed"], new[2]["fixed"] = ["thinking"], ["input.content"]

    host = Host(bench.call)
    await host.send(messages, new=new)

    rows = {one["kind"]: one for one in (await bench.call("segment.list", session="claude_code:s"))["segments"]}
    assert rows["thinking"]["has_opaque"]
    assert 400 < rows["tool_call"]["body_tokens"] < 800 < rows["tool_call"]["tokens"]


async def test_what_a_first_request_says_cannot_be_edited_is_in_no_collection_of_that_request(bench):
    host, messages = Host(bench.call, mode="on"), conversation(20)
    ids = [segment.id for segment in WIRE.parse(json.dumps(messages).encode()).segments]

    reply = await host.send(messages, fixed=ids, is_cold=True)
    other = await Host(bench.call, session="claude_code:other", mode="on").send(messages, is_cold=True)

    assert reply["evicted"] == {}
    assert other["evicted"] != {}


async def test_a_call_id_that_now_stands_for_another_result_is_named_and_never_evicted(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(4))
    host.known.discard("call_0")

    reply = await host.send([TASK, *turn(0, "another log altogether\n" * 90)])

    assert reply["conflicts"] == ["call_0"]
    for turns in range(2, 25):
        await host.send([TASK, *turn(0, "another log altogether\n" * 90), *conversation(turns)[3:]])
    assert "call_0" not in host.evicted
    assert host.evicted


async def test_a_conflict_that_is_told_ahead_of_its_window_is_never_evicted_either(bench):
    host, other = Host(bench.call, mode="on"), "another log altogether\n" * 90
    await host.send(conversation(4))
    window = WIRE.parse(json.dumps([TASK, *turn(0, other)]).encode(), "claude_code")
    ahead = [segment_fields(one) for one in window.segments if one.id == "call_0"]

    await bench.call("window.sync", session=host.session, format=WIRE.name, new=ahead)

    for turns in range(2, 25):
        await host.send([TASK, *turn(0, other), *conversation(turns)[3:]])
    assert "call_0" not in host.evicted
    assert host.evicted


def shell(n, command, text):
    """One call of the shell."""
    use = {"type": "tool_use", "id": f"call_{n}", "name": "Bash", "input": {"command": command}}
    result = {"type": "tool_result", "tool_use_id": f"call_{n}", "content": text}
    return [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]


async def recalled_by_hand(host, is_told):
    """A conversation of which a body is out, is recalled through the shell, and goes on."""
    for turns in range(1, 25):
        await host.send(conversation(turns))
    id_, said = next(iter(host.evicted.items()))
    command = said["text"].partition("get it back: ")[2].rstrip("]")
    if is_told:
        await host.call("stash.recall", session=host.session, id=id_)
    text = f"log {id_[5:]}: wait for the tide\n" * 80
    messages = [*conversation(24), *shell(24, command, text)]
    await host.send(messages)
    return id_, command, messages


@pytest.mark.parametrize("is_told", [True, False], ids=["the daemon answered", "another did"])
async def test_a_recall_through_the_shell_is_a_page_fault_of_what_it_brought_back(bench, is_told):
    host = Host(bench.call, mode="on")
    id_, _, _ = await recalled_by_hand(host, is_told)

    shown = await bench.call("session.show", session=host.session)
    row = await bench.call("segment.get", session=host.session, id=id_)

    assert shown["faults"] == 1
    assert row["touches"] == 1


async def test_what_was_recalled_through_the_shell_is_kept_for_a_while_and_then_named_by_its_original(tmp_path):
    config = Config(pacer={"window_max_tokens": 6000}, collect={"recent_turns": 1, "recall_grace_turns": 6})
    stayed = []
    async with bench_on(SqliteStash(tmp_path / "state"), config=config) as bench:
        host = Host(bench.call, mode="on")
        _, command, messages = await recalled_by_hand(host, is_told=True)
    async with bench_on(SqliteStash(tmp_path / "state"), config=config) as bench:
        host.call = bench.call
        for turns in range(25, 45):
            messages += turn(turns)
            await host.send(messages)
            stayed.append("call_24" not in host.evicted)

    assert stayed[:6] == [True] * 6
    assert not stayed[-1]
    assert host.evicted["call_24"]["text"].endswith(f"get it back: {command}]")


OTHER = "another log altogether\n" * 90


def used_again(turns):
    """A conversation whose host gave the id of its first call to another result."""
    return [TASK, *turn(0, OTHER), *conversation(turns)[3:]]


async def test_a_daemon_that_was_restarted_evicts_nothing_that_it_does_not_have(tmp_path):
    host = Host(None, mode="on")
    for turns in (6, 30):
        async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
            host.call = bench.call
            await host.send(conversation(2) if turns == 6 else used_again(6))
            host.known.discard("call_0")  # The host has just changed it, or the gateway was restarted too.
            for upto in range(turns - 3, turns + 1):
                reply = await host.send(used_again(upto))

                assert reply["conflicts"] == ["call_0"]
                assert "call_0" not in host.evicted

    assert host.evicted


async def test_a_daemon_asks_for_no_content_that_it_has_however_often_it_is_restarted(tmp_path):
    for known in ((), ("call_0", "call_1"), ("call_0", "call_1")):
        async with bench_on(SqliteStash(tmp_path / "state"), config=SMALL_WINDOW) as bench:
            host = Host(bench.call, mode="on")
            host.known = set(known)
            reply = await host.send([*turn(0), *turn(1)], **({"new": []} if known else {}))

            assert (reply["unknown"], reply["conflicts"]) == ([], [])


async def test_another_call_under_a_used_id_is_not_taken_for_the_first_because_it_ended_alike(bench):
    def written(text):
        use = {"type": "tool_use", "id": "call_0", "name": "Write", "input": {"file_path": "/a", "content": text}}
        result = {"type": "tool_result", "tool_use_id": "call_0", "content": "written"}
        return [TASK, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]

    host = Host(bench.call, mode="on")
    await host.send([*written("one line\n" * 300), *turn(1)])
    for turns in range(2, 25):
        reply = await host.send([*written("another line\n" * 300), *conversation(turns)[3:]])

    assert reply["conflicts"] == ["call_0"]
    assert host.evicted
    assert "call_0" not in host.evicted


async def test_a_host_that_changes_a_result_back_has_it_collected_like_any_other(bench):
    host = Host(bench.call, mode="on")
    await host.send(conversation(2))
    assert (await host.send(used_again(2)))["conflicts"] == ["call_0"]

    for turns in range(2, 25):
        reply = await host.send(conversation(turns))

    assert reply["conflicts"] == []
    assert "call_0" in host.evicted


async def test_digests_stand_one_for_each_id(bench):
    with pytest.raises(BadParams):
        await Host(bench.call).send(conversation(2), digests=["00"])


async def test_a_mode_set_live_holds_for_the_next_request_and_off_lets_everything_be(bench):
    host = Host(bench.call)
    for turns in range(1, 20):
        await host.send(conversation(turns))

    await bench.call("session.set", session="claude_code:s", rendered_by="gateway")
    await host.send(conversation(20))
    is_on = host.reply["mode"], bool(host.evicted)
    off = await host.send(conversation(21), mode="off")

    assert is_on == ("on", True)
    assert (off["mode"], off["evicted"]) == ("off", {})


@pytest.fixture
def its_log(tmp_path):
    """A transcript of the session that knows more than its requests."""
    said = [TASK, {"role": "user", "content": "only the log has this"}]
    lines = [
        {"type": "user", "uuid": f"u{n}", "parentUuid": f"u{n - 1}" if n else None, "sessionId": "s", "message": one}
        for n, one in enumerate(said)
    ]
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


async def test_a_transcript_of_the_same_session_adds_nothing_to_a_window_that_the_wire_tells(bench, its_log):
    host = Host(bench.call)
    await host.send(conversation(2))
    before = await states(bench)

    reply = await bench.call("import", paths=[its_log])

    assert [one["session"] for one in reply["sessions"]] == ["claude_code:s"]
    assert await states(bench) == before


async def test_a_transcript_takes_nothing_out_of_a_window_that_the_wire_tells(bench, tmp_path):
    host, path, log = Host(bench.call), tmp_path / "s.jsonl", Log("s")
    await host.send(conversation(2))
    before = await states(bench)
    log.user(TASK["content"])
    path.write_bytes(log.compacts().data)

    await bench.call("import", paths=[str(path)])

    assert await states(bench) == before


async def test_a_session_that_the_gateway_only_passes_on_is_followed_by_its_transcript_until_it_is_told_again(
    bench, its_log
):
    host = Host(bench.call, mode="on")
    await host.send(conversation(2))
    before = await states(bench)
    await bench.call("window.sync", session="claude_code:s", format=WIRE.name, mode="off")

    await bench.call("import", paths=[its_log])
    off = await states(bench)
    await host.send(conversation(3))

    new = off.keys() - before.keys()
    assert len(new) == 1
    assert [(await states(bench))[id_] for id_ in new] == ["departed"]


# The bill


class Provider:
    """Bills what it is sent as a prompt cache would: what it has seen as a prefix is read, the rest is written."""

    def __init__(self, ratio):
        self.ratio, self.seen, self.hidden_tokens = ratio, b"", 4000

    def bill(self, request):
        same = next((at for at, (a, b) in enumerate(zip(request, self.seen, strict=False)) if a != b), None)
        read = self.tokens(request[: min(len(request), len(self.seen)) if same is None else same])
        is_first, self.seen = not self.seen, request
        hidden = {"cache_creation_tokens" if is_first else "cache_read_tokens": self.hidden_tokens}
        parts = {"cache_read_tokens": read, "cache_creation_tokens": self.tokens(request) - read}
        return {key: count + hidden.get(key, 0) for key, count in parts.items()}

    def tokens(self, data):
        return round(COUNTER.count(data.replace(b"\\n", b"\n")) * self.ratio)


async def talk(host, provider, turns, start=1, **more):
    """Requests of a growing conversation, each with the bill of the one before."""
    usage = None
    for count in range(start, turns):
        await host.send(conversation(count, BILLED_LINES), usage=usage, **more)
        usage = provider.bill(host.sent)


async def journal(bench, session="claude_code:s"):
    return (await bench.call("heap.log", session=session))["collections"]


@pytest.fixture
async def billed():
    async with bench_on(SqliteStash(MEMORY), config=BILLED_WINDOW) as made:
        yield made


@pytest.mark.slow
async def test_a_bill_teaches_the_models_tokens_the_hidden_prefix_and_the_hit_rate(billed):
    host = Host(billed.call)

    await talk(host, Provider(1.4), 20)

    shown = await billed.call("session.show", session="claude_code:s")
    assert shown["ratio"] == pytest.approx(1.4, rel=0.04)
    assert shown["hidden_tokens"] == pytest.approx(4000, rel=0.4)
    assert host.reply["window"]["cache_hit_rate"] > 0.8


@pytest.mark.slow
async def test_the_journal_carries_what_was_predicted_and_what_the_next_bill_showed(billed):
    host = Host(billed.call, mode="on")

    await talk(host, Provider(1.4), 45)

    log = await journal(billed)
    priced = [(one["predicted_cost"], one["actual_cost"]) for one in log if one["actual_cost"] is not None]
    assert len(priced) >= len(log) - 2 > 0
    for predicted, actual in priced:
        assert actual == pytest.approx(predicted, rel=0.15)


@pytest.mark.slow
async def test_a_collection_that_never_reached_the_wire_is_billed_as_one_that_saved_nothing(billed):
    host, provider, usage = Host(billed.call, mode="on"), Provider(1.4), None

    for turns in range(1, 30):
        host.evicted = {}
        await host.send(conversation(turns, BILLED_LINES), usage=usage)
        usage = provider.bill(host.sent)

    oldest = (await journal(billed))[-1]
    assert oldest["predicted_cost"] < -5000
    assert abs(oldest["actual_cost"]) < 1500


async def test_what_the_gateway_says_it_edited_is_what_the_bill_is_held_against(billed):
    host, provider, usage = Host(billed.call, mode="on"), Provider(1.4), None

    for turns in range(1, 30):
        host.evicted = {}
        await host.send(conversation(turns, BILLED_LINES), usage=usage, edited=[])
        usage = provider.bill(host.sent)

    shown = await billed.call("session.show", session="claude_code:s")
    assert shown["ratio"] == pytest.approx(1.4, rel=0.04)
    assert {one["actual_cost"] for one in await journal(billed)} == {None}


async def test_a_cold_cache_is_collected_without_a_rewrite_and_the_request_that_waits_has_it(billed):
    host = Host(billed.call, mode="on")
    await talk(host, Provider(1.0), 7)
    untouched = dict(host.evicted)

    reply = await host.send(conversation(7, BILLED_LINES), is_cold=True)

    assert untouched == {}
    assert (reply["plan"]["trigger"], reply["plan"]["cache_rewrite_tokens"]) == ("value", 0)
    assert host.evicted
    sent = billed.services.registry.awake_sessions[0].ledger.last_request
    assert sent.full_tokens - sent.tokens == reply["plan"]["freed_tokens"]


@pytest.mark.slow
async def test_the_profile_told_decides_what_a_collection_costs(billed):
    costs = []
    for profile in ("cache_5m", "uncached"):
        host = Host(billed.call, f"claude_code:{profile}", mode="on", profile=profile)
        await talk(host, Provider(1.0), 25)
        last = (await journal(billed, host.session))[-1]
        costs.append(last["predicted_cost"] / (last["before_tokens"] - last["after_tokens"]))

    assert costs[1] < 4 * costs[0] < 0, "by freed token"


# Whatever a host does


STEPS = st.lists(
    st.tuples(st.just("grow"), st.integers(1, 6))
    | st.tuples(st.just("rewind"), st.integers(1, 12))
    | st.tuples(st.sampled_from(["summarise", "resume", "on", "shadow", "cold"]), st.just(0)),
    min_size=4,
    max_size=14,
)


def stepped(messages, past, step, turns, number):
    """The host's list after a step."""
    if step == "grow":
        first = sum(message["role"] == "assistant" for message in past) + number * 100
        return [*messages, *(message for n in range(turns) for message in turn(first + n))]
    if step == "rewind":
        return [*messages[: max(1, len(messages) - 2 * turns)], {"role": "user", "content": f"again {number}"}]
    if step == "summarise":
        words = f"This session is being continued from a previous conversation that ran out of context: {number}"
        return [{"role": "user", "content": words}, *messages[-2:]]
    return past if step == "resume" else messages


@given(STEPS)
@effort(12)
def test_whatever_a_host_does_the_window_is_its_list_and_what_is_out_stays_out(steps):
    async def live():
        async with bench_on(SqliteStash(MEMORY), config=SMALL_WINDOW) as bench:
            host, messages, past, mode, had = Host(bench.call), [TASK], [TASK], None, {}
            for number, (step, turns) in enumerate([("on", 0), ("grow", 9), *steps]):
                mode = step if step in ("on", "shadow") else mode
                past, messages = messages, stepped(messages, past, step, turns, number)
                reply = await host.send(messages, mode=mode, is_cold=step == "cold")
                window = WIRE.parse(json.dumps(messages).encode(), "claude_code")
                ids = [s.id for s in window.segments]
                # A call whose result the host took back cannot be edited, and then stays as it is.
                had = {id_: said for id_, said in had.items() if id_ not in ids or id_ in window.spans}
                heap = bench.services.registry.awake_sessions[0].heap
                heap.check_invariants()
                assert [heap.ids[slot] for slot in heap.window()] == ids
                assert set(host.evicted) <= set(ids)
                if mode == "on":
                    assert {id_: said for id_, said in had.items() if id_ in ids}.items() <= host.evicted.items()
                    had |= host.evicted
                else:
                    assert reply["evicted"] == {}

    asyncio.run(live())


# What outlives the daemon


async def test_after_a_restart_the_tombstones_are_the_same(tmp_path):
    path, told = tmp_path / "state" / "stash.sqlite3", {}
    for turns in (24, 25):
        async with bench_on(SqliteStash(path, reserve_bytes=0), config=SMALL_WINDOW) as bench:
            host = Host(bench.call, mode="on")
            for count in range(1, turns + 1) if turns == 24 else (24,):
                host.known |= set(told)
                await host.send(conversation(count))
            told[turns] = host.evicted

    assert told[24] == told[25] != {}


async def test_what_was_out_when_the_host_rewound_is_out_when_it_returns_after_a_restart(tmp_path):
    path = tmp_path / "state" / "stash.sqlite3"
    async with bench_on(SqliteStash(path, reserve_bytes=0), config=SMALL_WINDOW) as bench:
        host = Host(bench.call, mode="on")
        for turns in range(1, 21):
            await host.send(conversation(turns))
        had = dict(host.evicted)
        await host.send([TASK])

    # The pacer has no reason of its own to take anything out.
    async with bench_on(
        SqliteStash(path, reserve_bytes=0), config=Config(pacer={"fault_price_tokens": 10**9})
    ) as bench:
        host.call = bench.call
        await host.send(conversation(20))

    assert (host.evicted, host.reply["plan"]) == (had, None)


@pytest.mark.slow
async def test_killed_and_started_again_the_daemon_knows_the_window_and_gives_the_same_tombstones():
    # Under its limit the pacer has no reason of its own to take anything out.
    daemon = DaemonProcess(CTXGC_PACER__WINDOW_MAX_TOKENS="6000", CTXGC_PACER__FAULT_PRICE_TOKENS="1000000000")
    try:
        daemon.start()

        async def call(verb, **params):
            return daemon.call(verb, **params)

        host = Host(call, mode="on")
        for turns in range(1, 21):
            await host.send(conversation(turns))
        had, before = dict(host.evicted), host.reply["window"]["resident_tokens"]

        daemon.kill()
        daemon.start()
        reply = await host.send(conversation(20))

        assert reply["unknown"] == []
        assert reply["evicted"] == had != {}
        assert reply["window"]["resident_tokens"] == before
    finally:
        daemon.close()


# Limits


async def shown_limit(bench):
    return (await bench.call("session.show", session="claude_code:s"))["next_collection"]["limit_tokens"]


async def test_the_limit_of_a_run_holds_the_window_and_a_sessions_own_limit_comes_before_it():
    dear_faults = {"window_max_tokens": 90_000, "fault_price_tokens": 10_000_000}  # Nothing leaves for its value.
    async with bench_on(SqliteStash(MEMORY), config=Config(pacer=dear_faults)) as bench:
        host = Host(bench.call, mode="on", window_max_tokens=9000)
        for turns in range(1, 40):
            await host.send(conversation(turns))
            assert host.reply["window"]["billed_tokens"] < 9000 * 1.1
        triggers = {one["trigger"] for one in (await bench.call("heap.log", session="claude_code:s"))["collections"]}

        assert "hard_limit" in triggers
        assert await shown_limit(bench) == 9000
        for own, in_force in ((20_000, 20_000), (2**40, 0), (0, 9000)):
            await bench.call("session.set", session="claude_code:s", window_max_tokens=own)
            assert await shown_limit(bench) == in_force


async def test_a_run_without_a_limit_has_the_configured_one(bench):
    host = Host(bench.call, window_max_tokens=9000)
    await host.send(conversation(2))
    await Host(bench.call).send(conversation(3))

    assert await shown_limit(bench) == 6000


def marked(ids, *places):
    """How a cache sees a request of one block for each segment, with marks behind these segments."""
    marks = [{"segments": place, "life_s": 300.0} for place in places]
    return {"settings": ["a", "b"], "blocks": [1] * ids, "marks": marks}


async def test_a_request_whose_edits_came_with_the_next_sync_is_noted_as_if_its_own_sync_had_carried_them(bench):
    ids = [segment.id for segment in WIRE.parse(json.dumps(conversation(3)).encode(), "claude_code").segments]
    early, late = Host(bench.call, "claude_code:early"), Host(bench.call, "claude_code:late")
    longer = {"model": "claude-sonnet-4-5", "cache": marked(len(ids) + len(turn(3)) - 1, 1)}
    shorter = {"model": "claude-sonnet-4-5", "mode": "on"}

    await early.send(conversation(3, BILLED_LINES), **shorter, edited=["call_0"], cache=marked(len(ids), 3, len(ids)))
    await early.send(conversation(4, BILLED_LINES), **longer)
    await late.send(conversation(3, BILLED_LINES), **shorter, cache=marked(len(ids), len(ids)))
    before = {session.key.session: session.ledger.last_request for session in bench.services.registry.awake_sessions}
    was_sent = {"edited": ["call_0"], "marks": marked(0, 3, len(ids))["marks"]}
    await late.send(conversation(4, BILLED_LINES), **longer, was_sent=was_sent)

    first, second = (session.ledger.provider.entries for session in bench.services.registry.awake_sessions)
    assert before["early"] != before["late"]
    assert len(first) == 2
    assert first.keys() == second.keys()
