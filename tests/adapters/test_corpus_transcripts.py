"""Recorded sessions: every file parses, no exchange is lost, and what is skipped is known by name."""

import gzip
import json
from collections import Counter
from time import process_time

import pytest

from ctxgc.adapters.contract import WindowReplaced
from ctxgc.adapters.transcripts.formats import detect_format, make_transcript_parser
from ctxgc.core.segment import Departure, Kind, Status
from tests.contracts.transcript_state import check, read, state_of

pytestmark = pytest.mark.corpus

NOT_IN_THE_PROMPT = {
    "claude_code": {
        "progress", "file-history-snapshot", "file-history-delta", "last-prompt", "mode", "queue-operation", "pr-link",
        "summary", "atis-latch", "thinking_empty", "synthetic", "attachment.hook_success", "attachment.date_change",
        "attachment.total_tokens_reminder", "attachment.task_reminder", "attachment.hook_system_message",
        "attachment.auto_mode", "attachment.compact_file_reference", "attachment.command_permissions",
        "system.stop_hook_summary", "system.turn_duration", "system.away_summary", "system.local_command",
        "system.api_error",
    },
    "codex": {
        "world_state", "reasoning_encrypted", "inter_agent_communication_metadata", "event_msg.agent_message",
        "event_msg.agent_reasoning", "event_msg.patch_apply_end", "event_msg.user_message", "event_msg.task_started",
        "event_msg.task_complete", "event_msg.thread_settings_applied", "event_msg.mcp_tool_call_end",
        "event_msg.sub_agent_activity", "event_msg.context_compacted", "event_msg.web_search_end",
        "event_msg.item_completed", "event_msg.turn_aborted",
    },
}  # fmt: skip


def claude_results(records):
    """Result text of each call, counted without the adapter."""
    found = {}
    for record in records:
        content = (record.get("message") or {}).get("content") if record["type"] in ("user", "assistant") else None
        for block in content if isinstance(content, list) else ():
            if block["type"] == "tool_use":
                found.setdefault(block["id"], None)
            elif block["type"] == "tool_result":
                found[block["tool_use_id"]] = flat(block.get("content"))
    return found


def codex_results(records):
    found = {}
    for payload in (record["payload"] for record in records if record["type"] == "response_item"):
        if payload["type"] in ("function_call", "custom_tool_call"):
            found.setdefault(payload["call_id"], None)
        elif payload["type"].endswith("_output"):
            found[payload["call_id"]] = flat(payload["output"])
    return found


def flat(content):
    blocks = content if isinstance(content, list) else [{"text": content or ""}]
    return "".join(block.get("text", "") for block in blocks)


@pytest.mark.parametrize(("name", "count"), [("claude_code", claude_results), ("codex", codex_results)])
def test_no_exchange_is_lost_and_all_that_is_skipped_is_known(corpus, name, count, capsys):
    rows, skipped, seconds, size = [], Counter(), 0.0, 0
    for path in sorted((corpus / name).glob("*.jsonl.gz")):
        plain = gzip.decompress(path.read_bytes())
        start = process_time()
        events, transcript = read(name, *(plain[at : at + 2**16] for at in range(0, len(plain), 2**16)))
        seconds, size = seconds + process_time() - start, size + len(plain)
        expected = count(map(json.loads, plain.splitlines()))

        check(events)
        assert detect_format(path.read_bytes()[: 2**16]) == name
        segments = [s for state in state_of(events).values() for s in state.segments.values()]
        found = {s.id: s for s in segments if s.kind is Kind.TOOL_CALL and s.tool != "web_search"}
        assert found.keys() == expected.keys()
        words = {
            piece.text.strip()
            for s in segments
            if s.kind in (Kind.USER, Kind.SYSTEM)
            for piece in s.body
            if piece.text.strip()
        }
        for call_id, result in expected.items():
            is_open = found[call_id].status is Status.PENDING
            text, whole = "" if is_open else found[call_id].body[-1].text, result or ""
            # What a person says through a tool is a segment of the person's, without the host's words before it.
            is_split = whole.startswith(text) and any(said in whole[len(text) :] for said in words)
            assert is_open or text == whole or is_split
            assert not is_open or result is None
        assert not [e for e in events if isinstance(e, WindowReplaced) and e.reason is Departure.REWOUND], (
            "none has a fork"
        )
        skipped.update(transcript.skipped)
        rows.append((path.name[-24:], transcript.records, len(segments), len(found), sum(transcript.skipped.values())))

    assert skipped.keys() <= NOT_IN_THE_PROMPT[name]
    with capsys.disabled():
        print(f"\n{'file':26}{'records':>9}{'segments':>9}{'calls':>7}{'skipped':>9}")
        for row in rows:
            print(f"{row[0]:26}{row[1]:9}{row[2]:9}{row[3]:7}{row[4]:9}")
        print(f"{name}: {size / 1e6:.1f} MB at {size / 1e6 / seconds:.0f} MB/s; {dict(skipped.most_common(6))}")


@pytest.mark.parametrize("name", ["claude_code", "codex"])
def test_a_recorded_session_read_as_it_grows_ends_as_one_read_at_once(corpus, name):
    path = min((corpus / name).glob("*.jsonl.gz"), key=lambda path: abs(path.stat().st_size - 300_000))
    plain = gzip.decompress(path.read_bytes())

    growing, transcript = [], make_transcript_parser(name)
    for at in range(0, len(plain), 50_000):
        growing += transcript.feed(plain[at : at + 50_000]) + transcript.finish()

    assert state_of(growing) == state_of(read(name, plain)[0])
