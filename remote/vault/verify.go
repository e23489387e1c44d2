package vault

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/wire"
)

// Damage is one thing that Verify found wrong.
type Damage struct {
	Object string `json:"object"`
	What   string `json:"what"`
}

// Summary is what Verify went through.
type Summary struct {
	Entries   uint64 `json:"entries"`
	Snapshots int    `json:"snapshots"`
	Objects   int    `json:"objects"`
	Bytes     int64  `json:"bytes"`
	Garbage   int    `json:"unreferenced_objects"`
	Foreign   int    `json:"foreign_names"`
	Damages   int    `json:"damages"`
}

// verifier collects damages from several goroutines.
type verifier struct {
	mu     sync.Mutex
	sum    Summary
	report func(Damage)
	given  map[string]bool // up, by marks
	floor  *mark           // the mark that cuts the log furthest
	hashes map[uint64][32]byte
}

func (r *verifier) damage(object string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Damages++
	r.report(Damage{object, err.Error()})
}

// Verify reads everything: each entry of the log, each snapshot the log announces, each keyring, and every chunk of every object that referenced
// yields. It reports all damage it finds and goes on. An error means that the store could not be read to the end.
// referenced comes from a tree loaded from this vault.
func (v *Vault) Verify(ctx context.Context, referenced func(yield func(remote.Extent) error) error, report func(Damage)) (Summary, error) {
	r := &verifier{report: report, given: map[string]bool{}, hashes: map[uint64][32]byte{}}
	if err := v.verifyKeyrings(ctx, r); err != nil {
		return r.sum, err
	}
	announced, err := v.verifyLog(ctx, r)
	if err != nil {
		return r.sum, err
	}
	parts, err := v.verifySnapshots(ctx, r, announced)
	if err != nil {
		return r.sum, err
	}
	if err := v.verifyHistory(ctx, r); err != nil {
		return r.sum, err
	}
	objects := map[remote.ObjectID]remote.Ref{}
	err = referenced(func(e remote.Extent) error {
		if !e.Hole && e.Inline == nil {
			objects[e.Ref.Object] = e.Ref
		}
		return nil
	})
	if err != nil {
		return r.sum, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, ref := range objects {
		g.Go(func() error { return v.verifyObject(gctx, r, ref) })
	}
	if err := g.Wait(); err != nil {
		return r.sum, err
	}
	// What is there and nobody refers to is no damage: rests of crashes, and content that was replaced.
	err = v.store.List(ctx, "", "", func(i blob.Info) error {
		switch {
		case strings.HasPrefix(i.Name, "o/"):
			h := i.Name[strings.LastIndexByte(i.Name, '/')+1:]
			b, err := hex.DecodeString(h)
			if err != nil || len(b) != 32 || contentName(remote.ObjectID(b)) != i.Name {
				r.sum.Foreign++
			} else if _, ok := objects[remote.ObjectID(b)]; !ok {
				r.sum.Garbage++
			}
		case strings.HasPrefix(i.Name, "s/p/"):
			if !parts[i.Name] {
				r.sum.Garbage++
			}
		case strings.HasPrefix(i.Name, "h/"):
			if _, ok := itemOf(i.Name); !ok {
				r.sum.Foreign++
			}
		case strings.HasPrefix(i.Name, "l/"), strings.HasPrefix(i.Name, rootPrefix), strings.HasPrefix(i.Name, keyringPrefix):
		default:
			r.sum.Foreign++
		}
		return nil
	})
	return r.sum, err
}

// damaged tells damage, which is reported, from a store that does not answer, which ends the reading.
func damaged(err error) bool {
	return remote.Is(err, remote.Integrity) || remote.Is(err, remote.NotExist) || remote.Is(err, remote.TooLarge) || remote.Is(err, remote.NotSupported)
}

func (v *Vault) verifyKeyrings(ctx context.Context, r *verifier) error {
	found := false
	err := v.store.List(ctx, keyringPrefix, "", func(i blob.Info) error {
		n, ok := number(i.Name, keyringPrefix)
		if !ok {
			return nil
		}
		b, err := v.store.Get(ctx, i.Name, keyringLimit)
		if err != nil {
			if damaged(err) {
				r.damage(i.Name, err)
				return nil
			}
			return err
		}
		ring, err := crypto.OpenKeyring(b, v.keyring().KRK())
		switch {
		case err != nil:
			r.damage(i.Name, opened("open keyring", i.Name, err))
		case ring.Generation() != n || ring.Vault() != v.keys.Vault():
			r.damage(i.Name, ErrKeyringTampered)
		case n == v.keyring().Generation():
			found = ring.Hash() == v.keyring().Hash()
		}
		return nil
	})
	if err == nil && !found {
		r.damage(keyringName(v.keyring().Generation()), ErrMissing)
	}
	return err
}

// verifyLog walks the whole chain. A broken entry ends what can be verified; those behind it are opened each for itself.
func (v *Vault) verifyLog(ctx context.Context, r *verifier) (announced []*entry, err error) {
	v.mu.Lock()
	head := v.trust.Head
	v.mu.Unlock()
	from := link{0, genesis(v.keys.Vault())}
	first, err := v.firstEntry(ctx)
	if err != nil {
		return nil, err
	}
	if first > 1 {
		// Either a history has what lies before, or it is missing.
		h, err := v.earlier(ctx, first-1)
		switch {
		case err == nil:
			from = h.at(first-1, v.keys.Vault())
		case !damaged(err):
			return nil, err
		default:
			r.damage(logName(1), err)
		}
	}
	w := v.walkerAt(from)
	next, stop := v.entries(ctx, from.Seq)
	defer stop()
	broken := false
	for seq := from.Seq + 1; ; seq++ {
		f := next()
		if remote.Is(f.err, remote.NotExist) {
			if seq <= head.Seq {
				r.damage(logName(seq), ErrMissing)
				broken = true
				continue
			}
			break
		}
		if f.err != nil {
			if !damaged(f.err) {
				return announced, f.err
			}
			r.damage(logName(seq), f.err)
			broken = true
			continue
		}
		var e *entry
		if broken {
			if e, err = openEntry(v.keys, seq, f.sealed); err == nil {
				w = v.walkerAt(link{seq, e.hash})
				broken = false
			}
		} else {
			e, _, err = w.step(ctx, f.sealed)
		}
		if err != nil {
			r.damage(logName(seq), err)
			broken = true
			continue
		}
		if seq == head.Seq && e.hash != head.Hash {
			r.damage(logName(seq), ErrFork)
		}
		r.sum.Entries++
		r.hashes[e.seq] = e.hash
		if e.typ == entryMark {
			for _, i := range e.mark.items {
				r.given[i.name()] = true
			}
			if e.mark.floor > 0 && (r.floor == nil || e.mark.floor >= r.floor.floor) {
				r.floor = e.mark
			}
		}
		if e.typ == entrySnapshot {
			announced = append(announced, e)
		}
	}
	if from.Seq > 0 && (r.floor == nil || r.floor.floor < from.Seq) && !broken {
		r.damage(logName(from.Seq), bad("read the log", logName(from.Seq), ErrGap, errors.New("no entry says that those up to this one may be gone")))
	}
	if later := v.behind(ctx, w.at.Seq); later > 0 {
		if _, err := v.again(ctx, w.at.Seq+1); remote.Is(err, remote.NotExist) {
			r.damage(logName(w.at.Seq+1), bad("read the log", logName(later), ErrGap, nil))
		}
	}
	return announced, nil
}

func (v *Vault) verifySnapshots(ctx context.Context, r *verifier, announced []*entry) (parts map[string]bool, err error) {
	parts = map[string]bool{}
	for _, e := range announced {
		name := rootName(e.about.Seq, e.root)
		if r.given[name] {
			continue
		}
		root, err := v.root(ctx, candidate{e.about.Seq, e.root})
		if err != nil {
			if !damaged(err) {
				return parts, err
			}
			r.damage(name, err)
			continue
		}
		r.sum.Snapshots++
		digest, whole := sha256.New(), true
		for i, p := range root.parts {
			parts[partName(p.id)] = true
			records, err := v.part(ctx, root, i)
			if err != nil && !damaged(err) {
				return parts, err
			}
			digest.Write(records)
			if err == nil {
				err = wire.EachOp(records, func(*remote.Op) error { return nil })
			}
			if err != nil {
				whole = false
				r.damage(partName(p.id), err)
			}
		}
		if whole && [32]byte(digest.Sum(nil)) != root.digest {
			r.damage(name, ErrSnapshotDivergence)
		}
	}
	return parts, nil
}

// earlier returns the newest history that reaches up to an entry or further.
func (v *Vault) earlier(ctx context.Context, seq uint64) (*chain, error) {
	list, err := v.histories(ctx, seq)
	if err != nil {
		return nil, err
	}
	why := bad("read the log", logName(1), ErrGap, nil)
	for _, i := range list {
		h, err := v.readHistory(ctx, i.n, i.id)
		if err == nil || !damaged(err) {
			return h, err
		}
		why = bad("read the log", logName(1), ErrGap, err)
	}
	return nil, why
}

// verifyHistory reads the history of what is removed of the log, and holds it against the entries that are still there.
func (v *Vault) verifyHistory(ctx context.Context, r *verifier) error {
	if r.floor == nil {
		return nil
	}
	m, name := r.floor, historyName(r.floor.floor, r.floor.id)
	h, err := v.readHistory(ctx, m.floor, m.id)
	switch {
	case err != nil && !damaged(err):
		return err
	case err != nil:
		var e *remote.Error // it may be a segment
		if errors.As(err, &e) && e.Object != "" {
			name = e.Object
		}
		r.damage(name, err)
		return nil
	case h.self.hash != m.hash:
		r.damage(name, ErrTampered)
	}
	for seq, hash := range r.hashes {
		if seq <= m.floor && h.hashes[seq-1] != hash {
			r.damage(name, bad("read history", name, ErrFork, nil))
			break
		}
	}
	return nil
}

// verifyObject reads a content object whole and opens each of its chunks.
func (v *Vault) verifyObject(ctx context.Context, r *verifier, ref remote.Ref) error {
	name := contentName(ref.Object)
	want := crypto.HeaderLen + int(ref.Chunks)*remote.SealedChunk
	b, err := v.store.Get(ctx, name, int64(want))
	switch {
	case remote.Is(err, remote.NotExist):
		r.damage(name, ErrMissing)
		return nil
	case err != nil && !damaged(err):
		return err
	case err == nil && len(b) != want:
		err = fmt.Errorf("%d bytes, want %d: %w", len(b), want, ErrTampered)
	}
	if err == nil {
		var id crypto.ID
		_, id, err = v.keys.Open(crypto.ClassContent, nil, b)
		if err == nil && id != crypto.ID(ref.Object) {
			err = ErrTampered
		}
	}
	if err != nil {
		r.damage(name, err)
	}
	r.mu.Lock()
	r.sum.Objects++
	r.sum.Bytes += int64(len(b))
	r.mu.Unlock()
	return nil
}
