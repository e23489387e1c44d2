package blob_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"megafs/remote"
	"megafs/remote/blob"
	"megafs/remote/blob/blobtest"
)

// TestP4_V52SlowServer: a server that says nothing, or a byte now and then, holds nobody longer than he wants to wait.
func TestP4_V52SlowServer(t *testing.T) {
	end := make(chan struct{})
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/drips") {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes 0-999/1000")
				w.WriteHeader(http.StatusPartialContent)
			}
			for range 1000 {
				w.Write([]byte{0})
				w.(http.Flusher).Flush()
				select {
				case <-end:
					return
				case <-r.Context().Done():
					return
				case <-time.After(time.Second):
				}
			}
		}
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})
	defer close(end)
	for _, name := range []string{"drips", "silence"} {
		for what, call := range map[string]func(context.Context) error{
			"get":   func(c context.Context) error { _, err := s.Get(c, name, 1000); return err },
			"range": func(c context.Context) error { return s.GetRange(c, name, 0, make([]byte, 1000)) },
			"put":   func(c context.Context) error { return s.Put(c, name+"-put", []byte("x")) },
		} {
			c, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			start := time.Now()
			if err := call(c); !remote.Is(err, remote.Timeout) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%s, %s: it took %v", name, what, took)
			}
			cancel()
		}
	}
}

// TestP4_V59Redirect: whatever a server says of another place, with whatever status and for whatever request, nobody goes there: not to another host, and not to the
// same without TLS.
func TestP4_V59Redirect(t *testing.T) {
	var followed atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{other.URL + "/bucket/a", strings.Replace(other.URL, "127.0.0.1", "localhost", 1), "//" + strings.TrimPrefix(other.URL, "http://") + "/x"} {
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", to)
				w.WriteHeader(status)
				fmt.Fprintf(w, "<Error><Code>PermanentRedirect</Code><Endpoint>%s</Endpoint><Region>elsewhere</Region></Error>", strings.TrimPrefix(other.URL, "http://"))
			})
			calls := map[string]error{"put": s.Put(ctx, "a", []byte("x")), "delete": s.Delete(ctx, "a"), "range": s.GetRange(ctx, "a", 0, make([]byte, 1))}
			_, calls["get"] = s.Get(ctx, "a", 1)
			_, calls["size"] = s.Size(ctx, "a")
			calls["list"] = s.List(ctx, "", "", func(blob.Info) error { return nil })
			for what, err := range calls {
				if err == nil || remote.Is(err, remote.NotExist) || remote.Is(err, remote.Exist) {
					t.Errorf("%d to %s, %s: %v", status, to, what, err)
				}
			}
			s.Close()
		}
	}
	if n := followed.Load(); n > 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
}

// TestP4_V60ErrorBodies: what a server says of an error is read a little of, and no more; none of it gets raw into a message, and no entity is looked up.
func TestP4_V60ErrorBodies(t *testing.T) {
	bomb := `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">`
	for i := 'b'; i <= 'j'; i++ {
		bomb += fmt.Sprintf(`<!ENTITY %c "%s">`, i, strings.Repeat(fmt.Sprintf("&%c;", i-1), 10))
	}
	bomb += `]><Error><Code>&j;</Code><Message>&j;</Message></Error>`
	const escapes = "\x1b]0;owned\x07\x1b[2J\r\nlevel=ERROR msg=forged\u202e"
	var sent atomic.Int64
	for what, body := range map[string]func(w io.Writer){
		"escapes": func(w io.Writer) {
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%[1]s</Message><Key>%[1]s</Key></Error>", escapes)
		},
		"bare escapes": func(w io.Writer) { io.WriteString(w, escapes) },
		"bomb":         func(w io.Writer) { io.WriteString(w, bomb) },
		"100 MB": func(w io.Writer) {
			io.WriteString(w, "<Error><Message>")
			for b := bytes.Repeat([]byte("x"), 1<<20); sent.Load() < 100<<20; {
				n, err := w.Write(b)
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		},
		"deep": func(w io.Writer) { io.WriteString(w, strings.Repeat("<a>", 20_000)) },
	} {
		for _, status := range []int{400, 403, 404, 409, 412, 416, 500, 503} {
			if what == "100 MB" && status != 404 && status != 503 {
				continue
			}
			sent.Store(0)
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(status)
				body(w)
			})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			calls := map[string]error{"put": s.Put(ctx, "a", []byte("x")), "range": s.GetRange(ctx, "a", 0, make([]byte, 1))}
			_, calls["get"] = s.Get(ctx, "a", 1)
			calls["list"] = s.List(ctx, "", "", func(blob.Info) error { return nil })
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
				t.Errorf("%s, %d: %d bytes of memory", what, status, n)
			}
			for call, err := range calls {
				if err == nil {
					t.Errorf("%s, %d, %s: no error", what, status, call)
					continue
				}
				m := err.Error()
				if strings.ContainsAny(m, "\x1b\x07\r\n\u202e") || len(m) > 4<<10 {
					t.Errorf("%s, %d, %s: a message of %d bytes: %.200q", what, status, call, len(m), m)
				}
			}
			s.Close()
		}
	}
}

// TestP4_V69ServerClock: what a server says of times means nothing. One whose clock is decades off, and whose objects are from before or after that, does all that a store must.
func TestP4_V69ServerClock(t *testing.T) {
	srv := blobtest.NewS3Server(t)
	for _, year := range []int{1970, 2106} {
		at := time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC)
		listed := regexp.MustCompile(`<LastModified>[^<]*</LastModified>`)
		proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: srv.Addr})
			r.Out.Host = r.In.Host // which is signed
		}}
		proxy.ModifyResponse = func(r *http.Response) error {
			r.Header.Set("Date", at.Format(http.TimeFormat))
			if r.Header.Get("Last-Modified") != "" {
				r.Header.Set("Last-Modified", at.Format(http.TimeFormat))
			}
			if !strings.Contains(r.Header.Get("Content-Type"), "xml") {
				return nil
			}
			b, err := io.ReadAll(r.Body)
			r.Body.Close()
			b = listed.ReplaceAll(b, []byte("<LastModified>"+at.Format("2006-01-02T15:04:05.000Z")+"</LastModified>"))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
			r.Header.Set("Content-Length", strconv.Itoa(len(b)))
			return err
		}
		far := httptest.NewServer(proxy)
		p, err := blob.ParseS3(srv.Over(strings.TrimPrefix(far.URL, "http://")) + fmt.Sprint(year))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint(year), func(t *testing.T) {
			s, err := blob.S3(p, blob.S3Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := blob.Probe(ctx, s); err != nil {
				t.Fatal(err)
			}
			if err := s.Put(ctx, "a", []byte("bytes")); err != nil {
				t.Fatal(err)
			}
			n := 0
			if err := s.List(ctx, "", "", func(i blob.Info) error { n++; return nil }); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			if b, err := s.Get(ctx, "a", 10); err != nil || string(b) != "bytes" {
				t.Fatal(b, err)
			}
		})
		far.Close()
	}
}
