// Stands for OpenCode: calls a plugin's hooks one by one, as lines of stdin say, and answers each with a line.
// usage: node opencode_hooks_host.mjs PLUGIN FOLDER
// {"event": EVENT} {"message": [INPUT, OUTPUT]} {"compacting": SESSION} {"list": MESSAGES}: {"ms": WAITED, "list": MESSAGES}
import { createInterface } from "node:readline"
import { pathToFileURL } from "node:url"

const [plugin, directory] = process.argv.slice(2)
const { ctxgc } = await import(pathToFileURL(plugin))
const hooks = await ctxgc({ directory })

for await (const line of createInterface({ input: process.stdin })) {
  const { event, message, compacting, list } = JSON.parse(line)
  const began = performance.now()
  if (event) await hooks.event({ event })
  if (message) await hooks["chat.message"](...message)
  if (compacting) await hooks["experimental.session.compacting"]({ sessionID: compacting }, { context: [] })
  if (list) await hooks["experimental.chat.messages.transform"]({}, { messages: list })
  console.log(JSON.stringify({ ms: performance.now() - began, list }))
}
process.exit(0)
