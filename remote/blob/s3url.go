package blob

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"megafs/remote"
)

// S3Place says where in which bucket a store's objects lie, and how the server is spoken to.
type S3Place struct {
	Host      string // with a port, if it is given
	Bucket    string
	Prefix    string // without slashes at its ends; may be empty
	Region    string // empty: from the host's name, the environment, or us-east-1
	PathStyle *bool  // nil: host names for buckets at Amazon, paths elsewhere
	CA        string // a file of certificates that are trusted beside the system's
}

// ParseS3 reads s3://host[:port]/bucket[/prefix][?region=R&path-style=true&ca=FILE].
func ParseS3(s string) (p S3Place, err error) {
	bad := func(format string, a ...any) (S3Place, error) {
		return S3Place{}, remote.E("read the store's URL", "", remote.Invalid, fmt.Errorf(format+"; it is s3://host[:port]/bucket/prefix", a...))
	}
	u, err := url.Parse(s)
	if err != nil {
		return bad("it is no URL") // which may have a secret in it that does not belong there
	}
	switch {
	case u.Scheme != "s3" || u.Opaque != "":
		return bad("it does not begin with s3://")
	case u.User != nil:
		return bad("credentials do not belong in a URL: put them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws/credentials")
	case u.Hostname() == "" || u.Fragment != "":
		return bad("a host is missing")
	}
	p.Host = strings.ToLower(u.Host)
	p.Bucket, p.Prefix, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
	if p.Bucket == "" {
		return bad("a bucket is missing")
	}
	for _, seg := range strings.Split(p.Bucket+"/"+p.Prefix, "/") {
		if seg == "." || seg == ".." || seg == "" && p.Prefix != "" || strings.Trim(seg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
			return bad("bucket and prefix are made of letters, digits, - _ . and single slashes")
		}
	}
	if len(p.Prefix) > 512 {
		return bad("the prefix is too long")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("its options can't be read")
	}
	for k, v := range q {
		switch {
		case len(v) != 1:
			return bad("the option %q is given twice", k)
		case k == "region":
			p.Region = v[0]
		case k == "path-style":
			b, err := strconv.ParseBool(v[0])
			if err != nil {
				return bad("path-style is true or false")
			}
			p.PathStyle = &b
		case k == "ca":
			if !filepath.IsAbs(v[0]) {
				return bad("ca is the absolute path of a file")
			}
			p.CA = v[0]
		default:
			return bad("it has an unknown option %q (there are region, path-style, ca)", k)
		}
	}
	return p, nil
}

// String is the URL again, in one form however it was written.
func (p S3Place) String() string {
	u := url.URL{Scheme: "s3", Host: p.Host, Path: "/" + p.Bucket}
	if p.Prefix != "" {
		u.Path += "/" + p.Prefix
	}
	q := url.Values{}
	if p.Region != "" {
		q.Set("region", p.Region)
	}
	if p.PathStyle != nil {
		q.Set("path-style", strconv.FormatBool(*p.PathStyle))
	}
	if p.CA != "" {
		q.Set("ca", p.CA)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// plain reports whether the server is spoken to without TLS: only on this machine, and not when certificates are given.
func (p S3Place) plain() bool {
	host := (&url.URL{Host: p.Host}).Hostname()
	ip := net.ParseIP(host)
	return p.CA == "" && (host == "localhost" || ip != nil && ip.IsLoopback())
}

func (p S3Place) key(name string) string {
	if p.Prefix == "" {
		return name
	}
	return p.Prefix + "/" + name
}

var errNotLoopback = errors.New("plain http is for servers on this machine only")
