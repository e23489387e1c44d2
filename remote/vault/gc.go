package vault

import (
	"context"
	"errors"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
)

// GCOptions say what may go. The zero durations mean what they say: nothing is kept of the past, and removal is at once.
type GCOptions struct {
	Keep   time.Duration // states that were the present one so long ago stay whole
	Grace  time.Duration // between giving up and removing, for machines that have not looked for a while
	DryRun bool
	Most   int // so many objects are given up in one run; 0: as many as fit into an entry

	// Hold tells which content this machine refers to. It may tell what does not matter.
	Hold func(yield func(remote.ObjectID)) error
	// Orphan reports whether content that no entry of the log refers to is old enough to be given up. It may be on its way into a file: that
	// costs its writer a second upload. nil: it is.
	Orphan func(remote.ObjectID) bool
	// Turn runs a commit while this machine makes no other; nil: it just runs.
	Turn func(ctx context.Context, commit func() error) error
	// Replica makes an empty state machine. Without it the log is not shortened.
	Replica func() (Replica, error)
	// State tells the state at the position that the vault has, for a snapshot when one is due; nil: somebody else makes snapshots.
	State func(yield func(remote.Op) error) error
	Pos   remote.Position

	serial bool // for tests: one removal after the other
}

// GCReport is what a run did, or with DryRun would do.
type GCReport struct {
	Marked       int       `json:"given_up_objects"`
	MarkedBytes  int64     `json:"given_up_bytes"`
	Content      int       `json:"given_up_content_objects"`
	Young        int       `json:"young_content_objects"` // that nothing refers to, or not yet
	Removed      int       `json:"removed_objects"`
	RemovedBytes int64     `json:"removed_bytes"`
	Waiting      int       `json:"waiting_objects"` // given up, and not removed yet
	WaitingUntil time.Time `json:"waiting_until,omitzero"`
	LogFirst     uint64    `json:"log_first"` // the number of the first entry that is needed
	LogEntries   uint64    `json:"log_entries"`
	LogPruned    uint64    `json:"log_entries_removed"`
	Kept         uint64    `json:"kept_since_entry"` // states from this one on are whole
	Snapshots    int       `json:"snapshots"`
	SnapshotDue  bool      `json:"snapshot_due"` // with a newer snapshot more could go
	More         bool      `json:"more"`         // another run has more to do
}

// gcTries is how often a run begins anew when others were quicker.
const gcTries = 8

// Collect gives up what no state that is kept refers to, and removes what was given up before and has waited. It is safe with other machines that
// write or collect at the same time, and may be broken off at any moment; see doc.go.
func (v *Vault) Collect(ctx context.Context, o GCOptions) (GCReport, error) {
	if err := v.writable("collect garbage"); err != nil {
		return GCReport{}, err
	}
	v.mu.Lock()
	blind := v.novice && v.trust.Own.Seq == 0
	v.mu.Unlock()
	if blind {
		// An older state than the present one would look like garbage what is in use, and it can't know.
		return GCReport{}, remote.E("collect garbage", "", remote.Permission, errors.New("this machine saw the vault for the first time, and can't tell whether that is its present state; mount it here, or do it where it was used before"))
	}
	if o.Most <= 0 || o.Most > maxItems {
		o.Most = maxItems
	}
	var report GCReport
	for range gcTries {
		first, err := v.firstEntry(ctx)
		if err != nil {
			return report, err
		}
		err = v.collect(ctx, o, &report)
		if damaged(err) {
			// What is missing may be what another machine replaced and removed meanwhile: then the log begins later by now.
			if now, lerr := v.firstEntry(ctx); lerr != nil || now == first {
				return report, err
			}
		} else if !remote.Is(err, remote.Conflict) && !errors.Is(err, errPruned) {
			return report, err
		}
		// What was removed so far stays counted.
		report = GCReport{Removed: report.Removed, RemovedBytes: report.RemovedBytes, LogPruned: report.LogPruned}
	}
	return report, remote.E("collect garbage", "", remote.Busy, errors.New("other machines commit all the time; try again later"))
}

func (v *Vault) collect(ctx context.Context, o GCOptions, report *GCReport) error {
	var replica Replica
	if o.Replica != nil {
		var err error
		if replica, err = o.Replica(); err != nil {
			return err
		}
		defer replica.Close()
	}
	s, err := v.newSurvey(ctx, v.o.Clock(), o.Keep, replica)
	if err != nil {
		return err
	}
	report.SnapshotDue = s.due(o.Keep)
	if report.SnapshotDue && o.State != nil && !o.DryRun && o.Pos == v.Head() {
		if _, err := v.Snapshot(ctx, o.Pos, o.State); err != nil {
			return err
		}
		report.SnapshotDue = false
		if s.now = v.o.Clock().UnixNano(); o.Keep == 0 {
			s.cutoff = s.now
		}
		if err := s.extend(ctx); err != nil {
			return err
		}
	}
	if err := s.ripe(ctx, o, report); err != nil {
		return err
	}
	for try := 0; ; try++ {
		m, err := s.plan(ctx, o, report)
		if err != nil {
			return err
		}
		if o.DryRun || m == nil {
			return nil
		}
		turns := s.turns
		err = v.commitEntry(ctx, o, remote.Position(s.w.end), &entry{typ: entryMark, parts: 1, mark: m})
		if remote.Is(err, remote.Conflict) {
			// A batch of somebody else's: look what it refers to. After anything else all is looked at anew.
			if err := s.extend(ctx); err != nil {
				return err
			}
			if s.turns == turns && try < gcTries {
				continue
			}
		}
		if err != nil {
			return err
		}
		break
	}
	if err := s.extend(ctx); err != nil {
		return err
	}
	return s.ripe(ctx, o, report)
}

// Collected returns when another machine last gave something up or said that it is removed, as far as the log was followed.
func (v *Vault) Collected() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Unix(0, v.sweep)
}

// commitEntry appends an entry of another type than a batch. Who wants to commit waits for that, so it waits for nothing.
func (v *Vault) commitEntry(ctx context.Context, o GCOptions, base remote.Position, e *entry) error {
	commit := func() error {
		v.commitMu.Lock()
		defer v.commitMu.Unlock()
		_, err := v.commit(blob.Hurried(ctx), base, []*entry{e})
		return err
	}
	if o.Turn == nil {
		return commit()
	}
	return o.Turn(ctx, commit)
}

// due reports whether a snapshot would let more go: there is none as new as a quarter of what is kept, and something changed since.
func (s *survey) due(keep time.Duration) bool {
	i := len(s.announced) - 1
	for i >= 0 && (s.announced[i].diverges != nil || s.given[s.announced[i].candidate]) {
		i--
	}
	if i < 0 {
		return s.batches > s.origin.Seq
	}
	last := s.announced[i]
	return s.batches > last.seq && s.time(last) <= s.now-int64(keep/4)
}

// plan decides what can go, writes the history of entries that can, and returns the mark; nil when there is nothing.
func (s *survey) plan(ctx context.Context, o GCOptions, report *GCReport) (*mark, error) {
	v := s.v
	if (s.floor > s.origin.Seq || s.back) && s.cutting != nil && !s.pruning() && !o.DryRun {
		// The log was cut while it was surveyed, or what was removed is back: that goes again. Then begin anew, from where the log begins now.
		if err := s.prune(ctx, s.cutting, report); err != nil {
			return nil, err
		}
		return nil, remote.E("collect garbage", "", remote.Conflict, nil)
	}
	// The newest snapshot before which nothing need be kept: what it refers to and what later entries refer to is all that counts.
	used := map[uint64]bool{}
	var from uint64
	whole := false
	if o.DryRun && o.Keep == 0 && o.Hold != nil && s.due(0) {
		from, whole = s.w.at.Seq, true // as it would be after the snapshot, and what the state refers to, Hold tells
	}
	for i := len(s.announced) - 1; i >= 0 && !whole; i-- {
		a := s.announced[i]
		if !s.old(a) {
			continue
		}
		err := s.whole(ctx, a, used)
		if err != nil && !damaged(err) {
			return nil, err
		}
		if whole = err == nil; whole {
			from = a.seq
		} else {
			clear(used)
		}
	}
	if !whole && s.base != nil {
		from = s.base.at.Seq
		if err := s.whole(ctx, &announced{root: s.base}, used); err != nil {
			return nil, err // without it nobody knows what is needed
		}
	}
	for id, seq := range s.refs {
		if seq > from {
			used[id] = true
		}
	}
	if o.Hold != nil {
		if err := o.Hold(func(id remote.ObjectID) { used[short(id)] = true }); err != nil {
			return nil, err
		}
	}
	floor, err := s.cut(ctx, from)
	if err != nil {
		return nil, err
	}
	m := &mark{}
	kept, err := s.keep(ctx, from, floor, m, o.DryRun)
	if err != nil {
		return nil, err
	}
	for _, x := range s.open {
		for _, i := range x.items {
			kept[i.name()] = true // it goes already
		}
	}
	report.Marked, report.MarkedBytes, report.Content, report.Young, report.More = 0, 0, 0, 0, false
	found := func(i item, size int64) {
		if i.kind == itemContent && used[short(remote.ObjectID(i.id))] || kept[i.name()] {
			return
		}
		if _, known := s.refs[short(remote.ObjectID(i.id))]; i.kind == itemContent && !known && o.Orphan != nil && !o.Orphan(remote.ObjectID(i.id)) {
			report.Young++
			return
		}
		if len(m.items) == o.Most {
			report.More = true
			return
		}
		m.items = append(m.items, i)
		report.Marked++
		report.MarkedBytes += size
		if i.kind == itemContent {
			report.Content++
		}
	}
	prefixes := []string{"o/", rootPrefix, "s/p/", "h/"}
	if s.pruning() {
		prefixes = prefixes[:1]
	}
	for _, prefix := range prefixes {
		if kept[prefix] {
			continue
		}
		if err := v.left(ctx, prefix, found); err != nil {
			return nil, err
		}
	}
	report.Kept, report.LogFirst, report.LogEntries = from, max(floor, s.origin.Seq)+1, s.w.at.Seq-max(floor, s.origin.Seq)
	if len(m.items) == 0 && m.floor == 0 {
		return nil, nil
	}
	return m, nil
}

// pruning reports whether a mark that is not done cuts the log: snapshots and histories stay as they are until then.
func (s *survey) pruning() bool {
	for _, m := range s.open {
		if m.floor > 0 {
			return true
		}
	}
	return false
}

// cut is the entry up to which the log can go: one with a snapshot that was held against the log, with another after it, and before all that is
// kept. 0: none new can.
func (s *survey) cut(ctx context.Context, from uint64) (uint64, error) {
	if s.replica == nil || s.pruning() {
		return 0, nil
	}
	least := from
	for seq := range s.open {
		least = min(least, seq-1) // what is not done must stay to be read
	}
	whole := 0
	for i := len(s.announced) - 1; i >= 0; i-- {
		a := s.announced[i]
		err := s.whole(ctx, a, nil)
		if err != nil && !damaged(err) {
			return 0, err
		}
		if err != nil {
			continue
		}
		if whole++; whole >= 2 && a.seq <= least && a.seq > s.origin.Seq && s.old(a) {
			return a.seq, nil
		}
	}
	return 0, nil
}

// keep returns the names of snapshots and histories that stay, or prefixes below which all does. When the log is to be cut at a new floor, it stores the history and puts it into m.
func (s *survey) keep(ctx context.Context, from, floor uint64, m *mark, dry bool) (map[string]bool, error) {
	kept := map[string]bool{}
	root := func(r *root, id [32]byte) {
		kept[rootName(r.at.Seq, id)] = true
		for _, p := range r.parts {
			kept[partName(p.id)] = true
		}
	}
	newest, step := 0, (s.now-s.cutoff)/8
	for i := len(s.announced) - 1; i >= 0; i-- {
		a := s.announced[i]
		// Of those between, which will be where what is kept begins one day, the first in each of eight parts of that time.
		first := step > 0 && a.seq > from && (i == 0 || s.time(s.announced[i-1])/step != s.time(a)/step)
		if newest >= 2 && !first && a.seq != from && a.seq != floor && (floor > 0 || s.base == nil || a.seq != s.origin.Seq) {
			continue
		}
		r, err := s.v.root(ctx, a.candidate)
		if remote.Is(err, remote.NotExist) && s.given[a.candidate] {
			continue
		}
		if damaged(err) {
			// It may be that the store does not show it just now. Which parts it has nobody can tell, so none goes, and neither does what somebody may want to look into.
			kept[rootName(a.seq, a.id)], kept["s/p/"] = true, true
			continue
		}
		if err != nil {
			return nil, err
		}
		newest++
		root(r, a.id)
	}
	h := s.before
	if floor > 0 && !dry {
		var err error
		if h, err = s.v.writeHistory(ctx, s.hashes[:floor], s.before); err != nil {
			return nil, err
		}
		m.floor, m.id, m.hash = floor, h.self.id, h.self.hash
	}
	if h != nil {
		kept[historyName(h.floor, h.self.id)] = true
		for n, x := range h.segments {
			kept[segmentName(uint64(n), x.id)] = true
		}
	}
	return kept, nil
}
