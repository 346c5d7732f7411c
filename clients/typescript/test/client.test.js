// Run by tests/clients/test_typescript.py, with CTXGC_SOCKET at a daemon of its own and CTXGC_PID its process.
import assert from "node:assert/strict"
import { mkdtempSync } from "node:fs"
import { join } from "node:path"
import { tmpdir } from "node:os"
import { test } from "node:test"

import { CallFailed, Client } from "ctxgc"

const client = new Client({ startDaemon: false })
const PID = Number(process.env.CTXGC_PID)

function listOf(turns) {
  const messages = [{ role: "user", content: "Read on." }]
  for (let turn = 0; turn < turns; turn++) {
    const call = { id: `c${turn}`, type: "function", function: { name: "Read", arguments: `{"file_path": "/src/${turn % 2}.py"}` } }
    messages.push({ role: "assistant", content: null, tool_calls: [call] })
    messages.push({ role: "tool", tool_call_id: `c${turn}`, content: `${turn}: a ferry leaves\n`.repeat(400) })
  }
  return messages
}

test("a verb is answered, and a refusal has its kind and hint", async () => {
  assert.equal((await client.call("ping")).pong, true)
  await assert.rejects(client.call("segment.get", { session: "client:none", id: "x" }), (error) => {
    return error instanceof CallFailed && error.kind === "not_found" && error.hint !== ""
  })
  await assert.rejects(client.call("no.verb"), { kind: "unknown_verb" })
})

test("a list that fits is the caller's own, and a list that does not keeps the caller's own messages", async () => {
  const messages = listOf(9)
  const whole = await client.collect("ts", messages, { format: "openai_chat", budget: 10 ** 6 })
  assert.equal(whole.messages, messages)

  const { messages: fitting, isEdited, reply } = await client.collect("ts", messages, { format: "openai_chat", budget: 9000 })
  assert.ok(isEdited, JSON.stringify(reply?.plan))
  assert.equal(fitting.length, messages.length)
  const out = fitting.filter((message) => message.content?.startsWith("[evicted by ctxgc: Read"))
  assert.equal(out.length, reply.evicted)
  assert.equal(fitting.filter((message, at) => message === messages[at]).length, messages.length - out.length)
  const address = out[0].content.match(/recall ([0-9-]+)\]/)[1]
  const back = await client.call("stash.recall", { session: "client:ts", id: address })
  assert.equal(back.recalled[0].pieces[0].text, messages[2].content)
})

test("many calls are in flight at once, and an aborted one ends alone", async () => {
  const controller = new AbortController()
  const aborted = client.call("stash.search", { query: "ferry" }, { signal: controller.signal })
  controller.abort()
  const pings = Array.from({ length: 50 }, () => client.call("ping"))
  await assert.rejects(aborted, { kind: "aborted" })
  await assert.rejects(client.call("ping", {}, { signal: controller.signal }), { kind: "aborted" })
  assert.equal((await Promise.all(pings)).length, 50)
})

test("events come in order, and go on behind the last one after a break", async () => {
  const controller = new AbortController()
  const events = client.events(["session"], { signal: controller.signal })
  const first = events.next()
  await new Promise((resolve) => setTimeout(resolve, 200))
  await client.call("session.open", { session: "client:events-1" })
  const seen = (await first).value
  assert.equal(seen.topic, "session")
  const resumed = client.events(["session"], { fromSeq: seen.seq, signal: controller.signal })
  assert.equal((await resumed.next()).value.seq, seen.seq)
  controller.abort()
  await resumed.return()
  await events.return()
})

test("without a daemon the caller's array comes back, and the failure is counted", async () => {
  const away = new Client({ socket: join(mkdtempSync(join(tmpdir(), "ctxgc-ts-")), "none"), startDaemon: false })
  const messages = listOf(2)
  const kept = await away.collect("ts", messages, { format: "openai_chat", budget: 10 })
  assert.equal(kept.messages, messages)
  assert.equal(kept.failure, "unreachable")
  assert.deepEqual(away.failures, { unreachable: 1 })
})

test("a daemon that hangs costs the deadline alone", async () => {
  const messages = listOf(2)
  process.kill(PID, "SIGSTOP")
  try {
    const kept = await client.collect("ts-late", messages, { format: "openai_chat", budget: 10, deadlineMs: 300 })
    assert.equal(kept.messages, messages)
    assert.equal(kept.failure, "deadline")
  } finally {
    process.kill(PID, "SIGCONT")
  }
  assert.equal((await client.call("ping")).pong, true)
  client.close()
})
