package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"megafs/remote"
)

// S3Options are the options of S3.
type S3Options struct {
	Rates *Rates // nil: no bounds
}

type s3Store struct {
	place  S3Place
	core   *minio.Core
	limits *Rates
	idle   func()
	closed atomic.Bool
}

const (
	conflictTries = 10         // a conditional Put that met another under way is sent again
	maxS3Keys     = 50_000_000 // a listing goes through
)

// S3 returns a store in a bucket, which must be there. It asks the server nothing yet. Credentials are those of the environment, of
// ~/.aws/credentials (AWS_PROFILE), and at Amazon those that the machine or container was given.
func S3(place S3Place, opts S3Options) (Store, error) {
	const op = "open the bucket"
	rt, err := place.transport()
	if err != nil {
		return nil, err
	}
	creds, err := place.credentials()
	if err != nil {
		return nil, err
	}
	o := &minio.Options{
		Creds: creds, Secure: !place.plain(), Transport: rt, Region: place.region(), BucketLookup: minio.BucketLookupAuto,
		MaxRetries: 1, // Retry does that, and knows what to do about a Put whose answer was lost
	}
	if place.PathStyle != nil {
		o.BucketLookup = minio.BucketLookupDNS
		if *place.PathStyle {
			o.BucketLookup = minio.BucketLookupPath
		}
	}
	core, err := minio.NewCore(place.Host, o)
	if err != nil {
		return nil, remote.E(op, place.Host, remote.Invalid, err)
	}
	core.SetAppInfo("megafs", "1")
	if opts.Rates == nil {
		opts.Rates = &Rates{}
	}
	return &s3Store{place: place, core: core, limits: opts.Rates, idle: rt.(polite).CloseIdleConnections}, nil
}

func (p S3Place) amazon() bool {
	return strings.HasSuffix(strings.TrimSuffix(p.hostname(), ".cn"), ".amazonaws.com")
}

func (p S3Place) hostname() string { h, _, _ := strings.Cut(p.Host, ":"); return h }

// region is never empty but at Amazon's general host, where the bucket is asked for its own.
func (p S3Place) region() string {
	for _, r := range []string{p.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")} {
		if r != "" {
			return r
		}
	}
	if p.amazon() {
		return ""
	}
	return "us-east-1"
}

// credentials finds the first that there are. A machine's own are Amazon's to look at, and not for other servers; they are asked for
// with the first request, since without a network there are none.
func (p S3Place) credentials() (*credentials.Credentials, error) {
	given := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{Profile: os.Getenv("AWS_PROFILE")}}
	client := &http.Client{Timeout: dialTimeout}
	v, err := credentials.NewChainCredentials(given).GetWithContext(&credentials.CredContext{Client: client})
	switch {
	case err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "":
		return credentials.NewChainCredentials(given), nil
	case p.amazon():
		return credentials.New(&credentials.IAM{Client: client}), nil // alone: a chain would go on without any
	}
	return nil, remote.E("find the bucket's credentials", "", remote.Locked,
		errors.New("none were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them to ~/.aws/credentials and choose with AWS_PROFILE"))
}

// begin refuses calls that make no sense and returns the call.
func (s *s3Store) begin(ctx context.Context, op, name string) (*s3call, error) {
	if err := check(ctx, op, name); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, remote.E(op, name, remote.Stale, errors.New("the store is closed"))
	}
	return s.call(ctx, op, name), nil
}

// Put implements Store. The server is told what the bytes' checksum is, and refuses others.
func (s *s3Store) Put(ctx context.Context, name string, data []byte) error {
	sum := sha256.Sum256(data)
	crc := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	for try := 0; ; try++ {
		c, err := s.begin(ctx, "put", name)
		if err != nil {
			return err
		}
		body := &upload{c: c, data: data}
		// Not the library's chunks, each signed: the sum above is signed, and the body is just the bytes.
		o := minio.PutObjectOptions{DisableMultipart: true, DisableContentSha256: true, UserMetadata: map[string]string{"x-amz-checksum-crc32c": base64.StdEncoding.EncodeToString(crc)}}
		o.SetMatchETagExcept("*")
		_, err = s.core.PutObject(c.ctx, s.place.Bucket, s.place.key(name), body, int64(len(data)), "", hex.EncodeToString(sum[:]), o)
		body.stop()
		var r minio.ErrorResponse
		conflict := errors.As(err, &r) && r.StatusCode == http.StatusConflict
		if err != nil {
			err = c.fail(err)
		}
		c.end()
		if !conflict || try == conflictTries {
			return err
		}
		// Another Put of the name is under way; which of the two won shows a moment later.
		sleep(ctx, time.Duration((rand.Float64()+0.5)*float64(10*time.Millisecond<<min(try, 5))))
	}
}

// open begins to read an object.
func (s *s3Store) open(c *s3call, off, n int64) (io.ReadCloser, http.Header, error) {
	o := minio.GetObjectOptions{}
	if n > 0 {
		o.SetRange(off, off+n-1)
	}
	body, _, h, err := s.core.GetObject(c.ctx, s.place.Bucket, s.place.key(c.name), o)
	if err != nil {
		return nil, nil, c.fail(err)
	}
	return body, h, nil
}

// Get implements Store.
func (s *s3Store) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	c, err := s.begin(ctx, "get", name)
	if err != nil {
		return nil, err
	}
	defer c.end()
	body, h, err := s.open(c, 0, 0)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var size int64
	if _, err := fmt.Sscan(h.Get("Content-Length"), &size); err == nil && size > limit {
		return nil, tooLarge(name)
	}
	b := bytes.NewBuffer(make([]byte, 0, min(max(size, 0), 64<<10)+bytes.MinRead)) // grows as bytes come
	if _, err := b.ReadFrom(io.LimitReader(&download{c, body}, limit+1)); err != nil {
		return nil, c.fail(broke(err))
	}
	if int64(b.Len()) > limit {
		return nil, tooLarge(name)
	}
	return b.Bytes(), nil
}

// GetRange implements Store.
func (s *s3Store) GetRange(ctx context.Context, name string, off int64, dst []byte) error {
	n := int64(len(dst))
	if off < 0 || n == 0 || off+n < off {
		size, err := s.Size(ctx, name)
		if err != nil {
			return err
		}
		return checkRange(name, off, len(dst), size)
	}
	c, err := s.begin(ctx, "get range", name)
	if err != nil {
		return err
	}
	defer c.end()
	body, h, err := s.open(c, off, n)
	if err != nil {
		return err
	}
	defer body.Close()
	// A server that knows no ranges sends all.
	var first, last, size int64
	if _, err := fmt.Sscanf(h.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); err != nil || first != off {
		return remote.E("get range", name, remote.Other, fmt.Errorf("%w: it sends another range than was asked for", ErrStoreContract))
	}
	if last != off+n-1 {
		return tooShort("get range", name)
	}
	if _, err := io.ReadFull(&download{c, body}, dst); err != nil {
		return c.fail(broke(err))
	}
	// What is left is nothing, and read so that the connection serves again.
	io.CopyN(io.Discard, body, 1)
	return nil
}

// Size implements Store.
func (s *s3Store) Size(ctx context.Context, name string) (int64, error) {
	c, err := s.begin(ctx, "size", name)
	if err != nil {
		return 0, err
	}
	defer c.end()
	i, err := s.core.StatObject(c.ctx, s.place.Bucket, s.place.key(name), minio.StatObjectOptions{})
	if err != nil {
		if err = c.fail(err); remote.Is(err, remote.NotExist) {
			// The answer has no body that says what it is that is missing.
			if there, berr := s.core.BucketExists(c.ctx, s.place.Bucket); berr == nil && !there {
				err = c.fail(minio.ErrorResponse{Code: "NoSuchBucket"})
			}
		}
		return 0, err
	}
	return i.Size, nil
}

// List implements Store. The server's order is believed no more than its bytes: out of order is out of contract.
func (s *s3Store) List(ctx context.Context, prefix, after string, fn func(Info) error) error {
	if err := checkPrefix(ctx, prefix); err != nil {
		return err
	}
	if s.closed.Load() {
		return remote.E("list", prefix, remote.Stale, errors.New("the store is closed"))
	}
	c := s.call(ctx, "list", prefix)
	defer c.end()
	o := minio.ListObjectsOptions{Prefix: s.place.key(prefix), Recursive: true}
	if after > prefix {
		o.StartAfter = s.place.key(after)
	}
	keys, last := 0, after
	for i := range s.core.Client.ListObjectsIter(c.ctx, s.place.Bucket, o) {
		if i.Err != nil {
			return c.fail(i.Err)
		}
		c.moved.Add(stallBytes)
		if keys++; keys > maxS3Keys {
			return remote.E("list", prefix, remote.TooLarge, errors.New("more objects than make sense"))
		}
		name, ok := strings.CutPrefix(i.Key, s.place.key(""))
		if !ok || !ValidName(name) || !strings.HasPrefix(name, prefix) || name <= after {
			continue
		}
		if name <= last {
			return remote.E("list", prefix, remote.Other, fmt.Errorf("%w: it lists names out of order", ErrStoreContract))
		}
		last = name
		if err := checkCtx(ctx, "list", prefix); err != nil {
			return err
		}
		if err := c.pause(func() error { return fn(Info{name, i.Size}) }); err != nil { // which may take its time
			return err
		}
	}
	return nil
}

// Delete implements Store.
func (s *s3Store) Delete(ctx context.Context, name string) error {
	c, err := s.begin(ctx, "delete", name)
	if err != nil {
		return err
	}
	defer c.end()
	if err := s.core.RemoveObject(c.ctx, s.place.Bucket, s.place.key(name), minio.RemoveObjectOptions{}); err != nil {
		if err = c.fail(err); !remote.Is(err, remote.NotExist) {
			return err
		}
	}
	return nil
}

// Usage implements Store. A bucket has no end that it would tell of.
func (s *s3Store) Usage(ctx context.Context) (u remote.Usage, err error) {
	return u, checkCtx(ctx, "usage", "")
}

// Close implements Store.
func (s *s3Store) Close() error {
	s.closed.Store(true)
	s.idle()
	return nil
}
