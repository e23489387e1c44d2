package writeback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/remote"
)

// Options of an engine.
type Options struct {
	Tree    *tree.Tree
	Journal *journal.Journal
	Remote  remote.Remote
	// Read reads stored content, through the cache.
	Read func(ctx context.Context, ref remote.Ref, dst []byte) error
	// Stored is told each sealed object on its way out.
	Stored func(ref remote.Ref, sealed []byte)
	// Writing reports whether a file is open for writing.
	Writing func(remote.Ino) bool
	// Note makes the payload of the journal's note on what is committed; see package volume.
	Note func(pos remote.Position, upto uint64, held tree.Held) []byte
	// NoteKind is that record's kind.
	NoteKind journal.Kind
	// Sent puts into the journal what was stored for whole files, and returns the last record it wrote; nil: nobody wants to know.
	Sent func([]tree.Sent) (journal.Seq, error)
	// Landed lets the tree take what the remote made of a generation when that is not what was asked for; default: the tree alone does.
	Landed func(remote.Batch) error
	// Forward writes anew what inodes without names have in journal records up to one, and returns the last record it wrote; nil: never asked.
	Forward func(inodes []remote.Ino, upto uint64) (journal.Seq, error)
	// Sink makes what takes a load of what others did, and merges it; default: the tree, which does not.
	Sink func(context.Context) remote.Sink
	// Ready is asked before each round, and may commit itself when something is missing for sending; may be nil.
	Ready func(context.Context) error
	// Loaded says that a load was done just before.
	Loaded bool
	// Changed is told when a load brought what somebody else did.
	Changed func()

	Settle   time.Duration // how long a file must have been left alone; default 0.5 s
	MaxAge   time.Duration // how long one that is never left alone is kept back; default 30 s; longer for a large one that is open at a remote of whole files
	Gather   time.Duration // how long after a round the next one begins at the earliest, so that few carry much; default: twice Settle
	Poll     time.Duration // how often the remote is asked for what others did; default 1.1 s, negative: never
	Patience time.Duration // how long a writer waits for room while nothing can be sent; default 30 s
	Many     int           // changed inodes, from which on writers are slowed down while the store takes them: other machines take in at once what is sent at once; default 40 000
	MoveAt   int64         // how full the journal is, in bytes, when records that are needed for long are moved forward; default a quarter of its limit
	Timeout  time.Duration // of one round's request to the remote without any progress; default 2 min
	Log      *slog.Logger
}

// Engine sends local changes to the remote until Close.
type Engine struct {
	o      Options
	cancel context.CancelFunc
	done   chan struct{}
	kick   chan struct{}
	turns  chan turn
	whole  bool         // the remote knows whole files only
	stuck  atomic.Int32 // writers that wait for room
	want   atomic.Bool  // a snapshot, as soon as all is sent

	mu      sync.Mutex
	changed chan struct{} // closed and renewed when anything below changes
	urgent  int           // somebody waits: nothing is kept back
	again   bool          // try at once, however often it failed
	state   State
	spent   time.Time // when nothing was left but what can't be sent
	failed  map[remote.Ino]Failure
	taken   int64 // objects and commits that the remote took; what a round that failed sent is sent again and does not count twice
	kept    int64 // taken at the latest commit

	pulse  atomic.Int64 // moves while a request to the remote gets on
	asking atomic.Bool  // a request is under way

	// The goroutine's own.
	noted   journal.Seq // the latest note's record
	upto    journal.Seq // the last record that the note is about
	retry   time.Duration
	rest    time.Time // no round before that
	since   int       // Ops committed since the last snapshot
	commits int
	alone   map[remote.ObjectID]bool // content that must not be shared
	resets  int                      // of the tree, when alone was looked for
}

// State is how the engine is doing.
type State struct {
	Online    bool
	Uploading int64 // bytes in the round under way
	Sent      int64 // bytes stored so far, in all
	Commits   int64
	Last      error // why the latest round failed; nil when it did not
	LastTime  time.Time
}

// Failure is a file that can't be sent, and why.
type Failure struct {
	Ino  remote.Ino
	Err  error
	Time time.Time
}

// Start starts an engine.
func Start(o Options) *Engine {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Settle, 500*time.Millisecond)
	def(&o.MaxAge, 30*time.Second)
	def(&o.Gather, 2*o.Settle)
	def(&o.Poll, 1100*time.Millisecond) // with what a remote asks besides, now and then, no more than one request a second
	def(&o.Timeout, 2*time.Minute)
	def(&o.Patience, 30*time.Second)
	if o.Many == 0 {
		o.Many = 40_000
	}
	if o.MoveAt == 0 {
		o.MoveAt = o.Journal.Stat().Limit / 4
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Sink == nil {
		o.Sink = func(context.Context) remote.Sink { return o.Tree }
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &Engine{
		o: o, cancel: cancel, done: make(chan struct{}), kick: make(chan struct{}, 1), turns: make(chan turn), whole: isWhole(o.Remote),
		changed: make(chan struct{}), failed: map[remote.Ino]Failure{}, state: State{Online: true},
	}
	go e.run(ctx)
	return e
}

// Close stops the engine; what is not sent stays in the journal.
func (e *Engine) Close() {
	e.cancel()
	<-e.done
}

// Kick makes the engine look at once.
func (e *Engine) Kick() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// State returns how the engine is doing, and the files that can't be sent.
func (e *Engine) State() (State, []Failure) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var f []Failure
	for _, x := range e.failed {
		f = append(f, x)
	}
	return e.state, f
}

// Failed returns why a file can't be sent, or nil.
func (e *Engine) Failed(ino remote.Ino) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed[ino].Err
}

// set changes what others look at and wakes those who wait for it.
func (e *Engine) set(fn func()) {
	e.mu.Lock()
	fn()
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()
}

// Drain waits until the remote has all that the journal had up to record seq, and sends without keeping anything back meanwhile.
// When files can't be sent it fails, after it sent the others; and with Timeout when the remote takes nothing at all for so long as patience says; 0 is for ever.
func (e *Engine) Drain(ctx context.Context, seq uint64, patience time.Duration) error {
	// What failed before counts no more: the reason may be mended by now.
	start := time.Now()
	e.set(func() { e.urgent++; e.again = true })
	defer e.set(func() { e.urgent-- })
	var late <-chan time.Time
	taken := int64(-1)
	for {
		e.mu.Lock()
		wait := e.changed
		if patience > 0 && e.taken > taken {
			taken, late = e.taken, time.After(patience)
		}
		failed, spent := len(e.failed), e.spent
		last := e.state.Last
		if e.state.LastTime.Before(start) {
			last = nil
		}
		e.mu.Unlock()
		if !e.o.Tree.Pending(seq) {
			return nil
		}
		if failed > 0 && spent.After(start) { // and everything else is sent
			return remote.E("sync", fmt.Sprintf("%d files", failed), remote.Other, errors.New("some files can't be sent; megafs status says which and why"))
		}
		if remote.Is(last, remote.ReadOnly) || remote.Is(last, remote.Integrity) {
			return last
		}
		e.Kick()
		select {
		case <-ctx.Done():
			if last != nil {
				return remote.E("sync", "", remote.Timeout, last)
			}
			return remote.E("sync", "", remote.Timeout, ctx.Err())
		case <-late:
			if last == nil {
				last = errors.New("the store takes nothing")
			}
			return remote.E("sync", "", remote.Timeout, fmt.Errorf("nothing was sent for %v: %w; what was written is safe on this disk, and sent when the store answers", patience, last))
		case <-wait:
		case <-e.done:
			return remote.E("sync", "", remote.Canceled, errors.New("the mount is ending"))
		}
	}
}

// tick is how often the engine looks without being kicked.
const tick = 250 * time.Millisecond

func (e *Engine) run(ctx context.Context) {
	defer close(e.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var again time.Time
	var poll time.Time
	if e.o.Loaded {
		poll = time.Now().Add(e.o.Poll)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-e.kick:
		case t := <-e.turns:
			e.serve(ctx, t)
			timer.Reset(0)
			continue
		}
		now := time.Now()
		e.mu.Lock()
		if e.again {
			again, e.again = now, false
		}
		e.mu.Unlock()
		if !now.Before(again) {
			wait, err := e.round(ctx, now, e.o.Poll > 0 && !now.Before(poll))
			if e.o.Poll > 0 && !now.Before(poll) {
				poll = now.Add(e.o.Poll)
			}
			again = time.Now().Add(wait)
			if ctx.Err() != nil {
				return
			}
			e.report(err)
		}
		next := tick
		if e.o.Poll > 0 {
			next = min(next, max(tick/10, time.Until(poll)))
		}
		timer.Reset(next)
	}
}

// report keeps a round's outcome and tells those who wait.
func (e *Engine) report(err error) {
	e.set(func() {
		if remote.Is(err, remote.Conflict) { // which is nothing to worry about: it is planned again at once
			e.o.Log.Info("others changed something at the same time; changes are sent again", "reason", err)
		} else if err != nil && (e.state.Last == nil || e.state.Last.Error() != err.Error()) {
			e.o.Log.Warn("changes could not be sent; they are kept and tried again", "reason", err)
		}
		if err == nil && e.state.Last != nil {
			e.o.Log.Info("changes are being sent again")
		}
		e.state.Last = err
		e.state.LastTime = time.Now()
		e.state.Online = err == nil || !(remote.Is(err, remote.Unreachable) || remote.Is(err, remote.Timeout))
	})
}

// backoff returns how long to leave the remote alone after a failure.
func (e *Engine) backoff(err error) time.Duration {
	if err == nil {
		e.retry = 0
		return 0
	}
	if remote.Is(err, remote.Conflict) {
		return 10 * time.Millisecond
	}
	e.retry = min(max(2*e.retry, time.Second), 30*time.Second)
	return e.retry
}

// round sends what has settled. It returns how long to wait before the next one may begin.
func (e *Engine) round(ctx context.Context, now time.Time, poll bool) (time.Duration, error) {
	// Before anything is stored that the base could not take in.
	if err := e.o.Tree.Room(0); err != nil {
		return e.backoff(err), err
	}
	if e.o.Ready != nil {
		c, cancel := remote.Watched(ctx, e.o.Timeout)
		err := remote.Stalled(c, "ask the remote", e.o.Ready(c))
		cancel()
		if err != nil {
			return e.backoff(err), err
		}
	}
	dirty := e.o.Tree.Stat()
	if dirty.Inodes+dirty.Names == 0 {
		if e.want.Load() {
			if err := e.snapshot(ctx); err != nil {
				return e.backoff(err), err
			}
		}
		if poll {
			err := e.load(ctx)
			return e.backoff(err), err
		}
		return 0, e.last()
	}
	if poll {
		// What others do is seen while changes are kept back here, and merged before they are sent.
		if err := e.load(ctx); err != nil {
			return e.backoff(err), err
		}
	}
	if now.Before(e.rest) && e.haste() == calm {
		return 0, e.last()
	}
	g, err := e.freeze(now)
	if err == nil && g == nil {
		e.set(func() { e.spent = now })
	}
	if err != nil || g == nil {
		return 0, err
	}
	err = e.send(ctx, g)
	if err != nil {
		e.o.Tree.Thaw()
		e.set(func() { e.taken = e.kept })
		var pe *pieceError
		if errors.As(err, &pe) && ctx.Err() == nil {
			e.set(func() {
				if _, known := e.failed[pe.ino]; known {
					e.spent = now // it can't be kept back, and everything waits for it
				}
				e.failed[pe.ino] = Failure{pe.ino, pe.err, now}
			})
			e.o.Log.Error("a file can't be sent and is kept back", "inode", uint64(pe.ino), "reason", pe.err)
			return 0, nil
		}
		if remote.Is(err, remote.Conflict) {
			if lerr := e.load(ctx); lerr != nil {
				err = lerr
			}
		}
		return e.backoff(err), err
	}
	e.rest = time.Now().Add(e.o.Gather)
	return e.backoff(nil), nil
}

func (e *Engine) last() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state.Last
}

func (e *Engine) freeze(now time.Time) (*tree.Generation, error) {
	h := e.haste()
	e.mu.Lock()
	failed := make(map[remote.Ino]bool, len(e.failed))
	for ino, f := range e.failed {
		if now.Sub(f.Time) < time.Minute {
			failed[ino] = true
		} else {
			delete(e.failed, ino) // worth another try
		}
	}
	e.mu.Unlock()
	at := now.UnixNano()
	return e.o.Tree.Freeze(func(n tree.Node, first, last int64) bool {
		return failed[n.Ino] || e.keeps(h, n, first, last, at)
	})
}

// load brings what others did into the base.
func (e *Engine) load(ctx context.Context) error {
	ctx, cancel := remote.Watched(ctx, e.o.Timeout)
	defer cancel()
	defer e.ask()()
	moved, err := e.o.Tree.Load(ctx, e.o.Remote, e.o.Sink(ctx))
	err = remote.Stalled(ctx, "load", err)
	if moved {
		// What is changed from now on lies over this base: after a power cut it is to be as new as the journal.
		err = errors.Join(err, e.o.Tree.Sync())
		if e.o.Changed != nil {
			e.o.Changed()
		}
	}
	return err
}
