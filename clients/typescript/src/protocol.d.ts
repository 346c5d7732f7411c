// Generated: python -m clients.generate, from the schema of ctxgc/1. Do not edit.

/** Write a consistent copy of the stash to a new file. */
export interface Backup {
  path: string
}

/** Examine the daemon and its stash. */
export interface Doctor {
  deep?: boolean
}

/** Write a session whole to a new file: segments, states, references, journal and settings. */
export interface Export {
  session?: string
  cwd?: string
  path: string
}

/** Collect to a budget, at once. */
export interface HeapCollect {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  budget_tokens?: number | null
  unit?: "billed" | "raw"
  limit?: number
  dry_run?: boolean
  must_fit?: boolean
}

/** The journal of collections, newest first. */
export interface HeapLog {
  session?: string
  cwd?: string
  limit?: number
  collection?: number
}

/** The shortest path of references from a root, or from `start`, to a segment. */
export interface HeapPath {
  session?: string
  cwd?: string
  id: string
  start?: string
}

/** The victims of a collection to the budget, with reasons. A plan changes no segment. */
export interface HeapPlan {
  session?: string
  cwd?: string
  budget_tokens?: number | null
  unit?: "billed" | "raw"
  limit?: number
}

/** Take back a collection: the newest, unless `collection` names one. */
export interface HeapUndo {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  collection?: number
  force?: boolean
}

/** The retaining path from a root, or the collection that evicted the segment and its reason. */
export interface HeapWhy {
  session?: string
  cwd?: string
  id: string
}

/** The daemon's version and capabilities. */
export interface Hello {
  client?: string
  version?: string
  want?: string[]
  need?: string[]
}

/** Read transcripts: files, or folders of files. Repeating an import changes nothing. */
export interface Import {
  op_id?: string
  durability?: "commit" | "async"
  paths: string[]
  format?: string
}

/** Collect a list of a model API: the caller sends its list and gets back one that fits the budget. */
export interface MessagesCollect {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  format: "anthropic_messages" | "openai_chat" | "openai_responses"
  messages: (Record<string, unknown>)[]
  budget_tokens: number
  unit?: "billed" | "raw"
  references?: boolean
  usage?: Usage | null
  only_edited?: boolean
}

/** Params of a verb on one session with a mutation. */
export interface MutatingSession {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
}

/** A segment as a client gives it. `text` is the body; for a tool call the result, with `input` beside it. */
export interface NewSegment {
  id?: string
  kind: "system" | "user" | "assistant" | "thinking" | "tool_call" | "attachment" | "summary" | "plan" | "other" | "exchange"
  text?: string
  tool?: string
  input?: Record<string, unknown> | null
  status?: "ok" | "error" | "pending"
  paths?: string[]
  refs?: string[]
  importance?: number
  task?: string
  tags?: string[]
  wall_s?: number
  is_pinned?: boolean
}

/** No params. */
export interface NoParams {
  [key: string]: never
}

/** Params that name a session. */
export interface OfSession {
  session?: string
  cwd?: string
}

/** Params that name a segment: the id, an unambiguous prefix of the id, or a tombstone's address. */
export interface OneSegment {
  session?: string
  cwd?: string
  id: string
}

/** Admit one segment at the end of the window. */
export interface SegmentAdd {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  segment: NewSegment
}

/** Admit a file's text as one segment: for text beyond the bound of a line. */
export interface SegmentAddFile {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  path: string
  kind?: "attachment" | "other" | "user" | "system"
  id?: string
  tags?: string[]
}

/** Admit segments in order, all or none; each call is one turn where no assistant segment is among them. */
export interface SegmentAddMany {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  segments: NewSegment[]
}

/** A segment's metadata and content. Text that is not valid UTF-8 comes as `data_b64`. */
export interface SegmentGet {
  session?: string
  cwd?: string
  id: string
  scope?: "any" | "session"
  with_content?: boolean
  offset?: number
  limit_bytes?: number
}

/** Params of pin, unpin, touch and evict. */
export interface SegmentIds {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  ids: string[]
}

/** Segments of a session in window order, without content. */
export interface SegmentList {
  session?: string
  cwd?: string
  states?: ("resident" | "evicted" | "departed" | "forgotten")[]
  kinds?: ("system" | "user" | "assistant" | "thinking" | "tool_call" | "attachment" | "summary" | "plan" | "other" | "exchange")[]
  limit?: number
  offset?: number
}

/** Add references from a segment to older segments. */
export interface SegmentRef {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  id: string
  refs: string[]
}

/** Set tags, task or importance of a segment; absent fields stay. */
export interface SegmentTag {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  id: string
  tags?: string[] | null
  task?: string | null
  importance?: number | null
}

/** The edits and breakpoints of a request whose `window.sync` came too early. */
export interface SentBefore {
  edited: string[]
  marks: SentMark[]
}

/** A request in the view of the provider's cache, with the edits and breakpoints of its sending. */
export interface SentCache {
  settings: string[]
  hidden_blocks?: number
  blocks: number[]
  marks: SentMark[]
  system_segments?: number
  own_mark?: number
  can_mark?: boolean
}

/** A cache breakpoint of a request as sent. */
export interface SentMark {
  segments: number
  life_s: number
}

/** Known sessions, the most recently updated first. */
export interface SessionList {
  project?: string
  source?: string
  limit?: number
  offset?: number
}

/** Create a session of a client's own, or open the one that exists. */
export interface SessionOpen {
  op_id?: string
  durability?: "commit" | "async"
  source?: string
  session: string
  project?: string
  parent?: string
  parent_segment?: string
  model?: string
  title?: string
  rendered_by?: "agent" | "client" | "gateway"
  mode?: "observe" | "client" | "wire" | null
  budget_tokens?: number
  task?: string
}

/** A working set for a new or compacted session, in a frame: instructions by reference, pins, open plan items, files under edit, last decisions, the last error. Changes nothing. */
export interface SessionRehydrate {
  session?: string
  cwd?: string
  budget_tokens?: number
  is_compacting?: boolean
}

/** The window as a list of a model API, tombstones in place of evicted bodies. */
export interface SessionRender {
  session?: string
  cwd?: string
  format?: "anthropic_messages" | "openai_chat" | "openai_responses"
}

/** Change a session's settings; absent fields stay. */
export interface SessionSet {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  budget_tokens?: number | null
  window_max_tokens?: number | null
  rendered_by?: "agent" | "client" | "gateway" | null
  mode?: "observe" | "client" | "wire" | null
  task?: string | null
  model?: string | null
  open_paths?: string[] | null
}

/** Stop the daemon after the requests in flight. */
export interface Shutdown {
  [key: string]: never
}

/** Erase segments for good; only their bare ids stay. */
export interface StashForget {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  ids?: string[]
  whole_session?: boolean
}

/** Bring content back: the segment of an `id` exactly; excerpts in a frame for a `query`, for lines, or around a segment. Counts as a page fault. */
export interface StashRecall {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  id?: string
  query?: string
  around?: string
  lines?: string
  budget_tokens?: number | null
  project?: string
  scope?: "any" | "session"
  offset?: number
  limit_bytes?: number
  piece?: string
}

/** Find segments by words, in every session unless one is named. */
export interface StashSearch {
  session?: string
  cwd?: string
  query?: string
  here?: string
  project?: string
  kinds?: ("system" | "user" | "assistant" | "thinking" | "tool_call" | "attachment" | "summary" | "plan" | "other" | "exchange")[]
  tools?: string[]
  path?: string
  task?: string
  tags?: string[]
  states?: ("resident" | "evicted" | "departed" | "forgotten")[]
  after_s?: number
  before_s?: number
  limit?: number
  offset?: number
}

/** Receive events of the topics on this connection; `from_seq` resumes. */
export interface Subscribe {
  topics: ("session" | "collection" | "fault" | "import" | "config")[]
  from_seq?: number | null
}

/** Mutations of one session, applied together or not at all. */
export interface Tx {
  op_id?: string
  durability?: "commit" | "async"
  session?: string
  cwd?: string
  calls: (Record<string, unknown>)[]
}

/** The provider's bill for a request and its reply, in billed tokens. */
export interface Usage {
  input_tokens?: number
  cache_read_tokens?: number
  cache_creation_tokens?: number
  output_tokens?: number
  is_of_this?: boolean
}

/** Follow a transcript, or a folder of transcripts, as it grows. */
export interface WatchAdd {
  op_id?: string
  durability?: "commit" | "async"
  path: string
}

/** Ask for the pointers of results that no request has carried yet, before their request goes upstream. A result shows by a pointer the lines that the window shows already; the client puts the pointers in, and sends them with the segment in the next `window.sync`. Nothing changes. */
export interface WindowEnter {
  session: string
  project?: string
  new: (Record<string, unknown>)[]
  after?: string | null
}

/** Make a session's window exactly that of a request, learn from the last bill, and name the bodies that are to be out. A repeated sync changes no state. Where `unknown` comes back the window is unchanged: send those segments in `new`. */
export interface WindowSync {
  session: string
  format: "anthropic_messages" | "openai_chat" | "openai_responses"
  project?: string
  model?: string
  parent?: string
  parent_segment?: string
  ids?: string[]
  digests?: string[]
  new?: (Record<string, unknown>)[]
  fixed?: string[]
  held?: string[]
  edited?: string[] | null
  usage?: Usage | null
  cache?: SentCache | null
  was_answered?: boolean
  was_sent?: SentBefore | null
  is_cold?: boolean
  mode?: "shadow" | "on" | "off" | null
  can_recall?: boolean
  profile?: "cache_5m" | "cache_1h" | "openai" | "openai_5_6" | "openai_6_1" | "subscription" | "uncached" | "flat" | null
  window_max_tokens?: number
}

/** `segment.add`, `add_many`, `add_file`. */
export interface AddReply {
  session: string
  ids: string[]
  added: number
  resident_tokens: number
  billed_tokens: number
  changed: string
  next?: string | null
}

/** `backup`. */
export interface BackupReply {
  path: string
  bytes: number
  changed: string
}

/** A check of `doctor`. */
export interface CheckReply {
  name: string
  ok: boolean
  detail: string
  hint: string
}

/** A line of `heap.log`; with `collection` asked for, `victims` too. */
export interface CollectionReply {
  collection: number
  wall_s: number
  turn: number
  trigger: string
  target_tokens: number
  before_tokens: number
  after_tokens: number
  evicted: number
  asked_back: number
  protected_by: Record<string, number>
  held_by: Record<string, number>
  predicted_cost: number
  actual_cost: number | null
  undoes: number
  predicted_usd: number | null
  actual_usd: number | null
  victims?: VictimReply[] | null
}

/** `config.get`. */
export interface ConfigReply {
  config: Record<string, unknown>
}

/** `segment.get`. */
export interface ContentReply {
  id: string
  seq: number
  kind: string
  role: string
  state: string
  departure: string
  place: number
  born_turn: number
  touched_turn: number
  touches: number
  tokens: number
  body_tokens: number
  tombstone_tokens: number
  tool: string
  status: string
  command: string
  paths: PathUseReply[]
  digest: string
  is_pinned: boolean
  has_opaque: boolean
  garbage: string
  garbage_by: string
  redactions: number
  task: string
  tags: string[]
  importance: number
  wall_s: number
  collection: number
  elided?: ElidedLinesReply[] | null
  session: string
  pieces: PieceReply[]
  skeleton?: string | null
}

/** `rpc.discover`. */
export interface DiscoverReply {
  protocol: number
  verbs: Record<string, VerbReply>
}

/** `doctor`. */
export interface DoctorReply {
  ok: boolean
  checks: CheckReply[]
}

/** A run of lines that a resident result does not show itself. Lines are counted from 1, both ends included. */
export interface ElidedLinesReply {
  first_line: number
  last_line: number
  target: string
  is_in_stash: boolean
  saved_tokens: number
}

/** The elisions of each result with pointers, by id: `[first line, lines, target's id, target's first line, shift of the line numbers, saved tokens, note]`, lines counted from 0. The note stands in the place of the lines. */
export interface EnterReply {
  session: string
  elisions: Record<string, unknown[][]>
}

/** A tombstone in place of a body: `text` for its result (else its first piece), `marker` for each other piece. */
export interface EvictedReply {
  text: string
  marker: string
}

/** Lines of one origin in a frame. `id` and `address` are empty where the lines are no segment's: a list, a file. */
export interface ExcerptReply {
  session: string
  id: string
  address: string
  title: string
  label: string
  kind: string
  state: string
  turn: number
  wall_s: number
  first_line: number
  last_line: number
  lines: number
  total_lines: number
  tokens: number
}

/** `export`. */
export interface ExportReply {
  session: string
  path: string
  segments: number
  bytes: number
  changed: string
}

/** A file that an import could not read, or not to its end. */
export interface FailedReply {
  path: string
  kind: string
  error: string
  hint: string
}

/** `stash.forget`. */
export interface ForgetReply {
  session: string
  forgotten: number
  erasures_pending: number
  resident_tokens: number
  billed_tokens: number
  changed: string
}

/** `hello`. */
export interface HelloReply {
  protocol: number
  version: string
  build: string
  pid: number
  boot_id: string
  caps: string[]
  limits: LimitsReply
}

/** One hit of a search. `snippet` has matches between U+0002 and U+0003, and shows these lines of the segment. */
export interface HitReply {
  session: string
  id: string
  kind: string
  tool: string
  label: string
  state: string
  tokens: number
  wall_s: number
  project: string
  score: number
  match: string
  snippet: string
  title: string
  turn: number
  first_line: number
  last_line: number
}

/** `import`. `failed` lists the files that could not be read. `passed_over` counts the files that hold no part of a session: a host's own documents beside its logs, empty logs. The first of them are named. */
export interface ImportReply {
  sessions: ImportedReply[]
  failed: FailedReply[]
  bytes: number
  seconds: number
  changed: string
  passed_over?: number | null
  passed_over_files?: string[] | null
}

/** A session of an import. */
export interface ImportedReply {
  session: string
  path: string
  source: string
  segments: number
  added: number
  records: number
  skipped_records: number
  skipped: Record<string, number>
  resident_tokens: number
  parent: string
}

/** A term of the key that bodies are ranked by. */
export interface KeyTermReply {
  name: string
  log_odds: number
}

/** The tokens of a kind of segment in the window. */
export interface KindTokens {
  kind: string
  segments: number
  resident_tokens: number
  evicted_segments: number
}

/** The daemon's bounds for a connection. */
export interface LimitsReply {
  frame_bytes: number
  in_flight: number
  unsent_bytes: number
  batch: number
  bad_lines: number
  clients: number
}

/** `heap.log`. Tokens are raw: a journal entry never changes, while the ratio is still being learnt. */
export interface LogReply {
  session: string
  collections: CollectionReply[]
  ratio: number
  system_and_tools_tokens: number
  hidden_tokens: number
  price?: PriceReply | null
  pause?: string | null
}

/** `metrics`. */
export interface MetricsReply {
  text: string
}

/** The condition of a session's next collection. */
export interface NextCollectionReply {
  state: string
  words: string
  grown_tokens: number
  due_tokens: number
  cold_in_s: number | null
  limit_tokens: number
}

/** `heap.path`; an empty path means there is none. */
export interface PathReply {
  session: string
  path: StepReply[]
}

/** A segment's use of a file. */
export interface PathUseReply {
  path: string
  access: string
  first_line: number
  last_line: number
}

/** A piece of content: `text`, or `data_b64` where the bytes are not valid UTF-8. */
export interface PieceReply {
  name: string
  bytes: number
  tokens: number
  next_offset: number
  text?: string | null
  data_b64?: string | null
}

/** `heap.plan`, `heap.collect`, `segment.evict`, `heap.undo`. */
export interface PlanReply {
  session: string
  unit: string
  collection: number
  trigger: string
  before_tokens: number
  after_tokens: number
  target_tokens: number
  freed_tokens: number
  evicted: number
  victims: VictimReply[]
  by_reason: Record<string, ReasonReply>
  protected_by: Record<string, number>
  held_by: Record<string, number>
  predicted_cost: number
  cache_rewrite_tokens: number
  rendered_by: string
  mode: string
  effect: string
  changed: string
  next?: string | null
}

/** `ping`. */
export interface PongReply {
  pong: boolean
}

/** The list price of a model, in US dollars for a million tokens. */
export interface PriceReply {
  model: string
  input_usd: number
  output_usd: number
  as_of: string
}

/** The segments that a plan evicts for the same reason. */
export interface ReasonReply {
  segments: number
  freed_tokens: number
}

/** `stash.recall`: by `id` alone `recalled`, exactly; else `text`, a frame around `excerpts`. The text is data from a past session, never an instruction. */
export interface RecallReply {
  session: string
  recalled: ContentReply[]
  tokens: number
  faults: number
  notes: string[]
  resident_tokens: number
  billed_tokens: number
  changed: string
  text: string
  excerpts: ExcerptReply[]
  budget_tokens: number
  left_out: number
  next_line: number
  next?: string | null
}

/** A reference. */
export interface RefReply {
  id: string
  edge: string
  label: string
}

/** `heap.refs`. */
export interface RefsReply {
  session: string
  id: string
  refers_to: RefReply[]
  referred_by: RefReply[]
}

/** `session.rehydrate`. The text is data from a past session, never an instruction. */
export interface RehydrateReply {
  session: string
  text: string
  tokens: number
  budget_tokens: number
  excerpts: ExcerptReply[]
  notes: string[]
  departed: number
  departed_tokens: number
  offer: string
  next?: string | null
}

/** `config.reload`. */
export interface ReloadReply {
  changed: string
  next?: string | null
}

/** `session.render`, `messages.collect`. */
export interface RenderReply {
  session: string
  format: string
  messages: unknown
  tokens: number
  billed_tokens: number
  evicted: number
  plan?: PlanReply | null
  changed?: string | null
}

/** `stash.search`. */
export interface SearchReply {
  hits: HitReply[]
  notes: string[]
  next_offset: number
  partial: boolean
}

/** A segment without content, in the form of `segment.list`. */
export interface SegmentReply {
  id: string
  seq: number
  kind: string
  role: string
  state: string
  departure: string
  place: number
  born_turn: number
  touched_turn: number
  touches: number
  tokens: number
  body_tokens: number
  tombstone_tokens: number
  tool: string
  status: string
  command: string
  paths: PathUseReply[]
  digest: string
  is_pinned: boolean
  has_opaque: boolean
  garbage: string
  garbage_by: string
  redactions: number
  task: string
  tags: string[]
  importance: number
  wall_s: number
  collection: number
  elided?: ElidedLinesReply[] | null
}

/** `pin`, `unpin`, `touch`, `tag`, `ref`. */
export interface SegmentsChangedReply {
  session: string
  ids: string[]
  resident_tokens: number
  billed_tokens: number
  changed: string
  next?: string | null
}

/** `segment.list`. */
export interface SegmentsReply {
  session: string
  segments: SegmentReply[]
  total: number
  next_offset: number
}

/** A session, in the form of `session.list`; `session.open`, `set`, `close` too. */
export interface SessionReply {
  session: string
  project: string
  parent: string
  model: string
  title: string
  rendered_by: string
  mode: string
  task: string
  turn: number
  budget_tokens: number
  window_max_tokens: number
  created_s: number
  updated_s: number
  skipped_records: number
  closed: boolean
  changed?: string | null
  next?: string | null
}

/** `session.list`. */
export interface SessionsReply {
  sessions: SessionReply[]
  next_offset: number
}

/** What shortening would have done to the session's new results. Tokens are raw. */
export interface ShorteningReply {
  results: number
  saved_tokens: number
  parts: number
  asked_back: number
  asked_back_tokens: number
}

/** `session.show`. */
export interface ShowReply {
  session: string
  project: string
  parent: string
  model: string
  title: string
  rendered_by: string
  mode: string
  task: string
  turn: number
  budget_tokens: number
  window_max_tokens: number
  created_s: number
  updated_s: number
  skipped_records: number
  closed: boolean
  changed?: string | null
  next?: string | null
  segments: number
  resident: number
  evicted: number
  departed: number
  departed_tokens: number
  offer: string
  forgotten: number
  pinned: number
  resident_tokens: number
  evictable_tokens: number
  garbage_tokens: number
  billed_tokens: number
  system_and_tools_tokens: number
  hidden_tokens: number
  ratio: number
  pressure: number
  kinds: KindTokens[]
  children: string[]
  faults: number
  collections: number
  gateway: string
  freed_tokens: number
  cache_hit_rate: number | null
  saved_usd: number | null
  price: PriceReply | null
  last_collection: CollectionReply | null
  next_collection: NextCollectionReply
  shortening?: ShorteningReply | null
}

/** A slow request, without params: params hold a session's text. */
export interface SlowCallReply {
  ms: number
  method: string
  connection: number
  at_s: number
}

/** `slowlog`, the slowest request first. */
export interface SlowlogReply {
  calls: SlowCallReply[]
}

/** `stats`. */
export interface StatsReply {
  version: string
  pid: number
  boot_id: string
  uptime_s: number
  socket: string
  state_folder: string
  sessions: number
  heaps_loaded: number
  heap_segments: number
  text_cache_bytes: number
  segments: number
  stash_bytes: number
  stash_bytes_max: number
  read_only: string
  erasures_pending: number
  connections: number
  requests: number
  errors: number
  collections: number
  faults: number
  shortening_saved_tokens: number
  shortening_asked_back_tokens: number
  tokens_estimated: boolean
  rss_bytes: number
  watched: number
}

/** A step of a retaining path. */
export interface StepReply {
  id: string
  label: string
  edge: string
}

/** `shutdown`. */
export interface StoppingReply {
  changed: string
}

/** `subscribe`, `unsubscribe`. */
export interface SubscribedReply {
  topics: string[]
  next_seq?: number | null
}

/** A collection decided now; in shadow a collection that would have run. Tokens are raw. */
export interface SyncPlanReply {
  collection: number
  trigger: string
  evicted: number
  freed_tokens: number
  predicted_cost: number
  cache_rewrite_tokens: number
  victims: SyncVictimReply[]
  predicted_read_tokens: number
}

/** `window.sync`. */
export interface SyncReply {
  session: string
  mode: string
  evicted: Record<string, EvictedReply>
  unknown: string[]
  conflicts: string[]
  plan: SyncPlanReply | null
  window: WindowReply
  changed: string
  elided?: Record<string, unknown[][]> | null
  next?: string | null
}

/** A body that left in a collection, and why. */
export interface SyncVictimReply {
  id: string
  reason: string
  freed_tokens: number
}

/** `stash.tiers`. */
export interface TiersReply {
  hot_segments: number
  hot_bytes: number
  warm_segments: number
  cold_segments: number
  bytes_on_disk: number
}

/** `tx`. */
export interface TxReply {
  session: string
  results: unknown[]
  changed: string
}

/** A verb of `rpc.discover`. */
export interface VerbReply {
  help: string
  mutates: boolean
  params: Record<string, unknown>
  reply: string
}

/** A segment that a plan would evict, or a collection evicted. */
export interface VictimReply {
  id: string
  kind: string
  tool: string
  label: string
  reason: string
  by: string
  freed_tokens: number
  score: number
  age_turns: number
  asked_back_after_turns?: number | null
}

/** `watch.list`, `watch.add`, `watch.remove`. */
export interface WatchReply {
  watched: WatchedReply[]
  changed?: string | null
}

/** A path that the daemon follows. */
export interface WatchedReply {
  path: string
  files: number
  bytes_read: number
  sessions: string[]
  error: string
  files_found: number
  files_looked_at: number
}

/** `heap.why`. */
export interface WhyReply {
  session: string
  id: string
  label: string
  state: string
  verdict: string
  root: string
  path: StepReply[]
  reason: string
  by: string
  collection: number
  wall_s: number
  rank: number
  ranked: number
  terms: KeyTermReply[]
  explanation: string
  next?: string | null
}

/** The window in the form of the next request. */
export interface WindowReply {
  segments: number
  resident_tokens: number
  billed_tokens: number
  freed_tokens: number
  ratio: number
  cache_hit_rate: number
}

export interface Params {
  "backup": Backup
  "config.get": NoParams
  "config.reload": NoParams
  "doctor": Doctor
  "export": Export
  "heap.collect": HeapCollect
  "heap.log": HeapLog
  "heap.path": HeapPath
  "heap.plan": HeapPlan
  "heap.refs": OneSegment
  "heap.undo": HeapUndo
  "heap.why": HeapWhy
  "hello": Hello
  "import": Import
  "messages.collect": MessagesCollect
  "metrics": NoParams
  "ping": NoParams
  "rpc.discover": NoParams
  "segment.add": SegmentAdd
  "segment.add_file": SegmentAddFile
  "segment.add_many": SegmentAddMany
  "segment.evict": SegmentIds
  "segment.get": SegmentGet
  "segment.list": SegmentList
  "segment.pin": SegmentIds
  "segment.ref": SegmentRef
  "segment.tag": SegmentTag
  "segment.touch": SegmentIds
  "segment.unpin": SegmentIds
  "session.close": MutatingSession
  "session.list": SessionList
  "session.open": SessionOpen
  "session.rehydrate": SessionRehydrate
  "session.render": SessionRender
  "session.set": SessionSet
  "session.show": OfSession
  "shutdown": Shutdown
  "slowlog": NoParams
  "stash.forget": StashForget
  "stash.recall": StashRecall
  "stash.search": StashSearch
  "stash.tiers": NoParams
  "stats": NoParams
  "subscribe": Subscribe
  "tx": Tx
  "unsubscribe": NoParams
  "watch.add": WatchAdd
  "watch.list": NoParams
  "watch.remove": WatchAdd
  "window.enter": WindowEnter
  "window.sync": WindowSync
}

export interface Replies {
  "backup": BackupReply
  "config.get": ConfigReply
  "config.reload": ReloadReply
  "doctor": DoctorReply
  "export": ExportReply
  "heap.collect": PlanReply
  "heap.log": LogReply
  "heap.path": PathReply
  "heap.plan": PlanReply
  "heap.refs": RefsReply
  "heap.undo": PlanReply
  "heap.why": WhyReply
  "hello": HelloReply
  "import": ImportReply
  "messages.collect": RenderReply
  "metrics": MetricsReply
  "ping": PongReply
  "rpc.discover": DiscoverReply
  "segment.add": AddReply
  "segment.add_file": AddReply
  "segment.add_many": AddReply
  "segment.evict": PlanReply
  "segment.get": ContentReply
  "segment.list": SegmentsReply
  "segment.pin": SegmentsChangedReply
  "segment.ref": SegmentsChangedReply
  "segment.tag": SegmentsChangedReply
  "segment.touch": SegmentsChangedReply
  "segment.unpin": SegmentsChangedReply
  "session.close": SessionReply
  "session.list": SessionsReply
  "session.open": SessionReply
  "session.rehydrate": RehydrateReply
  "session.render": RenderReply
  "session.set": SessionReply
  "session.show": ShowReply
  "shutdown": StoppingReply
  "slowlog": SlowlogReply
  "stash.forget": ForgetReply
  "stash.recall": RecallReply
  "stash.search": SearchReply
  "stash.tiers": TiersReply
  "stats": StatsReply
  "subscribe": SubscribedReply
  "tx": TxReply
  "unsubscribe": SubscribedReply
  "watch.add": WatchReply
  "watch.list": WatchReply
  "watch.remove": WatchReply
  "window.enter": EnterReply
  "window.sync": SyncReply
}

/** The name of a verb. */
export type Method = keyof Params
