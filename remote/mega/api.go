package mega

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// DefaultURL is where MEGA's own API is.
const DefaultURL = "https://g.api.mega.co.nz"

// Limits of requests.
const (
	maxReply      = 64 << 20 // bytes of an answer that is not the tree
	hashcashTries = 2000     // hashes of 12 MiB, on average; the service asks for some 300
	hashcashTime  = time.Minute
	retryFirst    = 100 * time.Millisecond
	retryMost     = 10 * time.Second
	patience      = time.Minute // of one request, with all its retries, unless the caller's context ends before
	answerTime    = 2 * time.Minute
)

// api speaks MEGA's protocol: commands, the wait for events, and plain requests to the URLs that the server names. It may be used by many goroutines.
type api struct {
	base   *url.URL
	http   *http.Client
	sid    string // of a session; ""
	link   string // public handle of a folder link that is worked in; ""
	prefix string // of request ids
	count  atomic.Uint64
	retry  time.Duration // how long a request is repeated

	slow  sync.Once
	long  *http.Transport // for waiting
	meter Meter
	pace  Pace
}

// Meter is told of requests and bytes; its methods may be called from many goroutines. Nil functions are not called.
type Meter struct {
	Request func(kind string)
	Bytes   func(up, down int64)
}

func newAPI(base string, client *http.Client) (*api, error) {
	if base == "" {
		base = DefaultURL
	}
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, remote.E("open the account", "", remote.Invalid, errors.New("the server must be a URL such as "+DefaultURL))
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return nil, remote.E("open the account", u.Host, remote.Invalid, errors.New("the server must be spoken to over https; plain http is for this machine only"))
	}
	if client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = answerTime
		t.TLSHandshakeTimeout = 10 * time.Second
		t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
		if t.TLSClientConfig == nil {
			t.TLSClientConfig = &tls.Config{}
		}
		t.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(0) // storage hosts come and go
		t.MaxIdleConnsPerHost = 40                                             // small files come and go many at a time
		t.MaxResponseHeaderBytes = 64 << 10
		client = &http.Client{Transport: t}
	}
	c := *client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &api{base: u, http: &c, prefix: strings.ToLower(rand.Text()[:10]), retry: patience}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// allowed checks a URL that the server named: it must be one of its own hosts, over https. A server on this machine may use plain http on it.
func (a *api) allowed(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", remote.E("follow the server's URL", "", remote.Integrity, errors.New("it is none"))
	}
	host, own := strings.ToLower(u.Hostname()), strings.ToLower(a.base.Hostname())
	near := host == own || strings.HasSuffix(host, "."+own)
	for _, d := range []string{"mega.nz", "mega.co.nz"} {
		under := func(h string) bool { return h == d || strings.HasSuffix(h, "."+d) }
		near = near || under(host) && (under(own) || strings.HasSuffix(own, ".mega.nz") || strings.HasSuffix(own, ".mega.co.nz"))
	}
	switch {
	case loopback(own):
		near = loopback(host)
	case u.Scheme != "https":
		near = false
	}
	if !near || u.Scheme != "https" && u.Scheme != "http" {
		return "", remote.E("follow the server's URL", u.Host, remote.Integrity, errors.New("it leads elsewhere than to the server's own hosts, or is not encrypted"))
	}
	return s, nil
}

// command is one command of the API.
type command map[string]any

// call runs one command and returns its result. An error has the Code that the server gave.
func (a *api) call(ctx context.Context, c command) (json.RawMessage, error) {
	out, err := a.batch(ctx, []command{c})
	if err != nil {
		return nil, err
	}
	if err := failure(c, out[0]); err != nil {
		return nil, err
	}
	return out[0], nil
}

// failure returns what a result says went wrong, if that.
func failure(c command, result json.RawMessage) error {
	op := fmt.Sprintf("ask the server (%v)", c["a"])
	var n int
	if json.Unmarshal(result, &n) == nil && n < 0 {
		return fail(op, Code(n))
	}
	var e struct{ Err int }
	if len(result) > 0 && result[0] == '{' && json.Unmarshal(result, &e) == nil && e.Err < 0 {
		return fail(op, Code(e.Err))
	}
	return nil
}

// batch runs commands one after another in one request. Each has its own result; see failure.
func (a *api) batch(ctx context.Context, cs []command) ([]json.RawMessage, error) {
	body, err := json.Marshal(cs)
	if err != nil {
		return nil, err
	}
	op := fmt.Sprintf("ask the server (%v)", cs[0]["a"])
	if a.meter.Request != nil {
		a.meter.Request(fmt.Sprint(cs[0]["a"]))
	}
	var out []json.RawMessage
	err = a.repeat(ctx, op, "cs", a.query(nil), body, func(r io.Reader) error {
		b, err := readAll(r, maxReply)
		if err != nil {
			return err
		}
		if code, ok := bare(b); ok {
			return fail(op, code)
		}
		out = nil
		if json.Unmarshal(b, &out) != nil {
			return remote.E(op, "", remote.Integrity, errors.New("the answer is no answer"))
		}
		if len(out) != len(cs) {
			if len(out) == 1 {
				if err := failure(cs[0], out[0]); err != nil {
					return err
				}
			}
			return remote.E(op, "", remote.Integrity, errors.New("the answer has another number of results"))
		}
		if len(cs) == 1 { // a single command that is to be tried again
			var n int
			if json.Unmarshal(out[0], &n) == nil && Code(n).again() {
				return &notDone{fail(op, Code(n))}
			}
		}
		return nil
	})
	return out, err
}

// notDone is that the server was busy for a command. It remembers that answer to the request, so the command needs another.
type notDone struct{ error }

func (e *notDone) Unwrap() error { return e.error }

// query returns the parameters of a request, with a new id.
func (a *api) query(more url.Values) string {
	q := url.Values{"id": {a.id()}}
	if a.sid != "" {
		q.Set("sid", a.sid)
	}
	if a.link != "" {
		q.Set("n", a.link)
	}
	for k, v := range more {
		q[k] = v
	}
	return q.Encode()
}

func (a *api) id() string { return a.prefix + strconv.FormatUint(a.count.Add(1), 10) }

// repeat sends a request until take is content with what comes, the server refuses, or patience ends. All tries are the same request, so that the
// server can tell a repetition from a new one, but for one that is answered and was not done.
func (a *api) repeat(ctx context.Context, op, path, query string, body []byte, take func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.retry+answerTime)
	defer cancel()
	begin, delay, cash := time.Now(), retryFirst, ""
	for try := 0; ; try++ {
		again, err := a.once(ctx, op, path, query, body, &cash, take)
		if err == nil {
			remote.Progress(ctx)
		}
		if err == nil || !again {
			return err
		}
		if time.Since(begin) > a.retry {
			return err
		}
		if busy := (*notDone)(nil); errors.As(err, &busy) {
			q, qerr := url.ParseQuery(query)
			if qerr != nil {
				return qerr
			}
			q.Set("id", a.id())
			query = q.Encode()
		}
		wait := delay + time.Duration(mrand.Int64N(int64(delay)/2+1))
		if delay = min(2*delay, retryMost); cash != "" && try == 0 {
			wait = 0
		}
		select {
		case <-ctx.Done():
			return remote.E(op, "", remote.Timeout, err)
		case <-time.After(wait):
		}
	}
}

// once sends a request once and says whether it may be sent again.
func (a *api) once(ctx context.Context, op, path, query string, body []byte, cash *string, take func(io.Reader) error) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base.String()+"/"+path+"?"+query, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	if *cash != "" {
		req.Header[megacrypt.HashcashHeader] = []string{*cash}
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return ctx.Err() == nil, lineError(ctx, op, err)
	}
	defer resp.Body.Close()
	a.count2(int64(len(body)), 0)
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusPaymentRequired && *cash == "":
		if *cash, err = solve(ctx, resp.Header.Get(megacrypt.HashcashHeader)); err != nil {
			return false, remote.E(op, "", remote.Unreachable, err)
		}
		return true, remote.E(op, "", remote.Unreachable, errors.New("the server asks for a proof of work"))
	default:
		io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		return resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests,
			remote.E(op, "", remote.Unreachable, fmt.Errorf("the server answers with status %d", resp.StatusCode))
	}
	err = take(resp.Body)
	var code *CodeError
	switch {
	case err == nil:
		return false, nil
	case errors.As(err, &code):
		return code.Code.again(), err
	case remote.KindOf(err) != remote.Other:
		return false, err
	}
	return ctx.Err() == nil, lineError(ctx, op, err)
}

func (a *api) count2(up, down int64) {
	if a.meter.Bytes != nil {
		a.meter.Bytes(up, down)
	}
}

// solve answers a hashcash challenge, if that can be had within reason.
func solve(ctx context.Context, challenge string) (string, error) {
	h, err := megacrypt.ParseHashcash(challenge)
	if err != nil {
		return "", errors.New("the server asks for a proof of work that is none")
	}
	if h.Tries() > hashcashTries {
		return "", errors.New("the server asks for more work than is reasonable")
	}
	ctx, cancel := context.WithTimeout(ctx, hashcashTime)
	defer cancel()
	s, err := h.Solve(ctx)
	if err != nil {
		return "", errors.New("the server's proof of work could not be found in time; try again")
	}
	return s, nil
}

// lineError is the error of a request that got no answer. The URL has secrets in it and is left out.
func lineError(ctx context.Context, op string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	kind := remote.Unreachable
	if cause := context.Cause(ctx); cause == context.Canceled {
		kind = remote.Canceled
	} else if cause != nil {
		kind = remote.Timeout
	}
	return remote.E(op, "", kind, err)
}

// readAll reads at most max bytes.
func readAll(r io.Reader, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(b)) > max {
		err = remote.E("read the server's answer", "", remote.Integrity, errors.New("it is too long"))
	}
	return b, err
}

// bare returns the code that is all there is of an answer.
func bare(b []byte) (Code, bool) {
	b = bytes.TrimSpace(b)
	if len(b) > 0 && b[0] == '{' && len(b) < 200 {
		var e struct{ Err int }
		if json.Unmarshal(b, &e) == nil && e.Err < 0 {
			return Code(e.Err), true
		}
	}
	n, err := strconv.Atoi(string(b))
	return Code(n), err == nil && n < 0
}
