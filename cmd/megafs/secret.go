package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"megafs/crypto"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

const maxPassphrase = 1024 // what a keyring takes

// firstLine is a passphrase as files and commands give it: without the newline.
func firstLine(r io.Reader) (crypto.Secret, error) {
	b, err := bufio.NewReader(io.LimitReader(r, maxPassphrase+3)).ReadBytes('\n')
	if err != nil && err != io.EOF {
		return crypto.Secret{}, remote.E("read the passphrase", "", remote.Locked, err)
	}
	b = bytes.TrimRight(b, "\r\n")
	switch {
	case len(b) == 0:
		return crypto.Secret{}, remote.E("read the passphrase", "", remote.Locked, errors.New("its first line is empty"))
	case len(b) > maxPassphrase:
		return crypto.Secret{}, remote.E("read the passphrase", "", remote.Locked, fmt.Errorf("its first line has more than %d bytes; is it the right file?", maxPassphrase))
	}
	return crypto.NewSecret(b), nil
}

// given returns the passphrase or recovery key that the flags name; ok is false when they name none.
func given(c *cli.Context, p *profile) (cred crypto.Credential, ok bool, err error) {
	read := func(path string) (crypto.Secret, error) {
		f, err := os.Open(path)
		if err != nil {
			return crypto.Secret{}, remote.E("read the passphrase", path, remote.Locked, err)
		}
		defer f.Close()
		return firstLine(f)
	}
	switch {
	case c.String("recovery-file") != "":
		s, err := read(c.String("recovery-file"))
		if err != nil {
			return cred, true, err
		}
		cred, err = recovery(s)
		return cred, true, err
	case c.String("passphrase-file") != "":
		cred.Passphrase, err = read(c.String("passphrase-file"))
	case c.Int("passphrase-fd") >= 0:
		f := os.NewFile(uintptr(c.Int("passphrase-fd")), "passphrase")
		if f == nil {
			return cred, true, usage("descriptor %d is not open", c.Int("passphrase-fd"))
		}
		cred.Passphrase, err = firstLine(f)
		f.Close()
	case c.String("passphrase-command") != "":
		cmd := exec.CommandContext(c.Context, "/bin/sh", "-c", c.String("passphrase-command"))
		cmd.Stderr, cmd.Stdin = os.Stderr, os.Stdin
		var out []byte
		if out, err = cmd.Output(); err == nil {
			cred.Passphrase, err = firstLine(bytes.NewReader(out))
			clear(out)
		} else {
			err = remote.E("read the passphrase", "", remote.Locked, fmt.Errorf("the command of --passphrase-command failed: %w", err))
		}
	default:
		if _, serr := os.Lstat(p.KeyFile); serr != nil {
			return cred, false, nil
		}
		if err = ownOnly(p.KeyFile); err == nil {
			cred.Passphrase, err = read(p.KeyFile)
		}
		return cred, true, err
	}
	return cred, true, err
}

// recovery reads a recovery key as it was written down.
func recovery(s crypto.Secret) (cred crypto.Credential, err error) {
	if cred.Recovery, err = crypto.ParseRecovery(string(s.Bytes())); err != nil {
		err = remote.E("read the recovery key", "", remote.Locked, err)
	}
	return cred, err
}

// ownOnly fails for a key file that others could have read or written.
func ownOnly(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return remote.E("read the key file", path, remote.Locked, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return remote.E("read the key file", path, remote.Locked, fmt.Errorf("others can read it, or it is not yours; if you trust it still: chown %d and chmod 600 it", os.Geteuid()))
	}
	return nil
}

func onTerminal() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
}

// ask reads a passphrase from the terminal without showing it.
func ask(prompt string) (crypto.Secret, error) {
	if !onTerminal() {
		return crypto.Secret{}, remote.E("unlock the vault", "", remote.Locked, errors.New("a passphrase is needed; give one with --passphrase-file, --passphrase-fd or --passphrase-command"))
	}
	fd := int(os.Stdin.Fd())
	if was, err := term.GetState(fd); err == nil { // whoever gives up finds the terminal as it was
		sig := make(chan os.Signal, 1)
		signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
		defer close(sig)
		defer signal.Stop(sig)
		go func() {
			if _, ok := <-sig; ok {
				term.Restore(fd, was)
				fmt.Fprintln(os.Stderr)
				os.Exit(exitFailed)
			}
		}()
	}
	fmt.Fprint(os.Stderr, prompt)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return crypto.Secret{}, err
	}
	if len(b) == 0 {
		return crypto.Secret{}, remote.E("unlock the vault", "", remote.Locked, errors.New("no passphrase was typed"))
	}
	return crypto.NewSecret(b), nil
}

// credential returns what unlocks a vault: from the flags, the key file, or the terminal.
func credential(c *cli.Context, p *profile) (crypto.Credential, error) {
	if c.Command.Name == recoverName && c.String("recovery-file") == "" {
		s, err := ask("Recovery key: ")
		if err != nil {
			return crypto.Credential{}, err
		}
		defer s.Wipe()
		return recovery(s)
	}
	cred, ok, err := given(c, p)
	if ok || err != nil {
		return cred, err
	}
	cred.Passphrase, err = ask("Passphrase: ")
	return cred, err
}

// unlock turns a credential into the keyring's key, in a child process.
func unlock(ctx context.Context, object []byte, cred crypto.Credential) (*crypto.Keyring, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	krk, err := crypto.UnlockInChild(ctx, []string{self, unlockCommand.Name}, object, cred)
	if err != nil {
		return nil, keyringErr(err)
	}
	ring, err := crypto.OpenKeyring(object, krk)
	return ring, keyringErr(err)
}

func keyringErr(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, crypto.ErrUnlock):
		return remote.E("unlock the vault", "", remote.Locked, err)
	case errors.Is(err, crypto.ErrKeyringTampered), errors.Is(err, crypto.ErrTampered), errors.Is(err, crypto.ErrKDFLimits), errors.Is(err, crypto.ErrLimit):
		return remote.E("read the keyring", "", remote.Integrity, fmt.Errorf("%w; restore the vault's folder k/ from a copy", err))
	}
	return remote.E("unlock the vault", "", remote.Other, err)
}

// openStore opens a profile's store. That of a vault this machine knows may be away: it is waited for. Whether it is there must be known after ask.
func openStore(p *profile, create bool, ask time.Duration, rates *blob.Rates) (blob.Store, error) {
	if p.Mega != nil {
		return nil, usage("this is for vaults; %s is a MEGA account", p.URL)
	}
	if p.S3 != nil {
		s, err := blob.S3(*p.S3, blob.S3Options{Rates: rates})
		if err != nil {
			return nil, err
		}
		// Nothing is left here that takes long: a bucket's calls end with their context and when they stall, and a slow line is no dead one.
		return blob.Limit(s, blob.LimitOptions{}), nil
	}
	s, err := inTime(ask, "open the vault's folder", p.Dir, func() (blob.Store, error) { return blob.Dir(p.Dir, blob.DirOptions{Create: create}) })
	if err != nil && !create && p.known() && away(err) {
		s, err = &awayStore{dir: p.Dir}, nil
	}
	if err != nil {
		return nil, missing(err, p)
	}
	return blob.Leave(blob.Limit(s, blob.LimitOptions{}), blob.LeaveOptions{}), nil
}

// openSteady is openStore for commands that go on for long and have nobody else who tries again.
func openSteady(p *profile, create bool) (blob.Store, error) {
	s, err := openStore(p, create, askTime, nil)
	if err != nil || p.S3 == nil {
		return s, err
	}
	return blob.Retry(s, blob.RetryOptions{}), nil
}

// create makes a vault, with a passphrase from the flags, one that is offered on the terminal, or one in a key file.
func create(c *cli.Context, p *profile, s blob.Store) (*crypto.Keyring, error) {
	if p.Dir != "" { // a bucket is looked at by vault.Create, as far as it has names of a vault's
		if list, err := os.ReadDir(p.Dir); err != nil {
			return nil, err
		} else if len(list) > 0 {
			return nil, remote.E("make a vault", p.URL, remote.Exist, errors.New("the folder is not empty; a vault wants one of its own"))
		}
	}
	cred, ok, err := given(c, p)
	if err != nil {
		return nil, err
	}
	pass := cred.Passphrase
	switch {
	case ok && pass.Len() == 0:
		return nil, usage("a new vault is made with a passphrase, not with a recovery key")
	case ok:
		if err := crypto.CheckPassphrase(pass); err != nil && !c.Bool("i-accept-weak") {
			return nil, remote.E("make a vault", "", remote.Invalid, err)
		}
	case onTerminal():
		if pass, err = choose("A new vault is made. "); err != nil {
			return nil, err
		}
	default:
		pass = crypto.Passphrase()
		if err := os.MkdirAll(filepath.Dir(p.KeyFile), 0o700); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(p.KeyFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		_, err = f.Write(append(bytes.Clone(pass.Bytes()), '\n'))
		if err == nil {
			err = f.Sync()
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "A new vault is made. Its passphrase is in %s (only you can read it).\nKeep a copy of that file elsewhere: without it the vault can't be opened.\n", p.KeyFile)
	}
	ring, recovery, err := vault.Create(c.Context, s, p.State, pass, "", crypto.DefaultKDF)
	if errors.Is(err, blob.ErrStoreContract) {
		err = fmt.Errorf("%w; files could be lost there without a word, so no vault is made: choose another server or folder, or a newer version of this one", err)
	}
	if err != nil {
		return nil, err
	}
	if onTerminal() {
		fmt.Fprintf(os.Stderr, "\nThe recovery key opens the vault if the passphrase is lost. It is shown only now; write it down:\n\n  %s\n\n", crypto.FormatRecovery(recovery))
	} else if c.Bool("show-recovery") {
		fmt.Fprintf(os.Stderr, "Recovery key: %s\n", crypto.FormatRecovery(recovery))
	}
	recovery.Wipe()
	return ring, nil
}

// choose offers a generated passphrase and takes another if the user has one. why is told before.
func choose(why string) (crypto.Secret, error) {
	offer := crypto.Passphrase()
	fmt.Fprintf(os.Stderr, "%sThis passphrase was drawn for it; write it down:\n\n  %s\n\n", why, offer.Bytes())
	for {
		s, err := ask("Type it, or one of your own: ")
		if err != nil {
			return s, err
		}
		if s.Equal(offer) {
			return s, nil
		}
		if err := crypto.CheckPassphrase(s); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n", err)
			continue
		}
		again, err := ask("It is not the one above. Type it again: ")
		if err != nil {
			return s, err
		}
		if s.Equal(again) {
			return s, nil
		}
		fmt.Fprintln(os.Stderr, "The two differ.")
	}
}

// openRing returns the unlocked keyring of a profile's vault, making the embedded default at first use. offline says that the store
// does not answer, and the keyring is the one that is known.
func openRing(c *cli.Context, p *profile, s blob.Store) (ring *crypto.Keyring, offline bool, err error) {
	ctx := c.Context
	if p.known() { // then there is a way to go on without an answer
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTime)
		defer cancel()
	}
	object, offline, err := vault.ReadKeyring(ctx, s, p.State)
	if offline {
		fmt.Fprintf(os.Stderr, "%s does not answer; what is known is used, and changes wait in the journal until it is back.\n", p.URL)
	}
	if errors.Is(err, vault.ErrVaultMissing) && p.Embedded && !p.known() {
		ring, err = create(c, p, s)
		return ring, false, err
	}
	if err != nil {
		return nil, offline, err
	}
	cred, err := credential(c, p)
	if err != nil {
		return nil, offline, err
	}
	defer cred.Passphrase.Wipe()
	defer cred.Recovery.Wipe()
	if ring, err = unlock(c.Context, object, cred); err != nil {
		return nil, offline, err
	}
	if err := os.MkdirAll(p.State, 0o700); err != nil {
		return nil, offline, err
	}
	return ring, offline, vault.KeepKeyring(p.State, object)
}
