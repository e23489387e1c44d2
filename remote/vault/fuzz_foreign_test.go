package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/wire"
)

// FuzzNames: what a listing shows as the name of a numbered object is taken only if it is that object's one name.
func FuzzNames(f *testing.F) {
	f.Add(logName(1))
	f.Add(keyringName(1 << 63))
	f.Add(rootName(7, crypto.ID{1}))
	f.Add("l/000000000000000A")
	f.Add("l/+00000000000001")
	f.Fuzz(func(t *testing.T, name string) {
		for prefix, make := range map[string]func(uint64) string{"l/": logName, keyringPrefix: keyringName} {
			if n, ok := number(name, prefix); ok && blob.ValidName(name) && make(n) != name {
				t.Errorf("%q is taken for %q", name, make(n))
			}
		}
		s := blob.Mem()
		s.Poke(name, []byte("x"))
		v := &Vault{store: s}
		list, err := v.candidates(ctx)
		if err != nil || len(list) > 1 {
			t.Fatal(list, err)
		}
		for _, c := range list {
			if blob.ValidName(name) && rootName(c.seq, c.id) != name {
				t.Errorf("%q is taken for %q", name, rootName(c.seq, c.id))
			}
		}
	})
}

// FuzzTrustBody reads trust files that are authentic but make no sense: they are refused, or written again as they were meant.
func FuzzTrustBody(f *testing.F) {
	crypto.CheapKDFForTests(f)
	_, _, ring, err := crypto.CreateKeyring(crypto.NewSecret([]byte("lantern gravel ointment velvet crumb")), "", crypto.DefaultKDF)
	if err != nil {
		f.Fatal(err)
	}
	k := ring.Keys()
	whole, err := json.Marshal(&trust{Counter: 3, Head: link{Seq: 9}, Violation: "x", Accepted: []string{"y"}, Number: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte("{}"))
	f.Add([]byte("null"))
	f.Add([]byte(`{"Counter":-1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte(trustMagic), u64(uint64(len(body)))...)
		b = append(b, body...)
		mac := k.TrustMAC(b)
		got := decodeTrust(append(b, mac[:]...), k)
		if got == nil {
			return
		}
		if _, err := json.Marshal(got); err != nil {
			t.Error(err)
		}
	})
}

// foreign is a vault whose log and snapshots somebody with the keys writes by hand.
type foreign struct {
	store *blob.MemStore
	ring  *crypto.Keyring
}

func newForeign(f *testing.F) foreign {
	crypto.CheapKDFForTests(f)
	x := foreign{store: blob.Mem()}
	var err error
	x.ring, _, err = Create(ctx, x.store, f.TempDir(), crypto.NewSecret([]byte("lantern gravel ointment velvet crumb")), "", crypto.DefaultKDF)
	if err != nil {
		f.Fatal(err)
	}
	return x
}

// entry puts entry e as number two, of another device, into a copy of the store.
func (x foreign) entry(e *entry) *blob.MemStore {
	s := x.store.Clone()
	first, _ := s.Get(ctx, logName(1), maxEntry)
	e.seq, e.prev = 2, entryHash(first)
	e.device, e.dev = remote.DeviceID{7}, link{Seq: 1}
	e.keyring = link{1, x.ring.Hash()}
	s.Poke(logName(2), e.seal(x.ring.Keys()))
	return s
}

// load reads the store as a fresh machine does. However foreign its bytes, it is told what Check passes, or an error of a kind that says so.
func (x foreign) load(t *testing.T, s *blob.MemStore) *memory {
	t.Helper()
	v, err := Open(ctx, s, Options{StateDir: t.TempDir(), Keyring: x.ring, TrustFirstUse: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	if _, err := v.Load(ctx, remote.Position{}, m); err != nil && !remote.Is(err, remote.Integrity) && !remote.Is(err, remote.NotSupported) && !errors.Is(err, ErrUnsupported) {
		t.Error("an error of another kind:", err)
	}
	for i := range m.ops {
		if err := wire.Check(&m.ops[i]); err != nil {
			t.Error("told what Check refuses:", err)
		}
	}
	return m
}

// FuzzLog seals foreign bytes as an entry.
func FuzzLog(f *testing.F) {
	x := newForeign(f)
	one := node(1)
	f.Add(byte(0), uint16(0), uint16(1), uint16(1), wire.AppendOp(nil, &one))
	f.Add(byte(0), uint16(0), uint16(2), uint16(0), []byte{})
	f.Add(byte(0), uint16(1), uint16(2), uint16(9), []byte{1, 2, 3})
	f.Add(byte(1), uint16(0), uint16(1), uint16(1), bytes.Repeat([]byte{1}, 72))
	f.Add(byte(2), uint16(0), uint16(1), uint16(2), bytes.Repeat([]byte{0}, 40))
	f.Add(byte(9), uint16(0), uint16(1), uint16(1), []byte("later"))
	f.Fuzz(func(t *testing.T, typ byte, part, parts, n uint16, b []byte) {
		if len(b) > 100_000 {
			return
		}
		e := &entry{typ: typ, part: part, parts: parts, n: int(n), ops: b, about: link{Seq: uint64(n)}}
		copy(e.about.Hash[:], b)
		if typ == entryMark {
			e.mark = &mark{floor: uint64(part), hash: e.about.Hash}
			for _, kind := range b[:min(len(b), maxItems)] {
				e.mark.items = append(e.mark.items, item{kind: kind, n: uint64(n), id: crypto.ID{kind}})
			}
		}
		x.load(t, x.entry(e))
	})
}

// FuzzSnapshot seals foreign bytes as the only part of a snapshot that is announced.
func FuzzSnapshot(f *testing.F) {
	x := newForeign(f)
	one := node(1)
	ops := wire.AppendOp(nil, &one)
	f.Add(append(bytes.Clone(ops), make([]byte, 512-len(ops))...), uint32(len(ops)), uint32(1), false)
	f.Add(ops, uint32(1<<31), uint32(1), true)
	f.Add([]byte{0}, uint32(1), uint32(0), true)
	f.Fuzz(func(t *testing.T, plain []byte, size, n uint32, asRoot bool) {
		if len(plain) > 100_000 || len(plain) == 0 {
			return
		}
		k := x.ring.Keys()
		first, _ := x.store.Get(ctx, logName(1), maxEntry)
		r := &root{at: link{1, entryHash(first)}, keyring: link{1, x.ring.Hash()}}
		sealed, id := k.Seal(crypto.ClassSnapshotPart, partCtx(1, 0), append(bytes.Clone(plain), binary.BigEndian.AppendUint32(nil, size)...))
		r.parts = []partRef{{id, sha256.Sum256(sealed), n}}
		r.digest = sha256.Sum256(plain[:min(int64(size), int64(len(plain)))])
		body := r.encode(k.Vault())
		if asRoot {
			body = plain
		}
		sealedRoot, rid := k.Seal(crypto.ClassSnapshotRoot, u64(1), body)
		s := x.entry(&entry{typ: entrySnapshot, parts: 1, about: link{1, sha256.Sum256(sealedRoot)}, root: rid})
		s.Poke(partName(id), sealed)
		s.Poke(rootName(1, rid), sealedRoot)
		if m := x.load(t, s); !asRoot && m.resets == 1 && len(m.ops) > 0 && uint32(len(m.ops)) != n {
			t.Errorf("%d records were told of %d", len(m.ops), n)
		}
	})
}
