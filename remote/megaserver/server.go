package megaserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/semaphore"

	"megafs/remote/blob"
)

// Options says how a server is to be.
type Options struct {
	State string     // the folder of accounts and nodes; empty: in memory, for tests
	Blobs blob.Store // where bytes are; the caller's to close, after the server
	Quota int64      // of an account that has none of its own; 0: 50 GiB
	URL   string     // how clients reach it, scheme and host; empty: as they themselves say

	// Mail delivers a confirmation link. Without it the link is written to the log.
	Mail func(email, link string) error
	Log  *slog.Logger // nil: nothing is logged

	Hashcash int     // easiness of what a log-in must compute first, 1 to 255; 0: nothing
	Rate     float64 // commands without a session that one address may send in a second; 0: no limit
	Burst    int

	Memory int64            // for bodies under way; 0: 256 MiB
	Now    func() time.Time // nil: the clock
	Wait   time.Duration    // how long a wait for events is held; 0: 30 s

	// NoSweep leaves garbage alone: for a server that is opened to change accounts only.
	NoSweep bool

	// Closed lets nobody sign up.
	Closed bool
	// Anonymous is the quota of accounts whose address is not confirmed; 0: they can store nothing.
	Anonymous int64

	// Links is how a confirmation link begins; empty: https://mega.nz/.
	Links string
}

// Server is the handler of all that clients ask. See doc.go for locks.
type Server struct {
	opts   Options
	db     *badger.DB
	blobs  blob.Store
	log    *slog.Logger
	now    func() time.Time
	secret []byte // under which tickets in URLs are signed

	locks  accountLocks
	events notifier
	pieces *semaphore.Weighted // bytes of files in memory
	bodies *semaphore.Weighted // and of commands, which must not wait for those who read files slowly
	faults Faults
	gate   gate
	work   work // hashcash
	open   openUploads

	ctx  context.Context
	stop context.CancelFunc
	done sync.WaitGroup
}

const (
	defaultQuota = 50 << 30
	maxDepth     = 4000    // of a folder in which something may be put
	maxWalk      = 1 << 20 // of any: moving a deep folder into another makes a deeper one
)

// New opens a server's state and begins to look after it. Close ends that.
func New(o Options) (*Server, error) {
	if o.Blobs == nil {
		return nil, errors.New("megaserver: no store for the files' bytes was given")
	}
	if o.Quota == 0 {
		o.Quota = defaultQuota
	}
	if o.Memory == 0 {
		o.Memory = 256 << 20
	}
	if o.Wait == 0 {
		o.Wait = 30 * time.Second
	}
	if o.Links == "" {
		o.Links = "https://mega.nz/"
	}
	s := &Server{opts: o, blobs: o.Blobs, log: o.Log, now: o.Now, pieces: semaphore.NewWeighted(max(o.Memory*3/4, 2*pieceSize)), bodies: semaphore.NewWeighted(max(o.Memory/4, 2*maxBody))}
	if s.log == nil {
		s.log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.locks.m = map[userID]*accountLock{}
	s.events.m = map[userID]chan struct{}{}
	s.open.m = map[contentID]*openUpload{}
	s.initGate()
	if err := s.openDB(); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		s.db.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) openDB() error {
	dir := ""
	if s.opts.State != "" {
		dir = filepath.Join(s.opts.State, "accounts")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("megaserver: the folder for accounts: %w", err)
		}
	}
	o := badger.DefaultOptions(dir).WithLogger(nil).WithInMemory(dir == "").WithSyncWrites(dir != "").
		WithNumMemtables(3).WithBlockCacheSize(64 << 20).WithIndexCacheSize(32 << 20).WithMetricsEnabled(false).
		WithNumCompactors(2)
	if dir == "" {
		o = o.WithMemTableSize(16 << 20)
	}
	db, err := badger.Open(o)
	if err != nil {
		return fmt.Errorf("megaserver: open the accounts in %s: %w (does another megafs serve use the folder?)", dir, err)
	}
	s.db = db
	return nil
}

func (s *Server) start() error {
	err := s.update(func(t *tx) (err error) {
		if s.secret, err = t.value(secretKey); err != nil || s.secret != nil {
			return err
		}
		s.secret = make([]byte, 32)
		rand.Read(s.secret)
		return t.put(secretKey, s.secret)
	})
	if err != nil {
		return err
	}
	s.work.init(s.secret, s.now)
	s.ctx, s.stop = context.WithCancel(context.Background())
	if err := s.resume(); err != nil {
		s.stop()
		return err
	}
	if !s.opts.NoSweep {
		s.done.Add(1)
		go s.collect()
	}
	return nil
}

// EndWaits ends all waiting for events, so that the requests under way come to an end.
func (s *Server) EndWaits() { s.stop() }

// Close ends what the server does by itself and closes its state. No request may be under way.
func (s *Server) Close() error {
	s.stop()
	s.done.Wait()
	return s.db.Close()
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Access-Control-Allow-Origin"] = []string{"*"}
	head, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		http.Error(w, "not known here", http.StatusMethodNotAllowed)
		return
	}
	deadlines(w, time.Minute, time.Minute)
	switch head {
	case "cs":
		if rest == "rs" {
			s.serveIdle(w, r)
			return
		}
		s.serveCommands(w, r)
	case "sc":
		s.serveEvents(w, r, false)
	case "wsc":
		s.serveEvents(w, r, true)
	case "w":
		s.serveWait(w, r, rest)
	case "dl":
		s.serveDownload(w, r, rest)
	case "ul":
		s.serveUpload(w, r, rest)
	case "fu":
		s.serveThumbnailUpload(w, r, rest)
	case "fd":
		s.serveThumbnails(w, r)
	case "pf":
		w.WriteHeader(http.StatusOK)
	default:
		http.NotFound(w, r)
	}
}

// base is how the client reaches this server.
func (s *Server) base(r *http.Request) string {
	if s.opts.URL != "" {
		return strings.TrimSuffix(s.opts.URL, "/")
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host
}

// deadlines bounds how long a client may take to send and to read.
func deadlines(w http.ResponseWriter, read, write time.Duration) {
	c := http.NewResponseController(w)
	now := time.Now()
	c.SetReadDeadline(now.Add(read))
	c.SetWriteDeadline(now.Add(write))
}

// accountLocks hands out one lock an account.
type accountLocks struct {
	mu sync.Mutex
	m  map[userID]*accountLock
}

type accountLock struct {
	mu    sync.Mutex
	users int
}

// lock locks accounts, which must be in order and each there once; the function it returns unlocks them.
func (l *accountLocks) lock(users ...userID) func() {
	held := make([]*accountLock, len(users))
	for i, u := range users {
		l.mu.Lock()
		a := l.m[u]
		if a == nil {
			a = &accountLock{}
			l.m[u] = a
		}
		a.users++
		l.mu.Unlock()
		a.mu.Lock()
		held[i] = a
	}
	return func() {
		for i := len(held) - 1; i >= 0; i-- {
			held[i].mu.Unlock()
			l.mu.Lock()
			if held[i].users--; held[i].users == 0 {
				delete(l.m, users[i])
			}
			l.mu.Unlock()
		}
	}
}
