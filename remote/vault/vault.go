package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/wire"
)

// Options of an open vault.
type Options struct {
	StateDir      string // where this machine remembers the vault; precious
	Keyring       *crypto.Keyring
	TrustFirstUse bool   // accept a vault this state folder has never seen
	Invite        *Token // for such a vault: what it must have; nil: whatever is there
	ReadOnly      bool
	VerifyCommits bool // read each entry back before a commit counts
	Clock         func() time.Time
	Log           *slog.Logger
}

// Vault is an open vault. It implements remote.Remote.
type Vault struct {
	store blob.Store
	keys  *crypto.Keys
	ring  atomic.Pointer[crypto.Keyring] // the generation in force; keys are the same as long as none are rotated
	o     Options

	commitMu sync.Mutex // one commit at a time; taken before mu
	loadMu   sync.Mutex // one load at a time; taken before mu, and never together with commitMu

	mu      sync.Mutex
	trust   *trust
	dirty   bool // trust has news that are not saved
	head    link // the newest entry seen
	end     link // the newest entry that ends a batch: head, unless a batch was broken off
	devices map[remote.DeviceID]link
	snap    link
	marks   marks
	sweep   int64 // when another machine last collected, by its clock
	novice  bool  // this machine never saw the vault before this process
	gapSeen bool  // the end of the log was looked behind once
	stood   link  // the entry that was last found to be as it was, and when
	stoodAt time.Time
	savedAt time.Time
}

var _ remote.Remote = (*Vault)(nil)

func newVault(s blob.Store, o Options) *Vault {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	v := &Vault{store: s, keys: o.Keyring.Keys(), o: o, devices: map[remote.DeviceID]link{}}
	v.ring.Store(o.Keyring)
	v.head.Hash = genesis(v.keys.Vault())
	v.end = v.head
	return v
}

func (v *Vault) keyring() *crypto.Keyring { return v.ring.Load() }

// fresh is the memory of a machine that has seen nothing yet.
func (v *Vault) fresh() *trust {
	t := &trust{
		Vault: v.keys.Vault(), Fingerprint: v.keys.Fingerprint(),
		Keyring: link{v.keyring().Generation(), v.keyring().Hash()}, Head: link{0, genesis(v.keys.Vault())},
	}
	rand.Read(t.Device[:])
	return t
}

// Open opens a vault whose keyring is unlocked. It compares the keyring with what this machine remembers and asks the store nothing, except for
// what an invitation names.
func Open(ctx context.Context, s blob.Store, o Options) (*Vault, error) {
	v := newVault(s, o)
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, remote.E("make the state folder", o.StateDir, remote.IO, err)
	}
	t, err := readTrust(o.StateDir, v.keys)
	if t == nil {
		// Nothing is remembered that verifies under these keys. It may be since they are another vault's, and that no first use excuses.
		if rerr := replaced(o.StateDir, v.keys.Vault()); rerr != nil {
			return nil, rerr
		}
	}
	if err != nil && !((o.TrustFirstUse || o.Invite != nil) && errors.Is(err, ErrNotTrusted)) {
		return nil, err
	}
	if t == nil {
		if !o.TrustFirstUse && o.Invite == nil {
			return nil, remote.E("open vault", "", remote.Permission, ErrNotTrusted)
		}
		t, v.novice = v.fresh(), true
		if o.Invite != nil {
			if t.Head, err = v.admit(ctx, *o.Invite); err != nil {
				return nil, err
			}
		}
		if err := t.save(o.StateDir, v.keys); err != nil {
			return nil, err
		}
	}
	gen, hash := v.keyring().Generation(), v.keyring().Hash()
	switch {
	case t.Vault != v.keys.Vault():
		return nil, bad("open vault", "", ErrVaultReplaced, nil)
	case gen < t.Keyring.Seq:
		return nil, bad("open vault", keyringName(gen), ErrKeyringRollback, nil)
	case gen == t.Keyring.Seq && hash != t.Keyring.Hash:
		return nil, bad("open vault", keyringName(gen), ErrKeyringTampered, nil)
	case gen == t.Keyring.Seq+1 && v.keyring().PrevHash() != t.Keyring.Hash:
		return nil, bad("open vault", keyringName(gen), ErrKeyringTampered, errors.New("it does not follow the one that was seen before"))
	}
	v.trust, v.snap = t, t.Snap
	return v, nil
}

// Info is what a vault says of itself.
type Info struct {
	Vault     string    `json:"vault"`
	Created   time.Time `json:"created"`
	Keyring   uint64    `json:"keyring_generation"`
	Epoch     uint32    `json:"epoch"`
	Slots     []string  `json:"slots"`
	Head      uint64    `json:"head"`
	HeadTime  time.Time `json:"head_time,omitzero"` // when that was made, by its maker's clock
	HeadHash  string    `json:"head_hash"`
	Snapshot  uint64    `json:"snapshot"`
	Device    string    `json:"device"`
	DeviceNo  uint32    `json:"device_number"`
	Violation string    `json:"violation,omitempty"`
}

// Info returns what the vault is, as far as it was loaded.
func (v *Vault) Info() Info {
	v.mu.Lock()
	defer v.mu.Unlock()
	vid := v.keys.Vault()
	i := Info{
		Vault: fmt.Sprintf("%x", vid[:]), Created: v.keyring().Created(), Keyring: v.keyring().Generation(), Epoch: v.keys.Epoch(),
		Head: v.trust.Head.Seq, HeadHash: fmt.Sprintf("%x", v.trust.Head.Hash[:]), Snapshot: v.snap.Seq,
		Device: fmt.Sprintf("%x", v.trust.Device[:]), DeviceNo: v.trust.Number, Violation: v.trust.Violation,
	}
	if t := v.trust.HeadTime; t != 0 {
		i.HeadTime = time.Unix(0, t).UTC()
	}
	for _, s := range v.keyring().Slots() {
		i.Slots = append(i.Slots, s.Type.String())
	}
	return i
}

// Head is the newest position that ends a batch, as far as the log was loaded.
func (v *Vault) Head() remote.Position {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.end.Seq == 0 {
		return remote.Position{}
	}
	return remote.Position(v.end)
}

// State says why nothing can be written, or nil.
func (v *Vault) State() error { return v.writable("write") }

// Device implements remote.Remote.
func (v *Vault) Device() (remote.DeviceID, uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.trust.Device, v.trust.Number
}

// Register commits that this device has a number, if it has none.
func (v *Vault) Register(ctx context.Context, base remote.Position, next uint32) (remote.Position, error) {
	id, n := v.Device()
	if n != 0 {
		return base, nil
	}
	op := remote.Op{Kind: remote.OpDevice, Device: id, Number: next}
	if err := wire.Check(&op); err != nil {
		return base, err
	}
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	pos, err := v.commit(ctx, base, split([]remote.Op{op}))
	if err != nil {
		return base, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trust.Number = next
	return pos, v.save()
}

// save makes what is remembered durable. Called with mu held.
func (v *Vault) save() error {
	v.savedAt = v.o.Clock()
	err := v.trust.save(v.o.StateDir, v.keys)
	v.dirty = err != nil
	return err
}

// violated records that the store was caught, and makes the vault read-only. It returns err.
func (v *Vault) violated(err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.trust.Violation == "" {
		v.trust.Violation = err.Error()
		v.o.Log.Error("the store was caught lying or damaged; the vault is read-only from now on", "reason", err)
		if serr := v.save(); serr != nil {
			v.o.Log.Error("that could not be remembered", "reason", serr)
		}
	}
	return err
}

// Accept takes the store's present history for the true one, after a violation. It is recorded.
func (v *Vault) Accept() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.trust.Violation == "" {
		return nil
	}
	v.trust.Accepted = append(v.trust.Accepted, v.o.Clock().UTC().Format(time.RFC3339)+" "+v.trust.Violation)
	v.trust.Violation = ""
	v.trust.Head, v.trust.HeadTime = link{0, genesis(v.keys.Vault())}, 0
	v.trust.Snap, v.trust.Own, v.trust.Pending = link{}, link{}, nil
	rand.Read(v.trust.Device[:])
	v.trust.Number, v.trust.Probed = 0, false
	v.head, v.snap, v.stood, v.gapSeen = v.trust.Head, link{}, link{}, false
	v.end, v.devices, v.marks = v.head, map[remote.DeviceID]link{}, marks{}
	return v.save()
}

// Close implements remote.Remote.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.dirty {
		return nil
	}
	return v.save()
}

// Usage implements remote.Remote.
func (v *Vault) Usage(ctx context.Context) (remote.Usage, error) { return v.store.Usage(ctx) }
