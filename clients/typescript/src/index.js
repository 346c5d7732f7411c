/**
 * The daemon of ctxgc for JavaScript and TypeScript: typed calls, events, and lists that fit.
 *
 *     const client = new Client()
 *     const { messages } = await client.collect("my-agent", messages, { format: "openai_chat", budget: 60_000 })
 *     const { hits } = await client.call("stash.search", { query: "token refresh" })
 */

import { spawn } from "node:child_process"
import { Link } from "./connection.js"

const DEADLINE_MS = 30_000
const COLLECT_MS = 2_000
const START_MS = 10_000
const LOOK_MS = 50
const BACK_OFF_MAX_MS = 5_000

/** A call has no result; `kind` is the daemon's stable word, `unreachable`, `deadline` or `aborted`. */
export class CallFailed extends Error {
  /** @param {string} kind @param {string} message @param {string} [hint] */
  constructor(kind, message, hint = "") {
    super(message)
    this.name = "CallFailed"
    this.kind = kind
    this.hint = hint
  }
}

export class Client {
  constructor({ socket = "", startDaemon = true, command = "ctxgc", env = process.env } = {}) {
    this.env = socket ? { ...env, CTXGC_SOCKET: socket } : env
    this.link = new Link(this.env)
    this.startDaemon = startDaemon
    this.command = command
    this.starting = null
    /** Lists that came back as they were because the daemon failed, by kind. */
    this.failures = {}
  }

  /** The result of a verb. Rejects with `CallFailed`. */
  async call(method, params = {}, { deadlineMs = DEADLINE_MS, signal } = {}) {
    const endsMs = performance.now() + deadlineMs
    try {
      return await this.once(method, params, deadlineMs, signal)
    } catch (error) {
      if (error.kind !== "unreachable" || !this.startDaemon) throw error
      await this.start(endsMs)
      return this.once(method, params, Math.max(endsMs - performance.now(), 1), signal)
    }
  }

  async once(method, params, deadlineMs, signal) {
    if (signal?.aborted) throw new CallFailed("aborted", "the call was aborted")
    let stop = () => {}
    try {
      const called = this.link.call(method, params, Math.ceil(deadlineMs))
      const id = this.link.lastId
      stop = () => this.link.giveUp(id, new CallFailed("aborted", "the call was aborted"))
      signal?.addEventListener("abort", stop)
      return await called
    } catch (error) {
      if (error instanceof CallFailed) throw error
      throw new CallFailed(error.kind ?? "internal", error.message, error.hint)
    } finally {
      signal?.removeEventListener("abort", stop)
    }
  }

  /** Start the daemon, once for all calls that wait, and wait until it answers. */
  start(endsMs) {
    this.starting ??= this.startOnce(endsMs).finally(() => (this.starting = null))
    return this.starting
  }

  async startOnce(endsMs) {
    const child = spawn(this.command, ["up"], { env: this.env, stdio: "ignore", detached: true })
    const failed = new Promise((_, reject) => child.on("error", reject))
    failed.catch(() => {})
    child.unref()
    for (const gaveUpMs = Math.min(endsMs, performance.now() + START_MS); performance.now() < gaveUpMs; ) {
      this.link.failedMs = -Infinity
      try {
        await Promise.race([failed, this.link.call("ping", {}, 500)])
        return
      } catch (error) {
        if (error.code) throw new CallFailed("unreachable", `${this.command} cannot be run: ${error.code}`)
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    }
    throw new CallFailed("unreachable", "the daemon did not come up in time")
  }

  /**
   * The list to send: the caller's own array where nothing is out, and where the daemon is away, late or failing. Never
   * rejects for the daemon's sake.
   */
  async collect(session, messages, { format, budget, unit = "billed", deadlineMs = COLLECT_MS, usage = null }) {
    const params = { session: session.includes(":") ? session : `client:${session}`, format, messages, unit, usage }
    try {
      const more = { budget_tokens: budget, only_edited: true }
      const reply = await this.call("messages.collect", { ...params, ...more }, { deadlineMs })
      const edited = reply.messages
      const same = (message, at) => JSON.stringify(message) === JSON.stringify(messages[at])
      const merged = edited?.map((message, at) => (same(message, at) ? messages[at] : message))
      return { messages: merged ?? messages, isEdited: edited != null, reply, failure: "" }
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error
      this.failures[error.kind] = (this.failures[error.kind] ?? 0) + 1
      return { messages, isEdited: false, reply: null, failure: error.kind }
    }
  }

  /**
   * The events of these topics, on a connection of its own. After a break it connects again and goes on behind the last
   * event; a `gap` says which events are lost.
   */
  async *events(topics, { fromSeq, signal } = {}) {
    let next = fromSeq
    for (let waitMs = LOOK_MS; !signal?.aborted; waitMs = Math.min(2 * waitMs, BACK_OFF_MAX_MS)) {
      const link = new Link(this.env)
      const queue = []
      let wake = () => {}
      link.hears = (event) => (queue.push(event), wake())
      const stop = () => link.hears(null)
      signal?.addEventListener("abort", stop)
      try {
        await link.call("subscribe", { topics, ...(next !== undefined && { from_seq: next }) }, DEADLINE_MS)
        waitMs = LOOK_MS
        link.socket?.ref() // Who waits for an event keeps the process alive; the link alone would not.
        while (!signal?.aborted) {
          if (!queue.length) await new Promise((resolve) => (wake = resolve))
          const event = queue.shift()
          if (!event) break
          const isGap = event.method === "event.gap"
          next = (isGap ? event.params.to : event.params.seq) + 1
          yield isGap ? { topic: "gap", ...event.params } : event.params
        }
      } catch (error) {
        if (error.kind && !["unreachable", "deadline"].includes(error.kind)) {
          throw new CallFailed(error.kind, error.message, error.hint)
        }
      } finally {
        signal?.removeEventListener("abort", stop)
        link.hears = null
        link.socket?.destroy()
      }
      if (!signal?.aborted) await new Promise((resolve) => setTimeout(resolve, waitMs))
    }
  }

  /** Hang up; calls that wait fail. */
  close() {
    if (this.link.socket) this.link.drop(new CallFailed("unreachable", "the client was closed"), this.link.socket)
  }
}
