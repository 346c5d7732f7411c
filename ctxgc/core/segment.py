"""A segment: the smallest span of a session that lives or dies together.

    skeleton  always renders (for a tool call: the call with its id and its short inputs)
    body      can be evicted (the result's text, a large input), piece by named piece

                      ┌────────── recall ──────────┐
                      ▼                            │
    pending ──▶ resident ──── evict ────▶ evicted ─┘
                  │  │
                  │  └── the host dropped it ──▶ departed   (stored, searchable, recallable)
                  └───── the user asked ───────▶ forgotten  (only the id stays)

All types here are values. Text is kept as bytes (UTF-8, `surrogatepass`), because recall returns exactly the admitted
bytes (I9) and a transcript may hold NUL or lone surrogates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from hashlib import blake2b
from typing import NamedTuple

LINE_MAX = 2**31 - 1
"""The last line of a range that runs to the end of its file."""

COMMAND_CHARS_MAX = 200
"""The kept part of a command; later parts of a longer command are unknown."""

TOOL_CALL_BEFORE = "exchange"
"""The older name of `Kind.TOOL_CALL`: still read everywhere, and the name in the stash's rows."""

DIGEST_BYTES = 16
ASIDE_DIGITS = 12
"""Of a digest, in a `conflict_id`: it has to be another than those of the same id alone."""
_ASIDE = re.compile(rf"(.*)~[0-9a-f]{{{ASIDE_DIGITS}}}~1", re.DOTALL)


class Kind(StrEnum):
    """A segment's kind; roots and policies are stated in kinds."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    THINKING = "thinking"
    TOOL_CALL = "tool_call"
    ATTACHMENT = "attachment"
    SUMMARY = "summary"
    PLAN = "plan"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> Kind | None:
        # Rows of a stash, exported files and older clients name a tool call so.
        return cls.TOOL_CALL if value == TOOL_CALL_BEFORE else None


class Role(StrEnum):
    """Who speaks on the wire; a tool call is spoken by the assistant and answered by the tool."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


class Status(StrEnum):
    """How a tool call ended; every other segment is `ok`."""

    OK = "ok"
    ERROR = "error"
    PENDING = "pending"


class State(StrEnum):
    """Where a segment's body is. Only `resident` bodies count against a budget."""

    RESIDENT = "resident"
    EVICTED = "evicted"
    DEPARTED = "departed"
    FORGOTTEN = "forgotten"


class Departure(StrEnum):
    """Why a segment left the window by another hand than ours."""

    REWOUND = "rewound"
    HOST_COMPACTED = "host_compacted"
    HOST_CLEARED = "host_cleared"


class Access(StrEnum):
    """A tool call's access to a file."""

    READ = "read"
    WRITE = "write"
    EDIT = "edit"
    MENTION = "mention"


class EdgeKind(IntEnum):
    """The reason of a reference. Values are stored; never renumber.

    Stashes of older versions hold `PARENT`, `EDIT_SOURCE`, `IDENTIFIER` and `CHAIN`, which nothing derives or follows
    any more; 7 and 8 were never stored.
    """

    PARENT = 1
    REPLACES = 2
    EDIT_SOURCE = 3
    IDENTIFIER = 4
    CHAIN = 5
    GIVEN = 6
    RECALLS = 9
    PATH_LINE = 10
    PATH_SPOKEN = 11
    PLAN_ITEM = 12
    DEFINITION = 13


SAID_EDGES = frozenset({EdgeKind.GIVEN})
"""Edges that a client said: the mark follows them, to any depth."""
NAMING_EDGES = frozenset({EdgeKind.PATH_LINE, EdgeKind.PATH_SPOKEN, EdgeKind.PLAN_ITEM, EdgeKind.DEFINITION})
"""Derived edges that are true more often than by chance: of a root's, one hop counts."""


class Renderer(StrEnum):
    """The renderer of a session's window: the agent (ctxgc only plans), a client that asks ctxgc, or the gateway."""

    AGENT = "agent"
    CLIENT = "client"
    GATEWAY = "gateway"


class SessionKey(NamedTuple):
    """The name of a session for good (I15): the agent, and the host's own id."""

    source: str
    session: str

    def __str__(self) -> str:
        return f"{self.source}:{self.session}"


class Address(NamedTuple):
    """Names a segment from anywhere: its session's number, and its seq there. Written `482915736-17`.

    Digits, because o200k takes three digits for a token; a dash, because a shell takes a dash unquoted and nobody takes
    the whole for a number, of which a last zero could be left out.
    """

    number: int
    seq: int

    def __str__(self) -> str:
        return f"{self.number}-{self.seq}"


_ADDRESS = re.compile(r"([1-9][0-9]{8})-([0-9]{1,10})")


def parse_address(text: str) -> Address | None:
    """The address in a text, if the text is an address."""
    match = _ADDRESS.fullmatch(text)
    return Address(int(match[1]), int(match[2])) if match else None


def legacy_session_number(key: SessionKey) -> int:
    """The number of a session from before numbers were drawn: nine digits made of the name.

    Whoever knows or guesses the name knows this number: tombstones that stand in windows keep such numbers valid.
    """
    # As the stash keeps names: without what no engine takes.
    name = str(key).encode("utf-8", "replace").replace(b"\0", "\ufffd".encode())
    stamp = blake2b(name, digest_size=8, person=b"ctxgc-session").digest()
    return 10**8 + int.from_bytes(stamp, "little") % (9 * 10**8)


class PathUse(NamedTuple):
    """A file that a tool call touched, with the covered lines (1-based, inclusive)."""

    path: str
    access: Access
    first_line: int = 1
    last_line: int = LINE_MAX


class Piece(NamedTuple):
    """A named part of a body: `text`, `thinking`, `result`, or `input.KEY` for a large input.

    A body has at most a single piece of each name. `data` is UTF-8 with `surrogatepass`.
    """

    name: str
    data: bytes

    @property
    def text(self) -> str:
        """The piece as a string; lone surrogates survive the round trip, bytes that are no UTF-8 read as U+FFFD."""
        try:
            return self.data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return self.data.decode("utf-8", "replace")


class CallFacts(NamedTuple):
    """An adapter's knowledge of a tool call: the core asks these facts, and knows no host's tools, phrases or shell.

    Facts are set once, where the host's format is read, and travel with the segment.
    """

    attempt: str = ""
    """Calls of one tool with the same attempt, and the same file, try the same thing. Empty: no facts are known."""
    recalls: str = ""
    """The name of the segment that the call brings back, where the call prints nothing else."""
    is_pure_read: bool = False
    """The result is text of the files it reads and nothing else: another read of the lines replaces all of it."""
    is_pure_write: bool = False
    """The call holds the file's whole new content."""
    is_cut: bool = False
    """The host shows less of the result than the call asked for."""
    is_plan: bool = False
    """The call sets a plan or todo list, which stands until the tool's next one."""
    is_search: bool = False
    is_delegation: bool = False
    """The call starts a sub-agent."""
    holds_words: bool = False
    """The result holds a person's words or instructions of the project: the call stays whole."""


NO_FACTS = CallFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """An adapter's account of a span of the session: content, and facts for references.

    `skeleton` is a JSON object (canonical: sorted keys, no spaces, UTF-8). By kind it holds
    - exchange: `call_id`, `name`, `input` (any JSON; a string moved to the body stands as
      `{"$piece": "input.KEY"}`; `is_text_input` if it is free text instead of JSON), and, when known, `is_error`;
      `opaque` lists blocks of the result that are not text, verbatim; if the result was a list, `result_blocks`
      gives in order the byte length of each text in the piece `result`, and null for each block of `opaque`;
    - any other: `opaque` as above, and `signature` for thinking; usually `{}`.
    A segment with opaque blocks is never evicted.
    """

    id: str
    kind: Kind
    role: Role
    place: int
    """Window order. Grows along the window; not contiguous; independent of admission order."""
    born_turn: int
    """Assistant replies seen before this segment, from 0."""
    wall_s: float = 0.0
    """Unix time of the record, 0.0 if the host does not say."""
    skeleton: bytes = b"{}"
    body: tuple[Piece, ...] = ()
    tool: str = ""
    status: Status = Status.OK
    paths: tuple[PathUse, ...] = ()
    edit_sources: tuple[str, ...] = ()
    """Text an edit must have seen before: `old_string`, or the context lines of a patch. Not stored."""
    command: str = ""
    """First words of a shell command, for `why` and for search; at most `COMMAND_CHARS_MAX` characters."""
    facts: CallFacts = NO_FACTS
    refs: tuple[str, ...] = ()
    """Ids of older segments that a client names as references."""
    reply: str = ""
    """The host's id of the assistant reply this belongs to; blocks of one reply render together."""
    has_opaque: bool = False
    importance: float = 0.5
    """0 to 1; each 0.1 above 0.5 is worth two turns of youth."""
    task: str = ""
    tags: tuple[str, ...] = ()


class SegmentHeader(NamedTuple):
    """The fields of a segment that indexes need of a segment without content."""

    id: str
    kind: Kind
    born_turn: int
    tool: str
    status: Status
    paths: tuple[PathUse, ...]
    command: str
    facts: CallFacts
    has_opaque: bool


def text_bytes(text: str) -> bytes:
    """Encode text in the form of segments: UTF-8, lone surrogates passed through."""
    return text.encode("utf-8", "surrogatepass")


def content_digest(skeleton: bytes, body: Iterable[Piece]) -> bytes:
    """A segment's content digest, 16 bytes: equal iff skeleton, piece names and piece data are equal.

    Lengths are hashed before contents, so that a byte moved from a piece to the next changes the digest.
    """
    hasher = blake2b(digest_size=DIGEST_BYTES, person=b"ctxgc-segment")
    hasher.update(len(skeleton).to_bytes(8, "little"))
    hasher.update(skeleton)
    for piece in body:
        name = piece.name.encode()
        hasher.update(len(name).to_bytes(2, "little") + name)
        hasher.update(len(piece.data).to_bytes(8, "little"))
        hasher.update(piece.data)
    return hasher.digest()


def tool_call_id(call_id: str, ordinal: int) -> str:
    """A tool call's id: the host's call id and, because hosts reuse call ids, the ordinal of its use.

    The first use keeps the bare call id; the n-th (from 2) is `CALL_ID~n`. A call id with a `~` always gets an ordinal,
    or `a~2` would name two tool calls.
    """
    return call_id if ordinal == 1 and "~" not in call_id else f"{call_id}~{ordinal}"


def base_id(id_: str) -> str:
    """The id without its ordinal: the same for all uses of a call id or a text."""
    base, tilde, ordinal = id_.rpartition("~")
    return base if tilde and ordinal.isdecimal() else id_


def conflict_id(id_: str, stamp: bytes) -> str:
    """Id for a conflicting content: `CALL~DIGEST~1`, the same for the same digest.

    The id has a digest and no ordinal, because ordinals name later uses of the id.
    """
    return tool_call_id(f"{id_}~{stamp.hex()[:ASIDE_DIGITS]}", 1)


def conflict_base_id(id_: str) -> str:
    """The id that a conflicting content came under; empty for an id that `conflict_id` did not make."""
    match = _ASIDE.fullmatch(id_) if id_.endswith("~1") else None
    return match[1] if match else ""


def text_id(role: Role, kind: Kind, text: bytes, ordinal: int) -> str:
    """The id of any other segment: its kind, a digest of its stripped text, and its ordinal among equals.

    Transcript and wire name the same segment alike, because neither the channel nor the position is hashed.
    """
    stamp = blake2b(text.strip(), digest_size=8, person=b"ctxgc-text-id").hexdigest()
    head = kind.value if role.value == kind.value or kind is not Kind.OTHER else role.value
    return f"{head}-{stamp}" if ordinal == 1 else f"{head}-{stamp}~{ordinal}"
