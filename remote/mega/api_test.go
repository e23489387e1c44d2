package mega

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestBusyForOneCommand: a server that answers a repeated request as it did the first time, as MEGA's does, was busy for a command. That it was not done is certain, so it
// is asked for by another request; one whose answer was lost is repeated as it was.
func TestBusyForOneCommand(t *testing.T) {
	answers, asked := map[string]string{}, 0
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		id := r.URL.Query().Get("id")
		if answers[id] == "" {
			answers[id] = []string{"[-3]", "[7]", "[8]"}[len(answers)]
		}
		if asked == 2 {
			panic(http.ErrAbortHandler) // after it was done
		}
		io.WriteString(w, answers[id])
	}))
	defer h.Close()
	a, err := newAPI(h.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	a.retry = 2 * time.Second
	if out, err := a.call(context.Background(), command{"a": "u"}); err != nil || string(out) != "7" || len(answers) != 2 || asked != 3 {
		t.Errorf("%s, %v, %d requests of %d ids", out, err, asked, len(answers))
	}
}
