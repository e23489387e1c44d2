package volume

import (
	"testing"

	"megafs/remote"
)

// TestQuotaReserved: what an account has no room for is refused when it is written, counting what is not sent yet and that each new version of a file takes room of its own;
// df says the same.
func TestQuotaReserved(t *testing.T) {
	const mb = 1 << 20
	a := newAccount(t)
	quota := func(n int64) {
		t.Helper()
		if err := a.server.SetQuota("me@example.com", n); err != nil {
			t.Fatal(err)
		}
	}
	quota(10 * mb)
	s, state, cache := a.login(), t.TempDir(), t.TempDir()
	b, end := a.mount(s, state, cache)
	known := func() { until(t, "what the account has", func() bool { return b.usage.Load() != nil }) }
	known()
	write := func(ino remote.Ino, off uint64, n int) error {
		t.Helper()
		h, err := b.Open(ctx, ino, true, false)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		_, err = h.WriteAt(ctx, pattern(n, 1), off, false)
		return err
	}
	free := func(most, least uint64) {
		t.Helper()
		if f := b.StatFS().Free; f > most || f < least {
			t.Errorf("%d bytes are free, want %d to %d", f, least, most)
		}
	}
	// Nothing is sent, and so it is in an account that does not answer.
	free(10*mb, 10*mb)
	one := b.mk(remote.Root, "one", remote.File)
	if err := write(one, 0, 6*mb); err != nil {
		t.Fatal(err)
	}
	free(4*mb, 4*mb)
	two := b.mk(remote.Root, "two", remote.File)
	if err := write(two, 0, 5*mb); !remote.Is(err, remote.Quota) {
		t.Error("5 of 4 MiB:", err)
	}
	big := uint64(5 * mb)
	if _, err := b.Setattr(ctx, two, SetAttr{Size: &big}); !remote.Is(err, remote.Quota) {
		t.Error("a file of 5 of 4 MiB:", err)
	}
	b.drain()
	b.quota.ask(ctx, 0)
	free(4*mb, 4*mb)
	// A new version of a file takes as much again.
	if err := write(one, 100, 1); !remote.Is(err, remote.Quota) {
		t.Error("a version of 6 in 4 MiB:", err)
	}
	short := uint64(mb)
	if _, err := b.Setattr(ctx, one, SetAttr{Size: &short}); err != nil {
		t.Error("a file is made shorter:", err)
	}
	free(3*mb, 3*mb) // which is sent as a version of its own
	if err := write(two, 0, 2*mb); err != nil {
		t.Error("2 of 3 MiB:", err)
	}
	b.drain()
	quota(20 * mb) // 9 are used
	until(t, "more room", func() bool { return write(two, 2*mb, mb) == nil })
	b.drain()
	b.quota.ask(ctx, 0)
	free(8*mb, 8*mb)
	// What an earlier life left counts.
	end()
	b, end = a.mount(s, state, cache)
	known()
	a.server.Faults().Clear()
	if err := write(two, 3*mb, 4*mb); err != nil {
		t.Fatal(err)
	}
	end()
	b, _ = a.mount(s, state, cache)
	known()
	b.quota.ask(ctx, 0)
	free(mb, mb)
	b.drain()
}
