package blobtest

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Overwriter is a server that speaks S3 but for the one thing that matters: it pays no attention to If-None-Match, as older ones do. It keeps one
// bucket, in memory.
type Overwriter struct {
	Puts atomic.Int64

	mu   sync.Mutex
	objs map[string][]byte
}

// ServeHTTP implements http.Handler.
func (o *Overwriter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	body, _ := io.ReadAll(r.Body)
	o.mu.Lock()
	defer o.mu.Unlock()
	b, there := o.objs[key]
	switch {
	case r.Method == http.MethodPut:
		o.Puts.Add(1)
		if o.objs == nil {
			o.objs = map[string][]byte{}
		}
		o.objs[key] = body
		w.Header().Set("ETag", `"0"`)
	case r.Method == http.MethodDelete:
		delete(o.objs, key)
		w.WriteHeader(http.StatusNoContent)
	case key == "":
		o.list(w, r.URL.Query().Get("prefix"))
	case !there:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
	default:
		w.Header().Set("ETag", `"0"`)
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.Write(b)
	}
}

func (o *Overwriter) list(w io.Writer, prefix string) {
	type object struct {
		Key  string
		Size int
	}
	out := struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []object
	}{}
	for k, b := range o.objs {
		if strings.HasPrefix(k, prefix) {
			out.Contents = append(out.Contents, object{k, len(b)})
		}
	}
	slices.SortFunc(out.Contents, func(a, b object) int { return strings.Compare(a.Key, b.Key) })
	xml.NewEncoder(w).Encode(out)
}
