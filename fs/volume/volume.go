package volume

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"megafs/cache"
	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/fs/writeback"
	"megafs/remote"
	"megafs/remote/wire"
)

// Keys are what the local folders are sealed with.
type Keys struct{ Journal, Tree, Cache [32]byte }

// Options of a volume.
type Options struct {
	Remote      remote.Remote
	Register    func(ctx context.Context, base remote.Position, next uint32) (remote.Position, error) // takes a device number; nil: Remote has one
	StateDir    string                                                                                // the journal's folder is in it
	CacheDir    string                                                                                // the tree's and the blocks' folders are in it
	CacheSize   int64                                                                                 // bytes, of blocks and tree index; default 10 GiB
	JournalSize int64                                                                                 // bytes; default 1 GiB
	Memory      int64                                                                                 // bytes, in all; default 256 MiB
	LocalStore  bool                                                                                  // the store is as near as the cache: blocks that are read are not cached on disk
	WaitQuota   bool                                                                                  // a reading waits when the store gives no more for some time
	FsyncRemote bool                                                                                  // fsync waits for the remote
	Patience    time.Duration                                                                         // and fails when that took nothing for so long; default 2 min
	ReadOnly    bool
	News        time.Duration // how long Open waits for what is new when the tree is known; default 10 s
	Keys        Keys
	Changed     func([]Change) // told what others changed; may be nil
	Host        string         // this machine's name, which the names of conflict copies tell; default: the host's
	Clock       func() time.Time
	Log         *slog.Logger

	Poll time.Duration // how often the remote is asked for news; negative: never

	// For tests: how the engine times itself; zero means its defaults.
	Settle, MaxAge time.Duration
	Room           time.Duration // how long a writer waits for room while nothing can be sent
	MoveAt         int64
	Many           int // changed inodes, from which on writers are slowed down
	JournalOptions func(*journal.Options)
	TreeOptions    func(*tree.Options)
}

// indexRoom is what is kept free for an index beside the least that it needs, when it shares its disk with the journal.
const indexRoom = 16 << 20

// accountRoom fails when the disk of the state folder is too full for the index that an account has there.
func (v *Volume) accountRoom(n int64) error {
	if !v.traits.WholeFiles {
		return nil
	}
	return tree.RoomOn(v.o.StateDir, n)
}

// Volume is a mounted remote. All methods may be called from many goroutines.
type Volume struct {
	o     Options
	tree  *tree.Tree
	jour  *journal.Journal
	cache *cache.Cache
	eng   *writeback.Engine

	guard  remote.Guarded // of what can't be changed; nil: all can
	traits remote.Traits  // what the remote can't keep

	mu      sync.Mutex // one change at a time; see doc.go
	nextNo  uint64     // the last inode number's counter
	device  uint32
	counted bool                          // nextNo is beyond all numbers that the base has of the device
	marked  remote.Position               // the base's, as the journal has it
	sent    map[remote.ObjectID]tree.Sent // stored since the last note for what is to be committed; see sent.go
	torn    error                         // the journal has a merge that the tree does not have: nothing may be changed any more

	renamed []Change // names that lead to other numbers of the kernel's now

	alias aliases
	sink  *sink // of the load under way: Open's, and then the engine's

	handleMu sync.Mutex
	writing  map[remote.Ino]int  // open for writing, by the kernel's numbers
	nameable map[remote.Ino]bool // made without a name and not linked yet

	near neighbours
	rows rows

	lastSeq atomic.Uint64 // the latest record appended
	usage   atomic.Pointer[remote.Usage]
	quota   *quota
	stop    context.CancelFunc
	closing <-chan struct{}
	wg      sync.WaitGroup
}

// Open opens a volume: the tree as it was known, the journal over it. It asks the remote for what is new; when
// that does not answer and the tree is known, the volume opens without.
func Open(ctx context.Context, o Options) (_ *Volume, err error) {
	o.defaults()
	v := &Volume{o: o, writing: map[remote.Ino]int{}, nameable: map[remote.Ino]bool{}}
	v.sink = &sink{v: v}
	v.quota = newQuota(v)
	v.traits = remote.TraitsOf(o.Remote)
	v.guard, _ = o.Remote.(remote.Guarded)
	v.o.ReadOnly = o.ReadOnly || v.traits.ReadOnly
	defer func() {
		if err != nil {
			v.closeAll()
		}
	}()
	to := tree.Options{Dir: sub(o.CacheDir, "tree"), Key: o.Keys.Tree, Memory: o.Memory / 4, Log: o.Log}
	if o.TreeOptions != nil {
		o.TreeOptions(&to)
	}
	v.tree, err = tree.Open(to)
	if err != nil {
		return nil, err
	}
	bg, stop := context.WithCancel(context.Background())
	v.stop, v.closing = stop, bg.Done()
	if v.traits.WholeFiles {
		// While the tree is asked for, so that it is over another connection: a reader then finds one that is free.
		v.wg.Go(func() { v.quota.watch(bg) })
	}
	var l log
	jo := journal.Options{Dir: filepath.Join(o.StateDir, "journal"), Key: o.Keys.Journal, Limit: o.JournalSize}
	// What is written must leave the indexes the room to note what was sent, or nothing would ever be.
	switch {
	case v.tree.Shares(o.StateDir):
		jo.Grow = func(n int64) error { return v.tree.Room(n + indexRoom) }
	case v.traits.WholeFiles:
		jo.Grow = func(n int64) error { return v.accountRoom(n + indexRoom) }
	}
	if o.JournalOptions != nil {
		o.JournalOptions(&jo)
	}
	v.jour, err = journal.Open(jo, l.take)
	if err != nil {
		return nil, err
	}
	loaded, err := v.catchUp(ctx, &l)
	if err != nil {
		return nil, err
	}
	if err := v.register(ctx); err != nil {
		return nil, err
	}
	if err := v.quota.begin(); err != nil {
		return nil, err
	}
	// After the tree has what is new: the blocks get what the index leaves them.
	parallel := 0
	if remote.TraitsOf(o.Remote).WholeFiles {
		parallel = filesFetched
	}
	v.cache, err = cache.Open(cache.Options{
		Dir: sub(o.CacheDir, "blocks"), Key: o.Keys.Cache, Limit: v.blockLimit(to.Dir), Memory: o.Memory / 4,
		Admit: !o.LocalStore, Near: o.LocalStore, Source: o.Remote, Parallel: parallel, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	poll := o.Poll
	v.eng = writeback.Start(writeback.Options{
		Tree: v.tree, Journal: v.jour, Remote: o.Remote, Read: v.cache.Read, Stored: v.stored(),
		Writing: v.isWriting, NoteKind: recNote, Note: v.note, Sent: v.stand, Landed: v.landed, Settle: o.Settle, MaxAge: o.MaxAge, Poll: poll, Log: o.Log,
		Sink: func(ctx context.Context) remote.Sink { return v.sink.begin(ctx) }, Ready: v.ready,
		Changed: func() { v.foreign() }, Forward: v.forward, MoveAt: o.MoveAt, Patience: o.Room, Many: o.Many, Loaded: loaded,
	})
	if !v.traits.WholeFiles {
		v.wg.Go(func() { v.quota.watch(bg) })
	}
	return v, nil
}

func (o *Options) defaults() {
	if o.CacheSize == 0 {
		o.CacheSize = 10 << 30
	}
	if o.JournalSize == 0 {
		o.JournalSize = 1 << 30
	}
	if o.Memory == 0 {
		o.Memory = 256 << 20
	}
	if o.Patience == 0 {
		o.Patience = 2 * time.Minute
	}
	if o.News == 0 {
		o.News = 10 * time.Second
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	o.Host = hostLabel(o.Host)
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

// blockLimit is how much of CacheSize is for cached blocks. The tree index, which is as large as the vault has files, comes first, with a fifth of
// room to grow until the next mount; but never does it take more than half.
func (v *Volume) blockLimit(index string) int64 {
	var n int64
	entries, _ := os.ReadDir(index) // "" has none: the index is in memory
	for _, e := range entries {
		if fi, err := e.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512 // and not their lengths: badger's files have large holes
			}
		}
	}
	return v.o.CacheSize - min(n/5*6, v.o.CacheSize/2)
}

func sub(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

func (v *Volume) stored() func(remote.Ref, []byte) {
	if v.o.LocalStore {
		return nil
	}
	return v.cache.Put
}

func place(l journal.Loc) tree.Place {
	return tree.Place{Segment: l.Segment, Off: l.Off, Len: l.Len, Skip: writeHead}
}

func (v *Volume) note(pos remote.Position, upto uint64, held tree.Held) []byte {
	v.mu.Lock()
	next := v.nextNo
	v.marked = pos
	v.sent = nil
	v.mu.Unlock()
	b := note{pos: pos, upto: upto, next: next, held: held}.append(nil)
	if len(b) > journal.MaxPayload {
		// Without a list of what was held back, everything is replayed: the same state, but for what others changed meanwhile.
		b = note{pos: pos, next: next}.append(nil)
	}
	return b
}

// newIno returns an inode number that was never used. The caller holds mu.
func (v *Volume) newIno() (remote.Ino, error) {
	if _, n := v.o.Remote.Device(); v.device == 0 || n != v.device {
		return 0, remote.E("make an inode", "", remote.ReadOnly, errors.New("this machine has no number in the vault yet; it gets one when the store answers"))
	}
	v.nextNo++
	return remote.Ino(uint64(v.device)<<remote.InoBits | v.nextNo), nil
}

// change appends ops to the journal and applies them. The caller holds mu and has looked whether they may happen.
func (v *Volume) change(ops ...remote.Op) error { return v.record(v.jour.Append, ops) }

// free is change for what a full disk takes too: it gives room back, or needs none. It may use what the journal keeps in reserve.
func (v *Volume) free(ops ...remote.Op) error { return v.record(v.jour.AppendFreeing, ops) }

// addRecord is Append or AppendFreeing of a journal.
type addRecord func(kind journal.Kind, parts ...[]byte) (journal.Seq, journal.Loc, error)

func (v *Volume) record(add addRecord, ops []remote.Op) error {
	for i := range ops {
		if err := wire.Check(&ops[i]); err != nil {
			return err
		}
	}
	if err := v.mark(); err != nil {
		return err
	}
	seq, _, err := add(recOps, wire.AppendOps(nil, ops))
	if err != nil {
		return err
	}
	v.lastSeq.Store(uint64(seq))
	return v.tree.Local(uint64(seq), v.o.Clock().UnixNano(), ops)
}

// writable fails when the volume takes no changes, and slows the caller down when the journal fills. Called without mu.
func (v *Volume) writable(ctx context.Context, n int64) error {
	if v.o.ReadOnly {
		return remote.E("change", "", remote.ReadOnly, nil)
	}
	return v.eng.Admit(ctx, n)
}

// may fails when the remote lets nobody change one of the inodes; 0 is none.
func (v *Volume) may(inodes ...remote.Ino) error {
	if v.guard == nil {
		return nil
	}
	for _, ino := range inodes {
		if ino == 0 {
			continue
		}
		if err := v.guard.Guard(ino); err != nil {
			return err
		}
	}
	return nil
}

func (v *Volume) now() remote.Time { return remote.TimeOf(v.o.Clock()) }

func (v *Volume) isWriting(ino remote.Ino) bool {
	v.handleMu.Lock()
	defer v.handleMu.Unlock()
	return v.writing[v.outer(ino)] > 0
}

// foreign tells the kernel's face that others changed something.
func (v *Volume) foreign() {
	if v.o.Changed == nil {
		return
	}
	v.mu.Lock()
	out := v.renamed
	v.renamed = nil
	v.mu.Unlock()
	for _, c := range v.tree.Changes() {
		c.Ino = v.outer(c.Ino)
		out = append(out, Change(c))
	}
	v.o.Changed(out)
}

// Drain waits until the remote has all that was changed before the call.
func (v *Volume) Drain(ctx context.Context) error {
	return v.eng.Drain(ctx, v.lastSeq.Load(), 0)
}

// Close stops. What the remote does not have yet stays in the journal.
func (v *Volume) Close(ctx context.Context) error {
	return v.closeAll()
}

func (v *Volume) closeAll() error {
	var errs []error
	if v.stop != nil {
		v.stop()
		v.wg.Wait()
	}
	if v.eng != nil {
		v.eng.Close()
	}
	if v.jour != nil {
		errs = append(errs, v.jour.Close())
	}
	if v.cache != nil {
		errs = append(errs, v.cache.Close())
	}
	if v.tree != nil {
		errs = append(errs, v.tree.Close())
	}
	return errors.Join(errs...)
}

// StatFS tells how much room there is: the store's, as it said last.
func (v *Volume) StatFS() StatFS {
	u := v.usage.Load()
	if u == nil {
		return StatFS{Total: 1 << 50, Free: 1 << 49, Files: v.inodes()}
	}
	s := StatFS{Total: u.Total, Free: u.Free, Files: v.inodes()}
	if s.Total == 0 {
		s.Total, s.Free = 1<<50, 1<<50-min(u.Used, 1<<49)
	}
	if u.Quota {
		s.Free = v.quota.left()
		return s
	}
	// What is written but not sent yet takes room there too.
	s.Free -= min(s.Free, uint64(max(0, v.tree.Stat().Bytes)))
	return s
}

func (v *Volume) inodes() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.nextNo + 1
}
