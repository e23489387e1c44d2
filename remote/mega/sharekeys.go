package mega

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"slices"

	"megafs/crypto/megacrypt"
	"megafs/remote"
)

// learn takes note of a share, and of its key if that is not known yet. It reports whether there is room for it.
func (r *Remote) learn(handle, sealed string) bool {
	k, known := r.shares[handle]
	switch {
	case k != (megacrypt.Key{}):
		return true
	case !known && len(r.shares) >= maxShares:
		return false
	}
	if k = r.shareKey(handle, sealed); k != (megacrypt.Key{}) {
		r.keys[handle] = k.Unwrapper()
		if known && !r.reread {
			n, err := r.x.node(handle)
			r.reread = n != nil || err != nil
		}
	}
	r.shares[handle] = k
	return true
}

// shareKey returns the key of a share, the zero key if there is none to be had.
func (r *Remote) shareKey(handle, sealed string) (k megacrypt.Key) {
	switch {
	case r.set != nil:
		return r.set[handle].Key
	case sealed == "":
	case len(sealed) <= 22:
		k, _ = r.o.Session.Master.UnwrapKey(sealed)
	case r.rsa != nil && r.opened < 2*maxShares:
		r.opened++
		k, _ = r.rsa.OpenKey(sealed)
	}
	return k
}

// openPrivate asks for the account's RSA key, if keys of shares may be sealed for it. One that is not the account's is not used.
func (r *Remote) openPrivate(ctx context.Context) error {
	pin := r.o.Session.Pins.Modulus
	if !r.o.Shared || r.set != nil || r.rsa != nil || pin == "" {
		return nil
	}
	raw, err := r.api.call(ctx, command{"a": "ug"})
	if slices.Contains([]remote.Kind{remote.Unreachable, remote.Timeout, remote.Canceled, remote.Locked}, remote.KindOf(err)) {
		return err
	}
	var u struct {
		PrivK string `json:"privk"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &u)
	}
	var k *megacrypt.PrivateKey
	if err == nil {
		k, err = megacrypt.OpenPrivateKey(r.o.Session.Master, u.PrivK)
	}
	if err == nil {
		sum := sha256.Sum256(k.Modulus())
		if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(pin)) == 1 {
			r.rsa = k
			return nil
		}
	}
	r.o.Log.Warn("the account's RSA key at the server can't be used; what others share may not be readable")
	return nil
}
