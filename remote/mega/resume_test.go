package mega

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// taking is a server that takes uploads, and looks whether one key meets two contents: whether something else comes to a place of an
// upload than what came before.
type taking struct {
	*evil
	urls  int
	seen  map[string][]byte         // path -> what came, answered or not
	have  map[string]map[string]int // upload -> path -> bytes that were answered
	size  int
	posts int
}

func newTaking(t *testing.T, size int) *taking {
	k := &taking{evil: newEvil(t), seen: map[string][]byte{}, have: map[string]map[string]int{}, size: size}
	k.tree()
	k.cs["u"] = func(command) any {
		k.urls++
		return map[string]any{"p": fmt.Sprintf("%s/ul/%d", k.url, k.urls)}
	}
	k.ul = func(path string, body []byte) (int, string) {
		if old, ok := k.seen[path]; ok && !bytes.Equal(old, body) {
			t.Errorf("%s: other bytes under the same key", path)
		}
		k.seen[path] = body
		k.posts++
		up := path[:strings.LastIndexByte(path, '/')]
		if k.have[up] == nil {
			k.have[up] = map[string]int{}
		}
		k.have[up][path] = len(body)
		sum := 0
		for n := range maps.Values(k.have[up]) {
			sum += n
		}
		if sum == k.size {
			return 200, strings.Repeat("x", tokenSize)
		}
		return 200, ""
	}
	return k
}

func (k *taking) set(fn func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn()
}

func noise(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>9*3 + seed)
	}
	return b
}

const resumeIno = remote.Ino(localDevice<<remote.InoBits | 5)

func storeOf(r *Remote, p []byte) ([]remote.Ref, error) {
	return r.StoreFile(context.Background(), resumeIno, uint64(len(p)), func(_ context.Context, off uint64, dst []byte) error { copy(dst, p[off:]); return nil }, nil)
}

// TestUploadGoesOn cuts an upload, in a process and between two, and lets it go on: what the server has is not sent again. When the content, the URL or the state folder is another, it
// begins anew, with another key.
func TestUploadGoesOn(t *testing.T) {
	const size = 8<<20 + 5
	p := noise(size, 1)
	all := 3 // posts, of one piece each
	for name, c := range map[string]struct {
		again  bool                  // another process
		change func(*taking, string) // before that
		p      func() []byte         // the content then
		anew   bool
	}{
		"in the process":                 {},
		"another process":                {again: true},
		"other content at the beginning": {again: true, anew: true, p: func() []byte { q := bytes.Clone(p); q[5]++; return q }},
		"other content at the end":       {p: func() []byte { q := bytes.Clone(p); q[size-1]++; return q }},
		"the URL is gone": {again: true, anew: true, change: func(k *taking, _ string) {
			old := k.ul
			k.ul = func(path string, b []byte) (int, string) {
				if strings.HasPrefix(path, "/ul/1/") {
					return 404, ""
				}
				return old(path, b)
			}
		}},
		"the folder was put back": {again: true, anew: true, change: func(_ *taking, dir string) {
			other := dir + " copy"
			if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(other, dir); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newTaking(t, size)
			dir := t.TempDir()
			r := k.open(Options{StateDir: dir})
			k.load(r)
			if r.up.epoch == nil {
				t.Skip("this file system tells no times of birth: uploads end with the process")
			}
			// What can't be read ends an upload without those posts that are under way.
			cut := errors.New("cut")
			_, err := r.StoreFile(t.Context(), resumeIno, size, func(_ context.Context, off uint64, dst []byte) error {
				if copy(dst, p[off:]); off == 2*remote.MaxContent {
					return cut
				}
				return nil
			}, nil)
			if !errors.Is(err, cut) || k.posts != all-1 {
				t.Fatal(err, k.posts)
			}
			if c.again {
				if err := r.Close(); err != nil {
					t.Fatal(err)
				}
			}
			k.set(func() {
				k.posts = 0
				if c.change != nil {
					c.change(k, dir)
				}
			})
			if c.again {
				r = k.open(Options{StateDir: dir})
			}
			q := p
			if c.p != nil {
				q = c.p()
			}
			refs, err := storeOf(r, q)
			if err != nil || len(refs) != all {
				t.Fatal(refs, err)
			}
			if c.anew && (k.urls != 2 || k.posts < all) || !c.anew && (k.urls != 1 || k.posts != 1) {
				t.Errorf("%d posts, %d URLs", k.posts, k.urls)
			}
			// What came to the server is the content, under the key that the file is to have.
			o, _ := split(refs[0].Object)
			x := r.up.get(o)
			up := fmt.Sprintf("/ul/%d/", k.urls)
			var macs []megacrypt.ChunkMAC
			for i := range megacrypt.Chunks(size) {
				a, b := megacrypt.ChunkBorders(i, size)
				macs = append(macs, x.key.Cipher().ChunkMAC(q[a:b]))
			}
			if x.key.Verify(size, macs) != nil {
				t.Error("another MAC than that of the content")
			}
			for path, b := range k.seen {
				var off int64
				if n, _ := fmt.Sscanf(path, up+"%d", &off); n == 1 {
					x.key.Cipher().XOR(b, b, off)
					if !bytes.Equal(b, q[off:off+int64(len(b))]) {
						t.Error(path, "is other content")
					}
				}
			}
		})
	}
}

// TestUploadKept: content that was uploaded, and that no commit took, is not uploaded again, nor by the next process; when a commit took it, nothing of it is left in the index.
func TestUploadKept(t *testing.T) {
	const size = 9 << 20
	p := noise(size, 1)
	k := newTaking(t, size)
	dir := t.TempDir()
	r := k.open(Options{StateDir: dir})
	k.load(r)
	first, err := storeOf(r, p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		again, err := storeOf(r, p)
		if err != nil || k.urls != 1 || k.posts != 3 || again[0] != first[0] {
			t.Fatal(i, err, k.urls, k.posts)
		}
		if r.up.epoch == nil {
			t.Skip("this file system tells no times of birth: uploads end with the process")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		r = k.open(Options{StateDir: dir})
	}
	again, err := storeOf(r, p)
	if err != nil || k.posts != 3 {
		t.Fatal(err, k.posts)
	}
	k.load(r)
	k.cs["p"] = func(c command) any {
		n := c["n"].([]any)[0].(map[string]any)
		return map[string]any{"f": []any{map[string]any{"h": "made0000", "p": c["t"], "t": 0, "a": n["a"], "k": evilUser + ":" + n["k"].(string), "s": size, "ts": 1}}}
	}
	ops := []remote.Op{{Kind: remote.OpNode, Ino: resumeIno, Attr: remote.Attr{Type: remote.File, Mode: 0o600, Size: size}}, {Kind: remote.OpLink, Ino: resumeIno, Parent: remote.Root, Name: "f"}}
	for i, ref := range again {
		off := uint64(i) * remote.MaxContent
		ops = append(ops, remote.Op{Kind: remote.OpExtent, Ino: resumeIno, Extent: remote.Extent{Off: off, Len: min(size-off, remote.MaxContent), Ref: ref}})
	}
	if _, err := r.Commit(t.Context(), r.x.meta.position(), ops); err != nil {
		t.Fatal(err)
	}
	if len(r.up.sending) != 0 {
		t.Error("it may go on")
	}
	r.x.db.View(func(tx *badger.Txn) error {
		it := tx.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if c := it.Item().Key()[0]; c == keySending || c == keyPosted {
				t.Errorf("%q is left", it.Item().Key())
			}
		}
		return nil
	})
	// It is not kept for ever.
	if _, err := storeOf(r, p); err != nil || k.urls != 2 {
		t.Fatal(err, k.urls)
	}
	r.up.sending[resumeIno].began = time.Now().Add(-2 * uploadLife)
	if _, err := storeOf(r, p); err != nil || k.urls != 3 {
		t.Fatal(err, k.urls)
	}
}

// TestUploadNoted: what can't be noted is not sent.
func TestUploadNoted(t *testing.T) {
	k := newTaking(t, 9<<20)
	r := k.open(Options{StateDir: t.TempDir()})
	k.load(r)
	if r.up.epoch == nil {
		t.Skip("this file system tells no times of birth: uploads end with the process")
	}
	if err := r.x.db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := storeOf(r, noise(9<<20, 1)); !remote.Is(err, remote.IO) || k.posts != 0 {
		t.Error(err, k.posts)
	}
	s := newSending(r.up, resumeIno, 9<<20)
	if _, err := s.admit(s.x.key.Cipher(), 0, make([]byte, megacrypt.ChunkStart(1))); err == nil || s.state[0] != chunkUnsent {
		t.Error(err)
	}
	s.lasting = false
	if done, err := s.admit(s.x.key.Cipher(), 0, make([]byte, megacrypt.ChunkStart(1))); err != nil || done {
		t.Error(err)
	}
	if _, err := s.admit(s.x.key.Cipher(), 0, bytes.Repeat([]byte{1}, int(megacrypt.ChunkStart(1)))); !errors.Is(err, errOther) {
		t.Error(err)
	}
}
