package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"megafs/remote"
	"megafs/remote/blob"
)

// Run holds a kind of store against the contract. open returns an empty store each time.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for name, f := range map[string]func(*testing.T, blob.Store){
		"objects": objects, "names": names, "race": race, "ranges": ranges, "lists": lists, "contexts": contexts, "many": many,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			defer s.Close()
			f(t, s)
		})
	}
}

var ctx = context.Background()

func want(t *testing.T, err error, k remote.Kind) {
	t.Helper()
	if k == remote.Other && err != nil || k != remote.Other && !remote.Is(err, k) {
		t.Fatalf("got %v, want %v", err, k)
	}
}

func objects(t *testing.T, s blob.Store) {
	_, err := s.Get(ctx, "o/none", 10)
	want(t, err, remote.NotExist)
	_, err = s.Size(ctx, "o/none")
	want(t, err, remote.NotExist)
	want(t, s.Delete(ctx, "o/none"), remote.Other)
	for _, data := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("megafs"), 700_000)} {
		name := fmt.Sprintf("o/%d", len(data))
		mine := bytes.Clone(data)
		want(t, s.Put(ctx, name, mine), remote.Other)
		clear(mine) // the store has its own copy
		want(t, s.Put(ctx, name, []byte("other")), remote.Exist)
		got, err := s.Get(ctx, name, int64(len(data)))
		want(t, err, remote.Other)
		if !bytes.Equal(got, data) {
			t.Fatalf("%s: %d bytes", name, len(got))
		}
		if n, err := s.Size(ctx, name); n != int64(len(data)) || err != nil {
			t.Fatal(n, err)
		}
		if len(data) > 0 {
			_, err = s.Get(ctx, name, int64(len(data)-1))
			want(t, err, remote.TooLarge)
		}
		want(t, s.Delete(ctx, name), remote.Other)
		_, err = s.Get(ctx, name, 10)
		want(t, err, remote.NotExist)
		want(t, s.Put(ctx, name, data), remote.Other)
	}
	if _, err := s.Usage(ctx); err != nil {
		t.Error(err)
	}
}

func names(t *testing.T, s blob.Store) {
	for _, n := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", ".", "a.b", "A", "a b", "a\x00", "a\nb", strings.Repeat("a", 257)} {
		want(t, s.Put(ctx, n, nil), remote.Invalid)
		_, err := s.Get(ctx, n, 1)
		want(t, err, remote.Invalid)
		want(t, s.GetRange(ctx, n, 0, make([]byte, 1)), remote.Invalid)
		want(t, s.Delete(ctx, n), remote.Invalid)
	}
	want(t, s.Put(ctx, "a-1/b/c/0123456789abcdef", nil), remote.Other)
}

// race lets eight writers put one name: one wins, and its bytes stay.
func race(t *testing.T, s blob.Store) {
	for round := range 20 {
		name := fmt.Sprintf("l/%d", round)
		var wg sync.WaitGroup
		won := make([]bool, 8)
		for w := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				err := s.Put(ctx, name, bytes.Repeat([]byte{byte(w)}, 1000))
				won[w] = err == nil
				if err != nil && !remote.Is(err, remote.Exist) {
					t.Error(err)
				}
			}()
		}
		wg.Wait()
		winner := slices.Index(won, true)
		if winner < 0 || slices.Contains(won[winner+1:], true) {
			t.Fatal("winners:", won)
		}
		got, err := s.Get(ctx, name, 1000)
		if err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(winner)}, 1000)) {
			t.Fatal("not the winner's bytes", err)
		}
	}
}

func ranges(t *testing.T, s blob.Store) {
	data := make([]byte, 1000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	want(t, s.Put(ctx, "o/r", data), remote.Other)
	for _, r := range []struct{ off, n int }{{0, 1000}, {0, 1}, {999, 1}, {500, 500}, {1000, 0}, {3, 0}} {
		dst := make([]byte, r.n)
		want(t, s.GetRange(ctx, "o/r", int64(r.off), dst), remote.Other)
		if !bytes.Equal(dst, data[r.off:r.off+r.n]) {
			t.Errorf("%v", r)
		}
	}
	for _, r := range []struct{ off, n int }{{0, 1001}, {999, 2}, {1000, 1}, {5000, 1}} {
		want(t, s.GetRange(ctx, "o/r", int64(r.off), make([]byte, r.n)), remote.Integrity)
	}
	want(t, s.GetRange(ctx, "o/none", 0, make([]byte, 1)), remote.NotExist)
	want(t, s.Delete(ctx, "o/r"), remote.Other)
	want(t, s.GetRange(ctx, "o/r", 0, make([]byte, 1)), remote.NotExist)
}

func lists(t *testing.T, s blob.Store) {
	all := []string{"a", "a/b", "a-1", "a0", "b/1/x", "b/1-0", "b/10", "b/2", "k/0", "l/00", "l/01", "l/02"}
	// A name can't be an object's and a folder's at once in a folder store.
	all = slices.DeleteFunc(all, func(n string) bool { return n == "a/b" || n == "b/1/x" })
	for _, n := range all {
		want(t, s.Put(ctx, n, []byte(n)), remote.Other)
	}
	sort.Strings(all)
	for _, q := range []struct{ prefix, after string }{{"", ""}, {"b/", ""}, {"b/1", ""}, {"l/", "l/00"}, {"l/", "l/02"}, {"", "b/10"}, {"", "a-1"}, {"nothing/", ""}, {"l", "l/01"}} {
		var exp, got []string
		for _, n := range all {
			if strings.HasPrefix(n, q.prefix) && n > q.after {
				exp = append(exp, n)
			}
		}
		err := s.List(ctx, q.prefix, q.after, func(i blob.Info) error {
			if i.Size != int64(len(i.Name)) {
				t.Error(i)
			}
			got = append(got, i.Name)
			return nil
		})
		if err != nil || !slices.Equal(got, exp) {
			t.Errorf("%q: %v, want %v, %v", q, got, exp, err)
		}
	}
	stop := errors.New("stop")
	if err := s.List(ctx, "", "", func(blob.Info) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func contexts(t *testing.T, s blob.Store) {
	c, cancel := context.WithCancel(ctx)
	cancel()
	want(t, s.Put(c, "a", nil), remote.Canceled)
	_, err := s.Get(c, "a", 1)
	want(t, err, remote.Canceled)
	_, err = s.Get(ctx, "a", 1)
	want(t, err, remote.NotExist)
}

// many uses a store from several goroutines.
func many(t *testing.T, s blob.Store) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 20 {
				name := fmt.Sprintf("o/%d/%d", g%3, g*1000+i)
				if err := s.Put(ctx, name, []byte(name)); err != nil {
					t.Error(err)
				}
				dst := make([]byte, len(name))
				if err := s.GetRange(ctx, name, 0, dst); err != nil || string(dst) != name {
					t.Error(string(dst), err)
				}
			}
		}()
	}
	wg.Wait()
	n := 0
	if err := s.List(ctx, "o/", "", func(blob.Info) error { n++; return nil }); err != nil || n != 160 {
		t.Error(n, err)
	}
}
