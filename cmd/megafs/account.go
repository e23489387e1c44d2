package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"megafs/crypto/megacrypt"
	"megafs/fs/volume"
	"megafs/remote"
	"megafs/remote/mega"
)

// megaPlace is a MEGA account, or a public folder or file.
type megaPlace struct {
	API   string // URL of the server
	Email string
	Link  string // of a public folder or file, with its key: a secret
}

// String returns the URL of an account, or that of a public link without its key.
func (m *megaPlace) String() string {
	switch {
	case m.Link != "":
		link, err := megacrypt.ParseLink(m.Link)
		if err != nil {
			return "mega:"
		}
		kind := "/file/"
		if link.Folder {
			kind = "/folder/"
		}
		if m.API == mega.DefaultURL {
			return "https://mega.nz" + kind + link.Handle
		}
		return m.API + kind + link.Handle
	case m.API == mega.DefaultURL:
		return "mega:" + m.Email
	case strings.HasPrefix(m.API, "http://"):
		return "mega+http://" + m.Email + "@" + strings.TrimPrefix(m.API, "http://")
	}
	return "mega://" + m.Email + "@" + strings.TrimPrefix(m.API, "https://")
}

// accountFile names the account that a bare "mega:" means: the one that was logged in last.
func accountFile() string { return filepath.Join(xdg("XDG_CONFIG_HOME", ".config"), "mega-account") }

// loggedIn returns the URL of the account that was logged in last, "" if none was.
func loggedIn() string {
	b, err := os.ReadFile(accountFile())
	if s := strings.TrimSpace(string(b)); err == nil && s != "mega:" && len(s) < 1024 {
		return s
	}
	return ""
}

const megaForms = "mega:, mega:E-MAIL, mega://E-MAIL@HOST, or the link of a public folder or file"

// parseMega takes the URL of an account or a link; ok is false for what is neither. Errors don't repeat it: it may have a secret in it.
func parseMega(s string) (m *megaPlace, ok bool, err error) {
	if strings.Contains(s, "#") && (strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")) {
		m, err = parseLink(s)
		return m, true, err
	}
	if s == "mega:" {
		if s = loggedIn(); s == "" {
			return nil, true, remote.E("open the account", "", remote.Locked, errors.New("nobody is logged in; run megafs login"))
		}
	}
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || scheme != "mega" && scheme != "mega+http" {
		return nil, false, nil
	}
	m = &megaPlace{API: mega.DefaultURL, Email: strings.ToLower(rest)}
	if place, far := strings.CutPrefix(rest, "//"); far {
		i := strings.LastIndexByte(place, '@')
		if i < 0 {
			return nil, true, usage("an account is %s", megaForms)
		}
		host := strings.ToLower(place[i+1:])
		u, err := url.Parse("https://" + host)
		if err != nil || u.Host != host || host == "" || u.Hostname() == "" {
			return nil, true, usage("an account's server is a host, or host:port")
		}
		m.Email, m.API = strings.ToLower(place[:i]), "https://"+host
		if scheme == "mega+http" {
			m.API = "http://" + host
		}
	} else if scheme != "mega" {
		return nil, true, usage("an account is %s", megaForms)
	}
	if name, domain, ok := strings.Cut(m.Email, "@"); !ok || name == "" || domain == "" || len(m.Email) > 254 || strings.ContainsFunc(m.Email, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`/#?"<>:`, r)
	}) || strings.Contains(domain, "@") {
		return nil, true, usage("an account is %s", megaForms)
	}
	return m, true, nil
}

func parseLink(s string) (*megaPlace, error) {
	if strings.Contains(s, "#P!") {
		return nil, usage("a link with a password is not supported; ask for one without, or open it with MEGA's own programs")
	}
	l, err := megacrypt.ParseLink(s)
	if err != nil {
		return nil, usage("that is no public link, or it is not whole: the key stands behind the #, with 22 characters for a folder and 43 for a file")
	}
	if l.Below != "" {
		return nil, usage("only links to whole public folders and to files can be mounted; leave out what stands behind the key")
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, usage("that is no public link")
	}
	m := &megaPlace{API: mega.DefaultURL, Link: s}
	if h := strings.ToLower(u.Host); h != "mega.nz" && h != "mega.co.nz" && h != "www.mega.nz" {
		m.API = u.Scheme + "://" + h
	}
	return m, nil
}

// id is what a place's folders are called after. Of a link that is with its key: what was known under another is of no use.
func (m *megaPlace) id() string {
	if l, err := megacrypt.ParseLink(m.Link); err == nil {
		return folderName("mega", m.API+" "+l.String())
	}
	return folderName("mega", m.String())
}

// session returns the kept log-in of a profile's account, one that only has the server for a public link.
func (p *profile) session() (*mega.Session, error) {
	if p.Mega.Link != "" {
		return &mega.Session{URL: p.Mega.API}, nil
	}
	s, err := mega.LoadSession(p.State)
	if err != nil {
		return nil, err
	}
	if s.Email != p.Mega.Email {
		return nil, remote.E("open the account", p.URL, remote.Locked, errors.New("the state folder is another account's"))
	}
	return s, nil
}

// traffic counts what goes to a MEGA server and comes from it.
type traffic struct {
	mu       sync.Mutex
	requests map[string]uint64
	up, down uint64
}

func (t *traffic) meter() mega.Meter {
	return mega.Meter{
		Request: func(kind string) {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.requests == nil {
				t.requests = map[string]uint64{}
			}
			t.requests[kind]++
		},
		Bytes: func(up, down int64) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.up += uint64(up)
			t.down += uint64(down)
		},
	}
}

func (t *traffic) snapshot() (requests map[string]uint64, up, down uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.requests), t.up, t.down
}

// openMega opens an account and its volume.
func (x *served) openMega(ctx context.Context, log *slog.Logger) error {
	s, p := x.s, &x.s.Profile
	session, err := p.session()
	if err != nil {
		return err
	}
	o := mega.Options{
		Session: session, StateDir: p.State, Memory: s.Memory / 4, Shared: s.Shared, Delete: s.DeletePermanent, Meter: x.traffic.meter(), Pace: mega.Pace{Up: x.rates.Up, Down: x.rates.Down}, Log: log,
		Owner: mega.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())},
	}
	if p.Mega.Link != "" {
		l, err := megacrypt.ParseLink(p.Mega.Link)
		if err != nil {
			return usage("that is no public link")
		}
		o.Link, s.ReadOnly = &l, true
	}
	x.rates.Set(s.UploadLimit, s.DownloadLimit)
	if err := lostIndex(p.State); err != nil {
		return err
	}
	if x.mega, err = mega.Open(o); err != nil {
		return err
	}
	local := session.Local
	if o.Link != nil {
		copy(session.Master[:], o.Link.Key)
	}
	x.volume, err = volume.Open(ctx, volume.Options{
		Remote: x.mega, StateDir: p.State, CacheDir: p.Cache, CacheSize: s.CacheSize, JournalSize: s.JournalSize,
		Memory: s.Memory / 4 * 3, FsyncRemote: s.FsyncRemote, WaitQuota: s.WaitQuota, ReadOnly: s.ReadOnly, Log: log,
		Keys: volume.Keys{Journal: local("journal"), Tree: local("tree"), Cache: local("cache")},
		Changed: func(c []volume.Change) {
			if srv := x.server.Load(); srv != nil {
				srv.Changed(c)
			}
		},
	})
	return err
}

// lostIndex fails when there is a journal but the index is gone by which its records are understood.
func lostIndex(state string) error {
	if _, err := os.Stat(mega.IndexDir(state)); err == nil {
		return nil
	}
	if _, err := os.Stat(filepath.Join(state, "journal")); err != nil {
		return nil
	}
	return remote.E("open the account", state, remote.Integrity, errors.New("the folder \"account\" is missing beside the journal, whose changes can't be understood without it; restore it, or move the whole state folder away and give up what was not sent"))
}
