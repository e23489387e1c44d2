package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"megafs/remote"
)

// TestEveryKindHasAnErrno fails when package remote gets a kind that the table does not have.
func TestEveryKindHasAnErrno(t *testing.T) {
	n := 0
	for ; !strings.HasPrefix(remote.Kind(n).String(), "kind "); n++ {
		if n >= len(errnos) || errnos[n] == 0 {
			t.Errorf("%q has no errno", remote.Kind(n))
		}
	}
	if n != len(errnos) {
		t.Errorf("%d kinds, %d errnos", n, len(errnos))
	}
}

func testConn(v Volume) *conn { return newConn(v, 0, 0, slog.New(slog.DiscardHandler)) }

func TestStatus(t *testing.T) {
	c := testConn(nil)
	for _, x := range []struct {
		err    error
		status syscall.Errno
		change syscall.Errno
	}{
		{nil, 0, 0},
		{remote.E("read", "inode 7", remote.Integrity, nil), syscall.EIO, syscall.EIO},
		{fmt.Errorf("read: %w", remote.E("read", "", remote.Quota, nil)), syscall.EDQUOT, syscall.EDQUOT},
		{remote.E("read", "", remote.Other, remote.E("get", "", remote.Timeout, nil)), syscall.ETIMEDOUT, syscall.ETIMEDOUT},
		{context.DeadlineExceeded, syscall.ETIMEDOUT, syscall.ETIMEDOUT},
		{remote.E("read", "", remote.Other, context.Canceled), syscall.EINTR, syscall.EIO},
		{remote.E("read", "", remote.Canceled, nil), syscall.EINTR, syscall.EIO},
		{remote.E("read", "", remote.Kind(250), nil), syscall.EIO, syscall.EIO},
		{errors.New("what"), syscall.EIO, syscall.EIO},
		{syscall.ENOENT, syscall.EIO, syscall.EIO}, // an errno of our own disk is nothing that the program asked about
	} {
		if got := c.status(x.err); got != fuse.Status(x.status) {
			t.Errorf("status of %v: %v, want %v", x.err, got, x.status)
		}
		if got := c.change(x.err); got != fuse.Status(x.change) {
			t.Errorf("status of %v after a change: %v, want %v", x.err, got, x.change)
		}
	}
	if n := c.failed[remote.Quota].Load(); n != 2 {
		t.Errorf("counted %d failures, want 2", n)
	}
}

// TestPanicTellsNoArguments: what a request was about may be a name or content.
func TestPanicTellsNoArguments(t *testing.T) {
	var log strings.Builder
	c := newConn(nil, 0, 0, slog.New(slog.NewTextHandler(&log, nil)))
	for _, v := range []any{"secret.txt", errors.New("secret.txt"), fmt.Errorf("secret.txt: %w", context.Canceled)} {
		func() {
			defer func() {
				if s := c.panicked(recover()); s != fuse.EIO {
					t.Errorf("status %v", s)
				}
			}()
			panic(v)
		}()
	}
	func() {
		defer func() { c.panicked(recover()) }()
		_ = []int{}[len(log.String())]
	}()
	if s := log.String(); strings.Contains(s, "secret") || strings.Contains(s, "0x") {
		t.Errorf("the log tells what the request was about:\n%s", s)
	} else if !strings.Contains(s, "TestPanicTellsNoArguments") || !strings.Contains(s, "index out of range") {
		t.Errorf("the log does not tell what went wrong:\n%s", s)
	}
	if n := c.panics.Load(); n != 4 {
		t.Errorf("%d panics counted", n)
	}
}
