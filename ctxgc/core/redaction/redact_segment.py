"""A segment without credentials: the content, and every name beside the content.

A name is redacted alike wherever it stands, so that a reference, a tombstone or a client's next call still meets the
segment: the redaction is the name from the first write on.
"""

from __future__ import annotations

from dataclasses import replace

from ctxgc.core.redaction.redact import redact, redact_json, redact_text, redact_texts, redactions_by_secret
from ctxgc.core.segment import COMMAND_CHARS_MAX, PathUse, Piece, Segment


def redact_segment(segment: Segment) -> tuple[Segment, int]:
    """A segment without secrets, and how many its skeleton and body held. The same object if there was none.

    The skeleton stays canonical JSON: its strings are redacted one by one, so a redaction never breaks the syntax.
    """
    skeleton, count = redact_json(segment.skeleton)
    body: list[Piece] = []
    for piece in segment.body:
        data, found = redact(piece.data)
        name = redact_text(piece.name)  # The skeleton, which names the piece too, is redacted alike.
        body.append(Piece(name, data) if found or name is not piece.name else piece)
        count += found
    cleaned = redact_segment_names(segment)
    # Names repeat what skeleton and body hold, so what is found in them is not counted again.
    if not count and cleaned is segment:
        return segment, 0
    facts = cleaned.facts
    if facts.attempt:
        # Words of the call, changed beyond what a pattern knows again: lower case hides an issuer's prefix.
        facts = facts._replace(attempt=cleaned.command or cleaned.id)
    return replace(cleaned, skeleton=skeleton, body=tuple(body), facts=facts), count


def redact_segment_names(segment: Segment) -> Segment:
    """A segment whose id, tool, task, tags, paths, references and command hold no secret; its content is as it was."""
    names = [segment.id, segment.tool, segment.reply, segment.task, segment.command, *segment.facts[:2]]
    texts = [*names, *segment.tags, *segment.refs, *(use.path for use in segment.paths), *segment.edit_sources]
    clean = redact_texts(texts)
    if clean == texts:
        return segment
    # A path may be a word of the command, alone: no pattern finds a secret in it without the words around it.
    for secret, redaction in redactions_by_secret(segment.command).items():
        clean = [text.replace(secret, redaction) for text in clean]
    rest = iter(clean)
    id_, tool, reply, task, command, attempt, recalls = (next(rest) for _ in names)
    return replace(
        segment,
        id=id_,
        tool=tool,
        reply=reply,
        task=task,
        command=command[:COMMAND_CHARS_MAX],
        facts=segment.facts._replace(attempt=attempt, recalls=recalls),
        tags=tuple(next(rest) for _ in segment.tags),
        refs=tuple(next(rest) for _ in segment.refs),
        paths=tuple(PathUse(next(rest), *use[1:]) for use in segment.paths),
        edit_sources=tuple(next(rest) for _ in segment.edit_sources),
    )
