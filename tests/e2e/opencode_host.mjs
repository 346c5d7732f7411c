// Stands for OpenCode: keeps a session, and before each request gives its plugin a fresh copy of the list to transform.
// usage: node opencode_host.mjs PLUGIN TURNS FILE_CHARS [STEPS]
// STEPS is JSON: {"TURN": {"pause": true, "outputs": {"CALL": TEXT}, "cleared": [CALL]}}. A pause says its turn on
// stderr and lasts until a line comes in; outputs and clearings are what OpenCode itself does to its past. A call is
// meant by its id or its part's. HOST_CALL_ID: every call's id, as of a server that counts them anew in each reply.
import { writeFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { pathToFileURL } from "node:url"

const [plugin, turns, chars] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const steps = JSON.parse(process.argv[5] ?? "{}")
const uid = process.getuid() + Number(process.env.HOST_UID_OFFSET ?? 0)
process.getuid = () => uid
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const { ctxgc } = await import(pathToFileURL(plugin))
const hooks = await ctxgc({ directory: "/work" })
const transform = hooks["experimental.chat.messages.transform"] ?? (async () => {})

const sessionID = "ses_0000000000000000000001"
const prompt = { type: "text", id: "prt_prompt", text: "Read every part." }
const messages = [{ info: { id: "msg_0", role: "user", sessionID, model: { modelID: "gpt-5" } }, parts: [prompt] }]
const edited = []
let before = 0

for (let turn = 0; turn < turns; turn++) {
  await step(steps[turn] ?? {}, turn)
  const list = structuredClone(messages)
  await transform({}, { messages: list })
  const ids = []
  for (const [at, { info, parts }] of list.entries()) {
    for (const [n, part] of parts.entries()) {
      const kept = messages[at].parts[n]
      if (JSON.stringify(part) === JSON.stringify(kept)) continue
      if (JSON.stringify({ ...part, state: { ...part.state, output: kept.state.output } }) !== JSON.stringify(kept))
        throw new Error(`more than the output of ${part.callID} was changed`)
      ids.push([part.callID, part.state.output])
    }
  }
  edited.push(ids)
  const total = Math.ceil(JSON.stringify(list).length / 4)
  const tokens = { input: total - before, output: 20, reasoning: 0, cache: { read: before, write: 0 } }
  before = total
  const file = `part${turn % 3}.txt`
  const state = { status: "completed", input: { filePath: `/work/${file}` }, output: textOf(turn % 3), title: file }
  const info = { id: `msg_${turn + 1}`, role: "assistant", sessionID, modelID: "gpt-5", tokens }
  const said = { type: "text", id: `prt_${turn}`, text: `Step ${turn}.` }
  const callID = process.env.HOST_CALL_ID ?? `call_${turn}`
  messages.push({ info, parts: [said, { type: "tool", id: `prt_t${turn}`, callID, tool: "read", state }] })
  await new Promise((resolve) => setTimeout(resolve, 25))
}
writeFileSync(1, JSON.stringify({ edited, files: [0, 1, 2].map(textOf) })) // All of it, before the exit.
process.exit(0)

async function step({ pause, outputs = {}, cleared = [] }, turn) {
  for (const part of messages.flatMap(({ parts }) => parts)) {
    if (part.callID in outputs) part.state.output = outputs[part.callID]
    if (cleared.includes(part.callID) || cleared.includes(part.id)) part.state.time = { compacted: 1 }
  }
  if (!pause) return
  writeFileSync(2, `${turn}\n`)
  await lines.next()
}

function textOf(file) {
  const lines = []
  for (let n = 0; lines.length * 40 < chars; n++) lines.push(`${file}.${n} harbour lamp ${(n * 7919) % 1000} ferry`)
  return lines.join("\n")
}
