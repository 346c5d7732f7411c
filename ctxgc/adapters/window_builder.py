"""From blocks in order to a window: ids and ordinals, turns, and each call joined with its result.

    message(role) ─▶ text(…) opaque(…) thinking(…) call(…) result(…) ─▶ … ─▶ window()

Both wire parsers speak to one of these while they walk a list; what differs between APIs stays with them. A call is
answered by the first result of its id before the assistant speaks again; what is still open then stays pending.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ctxgc.adapters.contract import INPUT_SPAN, Span, WireWindow
from ctxgc.adapters.facts.background_commands import Running
from ctxgc.adapters.facts.tool_facts import Facts, facts_of
from ctxgc.adapters.host_texts.folds import Result
from ctxgc.adapters.host_texts.wrappers import AnyTexts, HostTexts
from ctxgc.adapters.session_builder import NO_FACTS, canonical, cut_input, cut_result
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, Places, is_deeper, is_piece_name
from ctxgc.adapters.wire.json_spans import Extent
from ctxgc.adapters.wire.rendering import RESULT_PIECE
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Kind, Piece, Role, Segment, Status, exchange_id, text_bytes, text_id

NAME_CHARS_MAX = 200

_SAID_BY_RESULT = frozenset({"result_blocks", "opaque", "is_error"})


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A segment in the making."""

    kind: Kind
    role: Role
    turn: int
    reply: str
    body: list[Piece] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    skeleton: dict[str, Any] = field(default_factory=dict)
    facts: Facts = NO_FACTS
    call_id: str = ""
    is_pending: bool = False


class WindowBuilder:
    """Collects the segments of one list. Mutable, used by one parse."""

    def __init__(self, cwd: str = "", texts: HostTexts | None = None) -> None:
        self._cwd = cwd
        self._texts = texts or AnyTexts()
        self.skipped: Counter[str] = Counter()
        self._drafts: list[_Draft] = []
        self._open: dict[str, deque[_Draft]] = {}
        self.messages: list[int] = []
        """For each segment the message it comes from."""
        self._turn = 0
        self._message = -1
        self._reply = ""
        self._speaks_assistant = False
        self._running = Running()

    def message(self, index: int, is_assistant: bool) -> None:
        """The next message of the list begins. Each of the assistant's is a turn."""
        if is_assistant and not self._speaks_assistant:
            self._open.clear()  # Hosts reuse ids: a late result must not answer a call of an older reply.
        if self._speaks_assistant:
            self._turn += 1
        self._speaks_assistant = is_assistant
        self._reply = f"m{index}" if is_assistant else ""
        self._message = index

    @property
    def unfolds(self) -> bool:
        """Whether the results of this list may end in what is no output of their tool."""
        return self._texts.unfolds

    def user_text(self, text: str, extent: Extent | None) -> None:
        """A text in the user's name: the user's, or the host's own."""
        kind, words, facts = self._texts.reading(text)
        # A part of a text has no place of its own: what stands around the user's words stays as well.
        self.text(kind, Role.USER, words, extent if words == text else None, facts)

    def text(self, kind: Kind, role: Role, text: str, extent: Extent | None, facts: Facts = NO_FACTS) -> None:
        """A text. Nothing but white space is no segment: the APIs refuse it or ignore it."""
        if text.isspace() or not text:
            return
        draft = self._add(kind, role)
        draft.facts = facts
        draft.body.append(Piece("text", text_bytes(text)))
        if extent is not None:
            draft.spans.append(Span("text", *extent))

    def thinking(self, text: str, signature: str, extent: Extent | None) -> None:
        """Thinking. Under a signature nothing may be edited, so only unsigned thinking has a span."""
        if not text and not signature:
            return
        draft = self._add(Kind.THINKING, Role.ASSISTANT)
        if text:
            draft.body.append(Piece("thinking", text_bytes(text)))
        if signature:
            draft.skeleton["signature"] = signature
        elif extent is not None and text:
            draft.spans.append(Span("thinking", *extent))

    def opaque(self, kind: Kind, role: Role, block: Any) -> None:
        """A block that is not text: kept verbatim, never evicted."""
        self._add(kind, role).skeleton["opaque"] = [block]

    def call(
        self, call_id: str, name: str, value: Any, places: Callable[[], Places] | None, *, is_text: bool = False
    ) -> None:
        """A tool call. `places` says where its large inputs lie, asked only if there are any; `None`: leave them be."""
        draft = self._add(Kind.EXCHANGE, Role.ASSISTANT)
        small, pieces = cut_input(value)
        if not all(is_piece_name(piece.name) for piece in pieces):
            small, pieces = value, ()
        draft.body.extend(pieces)
        if pieces and places is not None:
            names = {INPUT_SPAN, *(piece.name for piece in pieces)}
            draft.spans += [Span(at, *extent) for at, extent in places().items() if at in names]
        draft.skeleton = {"call_id": call_id, "name": name, "input": small}
        if is_text:
            draft.skeleton["is_text_input"] = True
        draft.facts = self._running.goes_on(name, value, facts_of(name, value, self._cwd))
        self._texts.called(name, value)
        draft.call_id = clean_name(call_id) or "call"
        draft.is_pending = True
        self._open.setdefault(call_id, deque()).append(draft)

    def result(self, call_id: str, result: Result, is_error: bool | None = None) -> None:
        """A call's result. What answers no open call is counted and left as it is; what is folded into it is said."""
        self._close(call_id, result, is_error)
        for fold in result.folds:
            kind, words, facts = self._texts.folded(fold)
            self.text(kind, Role.USER, words, None, facts)

    def _close(self, call_id: str, result: Result, is_error: bool | None) -> None:
        waiting = self._open.get(call_id)
        if not waiting:
            self.skipped["orphan_result"] += 1
            return
        draft = waiting.popleft()
        draft.is_pending = False
        extra, text = cut_result(result.content)
        draft.skeleton.update(extra)
        if is_error is not None:
            draft.skeleton["is_error"] = is_error
        draft.body.append(Piece(RESULT_PIECE, text))
        draft.facts = draft.facts.answered(text)
        self._running.ended(draft.facts.command, result.content)
        if text:
            draft.spans += result.spans

    def window(self) -> WireWindow:
        """Every segment with its id. Pending exchanges and segments with opaque blocks have no spans."""
        ordinals: Counter[str] = Counter()
        seen: set[str] = set()
        segments: list[Segment] = []
        spans: dict[str, tuple[Span, ...]] = {}
        for place, draft in enumerate(self._drafts):
            skeleton = _encoded(draft.skeleton)
            segment_id = _id_of(draft, skeleton, ordinals)
            while segment_id in seen:  # A host may call a call what we call the second of its name.
                segment_id = _id_of(draft, skeleton, ordinals)
            seen.add(segment_id)
            has_opaque = "opaque" in draft.skeleton
            segments.append(
                Segment(
                    id=segment_id,
                    kind=draft.kind,
                    role=draft.role,
                    place=place,
                    born_turn=draft.turn,
                    skeleton=skeleton,
                    body=tuple(draft.body),
                    tool=clean_name(str(draft.skeleton.get("name", draft.facts.tool))),
                    status=_status(draft),
                    paths=draft.facts.paths,
                    edit_sources=draft.facts.edit_sources,
                    command=draft.facts.command,
                    reply=draft.reply,
                    has_opaque=has_opaque,
                )
            )
            if draft.spans and not draft.is_pending and not has_opaque:
                spans[segment_id] = tuple(draft.spans)
        return WireWindow(tuple(segments), spans, self.skipped)

    def _add(self, kind: Kind, role: Role) -> _Draft:
        draft = _Draft(kind=kind, role=role, turn=self._turn, reply=self._reply)
        self._drafts.append(draft)
        self.messages.append(self._message)
        return draft


def as_asked(exchange: Segment) -> Segment:
    """An exchange as it was while its call waited for the result."""
    skeleton = {key: part for key, part in json.loads(exchange.skeleton).items() if key not in _SAID_BY_RESULT}
    body = tuple(piece for piece in exchange.body if piece.name != RESULT_PIECE)
    return replace(exchange, skeleton=canonical(skeleton), body=body, status=Status.PENDING)


def clean_name(name: str) -> str:
    """A name fit for an id: it has a UTF-8 form, no NUL, and an end."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\0", "")[:NAME_CHARS_MAX]


def _encoded(skeleton: dict[str, Any]) -> bytes:
    if not skeleton:
        return b"{}"
    if is_deeper(skeleton, SKELETON_DEPTH_MAX):
        raise BadTranscript(f"a call or block is nested deeper than {SKELETON_DEPTH_MAX} levels")
    return canonical(skeleton)


def _id_of(draft: _Draft, skeleton: bytes, ordinals: Counter[str]) -> str:
    if draft.call_id:
        ordinals[draft.call_id] += 1
        return exchange_id(draft.call_id, ordinals[draft.call_id])
    # A block without text is known by what it holds.
    text = draft.body[0].data if draft.body else skeleton
    first = text_id(draft.role, draft.kind, text, 1)
    ordinals[first] += 1
    return text_id(draft.role, draft.kind, text, ordinals[first])


def _status(draft: _Draft) -> Status:
    if draft.is_pending:
        return Status.PENDING
    return Status.ERROR if draft.skeleton.get("is_error") else Status.OK
