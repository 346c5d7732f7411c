"""Replies of the types that the daemon answers in: a test names the members it is about, the type says the rest.

A member that the type lacks, or a value of another kind, fails the test: no front is fed what no daemon would send.
"""

import types
import typing

import msgspec
from msgspec.structs import fields

from ctxgc.protocol.messages import VERBS
from ctxgc.protocol.replies import daemon, heap, segments, sessions, stash

EMPTY = {str: "", int: 0, float: 0.0, bool: False, list: [], dict: {}}


def reply_to(verb, given):
    """A verb's whole reply from some of its members; of a verb that does not exist, as it is given."""
    return whole(VERBS[verb].reply, given) if verb in VERBS else given


def made(shape, **given):
    """A whole reply of this type from some of its members."""
    return whole(shape, given)


def whole(shape, given):
    """The JSON object of a type: `given`, and of each other member that must be there the least value."""
    known = {field.name: field for field in fields(shape)}
    assert given.keys() <= known.keys(), f"{shape.__name__} has no {given.keys() - known.keys()}"
    members = {
        name: _whole_value(field.type, given[name]) if name in given else _least(field.type)
        for name, field in known.items()
        if name in given or field.required
    }
    msgspec.convert(members, shape)
    return members


def _whole_value(wanted, value):
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is types.UnionType and value is not None:
        return _whole_value(inner[0], value)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct) and value is not None:
        return whole(wanted, value)
    if origin is list:
        return [_whole_value(inner[0], each) for each in value]
    if origin is dict:
        return {key: _whole_value(inner[1], each) for key, each in value.items()}
    return value


def _least(wanted):
    origin = typing.get_origin(wanted)
    if origin is types.UnionType or wanted is typing.Any:
        return None
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return whole(wanted, {})
    return EMPTY[origin or wanted]


STATS = made(
    daemon.StatsReply,
    version="0.1.0", pid=4711, uptime_s=7300.0, socket="/run/x/ctxgc.sock", state_folder="/home/x/state", sessions=2,
    heaps_loaded=1, text_cache_bytes=1000, segments=1200, stash_bytes=2_000_000, requests=9, collections=3, faults=1,
    rss_bytes=50_000_000,
)  # fmt: skip

OF_SESSION = {
    "session": "claude_code:s1", "project": "/p", "model": "m", "title": "Fix the clock", "rendered_by": "agent",
    "turn": 12, "created_s": 1.0, "updated_s": 2.0,
}  # fmt: skip

SESSION = made(sessions.SessionReply, **OF_SESSION)

SHOW = made(
    sessions.ShowReply,
    **OF_SESSION,
    segments=3, resident=2, evicted=1, resident_tokens=4000, evictable_tokens=3000, garbage_tokens=1000,
    billed_tokens=4800, ratio=1.2, collections=1, freed_tokens=1200,
    next_collection={"state": "watched", "words": "nothing is collected unasked: ctxgc only watches this session"},
    kinds=[{"kind": "tool_call", "segments": 3, "resident_tokens": 4000, "evicted_segments": 1}],
)  # fmt: skip

OF_SEGMENT = {
    "kind": "tool_call", "role": "assistant", "state": "resident", "born_turn": 1, "touched_turn": 1, "tokens": 900,
    "body_tokens": 850, "tombstone_tokens": 30, "tool": "Read", "status": "ok", "digest": "00" * 16, "importance": 0.5,
    "paths": [{"path": "src/clock.py", "access": "read", "first_line": 1, "last_line": 80}],
}  # fmt: skip


def segment(segment_id="toolu_1", **given):
    return whole(segments.SegmentReply, OF_SEGMENT | {"id": segment_id} | given)


def content(*pieces, segment_id="toolu_1"):
    named = {"id": segment_id, "session": "claude_code:s1", "skeleton": "{}", "pieces": pieces}
    return whole(segments.ContentReply, OF_SEGMENT | named)


def piece(text, name="result", next_offset=-1):
    return made(segments.PieceReply, name=name, bytes=len(text), tokens=1, text=text, next_offset=next_offset)


def recalled(*contents):
    return made(stash.RecallReply, session="claude_code:s1", recalled=contents, tokens=1, faults=1, changed="recalled")


FRAMED = made(
    stash.RecallReply,
    session="codex:s2", text="[ctxgc: a frame]\n7|the clock\n[ctxgc: end of that text]\n", tokens=20,
    budget_tokens=4000, notes=["2 more hits did not fit"], changed="1 excerpt", next="`ctxgc recall 7-6` is whole",
)  # fmt: skip

WORKING_SET = made(
    stash.RehydrateReply,
    session="codex:s2", text="[ctxgc: a frame]\n1|the plan\n[ctxgc: end of that text]\n", tokens=20, budget_tokens=3000,
    departed=212, departed_tokens=84_000, offer="212 segments left",
)  # fmt: skip

PLAN = made(
    heap.PlanReply,
    session="claude_code:s1", unit="billed", collection=4, trigger="asked", before_tokens=4800, after_tokens=1600,
    target_tokens=1500, freed_tokens=3200, evicted=7,
    victims=[{
        "id": "toolu_9", "kind": "tool_call", "tool": "Read", "label": "Read src/clock.py:1-80", "reason": "superseded",
        "by": "toolu_12", "freed_tokens": 850, "score": -3.0, "age_turns": 9,
    }],
    by_reason={"superseded": {"segments": 7, "freed_tokens": 3200}}, protected_by={"recent": 1200, "user": 400},
    predicted_cost=-5200.0, cache_rewrite_tokens=900, rendered_by="agent",
    effect="planned: your agent's window is unchanged",
    changed="evicted 7 segments", next="`ctxgc undo` takes it back",
)  # fmt: skip

LOG = made(heap.LogReply, session="claude_code:s1", ratio=1.2, system_and_tools_tokens=500)


def journal(number, **given):
    usual = {
        "collection": number, "wall_s": 1.0, "turn": 9, "trigger": "shadow", "target_tokens": 2500,
        "before_tokens": 4000, "after_tokens": 2500, "evicted": 3, "predicted_cost": -5200.0,
    }  # fmt: skip
    return whole(heap.CollectionReply, usual | given)


WHY = made(
    heap.WhyReply,
    session="claude_code:s1", id="toolu_3", label="Read src/clock.py", state="resident", verdict="named",
    root="recent", explanation="A recent edit needs it.",
    path=[{"id": "toolu_8", "label": "Edit src/clock.py"},
          {"id": "toolu_3", "label": "Read src/clock.py", "edge": "edit source"}],
)  # fmt: skip

HIT = made(
    stash.HitReply,
    session="codex:s2", id="call_7", kind="tool_call", tool="exec", label="exec sed -n 1,40p a.rs", state="evicted",
    tokens=300, project="/p", score=3.2, match="all", snippet="the \x02clock\x03 went \x1b[31mback",
)  # fmt: skip
