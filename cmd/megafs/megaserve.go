package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/megaserver"
)

var serverState = &cli.StringFlag{Name: "state", Usage: "`DIR` of accounts and, unless --files says otherwise, of files"}

var megaserveCommand = &cli.Command{
	Name: "serve", Usage: "a server of your own that speaks MEGA's API",
	Description: "Clients made for MEGA keep their files here: megafs itself, megatools, rclone, megajs. They encrypt, this server can read nothing.\n\n" +
		"   megafs serve account add --password-file pw alice@example.com   # while it runs, or before\n" +
		"   megafs serve --listen :443 --tls-cert cert.pem --tls-key key.pem\n" +
		"   megafs serve --files s3://s3.example.com/bucket --quota 200G\n\n" +
		"Whoever signs up needs a confirmation link. No mail is sent: it is put into --outbox, or, without one, into the log.\n\n" + s3Help,
	Flags: []cli.Flag{
		serverState,
		&cli.StringFlag{Name: "files", Usage: "where files are: dir:/path or an s3: `URL`"},
		&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8443", Usage: "`ADDRESS` to listen at"},
		&cli.StringFlag{Name: "tls-cert", Usage: "`FILE` of the certificate and those that lead to it"},
		&cli.StringFlag{Name: "tls-key", Usage: "`FILE` of its key"},
		&cli.BoolFlag{Name: "self-signed", Usage: "make a certificate, once, for the names in --name; it is kept in the state folder as server.pem"},
		&cli.StringSliceFlag{Name: "name", Usage: "a `HOST` that the self-signed certificate is for; this machine's if none is given"},
		&cli.BoolFlag{Name: "plain-http", Usage: "serve other machines without TLS: behind something that has it"},
		&cli.StringFlag{Name: "url", Usage: "how clients reach the server, if not as they say: scheme and host, as `URL`"},
		&cli.StringFlag{Name: "quota", Value: "50G", Usage: "`SIZE` that an account may store if nothing else was said"},
		&cli.BoolFlag{Name: "closed", Usage: "let nobody sign up: there are only the accounts that were added"},
		&cli.StringFlag{Name: "outbox", Usage: "`DIR` for the mails that confirm a sign-up"},
		&cli.IntFlag{Name: "hashcash", Usage: "let log-ins compute first: `EASINESS` from 1 to 255, some 190 is usual; megatools can't then"},
		&cli.Float64Flag{Name: "rate", Value: 20, Usage: "commands without a log-in that an address may send in a second; 0: any `NUMBER`"},
		&cli.StringFlag{Name: "memory", Value: "256M", Usage: "`SIZE` for files on their way"},
	},
	Subcommands: []*cli.Command{accountCommand},
	Action:      megaserve,
}

// serverFolder is the state folder of the server.
func serverFolder(c *cli.Context) (string, error) {
	dir := c.String("state")
	if dir == "" {
		dir = filepath.Join(xdg("XDG_DATA_HOME", ".local/share"), "server")
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", remote.E("open the server's folder", dir, remote.IO, err)
	}
	return dir, nil
}

// serverOptions reads the flags that say how the server is to be.
func serverOptions(c *cli.Context, dir string) (o megaserver.Options, err error) {
	o = megaserver.Options{State: dir, URL: c.String("url"), Hashcash: c.Int("hashcash"), Rate: c.Float64("rate"), Burst: 200, Closed: c.Bool("closed")}
	if o.Hashcash < 0 || o.Hashcash > 255 {
		return o, usage("--hashcash is a number from 1 to 255")
	}
	if o.Quota, err = parseSize(c.String("quota")); err == nil {
		o.Memory, err = parseSize(c.String("memory"))
	}
	if err != nil {
		return o, err
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	if box := c.String("outbox"); box != "" {
		if err := os.MkdirAll(box, 0o700); err != nil {
			return o, remote.E("open the outbox", box, remote.IO, err)
		}
		o.Mail = func(email, link string) error { return putMail(box, email, link) }
	}
	return o, nil
}

// putMail writes a mail to the outbox. It appears there whole.
func putMail(box, email, link string) error {
	f, err := os.CreateTemp(box, ".mail-*")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "To: %s\nSubject: Confirm your account\n\nOpen this link to confirm your account:\n\n%s\n", email, link)
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(box, strings.TrimPrefix(filepath.Base(f.Name()), ".")+".txt"))
}

// filesOf opens the store of the server's files.
func filesOf(c *cli.Context, dir string) (blob.Store, error) {
	url := c.String("files")
	if url == "" {
		url = "dir:" + filepath.Join(dir, "files")
	}
	p := &profile{URL: url}
	if _, err := p.locate(); err != nil {
		return nil, err
	}
	return openSteady(p, true)
}

// megaserve serves until a signal ends it.
func megaserve(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage("serve takes no arguments; see megafs serve --help")
	}
	dir, err := serverFolder(c)
	if err != nil {
		return err
	}
	certs, err := serverCerts(c, dir)
	if err != nil {
		return err
	}
	o, err := serverOptions(c, dir)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return remote.E("listen at", c.String("listen"), remote.Other, err)
	}
	defer l.Close()
	if certs == nil && !l.Addr().(*net.TCPAddr).IP.IsLoopback() && !c.Bool("plain-http") {
		return usage("without TLS it serves this machine only: give --tls-cert and --tls-key, or --self-signed, or --plain-http")
	}
	if o.Blobs, err = filesOf(c, dir); err != nil {
		return err
	}
	defer o.Blobs.Close()
	s, err := megaserver.New(o)
	if err != nil {
		return remote.E("start the server", dir, remote.Other, err)
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = serveBoth(ctx, c, s, l, certs, dir)
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

// serveBoth serves clients at l and the administrator at a socket in dir.
func serveBoth(ctx context.Context, c *cli.Context, s *megaserver.Server, l net.Listener, certs *tls.Config, dir string) error {
	admin, err := listenAdmin(dir)
	if err != nil {
		return err
	}
	defer admin.Close()
	h, a := megaserver.HTTPServer(s, certs), megaserver.HTTPServer(adminHandler(s), nil)
	ended := make(chan error, 2)
	go func() { ended <- a.Serve(admin) }()
	scheme := "http"
	go func() {
		if certs != nil {
			ended <- h.ServeTLS(l, "", "")
		} else {
			ended <- h.Serve(l)
		}
	}()
	if certs != nil {
		scheme = "https"
	}
	fmt.Fprintf(c.App.Writer, "serving at %s://%s\n", scheme, l.Addr())
	select {
	case <-ctx.Done():
		err = nil
	case err = <-ended:
	}
	down, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a.Shutdown(down)
	s.EndWaits()
	if h.Shutdown(down) != nil {
		h.Close()
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}
