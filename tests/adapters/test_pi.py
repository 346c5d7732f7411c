"""Pi sessions: the newest leaf of the tree is the window, one assistant message is one turn."""

import gzip
import json

import pytest

from ctxgc.adapters.contract import ReplyBilled, SegmentAdmitted, SessionOpened, WindowReplaced
from ctxgc.adapters.transcripts.pi import Pi
from ctxgc.core.segment import Access, Departure, Kind, PathUse, Status
from tests.contracts.transcript_state import check, read, state_of


class File:
    """Writes lines as the host does: each entry follows the one before, unless `after` says otherwise."""

    def __init__(self, **header):
        self.lines = [json.dumps({"type": "session", "version": 3, "id": "s1", "cwd": "/w"} | header)]
        self.last = None

    def entry(self, kind, after="last", **more):
        entry_id = f"e{len(self.lines)}"
        parent = self.last if after == "last" else after
        stamp = f"2026-01-01T00:00:{len(self.lines):02d}Z"
        self.lines.append(json.dumps({"type": kind, "id": entry_id, "parentId": parent, "timestamp": stamp} | more))
        self.last = entry_id
        return entry_id

    def message(self, role, content, after="last", **more):
        return self.entry("message", after, message={"role": role, "content": content} | more)

    def user(self, words, after="last"):
        return self.message("user", words, after)

    def reply(self, *blocks, after="last", **more):
        return self.message("assistant", [text(b) if isinstance(b, str) else b for b in blocks], after, **more)

    def events(self):
        transcript = Pi()
        events = transcript.feed("\n".join(self.lines).encode()) + transcript.finish()
        self.skipped = transcript.skipped
        check(events)
        return events

    def admitted(self):
        return [event.segment for event in self.events() if isinstance(event, SegmentAdmitted)]

    def window(self):
        (state,) = state_of(self.events()).values()
        ordered = (state.segments[name] for name in sorted(state.window, key=state.window.__getitem__))
        return [s.id if s.kind is Kind.TOOL_CALL else s.body[0].text for s in ordered]

    def reasons(self):
        return [event.reason for event in self.events() if isinstance(event, WindowReplaced)]


def text(words):
    return {"type": "text", "text": words}


def call(call_id, name="read", **arguments):
    return {"type": "toolCall", "id": call_id, "name": name, "arguments": arguments}


def test_the_header_names_the_session_its_directory_and_the_one_it_was_forked_from():
    file = File(parentSession="/home/dev/.pi/2026-01-01_s0.jsonl")
    file.entry("model_change", modelId="m1")
    file.entry("session_info", name="Kiln")

    known = state_of(file.events())["s1"].known

    assert known == {"session": "s1", "project": "/w", "parent": "s0", "model": "m1", "title": "Kiln"}
    assert isinstance(file.events()[0], SessionOpened)


def test_blocks_of_one_message_share_a_turn_a_reply_and_a_bill():
    file = File()
    file.user("go")
    bill = {"input": 9, "cacheRead": 4, "cacheWrite": 2, "output": 3}
    first = file.reply({"type": "thinking", "thinking": "Hm."}, "I look.", call("a"), call("b"), model="m", usage=bill)
    file.message("toolResult", [text("x")], toolCallId="a")
    file.message("toolResult", [text("no")], toolCallId="b", isError=True)
    second = file.reply("Seen.")

    events = file.events()

    said = [e.segment for e in events if isinstance(e, SegmentAdmitted) and e.segment.kind is not Kind.USER]
    assert [(s.born_turn, s.reply) for s in said] == [(0, first)] * 4 + [(1, second)]
    assert [s.status for s in said if s.tool] == [Status.OK, Status.ERROR]
    (used,) = (e for e in events if isinstance(e, ReplyBilled))
    assert (used.turn, used.input_tokens, used.cache_read_tokens, used.cache_creation_tokens) == (0, 9, 4, 2)


def test_a_call_knows_its_file_and_what_an_edit_must_have_seen():
    file = File()
    file.reply(call("a", "edit", path="a.py", edits=[{"oldText": "one", "newText": "two"}]))
    file.message("toolResult", [text("ok")], toolCallId="a")

    (exchange,) = file.admitted()

    assert (exchange.paths, exchange.edit_sources) == ((PathUse("/w/a.py", Access.EDIT),), ("one",))
    assert exchange.wall_s == 1767225602.0


def test_the_newest_branch_is_the_window_and_an_older_one_may_come_back():
    file = File()
    file.user("one")
    fork = file.reply("one it is")
    file.user("red")
    red = file.reply("red it is")
    file.entry("branch_summary", after=fork, summary="red was tried")
    file.user("blue")

    assert file.window() == ["one", "one it is", "red was tried", "blue"]
    assert file.reasons() == [Departure.REWOUND]
    file.user("redder", after=red)
    assert file.window() == ["one", "one it is", "red", "red it is", "redder"]


def test_going_back_before_the_first_prompt_empties_the_window():
    file = File()
    file.user("one")
    file.user("other", after=None)

    assert file.window() == ["other"]


def test_a_label_on_the_way_is_no_fork():
    file = File()
    fork = file.user("one")
    file.entry("label", targetId=fork)
    file.user("two", after=fork)

    assert (file.window(), file.reasons(), file.skipped) == (["one", "two"], [], {"label": 1})


def test_entries_without_ids_or_with_a_lost_parent_follow_each_other():
    file = File()
    file.user("one")
    file.lines.append(json.dumps({"type": "message", "message": {"role": "user", "content": "two"}}))
    file.user("three", after="lost")

    assert (file.window(), file.reasons()) == (["one", "two", "three"], [])


@pytest.mark.parametrize(("kept", "tail"), [("two", ["two", "two it is"]), ("lost", [])])
def test_a_compaction_leaves_its_summary_and_what_comes_from_the_first_kept_entry(kept, tail):
    file = File()
    ids = {}
    for prompt in ("one", "two"):
        ids[prompt] = file.user(prompt)
        file.reply(f"{prompt} it is")
    file.entry("compaction", summary="in short", firstKeptEntryId=ids.get(kept, "lost"))
    file.user("go on")

    assert file.window() == ["in short", *tail, "go on"]
    assert file.reasons() == [Departure.HOST_COMPACTED]


def test_a_second_compaction_drops_the_first_ones_summary_and_a_branch_before_it_brings_that_back():
    file = File()
    file.user("one")
    file.entry("compaction", summary="first", firstKeptEntryId="")
    two = file.user("two")
    file.entry("compaction", summary="second", firstKeptEntryId=two)

    assert file.window() == ["second", "two"]
    file.user("three", after=two)
    assert file.window() == ["first", "two", "three"]


def test_a_reply_that_was_stopped_is_neither_a_turn_nor_in_the_window():
    file = File()
    file.reply("half a", stopReason="aborted")
    file.reply("whole")

    assert [(s.body[0].text, s.born_turn) for s in file.admitted()] == [("whole", 0)]
    assert file.skipped == {"assistant.aborted": 1}


def test_a_command_of_the_user_is_told_unless_it_is_kept_from_the_model():
    file = File()
    file.message("bashExecution", None, command="cat a.py", output="x")
    file.message("bashExecution", None, command="cat key", output="y", excludeFromContext=True)

    (shown,) = file.admitted()

    assert (shown.kind, shown.paths) == (Kind.ATTACHMENT, (PathUse("/w/a.py", Access.READ),))


@pytest.mark.corpus
def test_every_recorded_session_keeps_its_calls_its_turns_and_its_bills(corpus, capsys):
    for path in sorted((corpus / "pi").glob("*.jsonl.gz")):
        plain = gzip.decompress(path.read_bytes())
        events, transcript = read("pi", *(plain[at : at + 4096] for at in range(0, len(plain), 4096)))
        messages = [r["message"] for r in map(json.loads, plain.splitlines()) if r["type"] == "message"]
        replies = [m for m in messages if m["role"] == "assistant"]
        asked = {b["id"] for m in replies for b in m["content"] if b["type"] == "toolCall"}
        results = {m["toolCallId"]: m for m in messages if m["role"] == "toolResult"}

        check(events)
        (state,) = state_of(events).values()
        calls = {s.id: s for s in state.segments.values() if s.kind is Kind.TOOL_CALL}
        assert calls.keys() == asked == results.keys()
        for call_id, made in results.items():
            assert calls[call_id].body[-1].text == "".join(block["text"] for block in made["content"])
            assert (calls[call_id].status is Status.ERROR) == made["isError"]
        assert [(u.turn, u.input_tokens) for u in state.used.values()] == [
            (turn, reply["usage"]["input"]) for turn, reply in enumerate(replies)
        ]
        assert transcript.skipped.keys() <= {"thinking_level_change"}
        assert not [e for e in events if isinstance(e, WindowReplaced)], "none has a fork"
        with capsys.disabled():
            print(f"\n{path.name[-24:]} {len(calls)} calls, {len(replies)} turns; {dict(transcript.skipped)}", end="")
