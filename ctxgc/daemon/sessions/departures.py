"""Segments that a host dropped from a session's window, and the sentence that offers them back."""

from __future__ import annotations

from typing import NamedTuple

from ctxgc.core.display_texts import tokens_text
from ctxgc.core.heap import DEPARTED, FORGOTTEN, Heap
from ctxgc.core.masks import filter_table, mask_positions

_IS_DEPARTED = filter_table(lambda state: state == DEPARTED)
_IS_STORED = filter_table(lambda state: state != FORGOTTEN)


class DepartedSegments(NamedTuple):
    """Segments that a host compacted, cleared or rewound. The stash has all of them."""

    segments: int
    tokens: int

    @property
    def recall_offer(self) -> str:
        """A sentence for the agent, with the commands that bring the segments back; empty where none departed."""
        if not self.segments:
            return ""
        what = "1 segment" if self.segments == 1 else f"{self.segments} segments"
        return (
            f"{what} of this session ({tokens_text(self.tokens)} tokens) left the window when the host compacted, "
            "cleared or rewound it. The stash has all of it: `ctxgc recall --query WORDS` brings back excerpts, "
            "`ctxgc rehydrate` a working set"
        )


def count_departed_segments(heap: Heap, *, with_window: bool = False) -> DepartedSegments:
    """The departed segments of a heap. O(departed); O(slots) at C speed.

    `with_window`: the host is dropping the window too, and its log has yet to say so.
    """
    slots = list(mask_positions(heap.state.translate(_IS_STORED if with_window else _IS_DEPARTED)))
    return DepartedSegments(len(slots), sum(heap.skeleton[slot] + heap.body[slot] for slot in slots))
