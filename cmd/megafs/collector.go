package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// collecting is how a mount collects garbage by itself.
type collecting struct {
	Every    time.Duration // 0: not
	Keep     time.Duration
	Grace    time.Duration
	Requests int64 // an hour
	Bytes    int64
}

// collector collects garbage in the background of a mount. Any number of machines may do so at once; when one did a moment ago, the others leave it at that.
type collector struct {
	o      collecting
	vault  *vault.Vault
	volume *volume.Volume
	cache  string // the folder
	memory int64
	budget *blob.Budget
	log    *slog.Logger

	mu   sync.Mutex
	last collected
}

// collected is what is remembered of the latest run, and shown by status.
type collected struct {
	Time   time.Time       `json:"time,omitzero"` // when a run last ended well
	Report *vault.GCReport `json:"report,omitempty"`
	Error  string          `json:"error,omitempty"` // why the latest did not
}

const retryAfter = time.Hour // a run that failed, or waits for a snapshot

// run collects now and then until ctx ends.
func (g *collector) run(ctx context.Context) {
	var last collected
	if b, err := os.ReadFile(g.file()); err == nil && json.Unmarshal(b, &last) == nil {
		g.mu.Lock()
		g.last = last
		g.mu.Unlock()
	}
	// A mount has better things to do at first; and machines that were switched on at once should not all begin at once.
	wait := min(max(g.o.Every/10, time.Until(last.Time.Add(g.o.Every))), g.o.Every)
	if last.Time.IsZero() {
		wait = min(wait, 10*time.Minute)
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(wait + rand.N(wait/4+1)):
			wait = g.once(ctx)
		}
	}
}

func (g *collector) file() string { return filepath.Join(g.cache, "collected") }

// once makes a run, and returns how long to wait for the next.
func (g *collector) once(ctx context.Context) time.Duration {
	soon := min(g.o.Every, retryAfter)
	if t := g.vault.Collected(); time.Since(t) < g.o.Every/2 && t.After(g.state().Time) {
		return soon // another machine is at it
	}
	young := openOrphans(filepath.Join(g.cache, "orphans"), g.o.Grace, time.Now())
	r, err := g.vault.Collect(blob.Spending(ctx, g.budget), vault.GCOptions{
		Keep: g.o.Keep, Grace: g.o.Grace, Hold: g.volume.Objects, Orphan: young.old, Turn: g.volume.Turn,
		Replica: func() (vault.Replica, error) { return newReplica(g.cache, g.memory) },
	})
	if err == nil {
		err = young.save()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			g.last.Error = err.Error()
			if !remote.Is(err, remote.Busy) && !remote.Is(err, remote.Unreachable) && !remote.Is(err, remote.Timeout) {
				g.log.Warn("garbage was not collected; it is tried again", "reason", err)
			}
		}
		return soon
	}
	if r.Marked+r.Removed > 0 {
		g.log.Info("garbage was collected", "given up", r.Marked, "removed", r.Removed, "bytes", r.RemovedBytes, "log entries", r.LogPruned)
	}
	g.last = collected{Time: time.Now(), Report: &r}
	if r.SnapshotDue {
		g.volume.Snapshot() // with it more can go
	}
	if r.More || r.SnapshotDue {
		g.last.Time = time.Time{}
		return soon
	}
	if err := g.save(); err != nil {
		g.log.Warn("when garbage was collected could not be remembered", "reason", err)
	}
	return g.o.Every
}

func (g *collector) save() error {
	b, err := json.Marshal(g.last)
	if err == nil {
		err = errors.Join(os.WriteFile(g.file()+".new", b, 0o600), os.Rename(g.file()+".new", g.file()))
	}
	return err
}

func (g *collector) state() collected {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}
