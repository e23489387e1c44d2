package volume

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"megafs/cache"
	"megafs/fs/journal"
	"megafs/fs/tree"
	"megafs/fs/writeback"
	"megafs/remote"
	"megafs/remote/wire"
)

// sink takes what others did into the tree and merges it with what was done here. It belongs to one load at a time.
type sink struct {
	v   *Volume
	ctx context.Context
	// log is what the journal had at the start, until it is replayed: that is when the base is where it was when the last record was written.
	log   *log
	anew  bool // the base is being begun anew
	blind bool // and what it was when the records were made is not known; until they are merged with what it is now
	was   bool // blind, before that
	reset int  // the tree's Resets, before that: while they are the same, so is the base
}

// Via implements remote.Via: what is in the journal, and the remote does not have, was made over an earlier state.
func (s *sink) Via() uint64 {
	if s.log == nil || !s.log.unsent() {
		return 0
	}
	return s.log.pos.Seq
}

// begin makes the sink ready for a load, after whatever became of the one before.
func (s *sink) begin(ctx context.Context) *sink {
	s.ctx = ctx
	if s.anew && s.log == nil && s.v.tree.Resets() == s.reset {
		s.anew, s.blind = false, s.was // it broke off before a snapshot was whole
	}
	return s
}

// Reset implements remote.Sink.
func (s *sink) Reset() error {
	if !s.anew {
		s.was, s.reset = s.blind, s.v.tree.Resets()
	}
	s.anew = true
	s.blind = s.log == nil
	return s.v.tree.Reset()
}

// Apply implements remote.Sink.
func (s *sink) Apply(b remote.Batch) error {
	v := s.v
	if b.Pos == (remote.Position{}) {
		return v.tree.Apply(b) // a part of a snapshot
	}
	if !s.anew {
		if err := s.mend(); err != nil {
			return err
		}
	}
	first := s.anew
	if s.log != nil && s.log.pos.Seq > 0 && b.Pos.Seq > s.log.pos.Seq {
		// A snapshot of later than the records: what they were made over is not known any more.
		s.blind = first
		if !first {
			if err := s.replay(); err != nil {
				return err
			}
		}
	}
	if s.log == nil && !s.anew {
		return v.take(s.ctx, b, false)
	}
	if !s.blind {
		s.anew = false
		return v.tree.Apply(b)
	}
	v.mu.Lock()
	err := v.tree.Apply(b)
	s.anew = v.tree.Position() != b.Pos
	v.marked = b.Pos // what is changed before the merge is in the journal must not say that it was made over this base
	v.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.replay(); err != nil {
		return err
	}
	return s.mend()
}

// mend merges the local changes with a base that was begun anew below them.
func (s *sink) mend() error {
	if !s.blind {
		return nil
	}
	err := s.v.tree.Begin()
	if err == nil {
		err = s.v.take(s.ctx, remote.Batch{Pos: s.v.tree.Position()}, true)
	}
	s.blind = err != nil
	return err
}

func (s *sink) replay() error {
	l := s.log
	if l == nil {
		return nil
	}
	s.log = nil
	return s.v.replay(l)
}

// ready is asked by the engine before it loads or sends anything.
func (v *Volume) ready(ctx context.Context) error {
	v.mu.Lock()
	err := v.torn
	v.mu.Unlock()
	if err != nil {
		return err
	}
	if err := v.accountRoom(0); err != nil {
		return err
	}
	if err := v.register(ctx); err != nil {
		return err
	}
	if s := v.sink.begin(ctx); !s.anew {
		return s.mend()
	}
	return nil
}

// take lets the tree take a batch of the remote's. Where it meets local changes, what becomes of them is in the journal, durably, before
// the base has the batch: a journal without it over a base with it would lay old records over others' changes.
func (v *Volume) take(ctx context.Context, b remote.Batch, blind bool) error {
	id, number := v.o.Remote.Device()
	own := b.Device == id && number != 0 && !blind
	var same func(remote.Ino, uint64) bool
	if !own {
		var err error
		if same, err = v.same(ctx, b); err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.torn != nil {
		return v.torn
	}
	for i := range b.Ops {
		if op := &b.Ops[i]; op.Kind == remote.OpNode && op.Ino.Device() == v.device {
			v.nextNo = max(v.nextNo, uint64(op.Ino)&(1<<remote.InoBits-1))
		}
	}
	var m *tree.Merge
	var err error
	if own { // and the answer was lost: what was changed here since lies over it
		m, err = v.tree.Returned(b, v.sent, v.traits.OneName, v.label())
	} else {
		m, err = v.tree.Merge(b, tree.MergeOptions{Label: v.label(), NewIno: v.newIno, Same: same, Blind: blind, OneName: v.traits.OneName})
	}
	if err != nil {
		return err
	}
	if m == nil {
		return v.tree.Adopt(b, nil, 0, 0)
	}
	for i := range m.Ops {
		if err := wire.Check(&m.Ops[i]); err != nil {
			return remote.E("merge", "", remote.Other, err)
		}
	}
	err = v.adopt(m, v.jour.Append, func(seq uint64, now int64) error { return v.tree.Adopt(b, m, seq, now) })
	if err != nil {
		return err
	}
	for _, c := range m.Copied {
		if err := v.follow(c); err != nil {
			return err
		}
	}
	return nil
}

// adopt puts a merge into the journal, and then lets the tree have it. From the first on the journal says it: a second merge of the same batch would contradict it. The caller
// holds mu.
func (v *Volume) adopt(m *tree.Merge, add addRecord, have func(seq uint64, now int64) error) error {
	first, last, err := v.appendMerge(m, add)
	if err != nil {
		return err
	}
	if err = v.jour.Sync(context.Background(), last); err == nil {
		v.lastSeq.Store(uint64(last))
		err = have(uint64(first), v.o.Clock().UnixNano())
	}
	if err != nil {
		v.torn = remote.E("merge", "", remote.IO, fmt.Errorf("what another machine changed could not be taken in after the journal had it; mount again: %w", err))
		return v.torn
	}
	v.marked = m.Pos
	return nil
}

// landed lets the tree take what was sent from here and came out otherwise.
func (v *Volume) landed(b remote.Batch) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.torn != nil {
		return v.torn
	}
	m, err := v.tree.CameOut(b, v.label())
	if err != nil {
		return err
	}
	if m == nil {
		return v.tree.Commit(b)
	}
	// It may use the journal's reserve: what was sent goes from there.
	return v.adopt(m, v.jour.AppendFreeing, func(seq uint64, now int64) error { return v.tree.Landed(b, m, seq, now) })
}

// appendMerge appends a merge to the journal, in as many records as it takes. The caller holds mu.
func (v *Volume) appendMerge(m *tree.Merge, add addRecord) (first, last journal.Seq, err error) {
	body := appendMerge(nil, m)
	parts := (len(body) + mergePiece - 1) / mergePiece
	for i := range parts {
		piece := body[i*mergePiece : min(len(body), (i+1)*mergePiece)]
		if last, _, err = add(recMerge, mergeHead(i, parts), piece); err != nil {
			return 0, 0, err
		}
		if i == 0 {
			first = last
		}
	}
	return first, last, nil
}

// mark puts the base's position into the journal before the first change that is made over it. The caller holds mu.
func (v *Volume) mark() error {
	if v.torn != nil {
		return v.torn
	}
	pos := v.tree.Position()
	if pos == v.marked || pos.Seq == 0 {
		return nil
	}
	if _, _, err := v.appendMerge(&tree.Merge{Pos: pos}, v.jour.AppendFreeing); err != nil {
		return err
	}
	v.marked = pos
	return nil
}

// label is what stands in the names of conflict copies that are made here now.
func (v *Volume) label() string {
	return fmt.Sprintf("conflict %s %s", v.o.Host, v.o.Clock().Format("2006-01-02"))
}

// hostLabel makes a host's name fit for a part of a file's name.
func hostLabel(host string) string {
	if host == "" {
		host, _ = os.Hostname()
	}
	host, _, _ = strings.Cut(host, ".")
	host = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\:*?"<>|()`, r) {
			return '-'
		}
		return r
	}, strings.ToValidUTF8(host, "-"))
	if len(host) > 60 {
		host = strings.ToValidUTF8(host[:60], "")
	}
	if host == "" {
		host = "unknown"
	}
	return host
}

// compareMost is how large a file may be to be compared byte by byte; others that both sides changed count as different.
const compareMost = 64 << 20

// same compares files that a batch changes and that were changed here. It waits for the remote, so it is done before the lock is taken; a file
// that changes meanwhile counts as different, and so does one that can't be read although the store answers.
func (v *Volume) same(ctx context.Context, b remote.Batch) (func(remote.Ino, uint64) bool, error) {
	clashes, err := v.tree.Clashes(b, compareMost)
	if err != nil {
		return nil, err
	}
	c := v.cache
	if c == nil && len(clashes) > 0 {
		// At the start the cache is opened last; memory does for this.
		if c, err = cache.Open(cache.Options{Memory: v.o.Memory / 8, Source: v.o.Remote, Near: v.o.LocalStore, Log: v.o.Log}); err != nil {
			return nil, err
		}
		defer c.Close()
	}
	equal := map[remote.Ino]uint64{}
	for _, x := range clashes {
		for _, other := range []*tree.Version{x.Theirs, x.Was} {
			if other == nil || other.Size != x.Mine.Size {
				continue
			}
			eq, err := v.equal(ctx, c, x.Mine.Pieces, other.Pieces)
			if ctx.Err() != nil {
				return nil, remote.E("compare", obj(x.Ino), remote.Timeout, ctx.Err())
			}
			if remote.Is(err, remote.Unreachable) || remote.Is(err, remote.Timeout) {
				return nil, err
			}
			if err == nil && eq {
				equal[x.Ino] = x.Stamp
				break
			}
		}
	}
	return func(ino remote.Ino, stamp uint64) bool {
		was, ok := equal[ino]
		return ok && was == stamp
	}, nil
}

// equal compares two versions of one length.
func (v *Volume) equal(ctx context.Context, c *cache.Cache, a, b []tree.Piece) (bool, error) {
	var bufs [2][]byte
	for from := uint64(0); len(a) > 0; from += tree.CompareStep {
		for i, rest := range []*[]tree.Piece{&a, &b} {
			n, end := 0, from
			for n < len(*rest) && (*rest)[n].Off < from+tree.CompareStep {
				end = (*rest)[n].Off + (*rest)[n].Len
				n++
			}
			bufs[i] = slices.Grow(bufs[i][:0], int(end-from))[:end-from]
			if err := writeback.Fill(ctx, v.jour, c.Read, from, bufs[i], (*rest)[:n]); err != nil {
				return false, err
			}
			*rest = (*rest)[n:]
			remote.Progress(ctx)
		}
		if !bytes.Equal(bufs[0], bufs[1]) {
			return false, nil
		}
	}
	return true, nil
}
