package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"megafs/cmd/megafs/control"
	"megafs/crypto"
	"megafs/fs"
	"megafs/remote"
	"megafs/remote/vault"
)

// settings are what the process that serves a mount is told. The key goes over the same pipe.
type settings struct {
	Profile       profile
	MountPoint    string
	KRK           string // hexadecimal
	CacheSize     int64
	Memory        int64
	JournalSize   int64
	CacheGiven    bool // the user said a cache size: then blocks are cached on disk, near as the store may be
	ReadOnly      bool
	AllowOther    bool
	FsyncRemote   bool
	TrustFirstUse bool
	Invite        *vault.Token
	Offline       bool // the store did not answer a moment ago
	UploadLimit   int64
	DownloadLimit int64
	Log           string
	Foreground    bool
	Options       []string
	GC            collecting
	At            time.Time // zero: the present

	Shared          bool // what others share with the MEGA account is shown
	WaitQuota       bool // a read waits while the MEGA account may download nothing
	DeletePermanent bool // what is removed from a MEGA account does not go to its rubbish bin
}

var mountCommand = &cli.Command{
	Name: "mount", Usage: "mount a vault or a MEGA account", ArgsUsage: "[LINK] MOUNTPOINT",
	Description: "Mounts and returns when the mount answers; a process in the background serves it.\n" +
		"Without --remote it is your own vault in $XDG_DATA_HOME/megafs/vault, made at first use.\n\n" +
		"   megafs mount ~/mega\n" +
		"   megafs mount --remote dir:/backup/vault --passphrase-file ~/.vault-pass /mnt/mega\n" +
		"   megafs mount --remote s3://s3.example.com/bucket/vault --upload-limit 2M ~/mega\n" +
		"   megafs mount --remote mega: ~/mega           # the MEGA account of megafs login\n" +
		"   megafs mount 'https://mega.nz/file/HANDLE#KEY' ~/public  # somebody's public file or folder, read-only\n" +
		"   megafs mount --at 2d /mnt/then         # as it was two days ago, read-only\n" +
		"   megafs mount --keep 90d ~/mega         # what was removed can be had for 90 days; then its room is given back\n\n" + s3Help,
	Flags: append(remoteFlags(),
		&cli.StringFlag{Name: "remote", Aliases: []string{"r"}, Usage: "`URL` of the vault: dir:/path or s3://host[:port]/bucket[/prefix]; or mega: for the MEGA account that is logged in, or the link of a public folder or file there", EnvVars: []string{"MEGAFS_REMOTE"}},
		&cli.StringFlag{Name: "cache-size", Usage: "`SIZE` on disk for cached blocks; a vault in a local folder needs none unless you say so", DefaultText: "10G"},
		&cli.StringFlag{Name: "memory", Usage: "`SIZE` of memory to stay under", Value: "256M"},
		&cli.StringFlag{Name: "journal-size", Usage: "`SIZE` on disk for what is not sent yet", DefaultText: "1G; 4G for a MEGA account"},
		uploadLimit, downloadLimit,
		&cli.BoolFlag{Name: "foreground", Aliases: []string{"f"}, Usage: "stay in the foreground"},
		&cli.BoolFlag{Name: "read-only", Usage: "take no changes"},
		&cli.StringFlag{Name: "at", Usage: "mount the vault as it was at `TIME`, such as \"2026-01-31 14:00\" or 2d ago, read-only; beside another mount of it, if you like"},
		&cli.BoolFlag{Name: "allow-other", Usage: "let other users in, as far as modes allow"},
		&cli.StringFlag{Name: "fsync", Usage: "what fsync waits for: journal (this disk) or remote", Value: "journal"},
		&cli.StringFlag{Name: "log", Usage: "log to `FILE`", DefaultText: "megafs.log in the state folder"},
		&cli.StringSliceFlag{Name: "o", Usage: "mount `OPTIONS`, as in mount(8)"},
		&cli.StringFlag{Name: "gc-every", Usage: "`SPAN` after which garbage is collected in the background; 0 for never", Value: "24h"},
		&cli.StringFlag{Name: "delete", Usage: "where what is removed from a MEGA account goes: trash (its rubbish bin) or permanent", Value: "trash"},
		&cli.BoolFlag{Name: "shared", Usage: "show what others share with a MEGA account, read-only, in the folder \"Shared with me\""},
		&cli.StringFlag{Name: "over-quota", Usage: "what a read does while a MEGA account's transfer quota is used up: fail or wait", Value: "fail"},
		&cli.StringFlag{Name: "keep", Usage: "`SPAN` of the past that collecting leaves whole", Value: "30d"},
		&cli.StringFlag{Name: "gc-grace", Usage: "`SPAN` between giving up and removing, for machines that are away", Value: "24h"},
		&cli.Int64Flag{Name: "gc-requests", Usage: "`NUMBER` of requests to the store an hour that collecting may spend", Value: 3600},
		&cli.StringFlag{Name: "gc-bytes", Usage: "`SIZE` an hour that collecting may read and write", Value: "256M"},
		&cli.BoolFlag{Name: "i-accept-weak", Usage: "make a vault with a passphrase that can be guessed"},
		&cli.BoolFlag{Name: "show-recovery", Usage: "print a new vault's recovery key even without a terminal"},
	),
	Action: mount,
}

func mountSettings(c *cli.Context) (*settings, error) {
	url, mnt, err := whatAndWhere(c)
	if err != nil {
		return nil, err
	}
	if mnt, err = realParent(mnt); err != nil {
		return nil, err
	}
	if err := nameable(mnt); err != nil {
		return nil, err
	}
	p, err := profileOf(c, url)
	if err != nil {
		return nil, err
	}
	s := &settings{
		Profile: *p, MountPoint: mnt, ReadOnly: c.Bool("read-only"), AllowOther: c.Bool("allow-other"), Options: c.StringSlice("o"),
		TrustFirstUse: c.Bool("trust-first-use"), Log: c.String("log"), CacheGiven: c.String("cache-size") != "",
		Foreground: c.Bool("foreground"),
	}
	if s.Invite, err = invite(c); err != nil {
		return nil, err
	}
	if s.Log == "" {
		s.Log = filepath.Join(p.State, "megafs.log")
	}
	if s.Log, err = filepath.Abs(s.Log); err != nil {
		return nil, err
	}
	if err := nameable(s.Log); err != nil {
		return nil, err
	}
	if s.JournalSize = 1 << 30; p.Mega != nil {
		s.JournalSize = 4 << 30
	}
	for flag, to := range map[string]*int64{"cache-size": &s.CacheSize, "memory": &s.Memory, "journal-size": &s.JournalSize} {
		if c.String(flag) == "" {
			continue
		}
		if *to, err = parseSize(c.String(flag)); err != nil {
			return nil, err
		}
	}
	if s.UploadLimit, s.DownloadLimit, err = limits(c, 0); err != nil {
		return nil, err
	}
	if p.Dir != "" && s.UploadLimit+s.DownloadLimit > 0 {
		return nil, usage("--upload-limit and --download-limit are for buckets and MEGA accounts; %s is a folder", p.URL)
	}
	for flag, to := range map[string]*time.Duration{"gc-every": &s.GC.Every, "keep": &s.GC.Keep, "gc-grace": &s.GC.Grace} {
		if *to, err = age(c.String(flag)); err != nil {
			return nil, err
		}
	}
	if s.GC.Requests = c.Int64("gc-requests"); s.GC.Requests < 1 {
		return nil, usage("--gc-requests must be at least 1")
	}
	if s.GC.Bytes, err = parseSize(c.String("gc-bytes")); err != nil {
		return nil, err
	}
	switch {
	case s.Memory < 48<<20:
		return nil, usage("--memory must be at least 48M")
	case s.JournalSize < 32<<20:
		return nil, usage("--journal-size must be at least 32M")
	}
	if at := c.String("at"); at != "" {
		if s.At, err = moment(at, time.Now()); err != nil {
			return nil, err
		}
		s.ReadOnly = true
		if c.String("log") == "" {
			s.Log = filepath.Join(p.State, "megafs-at.log")
		}
	}
	if err := fs.CheckOptions(s.Options); err != nil {
		return nil, usageError{err}
	}
	for _, o := range s.Options {
		s.ReadOnly = s.ReadOnly || slices.Contains(strings.Split(o, ","), "ro")
	}
	for _, d := range []string{p.Dir, p.State, p.Cache} {
		if d == "" {
			continue
		}
		if d, err = inTime(againTime, "look for", d, func() (string, error) { return realParent(d) }); remote.Is(err, remote.Timeout) {
			continue // a store that hangs is not one of ours
		} else if err != nil {
			return nil, err
		}
		if within(d, mnt) || within(mnt, d) {
			return nil, usage("a vault can't be mounted over its own folders, or in them: %s", d)
		}
	}
	switch c.String("delete") {
	case "trash":
	case "permanent":
		s.DeletePermanent = true
	default:
		return nil, usage("--delete is trash or permanent")
	}
	if s.Shared = c.Bool("shared"); s.Shared && (p.Mega == nil || p.Mega.Link != "") {
		return nil, usage("--shared is for MEGA accounts, with which others share folders; %s is none", p.URL)
	}
	switch c.String("over-quota") {
	case "fail":
	case "wait":
		s.WaitQuota = true
	default:
		return nil, usage("--over-quota is fail or wait")
	}
	if p.Mega != nil {
		if !s.At.IsZero() || s.GC.Every > 0 && c.IsSet("gc-every") {
			return nil, usage("--at and --gc-every are for vaults; %s is a MEGA account", p.URL)
		}
		s.GC.Every = 0
	}
	switch c.String("fsync") {
	case "journal":
	case "remote":
		s.FsyncRemote = true
	default:
		return nil, usage("--fsync is journal or remote")
	}
	return s, nil
}

func mount(c *cli.Context) error {
	s, err := mountSettings(c)
	if err != nil {
		return err
	}
	if err := cleanStale(s.MountPoint); err != nil {
		return err
	}
	if !s.At.IsZero() {
		if !s.Profile.known() {
			return remote.E("look into the past", s.Profile.URL, remote.NotExist, errors.New("this machine does not know that vault; mount it first"))
		}
	} else if l, err := lockState(s.Profile.State, s.MountPoint); err != nil {
		return err
	} else {
		l.release() // the serving process takes it; this only says at once who has it
	}
	if s.Profile.Mega != nil {
		if _, err := s.Profile.session(); err != nil {
			return err
		}
		return mountIt(c.Context, s)
	}
	store, err := openStore(&s.Profile, s.Profile.Embedded && !s.Profile.known(), askTime, nil)
	if err != nil {
		return err
	}
	ring, offline, err := openRing(c, &s.Profile, store)
	store.Close()
	if err != nil {
		return err
	}
	if !s.TrustFirstUse && s.Invite == nil && !hasTrust(s.Profile.State) {
		if !onTerminal() {
			return remote.E("open vault", "", remote.Permission, vault.ErrNotTrusted)
		}
		if s.TrustFirstUse, err = confirm("This machine has never seen this vault. Is it yours, and in the state you expect? [y/N] "); err != nil || !s.TrustFirstUse {
			return remote.E("open vault", "", remote.Permission, vault.ErrNotTrusted)
		}
	}
	s.Offline = offline
	krk := ring.KRK()
	s.KRK = hex.EncodeToString(krk.Bytes())
	return mountIt(c.Context, s)
}

// mountIt hands over to the process that serves the mount.
func mountIt(ctx context.Context, s *settings) error {
	if s.Foreground {
		return become(s)
	}
	if err := spawn(ctx, s); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s is mounted on %s\n", s.Profile.URL, s.MountPoint)
	return nil
}

// missing says what to do about a vault's folder that is not there.
func missing(err error, p *profile) error {
	if remote.Is(err, remote.NotExist) {
		return remote.E("open vault", p.URL, remote.NotExist, errors.New("the folder is not there; is its disk mounted? megafs vault init makes a new vault"))
	}
	return err
}

func hasTrust(state string) bool {
	m, _ := filepath.Glob(filepath.Join(state, "trust-*"))
	return len(m) > 0
}

func confirm(prompt string) (bool, error) {
	fmt.Fprint(os.Stderr, prompt)
	var answer string
	fmt.Scanln(&answer)
	return answer == "y" || answer == "Y" || answer == "yes", nil
}

// startTimeout is how long the serving process may take until the mount answers.
const startTimeout = 10 * time.Minute

// spawn starts the serving process in a session of its own, hands it settings and key over a pipe, and waits until the mount answers.
func spawn(ctx context.Context, s *settings) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer readyR.Close()
	cmd := exec.Command(self, daemonCommand.Name)
	cmd.Dir = "/"
	if cmd.Env, err = environ(); err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.ExtraFiles = []*os.File{readyW}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readyW.Close()
	if err := json.NewEncoder(in).Encode(s); err != nil {
		return err
	}
	in.Close()
	s.KRK = ""
	readyR.SetReadDeadline(time.Now().Add(startTimeout))
	defer context.AfterFunc(ctx, func() { readyR.SetReadDeadline(time.Now()) })()
	b, err := io.ReadAll(io.LimitReader(readyR, 1<<20))
	if err != nil {
		// Nobody waits for it any more: it must not mount later on, unasked.
		cmd.Process.Kill()
		cmd.Wait()
		cleanStale(s.MountPoint)
		if ctx.Err() != nil {
			return remote.E("mount", s.MountPoint, remote.Canceled, errors.New("interrupted; nothing is mounted"))
		}
		return remote.E("mount", s.MountPoint, remote.Timeout, fmt.Errorf("the mount did not answer in time; see %s", s.Log))
	}
	var f control.Failure
	if jerr := json.Unmarshal(b, &f); jerr != nil {
		cmd.Wait()
		return remote.E("mount", s.MountPoint, remote.Other, fmt.Errorf("the serving process ended; see %s", s.Log))
	}
	if f.Text != "" {
		cmd.Wait()
		return &f
	}
	return cmd.Process.Release()
}

// become turns this process into the serving one, so that nothing of the passphrase is left in its memory. The settings wait
// for it in a pipe, which takes more than they can have.
func become(s *settings) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(w).Encode(s); err != nil {
		return err
	}
	w.Close()
	if err := syscall.Dup2(int(r.Fd()), 0); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", []string{os.Args[0], daemonCommand.Name}, os.Environ())
}

// daemonCommand is the serving process: settings on standard input, the outcome on descriptor 3, or on the terminal in the foreground.
var daemonCommand = &cli.Command{
	Name: "serve-mount", Hidden: true,
	Action: func(c *cli.Context) error {
		var s settings
		if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
			return err
		}
		if s.Foreground {
			return serve(c.Context, &s, func() { fmt.Fprintf(os.Stderr, "%s is mounted on %s\n", s.Profile.URL, s.MountPoint) })
		}
		ready := os.NewFile(3, "ready")
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		for fd := range 3 {
			if err := syscall.Dup2(int(null.Fd()), fd); err != nil {
				return err
			}
		}
		tell := func(f control.Failure) {
			json.NewEncoder(ready).Encode(f)
			ready.Close()
		}
		told := false
		err = serve(context.Background(), &s, func() { told = true; tell(control.Failure{}) })
		if !told && err != nil {
			tell(control.Failure{Text: err.Error(), Code: exitCode(err)})
		}
		return err
	},
}

func (s *settings) keyring(object []byte) (*crypto.Keyring, error) {
	b, err := hex.DecodeString(s.KRK)
	if err != nil {
		return nil, err
	}
	s.KRK = ""
	ring, err := crypto.OpenKeyring(object, crypto.NewSecret(b))
	return ring, keyringErr(err)
}
