package mega

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// The official clients keep an account's own keys in an attribute of the user, sealed under the master key. It is never written here, and nothing of it is used
// but the keys of what others share with the account; but it counts its generations, so that a server that goes back to an old state of an account is seen by it.

const keySetAttr = "^!keys"

// admit looks once, before anything else is asked of the server, whether the account's key set is not older than the one that was seen last.
func (r *Remote) admit(ctx context.Context) error {
	if r.linked() || r.admitted {
		return nil
	}
	seen := r.o.Session.Pins.Generation
	set, err := r.keySet(ctx)
	if err != nil {
		return err
	}
	now := uint32(0)
	if set != nil {
		now = set.Generation
	}
	if now < seen {
		return remote.E("open the account", "", remote.Integrity, fmt.Errorf("the server shows an older state of the account's own keys than this machine saw (%d after %d), "+
			"so it went back to an old state, or is not honest; nothing is sent to it. If you know why, run megafs logout --forget and log in again", now, seen))
	}
	r.admitted = true
	if r.set = nil; set != nil {
		r.set = set.Shares
	}
	if now == seen {
		return nil
	}
	s := *r.o.Session
	s.Pins.Generation = now
	r.o.Session = &s
	if r.o.StateDir != "" {
		return s.Save(r.o.StateDir)
	}
	return nil
}

// keySet asks for the account's key set: nil if there is none, or none that can be opened.
func (r *Remote) keySet(ctx context.Context) (*megacrypt.KeySet, error) {
	raw, err := r.api.call(ctx, command{"a": "uga", "u": r.o.Session.User, "ua": keySetAttr, "v": 1})
	var code *CodeError
	if k := remote.KindOf(err); errors.As(err, &code) && (k == remote.NotExist || k == remote.Other) {
		return nil, nil // no official client has used the account, or the server knows no such thing
	}
	if err != nil {
		return nil, err
	}
	var a struct {
		AV string `json:"av"`
	}
	set := (*megacrypt.KeySet)(nil)
	if err = json.Unmarshal(raw, &a); err == nil {
		set, err = megacrypt.OpenKeySet(r.o.Session.Master, a.AV)
	}
	if err != nil || megacrypt.Encode(set.User[:]) != r.o.Session.User {
		r.o.Log.Warn("the account's own keys at the server can't be read; they are not used")
		return nil, nil
	}
	return set, nil
}
