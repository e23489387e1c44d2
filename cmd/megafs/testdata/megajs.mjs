// Lets megajs upload files beside a mount, and read what the mount wrote: node megajs.mjs FOLDER-OF-MEGAJS URL EMAIL PASSWORD
import { createRequire } from 'module'
import { createHash } from 'crypto'

const [, , where, gateway, email, password] = process.argv
const { Storage } = createRequire(where + '/')('megajs')
const pattern = n => { const b = Buffer.alloc(n); for (let i = 0; i < n; i++) b[i] = i * 7; return b }
const s = await new Storage({ email, password, gateway: gateway + '/' }).ready
const js = await s.root.mkdir('js ü')
for (const n of [0, 1, 131071, 131072, 3000000]) await js.upload('f' + n, Buffer.from(pattern(n))).complete
for (const n of ['a', 'b', 'empty', 'part']) {
  const f = s.root.find(n, true)
  if (!f) throw new Error('there is no ' + n)
  console.log(n, createHash('sha256').update(f.size ? await f.downloadBuffer({ forceHttps: false }) : Buffer.alloc(0)).digest('hex'))
}
await s.root.find('b', true).rename('renamed')
await s.root.find('a', true).delete()
s.api.close?.()
process.exit(0)
