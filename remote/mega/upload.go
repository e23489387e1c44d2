package mega

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// Limits of uploads.
const (
	postMost   = 4 << 20 // bytes of one request, about
	postsMost  = 4       // of one file at a time
	piecesMost = 8       // files of MaxContent bytes or more at a time, or as many bytes of smaller ones
	uploadTime = 10 * time.Minute
	tokenLife  = 12 * time.Hour // an upload that is not made a file in this time is done anew
	tokenSize  = 36
)

// uploaded is content that the server has, and that no node has yet.
type uploaded struct {
	object object
	key    megacrypt.FileKey
	token  string
	size   uint64
	sample [16]byte // for the fingerprint
	at     time.Time

	sending *sending // the upload, if it may go on

	from      string // the node that the server copies it from; its handle is the token then
	unsampled bool   // there is no sample
}

// uploads keeps content from its upload until a commit makes files of it.
type uploads struct {
	r      *Remote
	urls   *gatherer
	room   *semaphore.Weighted // bytes in memory: of requests
	pieces *semaphore.Weighted // and of what is read for them
	mu     sync.Mutex
	done   map[object]*uploaded
	denied map[string]bool // nodes of which the server gave no copy

	sending map[remote.Ino]*sending // that may go on, by whose content it is
	epoch   []byte                  // nil: no upload outlives the process
}

func newUploads(r *Remote) *uploads {
	u := &uploads{
		r: r, done: map[object]*uploaded{}, denied: map[string]bool{}, sending: map[remote.Ino]*sending{}, epoch: epoch(r.x.dir), urls: newGatherer(r.api),
		room: semaphore.NewWeighted(max(r.o.Memory/2, 4*postMost)), pieces: semaphore.NewWeighted(piecesMost * remote.MaxContent),
	}
	u.recall()
	return u
}

func (u *uploads) get(o object) *uploaded {
	u.mu.Lock()
	defer u.mu.Unlock()
	x := u.done[o]
	if x != nil && time.Since(x.at) > tokenLife {
		delete(u.done, o)
		return nil
	}
	return x
}

func (u *uploads) forget(o object) {
	u.mu.Lock()
	x := u.done[o]
	delete(u.done, o)
	u.mu.Unlock()
	if x != nil && x.sending != nil {
		x.sending.drop()
	}
}

// errAgain is that an upload must begin anew.
var errAgain = errors.New("the server wants the upload from the beginning")

// Store implements remote.Remote. There is nothing smaller than a file here.
func (r *Remote) Store(context.Context, []remote.Piece, func(remote.Ref, []byte)) ([]remote.Ref, error) {
	return nil, remote.E("store", "", remote.NotSupported, errors.New("content is stored file by file"))
}

// StoreFile implements remote.WholeFiles.
func (r *Remote) StoreFile(ctx context.Context, ino remote.Ino, size uint64, read func(ctx context.Context, off uint64, dst []byte) error, stored func(remote.Ref, []byte)) ([]remote.Ref, error) {
	if size == 0 || size > remote.MaxSize {
		return nil, remote.E("upload", "", remote.Invalid, nil)
	}
	x, err := r.up.file(ctx, ino, size, read, stored)
	if err != nil {
		return nil, err
	}
	r.up.keep(x)
	return objectRefs(x.object, size), nil
}

// keep keeps content until a commit makes a file of it.
func (u *uploads) keep(x *uploaded) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.done[x.object] = x
	for o, y := range u.done {
		if time.Since(y.at) > tokenLife {
			delete(u.done, o)
		}
	}
}

// objectRefs refers to all pieces of content.
func objectRefs(o object, size uint64) (refs []remote.Ref) {
	for op := range extents(0, o, size) {
		refs = append(refs, op.Extent.Ref)
	}
	return refs
}

// file uploads content, from the beginning again when the server says so, or when what was sent of it before was other content. Each time it has a new key: the same
// key never meets other content.
func (u *uploads) file(ctx context.Context, ino remote.Ino, size uint64, read func(context.Context, uint64, []byte) error, stored func(remote.Ref, []byte)) (x *uploaded, err error) {
	for try := 0; try < 3; try++ {
		s := u.take(ino, size)
		err = u.once(ctx, s, read, stored)
		if !errors.Is(err, errAgain) && !errors.Is(err, errOther) {
			s.leave()
			return s.x, err
		}
		s.drop()
	}
	return nil, remote.E("upload", "", remote.Unreachable, err)
}

// samples reads content for a fingerprint.
type samples struct {
	read func(ctx context.Context, off uint64, dst []byte) error
	ctx  context.Context
}

// ReadAt implements io.ReaderAt.
func (s samples) ReadAt(b []byte, off int64) (int, error) {
	if err := s.read(s.ctx, uint64(off), b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// once uploads content under one key, or what the server does not have of it.
func (u *uploads) once(ctx context.Context, s *sending, read func(context.Context, uint64, []byte) error, stored func(remote.Ref, []byte)) error {
	x := s.x
	n := int64(min(x.size, remote.MaxContent))
	if err := u.pieces.Acquire(ctx, n); err != nil {
		return remote.E("upload", "", remote.Canceled, err)
	}
	defer u.pieces.Release(n)
	if s.url == "" {
		url, err := u.url(ctx, x.size)
		if err == nil {
			err = s.begin(url)
		}
		if err != nil {
			return err
		}
	} else {
		u.r.o.Log.Info("an upload goes on where it was cut", "bytes", x.size, "there", s.already())
	}
	var err error
	size, c := int64(x.size), x.key.Cipher()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(postsMost)
	var mu sync.Mutex
	token := x.token
	post := func(off int64, plain []byte) func() error {
		return func() error {
			defer u.room.Release(int64(cap(plain)))
			if done, err := s.admit(c, off, plain); err != nil || done {
				return err
			}
			c.XOR(plain, plain, off)
			t, err := u.post(gctx, s.url, off, plain)
			if len(t) > 0 {
				mu.Lock()
				token = megacrypt.Encode(t)
				mu.Unlock()
			}
			if err == nil {
				s.stored(off, off+int64(len(plain)))
			}
			return err
		}
	}
	// Content is read in pieces, as the cache wants it, and sent in whole chunks of MEGA's.
	var rest []byte
	sent := int64(0)
	piece := make([]byte, n)
	for off := uint64(0); off < x.size; off += remote.MaxContent {
		p := piece[:min(x.size-off, remote.MaxContent)]
		if err = read(gctx, off, p); err != nil {
			break
		}
		if stored != nil {
			ref := pieceRef(x.object, off/remote.MaxContent, uint64(len(p)))
			stored(ref, u.r.seal.sealPiece(ref, p))
		}
		end := int64(off) + int64(len(p))
		border := end
		if end < size {
			border = megacrypt.ChunkStart(megacrypt.ChunkAt(end))
		}
		if border <= sent {
			rest = append(rest, p...)
			continue
		}
		if err = u.room.Acquire(gctx, border-sent); err != nil {
			break
		}
		out := make([]byte, 0, border-sent)
		out = append(out, rest...)
		out = append(out, p[:int64(len(p))-(end-border)]...)
		rest = append(rest[:0], p[int64(len(p))-(end-border):]...)
		g.Go(post(sent, out))
		sent = border
	}
	if gerr := g.Wait(); gerr != nil {
		err = gerr
	}
	if err != nil {
		return err
	}
	switch {
	case token == "":
		return errAgain
	case x.token != "": // all of it was there
		return nil
	}
	sample, err := megacrypt.Sample(samples{read, ctx}, size)
	if err != nil {
		return err
	}
	return s.end(token, sample)
}

// empty uploads content of no bytes.
func (u *uploads) empty(ctx context.Context) (*uploaded, error) {
	for range 3 {
		url, err := u.url(ctx, 0)
		if err != nil {
			return nil, err
		}
		t, err := u.post(ctx, url, 0, nil)
		if err != nil && !errors.Is(err, errAgain) {
			return nil, err
		}
		if err == nil && len(t) == tokenSize {
			return &uploaded{key: megacrypt.NewFileKey(), token: megacrypt.Encode(t), at: time.Now()}, nil
		}
	}
	return nil, remote.E("upload", "", remote.Unreachable, errAgain)
}

// url asks where content of a size can be uploaded.
func (u *uploads) url(ctx context.Context, size uint64) (string, error) {
	raw, err := u.urls.call(ctx, command{"a": "u", "s": size, "v": 2, "ssl": 2})
	if err != nil {
		return "", err
	}
	var p struct{ P string }
	if err := json.Unmarshal(raw, &p); err != nil {
		return "", remote.E("upload", "", remote.Integrity, errors.New("the answer has another form"))
	}
	return u.r.api.allowed(p.P)
}

// post sends a part, and returns the token when the server has all parts.
func (u *uploads) post(ctx context.Context, url string, off int64, body []byte) ([]byte, error) {
	allowed := allow(ctx, uploadTime)
	defer allowed.end()
	target := fmt.Sprintf("%s/%d?c=%s", url, off, megacrypt.Checksum(body))
	delay, failing := retryFirst, time.Time{}
	for {
		token, err := u.try(allowed, target, body)
		if failing.IsZero() {
			failing = time.Now() // what a try takes is the line's or the pace's, and no reason to give up
		}
		if err == nil || errors.Is(err, errAgain) || remote.KindOf(err) != remote.Unreachable || time.Since(failing) > u.r.api.retry {
			return token, err
		}
		select {
		case <-allowed.Done():
			return nil, remote.E("upload", "", remote.Timeout, err)
		case <-time.After(delay):
		}
		delay = min(2*delay, retryMost)
	}
}

func (u *uploads) try(ctx *allowance, target string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, remote.E("upload", "", remote.Integrity, errors.New("the server's URL is none"))
	}
	if u.r.api.pace.Up != nil && len(body) > 0 {
		slow := func() (io.ReadCloser, error) {
			return io.NopCloser(&paced{r: bytes.NewReader(body), a: ctx, before: true, pace: u.r.api.pace.Up}), nil
		}
		req.Body, _ = slow()
		req.GetBody = slow // for a connection that was closed before anything went
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if u.r.api.meter.Request != nil {
		u.r.api.meter.Request("upload")
	}
	resp, err := u.r.api.http.Do(req)
	if err != nil {
		return nil, lineError(ctx, "upload", err)
	}
	defer resp.Body.Close()
	u.r.api.count2(int64(len(body)), 0)
	b, err := readAll(resp.Body, 64<<10)
	if err != nil {
		return nil, lineError(ctx, "upload", err)
	}
	switch {
	case resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusGone:
		return nil, errAgain
	case resp.StatusCode == 509:
		return nil, errUploadQuota
	case resp.StatusCode != http.StatusOK:
		io.Copy(io.Discard, resp.Body)
		return nil, remote.E("upload", "", remote.Unreachable, fmt.Errorf("status %d", resp.StatusCode))
	case len(b) == 0 || string(b) == "0":
		return nil, nil
	case len(b) == tokenSize:
		return b, nil
	}
	n, err := strconv.Atoi(string(b))
	if err != nil || n >= 0 {
		return nil, remote.E("upload", "", remote.Integrity, errors.New("the server's answer is none"))
	}
	switch Code(n) {
	case codeAgain, codeKey, codeTooMany:
		return nil, remote.E("upload", "", remote.Unreachable, &CodeError{Code(n)})
	case codeRate, codeFailed, codeExpired, codeNoEntry, codeRange:
		return nil, errAgain
	}
	return nil, fail("upload", Code(n))
}
