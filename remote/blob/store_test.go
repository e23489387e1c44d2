package blob_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/blob/blobtest"
)

var ctx = context.Background()

func dir(t *testing.T) blob.Store {
	t.Helper()
	s, err := blob.Dir(t.TempDir(), blob.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMem(t *testing.T) { blobtest.Run(t, func(t *testing.T) blob.Store { return blob.Mem() }) }
func TestDir(t *testing.T) { blobtest.Run(t, dir) }

// TestDecorated holds the decorators against the contract.
func TestDecorated(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store {
		return blob.Retry(blob.Metrics(blob.Limit(blob.Mem(), blob.LimitOptions{Reads: 2, Writes: 2}), &blob.Meter{}), blob.RetryOptions{})
	})
}

// TestLeft: a store in the order that a mount uses.
func TestLeft(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store {
		return blob.Retry(blob.Metrics(blob.Leave(blob.Limit(dir(t), blob.LimitOptions{}), blob.LeaveOptions{}), &blob.Meter{}), blob.RetryOptions{})
	})
}

func TestProbe(t *testing.T) {
	for _, s := range []blob.Store{blob.Mem(), dir(t)} {
		if err := blob.Probe(ctx, s); err != nil {
			t.Error(err)
		}
		if err := s.List(ctx, "", "", func(i blob.Info) error { return errors.New(i.Name) }); err != nil {
			t.Error("left behind:", err)
		}
	}
}

// flaky fails the first calls; a Put may have taken place all the same.
type flaky struct {
	blob.Store
	left int
	done bool
}

func (f *flaky) Put(ctx context.Context, name string, data []byte) error {
	if f.left--; f.left >= 0 {
		if f.done {
			f.Store.Put(ctx, name, data)
		}
		return remote.E("put", name, remote.Timeout, nil)
	}
	return f.Store.Put(ctx, name, data)
}

// TestRetry repeats what failed, and knows its own object again.
func TestRetry(t *testing.T) {
	quick := blob.RetryOptions{Attempts: 4, Sleep: func(context.Context, time.Duration) {}}
	for _, done := range []bool{false, true} {
		if err := blob.Retry(&flaky{blob.Mem(), 3, done}, quick).Put(ctx, "a", []byte("x")); err != nil {
			t.Error(done, err)
		}
	}
	if err := blob.Retry(&flaky{blob.Mem(), 9, false}, quick).Put(ctx, "a", nil); !remote.Is(err, remote.Timeout) {
		t.Error(err)
	}
	m := blob.Mem()
	m.Put(ctx, "a", []byte("another's"))
	if err := blob.Retry(&flaky{m, 2, false}, quick).Put(ctx, "a", []byte("x")); !remote.Is(err, remote.Exist) {
		t.Error(err)
	}
}

// TestDirVanishes takes the folder away and back.
func TestDirVanishes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v")
	s, err := blob.Dir(path, blob.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put(ctx, "o/1", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "o/2", nil); !remote.Is(err, remote.Unreachable) {
		t.Error("put:", err)
	}
	if err := os.Rename(path+"2", path); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Get(ctx, "o/1", 10); err != nil || string(b) != "one" {
		t.Error(err)
	}
	if _, err := blob.Dir(path+"3", blob.DirOptions{}); !remote.Is(err, remote.NotExist) {
		t.Error(err)
	}
}

// TestDirLinks plants symbolic links: none is followed out of the folder.
func TestDirLinks(t *testing.T) {
	path := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("secret"), 0o600)
	os.Mkdir(filepath.Join(path, "o"), 0o700)
	os.Symlink(secret, filepath.Join(path, "o", "1"))
	os.Symlink(filepath.Dir(secret), filepath.Join(path, "d"))
	s, err := blob.Dir(path, blob.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, n := range []string{"o/1", "d/secret"} {
		if b, err := s.Get(ctx, n, 100); err == nil {
			t.Errorf("%s: %q", n, b)
		}
		if err := s.Put(ctx, n, []byte("x")); err == nil && n == "d/secret" {
			t.Errorf("%s was written", n)
		}
	}
	if b, _ := os.ReadFile(secret); string(b) != "secret" {
		t.Errorf("%q", b)
	}
}
