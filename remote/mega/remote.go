package mega

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// Options of an account.
type Options struct {
	Session  *Session // of an account; with Link only its URL counts, and it may be nil
	Link     *megacrypt.Link
	StateDir string // its index and session are in it; "" keeps the index in memory
	Owner    Owner  // default: this process, 0644 and 0755
	Memory   int64  // bytes; default 64 MiB
	Verify   int64  // files up to here are read as a whole before a byte of them is believed; default 16 MiB
	Shared   bool   // what others share with the account is shown, in a folder of its own, and can't be changed
	Delete   bool   // what is removed is gone at once, instead of going to the rubbish bin
	Client   *http.Client
	Meter    Meter
	Pace     Pace
	Log      *slog.Logger

	Retry time.Duration // how long a request is repeated; default a minute
}

// Remote is a MEGA account, or a public folder or file. It implements remote.Remote and remote.WholeFiles.
type Remote struct {
	o    Options
	api  *api
	keys keys
	id   remote.DeviceID
	tag  string // by which our commands are told from others', and from those of earlier processes over this index; under turn, see belated.go

	turn  chan struct{} // held by whoever changes the index or talks about changes with the server
	x     *index
	doubt bool        // commands may have done what is not noted, of this process's or an earlier one's
	said  []remote.Op // what the commit under way came to so far

	forgot time.Time // see forget

	lends  bool                          // there may be shares in the index; not changed
	shares shares                        // under turn, as the next four
	set    map[string]megacrypt.ShareKey // of the account's key set; nil if it has none
	rsa    *megacrypt.PrivateKey
	opened int  // keys of shares that were opened with it
	reread bool // a key came to be known for nodes that can't be decrypted yet

	admitted bool // see admit; or the link's file was asked for; under turn

	news *news
	down *downloads
	up   *uploads
	seal sealer
}

var _ remote.Remote = (*Remote)(nil)

// Open opens an account. It asks the server for nothing.
func Open(o Options) (*Remote, error) {
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	if o.Verify == 0 {
		o.Verify = 16 << 20
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Owner.File == 0 {
		o.Owner.File = 0o644
	}
	if o.Owner.Dir == 0 {
		o.Owner.Dir = 0o755
	}
	if o.Session == nil {
		o.Session = &Session{}
	}
	if o.Link != nil && o.Shared {
		return nil, remote.E("open the link", o.Link.Handle, remote.Invalid, errors.New("with a public link nobody shares anything; leave --shared out"))
	}
	if o.Link != nil {
		s := *o.Session
		s.SID, s.User = "", o.Link.Handle
		copy(s.Master[:], o.Link.Key)
		o.Session = &s
	}
	a, err := newAPI(o.Session.URL, o.Client)
	if err != nil {
		return nil, err
	}
	a.sid, a.meter, a.pace = o.Session.SID, o.Meter, o.Pace
	if o.Retry > 0 {
		a.retry = o.Retry
	}
	r := &Remote{o: o, api: a, keys: keys{o.Session.User: o.Session.Master.Unwrapper()}, turn: make(chan struct{}, 1)}
	if o.Link != nil {
		if o.Link.Folder {
			a.link = o.Link.Handle
		}
	}
	dir := ""
	if o.StateDir != "" {
		dir = IndexDir(o.StateDir)
	}
	if r.x, err = openIndex(dir, o.Session.Local("index"), o.Memory/4); err != nil {
		return nil, err
	}
	if err := r.loadShares(); err != nil {
		r.x.close()
		return nil, err
	}
	copy(r.id[:], r.x.meta.device[:])
	r.retag()
	r.seal = newSealer(o.Session.Local("content"))
	if r.down, err = newDownloads(r); err != nil {
		r.x.close()
		return nil, err
	}
	r.news, r.up = newNews(r), newUploads(r)
	return r, nil
}

// linked reports whether this is somebody's public folder or file.
func (r *Remote) linked() bool { return r.o.Link != nil }

// ownPart returns the part of a list of keys that is wrapped for us.
func (r *Remote) ownPart(list string) string {
	for _, p := range strings.Split(list, "/") {
		if owner, k, ok := strings.Cut(p, ":"); ok && owner == r.o.Session.User {
			return k
		}
	}
	return list
}

// take waits for the turn to change the index.
func (r *Remote) take(ctx context.Context, op string) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return remote.E(op, "", remote.Timeout, ctx.Err())
	}
}

func (r *Remote) leave() { <-r.turn }

// Device implements remote.Remote.
func (r *Remote) Device() (remote.DeviceID, uint32) { return r.id, localDevice }

// Snapshot implements remote.Remote: the server has the whole tree at any time.
func (r *Remote) Snapshot(ctx context.Context, pos remote.Position, ops func(yield func(remote.Op) error) error) (remote.Position, error) {
	return pos, nil
}

// Usage implements remote.Remote.
func (r *Remote) Usage(ctx context.Context) (remote.Usage, error) {
	if r.linked() {
		return remote.Usage{}, nil
	}
	return r.api.usage(ctx)
}

func (a *api) usage(ctx context.Context) (remote.Usage, error) {
	raw, err := a.call(ctx, command{"a": "uq", "strg": 1, "xfer": 1, "pro": 1})
	if err != nil {
		return remote.Usage{}, err
	}
	var q struct {
		Used  float64 `json:"cstrg"`
		Total float64 `json:"mstrg"`
	}
	if err := json.Unmarshal(raw, &q); err != nil || q.Used < 0 || q.Total < 0 || q.Used > 1<<62 || q.Total > 1<<62 {
		return remote.Usage{}, remote.E("ask for the quota", "", remote.Integrity, errors.New("the answer has another form"))
	}
	u := remote.Usage{Used: uint64(q.Used), Total: uint64(q.Total), Quota: q.Total > 0}
	u.Free = u.Total - min(u.Total, u.Used)
	return u, nil
}

// Traits implements remote.Limited.
func (r *Remote) Traits() remote.Traits {
	return remote.Traits{WholeFiles: true, OneName: true, Xattrs: MaxXattrs, ReadOnly: r.linked()}
}

// Close implements remote.Remote. The session stays.
func (r *Remote) Close() error {
	r.news.close()
	r.down.close()
	r.up.urls.close()
	return r.x.close()
}

// news waits at the server for something to happen.
type news struct {
	r      *Remote
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	there  atomic.Bool // something may have happened, or nobody waits
	mu     sync.Mutex
	going  bool
}

func newNews(r *Remote) *news {
	n := &news{r: r}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.there.Store(true)
	return n
}

// waitMost is how long one request waits for news.
const waitMost = 5 * time.Minute

// await begins to wait at a URL that the server gave.
func (n *news) await(url string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.going || n.ctx.Err() != nil {
		return
	}
	n.going = true
	n.there.Store(false)
	n.wg.Go(func() {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(n.ctx, waitMost)
		err := n.r.api.wait(ctx, url)
		cancel()
		if err != nil || time.Since(begin) < 100*time.Millisecond { // a server that never waits is not asked all the time
			select {
			case <-n.ctx.Done():
			case <-time.After(time.Second):
			}
		}
		n.mu.Lock()
		n.going = false
		n.there.Store(true)
		n.mu.Unlock()
	})
}

func (n *news) close() {
	n.cancel()
	n.wg.Wait()
}

// wait returns when the server answers at a URL that it gave for waiting.
func (a *api) wait(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	c := *a.http
	if t, ok := c.Transport.(*http.Transport); ok && t.ResponseHeaderTimeout > 0 && t.ResponseHeaderTimeout < waitMost {
		c.Transport = a.patient(t)
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = readAll(resp.Body, 64<<10)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return err
}

// patient is a transport that waits longer for an answer to begin.
func (a *api) patient(t *http.Transport) *http.Transport {
	a.slow.Do(func() {
		a.long = t.Clone()
		a.long.ResponseHeaderTimeout = waitMost
	})
	return a.long
}
