package megaserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"megafs/remote/blob"
)

// TestManyNodes fills an account, reads it, moves all of it in one command, and deletes it. MEGAFS_TEST_SERVER_NODES says with how many nodes;
// times and memory are printed, not judged.
func TestManyNodes(t *testing.T) {
	total := 3000
	if s := os.Getenv("MEGAFS_TEST_SERVER_NODES"); s != "" {
		var err error
		total, err = strconv.Atoi(s)
		must(t, err)
	}
	const each = 1000
	s, err := New(Options{State: t.TempDir(), Blobs: blob.Mem()})
	must(t, err)
	h := httptest.NewServer(s)
	t.Cleanup(func() { s.EndWaits(); h.Close(); s.Close() })
	must(t, s.AddAccount(NewAccount{Email: "al@example.com", Password: testPassword}))
	c := &client{T: t, url: h.URL}
	c.logIn("al@example.com", testPassword, "")
	lap := time.Now()
	told := func(what string) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("%-8s %8.2f s, heap %d MiB", what, time.Since(lap).Seconds(), m.HeapInuse>>20)
		lap = time.Now()
	}
	top := c.mkdir(c.root)
	file := c.put(c.root, []byte("x"), "")
	attrs := strings.Repeat("QUFB", 16)
	for made := 0; made < total; made += each {
		nodes := []string{`{"h":"dirdirdi","t":1,"a":"` + attrs + `","k":"QUFBQUFBQUFBQUFBQUFBQQ"}`}
		for range each - 1 {
			nodes = append(nodes, `{"h":"`+file+`","t":0,"p":"dirdirdi","a":"`+attrs+`","k":"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"}`)
		}
		c.id++
		_, b := c.post(c.url+"/cs"+c.query()+"&v=3", fmt.Appendf(nil, `[{"a":"p","t":%q,"n":[%s]}]`, top, strings.Join(nodes, ",")))
		if !bytes.HasPrefix(b, []byte(`[["`)) {
			t.Fatalf("p: %.200s", b)
		}
	}
	told("made")
	want := total + 5
	count := func(path string, body string) int {
		r, err := http.Post(c.url+path, "", strings.NewReader(body))
		must(t, err)
		defer r.Body.Close()
		d := json.NewDecoder(r.Body)
		n := 0
		for {
			x, err := d.Token()
			if err == io.EOF {
				return n
			}
			must(t, err)
			if x == "h" {
				n++
			}
		}
	}
	if n := count("/cs"+c.query(), `[{"a":"f","c":1}]`); n != want {
		t.Fatalf("%d nodes of %d", n, want)
	}
	told("read")
	sn := snText(0)
	must(t, s.view(func(x *tx) error {
		k, err := x.counters(c.user)
		sn = snText(k.Seq)
		return err
	}))
	if got := c.do(`{"a":"m","n":%q,"t":%q}`, top, c.bin); got != "0" {
		t.Fatal(got)
	}
	told("moved")
	if n := count("/sc?sn="+sn+"&sid="+c.sid, ""); n != total+1 {
		t.Fatalf("a move of %d nodes told of %d", total+1, n)
	}
	told("told")
	if got := c.do(`{"a":"d","n":%q}`, top); got != "0" {
		t.Fatal(got)
	}
	told("deleted")
	must(t, s.Sweep(t.Context()))
	told("swept")
	if n := len(c.tree().F); n != 4 {
		t.Fatalf("%d nodes are left", n)
	}
	must(t, s.view(func(x *tx) error {
		n := 0
		if err := x.scan([]byte("h"), nil, false, func(_, _ []byte) error { n++; return nil }); err != nil {
			return err
		}
		if n != 4 {
			t.Errorf("%d records of nodes are left", n)
		}
		return nil
	}))
}
