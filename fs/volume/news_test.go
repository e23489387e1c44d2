package volume

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"megafs/remote"
)

// TestP2News changes files on one machine and waits until another, which does nothing else and times itself as it does in earnest, has the change. That is
// within two seconds, of which the file is let settle for half of one, and the other machine makes no more than a request a second. Here each change may take
// three times as long, for machines that do much else; the times are logged. MEGAFS_NEWS sets how many changes.
func TestP2News(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("MEGAFS_NEWS"))
	if n == 0 {
		n = 4
	}
	q := newSquadron(t, 1, 2)
	for _, s := range q.all {
		s.stop()
		fast := s.over
		s.over = func(o *Options) { fast(o); o.Settle, o.MaxAge, o.Poll, o.LocalStore = 0, 0, 0, false }
		s.back(q)
	}
	a, b := q.all[0], q.all[1]
	a.do("write f --")
	a.drain()
	sees := func(i int) bool {
		if i%2 == 0 {
			_, err := b.Lookup(ctx, remote.Root, fmt.Sprint("new", i))
			return err == nil
		}
		got := make([]byte, 2)
		b.read(ctx, b.find(remote.Root, "f"), got, 0)
		return string(got) == fmt.Sprintf("%02d", i%100)
	}
	var took []time.Duration
	for i := range n {
		time.Sleep(time.Duration(rand.IntN(1200)) * time.Millisecond) // not in step with what is measured
		start := time.Now()
		a.do([]string{fmt.Sprintf("write new%d x", i), fmt.Sprintf("write f %02d", i%100)}[i%2])
		for ; !sees(i); time.Sleep(5 * time.Millisecond) {
			if time.Since(start) > 6*time.Second {
				t.Fatalf("change %d is not seen after %v: %v", i, time.Since(start), b.Status().LastError)
			}
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	start, calls := time.Now(), b.way.count()
	time.Sleep(time.Duration(4+n/4) * time.Second) // idles
	calls, idle := b.way.count()-calls, time.Since(start).Seconds()
	t.Logf("%d changes: median %v, 99%% %v, longest %v; %d requests in %.1f s", n, took[n/2], took[n*99/100], took[n-1], calls, idle)
	if float64(calls) > idle+1 {
		t.Errorf("%d requests in %.1f s without news", calls, idle)
	}
}
