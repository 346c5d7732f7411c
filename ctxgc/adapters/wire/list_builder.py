"""A list of a model API while the list is read: turns, the message of each segment, and the spans of evictable pieces.

    message(role) ─▶ text(…) opaque(…) thinking(…) call(…) result(…) ─▶ … ─▶ window()

The parsers of all APIs speak to a list builder while parsing a list; differences between APIs stay in their modules.
The first result of a call's id before the assistant speaks again answers the call; a call without a result stays
pending.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from ctxgc.adapters.builder import Birth, Draft, SegmentBuilder
from ctxgc.adapters.contract import INPUT_SPAN, Span, WireBlock, WireWindow
from ctxgc.adapters.facts.tool_facts import NO_CALL_FACTS, Facts
from ctxgc.adapters.foreign_blocks import is_known_block
from ctxgc.adapters.host_texts.folds import FoldedResult
from ctxgc.adapters.host_texts.wrappers import LONE_RESULT_FACTS, HostTexts, UnknownAgentTexts
from ctxgc.adapters.json_spans import Extent
from ctxgc.adapters.json_values import as_dict, as_text
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, Places, exceeds_depth, split_result
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Kind, Role, Segment, Status, text_bytes

FOREIGN_RESULTS = frozenset({"tool_result", "toolResult", "toolResponse", "functionResponse", "function_response"})
"""Types or members of a tool's result in an API that spells results in another way."""


class ListBuilder(SegmentBuilder):
    """Collects the segments of a list, without facts. Mutable, used by a single parse."""

    def __init__(self, texts: HostTexts | None = None) -> None:
        super().__init__()
        self._texts = texts or UnknownAgentTexts()
        self.skipped: Counter[str] = Counter()
        self.messages: list[int] = []
        """For each segment the message it comes from."""
        self._drafts: list[Draft] = []
        self._numbers: dict[int, int] = {}
        """Number of each draft in the list, by the draft's identity."""
        self._newest = -1
        """Number of the segment that was added or answered last."""
        self._blocks: list[WireBlock] = []
        self._spans: dict[str, list[Span]] = {}
        self._birth = Birth(0)
        self._message = -1
        self._speaks_assistant = False
        self._run: list[str] = []
        """Ids of what the assistant said in this run of its messages."""
        self._is_signed = False
        self._is_in_run = False

    def begin_message(self, index: int, is_assistant: bool, *, is_aside: bool = False) -> None:
        """The next message of the list begins. Each of the assistant's is a turn.

        A message of the system between two of the assistant's (`is_aside`) does not end a run under a signature.
        """
        if is_assistant and not self._speaks_assistant:
            self._open.clear()  # Hosts reuse ids: a late result must not answer a call of an older reply.
        turn = self._birth.turn + self._speaks_assistant
        self._birth = Birth(turn, reply=f"m{index}" if is_assistant else "")
        if not is_aside and is_assistant != self._is_in_run:
            self._run, self._is_signed, self._is_in_run = [], False, is_assistant
        self._speaks_assistant = is_assistant
        self._message = index

    def note_signature(self) -> None:
        """A signature stands in this run of the assistant's messages, which APIs join: no text of the run has a span.

        The results of the run's calls come later, in messages of the user or the tool, and have spans.
        """
        self._is_signed = True
        for id_ in self._run:
            self._spans.pop(id_, None)

    @property
    def can_fold(self) -> bool:
        """Whether results of this list may end in folds."""
        return self._texts.can_fold

    def add_user_text(self, text: str, extent: Extent | None) -> None:
        """A text in the user's name: the user's, or the host's own."""
        kind, words, facts = self._texts.read_user_text(text)
        # A part of a text has no place of its own: what stands around the user's words stays as well.
        self.add_text(kind, Role.USER, words, extent if words == text else None, facts)

    def add_text(self, kind: Kind, role: Role, text: str, extent: Extent | None, facts: Facts = NO_CALL_FACTS) -> None:
        """A text. White space alone is no segment: the APIs refuse or ignore such a text."""
        if text.isspace() or not text:
            return
        draft = self._add_draft(self.draft_text_or_opaque(kind, role, text_bytes(text), self._birth, {}, facts))
        if extent is not None and not self._is_signed:
            self._spans[draft.id] = [Span("text", *extent)]

    def add_thinking(self, text: str, signature: str, extent: Extent | None) -> None:
        """Thinking, with the signature of its own: the parser of a signature calls `sign` too."""
        if not text and not signature:
            return
        skeleton: dict[str, object] = {"signature": signature} if signature else {}
        data = text_bytes(text)
        draft = self._add_draft(self.draft_text_or_opaque(Kind.THINKING, Role.ASSISTANT, data, self._birth, skeleton))
        if extent is not None and text and not self._is_signed:
            self._spans[draft.id] = [Span("thinking", *extent)]

    def add_opaque_block(self, kind: Kind, role: Role, block: Any) -> None:
        """A block that is not text: kept verbatim, never evicted.

        A tool's result in the spelling of another API is no text of the user.
        """
        _refuse_too_deep_value(block, SKELETON_DEPTH_MAX - 2)
        members = as_dict(block)
        is_foreign_result = as_text(members.get("type")) in FOREIGN_RESULTS or bool(members.keys() & FOREIGN_RESULTS)
        if kind is Kind.USER and is_foreign_result and not is_known_block(block):
            kind = Kind.ATTACHMENT
        self._add_draft(self.draft_text_or_opaque(kind, role, b"", self._birth, {"opaque": [block]}))

    def add_call(
        self, call_id: str, name: str, value: Any, places: Callable[[], Places] | None, *, is_text: bool = False
    ) -> None:
        """A tool call. `places` gives the extents of its large inputs, and is asked only if there are any; `None`:
        inputs stay.
        """
        _refuse_too_deep_value(value, SKELETON_DEPTH_MAX - 1)
        draft = self._add_draft(self.open_call(call_id, name, value, self._birth, is_text=is_text))
        if draft.body and places is not None and not self._is_signed:
            names = {INPUT_SPAN, *(piece.name for piece in draft.body)}
            self._spans[draft.id] = [Span(at, *extent) for at, extent in places().items() if at in names]
        self._texts.note_call(name, value)

    def join_folded_result(self, call_id: str, result: FoldedResult, is_error: bool | None = None) -> None:
        """A call's result; a fold becomes a segment of its speaker.

        A result of no open call is a text of its own, and no edit touches the text: the call is lost, the text stays.
        """
        _refuse_too_deep_value(result.content, SKELETON_DEPTH_MAX - (1 if isinstance(result.content, list) else 2))
        draft = self.join_result(call_id, result.content, is_error)
        if draft is None:
            self._add_lone_result(result.content)
        elif draft.body[-1].data:
            self._spans.setdefault(draft.id, []).extend(result.spans)
        for fold in result.folds:
            kind, words, facts = self._texts.read_fold(fold)
            self.add_text(kind, Role.USER, words, None, facts)
        if draft is not None:
            self._newest = self._numbers[id(draft)]

    def _add_lone_result(self, content: Any) -> None:
        """The same segments as from a log: the text, and what is no text in it."""
        extra, data = split_result(content)
        kind, role, opaque = Kind.ATTACHMENT, Role.USER, extra.get("opaque")
        if data.strip():
            self._add_draft(self.draft_text_or_opaque(kind, role, data, self._birth, {}, LONE_RESULT_FACTS))
        if opaque:
            self._add_draft(
                self.draft_text_or_opaque(kind, role, b"", self._birth, {"opaque": opaque}, LONE_RESULT_FACTS)
            )

    def end_block(self, extent: Extent, lives_s: tuple[float, ...] = (), *, may_carry: bool = False) -> None:
        """The block whose segments were added last ends here."""
        self._blocks.append(WireBlock(*extent, self._newest, len(self._drafts), lives_s, may_carry))

    def build_window(self) -> WireWindow:
        """Every segment with its id. Pending tool calls and segments with opaque blocks have no spans."""
        segments = tuple(draft.build_segment() for draft in self._drafts)
        editable = {segment.id for segment in segments if _is_editable(segment)}
        spans = {id_: tuple(spans) for id_, spans in self._spans.items() if spans and id_ in editable}
        return WireWindow(segments, spans, self.skipped, tuple(self._blocks))

    def _add_draft(self, draft: Draft) -> Draft:
        self._newest = self._numbers[id(draft)] = len(self._drafts)
        self._drafts.append(draft)
        if self._speaks_assistant:
            self._run.append(draft.id)
        self.messages.append(self._message)
        return draft


def _is_editable(segment: Segment) -> bool:
    return segment.status is not Status.PENDING and not segment.has_opaque


def _refuse_too_deep_value(value: Any, levels: int) -> None:
    if exceeds_depth(value, levels):
        raise BadTranscript(f"a call or block is nested deeper than {SKELETON_DEPTH_MAX} levels")
