package blob

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"megafs/remote"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second // from the request's last byte to the answer's first
	stallStep     = 10 * time.Second // after each of which is looked whether in the last
	stallSteps    = 3                // of them
	stallBytes    = 30 << 10         // came or went
	maxErrorBody  = 64 << 10
	maxRetryAfter = time.Minute
)

// transport returns how a place's server is connected to.
func (p S3Place) transport() (http.RoundTripper, error) {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second, Control: fewUnsent}
	t := &http.Transport{
		DialContext: d.DialContext, Proxy: http.ProxyFromEnvironment,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: answerTimeout, MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns: 64, MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second,
		DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
		// One connection for all would have all wait when one packet is lost.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	if p.plain() {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if a, ok := c.RemoteAddr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
				c.Close()
				return nil, errNotLoopback
			}
			return c, nil
		}
	}
	if p.CA != "" {
		pem, err := os.ReadFile(p.CA)
		if err != nil {
			return nil, remote.E("read the store's certificates", p.CA, remote.IO, err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, remote.E("read the store's certificates", p.CA, remote.Invalid, errors.New("no certificate in PEM form is in it"))
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return polite{t}, nil
}

// unsent is how much of a request may lie in the kernel unsent. With more, what a slow line has yet to take would pass for sent, and the time to its
// answer would begin too early.
const unsent = 256 << 10

// fewUnsent is a net.Dialer's Control.
func fewUnsent(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent) // where it can't be set it is done without
	})
}

// polite notes how long a server wants to be left alone, and reads little of what it has to say about errors.
type polite struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (p polite) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := p.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if r.Method == http.MethodPut && (resp.StatusCode == http.StatusPreconditionFailed || resp.StatusCode == http.StatusConflict) {
		// The status says all. A server that refuses early may not take the request's body, and would read it as the connection's next
		// request: a body that is closed unread ends the connection.
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	if resp.StatusCode >= 300 {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxErrorBody), resp.Body}
	}
	c, ok := r.Context().Value(callKey{}).(*s3call)
	if ok && r.Method == http.MethodGet && resp.StatusCode == http.StatusNotFound {
		// Between here and the store may be others who know nothing of objects; what they do not find is not gone.
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		c.stranger = !bytes.Contains(b, []byte("<Code>"))
		resp.Body = io.NopCloser(bytes.NewReader(b))
	}
	if ok && (resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusTooManyRequests) {
		if sec, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && sec > 0 {
			c.after = min(time.Duration(min(sec, 3600))*time.Second, maxRetryAfter)
		}
	}
	return resp, nil
}

type callKey struct{}

// s3call is one call of the store: it ends requests that stall, and knows what errors are to say.
type s3call struct {
	s        *s3Store
	op, name string
	outer    context.Context
	ctx      context.Context // of its requests
	cancel   context.CancelCauseFunc
	timer    *time.Timer
	moved    atomic.Int64  // bytes since the timer last ran
	paused   atomic.Int32  // not for the server to move: Rates or the caller are waited for
	stranger bool          // the answer was not the store's
	after    time.Duration // what the server asked for
}

func (s *s3Store) call(ctx context.Context, op, name string) *s3call {
	c := &s3call{s: s, op: op, name: name, outer: ctx}
	both, cancel := context.WithCancelCause(ctx)
	c.ctx, c.cancel = context.WithValue(both, callKey{}, c), cancel
	var steps [stallSteps]int64 // what moved in each of the latest
	n := 0
	c.timer = time.AfterFunc(stallStep, func() {
		steps[n%stallSteps] = c.moved.Swap(0)
		n++
		var sum int64
		for _, b := range steps {
			sum += b
		}
		if n >= stallSteps && sum < stallBytes && c.paused.Load() == 0 {
			cancel(errStalled)
			return
		}
		c.timer.Reset(stallStep)
	})
	return c
}

// pause runs what is not the server's to do; the window begins anew afterwards.
func (c *s3call) pause(fn func() error) error {
	c.paused.Add(1)
	err := fn()
	c.moved.Add(stallBytes)
	c.paused.Add(-1)
	return err
}

func (c *s3call) end() {
	c.timer.Stop()
	c.cancel(nil)
}

// upload is the body of a Put. After stop nothing of data is read any more, though a connection may still want to: the
// server can answer before it has heard all.
type upload struct {
	c    *s3call
	mu   sync.Mutex
	data []byte
	off  int
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	n := min(len(p), rateStep, len(u.data)-u.off)
	u.mu.Unlock()
	if n <= 0 {
		return 0, io.EOF
	}
	if err := u.c.s.limits.up.pass(u.c, n); err != nil {
		return 0, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.off >= len(u.data) {
		return 0, io.EOF // stopped meanwhile
	}
	n = copy(p[:n], u.data[u.off:])
	u.off += n
	u.c.moved.Add(int64(n))
	return n, nil
}

func (u *upload) stop() {
	u.mu.Lock()
	u.data = nil
	u.mu.Unlock()
}

// download reads an answer's body.
type download struct {
	c    *s3call
	body io.Reader
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	n, err := d.body.Read(p[:min(len(p), rateStep)])
	d.c.moved.Add(int64(n))
	if werr := d.c.s.limits.down.pass(d.c, n); werr != nil && err == nil {
		err = werr
	}
	return n, err
}

// pass is wait for a call, which is not to count as stalled meanwhile.
func (b *bound) pass(c *s3call, n int) error {
	if b.get() == 0 {
		return nil
	}
	return c.pause(func() error { return b.wait(c.ctx, n) })
}
