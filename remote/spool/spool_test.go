package spool

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestSpool: records come out as they went in, in order and in any other, again and again, and the file has nothing of them in the clear, nor a name.
func TestSpool(t *testing.T) {
	dir := t.TempDir()
	s, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const word = "canary-in-the-coal-mine"
	record := func(i int) string {
		if i == 500 {
			return strings.Repeat(word, 20_000) // more than is read at a time
		}
		return strings.Repeat(word, i)
	}
	var places []int64
	for i := range 1000 {
		at, err := s.Write([]byte(record(i)))
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, at)
	}
	for range 2 {
		i := 0
		err := s.Each(func(b []byte) error {
			if string(b) != record(i) {
				t.Fatal(i)
			}
			i++
			return nil
		})
		if err != nil || i != 1000 {
			t.Fatal(i, err)
		}
		for i := 0; i < 1000; i += 17 { // parts of windows of all sizes
			j := i * 7919 % 1000
			if b, err := s.Read(places[j]); err != nil || string(b) != record(j) {
				t.Fatal(j, err)
			}
		}
		for i := 999; i >= 0; i -= 7 {
			if b, err := s.Read(places[i]); err != nil || string(b) != record(i) {
				t.Fatal(i, err)
			}
		}
	}
	if _, err := s.Read(s.size); err == nil {
		t.Fatal("a record behind the end")
	}
	raw := make([]byte, 1<<20)
	if _, err := s.f.ReadAt(raw, 0); err != nil || strings.Contains(string(raw), "canary") {
		t.Fatal("in the clear", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Fatal(left)
	}
	stop := errors.New("stop")
	if err := s.Each(func([]byte) error { return stop }); err != stop {
		t.Fatal(err)
	}
}
