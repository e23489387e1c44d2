package megaserver

import (
	"encoding/binary"
	"encoding/hex"
	"sort"
)

// pieceSize is the most of a file that is one object of the store.
const pieceSize = 4 << 20

// part says where some bytes of a content are: length bytes of a blob from skip on. The key has the offset in the content. Parts of
// one content never overlap.
type part struct {
	off    uint64
	length uint64
	skip   uint64
	blob   string // without what all blobs of the content begin with
}

func (p *part) encode() []byte {
	b := binary.AppendUvarint(nil, p.length)
	b = binary.AppendUvarint(b, p.skip)
	return append(b, p.blob...)
}

func decodePart(off uint64, b []byte) (part, error) {
	p := part{off: off}
	var n, m int
	if p.length, n = binary.Uvarint(b); n <= 0 {
		return p, errNode
	}
	if p.skip, m = binary.Uvarint(b[n:]); m <= 0 {
		return p, errNode
	}
	p.blob = string(b[n+m:])
	return p, nil
}

// blobPrefix is what the names of a content's blobs begin with.
func blobPrefix(id contentID) string {
	h := hex.EncodeToString(id[:])
	return "content/" + h[:2] + "/" + h + "-"
}

// run is a range of bytes that is stored.
type run struct{ from, to uint64 }

// cover adds a run.
func cover(have []run, r run) []run {
	i := sort.Search(len(have), func(i int) bool { return have[i].to >= r.from })
	j := i
	for ; j < len(have) && have[j].from <= r.to; j++ {
		r.from, r.to = min(r.from, have[j].from), max(r.to, have[j].to)
	}
	if i == j {
		have = append(have, run{})
		copy(have[i+1:], have[i:])
		have[i] = r
		return have
	}
	have[i] = r
	return append(have[:i+1], have[j:]...)
}

// gaps returns what of r is not there yet.
func gaps(have []run, r run) (missing []run) {
	for _, h := range have {
		if h.to <= r.from {
			continue
		}
		if h.from >= r.to {
			break
		}
		if h.from > r.from {
			missing = append(missing, run{r.from, h.from})
		}
		r.from = h.to
	}
	if r.from < r.to {
		missing = append(missing, r)
	}
	return missing
}
