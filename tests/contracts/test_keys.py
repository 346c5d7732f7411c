"""The watcher and the wire name the same segments alike: a session is one, whichever way it is seen.

A request is built from a recorded session as its agent would have sent it, read as the gateway reads it, and held
against the window that the transcript leads to. What a host wraps for the wire only (attachments and rules, as
reminders) is named by its wrapped text there, so these are left out; what a host keeps over its own compaction cannot
be told from the log alone.
"""

import gzip
import json

import pytest

from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.segment import Kind
from tests.contracts.test_wire_corpus import windows_of

SUMMARY = "This session is being continued from a previous conversation that ran out of context. We built a mole."
SKILL = "Base directory for this skill: /skills/mooring\n\n# Mooring"
LAUNCH = "<command-message>mooring</command-message>\n<command-name>/mooring</command-name>"
SHOWN = '<system-reminder>\nCalled the Read tool with the following input: {"file_path":"/w/a.py"}\n</system-reminder>'


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (SUMMARY, Kind.SUMMARY),
        (SKILL, Kind.ATTACHMENT),
        (SHOWN, Kind.ATTACHMENT),
        ("<system-reminder>low tide</system-reminder>", Kind.SYSTEM),
        ("<local-command-caveat>do not answer</local-command-caveat>", Kind.SYSTEM),
        ("Continue from where you left off.", Kind.USER),
        ("<command-name>/exit</command-name>", Kind.USER),
        ("moor the boat", Kind.USER),
    ],
)
def test_what_claude_code_says_for_the_user_has_one_name_in_its_log_and_in_its_request(text, kind):
    marks = {"isCompactSummary": True} if kind is Kind.SUMMARY else {"isMeta": kind is not Kind.USER}
    message = {"role": "user", "content": text}
    records = [
        {"type": "user", "uuid": "u", "sessionId": "s", "message": {"role": "user", "content": LAUNCH}},
        {"type": "user", "uuid": "v", "parentUuid": "u", "sessionId": "s", "message": message} | marks,
    ]

    logged = windows_of("claude_code", b"".join(json.dumps(record).encode() + b"\n" for record in records))["s"][-1]
    request = json.dumps([records[0]["message"], message]).encode()
    sent = WIRE_FORMATS["anthropic_messages"].parse(request, "claude_code").segments[-1]

    assert (logged.id, logged.kind) == (sent.id, sent.kind)
    assert sent.kind is kind


def claude_request(records):
    """The last request of a Claude Code session, and whether its host kept a part over a compaction."""
    entries, replies, owners, keeps = [], {}, {}, False
    for record in records:
        if record.get("subtype") == "compact_boundary":
            entries, replies, owners = [], {}, {}
            keeps |= bool((record.get("compactMetadata") or {}).get("preservedSegment"))
        is_shown = record.get("isVisibleInTranscriptOnly") and not record.get("isCompactSummary")
        message = record.get("message") if record.get("type") in ("user", "assistant") else None
        if message is None or is_shown or record.get("isSidechain") or message.get("model") == "<synthetic>":
            continue
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if record["type"] == "assistant":
                if message["id"] not in replies:
                    replies[message["id"]] = ("assistant", [], [])
                    entries.append(replies[message["id"]])
                if block["type"] == "thinking" and block["thinking"]:
                    block = block | {"signature": "taken out of the corpus"}
                if block["type"] != "thinking" or block["thinking"]:
                    replies[message["id"]][1].append(block)
                owners[block.get("id")] = replies[message["id"]]
            elif block["type"] == "tool_result":
                if block["tool_use_id"] in owners:
                    owners.pop(block["tool_use_id"])[2].append(block)
            else:
                entries.append(("user", [block], []))
    messages = []
    for role, blocks, results in entries:
        messages.append({"role": role, "content": blocks})
        messages += [{"role": "user", "content": results}] if results else []
    return {"messages": messages}, keeps


def codex_request(records):
    """The last request of a Codex session before its history became one that only the server reads."""
    request = {"instructions": "", "input": []}
    taken = []
    for record in records:
        payload = record.get("payload") or {}
        if record["type"] == "session_meta" and not request["instructions"]:
            request["instructions"] = (payload.get("base_instructions") or {}).get("text", "")
        elif record["type"] == "response_item":
            request["input"].append(payload)
        elif record["type"] == "compacted":
            history = payload.get("replacement_history") or []
            if any(item["type"] == "compaction" for item in history):
                break
            request["input"] = list(history)
        taken.append(record)
    return request, taken


def records_of(path):
    for line in gzip.decompress(path.read_bytes()).splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def facts(segments, *, with_attachments):
    wrapped = () if with_attachments else (Kind.ATTACHMENT, Kind.SYSTEM)
    return [(s.id, s.status, s.body) for s in segments if s.kind not in wrapped]


@pytest.mark.corpus
def test_a_claude_code_request_names_and_holds_what_the_sessions_log_does(corpus):
    equal, others = 0, []
    for path in sorted((corpus / "claude_code").glob("*.gz")):
        request, keeps = claude_request(records_of(path))
        *_, window = (w for name, w in windows_of("claude_code", path.read_bytes()).items() if "/" not in name)

        sent = WIRE_FORMATS["anthropic_messages"].parse(json.dumps(request).encode(), "claude_code").segments

        is_equal = facts(sent, with_attachments=False) == facts(window, with_attachments=False)
        equal += is_equal
        if not is_equal:
            others.append((path.name, keeps))
    print(f"claude_code: {equal} of {equal + len(others)} last requests equal their logs; the others {others}")
    assert equal
    assert all(keeps for _, keeps in others)


@pytest.mark.corpus
def test_a_codex_request_names_and_holds_what_the_sessions_log_does(corpus):
    count = 0
    for path in sorted((corpus / "codex").glob("*.gz")):
        request, taken = codex_request(records_of(path))
        log = b"".join(json.dumps(record).encode() + b"\n" for record in taken)
        (window,) = windows_of("codex", log).values()

        sent = WIRE_FORMATS["openai_responses"].parse(json.dumps(request).encode(), "codex").segments

        assert facts(sent, with_attachments=True) == facts(window, with_attachments=True), path.name
        count += 1
    print(f"codex: all {count} last requests before a sealed history equal their logs")
    assert count
