"""Sealed objects and the keyring, by the text in crypto/doc.go."""
import hashlib, hmac, sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK, TAG, HEAD = 16384, 16, 80
KEYRING, LOG, ROOT, PART, CONTENT, HISTORY = 1, 2, 3, 4, 5, 6  # classes


class Damaged(Exception):
    pass


def need(ok, what):
    if not ok:
        raise Damaged(what)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def be(n, size):
    return n.to_bytes(size, "big")


def extract(salt, ikm):
    return hmac.digest(salt, ikm, "sha256")


def expand(prk, info, n):
    out, block, i = b"", b"", 1
    while len(out) < n:
        block = hmac.digest(prk, block + info + bytes([i]), "sha256")
        out, i = out + block, i + 1
    return out[:n]


class Reader:
    """Takes numbers and strings from the front of bytes, and refuses to run over their end."""

    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def take(self, n):
        need(self.at + n <= len(self.data), self.what + " ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def u(self, size):
        return int.from_bytes(self.take(size), "big")

    def i64(self):
        return int.from_bytes(self.take(8), "big", signed=True)

    def uvarint(self):
        n = shift = 0
        while True:
            b = self.u(1)
            need(shift < 63 or b == 1, self.what + " has a number of more than 64 bits")
            n |= (b & 127) << shift
            if b < 128:
                need(b or not shift, self.what + " has a number that is not minimal")
                return n
            shift += 7

    def svarint(self):
        z = self.uvarint()
        return z >> 1 if z & 1 == 0 else -(z >> 1) - 1

    def left(self):
        return len(self.data) - self.at

    def zeros(self):
        rest = self.take(self.left())
        need(not any(rest), self.what + " has something after its end")


# Sealed objects and keys


class Epoch:
    """The keys derived from one epoch key, or from the keyring key."""

    def __init__(self, number, salt, vid, secret):
        self.number, self.prk = number, extract(salt + b"\0" + vid, secret)

    def open(self, kind, ctx, sealed, what):
        need(len(sealed) > HEAD and sealed[:4] == b"MGV1" and sealed[4] == kind and sealed[5] == 1, what + " is no such object")
        last, n = int.from_bytes(sealed[6:8], "big") + 1, int.from_bytes(sealed[12:16], "big")
        need(n >= 1 and last <= CHUNK and len(sealed) == HEAD + (n - 1) * (CHUNK + TAG) + last + TAG, what + " has another length")
        need(int.from_bytes(sealed[8:12], "big") == self.number, what + " is of another epoch")
        key = expand(self.prk, b"megafs-vault/1 class\0" + bytes([kind]) + be(self.number, 4), 32)
        okm = expand(key, b"megafs-vault/1 object\0" + sealed[:48] + ctx, 76)
        need(hmac.compare_digest(okm[32:64], sealed[48:80]), what + " is not what was written, or not at its place")
        gcm, base, out = AESGCM(okm[:32]), int.from_bytes(okm[64:], "big"), []
        for i in range(n):
            chunk = sealed[HEAD + i * (CHUNK + TAG):][:CHUNK + TAG]
            try:
                out.append(gcm.decrypt(be(base ^ i, 12), chunk, b"MGV1" + bytes([kind]) + be(i, 4) + be(n, 4)))
            except InvalidTag:
                raise Damaged(f"{what} is damaged in chunk {i}") from None
        return b"".join(out)


def unlock_slot(vid, slot, cred):
    """The keyring key from one slot, or None if the credential is not for it."""
    r = Reader(slot, "a slot")
    typ, kdf, _, salt, t, m, p = r.u(1), r.u(1), r.take(16), r.take(32), r.u(4), r.u(4), r.u(1)
    r.take(r.u(2))
    header, commitment, sealed = slot[:r.at], r.take(32), r.take(48)
    need(r.left() == 0, "a slot is too long")
    if typ == 2 and kdf == 2 and cred.recovery:
        ikm = cred.recovery
    elif kdf == 1 and cred.passphrase is not None and (typ == 1 or typ == 3 and cred.secret):
        from argon2.low_level import hash_secret_raw, Type
        need((t >= 3 and m >= 64 << 10 or t >= 1 and m >= 2 << 20) and t <= 16 and m <= 4 << 20 and 1 <= p <= 16,
             "a slot asks for a key derivation outside of the limits")
        ikm = hash_secret_raw(cred.passphrase, salt, t, m, p, 64, Type.ID, 19) + (cred.secret if typ == 3 else b"")
    else:
        return None
    okm = expand(extract(b"megafs-vault/1 slot\0" + vid + bytes([typ]), ikm), b"megafs-vault/1 slot-wrap\0" + sha(header), 76)
    if not hmac.compare_digest(okm[32:64], commitment):
        return None
    return AESGCM(okm[:32]).decrypt(okm[64:], sealed, header + vid)


class Keyring:
    def __init__(self, data, gen, cred):
        self.hash, self.gen = sha(data), gen
        r = Reader(data, "the keyring")
        need(r.take(4) == b"MGK1" and r.u(2) == 1, "the keyring is of another format")
        r.u(2)
        self.vid = r.take(32)
        need(r.u(8) == gen, "the keyring is of another generation")
        count = r.u(2)
        need(1 <= count <= 8, "the keyring has a wrong number of slots")
        raw = []
        for _ in range(count):
            n = r.data[r.at:r.at + 2]
            raw.append(n + Reader.take(r, 2 + int.from_bytes(n, "big"))[2:])
        krk = next(filter(None, (unlock_slot(self.vid, s[2:], cred) for s in raw)), None)
        if krk is None:
            sys.exit("decode: the vault does not open with this")
        b = Reader(Epoch(0, b"megafs-vault/1 krk", self.vid, krk).open(KEYRING, be(gen, 8), data[r.at:], "the keyring"), "the keyring's body")
        need(b.u(2) == 1 and b.take(32) == self.vid and b.u(8) == gen and b.take(32) == sha(data[:50]), "the keyring's clear part was changed")
        self.before = b.take(32)
        b.i64()
        need(b.u(1) == 1, "the vault has another suite")
        b.take(16)
        need(b.u(8) == 0, "the vault needs a newer reader")
        self.current = b.u(4)
        self.epochs = {}
        for i in range(b.u(2)):
            e, vmk, first = b.u(4), b.take(32), b.u(8)
            need(e == i + 1, "the keyring's epochs are in another order")
            self.epochs[e] = (Epoch(e, b"megafs-vault/1 epoch", self.vid, vmk), first)
        need([b.take(32) for _ in range(b.u(1))] == [sha(s) for s in raw], "the keyring's slots were changed")
        b.take(4 + 4 + 1 + 1 + 16)
        need(b.left() == 0, "the keyring's body is too long")

    def open(self, kind, ctx, sealed, what):
        e = int.from_bytes(sealed[8:12], "big")
        need(e in self.epochs, what + " is of an unknown epoch")
        return self.epochs[e][0].open(kind, ctx, sealed, what)
