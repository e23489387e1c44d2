package vault

import (
	"bytes"
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"megafs/crypto"
	"megafs/remote"
)

// trust is what this machine remembers of the vault, so that the store can't show it less. It lies in two files of the state
// folder, written by turns, each with a counter and a MAC: a torn one leaves the other.
type trust struct {
	Counter     uint64          `json:"counter"`
	Vault       crypto.VaultID  `json:"vault"`
	Fingerprint [32]byte        `json:"fingerprint"`
	Keyring     link            `json:"keyring"`
	Head        link            `json:"head"`                // the newest entry that was verified
	HeadTime    int64           `json:"head_time,omitempty"` // when its maker says that it was made
	Snap        link            `json:"snap"`                // the newest snapshot announced up to Head
	Device      remote.DeviceID `json:"device"`
	Number      uint32          `json:"number"` // this device's; 0: none yet
	Own         link            `json:"own"`    // this device's newest entry: its number among them, its hash
	Pending     *pending        `json:"pending,omitempty"`
	Probed      bool            `json:"probed,omitempty"`    // the store was seen to keep its contract
	Violation   string          `json:"violation,omitempty"` // why the vault is read-only
	Accepted    []string        `json:"accepted,omitempty"`  // violations somebody accepted
}

// pending is what was sent since the last commit that is known to have taken place, one try after the other. One of them may have taken place.
type pending struct {
	Sent []string `json:"sent"` // the hashes of their entries, in hex
	Last uint64   `json:"last"` // the largest number of one
}

// add notes entries that are about to be sent. The oldest are forgotten when there are too many; a try is only made while those before it are
// known not to have taken place so far.
func (p *pending) add(entries []*entry) *pending {
	q := &pending{Last: entries[len(entries)-1].seq}
	if p != nil {
		q.Sent, q.Last = slices.Clone(p.Sent), max(q.Last, p.Last)
	}
	for _, e := range entries {
		q.Sent = append(q.Sent, hex.EncodeToString(e.hash[:]))
	}
	q.Sent = q.Sent[max(0, len(q.Sent)-max(maxPending, len(entries))):]
	return q
}

const maxPending = 1024

const trustMagic = "MGT1"

func trustPath(dir string, i uint64) string { return filepath.Join(dir, fmt.Sprintf("trust-%d", i%2)) }

// readTrust returns what is remembered, or nil when nothing is. Files that are there but do not verify are no reason to
// begin anew: then the machine must be told to trust again.
func readTrust(dir string, k *crypto.Keys) (*trust, error) {
	var best *trust
	damaged := false
	for i := range uint64(2) {
		b, err := os.ReadFile(trustPath(dir, i))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, remote.E("read the trust file", trustPath(dir, i), remote.IO, err)
		}
		t := decodeTrust(b, k)
		if t == nil {
			damaged = true
		} else if best == nil || t.Counter > best.Counter {
			best = t
		}
	}
	if best == nil && damaged {
		return nil, remote.E("read the trust file", dir, remote.Permission, ErrNotTrusted)
	}
	return best, nil
}

func decodeTrust(b []byte, k *crypto.Keys) *trust {
	if len(b) < len(trustMagic)+8+32 || string(b[:4]) != trustMagic {
		return nil
	}
	n := binary.BigEndian.Uint64(b[4:])
	if n > 1<<20 || uint64(len(b)) != 12+n+32 {
		return nil
	}
	mac := k.TrustMAC(b[:12+n])
	if !hmac.Equal(mac[:], b[12+n:]) {
		return nil
	}
	var t trust
	d := json.NewDecoder(bytes.NewReader(b[12 : 12+n]))
	d.DisallowUnknownFields()
	if d.Decode(&t) != nil {
		return nil
	}
	return &t
}

// save makes t what is remembered, durably. When it fails, the file that is as it was stays the other one: the next try is not made over it.
func (t *trust) save(dir string, k *crypto.Keys) (err error) {
	t.Counter++
	defer func() {
		if err != nil {
			t.Counter--
		}
	}()
	body, err := json.Marshal(t)
	if err != nil {
		return err
	}
	b := append([]byte(trustMagic), u64(uint64(len(body)))...)
	b = append(b, body...)
	mac := k.TrustMAC(b)
	return writeSynced(trustPath(dir, t.Counter), append(b, mac[:]...))
}

// writeSynced writes a private file and makes it durable.
func writeSynced(path string, b []byte) error {
	_, err := os.Lstat(path)
	isNew := err != nil
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		if _, err = f.Write(b); err == nil {
			err = f.Sync()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err == nil && isNew {
		return syncDir(filepath.Dir(path))
	}
	if err != nil {
		return remote.E("write", path, remote.IO, err)
	}
	return nil
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err == nil {
		err = d.Sync()
		d.Close()
	}
	if err != nil {
		return remote.E("write", dir, remote.IO, err)
	}
	return nil
}
