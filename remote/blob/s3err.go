package blob

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"megafs/remote"
)

// later is an error after which the store asked to be left alone for a while.
type later struct {
	error
	after time.Duration
}

func (l later) Unwrap() error { return l.error }

// errStalled is the cause of a request that was given up because too little came or went.
var errStalled = errors.New("the server takes or gives next to nothing")

// fail gives an error of a request its kind.
func (c *s3call) fail(err error) error {
	if cerr := c.outer.Err(); cerr != nil {
		return checkCtx(c.outer, c.op, c.name)
	}
	kind, err := c.classify(err)
	if c.after > 0 {
		err = later{err, c.after}
	}
	return remote.E(c.op, c.name, kind, err)
}

func (c *s3call) classify(err error) (remote.Kind, error) {
	var stopped *remote.Error
	if errors.As(err, &stopped) {
		return remote.Other, err
	}
	if errors.Is(context.Cause(c.ctx), errStalled) {
		return remote.Timeout, errStalled
	}
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		var n net.Error
		if errors.As(err, &n) && n.Timeout() {
			return remote.Timeout, err
		}
		return remote.Unreachable, advise(err) // the connection broke, or there was none
	}
	if c.stranger {
		return remote.Unreachable, errors.New("what answers is no S3 server; look at the host in the URL, and at what is between here and there")
	}
	text := fmt.Errorf("the server says %d %s", r.StatusCode, printable(r.Code))
	switch r.Code {
	case "NoSuchBucket":
		return remote.Unreachable, errors.New("there is no such bucket; look at the URL, or make the bucket")
	case "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "ServiceQuotaExceededException":
		return remote.Quota, text
	case "XMinioStorageFull", "InsufficientStorage":
		return remote.NoSpace, text
	case "RequestTimeTooSkewed":
		return remote.Permission, errors.New("this machine's clock and the server's differ too much; set it right")
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AccessDenied":
		return remote.Permission, fmt.Errorf("%w; look at the credentials (environment, ~/.aws/credentials) and their rights", text)
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "InvalidRegion", "IllegalLocationConstraintException":
		if r.Region != "" {
			return remote.NotSupported, fmt.Errorf("the bucket is in region %s; say ?region=%[1]s in the URL", printable(r.Region))
		}
		return remote.NotSupported, fmt.Errorf("%w; say the bucket's region with ?region= in the URL", text)
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody", "RequestTimeout", "SlowDown", "InternalError":
		return remote.Unreachable, text // damaged or lost on the way: another try may do
	}
	switch {
	case r.StatusCode == http.StatusNotFound:
		return remote.NotExist, nil
	case r.StatusCode == http.StatusPreconditionFailed:
		return remote.Exist, nil
	case r.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return remote.Integrity, errors.New("object too short")
	case r.StatusCode == http.StatusInsufficientStorage:
		return remote.NoSpace, text
	case r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusUnauthorized:
		return remote.Permission, text
	case r.StatusCode == http.StatusTooManyRequests, r.StatusCode == http.StatusRequestTimeout, r.StatusCode == http.StatusConflict:
		return remote.Unreachable, text
	case r.StatusCode == http.StatusNotImplemented:
		return remote.NotSupported, text
	case r.StatusCode >= 500 || r.StatusCode == 0:
		return remote.Unreachable, text
	case r.StatusCode/100 == 3:
		return remote.NotSupported, fmt.Errorf("%w; redirects are not followed: look at the host and the region in the URL", text)
	}
	return remote.Other, text
}

// advise adds to a connection's error what can be done about it.
func advise(err error) error {
	var cert *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &cert):
		return fmt.Errorf("%w; if the server has a certificate authority of its own, name its file with ?ca=FILE in the URL", err)
	case errors.Is(err, errNotLoopback):
		return err
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%w; look at the network, and at the host in the URL", err)
	}
	return err
}

// printable keeps what a server says from being more than a word.
func printable(s string) string {
	b := []byte(s[:min(len(s), 64)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}

// broke is the error of a body that ended before its time: the connection's fault, and worth another try.
func broke(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the server's answer breaks off")
	}
	return err
}
