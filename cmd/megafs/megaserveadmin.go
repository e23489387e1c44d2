package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/megaserver"
)

// An administrator's command goes to the server that runs, by a socket in its folder, or, if none does, to the folder itself.

// adminRequest is such a command.
type adminRequest struct {
	Op       string `json:"op"` // add, quota, block, unblock, list
	Email    string `json:"email,omitempty"`
	Password string `json:"password,omitempty"`
	Name     string `json:"name,omitempty"`
	Quota    int64  `json:"quota,omitempty"`
}

// adminAnswer is what comes back: accounts, or an error.
type adminAnswer struct {
	Accounts []megaserver.AccountInfo `json:"accounts,omitempty"`
	Error    string                   `json:"error,omitempty"`
	Kind     remote.Kind              `json:"kind,omitempty"`
}

const maxAdmin = 64 << 10

var accountCommand = &cli.Command{
	Name: "account", Usage: "the accounts of a server", Description: "The server may be running or not.",
	Subcommands: []*cli.Command{
		{
			Name: "add", Usage: "make an account that needs no confirmation", ArgsUsage: "EMAIL",
			Flags: []cli.Flag{
				serverState,
				&cli.StringFlag{Name: "password-file", Usage: "read the password from `FILE`; else it is asked for"},
				&cli.StringFlag{Name: "full-name", Usage: "what the account's owner is called"},
				&cli.StringFlag{Name: "quota", Usage: "`SIZE` that it may store; else what the server gives"},
			},
			Action: func(c *cli.Context) error {
				email, err := argument(c, "EMAIL", true)
				if err != nil {
					return err
				}
				r := adminRequest{Op: "add", Email: email, Name: c.String("full-name")}
				if q := c.String("quota"); q != "" {
					if r.Quota, err = parseSize(q); err != nil {
						return err
					}
				}
				if r.Password, err = accountPassword(c); err != nil {
					return err
				}
				_, err = administer(c, r)
				return err
			},
		},
		{
			Name: "quota", Usage: "say how much an account may store", ArgsUsage: "EMAIL SIZE", Description: "0 is what the server gives those of which nothing was said.",
			Flags: []cli.Flag{serverState},
			Action: func(c *cli.Context) error {
				if c.NArg() != 2 {
					return usage("it takes an EMAIL and a SIZE, after the options")
				}
				n, err := parseSize(c.Args().Get(1))
				if err != nil {
					return err
				}
				_, err = administer(c, adminRequest{Op: "quota", Email: c.Args().First(), Quota: n})
				return err
			},
		},
		{
			Name: "list", Usage: "all accounts, and what they store", Flags: []cli.Flag{serverState},
			Action: func(c *cli.Context) error {
				a, err := administer(c, adminRequest{Op: "list"})
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
				for _, i := range a.Accounts {
					state := ""
					if i.Blocked {
						state = "blocked"
					}
					fmt.Fprintf(w, "%s\t%d of %d bytes\t%d files\t%s\n", i.Email, i.Used, i.Quota, i.Files, state)
				}
				return w.Flush()
			},
		},
		blockCommand("block", "shut an account out"), blockCommand("unblock", "let it in again"),
	},
}

func blockCommand(op, what string) *cli.Command {
	return &cli.Command{
		Name: op, Usage: what, ArgsUsage: "EMAIL", Flags: []cli.Flag{serverState},
		Action: func(c *cli.Context) error {
			email, err := argument(c, "EMAIL", true)
			if err != nil {
				return err
			}
			_, err = administer(c, adminRequest{Op: op, Email: email})
			return err
		},
	}
}

// accountPassword reads a new account's password.
func accountPassword(c *cli.Context) (string, error) {
	if path := c.String("password-file"); path != "" {
		f, err := os.Open(path)
		if err != nil {
			return "", remote.E("read the password", path, remote.Locked, err)
		}
		defer f.Close()
		s, err := firstLine(f)
		return string(s.Bytes()), err
	}
	if !onTerminal() {
		return "", usage("there is no terminal to ask for the password at; give --password-file")
	}
	s, err := ask("Password of the new account: ")
	return string(s.Bytes()), err
}

func socketOf(dir string) string { return filepath.Join(dir, "admin.sock") }

// listenAdmin opens the socket. One that a killed server left is removed: the database's lock keeps two servers apart.
func listenAdmin(dir string) (net.Listener, error) {
	path := socketOf(dir)
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, remote.E("open the socket for administration", path, remote.IO, err)
	}
	return l, nil
}

// administer carries a command out where it can be.
func administer(c *cli.Context, r adminRequest) (*adminAnswer, error) {
	dir, err := serverFolder(c)
	if err != nil {
		return nil, err
	}
	a, err := askServer(c.Context, dir, r)
	if errors.Is(err, errNoServer) {
		s, err := megaserver.New(megaserver.Options{State: dir, Blobs: blob.Mem(), NoSweep: true})
		if err != nil {
			return nil, remote.E("open the accounts", dir, remote.Busy, err)
		}
		defer s.Close()
		return do(s, r)
	}
	return a, err
}

var errNoServer = errors.New("no server runs")

func askServer(ctx context.Context, dir string, r adminRequest) (*adminAnswer, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socketOf(dir))
		if err != nil {
			err = errNoServer
		}
		return conn, err
	}}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://server/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var a adminAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(&a); err != nil {
		return nil, remote.E("ask the server", "", remote.Other, err)
	}
	if a.Error != "" {
		return nil, remote.E(r.Op+" account", r.Email, a.Kind, errors.New(a.Error))
	}
	return &a, nil
}

// adminHandler serves the socket.
func adminHandler(s *megaserver.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q adminRequest
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdmin)).Decode(&q); err != nil {
			http.Error(w, "not a command", http.StatusBadRequest)
			return
		}
		a, err := do(s, q)
		if err != nil {
			a = &adminAnswer{Error: err.Error()}
			var e *remote.Error
			if errors.As(err, &e) {
				a.Kind = e.Kind
				a.Error = e.Kind.String()
			}
		}
		json.NewEncoder(w).Encode(a)
	})
}

func do(s *megaserver.Server, r adminRequest) (*adminAnswer, error) {
	a := &adminAnswer{}
	switch r.Op {
	case "add":
		return a, s.AddAccount(megaserver.NewAccount{Email: r.Email, Password: r.Password, Name: r.Name, Quota: r.Quota})
	case "quota":
		return a, s.SetQuota(r.Email, r.Quota)
	case "block", "unblock":
		return a, s.Block(r.Email, r.Op == "block")
	case "list":
		err := s.Accounts(func(i megaserver.AccountInfo) error {
			a.Accounts = append(a.Accounts, i)
			return nil
		})
		return a, err
	}
	return nil, remote.E(r.Op, "", remote.NotSupported, nil)
}
