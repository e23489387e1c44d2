// Lets megajs do all it can do to an account: node flow.mjs FOLDER-OF-MEGAJS EMAIL PASSWORD DIR [SECOND-FACTOR]
import { createRequire } from 'module'
import { readFileSync, writeFileSync } from 'fs'
import assert from 'assert/strict'

const [, , where, email, password, dir, code] = process.argv
const { Storage, File } = createRequire(where + '/')('megajs')
const pattern = n => { const b = Buffer.alloc(n); for (let i = 0; i < n; i++) b[i] = i * 7 + Math.floor(i / 251); return b }
const until = async (what, fn) => {
  const end = Date.now() + 10000
  while (!fn()) {
    assert(Date.now() < end, what)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
// What is uploaded is a copy, for megajs encrypts in place.
const log = what => console.log(what)

const a = await new Storage({ email, password, secondFactorCode: code }).ready
const b = await Storage.fromJSON(a.toJSON())
await b.reload(true)
log('logged in')

const folder = await a.root.mkdir('js')
const inner = await folder.mkdir('inner ü')
const files = { empty: pattern(0), small: pattern(11), 'big ü': pattern(3000000) }
for (const name in files) await inner.upload(name, Buffer.from(files[name])).complete
log('uploaded')

await until('the other session sees the files', () => b.root.find('big ü', true))
for (const name in files) {
  const back = await b.root.find(name, true).downloadBuffer()
  assert(back.equals(files[name]), name)
}
const part = await b.root.find('big ü', true).downloadBuffer({ start: 131072, end: 1500000, forceHttps: true })
assert(part.equals(files['big ü'].subarray(131072, 1500001)), 'a range')
log('downloaded')

const small = inner.children.find(f => f.name === 'small')
await small.rename('renamed')
await until('the rename is seen', () => b.root.find('renamed', true))
await small.moveTo(folder)
await until('the move is seen', () => b.files[small.nodeId].parent.nodeId === folder.nodeId)
await inner.rename('inside')
log('renamed and moved')

const url = await small.link()
const shared = File.fromURL(url)
await shared.loadAttributes()
assert.equal(shared.name, 'renamed')
assert((await shared.downloadBuffer()).equals(files.small), 'by link')
const folderURL = await folder.link()
const open = File.fromURL(folderURL)
await open.loadAttributes()
assert.equal(open.name, 'js')
const found = open.children.find(f => f.name === 'inside').children.find(f => f.name === 'big ü')
assert((await found.downloadBuffer()).equals(files['big ü']), 'by the folder link')
await folder.upload('later', Buffer.from(files.small)).complete
const again = File.fromURL(folderURL)
await again.loadAttributes()
assert((await again.children.find(f => f.name === 'later').downloadBuffer()).equals(files.small), 'added to a shared folder')
log('linked')

const copy = await a.root.importFile(url)
assert((await copy.downloadBuffer()).equals(files.small), 'imported')
await folder.unshare()
await assert.rejects(async () => { await File.fromURL(folderURL).loadAttributes() })
log('imported')

const thumb = pattern(1000)
const pic = await a.root.upload({ name: 'pic', thumbnailImage: Buffer.from(thumb) }, Buffer.from(files.small)).complete
await pic.uploadAttribute('preview', Buffer.from(thumb)) // megajs can't fetch them
log('thumbnail')

await copy.delete()
await until('the deletion is seen', () => b.files[copy.nodeId]?.parent === b.trash)
await copy.delete(true)
await until('the removal is seen', () => !b.trash.children.some(f => f.nodeId === copy.nodeId))
const info = await a.getAccountInfo()
assert.equal(info.spaceTotal, 50 * 2 ** 30)
assert.equal(info.spaceUsed, 0 + 11 + 3000000 + 11 + 11)
log('removed')

for (const name of ['from-megatools', 'from-rclone']) {
  const f = b.root.find(name, true)
  if (f) writeFileSync(dir + '/js-' + name, await f.downloadBuffer())
}
await assert.rejects(new Storage({ email, password: 'wrong', secondFactorCode: code }).ready, /ENOENT/)
a.api.close() // both have one session, which b ends: what a waits for would tell it so, which it takes for an error
await b.close()
await a.close().catch(() => {})
log('done')
process.exit(0)
