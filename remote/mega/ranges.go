package mega

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"megafs/remote"
)

// get downloads bytes of a file's ciphertext, and says when there are more of them: came has all there are from the first on, and may change
// them in place.
func (d *downloads) get(f *file, from, to int64, came func([]byte)) error {
	if err := d.room.Acquire(d.ctx, min(to-from, 2*flightMost)); err != nil {
		return remote.E("download", f.handle, remote.Canceled, err)
	}
	defer d.room.Release(min(to-from, 2*flightMost))
	ctx := allow(d.ctx, downloadTime)
	defer ctx.end()
	buf := make([]byte, 0, to-from)
	delay, fresh := retryFirst, false
	for try := 0; ; try++ {
		if err := d.transfer.err(time.Now()); err != nil {
			return err
		}
		url, err := d.url(ctx, f, fresh)
		if err != nil {
			return err
		}
		before := len(buf)
		if buf, fresh, err = d.part(ctx, url, from, to, buf, came); err == nil {
			return nil
		}
		if len(buf) > before {
			try = 0
		}
		if remote.Is(err, remote.Quota) || remote.Is(err, remote.Integrity) || try >= 5 || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return remote.E("download", f.handle, remote.Timeout, err)
		case <-time.After(delay):
		}
		delay = min(2*delay, retryMost)
	}
}

// url returns where the file's content is had.
func (d *downloads) url(ctx context.Context, f *file, fresh bool) (string, error) {
	f.mu.Lock()
	u := f.url
	if fresh || time.Since(f.got) > urlLife {
		u = ""
	}
	f.mu.Unlock()
	if u != "" {
		return u, nil
	}
	c := command{"a": "g", "g": 1, "ssl": 2, "n": f.handle}
	if d.r.single() {
		c = command{"a": "g", "g": 1, "ssl": 2, "p": f.handle}
	}
	raw, err := d.urls.call(ctx, c)
	if isCode(err, codeOverQuota) {
		return "", d.transfer.over(0)
	}
	if err != nil {
		return "", err
	}
	var g struct {
		S json.Number
		G json.RawMessage
		E int
		T int64 `json:"tl"`
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return "", remote.E("download", f.handle, remote.Integrity, errors.New("the answer has another form"))
	}
	if g.E < 0 {
		if Code(g.E) == codeOverQuota {
			return "", d.transfer.over(g.T)
		}
		return "", fail("download", Code(g.E))
	}
	if g.S.String() != fmt.Sprint(f.size) {
		return "", remote.E("download", f.handle, remote.Integrity, errors.New("the server has another size than it said before"))
	}
	var list []string
	if json.Unmarshal(g.G, &u) != nil && (json.Unmarshal(g.G, &list) != nil || len(list) != 1) {
		return "", remote.E("download", f.handle, remote.Integrity, errors.New("the answer has another form"))
	}
	if len(list) == 1 {
		u = list[0]
	}
	if u, err = d.r.api.allowed(u); err != nil {
		return "", err
	}
	f.mu.Lock()
	f.url, f.got = u, time.Now()
	f.mu.Unlock()
	return u, nil
}

// part downloads what is missing of [from, to) in buf. fresh says that a new URL is needed.
func (d *downloads) part(ctx *allowance, url string, from, to int64, buf []byte, came func([]byte)) (_ []byte, fresh bool, err error) {
	at := from + int64(len(buf))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/%d-%d", url, at, to-1), nil)
	if err != nil {
		return buf, false, remote.E("download", "", remote.Integrity, errors.New("the server's URL is none"))
	}
	if d.r.api.meter.Request != nil {
		d.r.api.meter.Request("download")
	}
	resp, err := d.r.api.http.Do(req)
	if err != nil {
		return buf, true, lineError(ctx, "download", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
		d.transfer.came()
	case 509:
		var left int64
		fmt.Sscan(resp.Header.Get("X-MEGA-Time-Left"), &left)
		return buf, false, d.transfer.over(left)
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return buf, true, remote.E("download", "", remote.Unreachable, fmt.Errorf("status %d", resp.StatusCode))
	default:
		return buf, false, remote.E("download", "", remote.Unreachable, fmt.Errorf("status %d", resp.StatusCode))
	}
	body := &paced{r: resp.Body, a: ctx, pace: d.r.api.pace.Down}
	for int64(len(buf)) < to-from {
		n, err := body.Read(buf[len(buf) : to-from])
		d.r.api.count2(0, int64(n))
		if buf = buf[:len(buf)+n]; n > 0 {
			came(buf)
		}
		if err != nil && int64(len(buf)) < to-from {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return buf, false, lineError(ctx, "download", err)
		}
	}
	return buf, false, nil
}
