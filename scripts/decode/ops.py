"""Ops and the tree they make, by the text in remote/wire/doc.go."""
from bisect import bisect_left, bisect_right

from sealed import CHUNK, need

TYPES = {1: "file", 2: "dir", 3: "symlink", 4: "fifo", 5: "socket", 6: "chardev", 7: "blockdev"}


def ino(r):
    device, counter = r.uvarint(), r.uvarint()
    need(device < 1 << 24 and counter < 1 << 40 and (device or counter), r.what + " has an impossible inode number")
    return device << 40 | counter


def name(r):
    n = r.take(r.u(1))
    need(n, r.what + " has an empty name")
    return n


def attr(r):
    tm = r.u(2)
    need(1 <= tm >> 12 <= 7, r.what + " has an inode of an unknown type")
    a = {"type": TYPES[tm >> 12], "mode": tm & 0o7777, "uid": r.uvarint(), "gid": r.uvarint()}
    a["ctime"] = ctime = r.i64()
    for t in "mtime", "atime", "btime":
        a[t] = (r.svarint() + ctime + (1 << 63)) % (1 << 64) - (1 << 63)
    if a["type"] == "file":
        a["size"] = r.uvarint()
    elif a["type"] == "symlink":
        a["target"] = r.take(r.uvarint())
        need(1 <= len(a["target"]) <= 4095 and 0 not in a["target"], r.what + " has an impossible symlink")
    elif tm >> 12 >= 6:
        a["rdev"] = r.uvarint()
    return a


def extent(r):
    """(offset, end, content): content is None for a hole, bytes, or (object, epoch, chunks, offset)."""
    form, off, n = r.u(1), r.uvarint(), r.uvarint()
    need(n >= 1 and off + n < 1 << 63, r.what + " has an impossible extent")
    if form == 1:
        return off, off + n, None
    if form == 2:
        need(n <= 2048, r.what + " has an impossible extent")
        return off, off + n, r.take(n)
    need(form == 3, r.what + " has an extent of an unknown form")
    ref = r.take(32), r.uvarint(), r.u(1) + 1, r.uvarint()
    need(ref[3] + n <= ref[2] * CHUNK, r.what + " has an extent outside of its object")
    return off, off + n, ref


def skip(content, n):
    """What content is n bytes on."""
    if content is None:
        return None
    return content[n:] if isinstance(content, bytes) else content[:3] + (content[3] + n,)


class Tree:
    """The state machine that takes Ops."""

    def __init__(self):
        self.devices, self.nodes, self.names, self.xattrs, self.bodies = {}, {}, {}, {}, {}

    def cut(self, i, at):
        self.bodies[i] = [(o, min(e, at), c[:at - o] if isinstance(c, bytes) else c) for o, e, c in self.bodies.get(i, []) if o < at]

    def put(self, i, off, end, content):
        body = self.bodies.setdefault(i, [])
        first, last = bisect_right(body, off, key=lambda x: x[1]), bisect_left(body, end, key=lambda x: x[0])
        new = [(off, end, content)] if content is not None else []
        for o, e, c in body[first:last]:  # what overlaps: an end may stand out on either side
            if o < off:
                new.insert(0, (o, off, c[:off - o] if isinstance(c, bytes) else c))
            if e > end:
                new.append((end, e, skip(c, end - o)))
        body[first:last] = new

    def apply(self, r):
        kind = r.u(1)
        if kind == 1:
            i, a = ino(r), attr(r)
            old = self.nodes.get(i, a)
            need(old["type"] == a["type"], r.what + " makes an inode another type")
            if a["type"] == "file" and a["size"] < old["size"]:
                self.cut(i, a["size"])
            self.nodes[i] = a
        elif kind == 2:
            parent, i, n = ino(r), ino(r), name(r)
            need(not {0, 47} & set(n) and n not in (b".", b".."), r.what + " has an impossible name")
            self.names.setdefault(parent, {})[n] = i
        elif kind == 3:
            parent, _, n = ino(r), ino(r), name(r)
            self.names.get(parent, {}).pop(n, None)
        elif kind == 4:
            i, at = ino(r), r.uvarint()
            if i in self.nodes:
                self.cut(i, at)
        elif kind == 5:
            i, e = ino(r), extent(r)
            if i in self.nodes:
                self.put(i, *e)
        elif kind == 6:
            i, n, value = ino(r), name(r), r.take(r.uvarint())
            if i in self.nodes:
                self.xattrs.setdefault(i, {})[n] = value
        elif kind == 7:
            self.xattrs.get(ino(r), {}).pop(name(r), None)
        elif kind == 8:
            d = r.take(16)
            self.devices[r.uvarint()] = d
        else:
            raise Damaged(r.what + " has an Op of an unknown kind")

    def settle(self):
        """The end of a batch: inodes without a name are gone."""
        named = {1} | {i for names in self.names.values() for i in names.values()}
        for gone in [i for i in self.nodes if i not in named]:
            for of in self.nodes, self.names, self.xattrs, self.bodies:
                of.pop(gone, None)
        need(named <= self.nodes.keys(), "a name leads to no inode")

    def same(self, other):
        """Whether two trees are equal, however their content is cut into extents."""
        def body(b):
            out = []
            for o, e, c in b:
                if out and out[-1][1] == o and isinstance(c, tuple) and skip(out[-1][2], o - out[-1][0]) == c:
                    out[-1] = (out[-1][0], e, out[-1][2])
                else:
                    out.append((o, e, c))
            return out
        full = lambda d: {k: v for k, v in d.items() if v}
        return (self.devices == other.devices and self.nodes == other.nodes and full(self.names) == full(other.names) and full(self.xattrs) ==
                full(other.xattrs) and full({i: body(b) for i, b in self.bodies.items()}) == full({i: body(b) for i, b in other.bodies.items()}))
