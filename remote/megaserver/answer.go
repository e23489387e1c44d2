package megaserver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"time"
)

// result is what a command's slot gets: a text in JSON, or what writes one.
type result struct {
	text   string
	stream func(*tx, *bufio.Writer) error
}

func text(s string) (result, error) { return result{text: s}, nil }

var done = result{text: "0"}

// bare answers a whole request with one code.
func bare(w http.ResponseWriter, c Code) {
	answer(w, strconv.AppendInt(nil, int64(c), 10))
}

func answer(w http.ResponseWriter, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// reply writes an answer, piece by piece if it is long.
type reply struct {
	w     http.ResponseWriter
	cut   cut
	begun bool
}

// whole writes results that are all text.
func (o *reply) whole(body []byte) {
	o.begun = true
	o.cut.write(o.w, body)
}

func join(results []result) []byte {
	var b bytes.Buffer
	for i, r := range results {
		b.WriteByte("[,"[min(i, 1)])
		b.WriteString(r.text)
	}
	b.WriteByte(']')
	return b.Bytes()
}

func (o *reply) write(t *tx, results []result) error {
	streams := false
	for _, r := range results {
		streams = streams || r.stream != nil
	}
	if !streams {
		o.whole(join(results))
		return nil
	}
	o.w.Header().Set("Content-Type", "application/json")
	w := bufio.NewWriterSize(&patient{w: o.w}, 64<<10)
	o.begun = true
	for i, r := range results {
		w.WriteByte("[,"[min(i, 1)])
		if r.stream == nil {
			w.WriteString(r.text)
		} else if err := r.stream(t, w); err != nil {
			return err
		}
	}
	w.WriteByte(']')
	return w.Flush()
}

// patient gives the client a minute for each piece of a long answer.
type patient struct{ w http.ResponseWriter }

func (p *patient) Write(b []byte) (int, error) {
	http.NewResponseController(p.w).SetWriteDeadline(time.Now().Add(time.Minute))
	return p.w.Write(b)
}

// quote writes s as a JSON string with as few escapes as can be, which is what one foreign parser needs.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s)
	return string(bytes.ReplaceAll(bytes.ReplaceAll(bytes.TrimRight(b.Bytes(), "\n"), []byte(`\u2028`), []byte("\u2028")), []byte(`\u2029`), []byte("\u2029")))
}

func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
