package blob_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/blob/blobtest"
)

// TestS3Resets: connections that break in the middle of an answer give no wrong or short bytes, and with Retry nobody notices; a Put whose answer
// was lost is found to have taken place.
func TestS3Resets(t *testing.T) {
	srv := blobtest.NewS3Server(t)
	line := blobtest.NewLine(t, srv.Addr, blobtest.LineOptions{RoundTrip: time.Millisecond})
	p, err := blob.ParseS3(srv.Over(line.Addr))
	if err != nil {
		t.Fatal(err)
	}
	open := func() blob.Store {
		s, err := blob.S3(p, blob.S3Options{}) // one of its own has no connections yet
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	data := make([]byte, 1<<20)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(data)
	waits := 0
	again := func(mend int) blob.Store {
		waits = 0
		return blob.Retry(open(), blob.RetryOptions{Base: time.Millisecond, Waiting: func(string, error, time.Duration) {
			if waits++; waits == mend {
				line.ResetAfter(0)
			}
		}})
	}

	line.ResetAfter(10)
	if err := open().Put(ctx, "lost", data); !remote.Is(err, remote.Unreachable) {
		t.Error("a Put whose answer was lost:", err)
	}
	if err := again(1).Put(ctx, "found", data); err != nil || waits != 1 {
		t.Errorf("after %d waits: %v", waits, err)
	}
	for _, name := range []string{"lost", "found"} {
		if got, err := open().Get(ctx, name, 1<<20); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes: %v", name, len(got), err)
		}
	}
	line.ResetAfter(0)
	if err := again(9).Put(ctx, "lost", data[1:]); !remote.Is(err, remote.Exist) {
		t.Error("a name that others took:", err)
	}

	line.ResetAfter(300_000)
	if got, err := open().Get(ctx, "found", 1<<20); !remote.Is(err, remote.Unreachable) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	dst := make([]byte, 500_000)
	if err := open().GetRange(ctx, "found", 1000, dst); !remote.Is(err, remote.Unreachable) {
		t.Error(err)
	}
	clear(dst)
	if err := again(2).GetRange(ctx, "found", 1000, dst); err != nil || waits != 2 || !bytes.Equal(dst, data[1000:501_000]) {
		t.Errorf("after %d waits: %v", waits, err)
	}
}
