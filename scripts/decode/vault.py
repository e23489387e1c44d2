"""Log, snapshots and content, by the text in remote/vault/doc.go."""
import hashlib, os

from ops import Tree
from sealed import CONTENT, HISTORY, LOG, PART, ROOT, Damaged, Keyring, Reader, be, need, sha


def bucket(n):
    if n <= 512:
        return 512
    e = n.bit_length() - 1
    unit = 1 << (e - e.bit_length())
    return -(-n // unit) * unit


class Vault:
    def __init__(self, folder, cred):
        self.folder, self.objects = folder, {}
        rings = sorted(n for n in os.listdir(os.path.join(folder, "k")) if len(n) == 16)
        need(rings, "there is no keyring")
        self.ring = Keyring(self.read("k", rings[-1]), int(rings[-1], 16), cred)

    def read(self, *path):
        try:
            with open(os.path.join(self.folder, *path), "rb") as f:
                return f.read()
        except FileNotFoundError:
            raise Damaged("/".join(path) + " is missing") from None

    def snapshot(self, number, here, roothash, rootid):
        """The tree that an announced snapshot holds."""
        what = f"s/r/{number:016x}-{rootid.hex()}"
        sealed = self.read(*what.split("/"))
        need(sha(sealed) == roothash and sealed[16:48] == rootid, what + " is not what was announced")
        r = Reader(self.ring.open(ROOT, be(number, 8), sealed, what), what)
        need(r.u(2) == 1 and r.take(32) == self.ring.vid and r.u(8) == number and r.take(32) == here, what + " is of another place")
        r.take(8 + 32)
        digest = r.take(32)
        r.take(8 + 32)
        tree, every = Tree(), hashlib.sha256()
        for i in range(r.u(4)):
            id, hash, n = r.take(32), r.take(32), r.u(4)
            pwhat = "s/p/" + id.hex()
            sealed = self.read("s", "p", id.hex())
            need(sha(sealed) == hash, pwhat + " is not what was written")
            plain = self.ring.open(PART, be(number, 8) + be(i, 4), sealed, pwhat)
            size = int.from_bytes(plain[-4:], "big")
            need(size <= len(plain) - 4 and not any(plain[size:-4]), pwhat + " is padded wrongly")
            p = Reader(plain[:size], pwhat)
            for _ in range(n):
                tree.apply(p)
            need(p.left() == 0, pwhat + " has more than it says")
            every.update(plain[:size])
        used = r.at
        r.zeros()
        need(r.at == bucket(used), what + " is padded wrongly")
        need(every.digest() == digest, what + " has other parts than it says")
        tree.settle()
        return tree

    def history(self, least):
        """The end of the oldest history that reaches up to an entry, and the hash of the log there."""
        folder = os.path.join(self.folder, "h", "i")
        found = sorted(n for n in (os.listdir(folder) if os.path.isdir(folder) else []) if len(n) == 81 and int(n[:16], 16) >= least)
        need(found, "entries of the log are missing")
        what, floor = "h/i/" + found[0], int(found[0][:16], 16)
        sealed = self.read("h", "i", found[0])
        need(sealed[16:48].hex() == found[0][17:], what + " is another object")
        r = Reader(self.ring.open(HISTORY, be(floor, 8) + b"\0", sealed, what), what)
        need(r.u(2) == 1 and r.take(32) == self.ring.vid and r.u(8) == floor, what + " is of another place")
        hashes = []
        for k in range(floor // 4096):
            id, hash = r.take(32), r.take(32)
            swhat = f"h/s/{k:016x}-{id.hex()}"
            sealed = self.read(*swhat.split("/"))
            need(sha(sealed) == hash, swhat + " is not what was written")
            plain = self.ring.open(HISTORY, be(k, 8), sealed, swhat)
            need(len(plain) == 4096 * 32, swhat + " has another length")
            hashes += [plain[i:i + 32] for i in range(0, len(plain), 32)]
        hashes += [r.take(32) for _ in range(floor % 4096)]
        used = r.at
        r.zeros()
        need(r.at == bucket(used), what + " is padded wrongly")
        return floor, hashes[floor - 1]

    def replay(self, last):
        """The tree after entry number last, or the newest: the whole log, and each announced snapshot held against it."""
        entries = {int(n, 16) for n in os.listdir(os.path.join(self.folder, "l")) if len(n) == 16}
        first = min(entries, default=1)
        here, devices, snap, named = sha(b"megafs-vault/1 genesis\0", self.ring.vid), {}, (0, bytes(32)), (0, b"")
        tree, batch, number = Tree(), [], 0
        need(not entries or max(entries) - first + 1 == len(entries), "entries of the log are missing")
        absent, given, floor, begun = set(), set(), 0, 0
        if first > 1:
            begun, here = self.history(first - 1)
            number, tree, snap = begun, None, None
        while number + 1 in entries and number != last:
            number += 1
            what = f"l/{number:016x}"
            sealed = self.read("l", what[2:])
            r = Reader(self.ring.open(LOG, be(number, 8), sealed, what), what)
            hash = sha(b"megafs-vault/1 entry\0", sealed)
            need(r.u(2) == 1 and r.take(32) == self.ring.vid and r.u(8) == number, what + " is of another place")
            need(r.take(32) == here, what + " does not follow the entry before")
            device, dev = r.take(16), (r.u(8), r.take(32))
            need(dev == devices.get(device, dev if begun else (1, bytes(32))), what + " does not follow its device's entry before")
            r.i64()
            ring = r.u(8), r.take(32)
            need(ring >= named or ring[0] < self.ring.gen, what + " names an old keyring")
            need(ring[0] < self.ring.gen or ring == (self.ring.gen, self.ring.hash), what + " names another keyring")
            named = max(named, ring)
            epoch = r.u(4)
            need(epoch == int.from_bytes(sealed[8:12], "big"), what + " is of another epoch")
            need(epoch >= max([e for e, (_, first) in self.ring.epochs.items() if first <= number], default=0), what + " is of a withdrawn epoch")
            named_snap = r.u(8), r.take(32)
            need(snap is None or named_snap == snap, what + " names another snapshot")
            part, parts, kind = r.u(2), r.u(2), r.u(1)
            need(part < parts and (kind == 0 or parts == 1), what + " has parts that do not add up")
            if kind == 0:
                if batch and (batch[0] != (device, parts) or part != len(batch) - 1) or not batch and part or part == 0:
                    batch = []  # what was broken off never happened
                at, ops = Reader(r.data, what), r.u(2)
                at.at = r.at
                for _ in range(ops):
                    Tree().apply(r)
                if batch or part == 0:
                    batch = (batch or [(device, parts)]) + [(at, ops)]
                if len(batch) - 1 == parts:
                    need(tree, what + " is the first that is left, and announces no snapshot")
                    for at, ops in batch[1:]:
                        for _ in range(ops):
                            tree.apply(at)
                    tree.settle()
                    batch = []
            elif kind == 1:
                batch, state, roothash, rootid = [], r.u(8), r.take(32), r.take(32)
                need(state == number - 1, what + " announces the snapshot of another place")
                if tree is None:
                    tree = self.snapshot(state, here, roothash, rootid)
                elif not os.path.exists(os.path.join(self.folder, "s", "r", f"{state:016x}-{rootid.hex()}")):
                    absent.add(f"s/r/{state:016x}-{rootid.hex()}")
                else:
                    try:
                        same = self.snapshot(state, here, roothash, rootid).same(tree)
                    except Damaged:
                        absent.add(f"s/r/{state:016x}-{rootid.hex()}")
                    else:
                        need(same, f"the snapshot of {state} is not what the log says")
                snap = state, roothash
            elif kind == 3:
                batch, upto, _, _, items = [], r.u(8), r.take(32), r.take(32), r.u(4)
                floor = max(floor, upto)
                for _ in range(items):
                    item = r.u(1)
                    need(1 <= item <= 5, what + " gives up an object of an unknown kind")
                    n = r.u(8) if item >= 3 else 0
                    given.add(f"s/r/{n:016x}-{r.take(32).hex()}" if item == 3 else r.take(32))
            elif kind == 4:
                batch, _ = [], r.u(8)
            else:
                need(kind == 2, what + " is of an unknown type")
                batch, ring = [], (r.u(8), r.take(32))
                need(ring[0] <= self.ring.gen, what + " names a keyring that is missing")
                named = max(named, ring)
            used = r.at
            r.zeros()
            need(r.at == bucket(used), what + " is padded wrongly")
            here = hash
            devices[device] = dev[0] + 1, hash
        need(last is None or number == last, "the log does not go so far")
        need(absent <= given, "a snapshot is missing or damaged, and was not given up")
        need(first == 1 or first - 1 <= floor, "entries of the log are missing, and were not given up")
        need(tree, "there is no state to begin with")
        need(named[0] == self.ring.gen or number == 0 or self.ring.before == named[1] and named[0] == self.ring.gen - 1 or last is not None,
             "the keyring does not follow the one that the log names")
        return tree

    def content(self, ref):
        id, epoch, chunks, off = ref
        if id not in self.objects:
            what = f"o/{id.hex()[:2]}/{id.hex()}"
            sealed = self.read(*what.split("/"))
            need(sealed[16:48] == id and int.from_bytes(sealed[12:16], "big") == chunks and
                 int.from_bytes(sealed[8:12], "big") == epoch, what + " is not what the log refers to")
            while len(self.objects) >= 8:
                self.objects.pop(next(iter(self.objects)))
            self.objects[id] = self.ring.open(CONTENT, b"", sealed, what)
        return self.objects[id][off:]
