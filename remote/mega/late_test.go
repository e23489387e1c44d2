package mega

import (
	"testing"
	"time"

	"megafs/crypto/megacrypt"
)

// TestLateForgotten: what is noted of nodes that came neither in time nor late goes when they can't come any more, and no sooner.
func TestLateForgotten(t *testing.T) {
	e := newEvil(t)
	e.tree(fileNode("aaaaaaaa", evilRoot, "a", megacrypt.NewFileKey(), 1))
	r := e.open(Options{})
	e.load(r)
	ago := func(d time.Duration) uint32 { return uint32(time.Now().Add(-d).Unix()) }
	kept := map[string]bool{"new": true, "old": false, "timeless": true, "of tomorrow": true, "broken": false}
	w := newWrite()
	for name, i := range map[string]intent{
		"new": {ino: 7, late: ago(lateLife / 2)}, "old": {ino: 8, late: ago(2 * lateLife), replaces: "aaaaaaaa"},
		"timeless": {ino: 9, replaces: "aaaaaaaa"}, "of tomorrow": {ino: 10, late: ago(-24 * time.Hour)},
	} {
		w.put(kstr(keyLate, name), i.encode())
		if again, ok := decodeIntent(i.encode()); !ok || again != i {
			t.Errorf("%+v", again)
		}
	}
	w.put(kstr(keyLate, "broken"), []byte("x"))
	w.put(kstr(keyIntent, "not answered"), intent{ino: 11, object: object{2, 3}}.encode())
	if err := r.x.commit(w, r.x.meta); err != nil {
		t.Fatal(err)
	}
	if err := r.outdate(); err != nil {
		t.Fatal(err)
	}
	kept["not answered"] = true
	look := func(when string, all bool) {
		t.Helper()
		for name, stays := range kept {
			b, err := r.x.get(kstr(keyLate, name))
			if err != nil || (b != nil) != (stays || all) {
				t.Errorf("%s: %s is there: %v, %v", when, name, b != nil, err)
			}
			if i, ok := decodeIntent(b); !all && stays && (!ok || i.late == 0 || i.late > ago(-time.Minute)) {
				t.Errorf("%s: %s is late since %d", when, name, i.late)
			}
		}
	}
	look("before the server said anything", true)
	r.news.there.Store(true)
	r.forgot = time.Time{}
	e.load(r)
	look("afterwards", false)
}
