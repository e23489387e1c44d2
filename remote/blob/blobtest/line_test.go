package blobtest

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// echo starts a server that sends back what it gets.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	return l.Addr().String()
}

// TestLine: a line brings what it is given, not sooner than it should, and is cut and reset when it is told to.
func TestLine(t *testing.T) {
	x := NewLine(t, echo(t), LineOptions{RoundTrip: 30 * time.Millisecond, Rate: 10 << 20})
	exchange := func(n int) (took time.Duration, got []byte, err error) {
		start := time.Now()
		c, err := net.Dial("tcp", x.Addr)
		if err != nil {
			return 0, nil, err
		}
		defer c.Close()
		go func() {
			c.Write(bytes.Repeat([]byte("x"), n))
			c.(*net.TCPConn).CloseWrite()
		}()
		got, err = io.ReadAll(c)
		return time.Since(start), got, err
	}
	for _, k := range []struct {
		n     int
		least time.Duration
	}{{1, 60 * time.Millisecond}, {2 << 20, 200 * time.Millisecond}} {
		if took, got, err := exchange(k.n); err != nil || len(got) != k.n || took < k.least {
			t.Errorf("%d bytes: %d came after %v: %v", k.n, len(got), took, err)
		}
	}
	x.ResetAfter(100_000)
	if _, got, err := exchange(1 << 20); err == nil || len(got) > 100_000 {
		t.Errorf("%d bytes came: %v", len(got), err)
	}
	x.ResetAfter(0)
	x.Cut()
	if _, got, err := exchange(1); err == nil {
		t.Errorf("%q came over a line that is cut", got)
	}
	x.Mend()
	x.Hang()
	hung := make(chan error, 1)
	go func() {
		_, _, err := exchange(1)
		hung <- err
	}()
	select {
	case err := <-hung:
		t.Error("it does not hang:", err)
	case <-time.After(100 * time.Millisecond):
	}
	x.Mend()
	if err := <-hung; err != nil {
		t.Error("what hung did not go on:", err)
	}
	if _, _, err := exchange(1); err != nil {
		t.Error(err)
	}
}
