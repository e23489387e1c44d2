package vault

import (
	"bytes"
	"testing"

	"megafs/crypto"
)

// TestP4_V42Slots: the keyring's slots are not to be meddled with.
func TestP4_V42Slots(t *testing.T) {
	both(t, func(t *testing.T, on kind) {
		w, _, _ := begun(t, on)
		object, _, err := ReadKeyring(ctx, w.store, w.state)
		if err != nil {
			t.Fatal(err)
		}
		for i := range object {
			b := bytes.Clone(object)
			b[i] ^= 1
			if _, err := crypto.OpenKeyring(b, w.ring.KRK()); err == nil {
				t.Fatal("taken with byte", i, "flipped")
			}
		}
	})
}
