package mega

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// PublicLink makes the public link of a file, or returns the one there is; or takes it back.
//
// Links to folders are not made here: their keys are kept, for accounts that the official clients have used, in a place that only those may write.
func (r *Remote) PublicLink(ctx context.Context, ino remote.Ino, remove bool) (string, error) {
	if r.linked() {
		return "", remote.E("make a link", "", remote.ReadOnly, errors.New("this is somebody else's public link"))
	}
	h, err := r.x.handleOf(ino)
	if err != nil {
		return "", err
	}
	n, err := r.x.node(h)
	if err != nil {
		return "", err
	}
	switch {
	case n == nil && ino != remote.Root:
		return "", remote.E("make a link", fmt.Sprintf("inode %d", ino), remote.Busy, errors.New("it is not sent yet; try again after megafs sync"))
	case n != nil && n.shared:
		return "", remote.E("make a link", fmt.Sprintf("inode %d", ino), remote.Permission, errShared)
	case n == nil || n.folder:
		return "", remote.E("make a link", fmt.Sprintf("inode %d", ino), remote.NotSupported, errors.New("links are made of files only; make one of a folder with a client of MEGA's"))
	case !n.readable():
		return "", remote.E("make a link", fmt.Sprintf("inode %d", ino), remote.Integrity, errors.New("there is no key to it"))
	}
	if remove {
		_, err := r.api.call(ctx, command{"a": "l", "n": h, "d": 1, "i": r.linkTag()})
		return "", err
	}
	raw, err := r.api.call(ctx, command{"a": "l", "n": h, "i": r.linkTag()})
	if err != nil {
		return "", err
	}
	var ph string
	if json.Unmarshal(raw, &ph) != nil || !megacrypt.ValidHandle(ph) {
		return "", remote.E("make a link", "", remote.Integrity, errors.New("the answer has another form"))
	}
	link := megacrypt.Link{Handle: ph, Key: n.key}.String()
	if base := r.api.base.String(); base != DefaultURL {
		link = base + strings.TrimPrefix(link, "https://mega.nz")
	}
	return link, nil
}

// Quota says how full an account is.
func Quota(ctx context.Context, s *Session) (remote.Usage, error) {
	a, err := newAPI(s.URL, nil)
	if err != nil {
		return remote.Usage{}, err
	}
	a.sid = s.SID
	return a.usage(ctx)
}
