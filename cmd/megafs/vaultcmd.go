package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/crypto"
	"megafs/fs/tree"
	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/vault"
)

var vaultCommand = &cli.Command{
	Name: "vault", Usage: "make, look at, check and unlock vaults",
	Subcommands: []*cli.Command{
		{
			Name: "init", Usage: "make a vault in an empty folder or bucket", ArgsUsage: "URL", Flags: append(remoteFlags(),
				&cli.BoolFlag{Name: "i-accept-weak", Usage: "take a passphrase that can be guessed"},
				&cli.BoolFlag{Name: "show-recovery", Usage: "print the recovery key even without a terminal"}),
			Description: "   megafs vault init dir:/backup/vault\n   megafs vault init s3://s3.example.com/bucket/vault\n\n" + s3Help,
			Action: func(c *cli.Context) error {
				p, err := vaultProfile(c)
				if err != nil {
					return err
				}
				lock, err := lockState(p.State, "")
				if err != nil {
					return err
				}
				defer lock.release()
				if p.known() {
					return remote.E("make a vault", p.URL, remote.Exist, fmt.Errorf("this machine knows a vault there, and may hold changes that were not sent; if that is over, move %s away", p.State))
				}
				s, err := openSteady(p, true)
				if err != nil {
					return err
				}
				defer s.Close()
				_, err = create(c, p, s)
				return err
			},
		},
		{
			Name: "info", Usage: "what a vault is", ArgsUsage: "[URL]", Flags: append(remoteFlags(), &cli.BoolFlag{Name: "json", Usage: "for scripts"}),
			Action: func(c *cli.Context) error {
				return lookAt(c, func(x *openVault) error {
					i := x.vault.Info()
					if c.Bool("json") {
						return json.NewEncoder(c.App.Writer).Encode(i)
					}
					made := ""
					if !i.HeadTime.IsZero() {
						made = fmt.Sprintf(", made %s, %s", i.HeadTime.Local().Format(time.DateTime), ago(time.Since(i.HeadTime)))
					}
					fmt.Fprintf(c.App.Writer, "vault     %s\ncreated   %s\nkeyring   generation %d, epoch %d, unlocked by: %s\nhead      %d %s%s\nsnapshot  %d\ndevice    %d %s\n",
						i.Vault, i.Created.Local().Format(time.DateTime), i.Keyring, i.Epoch, strings.Join(i.Slots, ", "), i.Head, i.HeadHash[:16], made, i.Snapshot, i.DeviceNo, i.Device)
					if i.Violation != "" {
						fmt.Fprintf(c.App.Writer, "READ-ONLY %s\n", i.Violation)
					}
					return nil
				})
			},
		},
		{
			Name: "passwd", Usage: "change the passphrase", ArgsUsage: "[URL]", Flags: append(remoteFlags(),
				&cli.StringFlag{Name: "new-passphrase-file", Usage: "read the new one from `FILE`"},
				&cli.BoolFlag{Name: "i-accept-weak", Usage: "take a passphrase that can be guessed"}),
			Description: "The old passphrase still opens copies of the store that were made before.",
			Action:      func(c *cli.Context) error { return repass(c) },
		},
		{
			Name: recoverName, Usage: "set a new passphrase with the recovery key", ArgsUsage: "[URL]", Flags: append(remoteFlags(),
				&cli.StringFlag{Name: "new-passphrase-file", Usage: "read the new one from `FILE`"},
				&cli.BoolFlag{Name: "i-accept-weak", Usage: "take a passphrase that can be guessed"}),
			Description: "   megafs vault recover --recovery-file key.txt --new-passphrase-file new.txt dir:/backup/vault",
			Action: func(c *cli.Context) error {
				if c.String("recovery-file") == "" && !onTerminal() {
					return usage("recover needs --recovery-file")
				}
				return repass(c)
			},
		},
		{
			Name: "verify", Usage: "read everything and list all damage", ArgsUsage: "[URL]", Flags: append(remoteFlags(), &cli.BoolFlag{Name: "json", Usage: "for scripts"}),
			Description: "Reads and opens every object. Exit code 4 when anything is damaged.\n\n   megafs vault verify dir:/backup/vault",
			Action:      verify,
		},
		gcCommand, headCommand, compareCommand,
		{
			Name: "accept", Usage: "take the store's present state for the true one, after a violation", ArgsUsage: "[URL]", Flags: append(remoteFlags(),
				&cli.BoolFlag{Name: "yes", Usage: "do not ask"}),
			Action: func(c *cli.Context) error {
				return withVault(c, func(x *openVault) error {
					v := x.vault.Info().Violation
					if v == "" {
						fmt.Fprintln(os.Stderr, "There is nothing to accept.")
						return nil
					}
					if !c.Bool("yes") {
						fmt.Fprintf(os.Stderr, "The store was caught: %s\nIf you accept, what it shows now counts as true, also if something is missing.\n", v)
						if ok, _ := confirm("Accept? [y/N] "); !ok {
							return errors.New("not accepted")
						}
					}
					return x.vault.Accept()
				})
			},
		},
	},
}

func vaultProfile(c *cli.Context) (*profile, error) {
	url, err := argument(c, "URL", false)
	if err != nil {
		return nil, err
	}
	return profileOf(c, url)
}

// openVault is a vault that a command uses without mounting it.
type openVault struct {
	p      *profile
	store  blob.Store
	ring   *crypto.Keyring
	vault  *vault.Vault
	object []byte
}

// withVault unlocks and opens a vault, with its state folder locked, and closes it after fn.
func withVault(c *cli.Context, fn func(*openVault) error) error {
	p, err := vaultProfile(c)
	if err != nil {
		return err
	}
	lock, err := lockState(p.State, "")
	if err != nil {
		return err
	}
	defer lock.release()
	return useVault(c, p, p.State, fn)
}

// lookAt is withVault for commands that change nothing. They work on a copy of what the state folder remembers, so the vault may be
// mounted meanwhile.
func lookAt(c *cli.Context, fn func(*openVault) error) error {
	p, err := vaultProfile(c)
	if err != nil {
		return err
	}
	return lookAtProfile(c, p, fn)
}

func lookAtProfile(c *cli.Context, p *profile, fn func(*openVault) error) error {
	state, err := os.MkdirTemp("", "megafs-") // 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	if err := remembered(p.State, state); err != nil {
		return err
	}
	return useVault(c, p, state, fn)
}

// useVault unlocks and opens a vault with a state folder, and closes it after fn.
func useVault(c *cli.Context, p *profile, state string, fn func(*openVault) error) error {
	x := &openVault{p: p}
	var err error
	if x.store, err = openSteady(p, false); err != nil {
		return err
	}
	defer x.store.Close()
	if x.object, _, err = vault.ReadKeyring(c.Context, x.store, state); err != nil {
		return err
	}
	cred, err := credential(c, p)
	if err != nil {
		return err
	}
	if x.ring, err = unlock(c.Context, x.object, cred); err != nil {
		return err
	}
	token, err := invite(c)
	if err != nil {
		return err
	}
	// Its warnings are for logs; what matters here is returned.
	log := slog.New(slog.DiscardHandler)
	x.vault, err = vault.Open(c.Context, x.store, vault.Options{StateDir: state, Keyring: x.ring, TrustFirstUse: c.Bool("trust-first-use"), Invite: token, Log: log})
	if err != nil {
		return err
	}
	err = fn(x)
	return errors.Join(err, x.vault.Close())
}

// load reads the vault's whole state into a tree of its own.
func (x *openVault) load(c *cli.Context) (t *tree.Tree, pos remote.Position, err error) {
	t, err = tree.Open(tree.Options{Memory: 64 << 20})
	if err != nil {
		return nil, pos, err
	}
	pos, err = x.vault.Load(c.Context, remote.Position{}, t)
	if err != nil {
		t.Close()
		return nil, pos, err
	}
	return t, pos, nil
}

// recoverName is the command that asks for the recovery key.
const recoverName = "recover"

func repass(c *cli.Context) error {
	if c.String("new-passphrase-file") == "" && !onTerminal() {
		return usage("there is no terminal to ask for the new passphrase; give it with --new-passphrase-file")
	}
	return withVault(c, func(x *openVault) error {
		var next crypto.Secret
		var err error
		if f := c.String("new-passphrase-file"); f != "" {
			var r *os.File
			if r, err = os.Open(f); err != nil {
				return err
			}
			next, err = firstLine(r)
			r.Close()
		} else {
			next, err = choose("The vault gets a new passphrase. ")
		}
		if err != nil {
			return err
		}
		if err := crypto.CheckPassphrase(next); err != nil && !c.Bool("i-accept-weak") {
			return remote.E("change the passphrase", "", remote.Invalid, err)
		}
		t, pos, err := x.load(c)
		if err != nil {
			return err
		}
		t.Close()
		object, ring, err := x.ring.Repass(next, crypto.DefaultKDF)
		if err != nil {
			return err
		}
		if _, err := x.vault.AddKeyring(c.Context, pos, object, ring); err != nil {
			return err
		}
		if _, err := os.Stat(x.p.KeyFile); err == nil {
			if err := os.Rename(x.p.KeyFile, x.p.KeyFile+".old"); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "The key file with the old passphrase is now %s.old\n", x.p.KeyFile)
		}
		fmt.Fprintln(os.Stderr, "The passphrase is changed. Copies of the store made before still open with the old one.")
		return nil
	})
}

func verify(c *cli.Context) error {
	return lookAt(c, func(x *openVault) error {
		t, _, err := x.load(c)
		var damages []vault.Damage
		report := func(d vault.Damage) {
			damages = append(damages, d)
			if !c.Bool("json") {
				fmt.Fprintf(c.App.Writer, "damage: %s: %s\n", d.Object, d.What)
			}
		}
		referenced := func(func(remote.Extent) error) error { return nil }
		switch {
		case err == nil:
			defer t.Close()
			referenced = t.Referenced
		case remote.Is(err, remote.Integrity) || remote.Is(err, remote.ReadOnly):
			report(vault.Damage{Object: "state", What: err.Error()})
		default:
			return err
		}
		sum, err := x.vault.Verify(c.Context, referenced, report)
		if err != nil {
			return err
		}
		sum.Damages = len(damages)
		if c.Bool("json") {
			err = json.NewEncoder(c.App.Writer).Encode(struct {
				vault.Summary
				Damage []vault.Damage `json:"damage"`
			}{sum, damages})
		} else {
			fmt.Fprintf(c.App.Writer, "%d log entries, %d snapshots, %d objects of %s read; %d unreferenced; %d damaged\n",
				sum.Entries, sum.Snapshots, sum.Objects, formatSize(sum.Bytes), sum.Garbage, sum.Damages)
		}
		if err == nil && sum.Damages > 0 {
			err = remote.E("verify", x.p.URL, remote.Integrity, fmt.Errorf("%d damages", sum.Damages))
		}
		return err
	})
}
