package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"megafs/crypto"
	"megafs/remote"
)

// Token names a place in a vault's log, for another machine to hold its own against, or to begin with. It is no secret, but it must come from where
// it is said to come from: by a way that the store has no hand in.
type Token struct {
	Vault   crypto.VaultID
	Seq     uint64
	Hash    [16]byte // the first bytes of the entry's
	Keyring uint64   // the generation in force
}

const (
	tokenMark = "mgh1-"
	tokenLen  = 32 + 8 + 16 + 8
	tokenSum  = 6
)

var tokenCode = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// String returns what ParseToken reads: letters and digits, with a checksum.
func (t Token) String() string {
	b := append([]byte(nil), t.Vault[:]...)
	b = binary.BigEndian.AppendUint64(b, t.Seq)
	b = append(b, t.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, t.Keyring)
	sum := sha256.Sum256(append([]byte(tokenMark), b...))
	return tokenMark + tokenCode.EncodeToString(append(b, sum[:tokenSum]...))
}

// ParseToken reads a token.
func ParseToken(s string) (t Token, err error) {
	wrong := remote.E("read the token", "", remote.Invalid, errors.New("this is no token, or a letter is wrong; megafs vault head prints one"))
	rest, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(s)), tokenMark)
	b, err := tokenCode.DecodeString(rest)
	if !ok || err != nil || len(b) != tokenLen+tokenSum {
		return t, wrong
	}
	sum := sha256.Sum256(append([]byte(tokenMark), b[:tokenLen]...))
	r := reader{b: b[:tokenLen]}
	t.Vault, t.Seq = crypto.VaultID(r.h32()), r.u64()
	copy(t.Hash[:], r.take(16))
	t.Keyring = r.u64()
	// The code has bits to spare at its end; what does not come out the same was not made here.
	if !bytes.Equal(sum[:tokenSum], b[tokenLen:]) || t.Seq == 0 || t.String() != tokenMark+rest {
		return Token{}, wrong
	}
	return t, nil
}

// Token returns the newest place that this machine remembers.
func (v *Vault) Token() Token {
	v.mu.Lock()
	defer v.mu.Unlock()
	return tokenOf(v.keys.Vault(), v.trust.Head, v.trust.Keyring.Seq)
}

func tokenOf(vid crypto.VaultID, at link, keyring uint64) Token {
	return Token{vid, at.Seq, [16]byte(at.Hash[:16]), keyring}
}

// Words returns four words for the newest place that this machine remembers, to be read out: two machines with the same words have the same history.
func (v *Vault) Words() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keys.HeadWords(v.trust.Head.append(nil))
}

// Follow brings what this machine remembers to the log's end, and tells nobody what is there.
func (v *Vault) Follow(ctx context.Context) error {
	at := v.trusted()
	_, err := v.Load(ctx, remote.Position(at), ignoring{})
	return err
}

// ignoring is a Sink that takes nothing.
type ignoring struct{}

func (ignoring) Reset() error             { return nil }
func (ignoring) Apply(remote.Batch) error { return nil }

// Relation is how another machine's place in the log lies to this one's.
type Relation string

// What Compare can find.
const (
	Same     Relation = "same"     // both have seen the same
	Ancestor Relation = "ancestor" // the other has seen a part of what this one has
	Newer    Relation = "newer"    // the other says it has seen more than the store shows here: it may be right, or another history
	Fork     Relation = "fork"     // the two have seen different histories
)

// Compare holds another machine's place against the history that this one knows, up to what it remembers; see Follow. It changes nothing. What the store
// shows of the past counts only if it leads to what is remembered.
func (v *Vault) Compare(ctx context.Context, t Token) (Relation, error) {
	if t.Vault != v.keys.Vault() {
		return "", remote.E("compare", "", remote.Invalid, errors.New("the token is of another vault"))
	}
	head := v.trusted()
	switch mine := tokenOf(t.Vault, head, 0); {
	case t.Seq > head.Seq:
		return Newer, nil
	case t.Seq == head.Seq && t.Hash == mine.Hash:
		return Same, nil
	case t.Seq == head.Seq:
		return Fork, nil
	}
	at, err := v.placeOf(ctx, t.Seq, head)
	if err != nil {
		return "", err
	}
	if t.Hash != [16]byte(at.Hash[:16]) {
		return Fork, nil
	}
	return Ancestor, nil
}

// placeOf returns an earlier entry's place in the history that leads to head, by the entry itself and all after it, or by a history of what was removed.
func (v *Vault) placeOf(ctx context.Context, seq uint64, head link) (link, error) {
	name := logName(seq)
	sealed, err := v.store.Get(ctx, name, maxEntry)
	if remote.Is(err, remote.NotExist) {
		return v.removedPlace(ctx, seq, head)
	}
	if err != nil {
		return link{}, err
	}
	e, err := openEntry(v.keys, seq, sealed)
	if err != nil {
		return link{}, err
	}
	at := link{seq, e.hash}
	if err := v.leads(ctx, at, head); err != nil {
		return link{}, err
	}
	return at, nil
}

// leads fails unless the chain goes on from one place to another. No mark is left on the vault by what it finds.
func (v *Vault) leads(ctx context.Context, at, to link) error {
	next, stop := v.entries(ctx, at.Seq)
	defer stop()
	for at.Seq < to.Seq {
		f := next()
		if f.err != nil {
			return missing("follow the log", logName(f.seq), f.err)
		}
		e, err := openEntry(v.keys, f.seq, f.sealed)
		if err != nil {
			return err
		}
		if e.prev != at.Hash {
			return bad("follow the log", logName(f.seq), ErrFork, nil)
		}
		at = link{f.seq, e.hash}
	}
	if at != to {
		return bad("follow the log", logName(at.Seq), ErrFork, nil)
	}
	return nil
}

// removedPlace finds the place of an entry that was removed: in a history whose end leads to head.
func (v *Vault) removedPlace(ctx context.Context, seq uint64, head link) (link, error) {
	list, err := v.histories(ctx, seq)
	if err != nil {
		return link{}, err
	}
	why := bad("look for an entry", logName(seq), ErrMissing, nil)
	for _, i := range list {
		if i.n > head.Seq {
			continue
		}
		h, err := v.readHistory(ctx, i.n, i.id)
		if err == nil {
			err = v.leads(ctx, h.at(h.floor, v.keys.Vault()), head)
		}
		if err == nil {
			return h.at(seq, v.keys.Vault()), nil
		}
		if !damaged(err) {
			return link{}, err
		}
		why = err
	}
	return link{}, why
}

// admit lets a machine that never saw the vault begin with what another one knows: the store must have the token's entry, and counts as caught from there on if it
// shows less later.
func (v *Vault) admit(ctx context.Context, t Token) (at link, err error) {
	const op = "open vault"
	name := logName(t.Seq)
	if t.Vault != v.keys.Vault() {
		return at, bad(op, "", ErrVaultReplaced, errors.New("the invitation is to another one"))
	}
	if gen := v.keyring().Generation(); gen < t.Keyring {
		return at, bad(op, keyringName(gen), ErrKeyringRollback, fmt.Errorf("the invitation names generation %d", t.Keyring))
	}
	sealed, err := v.store.Get(ctx, name, maxEntry)
	if remote.Is(err, remote.NotExist) {
		sealed, err = v.again(ctx, t.Seq)
	}
	switch {
	case err == nil:
		e, err := openEntry(v.keys, t.Seq, sealed)
		if err != nil {
			return at, err
		}
		at = link{t.Seq, e.hash}
	case !remote.Is(err, remote.NotExist):
		return at, err
	default:
		if at, err = v.invitedInto(ctx, t.Seq); err != nil {
			return at, err
		}
	}
	if [16]byte(at.Hash[:16]) != t.Hash {
		return at, bad(op, name, ErrFork, errors.New("the invitation names another entry"))
	}
	return at, nil
}

// invitedInto looks an entry that was removed up in the newest history that is whole.
func (v *Vault) invitedInto(ctx context.Context, seq uint64) (link, error) {
	list, err := v.histories(ctx, seq)
	if err != nil {
		return link{}, err
	}
	why := v.rolledBack(ctx, seq-1)
	for _, i := range list {
		h, err := v.readHistory(ctx, i.n, i.id)
		if err == nil {
			return h.at(seq, v.keys.Vault()), nil
		}
		if !damaged(err) {
			return link{}, err
		}
		why = errors.Join(why, err)
	}
	return link{}, why
}
