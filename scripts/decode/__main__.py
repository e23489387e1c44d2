"""Reads a vault without megafs: checks it, prints a listing as JSON, and gives the files out.

    python3 scripts/decode VAULT [--passphrase FILE | --recovery FILE] [--secret FILE] [--extract FOLDER] [--at NUMBER]

The passphrase is the first line of a file ("-", which is the default, is the standard input). This needs Python 3.10 with the modules cryptography and
argon2 (Debian: python3-cryptography, python3-argon2), this folder, and the vault's files; no megafs. It follows the text of the
format in crypto/doc.go, remote/wire/doc.go and remote/vault/doc.go and shares no code with the program. It holds the
whole tree in memory. It checks all that is authenticated, but has no memory: a store that shows an old state is believed.

The listing is a list of objects, sorted by path. Bytes of names that are no UTF-8 are \\xNN there, and a backslash is two; xattr values
are hexadecimal. Whatever is damaged or missing ends the program with an error.
"""
import argparse, base64, hashlib, itertools, json, os, sys, unicodedata

from sealed import Damaged, need, sha
from vault import Vault


def text(b):
    return b.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")


def walk(tree):
    """Every path and its inode, directories before what is in them."""
    todo = [(b".", 1, 0)]
    while todo:
        path, i, depth = todo.pop()
        need(depth < 1 << 16, "a directory lies within itself")
        yield path, i
        for n, child in tree.names.get(i, {}).items():
            todo.append(((path + b"/" if depth else b"") + n, child, depth + 1))


def pieces(vault, tree, i):
    """The content of a file, without its holes: (offset, bytes)."""
    size = tree.nodes[i]["size"]
    for off, end, c in tree.bodies.get(i, []):
        n = min(end, size) - off
        if n > 0:
            data = c[:n] if isinstance(c, bytes) else vault.content(c)[:n]
            need(len(data) == n, "an extent ends too early")
            yield off, data


def digest(vault, tree, i):
    h, at, zeros = hashlib.sha256(), 0, bytes(1 << 20)
    for off, data in itertools.chain(pieces(vault, tree, i), [(tree.nodes[i]["size"], b"")]):
        while at < off:
            n = min(off - at, len(zeros))
            h.update(zeros[:n])
            at += n
        h.update(data)
        at += len(data)
    return h.hexdigest()


def listing(vault, tree):
    links, sums = {}, {}
    for names in tree.names.values():
        for i in names.values():
            links[i] = links.get(i, 0) + 1
    for path, i in sorted(walk(tree)):
        a = tree.nodes[i]
        e = {"path": text(path), "ino": i, "type": a["type"], "mode": "%04o" % a["mode"], "uid": a["uid"], "gid": a["gid"]}
        e.update({t: a[t] for t in ("mtime", "atime", "ctime", "btime")})
        if a["type"] == "file":
            if i not in sums:
                sums[i] = digest(vault, tree, i)
            data = sum(min(end, a["size"]) - off for off, end, _ in tree.bodies.get(i, []) if off < a["size"])
            e.update(size=a["size"], data=data, sha256=sums[i])
        if a["type"] == "symlink":
            e["target"] = text(a["target"])
        if "rdev" in a:
            e["rdev"] = a["rdev"]
        if a["type"] != "dir":
            e["links"] = links[i]
        if tree.xattrs.get(i):
            e["xattrs"] = {text(n): v.hex() for n, v in sorted(tree.xattrs[i].items())}
        yield e


def extract_to(vault, tree, folder):
    """Writes directories, files and symlinks with their times and permissions. Owners, xattrs and other types are in the listing only."""
    folder = os.fsencode(folder)
    os.mkdir(folder)
    done, dirs = {}, []
    for path, i in walk(tree):
        a, to = tree.nodes[i], os.path.join(folder, path)
        if a["type"] == "dir":
            if path != b".":
                os.mkdir(to)
            dirs.append((to, a))
            continue
        if i in done:
            os.link(done[i], to, follow_symlinks=False)
            continue
        if a["type"] == "symlink":
            os.symlink(a["target"], to)
        elif a["type"] == "file":
            with open(to, "xb") as f:
                for off, data in pieces(vault, tree, i):
                    f.seek(off)
                    f.write(data)
                f.truncate(a["size"])
            os.chmod(to, a["mode"] & 0o777)
        else:
            continue
        done[i] = to
        os.utime(to, ns=(a["atime"], a["mtime"]), follow_symlinks=False)
    for to, a in reversed(dirs):
        os.chmod(to, a["mode"] & 0o777)
        os.utime(to, ns=(a["atime"], a["mtime"]))


def first_line(path):
    data = sys.stdin.buffer.read() if path == "-" else open(path, "rb").read()
    return data.split(b"\n")[0].rstrip(b"\r")


class Credential:
    def __init__(self, args):
        self.passphrase = self.recovery = self.secret = None
        if args.recovery:
            chars = b"".join(first_line(args.recovery).replace(b"-", b" ").split()).upper().translate(bytes.maketrans(b"018", b"OIB"))
            need(len(chars) == 56, "a recovery key has 56 characters")
            self.recovery = base64.b32decode(chars[:52] + b"====")
            need(base64.b32encode(self.recovery)[:52] == chars[:52], "a character of the recovery key is mistyped")
            check = base64.b32encode(sha(b"megafs-vault/1 recovery\0", self.recovery))[:4]
            need(check == chars[52:], "a character of the recovery key is mistyped")
        else:
            self.passphrase = unicodedata.normalize("NFC", first_line(args.passphrase).decode()).encode()
        if args.secret:
            with open(args.secret, "rb") as f:
                self.secret = f.read()


def main():
    p = argparse.ArgumentParser(description="Reads a vault without megafs.")
    p.add_argument("vault")
    p.add_argument("--passphrase", default="-", help="file with the passphrase")
    p.add_argument("--recovery", help="file with the recovery key")
    p.add_argument("--secret", help="file with the 32 bytes of the vault secret, if the vault has one")
    p.add_argument("--extract", help="a new folder for the files")
    p.add_argument("--at", type=int, help="the state after this entry of the log")
    args = p.parse_args()
    try:
        vault = Vault(args.vault, Credential(args))
        tree = vault.replay(args.at)
        out = list(listing(vault, tree))
        if args.extract:
            extract_to(vault, tree, args.extract)
    except (Damaged, OSError, ValueError) as e:
        sys.exit(f"decode: {e}")
    json.dump(out, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
