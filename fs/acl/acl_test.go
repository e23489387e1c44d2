package acl

import (
	"bytes"
	"reflect"
	"testing"
)

// raw is a binary form with any entries.
func raw(entries ...Entry) []byte { return List(entries).Bytes() }

var (
	minimal  = List{{UserObj, 6, 0}, {GroupObj, 4, 0}, {Other, 0, 0}}
	extended = List{{UserObj, 7, 0}, {User, 6, 10}, {User, 7, 5}, {GroupObj, 5, 0}, {Group, 4, 10}, {Mask, 6, 0}, {Other, 1, 0}}
	masked   = List{{UserObj, 7, 0}, {GroupObj, 7, 0}, {Mask, 5, 0}, {Other, 4, 0}}
)

func TestParse(t *testing.T) {
	for _, l := range []List{minimal, extended, masked} {
		got, err := Parse(l.Bytes())
		if err != nil || !reflect.DeepEqual(got, l) {
			t.Errorf("%v: %v, %v", l, got, err)
		}
	}
	// As the kernel writes one: no ID is 2^32-1.
	kernel := []byte{2, 0, 0, 0,
		1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 210, 4, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
		16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	if l, err := Parse(kernel); err != nil || !bytes.Equal(l.Bytes(), kernel) || l[1] != (Entry{User, 7, 1234}) {
		t.Errorf("%v, %v", l, err)
	}
	// What an entry without an ID has there does not count.
	other := bytes.Clone(kernel)
	other[8] = 77
	if l, err := Parse(other); err != nil || !bytes.Equal(l.Bytes(), kernel) {
		t.Errorf("%v, %v", l, err)
	}
}

func TestInvalid(t *testing.T) {
	var many []Entry
	for i := range uint32(MaxSize / entrySize) {
		many = append(many, Entry{User, 7, i})
	}
	u, g, o, m := Entry{UserObj, 7, 0}, Entry{GroupObj, 7, 0}, Entry{Other, 7, 0}, Entry{Mask, 7, 0}
	for what, b := range map[string][]byte{
		"nothing":                    nil,
		"half a header":              {2, 0},
		"a header":                   {2, 0, 0, 0},
		"another version":            append([]byte{1, 0, 0, 0}, raw(u, g, o)[4:]...),
		"half an entry":              raw(u, g, o)[:24],
		"more than entries":          append(raw(u, g, o), 0),
		"no owner":                   raw(g, o),
		"no group":                   raw(u, o),
		"no others":                  raw(u, g),
		"two owners":                 raw(u, u, g, o),
		"two groups":                 raw(u, g, g, o),
		"two masks":                  raw(u, g, m, m, o),
		"two others":                 raw(u, g, o, o),
		"a user without a mask":      raw(u, Entry{User, 7, 1}, g, o),
		"a group without a mask":     raw(u, g, Entry{Group, 7, 1}, o),
		"a user twice":               raw(u, Entry{User, 7, 1}, Entry{User, 7, 2}, Entry{User, 6, 1}, g, m, o),
		"a group twice":              raw(u, g, Entry{Group, 7, 1}, Entry{Group, 7, 1}, m, o),
		"a user that can't be":       raw(u, Entry{User, 7, noID}, g, m, o),
		"a group that can't be":      raw(u, g, Entry{Group, 7, noID}, m, o),
		"another order":              raw(g, u, o),
		"a user after the group":     raw(u, g, Entry{User, 7, 1}, m, o),
		"a mask after others":        raw(u, g, o, m),
		"more than read, write, run": raw(u, Entry{GroupObj, 8, 0}, o),
		"no tag":                     raw(Entry{}, u, g, o),
		"an unknown tag":             raw(u, g, o, Entry{64, 7, 0}),
		"two tags in one":            raw(u, g, Entry{Mask | Other, 7, 0}),
		"too many":                   raw(append(append([]Entry{u}, many...), g, m, o)...),
	} {
		if l, err := Parse(b); err == nil {
			t.Errorf("%s: %v", what, l)
		}
	}
	// As many as fit.
	if _, err := Parse(raw(append(append([]Entry{u}, many[:MaxSize/entrySize-5]...), g, m, o)...)); err != nil {
		t.Error(err)
	}
}

func TestModes(t *testing.T) {
	for _, x := range []struct {
		l        List
		mode     uint16
		extended bool
	}{{minimal, 0o640, false}, {extended, 0o761, true}, {masked, 0o754, true}} {
		if x.l.Mode() != x.mode || x.l.Extended() != x.extended {
			t.Errorf("%v: %o, %v", x.l, x.l.Mode(), x.l.Extended())
		}
		before := bytes.Clone(x.l.Bytes())
		if got := x.l.WithMode(0o4705).Mode(); got != 0o705 {
			t.Errorf("%v after a chmod: %o", x.l, got)
		}
		if !bytes.Equal(before, x.l.Bytes()) {
			t.Errorf("a chmod changed what it was given: %v", x.l)
		}
	}
	// A chmod reaches the mask and not the group.
	if got := extended.WithMode(0o020); got[3].Perm != 5 || got[5].Perm != 2 || got[1].Perm != 6 {
		t.Error(got)
	}
}

func TestInherit(t *testing.T) {
	for _, x := range []struct {
		l          List
		mode, want uint16
	}{
		{minimal, 0o666, 0o640},
		{minimal, 0o600, 0o600},
		{minimal, 0o777, 0o640},
		{extended, 0o666, 0o660},
		{extended, 0o2777, 0o2761},
		{extended, 0o1000, 0o1000},
		{masked, 0o777, 0o754},
	} {
		l, mode := x.l.Inherit(x.mode)
		if mode != x.want || l.Mode() != x.want&0o777 || len(l) != len(x.l) {
			t.Errorf("%v of a file made with %o: %v, mode %o, want %o", x.l, x.mode, l, mode, x.want)
		}
	}
	if l, _ := extended.Inherit(0o600); l[1].Perm != 6 || l[3].Perm != 5 || l[5].Perm != 0 {
		t.Errorf("named entries change: %v", l)
	}
}

// FuzzParse: what parses is written the way it was, and a chmod to a mode gives that mode.
func FuzzParse(f *testing.F) {
	f.Add(minimal.Bytes(), uint16(0o755))
	f.Add(extended.Bytes(), uint16(0))
	f.Add(masked.Bytes(), uint16(0o7777))
	f.Fuzz(func(t *testing.T, b []byte, mode uint16) {
		l, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(l.Bytes())
		if err != nil || !reflect.DeepEqual(again, l) || len(l.Bytes()) != len(b) {
			t.Fatalf("%v became %v, %v", l, again, err)
		}
		if got := l.WithMode(mode); got.Mode() != mode&0o777 {
			t.Fatalf("%v with %o is %v", l, mode, got)
		}
		if !reflect.DeepEqual(l.WithMode(l.Mode()), l) {
			t.Fatalf("%v is not what its mode says", l)
		}
		in, m := l.Inherit(mode)
		if _, err := Parse(in.Bytes()); err != nil || in.Mode() != m&0o777 || m&^mode != 0 || m&0o7000 != mode&0o7000 {
			t.Fatalf("%v gives %v and %o to %o", l, in, m, mode)
		}
	})
}
