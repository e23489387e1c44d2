package megaserver

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Fault is something that goes wrong, for tests of clients.
type Fault struct {
	// On is the command that it happens to, or sc, wsc, w (waiting for events), dl (download), ul (upload), fu and fd (file attributes);
	// empty: any request with commands.
	On    string
	Skip  int // so many requests pass first
	Times int // so many are hit; 0: one

	Code     Code          // instead of being carried out the command is answered this; an upload, too
	Whole    bool          // the whole request is answered Code, as a bare number
	Status   int           // or an HTTP status
	TimeLeft int           // with Status 509, in seconds
	Hashcash int           // or a challenge of this easiness
	Delay    time.Duration // first
	Drop     bool          // the connection ends before anything is done
	Lost     bool          // all is done, but the connection ends instead of an answer
	Truncate int64         // the connection ends after so many bytes of the answer's body
}

// Faults are those that are to happen.
type Faults struct {
	mu   sync.Mutex
	todo []Fault
	hit  int
}

// Faults returns what makes the server fail on demand.
func (s *Server) Faults() *Faults { return &s.faults }

// Add lets a fault happen from now on.
func (f *Faults) Add(x Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x.Times == 0 {
		x.Times = 1
	}
	f.todo = append(f.todo, x)
}

// Clear forgets what has not happened yet.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.todo = nil
}

// Hits says how many requests were hit so far.
func (f *Faults) Hits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

// take returns the fault that hits a request, if one does.
func (f *Faults) take(hits func(on string) bool) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.todo {
		x := &f.todo[i]
		if !hits(x.On) {
			continue
		}
		if x.Skip > 0 {
			x.Skip--
			continue
		}
		f.hit++
		out := *x
		if x.Times--; x.Times == 0 {
			f.todo = append(f.todo[:i], f.todo[i+1:]...)
		}
		return &out
	}
	return nil
}

// cut is how the answer to a request is spoiled.
type cut struct {
	done     bool // it is answered
	lost     bool
	short    bool
	truncate int64
	hashcash int
}

// begin does what a fault does before a request is looked at.
func (x *Fault) begin(w http.ResponseWriter, r *http.Request) (cut, bool) {
	if x == nil {
		return cut{}, false
	}
	if x.Delay > 0 {
		select {
		case <-time.After(x.Delay):
		case <-r.Context().Done():
		}
	}
	if x.Drop {
		panic(http.ErrAbortHandler)
	}
	if x.Status != 0 {
		if x.TimeLeft != 0 {
			w.Header()["X-MEGA-Time-Left"] = []string{strconv.Itoa(x.TimeLeft)}
		}
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(x.Status)
		return cut{done: true}, true
	}
	return cut{lost: x.Lost, short: x.Truncate > 0, truncate: x.Truncate, hashcash: x.Hashcash}, false
}

// request spoils a request with commands.
func (f *Faults) request(w http.ResponseWriter, r *http.Request, b *batch) cut {
	x := f.take(func(on string) bool {
		for _, i := range b.items {
			if on == "" || i.name == on {
				return true
			}
		}
		return false
	})
	c, over := x.begin(w, r)
	if over || x == nil || x.Code == 0 {
		return c
	}
	if x.Whole {
		bare(w, x.Code)
		c.done = true
		return c
	}
	for i := range b.items {
		if x.On == "" || b.items[i].name == x.On {
			b.items[i].fail = x.Code
		}
	}
	return c
}

// pseudo spoils a request without commands and reports whether it is answered.
func (f *Faults) pseudo(w http.ResponseWriter, r *http.Request, name string) bool {
	x := f.take(func(on string) bool { return on == name })
	c, over := x.begin(w, r)
	switch {
	case over:
		return true
	case x != nil && x.Code != 0:
		chunkAnswer(w, x.Code)
		return true
	case c.lost || c.short:
		panic(http.ErrAbortHandler)
	}
	return false
}

// data spoils a download.
func (f *Faults) data(w http.ResponseWriter, r *http.Request) cut {
	c, _ := f.take(func(on string) bool { return on == "dl" }).begin(w, r)
	return c
}

// write writes an answer as far as it is to come.
func (c cut) write(w http.ResponseWriter, body []byte) {
	if c.lost {
		panic(http.ErrAbortHandler)
	}
	if c.short && c.truncate < int64(len(body)) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body[:c.truncate])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	answer(w, body)
}

// writer spoils a body that is written piece by piece.
func (c cut) writer(w http.ResponseWriter) interface{ Write([]byte) (int, error) } {
	if c.lost {
		panic(http.ErrAbortHandler)
	}
	if !c.short {
		return w
	}
	return &shortWriter{w: w, left: c.truncate}
}

type shortWriter struct {
	w    http.ResponseWriter
	left int64
}

func (s *shortWriter) Write(b []byte) (int, error) {
	if int64(len(b)) <= s.left {
		s.left -= int64(len(b))
		return s.w.Write(b)
	}
	s.w.Write(b[:s.left])
	http.NewResponseController(s.w).Flush()
	panic(http.ErrAbortHandler)
}
