package mega

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"megafs/remote"
)

// How long the server is left alone after it said that no more may be downloaded: as it says, but somebody may have bought more.
const (
	quotaAsk   = time.Minute
	quotaWaits = time.Hour // when the server names no time
)

// transfer knows whether the account may download.
type transfer struct {
	mu    sync.Mutex
	until time.Time // nothing comes before
	ask   time.Time // and the server is not asked before
}

// over notes what the server says of the transfer quota, and makes an error of it.
func (t *transfer) over(seconds int64) error {
	wait := time.Duration(seconds) * time.Second
	if seconds <= 0 || seconds > 1<<31 {
		wait = quotaWaits
	}
	now := time.Now()
	t.mu.Lock()
	t.until, t.ask = now.Add(wait), now.Add(min(wait, quotaAsk))
	t.mu.Unlock()
	return t.err(now)
}

// err is why nothing is downloaded now, or nil.
func (t *transfer) err(now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !now.Before(t.ask) {
		return nil
	}
	why := fmt.Errorf("the account's transfer quota is used up; there is some again in %v", t.until.Sub(now).Round(time.Second))
	return remote.E("download", "", remote.Quota, &remote.LaterError{Until: t.ask, Err: why})
}

// came notes that the server gives content.
func (t *transfer) came() {
	t.mu.Lock()
	t.until, t.ask = time.Time{}, time.Time{}
	t.mu.Unlock()
}

// OverQuota returns until when the account may download nothing; the zero time if it may.
func (r *Remote) OverQuota() time.Time {
	t := &r.down.transfer
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Now().After(t.until) {
		return time.Time{}
	}
	return t.until
}

// errUploadQuota is that the server takes no more.
var errUploadQuota = remote.E("upload", "", remote.Quota, errors.New("the server takes no more for now; its transfer quota is used up"))
