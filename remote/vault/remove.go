package vault

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"megafs/remote"
	"megafs/remote/blob"
)

// ripe removes what was given up long enough ago.
func (s *survey) ripe(ctx context.Context, o GCOptions, report *GCReport) error {
	report.Waiting, report.WaitingUntil = 0, time.Time{}
	var order []uint64
	for seq := range s.open {
		order = append(order, seq)
	}
	slices.Sort(order)
	for _, seq := range order {
		m := s.open[seq]
		until := s.made(seq) + int64(o.Grace)
		if until > s.v.o.Clock().UnixNano() || o.DryRun {
			report.Waiting += len(m.items)
			if t := time.Unix(0, until); report.WaitingUntil.IsZero() || t.Before(report.WaitingUntil) {
				report.WaitingUntil = t
			}
			continue
		}
		if err := s.remove(ctx, seq, m, o, report); err != nil {
			return err
		}
	}
	return nil
}

// remove removes what a mark gave up, and says so in the log. Whatever of it is gone already is no matter, so that it can be done again.
func (s *survey) remove(ctx context.Context, seq uint64, m *mark, o GCOptions, report *GCReport) error {
	v := s.v
	held := map[remote.ObjectID]bool{}
	if o.Hold != nil {
		if err := o.Hold(func(id remote.ObjectID) { held[id] = true }); err != nil {
			return err
		}
	}
	items := slices.Clone(m.items)
	// A snapshot's root goes before its parts, so that nothing looks whole that is not.
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(rank[a.kind], rank[b.kind]) })
	later := 0
	var content, others []string
	for _, i := range items {
		switch {
		case i.kind != itemContent:
			others = append(others, i.name())
		case held[remote.ObjectID(i.id)]:
			later++
		default:
			content = append(content, i.name())
		}
	}
	removed := func(size int64) { report.Removed++; report.RemovedBytes += size }
	if err := v.removeAll(ctx, content, o.serial, removed); err != nil {
		return err
	}
	// The log goes before the snapshots that it begins with, so that who misses one of those sees that the log begins later now.
	if m.floor > 0 {
		if err := s.prune(ctx, m, report); err != nil {
			return err
		}
	}
	if err := v.removeAll(ctx, others, true, removed); err != nil {
		return err
	}
	if later > 0 {
		report.Waiting += later // this machine still refers to it, and stores it anew soon
		return nil
	}
	for range gcTries {
		err := v.commitEntry(ctx, o, remote.Position(s.w.end), &entry{typ: entryDone, parts: 1, about: link{Seq: seq}})
		if err != nil && !remote.Is(err, remote.Conflict) {
			return err
		}
		if xerr := s.extend(ctx); xerr != nil {
			return xerr
		}
		if err == nil || s.open[seq] == nil {
			return nil
		}
	}
	return nil // the next run says it
}

// rank is the order of removal.
var rank = [...]int{itemContent: 0, itemRoot: 1, itemPart: 2, itemHistory: 3, itemSegment: 4}

// prune removes the log's entries up to a mark's floor, the oldest first. It looks once more that what stands in for them is there.
func (s *survey) prune(ctx context.Context, m *mark, report *GCReport) error {
	v := s.v
	// The listing says only where to begin: what it leaves out must not stay behind as a gap.
	first := s.origin.Seq + 1
	err := v.store.List(ctx, "l/", "", func(i blob.Info) error {
		if n, ok := number(i.Name, "l/"); ok && n > 0 {
			first = min(first, n)
		}
		return nil
	})
	if err != nil || first > m.floor {
		return err
	}
	var names []string
	for n := first; n <= m.floor; n++ {
		names = append(names, logName(n))
	}
	h, err := v.readHistory(ctx, m.floor, m.id)
	if err != nil {
		return err
	}
	if h.self.hash != m.hash {
		return bad("shorten the log", historyName(m.floor, m.id), ErrTampered, errors.New("another history than the log names"))
	}
	if _, err := v.standIn(ctx, h, func(r *root) error { return s.whole(ctx, &announced{root: r}, nil) }); err != nil {
		return remote.E("shorten the log", logName(m.floor), remote.Integrity, err)
	}
	return v.removeAll(ctx, names, true, func(size int64) { report.LogPruned++; report.RemovedBytes += size })
}

// removeAll removes objects. A store that was caught meanwhile is left as it is.
func (v *Vault) removeAll(ctx context.Context, names []string, serial bool, removed func(size int64)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	if serial {
		g.SetLimit(1)
	}
	for _, name := range names {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return remote.E("remove", name, remote.Canceled, err)
			}
			if err := v.writable("remove"); err != nil {
				return err
			}
			size, err := v.store.Size(ctx, name)
			if remote.Is(err, remote.NotExist) {
				return nil
			}
			if err == nil {
				err = v.store.Delete(ctx, name)
			}
			if err != nil {
				return err
			}
			v.mu.Lock()
			removed(size)
			v.mu.Unlock()
			return nil
		})
	}
	return g.Wait()
}
