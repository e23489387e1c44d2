package megaserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote/blob"
)

func (w *world) used(c *client) int64 {
	var q struct{ Cstrg int64 }
	c.ask(&q, `{"a":"uq","strg":1}`)
	return q.Cstrg
}

func (w *world) blobs() (n int) {
	w.Helper()
	must(w.T, w.store.List(w.Context(), "", "", func(blob.Info) error { n++; return nil }))
	return n
}

// TestTree goes through what happens to nodes.
func TestTree(t *testing.T) {
	w := newWorld(t, nil)
	c := w.user("al")
	a := c.mkdir(c.root)
	b := c.mkdir(a)
	f := c.put(b, []byte("first"), "")
	if got := c.get(f); string(got) != "first" {
		t.Fatalf("%q", got)
	}
	c.fails(Circular, `{"a":"m","n":%q,"t":%q}`, a, b)
	c.fails(Circular, `{"a":"m","n":%q,"t":%q}`, a, a)
	c.fails(NoAccess, `{"a":"m","n":%q,"t":%q}`, c.root, a)
	c.fails(NoAccess, `{"a":"m","n":%q,"t":%q}`, a, f)
	c.fails(NoEntry, `{"a":"m","n":"AAAAAAAA","t":%q}`, a)
	c.fails(NoAccess, `{"a":"d","n":%q}`, c.root)
	c.fails(BadArgs, `{"a":"a","n":%q,"at":"no\"base"}`, a)
	c.fails(BadArgs, `{"a":"chess"}`)
	c.do(`{"a":"a","n":%q,"attr":"QkJCQg","key":"x"}`, b)
	if n := c.tree().find(b); n.A != "QkJCQg" || n.P != a {
		t.Fatalf("%+v", n)
	}

	// A copy is a node of its own with the same bytes.
	var r struct{ F []shown }
	c.ask(&r, `{"a":"p","t":%q,"n":[{"h":%q,"t":0,"a":"QUFBQQ","k":"QUFBQQ"}]}`, a, f)
	copied := r.F[0].H
	if w.used(c) != 10 {
		t.Fatalf("two files of five bytes: %d", w.used(c))
	}
	sn := c.tree().SN
	c.do(`{"a":"m","n":%q,"t":%q,"i":"echo"}`, b, c.bin)
	packets, _ := c.events(sn)
	if names(packets) != "d t" || string(packets[0]["m"]) != "1" || string(packets[0]["i"]) != `"echo"` {
		t.Fatalf("a move: %s", packets)
	}
	var moved struct{ F []shown }
	must(t, json.Unmarshal(packets[1]["t"], &moved))
	if len(moved.F) != 2 || moved.F[0].H != b || moved.F[0].P != c.bin || moved.F[1].H != f {
		t.Fatalf("moved: %+v", moved)
	}
	var q struct{ Cstrgn map[string][]int64 }
	c.ask(&q, `{"a":"uq"}`)
	if got := fmt.Sprint(q.Cstrgn[c.root], q.Cstrgn[c.bin]); got != "[5 1 1 0 0] [5 1 1 0 0]" {
		t.Fatalf("under the roots: %s", got)
	}
	c.do(`{"a":"d","n":%q}`, b)
	c.fails(NoEntry, `{"a":"g","g":1,"n":%q}`, f)
	must(t, w.s.Sweep(context.Background()))
	if got := c.get(copied); string(got) != "first" || w.used(c) != 5 || w.blobs() != 1 {
		t.Fatalf("the copy after its source went: %q, %d bytes, %d blobs", got, w.used(c), w.blobs())
	}
	c.do(`{"a":"d","n":%q}`, a)
	must(t, w.s.Sweep(context.Background()))
	if w.used(c) != 0 || w.blobs() != 0 || len(c.tree().F) != 3 {
		t.Fatalf("all was deleted: %d bytes, %d blobs, %d nodes", w.used(c), w.blobs(), len(c.tree().F))
	}
}

// TestVersions replaces files.
func TestVersions(t *testing.T) {
	w := newWorld(t, nil)
	c := w.user("al")
	one := c.put(c.root, []byte("1"), "")
	sn := c.tree().SN
	two := c.put(c.root, []byte("22"), `,"ov":"`+one+`"`)
	three := c.put(c.root, []byte("333"), `,"ov":"`+two+`"`)
	packets, _ := c.events(sn)
	var p struct{ F, F2 []shown }
	must(t, json.Unmarshal(packets[0]["t"], &p))
	if p.F[0].H != two || p.F2[0].H != one || p.F2[0].P != two {
		t.Fatalf("a new version: %s", packets[0]["t"])
	}
	x := c.tree()
	if len(x.F) != 4 || len(x.F2) != 2 || x.find(two).P != three || x.find(one).P != two || w.used(c) != 6 {
		t.Fatalf("three versions: %+v", x)
	}
	if got := c.get(one); string(got) != "1" {
		t.Fatalf("the oldest: %q", got)
	}
	c.fails(BadArgs, `{"a":"p","t":%q,"n":[{"h":%q,"t":0,"a":"QQ","k":"QQ","ov":%q}]}`, c.root, c.send(nil), one)
	c.do(`{"a":"d","n":%q,"v":1}`, two)
	if x = c.tree(); x.find(one).P != three || x.find(two) != nil || w.used(c) != 4 {
		t.Fatalf("without the middle one: %+v", x)
	}
	c.do(`{"a":"d","n":%q,"v":1}`, three)
	if x = c.tree(); x.find(one) == nil || x.find(one).P != c.root || len(x.F2) != 0 || w.used(c) != 1 {
		t.Fatalf("without the newest: %+v", x)
	}
	var r struct{ F []shown }
	c.ask(&r, `{"a":"p","t":%q,"vb":0,"n":[{"h":%q,"t":0,"a":"QQ","k":"QQ","ov":%q}]}`, c.root, c.send([]byte("4444")), one)
	if x = c.tree(); x.find(one) != nil || len(x.F2) != 0 || w.used(c) != 4 {
		t.Fatalf("without versions: %+v", x)
	}
	five := c.put(c.root, []byte("5"), `,"ov":"`+r.F[0].H+`"`)
	c.do(`{"a":"dv"}`)
	if x = c.tree(); len(x.F2) != 0 || w.used(c) != 1 || x.find(five) == nil {
		t.Fatalf("after dv: %+v", x)
	}
}

// TestUpload sends files in every way they can come: in any order and cut, twice, at the same time, with and without sums.
func TestUpload(t *testing.T) {
	w := newWorld(t, nil)
	c := w.user("al")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	data := pattern(9_000_000)
	var u struct{ P string }
	c.ask(&u, `{"a":"u","s":%d,"v":3}`, len(data))
	type cutRange struct{ from, to int }
	var cuts []cutRange
	for from := 0; from < len(data); {
		to := min(len(data), from+1+rnd.IntN(1_500_000))
		cuts = append(cuts, cutRange{from, to})
		if rnd.IntN(3) == 0 { // some come again, cut in another way
			cuts = append(cuts, cutRange{max(0, from-rnd.IntN(200_000)), min(len(data), to+rnd.IntN(5_000_000))})
		}
		from = to
	}
	rnd.Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
	answers := make(chan string, len(cuts))
	lanes := make(chan struct{}, 3)
	for _, x := range cuts {
		lanes <- struct{}{}
		go func() {
			defer func() { <-lanes }()
			body := data[x.from:x.to]
			r, err := http.Post(fmt.Sprintf("%s/%d?d=%s", u.P, x.from, megacrypt.Checksum(body)), "", bytes.NewReader(body))
			if err != nil {
				answers <- err.Error()
				return
			}
			defer r.Body.Close()
			var b bytes.Buffer
			b.ReadFrom(r.Body)
			answers <- b.String()
		}()
	}
	token := ""
	for range cuts {
		if a := <-answers; len(a) == 36 {
			token = a
		} else if a != "0" {
			t.Fatalf("a chunk was answered %q", a)
		}
	}
	if token == "" || token[35] != 1 {
		t.Fatalf("no token: %q", token)
	}
	var r struct{ F []shown }
	c.ask(&r, `{"a":"p","t":%q,"n":[{"h":%q,"t":0,"a":"QQ","k":"QQ"}]}`, c.root, b64.EncodeToString([]byte(token)))
	if got := c.get(r.F[0].H); !bytes.Equal(got, data) || r.F[0].S != int64(len(data)) {
		t.Fatalf("%d bytes came back that differ", len(got))
	}
	c.fails(Expired, `{"a":"p","t":%q,"n":[{"h":%q,"t":0,"a":"QQ","k":"QQ"}]}`, c.root, b64.EncodeToString([]byte(token)))
	before := w.blobs()
	must(t, w.s.Sweep(t.Context()))
	if got := c.get(r.F[0].H); !bytes.Equal(got, data) {
		t.Fatalf("after %d of %d blobs went the file differs", before-w.blobs(), before)
	}
	var g struct{ G string }
	c.ask(&g, `{"a":"g","g":1,"n":%q}`, r.F[0].H)
	for range 20 {
		from := rnd.IntN(len(data))
		to := from + rnd.IntN(len(data)-from)
		if _, b := c.post(fmt.Sprintf("%s/%d-%d", g.G, from, to), nil); !bytes.Equal(b, data[from:to+1]) {
			t.Fatalf("the range %d-%d differs", from, to)
		}
	}
	if _, b := c.post(g.G+"/8999999-", nil); !bytes.Equal(b, data[8999999:]) {
		t.Fatal("an open range differs")
	}

	// What can be wrong with a chunk.
	c.ask(&u, `{"a":"u","s":100}`)
	for at, want := range map[string]string{"/0?c=AAAAAAAAAAAAAAAA": "-14", "/90": "-7", "/101": "-7", "/x": "-7"} {
		if _, b := c.post(u.P+at, pattern(50)); string(b) != want {
			t.Fatalf("%s: %q, not %s", at, b, want)
		}
	}
	if s, _ := c.post(w.url+"/ul/AAAAAAAAAAAAAAAAAAAAAA/0", nil); s != 404 {
		t.Fatalf("an upload that nobody began: %d", s)
	}
	if s, b := c.post(u.P+"/0", pattern(50)); s != 200 || len(b) != 0 {
		t.Fatalf("half: %d %q", s, b)
	}
	blobs := w.blobs()
	w.pass(uploadLife + time.Hour)
	must(t, w.s.Sweep(t.Context()))
	if w.blobs() != blobs-1 {
		t.Fatalf("an abandoned upload left %d blobs of %d", w.blobs(), blobs)
	}
	if s, _ := c.post(u.P+"/50", pattern(50)); s != 404 {
		t.Fatalf("an upload that is over: %d", s)
	}
}

// TestQuota fills an account.
func TestQuota(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Quota = 100 })
	c := w.user("al")
	c.fails(OverQuota, `{"a":"u","s":101}`)
	h := c.put(c.root, pattern(60), "")
	c.fails(OverQuota, `{"a":"u","s":41}`)
	c.fails(OverQuota, `{"a":"p","t":%q,"n":[{"h":%q,"t":0,"a":"QQ","k":"QQ"}]}`, c.root, h)
	must(t, w.s.SetQuota("al@example.com", 200))
	c.put(c.root, pattern(60), `,"ov":"`+h+`"`) // versions count
	c.fails(OverQuota, `{"a":"u","s":81}`)
	must(t, w.s.Block("al@example.com", true))
	if got := c.do(`{"a":"uq"}`); got != "-16" {
		t.Fatalf("blocked, and answered %s", got)
	}
}

// TestShares lets two accounts and a stranger look at one folder.
func TestShares(t *testing.T) {
	w := newWorld(t, nil)
	al, bo := w.user("al"), w.user("bo")
	dir := al.mkdir(al.root)
	file := al.put(dir, []byte("shared"), "")
	bo.fails(NoEntry, `{"a":"g","g":1,"n":%q}`, file)
	sn := bo.tree().SN
	al.do(`{"a":"s2","n":%q,"s":[{"u":"bo@example.com","r":0,"k":"U0s"}],"ok":"T0s","ha":"SEE","cr":[[%q],[%q,%q],[0,0,"S0Q",0,1,"S0Y"]]}`, dir, dir, dir, file)
	packets, next := bo.events(sn)
	if names(packets) != "s2 t" {
		t.Fatalf("told of a share: %s", packets)
	}
	x := bo.tree()
	if n := x.find(dir); n == nil || n.SU != al.user || n.SK != "U0s" || *n.R != 0 || !strings.Contains(n.K, dir+":S0Q") {
		t.Fatalf("the shared folder: %+v", n)
	}
	if got := bo.get(file); string(got) != "shared" {
		t.Fatalf("%q", got)
	}
	bo.fails(NoAccess, `{"a":"d","n":%q}`, file)
	bo.fails(NoAccess, `{"a":"p","t":%q,"n":[{"h":"xxxxxxxx","t":1,"a":"QQ","k":"QQ"}]}`, dir)
	al.do(`{"a":"s2","n":%q,"s":[{"u":%q,"r":2}]}`, dir, bo.user)
	var r struct{ F []shown }
	bo.ask(&r, `{"a":"p","t":%q,"n":[{"h":%q,"t":0,"a":"QQ","k":"QQ"}],"cr":[[%q],[""],[0,0,"S0M"]]}`, dir, bo.send([]byte("bo's")), dir)
	if got := al.get(r.F[0].H); string(got) != "bo's" || al.tree().find(r.F[0].H).K != dir+":S0M" || w.used(al) != 10 {
		t.Fatalf("what was put into the share: %q, %+v", got, al.tree().find(r.F[0].H))
	}
	bo.fails(NoAccess, `{"a":"m","n":%q,"t":%q}`, dir, dir)
	bo.do(`{"a":"d","n":%q}`, file)
	if al.tree().find(file) != nil {
		t.Fatal("deleted by one with full rights, and still there")
	}
	if packets, _ = bo.events(next); !strings.HasSuffix(names(packets), "t d") {
		t.Fatalf("bo saw: %s", names(packets))
	}
	al.do(`{"a":"s2","n":%q,"s":[{"u":%q}]}`, dir, bo.user)
	bo.fails(NoEntry, `{"a":"g","g":1,"n":%q}`, r.F[0].H)
	if bo.tree().find(dir) != nil || len(al.tree().OK) != 0 {
		t.Fatal("no longer shared, and still seen")
	}

	// To delete what somebody shares is to leave the share.
	al.do(`{"a":"s2","n":%q,"s":[{"u":%q,"r":0}],"ok":"T0s","ha":"SEE"}`, dir, bo.user)
	if got := bo.do(`{"a":"d","n":%q}`, dir); got != "0" || bo.tree().find(dir) != nil || al.tree().find(dir) == nil || len(al.tree().OK) != 0 {
		t.Fatalf("left the share: %s", got)
	}

	// A public link.
	al.fails(NoAccess, `{"a":"l","n":%q}`, dir)
	al.do(`{"a":"s2","n":%q,"s":[{"u":"EXP","r":0}],"ok":"T0s","ha":"SEE","cr":[[%q],[%q],[0,0,"S0Q"]]}`, dir, dir, dir)
	var ph string
	al.ask(&ph, `{"a":"l","n":%q}`, dir)
	stranger := &client{T: t, url: w.url, n: ph}
	if x := stranger.tree(); x.F[0].H != dir || x.F[0].K != dir+":S0Q" || x.find(r.F[0].H) == nil {
		t.Fatalf("under the link: %+v", x.F)
	}
	if got := stranger.get(r.F[0].H); string(got) != "bo's" {
		t.Fatalf("%q", got)
	}
	stranger.fails(BadSession, `{"a":"d","n":%q}`, r.F[0].H)
	stranger.fails(NoEntry, `{"a":"g","g":1,"n":%q}`, al.root)
	bo.ask(&r, `{"a":"p","t":%q,"n":[{"ph":%q,"t":0,"a":"QQ","k":"QQ"}]}`, bo.root, r.F[0].H)
	if got := bo.get(r.F[0].H); string(got) != "bo's" {
		t.Fatalf("imported: %q", got)
	}
	al.do(`{"a":"d","n":%q}`, dir)
	if got := stranger.do(`{"a":"f","c":1}`); got != "-9" {
		t.Fatalf("a link to what was deleted: %s", got)
	}
	must(t, w.s.Sweep(t.Context()))
	if got := bo.get(r.F[0].H); string(got) != "bo's" {
		t.Fatalf("imported, after the source went: %q", got)
	}
}

// TestThumbnails brings file attributes and gets them back.
func TestThumbnails(t *testing.T) {
	w := newWorld(t, nil)
	c := w.user("al")
	var u struct{ P string }
	c.ask(&u, `{"a":"ufa","s":32,"ssl":2}`)
	_, h := c.post(u.P+"/1", pattern(32))
	_, lost := c.post(u.P, pattern(48))
	id := b64.EncodeToString(h)
	f := c.put(c.root, []byte("pic"), `,"fa":"0*`+id+`"`)
	c.do(`{"a":"pfa","n":%q,"fa":"1*%s"}`, f, id)
	if n := c.tree().find(f); n.FA != "1:1*"+id+"/1:0*"+id {
		t.Fatalf("fa: %q", n.FA)
	}
	c.fails(NoEntry, `{"a":"pfa","n":%q,"fa":"1*AAAAAAAAAAA"}`, f)
	w.pass(48 * time.Hour)
	must(t, w.s.Sweep(t.Context()))
	c.ask(&u, `{"a":"ufa","fah":%q,"r":1}`, id)
	if _, b := c.post(u.P, append(h, lost...)); !bytes.Equal(b, append(append(bytes.Clone(h), 32, 0, 0, 0), pattern(32)...)) {
		t.Fatalf("got %x", b)
	}
	c.do(`{"a":"d","n":%q}`, f)
	must(t, w.s.Sweep(t.Context()))
	must(t, w.s.Sweep(t.Context()))
	if w.blobs() != 0 {
		t.Fatalf("%d blobs are left", w.blobs())
	}
}
