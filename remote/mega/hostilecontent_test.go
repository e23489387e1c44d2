package mega

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// TestM11ToM17HostileContent gives other bytes than those that were stored.
func TestM11ToM17HostileContent(t *testing.T) {
	plain, sealed, k := sealedContent(6_000_000)
	for _, mode := range []struct {
		name   string
		verify int64
	}{{"whole", 16 << 20}, {"stream", 1}} {
		for _, x := range []struct {
			name string
			do   func(e *evil, n map[string]any)
			good bool
		}{
			{"true", func(*evil, map[string]any) {}, true},
			{"flip at the end", func(e *evil, _ map[string]any) { e.data[len(e.data)-1] ^= 1 }, false},              // M11
			{"flip at the beginning", func(e *evil, _ map[string]any) { e.data[0] ^= 1 }, false},                    // M12
			{"smaller", func(e *evil, n map[string]any) { e.data = e.data[:5_000_000]; n["s"] = 5_000_000 }, false}, // M13
			{"short", func(e *evil, n map[string]any) { e.data = e.data[:5_000_000] }, false},
			{"another", func(e *evil, _ map[string]any) { _, e.data, _ = sealedContent(6_000_000) }, false}, // M29
		} {
			t.Run(mode.name+" "+x.name, func(t *testing.T) {
				e := newEvil(t)
				e.data = bytes.Clone(sealed)
				n := fileNode("filefile", evilRoot, "file", k, len(sealed))
				x.do(e, n)
				e.tree(n)
				r := e.open(Options{Verify: mode.verify})
				s := e.load(r)
				ino := s.names["1/file"]
				got, err := fetch(r, s, ino)
				switch {
				case x.good && (err != nil || !bytes.Equal(got, plain)):
					t.Error(err)
				case !x.good && err == nil:
					t.Error("it was read without an error")
				case !x.good && mode.name == "whole" && len(got) > 0:
					t.Errorf("%d bytes of it were given out", len(got))
				}
				if x.good {
					return
				}
				if _, err := fetch(r, s, ino); err == nil { // never again
					t.Error("the second reading succeeds")
				}
			})
		}
	}
	t.Run("empty", func(t *testing.T) { // M15: there is nothing to fetch, so it is noticed when it is listed
		e := newEvil(t)
		e.tree(fileNode("filefile", evilRoot, "file", k, 0))
		s := e.load(e.open(Options{}))
		if len(s.list()) != 1 || s.attrs[s.names["1/file"]].Mode != 0 {
			t.Errorf("%q, %+v", s.list(), s.attrs)
		}
	})
}

// TestM12RangesAfterAFullPass: once a large file was read as a whole, each chunk is held against its own MAC, also after the next start.
func TestM12RangesAfterAFullPass(t *testing.T) {
	_, sealed, k := sealedContent(6_000_000)
	e := newEvil(t)
	e.data = bytes.Clone(sealed)
	e.tree(fileNode("filefile", evilRoot, "file", k, len(sealed)))
	dir := t.TempDir()
	r, err := Open(Options{Session: e.session(), StateDir: dir, Verify: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := e.load(r)
	ino := s.names["1/file"]
	if _, err := fetch(r, s, ino); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r = e.open(Options{StateDir: dir, Verify: 1})
	e.mu.Lock()
	e.data[4_500_000] ^= 1
	e.mu.Unlock()
	buf := make([]byte, remote.SealedChunk)
	if err := r.Fetch(context.Background(), s.exts[ino][0].Ref, 3, 1, buf); err != nil {
		t.Error("an untouched range:", err)
	}
	off := (4_500_000 - remote.MaxContent) / remote.ChunkSize
	if err := r.Fetch(context.Background(), s.exts[ino][1].Ref, off, 1, buf); !remote.Is(err, remote.Integrity) {
		t.Error("a changed range:", err)
	}
}

// TestM14ZeroTailTrimmed fixes what MEGA's format lets through: zeros at the end of the last block, and no more.
func TestM14ZeroTailTrimmed(t *testing.T) {
	const n = 160
	k := megacrypt.NewFileKey()
	c := k.Cipher()
	plain := append(bytes.Repeat([]byte{7}, n-16+1), make([]byte, 15)...) // 15 zeros end it
	k.Meta = c.Meta([]megacrypt.ChunkMAC{c.ChunkMAC(plain)})
	for cut, passes := range map[int]bool{0: true, 15: true, 16: false} {
		e := newEvil(t)
		e.data = make([]byte, n)
		c.XOR(e.data, plain, 0)
		e.data = e.data[:n-cut]
		e.tree(fileNode("filefile", evilRoot, "file", k, n-cut))
		r := e.open(Options{})
		s := e.load(r)
		if _, err := fetch(r, s, s.names["1/file"]); (err == nil) != passes {
			t.Errorf("%d bytes cut: %v", cut, err)
		}
	}
}

// TestM17Gaps: a file whose MAC comes out right only when a late chunk is left out is not read.
func TestM17Gaps(t *testing.T) {
	const n = 1 << 20
	plain := bytes.Repeat([]byte{3}, n)
	k := megacrypt.NewFileKey()
	c := k.Cipher()
	var macs []megacrypt.ChunkMAC
	for i := range megacrypt.Chunks(n) - 1 {
		a, b := megacrypt.ChunkBorders(i, n)
		macs = append(macs, c.ChunkMAC(plain[a:b]))
	}
	k.Meta = c.Meta(macs)
	e := newEvil(t)
	e.data = make([]byte, n)
	c.XOR(e.data, plain, 0)
	e.tree(fileNode("filefile", evilRoot, "file", k, n))
	r := e.open(Options{})
	s := e.load(r)
	if got, err := fetch(r, s, s.names["1/file"]); !remote.Is(err, remote.Integrity) || len(got) > 0 {
		t.Error(len(got), err)
	}
}
