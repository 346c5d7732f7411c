"""Every error a person or program can meet: a stable `kind`, a protocol number, a next step.

Programmer errors are `assert` or `ValueError` and are not in here.
"""

from __future__ import annotations


class CtxgcError(Exception):
    """Base: `kind` is the stable word, `number` the JSON-RPC code, `hint` the next step."""

    kind = "internal"
    number = -32603
    is_retryable = False

    def __init__(self, text: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(text)
        self.hint = hint
        self.field = field


class BadLine(CtxgcError):
    """A line is no JSON: no request of the line was executed."""

    kind = "bad_line"
    number = -32700


class BadRequest(CtxgcError):
    """A line is JSON but not a request: no method, a bad id, an id that is already in flight."""

    kind = "bad_request"
    number = -32600


class ForeignPeer(CtxgcError):
    """The process at the other end of the socket belongs to another user."""

    kind = "foreign_peer"
    number = -32600


class BadParams(CtxgcError):
    """The request is well-formed but its params are not what the verb takes."""

    kind = "bad_params"
    number = -32602


class UnknownVerb(CtxgcError):
    """No such method."""

    kind = "unknown_verb"
    number = -32601


class Busy(CtxgcError):
    """A bound was reached; the same request may pass later."""

    kind = "busy"
    number = -32001
    is_retryable = True


class DeadlinePassed(CtxgcError):
    """The request's `deadline_ms` passed before it started; nothing was done."""

    kind = "deadline"
    number = -32002
    is_retryable = True


class NotFound(CtxgcError):
    """The session, segment, collection or file named does not exist."""

    kind = "not_found"
    number = -32003


class Conflict(CtxgcError):
    """The request contradicts what is stored: an id with other content, an undo that a later collection bars."""

    kind = "conflict"
    number = -32004


class OverBudget(CtxgcError):
    """What must stay is larger than the budget, and the caller asked for that to be an error."""

    kind = "over_budget"
    number = -32005


class StorageFailed(CtxgcError):
    """The stash could not read or commit; nothing was changed."""

    kind = "storage"
    number = -32006
    is_retryable = True


class ReadOnly(CtxgcError):
    """The stash takes no writes now (disk full or nearly so); reading and recalling go on."""

    kind = "read_only"
    number = -32007
    is_retryable = True


class Incompatible(CtxgcError):
    """The client needs a capability, or the stash a version, that this build does not have."""

    kind = "incompatible"
    number = -32010


class FrameTooLarge(CtxgcError):
    """A line is longer than the advertised limit; the connection closes after this."""

    kind = "frame_too_large"
    number = -32011


class SlowConsumer(CtxgcError):
    """A subscriber did not read its events in time and is cut off."""

    kind = "slow_consumer"
    number = -32012
    is_retryable = True


class ShuttingDown(CtxgcError):
    """The daemon is stopping; connect again."""

    kind = "shutting_down"
    number = -32013
    is_retryable = True


class Cancelled(CtxgcError):
    """The client cancelled the request before it took effect."""

    kind = "cancelled"
    number = -32800


class StashDamaged(CtxgcError):
    """The stash file failed its check at opening; the file stays unchanged."""

    kind = "stash_damaged"
    number = -32006


class BadTranscript(CtxgcError):
    """A file is not in any format this build reads."""

    kind = "bad_transcript"
    number = -32602


class UnknownFormat(BadTranscript):
    """No row of the table of formats knows the file."""


class NoTranscript(BadTranscript):
    """A log that holds no part of a session, and is not expected to: it is empty, or a host's bookkeeping alone."""
