package volume

import (
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

// The golden vault lies in the tree, so that a change of the format that old vaults do not survive is noticed. -update makes another, which
// is right only when the format may change; then the one before is kept too, under another name.
var update = flag.Bool("update", false, "make the golden vault anew")

const (
	goldenDir        = "../../remote/vault/testdata/golden"
	goldenPassphrase = "lantern gravel ointment velvet crumb ünder"
)

// goldenKDF is the cheapest derivation that the format allows.
var goldenKDF = crypto.KDF{T: 3, MKiB: 64 << 10, P: 1}

// goldenCopy is the golden vault in a folder of its own, and its listing.
func goldenCopy(t *testing.T) (string, []listed) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vault")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(goldenDir, "vault"))); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(goldenDir, "listing.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want []listed
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	return dir, want
}

// TestGolden opens the golden vault as a machine that never saw it, and finds in it what was put there.
func TestGolden(t *testing.T) {
	if *update {
		makeGolden(t)
	}
	dir, want := goldenCopy(t)
	store, err := blob.Dir(dir, blob.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	recovery, err := os.ReadFile(filepath.Join(goldenDir, "recovery.txt"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := crypto.ParseRecovery(string(recovery))
	if err != nil {
		t.Fatal(err)
	}
	for _, cred := range []crypto.Credential{{Passphrase: crypto.NewSecret([]byte(goldenPassphrase))}, {Recovery: key}} {
		object, _, err := vault.ReadKeyring(ctx, store, "")
		if err != nil {
			t.Fatal(err)
		}
		krk, err := crypto.Unlock(object, cred)
		if err != nil {
			t.Fatal(err)
		}
		ring, err := crypto.OpenKeyring(object, krk)
		if err != nil {
			t.Fatal(err)
		}
		m := &box{t: t, store: store, ring: ring, state: t.TempDir(), cache: t.TempDir()}
		m.open(true)
		sameListing(t, list(t, m.Volume), want)
		sum, err := m.vault.Verify(ctx, m.tree.Referenced, func(d vault.Damage) { t.Error(d) })
		if err != nil || sum.Objects == 0 {
			t.Error(sum, err)
		}
		m.close()
	}
}

// TestGoldenDecoder opens the golden vault with a program that follows the text of the format and shares no code with this one.
func TestGoldenDecoder(t *testing.T) {
	python := python(t)
	dir, want := goldenCopy(t)
	got, err := decode(t, python, dir, "--passphrase", filepath.Join(goldenDir, "passphrase.txt"))
	if err != nil {
		t.Fatal(err)
	}
	sameListing(t, got, want)
	recovery := []string{"--recovery", filepath.Join(goldenDir, "recovery.txt")}
	out := filepath.Join(t.TempDir(), "out")
	got, err = decode(t, python, dir, append(recovery, "--extract", out)...)
	if err != nil {
		t.Fatal(err)
	}
	sameListing(t, got, want)
	extracted(t, out, want)

	wrong := filepath.Join(t.TempDir(), "wrong")
	os.WriteFile(wrong, []byte("another passphrase\n"), 0o600)
	if _, err := decode(t, python, dir, "--passphrase", wrong); err == nil {
		t.Error("another passphrase opened the vault")
	}
}

// TestGoldenKeyrings gives the golden vault keyrings that are followed by nothing in the log, as by a machine that died: the decoder opens with them.
func TestGoldenKeyrings(t *testing.T) {
	python := python(t)
	object, err := os.ReadFile(filepath.Join(goldenDir, "vault/k/0000000000000002"))
	if err != nil {
		t.Fatal(err)
	}
	pass, secret := crypto.NewSecret([]byte(goldenPassphrase)), crypto.NewVaultSecret()
	krk, err := crypto.Unlock(object, crypto.Credential{Passphrase: pass})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := crypto.OpenKeyring(object, krk)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(file, secret.Bytes(), 0o600)
	withSecret, next, err := ring.RepassWithSecret(pass, secret, goldenKDF)
	if err != nil {
		t.Fatal(err)
	}
	rotated, _, _, err := ring.Rekey(pass, crypto.Secret{}, goldenKDF, 11)
	if err != nil {
		t.Fatal(err)
	}
	stranger, _, err := next.RepassWithSecret(pass, secret, goldenKDF)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, name string
		object     []byte
		secret, ok bool
	}{
		{"a vault secret", "3", withSecret, true, true},
		{"no vault secret", "3", withSecret, false, false},
		{"another epoch", "3", rotated, false, true},
		{"a generation left out", "4", stranger, true, false},
		{"a generation under another name", "4", rotated, false, false},
	} {
		dir, want := goldenCopy(t)
		if err := os.WriteFile(filepath.Join(dir, "k/000000000000000"+c.name), c.object, 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"--passphrase", filepath.Join(goldenDir, "passphrase.txt")}
		if c.secret {
			args = append(args, "--secret", file)
		}
		got, err := decode(t, python, dir, args...)
		if (err == nil) != c.ok {
			t.Error(c.what, err)
		}
		if c.ok {
			sameListing(t, got, want)
		}
	}
}

// box is a machine that has a vault mounted.
type box struct {
	t     *testing.T
	store blob.Store
	ring  *crypto.Keyring
	state string
	cache string
	now   time.Time // zero: the real clock
	vault *vault.Vault
	*Volume
}

func (m *box) clock() time.Time {
	if m.now.IsZero() {
		return time.Now()
	}
	m.now = m.now.Add(time.Second + 123456789)
	return m.now
}

func (m *box) open(readOnly bool) {
	m.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	var err error
	m.vault, err = vault.Open(ctx, m.store, vault.Options{StateDir: m.state, Keyring: m.ring, TrustFirstUse: true, ReadOnly: readOnly, Clock: m.clock, Log: quiet})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Volume, err = Open(ctx, Options{
		Remote: m.vault, Register: m.vault.Register, StateDir: m.state, CacheDir: m.cache, JournalSize: 64 << 20, LocalStore: true, ReadOnly: readOnly,
		Clock: m.clock, Settle: time.Hour, MaxAge: time.Hour, Poll: -1, Log: quiet,
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *box) close() {
	m.t.Helper()
	if err := m.Close(ctx); err != nil {
		m.t.Fatal(err)
	}
	if err := m.vault.Close(); err != nil {
		m.t.Fatal(err)
	}
}

// snapshot stores one, as the engine does after many commits.
func (m *box) snapshot() {
	m.t.Helper()
	pos, err := m.vault.Snapshot(ctx, m.tree.Position(), m.tree.Ops)
	if err == nil {
		err = m.tree.Apply(remote.Batch{Pos: pos})
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// makeGolden makes the golden vault and its listing.
func makeGolden(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.RemoveAll(goldenDir))
	dir := filepath.Join(goldenDir, "vault")
	must(os.MkdirAll(goldenDir, 0o755))
	store, err := blob.Dir(dir, blob.DirOptions{Create: true})
	must(err)
	m := &box{t: t, store: store, state: t.TempDir(), cache: t.TempDir(), now: time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)}
	var recovery crypto.Secret
	m.ring, recovery, err = vault.Create(ctx, store, m.state, crypto.NewSecret([]byte("an earlier passphrase")), "golden", goldenKDF)
	must(err)
	must(os.WriteFile(filepath.Join(goldenDir, "passphrase.txt"), []byte(goldenPassphrase+"\n"), 0o644))
	must(os.WriteFile(filepath.Join(goldenDir, "recovery.txt"), []byte(crypto.FormatRecovery(recovery)+"\n"), 0o644))
	m.open(false)
	b := &bench{t: t, Volume: m.Volume}
	to := func(n uint64) *uint64 { return &n }
	mode := func(ino remote.Ino, bits uint16) {
		t.Helper()
		_, err := b.Setattr(ctx, ino, SetAttr{Mode: &bits})
		must(err)
	}

	// The first life: what a snapshot takes in.
	docs := b.mk(remote.Root, "docs", remote.Dir)
	deep := b.mk(b.mk(docs, "a", remote.Dir), "b", remote.Dir)
	b.write(b.mk(docs, "inline", remote.File), 0, pattern(100, 1))
	b.write(b.mk(docs, "packed one", remote.File), 0, pattern(3000, 2))
	b.write(b.mk(deep, "packed two", remote.File), 0, pattern(5001, 3))
	b.mk(docs, "empty", remote.File)
	big := b.mk(remote.Root, "big", remote.File)
	b.write(big, 0, pattern(70_000, 4))
	sparse := b.mk(remote.Root, "sparse", remote.File)
	b.write(sparse, 1<<20+77, pattern(9000, 5))
	_, err = b.Setattr(ctx, sparse, SetAttr{Size: to(5 << 30)})
	must(err)
	doomed := b.mk(remote.Root, "doomed", remote.Dir)
	b.write(b.mk(doomed, "gone", remote.File), 0, pattern(4000, 6))
	must(b.Setxattr(ctx, docs, "user.long", pattern(3000, 7), 0))
	must(b.Setxattr(ctx, docs, "user.gone", []byte("x"), 0))
	b.drain()
	m.snapshot()

	// The second: overlaid, cut, moved, removed.
	b.write(big, 16_000, pattern(20_000, 8))
	b.write(big, 68_000, pattern(9_000, 9))
	b.drain()
	_, err = b.Setattr(ctx, big, SetAttr{Size: to(75_000)})
	must(err)
	_, err = b.Setattr(ctx, sparse, SetAttr{Size: to(1<<20 + 5000)})
	must(err)
	_, err = b.Setattr(ctx, sparse, SetAttr{Size: to(3 << 20)})
	must(err)
	must(b.Rename(ctx, docs, "a", remote.Root, "moved", 0, Caller{}))
	must(b.Unlink(ctx, doomed, "gone"))
	must(b.Rmdir(ctx, remote.Root, "doomed"))
	must(b.Removexattr(ctx, docs, "user.gone"))
	must(b.Setxattr(ctx, big, "user.ключ", []byte{}, 0))
	must(b.Setxattr(ctx, big, "user.\xff", []byte{0, 1, 255}, 0))
	b.drain()
	m.snapshot()

	// Another passphrase, and another machine.
	object, next, err := m.ring.Repass(crypto.NewSecret([]byte(goldenPassphrase)), goldenKDF)
	must(err)
	pos, err := m.vault.AddKeyring(ctx, m.tree.Position(), object, next)
	must(err)
	must(m.tree.Apply(remote.Batch{Pos: pos}))
	m.close()
	m = &box{t: t, store: store, ring: next, state: t.TempDir(), cache: t.TempDir(), now: m.now}
	m.open(false)
	b.Volume = m.Volume

	odd := b.mk(remote.Root, "odd names", remote.Dir)
	for i, n := range []string{
		"-rf", " ", "new\nline", `back\slash`, "\x01\x1b[31m", "\xff\xfe not UTF-8", "\xed\xa0\x80", "e\u0301 apart", "\u00e9 in one", "日本語", "🦊", "...", "*?\"'<>|:", "CON.",
		strings.Repeat("n", 255), strings.Repeat("ж", 127),
	} {
		b.write(b.mk(odd, n, remote.File), 0, pattern(10+i, i))
	}
	link, err := b.Make(ctx, docs, "to\xffnowhere", remote.Symlink, 0o777, 0, "../\xfe/ä\\", Caller{})
	must(err)
	b.Forget(link.Ino, 1)
	b.mk(remote.Root, "link", remote.Symlink)
	for _, n := range []string{"hard", "harder"} {
		_, err := b.Link(ctx, big, docs, n)
		must(err)
	}
	special := b.mk(remote.Root, "special", remote.Dir)
	b.mk(special, "fifo", remote.Fifo)
	b.mk(special, "socket", remote.Socket)
	for n, typ := range map[string]remote.Type{"char": remote.CharDev, "block": remote.BlockDev} {
		_, err := b.Make(ctx, special, n, typ, 0o600, 5<<8|7, "", Caller{})
		must(err)
	}
	for n, bits := range map[string]uint16{"none": 0, "setuid": 0o4755, "setgid": 0o2711, "all": 0o7777} {
		mode(b.mk(special, n, remote.File), bits)
	}
	mode(special, 0o1777)
	uid, gid := uint32(1<<32-2), uint32(12345)
	early, late := remote.Time(-1), remote.Time(1<<62)
	aged := b.mk(special, "aged", remote.File)
	_, err = b.Setattr(ctx, aged, SetAttr{UID: &uid, GID: &gid, Atime: &late, Mtime: &early})
	must(err)
	h, err := b.Open(ctx, b.ino(docs, "hard"), true, false)
	must(err)
	must(h.Allocate(ctx, 3, 33_000, 20_000)) // a hole
	h.Close()
	must(b.Rename(ctx, docs, "packed one", docs, "empty", RenameExchange, Caller{}))
	b.drain()
	b.write(b.mk(docs, "last", remote.File), 0, pattern(2049, 11))
	b.drain()

	out, err := json.MarshalIndent(list(t, m.Volume), "", " ")
	must(err)
	must(os.WriteFile(filepath.Join(goldenDir, "listing.json"), append(out, '\n'), 0o644))
	m.close()
}
