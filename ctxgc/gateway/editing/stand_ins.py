"""What stands in force in a request in the place of bodies and lines: tombstones, and results with pointers.

window.sync's answer ──apply_elided_results──▶ the branch's elided results
branch, segments of a list ──elided_results──▶ stand-ins of results ──stand_ins_of_contents──▶ all in force
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ctxgc.adapters.contract import ElidedResult
from ctxgc.adapters.skeletons import result_texts
from ctxgc.core.entry.elisions import ShownLines, elided_texts
from ctxgc.core.entry.shortening import HIDDEN_NOTE_BEGINS
from ctxgc.core.segment import Segment
from ctxgc.gateway.body.request_body import BodyContents
from ctxgc.gateway.body.splice_memo import EvictedBody
from ctxgc.gateway.editing.sync_records import COMMAND
from ctxgc.gateway.identity.agent_session import Branch, ElidedBody


def elided_results(
    branch: Branch, segments: Sequence[Segment], digests: Mapping[str, bytes]
) -> dict[str, ElidedResult]:
    """The stand-ins of the results that the branch shows with pointers; other contents under their ids stay whole.

    `digests` are those of the whole list: lines whose target is not there, or is another content, stand themselves.
    """
    found = {}
    for segment in segments:
        elided = branch.elided.get(segment.id)
        if elided is None or segment.id in branch.tombstones or digests.get(segment.id) != elided.digest:
            continue
        texts, runs = result_texts(segment), elided.runs_with_targets(digests)
        if texts and runs:
            found[segment.id] = ElidedResult(elided_texts(texts, runs))
    return found


def stand_ins_of_contents(
    branch: Branch, contents: BodyContents, tombstones: Mapping[str, EvictedBody]
) -> dict[str, EvictedBody]:
    """Every stand-in in force in a request that was read whole: these tombstones, and elided results."""
    window = contents.window
    elided = elided_results(branch, window.segments, contents.shown_digests) if branch.elided else {}
    editable = {one.id for one in window.segments if one.id in elided and window.can_elide(one)}
    return {id_: EvictedBody(elided[id_], contents.digests[id_]) for id_ in editable} | dict(tombstones)


def apply_elided_results(branch: Branch, contents: BodyContents, answer: dict[str, Any]) -> bool:
    """Take the daemon's word on the results of this window that show pointers; whether a result is shown otherwise now.

    Results of a later request, which this answer does not know, stay as they are.
    """
    if branch.is_barred:
        return False
    before, elided = dict(branch.elided), answer.get("elided") or {}
    way_back = contents.recall_tool or COMMAND
    for segment in contents.window.segments:
        runs = tuple(
            ShownLines(first, lines, note if _is_shortening_note(note) else note.replace(COMMAND, way_back, 1), target)
            for first, lines, note, target in elided.get(segment.id, ())
        )
        if runs:
            targets = {run.target: contents.digests.get(run.target, b"-") if run.target else b"" for run in runs}
            branch.elided[segment.id] = ElidedBody(runs, contents.digests[segment.id], targets)
        else:
            branch.elided.pop(segment.id, None)
    if branch.elided == before:
        return False
    branch.head = None  # The bytes of its elided results are others now.
    return True


def _is_shortening_note(note: str) -> bool:
    """Whether a note stands from birth on, and so has gone upstream as it is."""
    return note.startswith(HIDDEN_NOTE_BEGINS)
