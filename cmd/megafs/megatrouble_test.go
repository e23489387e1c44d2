package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"megafs/remote/blob/blobtest"
	"megafs/remote/megaserver"
)

// belated is in front of a server and holds some requests that make nodes: whoever sent one finds the line cut, and later it arrives after all.
type belated struct {
	server http.Handler
	mu     sync.Mutex
	rng    *rand.Rand
	most   time.Duration // that a request is held; 0: none is
	held   int
	puts   int // nodes that held requests ask for
	wg     sync.WaitGroup
}

func (l *belated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/cs" {
		l.server.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	l.mu.Lock()
	hold := l.most > 0 && bytes.Contains(body, []byte(`"a":"p"`)) && l.rng.IntN(6) == 0
	var wait time.Duration
	if hold {
		wait = time.Duration(l.rng.Int64N(int64(l.most)))
		l.held++
		l.puts += bytes.Count(body, []byte(`"a":"p"`))
	}
	l.mu.Unlock()
	if !hold {
		r.Body = io.NopCloser(bytes.NewReader(body))
		l.server.ServeHTTP(w, r)
		return
	}
	again := httptest.NewRequest(r.Method, r.URL.String(), bytes.NewReader(body))
	again.Header = r.Header.Clone()
	l.wg.Go(func() {
		defer func() { recover() }() // of a fault that ends the connection, which there is none any more
		time.Sleep(wait)
		l.server.ServeHTTP(httptest.NewRecorder(), again)
	})
	panic(http.ErrAbortHandler)
}

func (l *belated) hold(most time.Duration) {
	l.mu.Lock()
	l.most = most
	l.mu.Unlock()
	if most == 0 {
		l.wg.Wait()
	}
}

// trouble makes requests fail, and cuts the line, until stop is closed.
func trouble(line *blobtest.Line, f *megaserver.Faults, rng *rand.Rand, stop <-chan struct{}) {
	defer line.Mend()
	defer f.Clear()
	for {
		f.Clear()
		for range 2 {
			x := megaserver.Fault{On: []string{"p", "p", "m", "a", "u", "ul", "sc", "w"}[rng.IntN(8)], Skip: rng.IntN(2)}
			switch rng.IntN(5) {
			case 0:
				x.Status = 500 + rng.IntN(4)
			case 1:
				x.Drop = true
			case 2:
				x.Lost = true
			case 3:
				x.Code = -3
			case 4:
				x.Delay = time.Duration(rng.IntN(300)) * time.Millisecond
			}
			f.Add(x)
		}
		if rng.IntN(4) == 0 {
			line.Cut()
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(30+rng.IntN(150)) * time.Millisecond):
		}
		line.Mend()
	}
}
