package megaserver

import (
	"bytes"
	"io"
	"net/http/httptest"
	"testing"
	"testing/iotest"
	"time"
)

// clocked is an answer that counts how often the time to read was renewed.
type clocked struct {
	*httptest.ResponseRecorder
	renewed int
}

func (c *clocked) SetReadDeadline(time.Time) error  { c.renewed++; return nil }
func (c *clocked) SetWriteDeadline(time.Time) error { return nil }

// TestSlowBody: a body that comes slowly has its time for each 64 KiB, whatever the size of the pieces that are stored, and one that trickles has no more.
func TestSlowBody(t *testing.T) {
	data := random(5*slowStep + 1)
	for name, body := range map[string]io.Reader{"at once": bytes.NewReader(data), "byte by byte": iotest.OneByteReader(bytes.NewReader(data)), "with its end": iotest.DataErrReader(bytes.NewReader(data))} {
		w := &clocked{ResponseRecorder: httptest.NewRecorder()}
		b := make([]byte, len(data)+10)
		n, end, err := fill(steady{w, body}, b)
		if err != nil || !end || !bytes.Equal(b[:n], data) {
			t.Error(name, n, end, err)
		}
		if w.renewed < 6 || w.renewed > 7 {
			t.Errorf("%s: the time was renewed %d times", name, w.renewed)
		}
	}
}
