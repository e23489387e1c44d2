package journal

import (
	"context"
	"errors"
	"fmt"

	"megafs/remote"
)

// Sync returns once all records up to s are durable. Calls that meet share one sync of the disk. When ctx ends first,
// the error is of kind Canceled or Timeout and the sync goes on without the caller. Once a sync has failed, each
// call returns its error, of kind IO, even for records that were durable before.
func (j *Journal) Sync(ctx context.Context, s Seq) error {
	j.mu.Lock()
	last, err := j.last, j.usable()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if s > last {
		return remote.E("sync journal", "", remote.Invalid, fmt.Errorf("there is no record %d, the last is %d", s, last))
	}
	return j.await(ctx, func() bool { return j.durable >= s })
}

// flush makes all that was written until now durable, the journal's own records too.
func (j *Journal) flush(ctx context.Context) error {
	j.mu.Lock()
	target := j.written
	j.mu.Unlock()
	return j.await(ctx, func() bool { return j.synced >= target })
}

// await starts and joins syncs until reached, which is called with mu held, says that it is enough.
func (j *Journal) await(ctx context.Context, reached func() bool) error {
	for {
		j.mu.Lock()
		if j.failed != nil || reached() {
			defer j.mu.Unlock()
			return j.failed
		}
		if j.closed {
			j.mu.Unlock()
			return errClosed
		}
		r := j.round
		if r == nil {
			// In a goroutine of its own, as nothing ends an fdatasync early but a ctx must end the wait.
			r = &promise{done: make(chan struct{})}
			j.round = r
			j.work.Add(1)
			go j.syncRound(r)
		}
		j.mu.Unlock()
		select {
		case <-r.done:
		case <-ctx.Done():
			kind := remote.Canceled
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				kind = remote.Timeout
			}
			return remote.E("sync journal", "", kind, context.Cause(ctx))
		}
	}
}

// syncRound makes durable all that was appended when it starts. Only one runs at a time.
func (j *Journal) syncRound(r *promise) {
	defer j.work.Done()
	j.mu.Lock()
	seq, written := j.last, j.written
	var dirty []*segment
	for _, s := range *j.live.Load() {
		if s.dirty {
			s.dirty = false
			dirty = append(dirty, s)
		}
	}
	j.mu.Unlock()
	var err error
	for _, s := range dirty {
		if err = s.sync(); err != nil {
			break
		}
	}
	j.mu.Lock()
	if err != nil {
		j.fail("sync journal", err)
	} else {
		j.durable, j.synced = seq, written
	}
	j.round = nil
	j.mu.Unlock()
	close(r.done)
}

// outStep is how much is appended before the disk is asked to begin with it.
const outStep = 4 << 20

// writeOut has the disk begin to write what was appended, so that the sync that will come has less to wait for. mu is held.
func (j *Journal) writeOut(s *segment) {
	if j.outing || j.closing || s.end-s.out < outStep {
		return
	}
	j.outing, s.out = true, s.end
	j.work.Add(1)
	go func(end int64) {
		defer j.work.Done()
		s.io.RLock()
		var err error
		if !s.gone {
			_, err = s.f.SyncTo(end)
		}
		s.io.RUnlock()
		j.mu.Lock()
		defer j.mu.Unlock()
		j.outing = false
		if err != nil { // a later sync need not tell of it again
			j.fail("write out journal", err)
		}
	}(s.end)
}
