"""Results at entry: what the window shows already goes up as a pointer, and following pointers gives every byte."""

import json
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.contract import ElidedResult, Tombstone
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.skeletons import result_texts
from ctxgc.adapters.transcripts.segments_json import segment_fields
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.config import Config
from ctxgc.core.entry.elisions import Elision, ShownLines, elided_texts, restore_elided_text
from ctxgc.core.errors import BadParams
from ctxgc.core.segment import Kind, SessionKey, content_digest
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_on
from tests.effort import effort

WIRE = WIRE_FORMATS["anthropic_messages"]
TASK = {"role": "user", "content": "find out why the ferry is late"}
SESSION = "claude_code:s"
ROOMY = Config()
SMALL_WINDOW = Config(pacer={"window_max_tokens": 5000})


def file_text(name, first=0, lines=60, edited=()):
    """Lines of a file as `cat -n` shows them; `edited` names lines that an edit has changed."""
    written = (
        f"    {name}_{n} = wait_for_tide({n * 37}, 'quay {name}'){'  # later' * (n in edited)}" for n in range(200)
    )
    return "\n".join(f"{n + 1:>6}\t{line}" for n, line in list(enumerate(written))[first : first + lines])


def turn(n, text, tool="Read", **inputs):
    use = {"type": "tool_use", "id": f"call_{n}", "name": tool, "input": inputs or {"file_path": "/w/tide.py"}}
    result = {"type": "tool_result", "tool_use_id": f"call_{n}", "content": text}
    return [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]


def conversation(*texts):
    return [TASK, *(message for n, text in enumerate(texts) for message in turn(n, text))]


class EnteringHost:
    """A gateway reduced to its talk: asks at entry, sends, and then tells what was sent."""

    def __init__(self, call, **fixed):
        self.call, self.fixed = call, {"mode": "on"} | fixed
        self.known, self.evicted, self.elided, self.elisions = set(), {}, {}, {}
        self.requests = []

    async def send(self, messages, **more):
        """Forward a request as edited; the edited list."""
        request = json.dumps(messages).encode()
        window = WIRE.parse(request, "claude_code")
        segments = add_facts(window.segments, "", {one.id for one in window.segments})
        calls = [one for one in segments if one.kind is Kind.TOOL_CALL]
        new = [one for one in calls if one.id not in self.known]
        entering = [one for one in new if one.born_turn == calls[-1].born_turn and window.can_elide(one)]
        older = [one.id for one in calls if one not in entering]
        if self.known and entering:
            asked = {"session": SESSION, "new": [segment_fields(one) for one in entering]}
            reply = await self.call("window.enter", **asked | ({"after": older[-1]} if older else {}))
            self.elisions |= reply["elisions"]
            self.elided |= {id_: [[e[0], e[1], e[6]] for e in runs] for id_, runs in reply["elisions"].items()}
        self.requests.append(json.loads(WIRE.splice(request, window, self.stand_ins(segments))))
        ids = [one.id for one in segments]
        digests = [content_digest(one.skeleton, one.body).hex() for one in segments]
        fixed = [one.id for one in segments if one.id not in window.spans]
        records = [
            segment_fields(one) | ({"elisions": self.elisions[one.id]} if one.id in self.elisions else {})
            for one in segments
            if one.id not in self.known
        ]
        params = {"session": SESSION, "format": WIRE.name, "ids": ids, "digests": digests, "fixed": fixed}
        self.reply = await self.call("window.sync", **params | {"new": records} | self.fixed | more)
        assert not self.reply["unknown"]
        self.known |= set(ids)
        self.evicted, self.elided = self.reply["evicted"], self.reply.get("elided") or {}
        return self.requests[-1]

    def stand_ins(self, segments):
        put = {one.id: Tombstone(**self.evicted[one.id]) for one in segments if one.id in self.evicted}
        for one in segments:
            if one.id in self.elided and one.id not in put:
                runs = [ShownLines(*run) for run in self.elided[one.id]]
                put[one.id] = ElidedResult(elided_texts(result_texts(one), runs))
        return put


def results_of(messages):
    blocks = (block for message in messages if isinstance(message["content"], list) for block in message["content"])
    return {block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"}


def assert_all_is_there(host, sent, own):
    """Each result is whole, a tombstone, or gives the host's bytes back when its pointers are followed."""
    sent, own = results_of(sent), results_of(own)
    for id_, text in sent.items():
        if text == own[id_] or text.startswith("[evicted by ctxgc:"):
            continue
        elisions = [Elision(*one) for one in host.elisions[id_] if one[6] in text.split("\n")]
        tombstones = [line for line in text.split("\n") if line.startswith("[evicted by ctxgc: lines")]
        assert len(elisions) + len(tombstones) == len(host.elisions[id_])
        for elision in elisions:
            target = sent[elision.target].split("\n")
            mine = own[elision.target].split("\n")[elision.target_first :][: elision.lines]
            assert any(target[at : at + len(mine)] == mine for at in range(len(target))), "points at nothing"
        if not tombstones:
            assert restore_elided_text(text, elisions, own) == own[id_]


@pytest.fixture
async def bench():
    async with bench_on(SqliteStash(MEMORY), config=ROOMY) as made:
        yield made


async def test_a_read_of_the_same_lines_enters_as_one_pointer_to_the_first_read(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("a")))
    await host.send(conversation(file_text("a"), file_text("b")))

    sent = await host.send(conversation(file_text("a"), file_text("b"), file_text("a")))

    assert results_of(sent)["call_2"] == "[ctxgc: lines 1-60 unchanged, see Read /w/tide.py, 2 calls above]"
    assert results_of(sent)["call_1"] == file_text("b")


async def test_only_the_lines_that_an_edit_changed_are_sent_again(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("a")))

    sent = await host.send(conversation(file_text("a"), file_text("a", edited=[30])))

    first, changed, last = results_of(sent)["call_1"].split("\n")
    assert first == "[ctxgc: lines 1-30 unchanged, see Read /w/tide.py, the call above]"
    assert "# later" in changed
    assert last == "[ctxgc: lines 32-60 unchanged, see Read /w/tide.py, the call above]"


async def test_lines_that_moved_in_their_file_are_found_under_their_new_numbers(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("a", 0, 100)))
    moved = "\n".join(
        f"{n:>6}\t{line.partition(chr(9))[2]}" for n, line in enumerate(file_text("a", 40, 50).split("\n"), 48)
    )

    own = conversation(file_text("a", 0, 100), moved)
    sent = await host.send(own)

    assert (
        results_of(sent)["call_1"]
        == "[ctxgc: lines 48-97 unchanged, see lines 41-90 of Read /w/tide.py, the call above]"
    )
    assert_all_is_there(host, sent, own)


async def test_what_was_sent_stays_as_it_was_sent_while_nothing_is_collected(bench):
    host = EnteringHost(bench.call)
    texts = [file_text("ab"[n % 2], n % 3 * 5) for n in range(8)]

    for turns in range(1, len(texts) + 1):
        await host.send(conversation(*texts[:turns]))

    for before, after in zip(host.requests, host.requests[1:], strict=False):
        assert after[: len(before)] == before
    assert len(json.dumps(host.requests[-1])) < len(json.dumps(conversation(*texts))) / 2


async def test_a_daemon_that_wakes_shows_every_result_as_before(tmp_path):
    path = tmp_path / "state" / "stash.sqlite3"
    texts = [file_text("ab"[n % 2], n % 3 * 5) for n in range(6)]
    async with bench_on(SqliteStash(path, reserve_bytes=0), config=ROOMY) as bench:
        host = EnteringHost(bench.call)
        for turns in range(1, len(texts) + 1):
            await host.send(conversation(*texts[:turns]))
        before, [awake] = dict(host.elided), bench.services.registry.awake_sessions
        counted = list(awake.heap.body)
    async with bench_on(SqliteStash(path, reserve_bytes=0), config=ROOMY) as bench:
        host.call = bench.call
        await host.send(conversation(*texts))
        [awake] = bench.services.registry.awake_sessions

        assert before
        assert host.elided == before
        assert list(awake.heap.body) == counted


async def test_a_target_that_is_evicted_by_hand_takes_its_lines_along_and_an_undo_brings_them_back(bench):
    host = EnteringHost(bench.call)
    texts = [file_text("a"), file_text("a", 10, 30)]
    for turns in (1, 2):
        await host.send(conversation(*texts[:turns]))
    pointer = host.elided["call_1"]

    await bench.call("segment.evict", session=SESSION, ids=["call_0"])
    sent = results_of(await host.send(conversation(*texts)))
    sent = results_of(await host.send(conversation(*texts)))
    recalled = await bench.call("stash.recall", session=SESSION, id="call_1")

    assert sent["call_0"].startswith("[evicted by ctxgc: Read ")
    way_back = r"\[evicted by ctxgc: lines 1-30, \d+ tokens; get them back: ctxgc recall [\d-]+ --lines 1-30\]"
    assert re.fullmatch(way_back, sent["call_1"])
    assert recalled["recalled"][0]["pieces"][-1]["text"] == texts[1]
    await bench.call("heap.undo", session=SESSION)
    await host.send(conversation(*texts))
    assert host.elided["call_1"] == pointer


async def test_the_lines_that_a_line_tombstone_names_come_back_alone(bench):
    host = EnteringHost(bench.call)
    texts = [file_text("a"), file_text("a", 10, 30) + "\nnew line\n" * 3]
    for turns in (1, 2):
        await host.send(conversation(*texts[:turns]))
    await bench.call("segment.evict", session=SESSION, ids=["call_0"])
    await host.send(conversation(*texts))
    named = re.search(r"ctxgc recall ([\d-]+) --lines (\d+)-(\d+)", host.elided["call_1"][0][2])

    lines = int(named[2]), int(named[3])
    recalled = await bench.call("stash.recall", id=named[1], lines=f"{named[2]}-{named[3]}", budget_tokens=4000)

    for line in texts[1].split("\n")[lines[0] - 1 : lines[1]]:
        assert line.strip() in recalled["text"]
    assert "new line" not in recalled["text"]


async def test_what_was_forgotten_is_named_by_no_pointer(bench, tmp_path):
    host = EnteringHost(bench.call)
    texts = [file_text("a"), file_text("a", 10, 30)]
    for turns in (1, 2):
        await host.send(conversation(*texts[:turns]))

    await bench.call("stash.forget", session=SESSION, ids=["call_0"])
    shown = results_of(await host.send(conversation(*texts)))
    shown = results_of(await host.send(conversation(*texts)))
    rows = await bench.services.stash.rows(SessionKey("claude_code", "s"))

    assert shown["call_1"] == texts[1]
    assert not any(row.elisions for row in rows)


WHOLE = [
    ("a_call_with_a_large_input", {}, {"tool": "Bash", "command": "cat <<'E'\n" + "tide\n" * 200 + "E\ncat a"}),
    ("a_failure", {"is_error": True}, {}),
    ("a_plan", {}, {"tool": "TodoWrite"}),
    ("a_protected_path", {}, {"file_path": "/w/secret/tide.py"}),
    ("an_excepted_tool", {}, {"tool": "Fetch"}),
]


@pytest.mark.parametrize(("result", "call"), [one[1:] for one in WHOLE], ids=[one[0] for one in WHOLE])
async def test_what_has_to_stay_whole_enters_whole(result, call):
    config = Config(protect={"paths": ["/w/secret/*"]}, entry={"tools_except": ["Fetch"]})
    async with bench_on(SqliteStash(MEMORY), config=config) as bench:
        host = EnteringHost(bench.call)
        await host.send(conversation(file_text("a")))
        tool = call.pop("tool", "Read") if "tool" in call else "Read"
        messages = [*conversation(file_text("a")), *turn(1, file_text("a"), tool, **call)]
        messages[-1]["content"][0] |= result

        sent = await host.send(messages)

        assert results_of(sent)["call_1"] == file_text("a")


@pytest.mark.parametrize(
    "entry", [{"references": False}, {"agents_except": ["claude_code"]}, {"projects_except": ["/w"]}], ids=str
)
async def test_the_user_says_where_results_enter_whole(entry):
    async with bench_on(SqliteStash(MEMORY), config=Config(entry=entry)) as bench:
        host = EnteringHost(bench.call, project="/w/deep")
        await host.send(conversation(file_text("a")))

        sent = await host.send(conversation(file_text("a"), file_text("a")))

        assert results_of(sent)["call_1"] == file_text("a")


async def test_in_shadow_no_result_gets_a_pointer(bench):
    host = EnteringHost(bench.call, mode="shadow")
    await host.send(conversation(file_text("a")))
    host.requests.clear()
    await host.send(conversation(file_text("a"), file_text("a")))

    assert host.elided == {}
    [session] = bench.services.registry.awake_sessions
    assert not session.indexes.elisions


async def test_a_result_with_a_credential_enters_whole(bench):
    host = EnteringHost(bench.call)
    secret = file_text("a") + "\ntoken = ghp_" + "k7Rw2xQ9" * 4 + "Zb5T\n"
    await host.send(conversation(secret))

    sent = await host.send(conversation(secret, secret))

    assert results_of(sent)["call_1"] == secret


LISTS = ("anthropic_messages", "openai_chat")


def chat(messages):
    """The same conversation in the words of Chat Completions."""
    for message in messages:
        if isinstance(message["content"], str):
            yield message
            continue
        for block in message["content"]:
            if block["type"] == "tool_use":
                function = {"name": block["name"], "arguments": json.dumps(block["input"])}
                call = {"id": block["id"], "type": "function", "function": function}
                yield {"role": "assistant", "content": None, "tool_calls": [call]}
            else:
                yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]}


@pytest.mark.parametrize("api", LISTS)
@pytest.mark.parametrize("goes_on_with", ["the_own_list", "the_list_that_came_back"])
async def test_a_collected_list_has_pointers_whichever_list_its_caller_goes_on_with(bench, api, goes_on_with):
    texts = [file_text("ab"[n % 2], n % 3 * 5) for n in range(6)]
    own = conversation(*texts) if api == LISTS[0] else list(chat(conversation(*texts)))
    asked = {"format": api, "session": "mine", "budget_tokens": 10**6, "references": True}
    kept, replies = [], []
    for at in range(3, len(own) + 1, 2):
        kept = [*kept, *own[len(kept) : at]] if goes_on_with == "the_list_that_came_back" else own[:at]
        reply = await bench.call("messages.collect", messages=kept, **asked)
        replies.append(reply["messages"])
        kept = reply["messages"]

    for before, after in pairwise(replies):
        assert after[: len(before)] == before, "what went out stays as it went out"
    last = json.dumps(replies[-1])
    assert last.count("[ctxgc: lines ") >= 4
    stored = await bench.call("segment.list", session="client:mine")
    for row in stored["segments"]:
        if row["kind"] == "tool_call":
            recalled = await bench.call("stash.recall", session="client:mine", id=row["id"])
            assert recalled["recalled"][0]["pieces"][-1]["text"] == texts[int(row["id"].rpartition("_")[2])]


async def test_without_references_a_collected_list_comes_back_as_it_was(bench):
    own = conversation(file_text("a"), file_text("a"))

    reply = await bench.call("messages.collect", format=WIRE.name, session="mine", budget_tokens=10**6, messages=own)

    assert reply["messages"] == own


async def test_a_list_that_is_collected_to_nothing_points_at_nothing(bench):
    texts = [file_text("a"), file_text("a", 10, 30), "x\n" * 300, "y\n" * 300, "z\n" * 300, "w\n" * 300]
    for turns in range(1, len(texts) + 1):
        own = conversation(*texts[:turns])
        reply = await bench.call(
            "messages.collect", format=WIRE.name, session="mine", budget_tokens=0, references=True, messages=own
        )
        shown = results_of(reply["messages"])
        if "[ctxgc: lines" in shown.get("call_1", ""):
            assert shown["call_0"] == texts[0]


async def test_elisions_that_a_client_made_up_cost_nothing_but_an_error(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("a")))
    record = {"kind": "tool_call", "id": "x", "tool": "Read", "input": {}, "text": "a\nb", "elisions": [["no"]]}

    with pytest.raises(BadParams):
        await bench.call("window.sync", session=SESSION, format=WIRE.name, new=[record])
    assert (await bench.call("window.enter", session="claude_code:nobody", new=[]))["elisions"] == {}


SLICES = st.tuples(st.sampled_from("abc"), st.integers(0, 12).map(lambda n: 10 * n), st.integers(5, 70))
READS = st.lists(st.tuples(SLICES, st.frozensets(st.integers(0, 150), max_size=3)), min_size=2, max_size=14)


@effort(12)
@given(READS)
async def test_following_pointers_gives_every_result_as_the_host_sent_it_whatever_is_collected(reads):
    async with bench_on(SqliteStash(MEMORY), config=SMALL_WINDOW) as bench:
        host = EnteringHost(bench.call)
        texts = [file_text(name, first, lines, edited) for (name, first, lines), edited in reads]
        for turns in range(1, len(texts) + 1):
            own = conversation(*texts[:turns])
            assert_all_is_there(host, await host.send(own), own)
        for session in bench.services.registry.awake_sessions:
            session.heap.check_invariants()


async def test_a_result_that_went_upstream_whole_stays_whole_whoever_asks(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("a"), file_text("a")))
    window = WIRE.parse(json.dumps(conversation(file_text("a"), file_text("a"))).encode(), "claude_code")
    again = [segment_fields(one) for one in window.segments if one.id == "call_1"]

    reply = await bench.call("window.enter", session=SESSION, new=again)

    assert reply["elisions"] == {}


async def test_a_new_result_that_is_asked_about_twice_gets_the_same_pointers_and_none_to_itself(bench):
    host = EnteringHost(bench.call)
    await host.send(conversation(file_text("a")))
    for text in (file_text("a"), file_text("c")):
        window = WIRE.parse(json.dumps(conversation(file_text("a"), text)).encode(), "claude_code")
        new = [segment_fields(one) for one in window.segments if one.id == "call_1"]

        first, second = [await bench.call("window.enter", session=SESSION, new=new) for _ in range(2)]

        assert first == second
        assert all(run[2] == "call_0" for run in first["elisions"].get("call_1", ()))


async def test_of_two_equal_results_the_older_is_no_garbage_while_a_pointer_leads_to_it(bench):
    host = EnteringHost(bench.call)
    for turns in (1, 2):
        await host.send(conversation(*[file_text("a")] * turns))
    listed = await bench.call("segment.list", session=SESSION)

    assert host.elided
    assert not any(row["garbage"] for row in listed["segments"])
