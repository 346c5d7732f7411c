"""Every recorded session, rendered for every API with a random half of its bodies gone: no request is refused."""

import json
from collections import Counter
from random import Random

import pytest

from ctxgc.adapters.contract import BodiesCleared, SegmentAdmitted, SessionOpened, Slot, Tombstone, WindowReplaced
from ctxgc.adapters.transcripts.formats import detect_format, make_transcript_parser
from ctxgc.adapters.wire.formats import WIRE_FORMATS
from ctxgc.core.segment import Kind, Segment, Status
from tests.contracts.wire_rules import check

FOLDERS = ["mini_swe_agent", "tau_bench", "swe_agent", "claude_code", "codex"]
GONE = Tombstone("[evicted: recall it by its id]")

pytestmark = [pytest.mark.corpus, pytest.mark.slow]


def windows_of(name: str, data: bytes) -> dict[str, list[Segment]]:
    """The window of every session of a file, in order, as the daemon would hold it."""
    transcript = make_transcript_parser(name)
    segments: dict[str, dict[str, Segment]] = {}
    places: dict[str, dict[str, int]] = {}
    for event in transcript.feed(data) + transcript.finish():
        match event:
            case SessionOpened(session=session):
                segments.setdefault(session, {})
                places.setdefault(session, {})
            case SegmentAdmitted(session=session, segment=segment):
                if segment.id not in segments.setdefault(session, {}):
                    places.setdefault(session, {})[segment.id] = segment.place
                segments[session][segment.id] = segment
            case WindowReplaced(session=session, slots=slots):
                places[session] = dict(slots)
            case BodiesCleared(session=session, ids=ids):
                places[session] = {key: place for key, place in places[session].items() if key not in ids}
    return {
        session: [segments[session][key] for key in sorted(window, key=window.__getitem__)]
        for session, window in places.items()
    }


def is_evictable(segment: Segment) -> bool:
    is_root = segment.kind in (Kind.SYSTEM, Kind.USER) or segment.status is Status.PENDING
    return not is_root and not segment.has_opaque


@pytest.mark.parametrize("folder", FOLDERS)
def test_recorded_sessions_render_to_lists_the_apis_take_with_half_of_them_gone(folder, corpus):
    random, counts = Random(7), Counter()
    for path in sorted((corpus / folder).glob("*.gz")):
        data = path.read_bytes()
        assert detect_format(data[: 2**16]) == folder
        for window in windows_of(folder, data).values():
            slots = [Slot(s, GONE if is_evictable(s) and random.random() < 0.5 else None) for s in window]
            counts["sessions"] += 1
            counts["segments"] += len(slots)
            counts["evicted"] += sum(slot.tombstone is not None for slot in slots)
            counts["exchanges"] += sum(segment.kind is Kind.TOOL_CALL for segment in window)
            for wire in WIRE_FORMATS.values():
                rendered = wire.render(slots)
                check(wire.name, rendered)
                counts[f"{wire.name} exchanges"] += count_exchanges(wire, rendered)
    print(folder, dict(counts))
    for wire in WIRE_FORMATS.values():
        assert counts[f"{wire.name} exchanges"] == counts["exchanges"], "every pair is in every rendering (I3)"


def count_exchanges(wire, rendered):
    return sum(segment.kind is Kind.TOOL_CALL for segment in wire.parse(rendered).segments)


@pytest.mark.parametrize("folder", FOLDERS)
def test_recorded_sessions_as_requests_splice_to_themselves_or_to_what_the_apis_take(folder, corpus):
    random = Random(7)
    for path in sorted((corpus / folder).glob("*.gz")):
        for window in windows_of(folder, path.read_bytes()).values():
            for wire in WIRE_FORMATS.values():
                request = json.dumps(
                    json.loads(wire.render(map(Slot, window))), indent=random.choice([None, 1])
                ).encode()
                parsed = wire.parse(request)
                gone = {s.id: GONE for s in parsed.segments if s.id in parsed.spans and random.random() < 0.5}

                assert wire.splice(request, parsed, {}) is request
                check(wire.name, wire.splice(request, parsed, gone), is_rendered=False)
