"""Content of Google's GenAI API, as Gemini CLI and Qwen Code keep it: a role, and parts of text, calls and responses.

    user   text ─▶ user, or what the host says it is      functionResponse ─▶ the result of its call
    model  thought ─▶ thinking    text ─▶ assistant       functionCall ─▶ open call
    a part of another kind ─▶ an opaque segment, kept word for word

A compressed history repeats contents of its session: `copied_segment_ids` and `new_parts` find the copies, so
that no copy is a second segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ctxgc.adapters.builder import Birth
from ctxgc.adapters.json_values import as_dict, as_text, canonical_json
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth
from ctxgc.adapters.transcripts.session_builder import SessionBuilder
from ctxgc.core.segment import Kind, Role, text_bytes, text_id

PART_KINDS = frozenset(
    {"text", "functionCall", "functionResponse", "inlineData", "fileData", "executableCode", "codeExecutionResult"}
)
"""The members of `Part` that hold something."""

RESULT_TEXTS = ("output", "error")
"""The members of a response that Gemini's and Qwen's tools put their answer in."""


class ContentSpeaker(NamedTuple):
    """Who speaks the texts of a content."""

    kind: Kind
    role: Role


USER = ContentSpeaker(Kind.USER, Role.USER)
MODEL = ContentSpeaker(Kind.ASSISTANT, Role.ASSISTANT)
SUMMARY = ContentSpeaker(Kind.SUMMARY, Role.USER)
HOST = ContentSpeaker(Kind.SYSTEM, Role.USER)


def parts_of_content(content: object) -> Iterator[dict[str, Any]]:
    """The parts of a `PartListUnion`, or of a `Content`: a bare string is a part of text."""
    if isinstance(content, dict) and "parts" in content:
        content = content["parts"]
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield {"text": part}
        elif isinstance(part, dict):
            yield part


def is_genai_content(value: object) -> bool:
    """A `Content`: a role and a list of parts."""
    content = as_dict(value)
    return content.get("role") in ("user", "model", "system", None) and isinstance(content.get("parts"), list)


def response_content(part: dict[str, Any]) -> tuple[object, bool | None]:
    """(What a `functionResponse` tells the model, whether the response is an error)."""
    answer = as_dict(part.get("functionResponse"))
    response = answer.get("response")
    rest = dict(as_dict(response))
    said = rest.pop(next((key for key in RESULT_TEXTS if isinstance(rest.get(key), str)), ""), None)
    text = said if said is not None else "" if response is None else canonical_json(response).decode()
    beside = [{"type": "text", "text": canonical_json(rest).decode()}] if rest and said is not None else []
    media = list(parts_of_content(answer.get("parts") or []))
    is_error = True if isinstance(response, dict) and "error" in response and "output" not in response else None
    return ([{"type": "text", "text": text}, *beside, *media] if beside or media else text), is_error


class ContentReader:
    """Takes the parts of a session's contents into the builder. Mutable; belongs to one session."""

    def __init__(self, builder: SessionBuilder) -> None:
        self.builder = builder
        self.skipped: list[str] = []
        """Kinds of parts that were left out since the owner looked last."""

    def admit_content(self, content: object, speaker: ContentSpeaker, birth: Birth, cwd: str = "") -> list[str]:
        """Admit the parts; the ids of their segments, in order. A response belongs to the segment of its call."""
        ids: list[str] = []
        for part in parts_of_content(content):
            if exceeds_depth(part, SKELETON_DEPTH_MAX):
                self.skipped.append("too_deep")
            elif isinstance(part.get("functionCall"), dict):
                ids += self.open_call(part["functionCall"], birth, cwd)
            elif isinstance(part.get("functionResponse"), dict):
                self._take_response(part, birth.wall_s)
            else:
                ids += self._admit_part(part, speaker, birth)
        return ids

    def open_call(self, call: dict[str, Any], birth: Birth, cwd: str = "") -> list[str]:
        """Open a call: its segment, or none where the call has no name."""
        call_id, name = as_text(call.get("id")), as_text(call.get("name"))
        if not name:
            self.skipped.append("malformed")
            return []
        return [
            self.builder.begin_call(
                call_id or f"{name}-{self.builder.next_place}", name, call.get("args"), birth, cwd=cwd
            )
        ]

    def _take_response(self, part: dict[str, Any], wall_s: float) -> None:
        answer = part["functionResponse"]
        # Content without ids pairs a response with the oldest open call of the same name.
        name = as_text(answer.get("name"))
        call_id = as_text(answer.get("id")) or self.builder.oldest_open_call_id(name) or name
        content, is_error = response_content(part)
        self.builder.join_call_result(call_id, content, is_error, wall_s)

    def new_parts(self, content: object) -> list[dict[str, Any]]:
        """The parts of a copied content but for calls and responses that the session holds already."""
        return [part for part in parts_of_content(content) if not self._is_known_call(part)]

    def _is_known_call(self, part: dict[str, Any]) -> bool:
        answer = part.get("functionResponse")
        call_id = as_text(as_dict(answer if answer is not None else part.get("functionCall")).get("id"))
        is_known = bool(call_id) and self.builder.names.newest_id_of_call(call_id) is not None
        return is_known and not (answer is not None and self.builder.is_call_open(call_id))

    def _admit_part(self, part: dict[str, Any], speaker: ContentSpeaker, birth: Birth) -> list[str]:
        text = part.get("text")
        if isinstance(text, str):
            if not text.strip():
                return []
            is_thought = part.get("thought") is True
            kind = Kind.THINKING if is_thought else speaker.kind
            return [self.builder.admit_text(kind, speaker.role, text, birth)]
        if not PART_KINDS & part.keys():
            self.skipped.append("part")
            return []
        return [self.builder.admit_text(speaker.kind, speaker.role, "", birth, {"opaque": [part]})]

    def copied_segment_ids(self, content: object, speaker: ContentSpeaker) -> list[str] | None:
        """The segments of the window that this content is a copy of; `None` where a part of the content is news."""
        present = {name for name, _ in self.builder.window}
        ids: list[str] = []
        for part in parts_of_content(content):
            if isinstance(part.get("functionResponse"), dict):
                continue
            call = part.get("functionCall")
            if isinstance(call, dict):
                name = self.builder.names.newest_id_of_call(as_text(call.get("id")))
            else:
                kind = Kind.THINKING if part.get("thought") is True else speaker.kind
                name = text_id(speaker.role, kind, text_bytes(as_text(part.get("text"))), 1)
            if name is None or name not in present:
                return None
            ids.append(name)
        return ids
