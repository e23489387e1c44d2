package mega

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// TestGather: commands that come while requests are under way go together, each gets its own result, and one that is to be tried again is, alone.
func TestGather(t *testing.T) {
	var mu sync.Mutex
	var sizes []int
	busy := true
	hold := make(chan struct{})
	arrived := make(chan struct{}, 100)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var cs []struct{ N int }
		json.Unmarshal(b, &cs)
		mu.Lock()
		sizes = append(sizes, len(cs))
		out := []any{}
		for _, c := range cs {
			switch {
			case c.N == 7 && busy:
				busy = false
				out = append(out, -3)
			case c.N == 8:
				out = append(out, -9)
			default:
				out = append(out, map[string]int{"n": c.N})
			}
		}
		mu.Unlock()
		arrived <- struct{}{}
		<-hold
		json.NewEncoder(w).Encode(out)
	}))
	t.Cleanup(func() { h.CloseClientConnections(); h.Close() })
	a, err := newAPI(h.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	g := newGatherer(a)
	defer g.close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	ask := func(n int) {
		wg.Go(func() {
			raw, err := g.call(ctx, command{"a": "u", "n": n})
			if n == 8 {
				if !isCode(err, codeNoEntry) {
					t.Error(n, err)
				}
				return
			}
			if err != nil || string(raw) != fmt.Sprintf(`{"n":%d}`, n) {
				t.Errorf("%d: %s %v", n, raw, err)
			}
		})
	}
	for n := range gatherFlights { // one after another, so that each is alone
		ask(n)
		<-arrived
	}
	const more = 70
	for n := gatherFlights; n < more; n++ {
		ask(n)
	}
	for waits := 0; waits < more-gatherFlights; {
		g.mu.Lock()
		waits = len(g.waiting)
		g.mu.Unlock()
	}
	close(hold)
	wg.Wait()
	sum, most := 0, 0
	for _, n := range sizes {
		sum, most = sum+n, max(most, n)
	}
	if len(sizes) != gatherFlights+3 || sum != more+1 || most != commandsAtOnce {
		t.Errorf("requests of %v commands", sizes)
	}
	// Whoever gives up does not wait, and a closed one takes nothing.
	gone, end := context.WithCancel(ctx)
	end()
	g.mu.Lock()
	g.flying += gatherFlights
	g.mu.Unlock()
	if _, err := g.call(gone, command{"a": "u"}); err == nil {
		t.Error("an answer without a request")
	}
	g.mu.Lock()
	g.flying -= gatherFlights
	g.mu.Unlock()
	g.close()
	if _, err := g.call(ctx, command{"a": "u"}); err == nil {
		t.Error("an answer after the end")
	}
}
