package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"megafs/remote"
)

const (
	probePrefix = "probe/"
	probeRacers = 8
	probeSize   = 1000
	probeAge    = 24 * time.Hour // after which a probe's objects are what a crash left
)

// Probe asks a store whether it keeps the contract: that names are taken once, also in a race, and that ranges and
// lengths are exact. It writes some small objects under probe/ and deletes them again. A store that does not keep the contract is
// ErrStoreContract; other errors are the store's own and say nothing of the contract.
func Probe(ctx context.Context, s Store) error {
	p := prober{ctx, s, fmt.Sprintf("%s%x-%s", probePrefix, time.Now().Unix(), hex.EncodeToString(random(8)))}
	defer p.clean()
	for _, step := range []func() error{p.condition, p.lengths, p.race, p.deletion} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

type prober struct {
	ctx  context.Context
	s    Store
	name string // all objects' names begin so
}

func broken(format string, args ...any) error {
	return remote.E("probe the store", "", remote.Other, fmt.Errorf("%w: %s", ErrStoreContract, fmt.Sprintf(format, args...)))
}

// want fails unless err is of a kind.
func want(err error, kind remote.Kind, what string) error {
	switch {
	case remote.Is(err, kind):
		return nil
	case err == nil:
		return broken("%s succeeds", what)
	}
	switch remote.KindOf(err) {
	case remote.NotExist, remote.Exist, remote.TooLarge, remote.Integrity, remote.Invalid:
		return broken("%s: wanted %s, got %v", what, kind, err)
	}
	return err
}

// fine fails with broken if err says that the store lost or changed what it took.
func fine(err error, what string) error {
	switch remote.KindOf(err) {
	case remote.NotExist, remote.Exist, remote.TooLarge, remote.Integrity, remote.Invalid:
		return broken("%s: %v", what, err)
	}
	return err
}

// condition: the second to put a name is refused and changes nothing.
func (p prober) condition() error {
	first, name := random(probeSize), p.name+"-a"
	if err := fine(p.s.Put(p.ctx, name, first), "putting a new object"); err != nil {
		return err
	}
	if err := want(p.s.Put(p.ctx, name, random(probeSize)), remote.Exist, "putting a name twice"); err != nil {
		return err
	}
	got, err := p.s.Get(p.ctx, name, probeSize)
	if err != nil {
		return fine(err, "reading what was put")
	}
	if !bytes.Equal(got, first) {
		return broken("an object is not what was put")
	}
	return want(p.s.Put(p.ctx, name, first), remote.Exist, "putting the same twice")
}

// lengths: sizes, limits and ranges are exact.
func (p prober) lengths() error {
	data, name := random(probeSize), p.name+"-b"
	if err := fine(p.s.Put(p.ctx, name, data), "putting a new object"); err != nil {
		return err
	}
	if n, err := p.s.Size(p.ctx, name); err != nil {
		return fine(err, "asking for a size")
	} else if n != probeSize {
		return broken("an object of %d bytes is said to have %d", probeSize, n)
	}
	if b, err := p.s.Get(p.ctx, name, probeSize-1); err == nil && len(b) > probeSize-1 {
		return broken("a limit is not kept")
	} else if err := want(err, remote.TooLarge, "reading more than a limit"); err != nil {
		return err
	}
	for _, r := range []struct{ off, n int }{{0, 1}, {0, probeSize}, {1, 1}, {333, 400}, {probeSize - 1, 1}, {probeSize / 2, probeSize / 2}} {
		dst := make([]byte, r.n)
		if err := fine(p.s.GetRange(p.ctx, name, int64(r.off), dst), "reading a range"); err != nil {
			return err
		}
		if !bytes.Equal(dst, data[r.off:r.off+r.n]) {
			return broken("bytes %d to %d of an object are others when read as a range", r.off, r.off+r.n)
		}
	}
	for _, r := range []struct{ off, n int }{{0, probeSize + 1}, {probeSize - 1, 2}, {probeSize, 1}, {5 * probeSize, 1}} {
		if err := want(p.s.GetRange(p.ctx, name, int64(r.off), make([]byte, r.n)), remote.Integrity, "reading beyond the end"); err != nil {
			return err
		}
	}
	return nil
}

// race: of many that put a name at the same time one wins.
func (p prober) race() error {
	name := p.name + "-c"
	var datas [probeRacers][]byte
	var errs [probeRacers]error
	var wg sync.WaitGroup
	for i := range datas {
		datas[i] = random(probeSize)
		wg.Go(func() { errs[i] = p.s.Put(p.ctx, name, datas[i]) })
	}
	wg.Wait()
	winner, winners := 0, 0
	for i, err := range errs {
		if err == nil {
			winner, winners = i, winners+1
		} else if err := want(err, remote.Exist, "putting a name in a race"); err != nil {
			return err
		}
	}
	if winners != 1 {
		return broken("of %d that put one name at the same time %d won", probeRacers, winners)
	}
	got, err := p.s.Get(p.ctx, name, probeSize)
	if err != nil {
		return fine(err, "reading what won")
	}
	if !bytes.Equal(got, datas[winner]) {
		return broken("a name has other bytes than its winner's")
	}
	return nil
}

// deletion: what is deleted is gone.
func (p prober) deletion() error {
	name := p.name + "-a"
	if err := p.s.Delete(p.ctx, name); err != nil {
		return err
	}
	_, err := p.s.Get(p.ctx, name, probeSize)
	return want(err, remote.NotExist, "reading what was deleted")
}

// clean deletes the objects of this probe and of old ones that had no time to. Errors don't matter: the next one tries again.
func (p prober) clean() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), 10*time.Second)
	defer cancel()
	for _, suffix := range []string{"-a", "-b", "-c"} {
		p.s.Delete(ctx, p.name+suffix)
	}
	seen := 0
	p.s.List(ctx, probePrefix, "", func(i Info) error {
		if seen++; seen > 1000 {
			return context.Canceled
		}
		made, _, _ := strings.Cut(strings.TrimPrefix(i.Name, probePrefix), "-")
		sec, err := strconv.ParseInt(made, 16, 64)
		if err == nil && strings.HasPrefix(i.Name, probePrefix) && time.Since(time.Unix(sec, 0)) > probeAge {
			p.s.Delete(ctx, i.Name)
		}
		return nil
	})
}
