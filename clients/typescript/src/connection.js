/**
 * The connection to the daemon: where the daemon listens, and calls by their ids. Plain JavaScript without a dependency,
 * which the plugin of OpenCode has verbatim.
 */

import { lstatSync, readFileSync } from "node:fs"
import { connect } from "node:net"
import { userInfo } from "node:os"
import { join } from "node:path"

const CALL_MS = 30_000
const RETRY_MS = 1_000
const LINE_CHARS_MAX = 16_000_000

// The connection of clients/typescript, verbatim.
/** Where a daemon may listen, as the `ctxgc` command has it: the usual place, then what one wrote into its lock. */
export function placesIn(env) {
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
export class Link {
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
