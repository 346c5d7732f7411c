/**
 * Notes of ctxgc for OpenCode's model, beside messages: working sets, and names of segments worth recalling.
 *
 *     a session begins ──▶ the working set of the last session of this folder ──▶ beside its first message
 *     a compaction     ──▶ this session's own, and what can be had back       ──▶ beside the compaction's message
 *     a prompt         ──▶ if wished, names of segments that have its words   ──▶ beside the prompt
 *
 * A note stands in the list that OpenCode sends, at the same place each time so that the prompt cache fits, and never in
 * OpenCode's store. No list waits for its notes longer than HOOK_MS; a note that comes within NOTE_MS stands in the next
 * list, a later one in none.
 */

import { spawn } from "node:child_process"

const HOOK_MS = 50
const NOTE_MS = 500
const BUDGET_TOKENS = 2000
/** Tokens of the sentence about what a compaction dropped, as protocol/limits.py has them. */
const OFFER_TOKENS_MAX = 80
const SESSIONS_LOOKED_AT = 5
const BEGINNINGS_MAX = 64
const NOTED_MAX = 256

/** The notes of one process, each under its message's id. */
export class Notes {
  constructor(link, directory, { collects, command }, env) {
    this.link = link
    this.directory = directory
    this.collects = collects
    this.command = command
    this.budget = Number(env.CTXGC_OPENCODE_BUDGET) || BUDGET_TOKENS
    this.suggests = env.CTXGC_OPENCODE_SUGGEST === "on"
    this.beginnings = new Map()
    this.noted = new Map()
    this.hasStarted = false
  }

  /** A session was created: its first message is not known yet. */
  begin(name) {
    const text = this.continued(name)
    text.catch(() => {}) // Whoever notes it hears of a failure; often nobody does.
    keep(this.beginnings, name, text, BEGINNINGS_MAX)
  }

  /** The working set of the session before this one in the very same folder. */
  async continued(name) {
    const sessions = await this.newest().catch((error) => {
      this.startDaemon()
      throw error
    })
    const own = `opencode:${name}`
    const last = sessions.find(({ session, parent }) => session !== own && (!parent || isBranch(session, parent)))
    return last ? this.rehydrated(last.session, this.budget) : ""
  }

  /** The newest sessions of the very same folder. */
  async newest() {
    const params = { project: this.directory, limit: SESSIONS_LOOKED_AT }
    return (await this.link.call("session.list", params)).sessions
  }

  /** A daemon that is away is started once, and not waited for. */
  startDaemon() {
    if (this.hasStarted) return
    this.hasStarted = true
    const child = spawn(this.command, ["up"], { stdio: "ignore", detached: true })
    child.on("error", () => {})
    child.unref()
  }

  async rehydrated(session, budget) {
    const params = { session, budget_tokens: Math.max(1, budget) }
    return (await this.link.call("session.rehydrate", params)).text.trimEnd()
  }

  /** Before the daemon is told of a list: of one that was compacted since, what it knew is the working set. */
  expect(messages, name) {
    const isCompaction = ({ info, parts }) => info.role === "user" && parts.some((part) => part.type === "compaction")
    const id = messages.findLast(isCompaction)?.info.id
    if (!id || this.noted.has(id)) return null
    const budget = this.budget - OFFER_TOKENS_MAX
    // No call comes before this one where the plugin is to tell of the list next.
    const before = this.collects
      ? this.rehydrated(`opencode:${name}`, budget)
      : this.branch(name).then((session) => this.rehydrated(session, budget))
    before.catch(() => {}) // As above.
    return { id, before }
  }

  /** The session's newest branch: behind the gateway a list that was compacted begins one. */
  async branch(name) {
    const own = `opencode:${name}`
    return (await this.newest()).find(({ session }) => session === own || isBranch(session, own))?.session ?? own
  }

  async compacted(name, before, told) {
    await told
    const session = `opencode:${name}`
    // A daemon that is behind has only now heard of the session.
    const text = await before.catch(() => this.rehydrated(session, this.budget - OFFER_TOKENS_MAX))
    const { offer } = await this.link.call("session.show", { session })
    return [text, offer && `[ctxgc: ${offer}]`].filter(Boolean).join("\n")
  }

  /** A prompt was typed. The frame around names is made by `ctxgc hook`. */
  suggest(session, { id }, parts) {
    if (!this.suggests) return
    const typed = parts.filter((part) => part.type === "text" && !part.synthetic).map((part) => part.text)
    const event = { hook_event_name: "UserPromptSubmit", session_id: session, cwd: this.directory }
    const words = ["hook", "--agent", "opencode", "--suggest", "--no-spawn"]
    this.note(id, contextFrom(this.command, words, { ...event, prompt: typed.join("\n") }))
  }

  note(id, text) {
    const note = { text: "" }
    note.done = textInTime(text).then((found) => (note.text = found))
    keep(this.noted, id, [...(this.noted.get(id) ?? []), note], NOTED_MAX)
  }

  /** Put the notes beside their messages: `told` has come to pass when the daemon knows the list. */
  async put(messages, name, expected, told) {
    if (expected) this.note(expected.id, this.compacted(name, expected.before, told))
    const beginning = this.beginnings.get(name)
    if (beginning && messages.length === 1) this.note(messages[0].info.id, beginning)
    this.beginnings.delete(name)
    const notes = messages.map(({ info }) => this.noted.get(info.id) ?? [])
    await within(HOOK_MS, Promise.all(notes.flat().map(({ done }) => done)))
    for (const [at, { info, parts }] of messages.entries()) {
      const text = notes[at].map((note) => note.text).filter(Boolean).join("\n")
      const part = { id: `prt_ctxgc_${info.id}`, sessionID: info.sessionID, messageID: info.id, type: "text" }
      // Another list of parts: OpenCode makes the session's title of the very one that it sends.
      if (text) messages[at] = { info, parts: [...parts, { ...part, text, synthetic: true }] }
    }
  }
}

function isBranch(session, of) {
  return session.startsWith("opencode:") && session.startsWith(`${of}/`)
}

function keep(map, key, value, max) {
  map.delete(key)
  map.set(key, value)
  if (map.size > max) map.delete(map.keys().next().value)
}

/** Wait no longer than this. An answer that came while OpenCode was busy itself is in time. */
function within(ms, promise) {
  return Promise.race([promise, new Promise((resolve) => setTimeout(() => setImmediate(resolve), ms))])
}

/** A note's text; empty where it fails or is late. */
async function textInTime(text) {
  return (await within(NOTE_MS, text.catch(() => ""))) || ""
}

/** What a hook that is called as agents call it gives the model. */
async function contextFrom(command, words, event) {
  const output = await new Promise((resolve, reject) => {
    const child = spawn(command, words, { stdio: ["pipe", "pipe", "ignore"], timeout: NOTE_MS })
    let said = ""
    child.on("error", reject)
    child.stdin.on("error", () => {})
    child.stdout.on("data", (data) => (said += data))
    child.on("close", () => resolve(said))
    child.stdin.end(JSON.stringify(event))
  })
  return output && JSON.parse(output).hookSpecificOutput.additionalContext
}
