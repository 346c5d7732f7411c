"""Shortening at entry: what a long result leaves out stands in the stash, and a recall by lines gives exactly that."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.transcripts.segments_json import segment_fields
from ctxgc.config import Config
from ctxgc.core.entry.elisions import Elision, restore_elided_text
from ctxgc.core.errors import NotFound
from ctxgc.core.segment import SessionKey, content_digest
from ctxgc.stash.sqlite import MEMORY, SqliteStash
from tests.daemon.harness import bench_on
from tests.daemon.test_entry import SESSION, TASK, WIRE, EnteringHost, file_text, results_of, turn
from tests.daemon.test_laws import a_session
from tests.effort import effort

ON = Config(entry={"shorten": "on"})
NOTE = "[left out by ctxgc: lines "


def log_text(lines=400, bad=()):
    return "\n".join(
        f"step {n} of the tide table{' ERROR: no water' * (n in bad)} was worked out" for n in range(lines)
    )


def command(n, text, line="make tides"):
    return turn(n, text, "Bash", command=line)


def with_commands(*texts, lines=()):
    calls = (command(n, text, lines[n] if lines else f"make tide-{n}") for n, text in enumerate(texts))
    return [TASK, *(message for one in calls for message in one)]


@pytest.fixture
async def bench():
    async with bench_on(SqliteStash(MEMORY), config=ON) as made:
        yield made


async def fork(bench, name, text):
    """Another session with the same call."""
    own = with_commands("nothing to do", text)
    window = WIRE.parse(json.dumps(own).encode(), "claude_code")
    segments = add_facts(window.segments, "", {one.id for one in window.segments})
    ids = [one.id for one in segments]
    digests = [content_digest(one.skeleton, one.body).hex() for one in segments]
    records = [segment_fields(one) for one in segments]
    params = {"session": name, "format": WIRE.name, "ids": ids, "digests": digests, "fixed": [], "mode": "on"}
    await bench.call("window.sync", **params, new=records)


async def entered(bench, *texts, lines=(), **fixed):
    """A host that sent a short result first, and the results of its last request."""
    host = EnteringHost(bench.call, **fixed)
    lines = ("make nothing", *lines) if lines else ()
    for count in range(1, len(texts) + 2):
        sent = await host.send(with_commands("nothing to do", *texts[: count - 1], lines=lines[:count]))
    return host, results_of(sent)


async def test_a_long_output_leaves_its_middle_out_and_keeps_the_lines_that_say_what_went_wrong(bench):
    text = log_text(400, bad=[200])

    _, sent = await entered(bench, text)

    shown = sent["call_1"].split("\n")
    assert len(shown) < 60
    assert shown[0] == text.split("\n")[0]
    assert shown[-1] == text.split("\n")[-1]
    assert text.split("\n")[200] in shown
    assert sum(line.startswith(NOTE) for line in shown) == 2


@pytest.mark.parametrize("line", ["make tides", "\n".join(f"echo the tide of day {n} >> tides.txt" for n in range(90))])
async def test_a_recall_by_the_lines_of_a_note_gives_exactly_the_lines_left_out(bench, line):
    text = log_text()
    host, sent = await entered(bench, text, lines=(line,))

    (note,) = [line for line in sent["call_1"].split("\n") if line.startswith(NOTE)]
    call, lines = re.search(r"ctxgc recall (\S+) --lines (\S+),", note).groups()
    reply = await bench.call("stash.recall", id=call, lines=lines)

    (elision,) = [Elision(*one) for one in host.elisions["call_1"]]
    told = [line.split("|", 1)[1] for line in reply["text"].split("\n") if re.match(r"\d+\|", line)]
    assert told == text.split("\n")[elision.first : elision.first + elision.lines]


async def test_a_note_names_no_command_that_the_agent_cannot_run(bench):
    _, sent = await entered(bench, log_text(), can_recall=False)

    (note,) = [line for line in sent["call_1"].split("\n") if line.startswith(NOTE)]
    assert "recall" not in note
    assert "make the call again with a range" in note


async def test_a_fork_gives_the_lines_of_its_origin_and_another_content_under_the_id_is_refused(bench):
    text = log_text()
    _, sent = await entered(bench, text)
    (note,) = [line for line in sent["call_1"].split("\n") if line.startswith(NOTE)]
    lines = re.search(r"--lines (\S+),", note)[1]
    recall = {"id": "call_1", "lines": lines, "cwd": "/nowhere"}
    before = await bench.call("stash.recall", **recall)

    await fork(bench, "claude_code:fork", text)
    again = await bench.call("stash.recall", **recall)
    await fork(bench, "claude_code:other", "another text")

    assert again["text"].split("\n")[2:] == before["text"].split("\n")[2:]
    with pytest.raises(NotFound):
        await bench.call("stash.recall", **recall)


@effort(15)
@given(st.integers(0, 600), st.frozensets(st.integers(0, 600), max_size=6), st.booleans())
async def test_the_shown_text_and_the_stash_give_every_byte_of_the_host_back(lines, bad, has_references):
    config = Config(entry={"shorten": "on", "references": has_references})
    async with bench_on(SqliteStash(MEMORY), config=config) as bench:
        texts = [log_text(lines, bad), log_text(lines // 2, bad), log_text(lines, ())]
        host, sent = await entered(bench, *texts)
        own = dict(zip(("call_1", "call_2", "call_3"), texts, strict=True))

        for id_, text in own.items():
            elisions = [Elision(*one) for one in host.elisions.get(id_, ())]
            assert restore_elided_text(sent[id_], elisions, own | {"": text}) == text
        for session in bench.services.registry.awake_sessions:
            session.heap.check_invariants()


async def test_what_was_sent_stays_as_it_was_sent(bench):
    host, _ = await entered(bench, log_text(300), log_text(500, bad=[100]), "done")

    for before, after in zip(host.requests, host.requests[1:], strict=False):
        assert after[: len(before)] == before


async def test_what_is_asked_for_again_comes_whole(bench):
    text = log_text(300)
    other = text.replace("worked out", "looked up")

    _, sent = await entered(bench, text, other, lines=("make tides", "make tides"))

    assert NOTE in sent["call_1"]
    assert sent["call_2"] == other


async def test_a_failure_and_a_ranged_read_enter_whole(bench):
    failed = turn(1, log_text(300), "Bash", command="make tides")
    failed[1]["content"][0]["is_error"] = True
    ranged = turn(2, file_text("a", 0, 190), file_path="/w/tide.py", offset=1, limit=190)
    host = EnteringHost(bench.call)
    await host.send([TASK, *turn(0, "nothing")])

    await host.send([TASK, *turn(0, "nothing"), *failed])
    sent = results_of(await host.send([TASK, *turn(0, "nothing"), *failed, *ranged]))

    assert sent["call_1"] == log_text(300)
    assert sent["call_2"] == file_text("a", 0, 190)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"shorten": "shadow"},
        {"shorten": "on", "tools_except": ["Bash"]},
        {"shorten": "on", "agents_except": ["claude_code"]},
    ],
)
async def test_nothing_is_left_out_where_the_user_has_not_chosen_it(entry):
    async with bench_on(SqliteStash(MEMORY), config=Config(entry=entry)) as bench:
        _, sent = await entered(bench, log_text())

    assert sent["call_1"] == log_text()


async def test_the_session_counts_and_says_what_is_left_out_from_admission_on(bench):
    whole = log_text()
    host, _ = await entered(bench, whole, "done")
    (session,) = bench.services.registry.awake_sessions
    slot = session.heap.slot_of["call_1"]

    why = await bench.call("heap.why", session=SESSION, id="call_1")

    (elision,) = [Elision(*one) for one in host.elisions["call_1"]]
    assert session.heap.whole_body_tokens(slot) == session.heap.body[slot] + elision.saved_tokens
    assert f"lines {elision.first + 1}-{elision.first + elision.lines} are in the stash" in str(why)


async def test_a_shortened_read_names_the_definitions_that_it_leaves_out(bench):
    lines = [f"def tide_{n}(): pass" if n % 25 == 0 else f"    deep = {n}" for n in range(500)]
    host = EnteringHost(bench.call)
    first = [TASK, *turn(0, "nothing", "Bash", command="ls")]
    await host.send(first)

    sent = results_of(await host.send([*first, *turn(1, "\n".join(lines), file_path="/w/tides.py")]))

    note = next(line for line in sent["call_1"].split("\n") if line.startswith(NOTE))
    assert "101 def tide_100" in note


async def test_a_session_that_slept_wakes_with_the_same_window():
    small = ON.model_copy(update={"daemon": ON.daemon.model_copy(update={"heap_segments_max": 1})})
    async with bench_on(SqliteStash(MEMORY), config=small) as bench:
        host, sent = await entered(bench, log_text())
        before = await bench.call("session.show", session=SESSION)
        await a_session(bench, name="other")

        assert bench.services.registry.peek(SessionKey("claude_code", "s")) is None
        assert (await bench.call("session.show", session=SESSION))["resident_tokens"] == before["resident_tokens"]
        assert results_of(await host.send(with_commands("nothing to do", log_text()))) == sent


@pytest.mark.parametrize("budget", [100_000, 300])
async def test_a_list_that_is_collected_with_references_leaves_lines_out_too(budget):
    async with bench_on(SqliteStash(MEMORY), config=ON) as bench:
        common = {"format": "anthropic_messages", "session": "client:c", "budget_tokens": budget, "references": True}
        first = with_commands("nothing to do")
        await bench.call("messages.collect", **common, messages=first)

        given = with_commands("nothing to do", log_text())
        reply = await bench.call("messages.collect", **common, messages=given)
        more = await bench.call("messages.collect", **common, messages=[*reply["messages"], *command(2, "done")])

        assert NOTE in results_of(reply["messages"])["call_1"]
        assert results_of(more["messages"])["call_1"] == results_of(reply["messages"])["call_1"]


SHADOW = Config(entry={"shorten": "shadow"})


def deep_file(lines=300):
    return "\n".join(f"    the lead found {n} fathoms of water under the keel" for n in range(lines))


async def shadowed(bench, edited, **fixed):
    """The session after a long read, and an edit of this line; what went upstream was the host's own."""
    host = EnteringHost(bench.call, **fixed)
    own = [TASK, *turn(0, "nothing", "Bash", command="ls")]
    await host.send(own)
    own += turn(1, deep_file(), file_path="/w/deep.py")
    await host.send(own)
    own += turn(2, "edited", "Edit", file_path="/w/deep.py", old_string=edited, new_string="pass")
    await host.send(own)
    own += turn(3, "done", "Bash", command="make")
    assert await host.send(own) == own
    return (await bench.call("session.show", session=SESSION))["shortening"]


@pytest.mark.parametrize("mode", ["on", "shadow"])
@pytest.mark.parametrize(("line", "asked"), [(2, 0), (150, 1)])
async def test_shadow_changes_no_request_and_counts_what_would_have_been_asked_back(mode, line, asked):
    async with bench_on(SqliteStash(MEMORY), config=SHADOW) as bench:
        counts = await shadowed(bench, f"    the lead found {line} fathoms of water under the keel", mode=mode)
        metrics = await bench.call("metrics")

    assert (counts["results"], counts["asked_back"]) == (1, asked)
    assert counts["saved_tokens"] > 0
    assert bool(counts["asked_back_tokens"]) == bool(asked)
    assert f"ctxgc_shortening_saved_tokens {counts['saved_tokens']}\n" in metrics["text"]


async def test_the_counts_of_the_shadow_outlive_a_sleep_of_the_session():
    small = SHADOW.model_copy(update={"daemon": SHADOW.daemon.model_copy(update={"heap_segments_max": 1})})
    async with bench_on(SqliteStash(MEMORY), config=small) as bench:
        counts = await shadowed(bench, "    the lead found 150 fathoms of water under the keel")
        await a_session(bench, name="other")
        host = EnteringHost(bench.call)
        own = [TASK, *turn(0, "nothing", "Bash", command="ls"), *turn(1, deep_file(), file_path="/w/deep.py")]
        await host.send([*own, *turn(2, "edited", "Edit", file_path="/w/deep.py", old_string="x", new_string="y")])

        assert (await bench.call("session.show", session=SESSION))["shortening"] == counts
