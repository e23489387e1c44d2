package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"megafs/remote/blob/blobtest"
)

// TestB4Outage takes the bucket away while a tree is copied to it, once by a cut that is noticed and once by a line that just carries nothing. The copy
// goes on, what is known and cached is answered, status says what is the matter, and afterwards all arrives without help. MEGAFS_TEST_OUTAGE is
// how long each takes; by itself some seconds.
func TestB4Outage(t *testing.T) {
	for _, k := range []struct {
		name string
		away func(*blobtest.Line)
	}{{"cut", (*blobtest.Line).Cut}, {"hung", (*blobtest.Line).Hang}} {
		t.Run(k.name, func(t *testing.T) { outage(t, k.away) })
	}
}

func outage(t *testing.T, away func(*blobtest.Line)) {
	lasts, most := 3*time.Second, 4
	if s := os.Getenv("MEGAFS_TEST_OUTAGE"); s != "" {
		var err error
		if lasts, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
		most = 20
	}
	m := newMachine(t)
	srv := blobtest.NewS3Server(t)
	line := blobtest.NewLine(t, srv.Addr, blobtest.LineOptions{RoundTrip: lineTrip, Rate: lineRate})
	m.url = srv.Over(line.Addr)
	pass, _ := m.init()
	m.mount("--passphrase-file", pass)
	src := filepath.Join(strings.TrimSpace(m.sh("go env GOROOT")), "src/net")
	m.sh(fmt.Sprintf("cp -a %s $M/before; head -c 3000000 /dev/urandom >big; cp big $M/big; cat $M/big >/dev/null", src))
	m.want(0, "", "sync", m.mnt)

	// Copies begin before the line goes and go on until it is back.
	stop := make(chan struct{})
	copied := make(chan int, 1)
	go func() {
		n := 0
		defer func() { copied <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if n == most {
				<-stop // enough is copied to see that it goes on
				return
			}
			if out, err := m.command("cp", "-a", src, fmt.Sprintf("%s/copy%d", m.mnt, n)).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
				return
			}
			n++
			if lasts > time.Minute { // they are to go on until the end
				select {
				case <-stop:
				case <-time.After(lasts / time.Duration(most)):
				}
			}
		}
	}()
	m.until("the copy is being sent", func() bool { return m.status().Waiting > 0 })
	away(line)
	start := time.Now()
	named := false
	for looks := 0; looks < 3 || time.Since(start) < lasts; looks++ {
		began := time.Now()
		m.sh("ls -lR $M/before >/dev/null; stat $M/big >/dev/null; df $M >/dev/null; cmp big $M/big; echo x >$M/small; sync $M/small")
		if took := time.Since(began); took > 20*time.Second { // on a busy machine; the store's own times are longer
			t.Errorf("what is known here took %v", took)
		}
		s := m.status()
		if s.State == "offline" && s.LastError != "" && s.Away > 0 {
			named = true
		} else if named {
			t.Errorf("status forgot that the store is away: %s, %q, %v s", s.State, s.LastError, s.Away)
		}
		time.Sleep(min(time.Second, lasts/8))
	}
	// A line that carries nothing is noticed when an answer is overdue.
	m.until("status says that the store is away", func() bool {
		s := m.status()
		return s.State == "offline" && s.LastError != "" && s.Away > 0
	})
	m.want(0, "has not answered for", "status", m.mnt)
	if d := m.status().DirtyFiles; d == 0 {
		t.Error("nothing waits")
	}
	line.Mend()
	close(stop)
	n := <-copied
	t.Logf("%d copies were made", n)
	m.want(0, "", "sync", m.mnt)
	if s := m.status(); s.State != "online" || s.Away > 0 || s.DirtyFiles > 0 {
		t.Errorf("after all was sent: %s, %q, %v s, %d files wait", s.State, s.LastError, s.Away, s.DirtyFiles)
	}
	m.umount()
	m.wipe(".cache/megafs/*")
	m.wipe(".local/state/megafs/*")
	m.mount("--passphrase-file", pass, "--trust-first-use")
	m.sh("cmp big $M/big; test $(cat $M/small) = x")
	for i := range n {
		m.same(src, fmt.Sprintf("%s/copy%d", m.mnt, i))
	}
	m.umount()
	m.want(0, "0 damaged", "vault", "verify", "--passphrase-file", pass, m.url)
}
