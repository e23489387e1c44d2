package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"megafs/remote/blob"
)

// profile is a remote and the folders that belong to it.
type profile struct {
	URL      string
	Dir      string        // of a dir: vault
	S3       *blob.S3Place // of an s3: vault
	Mega     *megaPlace    // of a MEGA account
	State    string
	Cache    string
	KeyFile  string // where a generated passphrase lies, if there is one
	Embedded bool   // the default vault: made at first use
}

// xdg returns one of the user's base folders.
func xdg(name, rest string) string {
	if d := os.Getenv(name); filepath.IsAbs(d) {
		return filepath.Join(d, "megafs")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/root"
	}
	return filepath.Join(home, rest, "megafs")
}

// newProfile resolves a remote's URL and its folders; empty words mean the defaults.
func newProfile(url, state, cache string) (*profile, error) {
	p := &profile{URL: url}
	if p.URL == "" {
		p.URL, p.Embedded = "dir:"+filepath.Join(xdg("XDG_DATA_HOME", ".local/share"), "vault"), true
	}
	id, err := p.locate()
	if err != nil {
		return nil, err
	}
	p.State, p.Cache = state, cache
	if p.State == "" {
		p.State = filepath.Join(xdg("XDG_STATE_HOME", ".local/state"), id)
	}
	if p.Cache == "" {
		p.Cache = filepath.Join(xdg("XDG_CACHE_HOME", ".cache"), id)
	}
	if p.State, err = filepath.Abs(p.State); err != nil {
		return nil, err
	}
	if p.Cache, err = filepath.Abs(p.Cache); err != nil {
		return nil, err
	}
	for _, path := range []string{p.Dir, p.State, p.Cache} {
		if err := nameable(path); err != nil {
			return nil, err
		}
	}
	p.KeyFile = filepath.Join(xdg("XDG_CONFIG_HOME", ".config"), id+".key")
	return p, nil
}

// nameable refuses a path that is not UTF-8: the serving process would be told another one, for settings and status are JSON.
func nameable(path string) error {
	if !utf8.ValidString(path) {
		return usage("%q is not UTF-8, which the folders of a vault and its mount point must be; choose another place, or rename it", path)
	}
	return nil
}

// locate finds out where the vault lies, and returns what its folders are called after.
func (p *profile) locate() (id string, err error) {
	path, dir := strings.CutPrefix(p.URL, "dir:")
	if m, ok, err := parseMega(p.URL); ok {
		if err != nil {
			return "", err
		}
		p.Mega, p.URL = m, m.String()
		return m.id(), nil
	}
	switch {
	case dir && path != "":
		if p.Dir, err = filepath.Abs(path); err != nil {
			return "", err
		}
		p.URL = "dir:" + p.Dir
		return folderName("dir", p.URL), nil
	case strings.HasPrefix(p.URL, "s3:"):
		s3, err := blob.ParseS3(p.URL)
		if err != nil {
			return "", usageError{err}
		}
		p.S3, p.URL = &s3, s3.String()
		// Not after its options: how a server is spoken to may change, and the journal must be found again.
		return folderName("s3", blob.S3Place{Host: s3.Host, Bucket: s3.Bucket, Prefix: s3.Prefix}.String()), nil
	case strings.Contains(p.URL, "@"):
		return "", usage("this is no remote that this version knows; it must be dir:/path, s3://host/bucket/prefix or mega:") // and may have a secret in it
	}
	return "", usage("%q is no remote that this version knows; it must be dir:/path, s3://host/bucket/prefix or mega:", p.URL)
}

func folderName(scheme, url string) string {
	sum := sha256.Sum256([]byte(url))
	return scheme + "-" + hex.EncodeToString(sum[:6])
}

// known reports whether this machine has seen the vault before. Where one was, none is ever made: a store that hides a vault must not get
// the user to fill a new one.
func (p *profile) known() bool {
	_, err := os.Stat(filepath.Join(p.State, "keyring"))
	return err == nil
}

// remoteFlags are those that say which vault, and how it is unlocked.
func remoteFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "state", Usage: "`DIR` of the journal and of what is remembered of the vault; precious"},
		&cli.StringFlag{Name: "cache", Usage: "`DIR` of the tree index and cached blocks; disposable"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "read the passphrase from `FILE`"},
		&cli.IntFlag{Name: "passphrase-fd", Usage: "read the passphrase from descriptor `N`", Value: -1},
		&cli.StringFlag{Name: "passphrase-command", Usage: "run `CMD` and take its first line for the passphrase"},
		&cli.StringFlag{Name: "recovery-file", Usage: "unlock with the recovery key in `FILE` instead of a passphrase"},
		&cli.BoolFlag{Name: "trust-first-use", Usage: "open a vault that this state folder has never seen"},
		&cli.StringFlag{Name: "invite", Usage: "open such a vault if it has what `TOKEN` says, from megafs vault head on another machine"},
	}
}

// profileOf returns the profile that a command's flags name. url is its argument, for commands that take one.
func profileOf(c *cli.Context, url string) (*profile, error) {
	return newProfile(url, c.String("state"), c.String("cache"))
}

// parseSize reads a size such as 64M or 1.5G; units are binary.
func parseSize(s string) (int64, error) {
	num, mult := strings.ToUpper(strings.TrimSpace(s)), int64(1)
	num = strings.TrimSuffix(strings.TrimSuffix(num, "B"), "I")
	if i := strings.IndexByte("KMGT", lastByte(num)); i >= 0 && num != "" {
		num, mult = num[:len(num)-1], 1<<(10*(i+1))
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || f < 0 || f*float64(mult) > 1<<60 || f != f {
		return 0, usage("%q is no size; say a number with K, M, G or T", s)
	}
	return int64(f * float64(mult)), nil
}

func lastByte(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}

// formatSize tells bytes as a person reads them.
func formatSize(n int64) string {
	f, unit := float64(n), 0
	for f >= 1024 && unit < 4 {
		f, unit = f/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", f, " KMGT"[unit])
}
