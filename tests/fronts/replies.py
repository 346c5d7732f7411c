"""Replies of the shapes of `protocol.replies`, small and complete."""

STATS = {
    "version": "0.1.0", "pid": 4711, "boot_id": "b", "uptime_s": 7300.0, "socket": "/run/x/ctxgc.sock",
    "state_folder": "/home/x/state", "sessions": 2, "heaps_loaded": 1, "heap_segments": 10, "text_cache_bytes": 1000,
    "segments": 1200, "stash_bytes": 2_000_000, "stash_bytes_max": 0, "read_only": "", "erasures_pending": 0,
    "connections": 1, "requests": 9, "errors": 0, "collections": 3, "faults": 1, "tokens_estimated": False,
    "rss_bytes": 50_000_000, "watched": 0,
}  # fmt: skip

SESSION = {
    "session": "claude_code:s1", "project": "/p", "parent": "", "model": "m", "title": "Fix the clock",
    "mode": "observe", "task": "", "turn": 12, "budget_tokens": 0, "window_max_tokens": 0, "created_s": 1.0,
    "updated_s": 2.0, "skipped_records": 0, "closed": False,
}  # fmt: skip

SHOW = SESSION | {
    "segments": 3, "resident": 2, "evicted": 1, "departed": 0, "forgotten": 0, "pinned": 0, "resident_tokens": 4000,
    "evictable_tokens": 3000, "garbage_tokens": 1000, "billed_tokens": 4800, "hidden_tokens": 0, "ratio": 1.2,
    "pressure": 0.0, "children": [], "faults": 0, "collections": 1, "gateway": "", "freed_tokens": 1200,
    "cache_hit_rate": None, "last_collection": None,
    "next_collection": {
        "state": "watched", "words": "nothing is collected unasked: ctxgc only watches this session",
        "grown_tokens": 0, "due_tokens": 0, "cold_in_s": None, "limit_tokens": 0,
    },
    "kinds": [{"kind": "exchange", "segments": 3, "resident_tokens": 4000, "evicted_segments": 1}],
}  # fmt: skip


def segment(segment_id="toolu_1", **fields):
    return {
        "id": segment_id, "seq": 0, "kind": "exchange", "role": "assistant", "state": "resident", "departure": "",
        "place": 0, "born_turn": 1, "touched_turn": 1, "touches": 0, "tokens": 900, "body_tokens": 850,
        "tombstone_tokens": 30, "tool": "Read", "status": "ok", "command": "",
        "paths": [{"path": "src/clock.py", "access": "read", "first_line": 1, "last_line": 80}],
        "digest": "00" * 16, "is_pinned": False, "has_opaque": False, "garbage": "", "garbage_by": "", "redactions": 0,
        "task": "", "tags": [], "importance": 0.5, "wall_s": 0.0, "collection": 0,
    } | fields  # fmt: skip


def content(*pieces, segment_id="toolu_1"):
    return segment(segment_id) | {"session": "claude_code:s1", "skeleton": "{}", "pieces": list(pieces)}


def piece(text, name="result", next_offset=-1):
    return {"name": name, "bytes": len(text), "tokens": 1, "text": text, "next_offset": next_offset}


def recalled(*segments):
    return {
        "session": "claude_code:s1",
        "recalled": list(segments),
        "tokens": 1,
        "faults": 1,
        "notes": [],
        "changed": "recalled",
    }


VICTIM = {
    "id": "toolu_9", "kind": "exchange", "tool": "Read", "label": "Read src/clock.py:1-80", "reason": "superseded",
    "by": "toolu_12", "freed_tokens": 850, "score": -3.0, "age_turns": 9,
}  # fmt: skip

PLAN = {
    "session": "claude_code:s1", "unit": "billed", "collection": 4, "trigger": "asked", "before_tokens": 4800,
    "after_tokens": 1600, "target_tokens": 1500, "freed_tokens": 3200, "evicted": 7, "victims": [VICTIM],
    "by_reason": {"superseded": {"segments": 7, "freed_tokens": 3200}}, "held_by": {"recent": 1200, "user": 400},
    "predicted_cost": -5200.0, "cache_rewrite_tokens": 900, "mode": "observe",
    "effect": "planned: your agent's window is unchanged", "changed": "evicted 7 segments",
    "next": "`ctxgc undo` takes it back",
}  # fmt: skip


LOG = {"session": "claude_code:s1", "collections": [], "ratio": 1.2, "hidden_tokens": 500}


def journal(number, **fields):
    return {
        "collection": number, "wall_s": 1.0, "turn": 9, "trigger": "shadow", "target_tokens": 2500,
        "before_tokens": 4000, "after_tokens": 2500, "evicted": 3, "held_by": {}, "predicted_cost": -5200.0,
        "actual_cost": None, "undoes": 0,
    } | fields  # fmt: skip


WHY = {
    "session": "claude_code:s1", "id": "toolu_3", "label": "Read src/clock.py", "state": "resident",
    "verdict": "reached", "root": "recent", "path": [{"id": "toolu_8", "label": "Edit src/clock.py", "edge": ""},
                               {"id": "toolu_3", "label": "Read src/clock.py", "edge": "edit source"}],
    "reason": "", "by": "", "collection": 0, "wall_s": 0.0, "explanation": "A recent edit needs it.",
}  # fmt: skip

HIT = {
    "session": "codex:s2", "id": "call_7", "kind": "exchange", "tool": "exec", "label": "exec sed -n 1,40p a.rs",
    "state": "evicted", "tokens": 300, "wall_s": 0.0, "project": "/p", "score": 3.2, "match": "all",
    "snippet": "the \x02clock\x03 went \x1b[31mback",
}  # fmt: skip
