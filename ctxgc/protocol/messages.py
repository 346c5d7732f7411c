"""The params of every verb of `ctxgc/1`, as pydantic models, and each verb's reply: the schema's only source.

`VERBS` maps each method to its `Verb`: params model, reply, whether the verb mutates, a line of help. The daemon
validates with `VERBS`, `rpc.discover` publishes the table, `docs/reference/protocol.md` is generated from the table.

A `session` param is `source:session`, a session id or an unambiguous prefix of one; empty means the most recently
updated session of `cwd`, or of the nearest folder above with a session; of all only if `cwd` is empty too.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from ctxgc.protocol.limits import BATCH_MAX, FRAME_BYTES_DEFAULT, FRAME_BYTES_MAX
from ctxgc.protocol.lists import MessagesCollect
from ctxgc.protocol.params import (
    PATH_CHARS_MAX,
    AbsolutePath,
    Count,
    FolderPath,
    Ids,
    KindName,
    Mutating,
    MutatingSession,
    Name,
    NoParams,
    OfSession,
    Params,
    RendererBefore,
    RendererName,
    StateName,
    Tokens,
    Unit,
    WallSeconds,
    WireFormatName,
)
from ctxgc.protocol.recall import SessionRehydrate, StashRecall
from ctxgc.protocol.replies import daemon, heap, segments, sessions, stash
from ctxgc.protocol.replies.reply import Reply
from ctxgc.protocol.wire import EnterReply, SyncReply, WindowEnter, WindowSync

PROTOCOL = 1
CAPABILITIES = ("segments", "heap", "stash", "transcripts", "watch", "events", "tx", "op_id", "files", "wire", "entry")


class Hello(Params):
    """The daemon's version and capabilities."""

    client: Name = ""
    version: Name = ""
    want: list[Name] = []
    need: list[Name] = []


class SessionOpen(Mutating):
    """Create a session of a client's own, or open the one that exists."""

    source: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", max_length=32)] = "client"
    session: Annotated[Name, Field(min_length=1)]
    project: FolderPath = ""
    parent: Name = ""
    parent_segment: Name = ""
    model: Name = ""
    title: Name = ""
    rendered_by: RendererName = "client"
    mode: RendererBefore | None = None
    """Deprecated: `rendered_by`, by its older names."""
    budget_tokens: Tokens = 0
    task: Name = ""


class SessionList(Params):
    """Known sessions, the most recently updated first."""

    project: FolderPath = ""
    source: Name = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    offset: Count = 0


class SessionSet(MutatingSession):
    """Change a session's settings; absent fields stay."""

    budget_tokens: Tokens | None = None
    window_max_tokens: Tokens | None = None
    rendered_by: RendererName | None = None
    mode: RendererBefore | None = None
    """Deprecated: `rendered_by`, by its older names."""
    task: Name | None = None
    model: Name | None = None
    open_paths: Annotated[list[Name], Field(max_length=1000)] | None = None
    """Files that are open in front of the user: their newest reads are roots. The list is in memory only."""


class SessionRender(OfSession):
    """The window as a list of a model API, tombstones in place of evicted bodies."""

    format: WireFormatName = "anthropic_messages"


def _empty_list_field() -> Any:
    """An empty list where none is given; a plain default would be copied deeply for each segment, at half its cost."""
    return Field(default_factory=list, json_schema_extra={"default": []})


class NewSegment(Params):
    """A segment as a client gives it. `text` is the body; for a tool call the result, with `input` beside it."""

    id: Name = ""
    """Empty: derived from kind and text."""
    kind: KindName
    text: Annotated[str, Field(max_length=FRAME_BYTES_MAX)] = ""
    tool: Name = ""
    input: dict[str, Any] | None = None
    status: Literal["ok", "error", "pending"] = "ok"
    paths: list[Annotated[str, Field(max_length=PATH_CHARS_MAX)]] = _empty_list_field()
    refs: list[Name] = _empty_list_field()
    importance: Annotated[float, Field(ge=0, le=1)] = 0.5
    task: Name = ""
    tags: list[Name] = _empty_list_field()
    wall_s: WallSeconds = 0.0
    is_pinned: bool = False


class SegmentAdd(MutatingSession):
    """Admit one segment at the end of the window."""

    segment: NewSegment


class SegmentAddMany(MutatingSession):
    """Admit segments in order, all or none; each call is one turn where no assistant segment is among them."""

    segments: Annotated[list[NewSegment], Field(min_length=1, max_length=BATCH_MAX)]


class SegmentAddFile(MutatingSession):
    """Admit a file's text as one segment: for text beyond the bound of a line."""

    opened: ClassVar[frozenset[str]] = frozenset({"path"})
    path: AbsolutePath
    kind: Literal["attachment", "other", "user", "system"] = "attachment"
    id: Name = ""
    tags: list[Name] = []


class OneSegment(OfSession):
    """Params that name a segment: the id, an unambiguous prefix of the id, or a tombstone's address."""

    id: Annotated[str, Field(min_length=1, max_length=512)]


class SegmentGet(OneSegment):
    """A segment's metadata and content. Text that is not valid UTF-8 comes as `data_b64`."""

    scope: Literal["any", "session"] = "any"
    """`session`: an address of another session is not found, but for the session's own sub-agents."""
    with_content: bool = True
    """False: pieces come with their sizes, and no text."""
    offset: Count = 0
    """Start of each piece's content, in bytes."""
    limit_bytes: Annotated[int, Field(ge=1, le=FRAME_BYTES_DEFAULT)] = 2**20


class SegmentList(OfSession):
    """Segments of a session in window order, without content."""

    states: list[StateName] = []
    kinds: list[KindName] = []
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    offset: Count = 0


class SegmentIds(MutatingSession):
    """Params of pin, unpin, touch and evict."""

    ids: Ids


class SegmentTag(MutatingSession):
    """Set tags, task or importance of a segment; absent fields stay."""

    id: Name
    tags: list[Name] | None = None
    task: Name | None = None
    importance: Annotated[float, Field(ge=0, le=1)] | None = None


class SegmentRef(MutatingSession):
    """Add references from a segment to older segments."""

    id: Name
    refs: Ids


class HeapPlan(OfSession):
    """The victims of a collection to the budget, with reasons. A plan changes no segment."""

    budget_tokens: Tokens | None = None
    """The budget of the whole window; absent: the session's budget, else a third of the resident tokens."""
    unit: Unit = "billed"
    limit: Annotated[int, Field(ge=0, le=10_000)] = 100
    """Victims listed; the sums are over all."""


class HeapCollect(HeapPlan, MutatingSession):
    """Collect to a budget, at once."""

    dry_run: bool = False
    must_fit: bool = False
    """Refuse with `over_budget`, and change nothing, if what must stay is larger than the budget."""


class HeapWhy(OneSegment):
    """The retaining path from a root, or the collection that evicted the segment and its reason."""


class HeapPath(OneSegment):
    """The shortest path of references from a root, or from `start`, to a segment."""

    start: Name = ""


class HeapUndo(MutatingSession):
    """Take back a collection: the newest, unless `collection` names one."""

    collection: Count = 0
    force: bool = False


class HeapLog(OfSession):
    """The journal of collections, newest first."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    collection: Count = 0


class StashSearch(OfSession):
    """Find segments by words, in every session unless one is named."""

    query: Annotated[str, Field(max_length=4096)] = ""
    here: FolderPath = ""
    """A folder: hits of the project around it come before others."""
    project: FolderPath = ""
    kinds: list[KindName] = []
    tools: list[Name] = []
    path: Annotated[str, Field(max_length=4096)] = ""
    task: Name = ""
    tags: list[Name] = []
    states: list[StateName] = []
    after_s: float = 0.0
    before_s: float = 0.0
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    offset: Annotated[int, Field(ge=0, le=10_000)] = 0


class StashForget(MutatingSession):
    """Erase segments for good; only their bare ids stay."""

    ids: Annotated[list[Name], Field(max_length=10_000)] = []
    whole_session: bool = False


class Import(Mutating):
    """Read transcripts: files, or folders of files. Repeating an import changes nothing."""

    opened: ClassVar[frozenset[str]] = frozenset({"paths"})
    paths: Annotated[list[AbsolutePath], Field(min_length=1, max_length=10_000)]
    format: Name = ""
    """Empty: detected from the content."""


class WatchAdd(Mutating):
    """Follow a transcript, or a folder of transcripts, as it grows."""

    opened: ClassVar[frozenset[str]] = frozenset({"path"})
    path: AbsolutePath


class Subscribe(Params):
    """Receive events of the topics on this connection; `from_seq` resumes."""

    topics: Annotated[list[Literal["session", "collection", "fault", "import", "config"]], Field(min_length=1)]
    from_seq: Count | None = None


class Tx(MutatingSession):
    """Mutations of one session, applied together or not at all."""

    calls: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=BATCH_MAX)]


class Backup(Params):
    """Write a consistent copy of the stash to a new file."""

    opened: ClassVar[frozenset[str]] = frozenset({"path"})
    path: AbsolutePath


class Export(OfSession):
    """Write a session whole to a new file: segments, states, references, journal and settings."""

    opened: ClassVar[frozenset[str]] = frozenset({"path"})
    path: AbsolutePath


class Doctor(Params):
    """Examine the daemon and its stash."""

    deep: bool = False
    """Read all pages and every body, however long that takes; else a sample, in seconds."""


class Shutdown(Params):
    """Stop the daemon after the requests in flight."""


class Verb(NamedTuple):
    """A method of the protocol."""

    params: type[Params]
    reply: type[Reply]
    help: str
    mutates: bool = False


VERBS: dict[str, Verb] = {
    "hello": Verb(Hello, daemon.HelloReply, "the daemon's version and capabilities"),
    "ping": Verb(NoParams, daemon.PongReply, "answers at once"),
    "rpc.discover": Verb(NoParams, daemon.DiscoverReply, "every verb with the JSON Schema of its params"),
    "session.open": Verb(SessionOpen, sessions.SessionReply, "create a session, or open an existing session", True),
    "session.list": Verb(SessionList, sessions.SessionsReply, "known sessions, newest first"),
    "session.show": Verb(
        OfSession, sessions.ShowReply, "a session: window, tokens by kind, pressure, what a collection would free"
    ),
    "session.set": Verb(SessionSet, sessions.SessionReply, "change budget, renderer, task or model", True),
    "session.close": Verb(MutatingSession, sessions.SessionReply, "mark a session as ended; every segment stays", True),
    "session.rehydrate": Verb(
        SessionRehydrate, stash.RehydrateReply, "a working set for a new or compacted session, under a budget"
    ),
    "session.render": Verb(SessionRender, sessions.RenderReply, "the window as a list of a model API"),
    "segment.add": Verb(SegmentAdd, segments.AddReply, "admit a segment", True),
    "segment.add_many": Verb(SegmentAddMany, segments.AddReply, "admit segments together, or none at all", True),
    "segment.add_file": Verb(SegmentAddFile, segments.AddReply, "admit a file's text as a segment", True),
    "segment.get": Verb(SegmentGet, segments.ContentReply, "a segment with its content"),
    "segment.list": Verb(SegmentList, segments.SegmentsReply, "segments in window order"),
    "segment.pin": Verb(SegmentIds, segments.SegmentsChangedReply, "make segments roots: never evicted", True),
    "segment.unpin": Verb(SegmentIds, segments.SegmentsChangedReply, "take pins back", True),
    "segment.touch": Verb(SegmentIds, segments.SegmentsChangedReply, "note that segments were used now", True),
    "segment.tag": Verb(SegmentTag, segments.SegmentsChangedReply, "set tags, task or importance", True),
    "segment.ref": Verb(SegmentRef, segments.SegmentsChangedReply, "say that a segment refers to older ones", True),
    "segment.evict": Verb(SegmentIds, heap.PlanReply, "evict by hand", True),
    "heap.plan": Verb(HeapPlan, heap.PlanReply, "the victims of a possible collection, with reasons"),
    "heap.collect": Verb(HeapCollect, heap.PlanReply, "collect to a budget", True),
    "heap.why": Verb(HeapWhy, heap.WhyReply, "why a segment is in the window, or why it left"),
    "heap.refs": Verb(OneSegment, heap.RefsReply, "references from and to a segment"),
    "heap.path": Verb(HeapPath, heap.PathReply, "the shortest path of references to a segment"),
    "heap.undo": Verb(HeapUndo, heap.PlanReply, "take back a collection", True),
    "heap.log": Verb(HeapLog, heap.LogReply, "the journal of collections"),
    "stash.search": Verb(StashSearch, stash.SearchReply, "find segments by words"),
    "stash.recall": Verb(
        StashRecall, stash.RecallReply, "bring content back exactly, or excerpts under a budget", True
    ),
    "stash.forget": Verb(StashForget, stash.ForgetReply, "erase segments for good", True),
    "stash.tiers": Verb(NoParams, stash.TiersReply, "how much is hot (in memory), warm (indexed), cold (not indexed)"),
    "messages.collect": Verb(MessagesCollect, sessions.RenderReply, "make a list of a model API fit a budget", True),
    "window.enter": Verb(WindowEnter, EnterReply, "the pointers of results that no request has carried yet"),
    "window.sync": Verb(WindowSync, SyncReply, "the gateway's view of a window; the reply: bodies to leave out", True),
    "import": Verb(Import, daemon.ImportReply, "read transcripts", True),
    "export": Verb(Export, stash.ExportReply, "write a session whole to a new file, which `import` brings back"),
    "backup": Verb(Backup, stash.BackupReply, "a consistent copy of the stash"),
    "watch.add": Verb(WatchAdd, daemon.WatchReply, "follow growing transcripts", True),
    "watch.list": Verb(NoParams, daemon.WatchReply, "the followed paths, with progress"),
    "watch.remove": Verb(WatchAdd, daemon.WatchReply, "stop following", True),
    "subscribe": Verb(Subscribe, daemon.SubscribedReply, "receive events"),
    "unsubscribe": Verb(NoParams, daemon.SubscribedReply, "receive no more events"),
    "tx": Verb(Tx, daemon.TxReply, "mutations of one session, together or not at all", True),
    "stats": Verb(NoParams, daemon.StatsReply, "counts and sizes of the daemon"),
    "metrics": Verb(NoParams, daemon.MetricsReply, "the same as Prometheus text"),
    "slowlog": Verb(NoParams, daemon.SlowlogReply, "the slowest requests"),
    "config.get": Verb(NoParams, daemon.ConfigReply, "the configuration in force"),
    "config.reload": Verb(NoParams, daemon.ReloadReply, "read the configuration file again"),
    "doctor": Verb(Doctor, daemon.DoctorReply, "checks of folder, socket, stash, its pages, ranks and clocks"),
    "shutdown": Verb(Shutdown, daemon.StoppingReply, "stop the daemon"),
}
