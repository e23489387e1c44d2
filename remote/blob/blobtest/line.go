package blobtest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// LineOptions say what a Line is like.
type LineOptions struct {
	RoundTrip time.Duration // added to each exchange, and once to each new connection
	Rate      float64       // bytes a second in each direction, for all connections together; 0: no bound
}

// Line is a TCP connection's way to a server as it is over a distance: it takes time, it is narrow, and it may be cut.
type Line struct {
	Addr string // to connect to instead of the server

	o      LineOptions
	server string
	l      net.Listener
	up     lane
	down   lane
	wg     sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	hung  chan struct{} // not nil: nothing is carried until it is closed
	conns map[*link]bool
	reset int64 // bytes of answers after which a connection is reset; 0: none is
}

// lane is one direction: what is sent in it is sent one after the other.
type lane struct {
	rate float64

	mu   sync.Mutex
	free time.Time // when what was sent so far is through
}

// link is one connection of two sockets.
type link struct {
	near, far *net.TCPConn
	once      sync.Once
}

// NewLine starts a line to a server; it ends with the test.
func NewLine(t testing.TB, server string, o LineOptions) *Line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &Line{Addr: l.Addr().String(), o: o, server: server, l: l, up: lane{rate: o.Rate}, down: lane{rate: o.Rate}, conns: map[*link]bool{}}
	x.wg.Go(x.accept)
	t.Cleanup(func() {
		l.Close()
		x.Cut()
		x.wg.Wait()
	})
	return x
}

// Cut ends all connections, as a cable does, and lets none begin.
func (x *Line) Cut() { x.setCut(true) }

// Hang carries nothing any more, and says so to nobody.
func (x *Line) Hang() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.hung == nil {
		x.hung = make(chan struct{})
	}
}

// Mend lets connections begin again, and those that hung go on.
func (x *Line) Mend() { x.setCut(false) }

// pass waits as long as the line hangs.
func (x *Line) pass() {
	x.mu.Lock()
	hung := x.hung
	x.mu.Unlock()
	if hung != nil {
		<-hung
	}
}

func (x *Line) setCut(cut bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cut = cut
	if x.hung != nil {
		close(x.hung)
		x.hung = nil
	}
	for c := range x.conns {
		if cut {
			c.abort()
		}
	}
}

// ResetAfter lets each connection that begins from now on end with a reset when n bytes of answers went over it; 0 is never.
func (x *Line) ResetAfter(n int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reset = n
}

func (x *Line) accept() {
	for {
		near, err := x.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		x.wg.Go(func() { x.carry(near.(*net.TCPConn)) })
	}
}

// carry serves one connection until it ends.
func (x *Line) carry(near *net.TCPConn) {
	time.Sleep(x.o.RoundTrip) // the handshake's
	x.pass()
	c := &link{near: near}
	x.mu.Lock()
	cut, reset := x.cut, x.reset
	x.mu.Unlock()
	if cut {
		c.abort()
		return
	}
	far, err := net.Dial("tcp", x.server)
	if err != nil {
		c.abort()
		return
	}
	c.far = far.(*net.TCPConn)
	x.mu.Lock()
	if x.cut {
		c.abort()
	}
	x.conns[c] = true
	x.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { x.pump(c, near, c.far, &x.up, 0) })
	both.Go(func() { x.pump(c, c.far, near, &x.down, reset) })
	both.Wait()
	x.mu.Lock()
	delete(x.conns, c)
	x.mu.Unlock()
	c.abort()
}

// abort ends a connection with a reset.
func (c *link) abort() {
	c.once.Do(func() {
		for _, s := range []*net.TCPConn{c.near, c.far} {
			if s != nil {
				s.SetLinger(0)
				s.Close()
			}
		}
	})
}

type parcel struct {
	b   []byte
	due time.Time
}

// pump carries bytes from one socket to another: each goes into the lane when that is free, and arrives half a round trip later.
func (x *Line) pump(c *link, from, to *net.TCPConn, l *lane, reset int64) {
	onWay := make(chan parcel, 1024)
	broken := false // read after onWay is closed
	go func() {
		defer close(onWay)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			x.pass()
			if n > 0 {
				onWay <- parcel{b[:n], l.enter(n).Add(x.o.RoundTrip / 2)}
			}
			if err != nil {
				broken = err != io.EOF
				return
			}
		}
	}()
	var sent int64
	for p := range onWay {
		time.Sleep(time.Until(p.due))
		x.pass()
		if reset > 0 && sent+int64(len(p.b)) > reset {
			p.b = p.b[:reset-sent]
			to.Write(p.b)
			c.abort()
		}
		to.Write(p.b) // when that fails, what comes the other way ends too, after what is on its way
		sent += int64(len(p.b))
	}
	if broken {
		c.abort()
	}
	to.CloseWrite()
}

// enter waits until the lane is nearly free, and returns when n bytes are through. Sleeps are not exact, so a little may be in line.
func (l *lane) enter(n int) time.Time {
	if l.rate == 0 {
		return time.Now()
	}
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now.Add(-2 * time.Millisecond)) {
		l.free = now // it stood empty; what a sleep that took too long has lost it may catch up
	}
	begin := l.free
	l.free = l.free.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	through := l.free
	l.mu.Unlock()
	if ahead := begin.Sub(now); ahead > 2*time.Millisecond {
		time.Sleep(ahead)
	}
	return through
}
