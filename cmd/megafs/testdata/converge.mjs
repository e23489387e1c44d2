// Lets megajs change and list an account by nodes' handles: node converge.mjs FOLDER-OF-MEGAJS URL EMAIL PASSWORD. Each line of the input is a call, as JSON: [NAME, ARGUMENTS...];
// each line of the output its result.
import { createRequire } from 'module'
import { createInterface } from 'readline'

const [, , where, gateway, email, password] = process.argv
const { Storage } = createRequire(where + '/')('megajs')
const s = await new Storage({ email, password, gateway: gateway + '/' }).ready
// megajs does not hear that a node became an older version of another, and would list it for ever.
s.api.on('sc', events => {
  for (const old of events.flatMap(e => e.t?.f2 || []).map(f => s.files[f.h])) {
    const i = old ? old.parent.children.indexOf(old) : -1
    if (i >= 0) old.parent.children.splice(i, 1)
  }
})
const got = h => { const f = h ? s.files[h] : s.root; if (!f) throw Error('no ' + h); return f }
const walk = (dir, out) => {
  for (const f of dir.children || []) {
    out.push({ h: f.nodeId, p: dir === s.root ? '' : dir.nodeId, name: f.name, dir: !!f.directory, size: f.size || 0 })
    if (f.directory) walk(f, out)
  }
  return out
}
const read = async f => f.size ? (await f.downloadBuffer()).toString('latin1') : ''
const calls = {
  list: async () => walk(s.root, []),
  tree: async () => {
    const out = walk(s.root, [])
    for (const n of out) if (!n.dir) n.content = await read(s.files[n.h])
    return out
  },
  mkdir: async (dir, name) => { await got(dir).mkdir(name) },
  put: async (dir, name, content) => (await got(dir).upload({ name }, Buffer.from(content, 'latin1')).complete).nodeId,
  rename: async (h, name) => { await got(h).rename(name) },
  move: async (h, dir) => { await got(h).moveTo(got(dir)) },
  rm: async h => { await got(h).delete() }
}
console.log('{}')
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line)
  let answer
  try { answer = { result: await calls[name](...args) } } catch (e) { answer = { error: String(e.stack) } }
  console.log(JSON.stringify(answer))
}
process.exit(0)
