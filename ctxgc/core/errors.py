"""Every error a person or program can meet: a stable `kind`, a protocol number, a next step.

Programmer errors are `assert` or `ValueError` and are not in here.
"""

from __future__ import annotations

import errno


class CtxgcError(Exception):
    """Base: `kind` is the stable word, `number` the JSON-RPC code, `hint` the next step."""

    kind = "internal"
    number = -32603
    is_retryable = False
    next_step = "the daemon's log says where; please report it"
    """The hint of an error that is raised without a hint of its own: no refusal leaves its reader alone."""

    def __init__(self, text: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(text)
        self.hint = hint or self.next_step
        self.field = field


class BadLine(CtxgcError):
    """A line is no JSON: no request of the line was executed."""

    kind = "bad_line"
    number = -32700
    next_step = 'send a line such as {"id":1,"method":"ping"}'


class BadRequest(CtxgcError):
    """A line is JSON but not a request: no method, a bad id, an id that is already in flight."""

    kind = "bad_request"
    number = -32600
    next_step = 'send a line such as {"id":1,"method":"ping"}'


class ForeignPeer(CtxgcError):
    """The process at the other end of the socket belongs to another user."""

    kind = "foreign_peer"
    number = -32600
    next_step = "name a socket of your own with `--socket`"


class BadParams(CtxgcError):
    """The request is well-formed but its params do not fit the verb."""

    kind = "bad_params"
    number = -32602
    next_step = "`rpc.discover` shows the params of each verb"


class UnknownVerb(CtxgcError):
    """No such method."""

    kind = "unknown_verb"
    number = -32601
    next_step = "`rpc.discover` lists the verbs"


class Busy(CtxgcError):
    """A bound was reached; the same request may pass later."""

    kind = "busy"
    number = -32001
    is_retryable = True
    next_step = "try again in a moment"


class DeadlinePassed(CtxgcError):
    """The request's `deadline_ms` passed before the request started; no state changed."""

    kind = "deadline"
    number = -32002
    is_retryable = True
    next_step = "allow a longer deadline_ms"


class NotFound(CtxgcError):
    """The session, segment, collection or file named does not exist."""

    kind = "not_found"
    number = -32003
    next_step = "`ctxgc search WORDS` finds segments, `ctxgc sessions` lists sessions"


class Conflict(CtxgcError):
    """The request contradicts the stash: an id with other content, an undo that a later collection bars."""

    kind = "conflict"
    number = -32004
    next_step = "`ctxgc show` shows what is stored"


class OverBudget(CtxgcError):
    """The protected part is larger than the budget, and the caller asked for an error in that case."""

    kind = "over_budget"
    number = -32005
    next_step = "allow a larger budget"


class StorageFailed(CtxgcError):
    """The stash could not read or commit; no state changed."""

    kind = "storage"
    number = -32006
    is_retryable = True
    next_step = "look at the disk, then try again; `ctxgc doctor` looks at the stash"


class ReadOnly(CtxgcError):
    """The stash takes no writes now (disk full or nearly so); reading and recalling go on."""

    kind = "read_only"
    number = -32007
    is_retryable = True
    next_step = "free some space; writes resume by themselves"


class StashGone(ReadOnly):
    """The stash's files were removed, replaced or cut short under the running daemon: only reading goes on."""

    kind = "stash_gone"
    number = -32007
    is_retryable = False
    next_step = "`ctxgc doctor` says what happened"


class Incompatible(CtxgcError):
    """The client needs a capability, or the stash a version, that this build does not have."""

    kind = "incompatible"
    number = -32010
    next_step = "`hello` says what this daemon can do"


class FrameTooLarge(CtxgcError):
    """A line is longer than the advertised limit; the connection closes after this."""

    kind = "frame_too_large"
    number = -32011
    next_step = "send large text with segment.add_file"


class SlowConsumer(CtxgcError):
    """A subscriber did not read its events in time and is cut off."""

    kind = "slow_consumer"
    number = -32012
    is_retryable = True
    next_step = "connect again, and read answers as they come"


class ShuttingDown(CtxgcError):
    """The daemon is stopping; connect again."""

    kind = "shutting_down"
    number = -32013
    is_retryable = True
    next_step = "connect again in a moment"


class Cancelled(CtxgcError):
    """The client cancelled the request before the request took effect."""

    kind = "cancelled"
    number = -32800
    next_step = "send the request again if it is wanted"


class StashDamaged(CtxgcError):
    """The stash file failed its check at opening; the file stays unchanged."""

    kind = "stash_damaged"
    number = -32006
    next_step = "run `ctxgcd --check`, then `ctxgcd --repair`"


class BadTranscript(CtxgcError):
    """A file is not in any format this build reads."""

    kind = "bad_transcript"
    number = -32602
    next_step = "`ctxgc import --help` and docs/reference/protocol.md name the formats"


class UnknownFormat(BadTranscript):
    """No row of the table of formats knows the file."""


class NoTranscript(BadTranscript):
    """A log without any part of a session, and not expected to hold one: empty, or a host's bookkeeping alone."""


_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BROKEN = {errno.EIO, errno.EROFS, errno.ESTALE}


def translate_os_error(error: OSError, what: str, *, hint: str = "", field: str = "") -> CtxgcError:
    """The error that a caller is told where the system refused the file or folder `what`.

    A daemon at a limit of the machine is `Busy`, and a disk that takes nothing `StorageFailed`: neither says that the
    file does not exist.
    """
    reason = f"{what}: {error.strerror or type(error).__name__}"
    if error.errno in _EXHAUSTED:
        return Busy(f"the daemon is at a limit of the system: {reason}", hint="close clients, or raise `ulimit -n`")
    if error.errno in _FULL:
        return StorageFailed(f"the disk is full: {reason}", hint="free some space, or name a file on another disk")
    if error.errno in _BROKEN:
        return StorageFailed(reason)
    return NotFound(reason, hint=hint or "name a file or folder that exists and that you may use", field=field)
