"""The demo's proof has teeth: what it calls lost or exact is checked here against a daemon that cheats."""

import io
import json
from pathlib import Path

import pytest

from ctxgc.adapters.transcripts import jsonl
from ctxgc.adapters.transcripts.resync import Salvage
from ctxgc.core.segment import Piece, content_digest
from ctxgc.fronts.cli import demo, demo_verify, demo_view, progress, terminal
from ctxgc.fronts.cli.demo_run import DemoRun
from ctxgc.fronts.cli.demo_verify import ExpectedDigests, ParsedFile, SegmentDigests
from ctxgc.protocol.blocking_client import LineClient
from tests.fronts import replies
from tests.fronts.fake_daemon import Refusal

KEY = "claude_code:s1"
BODY = (Piece("result", b"what was read"),)
DIGESTS = SegmentDigests(content_digest(b"{}", BODY).hex(), content_digest(b"", BODY), is_pending=False)


@pytest.fixture
def tell(daemon, monkeypatch):
    """Run a story of one evicted segment against these replies; its one report."""

    def run_story(**changed):
        monkeypatch.setattr(demo_verify, "digest_transcript", lambda path: ParsedFile({KEY: {"toolu_1": DIGESTS}}))
        imported = {"session": KEY, "parent": "", "skipped_records": 2, "skipped": {}, "resident_tokens": 4000}
        stored = replies.segment(state="evicted", digest=DIGESTS.whole)
        canned = {
            "import": {"sessions": [imported], "failed": []},
            "session.show": replies.SHOW,
            "heap.collect": replies.PLAN,
            "segment.list": {"segments": [stored], "next_offset": -1},
            "stash.search": {"hits": [], "notes": [], "next_offset": -1},
            "stash.recall": replies.recalled(replies.content(replies.piece("what was read"))),
        }
        server = daemon(canned | {name.replace("_", "."): reply for name, reply in changed.items()})
        with LineClient(server.path) as client:
            story = DemoRun(client, None, progress.ProgressBar("test", 1))
            story.import_files(["a.jsonl"])
            story.collect_and_check_sessions("", 1)
        return story.nest_side_chain_reports()[0]

    return run_story


def test_what_is_stored_and_comes_back_is_counted_as_exact(tell):
    report = tell()

    assert (report["lost"], report["recalls_tried"], report["recalls_exact"]) == (0, 1, 1)
    assert (report["source"], report["session"], report["skipped_records"]) == ("claude_code", "s1", 2)


def test_a_recall_that_differs_by_one_byte_is_not_exact(tell):
    report = tell(stash_recall=replies.recalled(replies.content(replies.piece("what was reed"))))

    assert (report["recalls_tried"], report["recalls_exact"]) == (1, 0)


def test_a_recall_that_is_refused_is_not_exact(tell):
    report = tell(stash_recall=Refusal("storage", "the disk is gone"))

    assert (report["recalls_tried"], report["recalls_exact"]) == (1, 0)


def test_a_segment_that_is_not_listed_is_lost(tell):
    assert tell(segment_list={"segments": [], "next_offset": -1})["lost"] == 1


def test_the_demo_claims_no_proof_for_a_segment_that_the_second_parse_did_not_find(tell):
    stored, unknown = (replies.segment(id_, state="evicted", digest=DIGESTS.whole) for id_ in ("toolu_1", "toolu_2"))
    page = terminal.Page(io.StringIO(), {})

    report = tell(segment_list={"segments": [stored, unknown], "next_offset": -1})
    demo_view._print_proof(page, {**report, "recalls_exact": report["recalls_tried"], "seconds": 1.0})

    assert (report["lost"], report["unchecked"]) == (0, 1)
    assert "1 segment that the second parse did not find" in page.stream.getvalue()
    assert "nothing was lost" not in page.stream.getvalue()


def test_a_segment_with_another_digest_is_lost(tell):
    changed = replies.segment(state="evicted", digest="ff" * 16)

    assert tell(segment_list={"segments": [changed], "next_offset": -1})["lost"] == 1


def test_a_session_the_daemon_does_not_know_is_lost_whole(tell):
    assert tell(session_show=Refusal("not_found", "no such session"))["lost"] == 1


def test_the_default_budget_is_a_third_of_what_came_in(tell):
    assert tell()["budget_tokens"] == replies.SHOW["resident_tokens"] // 3


def test_a_pending_segment_is_replaced_by_its_completion_and_nothing_else_is():
    expected = ExpectedDigests()
    pending = SegmentDigests("aa", b"a", is_pending=True)

    expected.add_digests(KEY, {"call": pending, "text": DIGESTS})
    expected.add_digests(KEY, {"call": DIGESTS, "text": pending})

    assert expected.digests_of(KEY) == {"call": DIGESTS, "text": DIGESTS}


def test_a_file_that_is_no_transcript_is_expected_to_hold_nothing(tmp_path):
    for name, data in {"empty": b"", "binary": bytes(range(256)), "truncated.gz": b"\x1f\x8b\x08\x00"}.items():
        (tmp_path / name).write_bytes(data)

        assert demo_verify.digest_transcript(str(tmp_path / name)) == ParsedFile({})
    assert demo_verify.digest_transcript(str(tmp_path / "absent")) == ParsedFile({})


def test_a_folder_means_the_transcripts_in_it(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.jsonl.gz", "a.jsonl", "deep/c.json", "notes.md"):
        (tmp_path / name).touch()

    found = [Path(path).relative_to(tmp_path).as_posix() for path in demo.find_transcripts([str(tmp_path)])]

    assert found == ["a.jsonl", "b.jsonl.gz", "deep/c.json"]


@pytest.mark.slow
def test_a_demo_of_nothing_is_refused_and_claims_nothing(run, tmp_path):
    ran = run("unused", "demo", str(tmp_path / "absent.jsonl"))

    assert (ran.code, ran.out) == (1, "")
    assert "no file" in ran.err


def test_the_sample_holds_what_real_sessions_hold():
    records = [json.loads(line) for line in Path(demo.SAMPLE).read_text().splitlines()]
    blocks = [
        block for r in records for block in (r.get("message") or {}).get("content", []) if isinstance(block, dict)
    ]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    inputs = [json.dumps(call["input"], sort_keys=True) for call in calls]

    assert Path(demo.SAMPLE).stat().st_size <= 300_000
    assert len({r["message"]["id"] for r in records if r["type"] == "assistant"}) >= 60
    assert len(set(inputs)) < len(inputs), "exact duplicates"
    assert any(block.get("is_error") for block in blocks)
    assert any(block["type"] == "thinking" for block in blocks)
    assert any(r.get("isSidechain") for r in records)
    assert max(len(str(block.get("content", ""))) for block in blocks) > 20_000, "a large log"


def test_the_sample_is_two_sessions_and_every_call_is_answered():
    found = demo_verify.digest_transcript(demo.SAMPLE).sessions

    main, side = sorted(found, key=len)
    assert side.startswith(main + "/")
    assert len(found[main]) > 80
    assert not any(digest.is_pending for digests in found.values() for digest in digests.values())


def prompt(words):
    message = {"role": "user", "content": words}
    return json.dumps(
        {"type": "user", "uuid": words, "sessionId": "s", "parentUuid": None, "message": message}
    ).encode()


def test_a_damaged_line_whose_records_were_read_leaves_no_text_unread(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        prompt("the first question of the harbour") + prompt("and another one of the quay")
    )

    assert demo_verify.digest_transcript(str(tmp_path / "a.jsonl")).unread_texts == 0


def test_a_reader_that_is_blind_to_damage_is_found_out_by_the_raw_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl, "salvage_records", lambda text, is_record, **_: Salvage())
    sound = prompt("a prompt on a line of its own") + b"\n"
    (tmp_path / "a.jsonl").write_bytes(sound + prompt("the first question of the harbour") * 2 + b"\n")

    assert demo_verify.digest_transcript(str(tmp_path / "a.jsonl")).unread_texts == 1
