package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"megafs/cmd/megafs/control"
	"megafs/fs"
	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/mega"
	"megafs/remote/vault"
)

// served is a mount and all that is behind it.
type served struct {
	s      *settings
	state  string // the folder of what is remembered of the vault
	store  blob.Store
	meter  *blob.Meter
	rates  *blob.Rates
	vault  *vault.Vault
	mega   *mega.Remote // instead of store and vault
	volume *volume.Volume
	server atomic.Pointer[fs.Server]

	traffic   traffic
	gc        *collector
	endGC     context.CancelFunc
	collected sync.WaitGroup
}

// serve mounts and serves until somebody unmounts. ready is called when the mount answers.
func serve(ctx context.Context, s *settings, ready func()) (err error) {
	state := s.Profile.State
	if !s.At.IsZero() {
		aside, at, err := s.Profile.aside()
		if err != nil {
			return err
		}
		defer at.remove()
		s.Profile = *aside
	}
	lock, err := lockState(s.Profile.State, s.MountPoint)
	if err != nil {
		return err
	}
	defer lock.release()
	file, err := openLog(s.Log, !s.Foreground)
	if err != nil {
		return err
	}
	defer file.close()
	log := slog.New(slog.NewTextHandler(file, nil))
	defer func() {
		if err != nil {
			log.Error("the mount ended", "reason", err)
		}
	}()
	held, drop := context.WithCancel(ctx)
	defer drop()
	go limitMemory(s.Memory, s.Profile.Cache, mega.IndexDir(s.Profile.State)).keep(held)
	x := &served{s: s, state: state, meter: &blob.Meter{}, rates: &blob.Rates{}}
	defer func() { err = errors.Join(err, x.close()) }()
	if err := x.open(ctx, log); err != nil {
		return err
	}
	var patience time.Duration
	if s.WaitQuota {
		patience = -1 // each fetch has its time nevertheless
	}
	srv, err := fs.Mount(fs.Options{
		ReadTimeout: patience,
		Volume:      fs.Of(x.volume), MountPoint: s.MountPoint, FsName: "megafs", AllowOther: s.AllowOther, ReadOnly: s.ReadOnly, Extra: s.Options, Log: log,
	})
	if err != nil {
		return err
	}
	x.server.Store(srv)
	ctl, err := control.Listen(control.Folders(), fmt.Sprint(os.Getpid()), x.handler())
	if err != nil {
		srv.Lazy()
		srv.Wait()
		return err
	}
	defer ctl.Close()
	sig := make(chan os.Signal, 4)
	signal.Notify(sig, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(sig)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-ctx.Done():
				srv.Lazy()
				return
			case <-sig:
			}
			// The first time politely; when it is in use, or asked again, the mount goes as soon as nobody uses it.
			if n > 0 || srv.Unmount() != nil {
				srv.Lazy()
			}
		}
	}()
	log.Info("mounted", "version", version())
	ready()
	srv.Wait()
	log.Info("unmounted")
	return nil
}

// open opens store, vault and volume.
func (x *served) open(ctx context.Context, log *slog.Logger) error {
	s, p := x.s, &x.s.Profile
	if err := os.MkdirAll(p.Cache, 0o700); err != nil {
		return remote.E("make the cache folder", p.Cache, remote.IO, err)
	}
	if err := private(p.Cache); err != nil {
		return err
	}
	if p.Mega != nil {
		return x.openMega(ctx, log)
	}
	ask := askTime
	if s.Offline {
		ask = againTime
	}
	x.rates.Set(s.UploadLimit, s.DownloadLimit)
	store, err := openStore(p, false, ask, x.rates)
	if err != nil {
		return err
	}
	tries := blob.RetryOptions{Attempts: 3}
	if p.S3 != nil {
		tries.Attempts = 5 // networks and servers have bad moments that disks have not
	}
	x.store = blob.Paced(blob.Retry(blob.Metrics(store, x.meter), tries))
	object, offline, err := x.keyring(ctx, ask)
	if err != nil {
		return err
	}
	ring, err := s.keyring(object)
	if err != nil {
		return err
	}
	if offline {
		log.Warn("the store does not answer; mounting with what is known")
	}
	x.vault, err = vault.Open(ctx, x.store, vault.Options{StateDir: p.State, Keyring: ring, TrustFirstUse: s.TrustFirstUse, Invite: s.Invite, ReadOnly: s.ReadOnly, Log: log})
	if err != nil {
		return err
	}
	k := ring.Keys()
	var serves remote.Remote = x.vault
	var poll time.Duration
	if !s.At.IsZero() {
		if serves, err = x.then(ctx); err != nil {
			return err
		}
		poll = -1
	}
	var none [16]byte // the folders are a machine's own; their keys need not differ by device, which may change its name
	x.volume, err = volume.Open(ctx, volume.Options{
		Remote: serves, Poll: poll, Register: x.vault.Register, StateDir: p.State, CacheDir: p.Cache, CacheSize: s.CacheSize, JournalSize: s.JournalSize,
		Memory: s.Memory, LocalStore: p.Dir != "" && !s.CacheGiven && localDisk(p.Dir), News: ask, FsyncRemote: s.FsyncRemote, ReadOnly: s.ReadOnly, Log: log,
		Keys: volume.Keys{Journal: k.Local("journal", none), Tree: k.Local("tree", none), Cache: k.Local("cache", none)},
		Changed: func(c []volume.Change) {
			if srv := x.server.Load(); srv != nil {
				srv.Changed(c)
			}
		},
	})
	if err == nil && s.GC.Every > 0 && !s.ReadOnly {
		x.collect(log)
	}
	return err
}

// collect starts to collect garbage in the background.
func (x *served) collect(log *slog.Logger) {
	ctx, end := context.WithCancel(context.Background())
	x.endGC = end
	x.gc = &collector{
		o: x.s.GC, vault: x.vault, volume: x.volume, cache: x.s.Profile.Cache, memory: x.s.Memory / 8, log: log,
		budget: blob.NewBudget(x.s.GC.Requests, x.s.GC.Bytes),
	}
	x.collected.Go(func() { x.gc.run(ctx) })
}

// readKeyring is vault.ReadKeyring; the store of a vault that is known has only ask to answer.
func readKeyring(ctx context.Context, store blob.Store, p *profile, ask time.Duration) ([]byte, bool, error) {
	if p.known() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, ask)
		defer cancel()
	}
	return vault.ReadKeyring(ctx, store, p.State)
}

// keyring returns the keyring's object: what whoever mounts has just had from the store and kept, without asking twice.
func (x *served) keyring(ctx context.Context, ask time.Duration) ([]byte, bool, error) {
	if !x.s.Offline {
		if b, err := vault.KeptKeyring(x.s.Profile.State); err == nil {
			return b, false, nil
		}
	}
	return readKeyring(ctx, x.store, &x.s.Profile, ask)
}

func (x *served) close() error {
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if x.endGC != nil {
		x.endGC()
		x.collected.Wait()
	}
	if x.volume != nil {
		errs = append(errs, x.volume.Close(ctx))
	}
	if x.vault != nil {
		errs = append(errs, x.vault.Close())
	}
	if x.mega != nil {
		errs = append(errs, x.mega.Close())
	}
	if x.store != nil {
		errs = append(errs, x.store.Close())
	}
	return errors.Join(errs...)
}

// status is what megafs status tells of a mount.
type status struct {
	PID        int    `json:"pid"`
	MountPoint string `json:"mountpoint"`
	Remote     string `json:"remote"`
	StateDir   string `json:"state_folder"`
	At         string `json:"at,omitempty"`
	volume.Status
	MemoryBytes int64             `json:"memory_bytes"`
	MemoryLimit int64             `json:"memory_limit"`
	Requests    map[string]uint64 `json:"requests"`
	BytesUp     uint64            `json:"bytes_up"`
	BytesDown   uint64            `json:"bytes_down"`
	Bytes       map[string]uint64 `json:"bytes"` // by kind, as the requests are
	Waiting     int               `json:"requests_under_way"`
	Away        float64           `json:"away_seconds"` // how long the store has not answered
	Limits      bounds            `json:"limits"`
	OverQuota   float64           `json:"over_quota_seconds,omitempty"` // until the account may download again
	Kernel      fs.Stats          `json:"kernel"`
	Vault       *vault.Info       `json:"vault,omitempty"`
	GC          *collected        `json:"gc,omitempty"`
}

func (x *served) status() status {
	m := x.meter.Snapshot()
	v := x.volume.Status()
	if m.Away > 0 { // which is known here before the engine gives up
		if v.State == "online" {
			v.State = "offline"
		}
		if v.LastError == "" && m.LastError != nil {
			v.LastError = m.LastError.Message
		}
	}
	var gc *collected
	if x.gc != nil {
		s := x.gc.state()
		gc = &s
	}
	var at string
	if !x.s.At.IsZero() {
		at = x.s.At.Format(time.RFC3339)
	}
	var info *vault.Info
	if x.vault != nil {
		i := x.vault.Info()
		info = &i
	}
	var over float64
	if x.mega != nil {
		if until := x.mega.OverQuota(); !until.IsZero() {
			over = max(0, time.Until(until).Seconds())
		}
		m.Requests, m.BytesUp, m.BytesDown = x.traffic.snapshot()
	}
	return status{
		StateDir: x.state, At: at, PID: os.Getpid(), MountPoint: x.s.MountPoint, Remote: x.s.Profile.URL, Status: v, Away: m.Away.Seconds(),
		MemoryBytes: rss(), MemoryLimit: x.s.Memory, Requests: m.Requests, BytesUp: m.BytesUp, BytesDown: m.BytesDown,
		Bytes: m.Bytes, Waiting: m.InFlight, Limits: x.limits(), OverQuota: over,
		Kernel: x.server.Load().Stats(), Vault: info, GC: gc,
	}
}

// rss returns the resident memory of this process.
func rss() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	var size, pages int64
	if err == nil {
		fmt.Sscan(string(b), &size, &pages)
	}
	return pages * int64(os.Getpagesize())
}

// The requests of the control socket.
const (
	opStatus = "status"
	opSync   = "sync"
	opWhy    = "why"
	opLimit  = "limit"
	opLink   = "link"
)

func (x *served) handler() control.Handler {
	return control.Handler{
		Answer: func(ctx context.Context, r control.Request) (any, error) {
			switch r.Op {
			case opStatus:
				return x.status(), nil
			case opSync:
				return nil, x.volume.Drain(ctx)
			case opWhy:
				return x.volume.Why(ctx, string(r.Path))
			case opLink:
				return x.link(ctx, string(r.Path), r.Lazy)
			case opLimit:
				return x.limit(r)
			}
			return nil, usage("no such request")
		},
		Waits: func(r control.Request) bool { return r.Op == opSync },
		Fail:  func(err error) *control.Failure { return &control.Failure{Text: err.Error(), Code: exitCode(err)} },
	}
}

// localDisk reports whether a folder is on a disk of this machine, as far as that can be told: then its files are as near as those of a cache would
// be, and answer or fail without our waiting for a network.
func localDisk(dir string) bool {
	st, err := inTime(againTime, "look at", dir, func() (st unix.Statfs_t, err error) {
		err = unix.Statfs(dir, &st)
		return st, err
	})
	if err != nil {
		return false // away, now at least
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC,
		unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC:
		return false
	}
	return true
}
