package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"megafs/remote"
	"megafs/remote/mega"
)

var loginCommand = &cli.Command{
	Name: "login", Usage: "log in to a MEGA account", ArgsUsage: "[E-MAIL or URL]",
	Description: "Logs in and keeps the session, readable by you only, until megafs logout. It is then mounted with --remote mega:\n\n" +
		"   megafs login me@example.com\n" +
		"   megafs login mega://me@example.com@cloud.example.org    # a server of your own\n\n" +
		"A log-in may take up to a minute of computing, when the server asks for it.",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "state", Usage: "`DIR` of the journal and of what is remembered of the account; precious"},
		&cli.StringFlag{Name: "cache", Usage: "`DIR` of the tree index and cached blocks; disposable"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "read the password from `FILE`"},
		&cli.IntFlag{Name: "passphrase-fd", Usage: "read the password from descriptor `N`", Value: -1},
		&cli.StringFlag{Name: "passphrase-command", Usage: "run `CMD` and take its first line for the password"},
		&cli.StringFlag{Name: "code", Usage: "the six `DIGITS` of the second factor"},
	},
	Action: func(c *cli.Context) error {
		who, err := argument(c, "E-MAIL", false)
		if err != nil {
			return err
		}
		if who == "" {
			if who, err = promptLine("E-mail address: "); err != nil {
				return err
			}
		}
		if !strings.HasPrefix(who, "mega") || !strings.Contains(who, ":") {
			who = "mega:" + who
		}
		p, err := profileOf(c, who)
		if err != nil {
			return err
		}
		if p.Mega == nil || p.Mega.Link != "" {
			return usage("an account is %s", megaForms)
		}
		lock, err := lockState(p.State, "")
		if err != nil {
			return err
		}
		defer lock.release()
		pass, ok, err := given(c, p)
		if err != nil {
			return err
		}
		if !ok {
			if pass.Passphrase, err = ask("Password: "); err != nil {
				return err
			}
		}
		defer pass.Passphrase.Wipe()
		pins, err := mega.KeptPins(p.State)
		if err != nil {
			return err
		}
		s, err := mega.Login(c.Context, mega.Credentials{
			URL: p.Mega.API, Email: p.Mega.Email, Password: pass.Passphrase.Bytes(), Pins: pins,
			Code: func() (string, error) {
				if code := c.String("code"); code != "" {
					return code, nil
				}
				return promptLine("Code of the second factor: ")
			},
		})
		if err != nil {
			return err
		}
		if old, err := mega.LoadSession(p.State); err == nil && old.Master != s.Master {
			return remote.E("log in", p.URL, remote.Integrity, errors.New("the account has another master key than before, so what is kept on this machine can't be read with it"))
		}
		if err := s.Save(p.State); err != nil {
			return err
		}
		if err = os.MkdirAll(filepath.Dir(accountFile()), 0o700); err == nil {
			err = os.WriteFile(accountFile(), []byte(p.URL+"\n"), 0o600)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s is logged in; mount it with\n\n   megafs mount --remote mega: MOUNTPOINT\n", p.Mega.Email)
		return nil
	},
}

// promptLine asks for a line on the terminal.
func promptLine(prompt string) (string, error) {
	if !onTerminal() {
		return "", remote.E("log in", "", remote.Locked, fmt.Errorf("%s is not given, and there is no terminal to ask for it", strings.ToLower(strings.TrimSuffix(prompt, ": "))))
	}
	fmt.Fprint(os.Stderr, prompt)
	s, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return strings.TrimSpace(s), err
}
