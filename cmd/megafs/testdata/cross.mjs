// Lets megajs change and watch an account as it is told: node cross.mjs FOLDER-OF-MEGAJS EMAIL PASSWORD. Each line of the input is a call, as JSON: [NAME, ARGUMENTS...];
// each line of the output its result.
import { createRequire } from 'module'
import { createInterface } from 'readline'
import { readFileSync, writeFileSync } from 'fs'

const [, , where, email, password] = process.argv
const { Storage } = createRequire(where + '/')('megajs')
const s = await new Storage({ email, password }).ready
// megajs does not hear that a node became an older version of another, and would list it for ever.
s.api.on('sc', events => {
  for (const old of events.flatMap(e => e.t?.f2 || []).map(f => s.files[f.h])) {
    const i = old ? old.parent.children.indexOf(old) : -1
    if (i >= 0) old.parent.children.splice(i, 1)
  }
})
// find follows a path; of several with one name it takes the newest.
const find = path => path.split('/').filter(p => p).reduce((dir, name) => dir && (dir.children || []).filter(f => f.name === name).sort((a, b) => b.timestamp - a.timestamp)[0], s.root)
const got = path => { const f = find(path); if (!f) throw Error('no ' + path); return f }
const calls = {
  mkdir: async (dir, name) => { await got(dir).mkdir(name) },
  put: async (dir, name, local, attributes) => { await got(dir).upload({ name, attributes }, readFileSync(local)).complete },
  get: async (path, local) => { writeFileSync(local, await got(path).downloadBuffer()) },
  ls: async dir => (got(dir).children || []).map(f => f.name).sort(),
  attributes: async path => got(path).attributes,
  rename: async (path, name) => { await got(path).rename(name) },
  favourite: async path => { await got(path).setFavorite(true) },
  move: async (path, dir) => { await got(path).moveTo(got(dir)) },
  // rm removes all with that name but the newest, when told so.
  rm: async (path, others) => {
    const f = got(path)
    const old = others ? f.parent.children.filter(g => g !== f && g.name === f.name) : [f]
    for (const g of old) await g.delete()
  },
  // until waits until each of some paths is there, or not, with so many bytes if that is said, and tells when that was.
  until: async all => {
    const end = Date.now() + 20000
    const when = all.map(() => null)
    for (;;) {
      all.forEach(([path, there, size], i) => {
        const f = find(path)
        if (when[i] === null && !f === !there && (size === null || f.size === size)) when[i] = Date.now()
      })
      const late = when.indexOf(null)
      if (late < 0) return when
      if (Date.now() > end) throw Error((all[late][1] ? 'never came: ' : 'never went: ') + all[late][0])
      await new Promise(resolve => setTimeout(resolve, 5))
    }
  }
}
console.log('{}')
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line)
  let answer
  try { answer = { result: await calls[name](...args) } } catch (e) { answer = { error: String(e.stack) } }
  console.log(JSON.stringify(answer))
}
process.exit(0)
