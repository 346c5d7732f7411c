/**
 * ctxgc for OpenCode: collects a session's context over the daemon's socket. No gateway, no change of base URL.
 *
 *     OpenCode is about to send its list ──▶ tombstones in force are put in ──▶ it sends
 *                                       └──▶ the daemon is told of the list ──▶ tombstones for the next one
 *
 *     a tool or a reply ends, a compaction begins ──▶ the daemon is told at once what it would hear of later, or never
 *
 * `ctxgc install opencode --plugin` or `--hooks` writes this file. Or copy it to ~/.config/opencode/plugins/ (or
 * .opencode/plugins/ of a project) and run `ctxgc up`. What OpenCode's environment says:
 *   CTXGC_OPENCODE_MODE     `shadow` (default: everything is computed and journalled, nothing edited), `on`, `off`
 *   CTXGC_OPENCODE_HOOKS    `off`: without the notes of ctxgc/notes.ts, which `--hooks` installs
 *   CTXGC_OPENCODE_BUDGET   the most raw tokens of a note that is a working set; default: 2000
 *   CTXGC_OPENCODE_SUGGEST  `on`: a prompt gets the names of segments that have its words
 *
 * Nothing waits for the daemon but, in `on`, the first list of a session that this process meets, and that for WAIT_MS,
 * and a list with new results, for ENTER_MS: what the window shows already goes up as a pointer from the first list on.
 * Whatever fails here or there, OpenCode sends what it would have sent. While the daemon is gone what was out stays out,
 * so that the prompt cache goes on to fit. A tombstone stands only where the content is that it was decided on, by
 * digest: hosts change outputs under their ids. Plain JavaScript that TypeScript takes too.
 */

import { createHash } from "node:crypto"
import { lstatSync, readFileSync } from "node:fs"
import { connect } from "node:net"
import { userInfo } from "node:os"
import { join } from "node:path"

/** `ctxgc install` writes this line: what the plugin does, and how it calls the command. */
const INSTALLED = { collects: true, hooks: false, command: "ctxgc" }

const WAIT_MS = 200
const ENTER_MS = 50
const CALL_MS = 30_000
const RETRY_MS = 1_000
const NEW_CHARS_MAX = 1_000_000
const TRIES_MAX = 3
const SESSIONS_MAX = 64
const LINE_CHARS_MAX = 16_000_000
const DIGEST_CHARS = 32
/** A string of a tool's input is a piece of the body from this length on. */
const INPUT_PIECE_CHARS_MIN = 400

// The connection of clients/typescript, verbatim.
/** Where a daemon may listen, as the `ctxgc` command has it: the usual place, then what one wrote into its lock. */
function placesIn(env) {
  if (env.CTXGC_SOCKET) return [env.CTXGC_SOCKET].filter(isOurs)
  const { state, socket } = foldersIn(env)
  return [...new Set([socket, writtenIn(join(state, "ctxgcd.lock"))])].filter(isOurs)
}

/** The daemon's state folder and usual socket, as protocol/discovery.py has them: a relative XDG path is ignored. */
function foldersIn(env) {
  const absolute = (path) => (path?.startsWith("/") ? path : "")
  const home = absolute(env.HOME) || userInfo().homedir
  const base = absolute(env.XDG_STATE_HOME) || join(home, ".local", "state")
  const configured = (env.CTXGC_DAEMON__STATE_DIR ?? "").replace(/^~(?=\/|$)/, home)
  const state = absolute(configured) || join(base, "ctxgc")
  return { state, socket: join(absolute(env.XDG_RUNTIME_DIR) || base, "ctxgc", "ctxgc.sock") }
}

function writtenIn(lock) {
  if (!isOurs(lock)) return ""
  const [pid, path] = readFileSync(lock, "utf8").split("\n")
  return /^\d+$/.test(pid) && path?.startsWith("/") ? path : ""
}

/** Not what another user put there: what we would send are transcripts. */
function isOurs(path) {
  return path !== "" && lstatSync(path, { throwIfNoEntry: false })?.uid === process.getuid()
}

/** A connection that is opened when it is needed, and again after it broke. */
class Link {
  constructor(env) {
    this.env = env
    this.drops = 0
    this.socket = null
    this.waiting = new Map()
    this.lastId = 0
    this.failedMs = -RETRY_MS
    /** Takes each event; null: the connection ended. */
    this.hears = null
  }

  /** The result of one verb; rejects if there is none. Without a deadline of its own, a silent daemon is hung up on. */
  call(method, params, deadlineMs = 0) {
    return new Promise((resolve, reject) => {
      const socket = this.open()
      const id = ++this.lastId
      const late = () => (deadlineMs ? this.giveUp(id) : this.drop(new Error("the daemon does not answer"), socket))
      const timer = setTimeout(late, deadlineMs || CALL_MS)
      if (!deadlineMs) timer.unref?.()
      this.waiting.set(id, { resolve, reject, timer })
      socket.write(JSON.stringify({ id, method, params, ...(deadlineMs && { deadline_ms: deadlineMs }) }) + "\n")
    })
  }

  /** One call's answer is not wanted any more; the others go on. */
  giveUp(id, error = Object.assign(new Error("the daemon is late"), { kind: "deadline" })) {
    const call = this.waiting.get(id)
    if (!call) return
    this.waiting.delete(id)
    clearTimeout(call.timer)
    this.socket?.write(JSON.stringify({ method: "$/cancel", params: { id } }) + "\n")
    call.reject(error)
  }

  open() {
    if (this.socket) return this.socket
    const places = performance.now() - this.failedMs < RETRY_MS ? [] : placesIn(this.env)
    if (!places.length) throw Object.assign(new Error("no daemon"), { kind: "unreachable" })
    // At the usual place a daemon may have left its socket when it died: the next try is for the other one.
    const socket = connect(places[this.drops % places.length])
    let rest = ""
    socket.setEncoding("utf8")
    socket.unref?.()
    socket.on("error", (error) => this.drop(error, socket))
    socket.on("close", () => this.drop(new Error("the daemon hung up"), socket))
    socket.on("data", (text) => {
      // What fails in here is caught by nobody else, and would end OpenCode.
      try {
        const lines = (rest + text).split("\n")
        rest = lines.pop()
        if (rest.length > LINE_CHARS_MAX) throw new Error("an answer without end")
        for (const line of lines) this.take(JSON.parse(line))
      } catch (error) {
        this.drop(error, socket)
      }
    })
    return (this.socket = socket)
  }

  take(answer) {
    if (answer.method) return this.hears?.(answer)
    const call = this.waiting.get(answer.id)
    if (!call) return
    this.waiting.delete(answer.id)
    clearTimeout(call.timer)
    if ("result" in answer) call.resolve(answer.result)
    else call.reject(Object.assign(new Error(answer.error?.message ?? "refused"), answer.error?.data))
  }

  drop(error, socket) {
    if (socket !== this.socket) return
    this.failedMs = performance.now()
    this.drops++
    this.socket = null
    socket.destroy()
    const calls = [...this.waiting.values()]
    this.waiting.clear()
    error.kind ??= "unreachable"
    for (const call of calls) {
      clearTimeout(call.timer)
      call.reject(error)
    }
    this.hears?.(null)
  }
}

// The end of the connection.

/** What a list holds: records as `window.sync` takes them, ids that cannot be edited, and where each part stands. */
function windowOf(messages) {
  const records = []
  const fixed = []
  const places = new Map()
  const uses = new Map()
  for (const { info, parts } of messages) {
    for (const [at, part] of parts.entries()) {
      const record = info.role === "user" ? ofUser(part) : ofAssistant(part, info.id)
      // Some servers count their calls anew in each reply. What is left out counts too, or all later ones were renamed.
      const callId = part.type === "tool" && part.callID ? numbered(part.callID, uses) : ""
      if (!record) continue
      const { kind, tool, input, text, status } = record
      record.digest = digestOf([kind, tool, input, text, status])
      // A text has no name but its part's, and may be another later.
      record.id = callId || `${part.id}-${record.digest.slice(0, 8)}`
      records.push(record)
      places.set(record.id, { parts, at, digest: record.digest })
      if (kind !== "tool_call" || status === "error") fixed.push(record.id)
    }
  }
  return { records, fixed, places }
}

const SHOWS_A_FILE = /^(Called the Read tool with the following input: |<path>|<file>)/

function ofUser(part) {
  if (part.type !== "text" || part.ignored || !part.text?.trim()) return null
  // What OpenCode writes itself are its rules, but for the text of a file that the user mentioned.
  const written = SHOWS_A_FILE.test(part.text) ? "attachment" : "system"
  return { kind: part.synthetic ? written : "user", role: "user", text: part.text }
}

function ofAssistant(part, reply) {
  if (part.type === "text" && part.text?.trim()) return { kind: "assistant", text: part.text, reply }
  if (part.type === "reasoning" && part.text?.trim()) return { kind: "thinking", text: part.text, reply }
  // What OpenCode itself has cleared is out of the window, by its hand.
  if (part.type !== "tool" || !part.callID || part.state.time?.compacted) return null
  const { state } = part
  const call = { kind: "tool_call", tool: part.tool, input: state.input ?? {}, reply }
  if (state.status === "completed") return { ...call, text: state.output }
  if (state.status === "error") return { ...call, text: state.error ?? "", status: "error" }
  return { ...call, status: "pending" }
}

/** A call's id: the first use is bare, the n-th is `ID~n`, as everywhere in ctxgc. */
function numbered(callID, uses) {
  const use = (uses.get(callID) ?? 0) + 1
  uses.set(callID, use)
  return use === 1 && !callID.includes("~") ? callID : `${callID}~${use}`
}

/** What a content is known by: two that differ in anything have two. */
function digestOf(content) {
  return createHash("sha256").update(JSON.stringify(content)).digest("hex").slice(0, DIGEST_CHARS)
}

/**
 * Put tombstones where bodies are out, and pointers where the list shows the lines already; the ids of those that are
 * out. Parts are replaced, never changed.
 */
function edit(places, session) {
  const edited = []
  for (const [id, out] of session.evicted) {
    const { parts, at, digest } = places.get(id) ?? {}
    if (!parts || digest !== out.digest) continue
    const { state } = parts[at]
    parts[at] = { ...parts[at], state: { ...state, input: marked(state.input, out.marker), output: out.text } }
    edited.push(id)
  }
  for (const [id, elided] of session.elided) {
    const { parts, at, digest } = places.get(id) ?? {}
    if (!parts || digest !== elided.digest || session.evicted.has(id)) continue
    // OpenCode clears old outputs under their ids: lines that stand nowhere else any more stand themselves.
    const runs = elided.runs.filter(([, , , target]) => places.get(target)?.digest === elided.targets.get(target))
    const { state } = parts[at]
    parts[at] = { ...parts[at], state: { ...state, output: elidedText(state.output, runs) } }
  }
  return edited
}

/** An output with a note in the place of each run of lines: [first line from 0, lines, note, target]. */
function elidedText(text, runs) {
  const lines = text.split("\n")
  const shown = []
  let at = 0
  for (const [first, count, note] of runs) {
    shown.push(...lines.slice(at, first), note)
    at = first + count
  }
  return [...shown, ...lines.slice(at)].join("\n")
}

/** The calls of the newest reply whose results no list has carried yet, and the call before them. */
function entering(messages, { records }, session) {
  const newest = messages.findLast(({ info }) => info.role === "assistant")?.info.id
  const calls = records.filter(({ kind }) => kind === "tool_call")
  const isNew = ({ id, reply, status }) => reply === newest && !status && !session.carried.has(id)
  const after = calls.findLast((call) => !isNew(call))?.id
  return { new: calls.filter(isNew), ...(after ? { after } : {}) }
}

function marked(value, marker) {
  if (typeof value === "string") return value.length >= INPUT_PIECE_CHARS_MIN ? marker : value
  if (Array.isArray(value)) return value.map((item) => marked(item, marker))
  if (value === null || typeof value !== "object") return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, marked(item, marker)]))
}

/** One session: what the daemon was told, and what it answered. */
class Session {
  constructor(link, name, project, mode) {
    this.link = link
    this.about = { session: `opencode:${name}`, format: "openai_chat", project, mode }
    this.known = new Map()
    this.evicted = new Map()
    /** Results that go up with pointers: the runs with their notes, the digests of the content and of each target. */
    this.elided = new Map()
    /** The same as the daemon takes it. */
    this.elisions = new Map()
    /** Ids of calls whose results were in a list. */
    this.carried = new Set()
    this.usageOf = ""
    this.isMet = false
    this.isCompacting = false
    /** The message that the model is writing, or wrote last. */
    this.reply = ""
    this.next = null
    this.telling = null
  }

  /** Tell the daemon of a list, after whatever is being told; of several that wait only the newest. */
  tell(told) {
    this.next = told
    this.telling ??= this.run().finally(() => (this.telling = null))
    return this.telling
  }

  async run() {
    while (this.next) {
      const told = this.next
      this.next = null
      await this.sync(told)
    }
  }

  /** Have the daemon keep records whatever the window is, as far as it does not know them. */
  async keep(records) {
    const missing = records.filter((record) => this.known.get(record.id) !== record.digest)
    for (const load of missing.length ? loadsOf(missing) : []) {
      await this.link.call("window.sync", { ...this.about, new: load })
      for (const { id, digest } of load) this.known.set(id, digest)
    }
  }

  /** Ask for the pointers of results that no list has carried yet; whole they go up where no answer comes in time. */
  async enter(asked, places) {
    const { session, project } = this.about
    const ids = new Set(asked.new.map(({ id }) => id))
    const { elisions } = await this.link.call("window.enter", { session, project, ...asked })
    for (const [id, runs] of Object.entries(elisions)) {
      // The daemon speaks of the list as last synced; a result beside this one is as new as this one.
      const isKnown = (id) => ids.has(id) || this.known.get(id) === places.get(id)?.digest
      // Lines that were left out at birth have no target.
      const isShown = ([, , target]) =>
        !target || (places.has(target) && isKnown(target) && !this.evicted.has(target))
      if (!places.has(id) || this.carried.has(id) || !runs.every(isShown)) continue
      this.elisions.set(id, runs)
      const targets = new Map(runs.map(([, , target]) => [target, places.get(target)?.digest]))
      const shown = runs.map((run) => [run[0], run[1], run[6], run[2]])
      this.elided.set(id, { runs: shown, digest: places.get(id).digest, targets })
    }
  }

  async sync({ records, fixed, edited, usage, model }) {
    const ids = records.map((record) => record.id)
    const digests = records.map((record) => record.digest)
    const digestsOf = new Map(records.map((record) => [record.id, record.digest]))
    const sent = records.map((record) => {
      const elisions = this.elisions.get(record.id)
      return elisions ? { ...record, elisions } : record
    })
    let missing = sent.filter((record) => this.known.get(record.id) !== record.digest)
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const loads = loadsOf(missing)
      for (const load of loads.slice(0, -1)) await this.link.call("window.sync", { ...this.about, new: load })
      const params = { ...this.about, model, ids, digests, fixed, edited, usage, new: loads.at(-1) }
      const answer = await this.link.call("window.sync", params)
      usage = null
      this.known = digestsOf
      missing = sent.filter((record) => answer.unknown.includes(record.id))
      if (!missing.length) {
        const out = Object.entries(answer.evicted)
        this.evicted = new Map(out.map(([id, said]) => [id, { ...said, digest: digestsOf.get(id) }]))
        // A later list may have got pointers meanwhile: of those this answer says nothing.
        for (const id of ids) this.elided.delete(id)
        for (const [id, runs] of Object.entries(answer.elided ?? {})) {
          const targets = new Map(runs.map(([, , , target]) => [target, digestsOf.get(target)]))
          this.elided.set(id, { runs, digest: digestsOf.get(id), targets })
        }
        return
      }
    }
  }
}

function loadsOf(records) {
  const loads = [[]]
  let chars = 0
  for (const record of records) {
    chars += JSON.stringify(record).length
    if (chars > NEW_CHARS_MAX && loads.at(-1).length) {
      loads.push([])
      chars = 0
    }
    loads.at(-1).push(record)
  }
  return loads
}

/** What the last request was billed, told once: the tokens of the newest reply. */
function usageIn(messages, session) {
  const info = messages.findLast(({ info }) => info.role === "assistant" && info.tokens?.output)?.info
  if (!info || info.id === session.usageOf) return null
  session.usageOf = info.id
  const { input, output, cache } = info.tokens
  const counted = { cache_read_tokens: cache?.read ?? 0, cache_creation_tokens: cache?.write ?? 0 }
  return { input_tokens: input ?? 0, output_tokens: output, ...counted }
}

export const ctxgc = async ({ directory }) => {
  const { env } = process
  const mode = env.CTXGC_OPENCODE_MODE || "shadow"
  if (mode === "off") return {}
  const link = new Link(env)
  const notes = env.CTXGC_OPENCODE_HOOKS === "off" ? null : await notesOf(link, directory ?? "", env)
  const sessions = new Map()

  function sessionOf(name) {
    const session = sessions.get(name) ?? new Session(link, name, directory ?? "", mode)
    sessions.delete(name)
    sessions.set(name, session)
    if (sessions.size > SESSIONS_MAX) sessions.delete(sessions.keys().next().value)
    return session
  }

  async function transform(messages) {
    const name = messages.at(-1)?.info.sessionID
    if (!name) return
    const session = sessionOf(name)
    const { places, ...list } = windowOf(messages)
    if (session.isCompacting) {
      // What OpenCode is about to sum up is not the window: all of it stays there until the summary stands.
      session.isCompacting = false
      if (INSTALLED.collects) session.keep(list.records).catch(() => {})
      edit(places, session)
      return
    }
    const told = { ...list, usage: usageIn(messages, session), model: modelOf(messages) }
    const isNew = !session.isMet
    session.isMet = true
    if (!isNew && mode === "on" && INSTALLED.collects) await enter(session, messages, list, places)
    for (const { id, kind } of list.records) if (kind === "tool_call") session.carried.add(id)
    if (!isNew) told.edited = edit(places, session)
    const expected = notes?.expect(messages, name)
    const asked = INSTALLED.collects ? session.tell(told).catch(() => {}) : Promise.resolve()
    const noted = notes?.put(messages, name, expected, asked)
    if (isNew && mode === "on") {
      // Another process may have collected this session before: what was out stays out.
      await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, WAIT_MS))])
      edit(places, session)
    }
    await noted
  }

  async function enter(session, messages, list, places) {
    const asked = entering(messages, list, session)
    if (!asked.new.length) return
    const answered = session.enter(asked, places).catch(() => {})
    await Promise.race([answered, new Promise((resolve) => setTimeout(resolve, ENTER_MS))])
  }

  /** A part has ended: the next list may be far away, or never come. */
  function take(part) {
    const session = sessionOf(part.sessionID)
    // An id may have been that of an earlier call: which use this is only a list says.
    if (!session.isMet || part.messageID !== session.reply || session.known.has(part.callID)) return
    const { records } = windowOf([{ info: { id: part.messageID, role: "assistant" }, parts: [part] }])
    if (part.time?.end || ["completed", "error"].includes(part.state?.status)) session.keep(records).catch(() => {})
  }

  return {
    "experimental.chat.messages.transform": async (_input, output) => {
      await transform(output.messages).catch(() => {})
    },
    "experimental.session.compacting": async ({ sessionID }) => {
      sessionOf(sessionID).isCompacting = true
    },
    "chat.message": guarded(({ sessionID }, { message, parts }) => notes?.suggest(sessionID, message, parts)),
    event: guarded(({ event: { type, properties } }) => {
      const { info, part } = properties
      if (type === "session.created" && !info.parentID) notes?.begin(info.id)
      // A summary is no reply: after the compaction it stands in the list.
      const isReply = info?.role === "assistant" && !info.summary
      if (type === "message.updated" && isReply) sessionOf(info.sessionID).reply = info.id
      if (type === "message.part.updated" && INSTALLED.collects) take(part)
    }),
  }
}

/** What fails in a hook is no matter of OpenCode's. */
function guarded(act) {
  return async (...given) => {
    try {
      act(...given)
    } catch {}
  }
}

async function notesOf(link, directory, env) {
  if (!INSTALLED.hooks) return null
  try {
    const { Notes } = await import("./ctxgc/notes.ts")
    return new Notes(link, directory, INSTALLED, env)
  } catch {
    return null
  }
}

function modelOf(messages) {
  const info = messages.findLast(({ info }) => info.modelID || info.model?.modelID)?.info
  return info?.modelID ?? info?.model?.modelID ?? ""
}
