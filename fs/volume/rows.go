package volume

import (
	"slices"
	"sync"

	"megafs/fs/tree"
	"megafs/remote"
)

// Limits of rows.
const (
	maxRows   = 4
	firstRow  = 2       // files to fetch ahead once a row is seen
	maxRow    = 64      // and at most
	rowBytes  = 8 << 20 // and bytes, but for one file
	rowLooked = 8       // files that are looked at to see whether a row begins
)

// filesFetched is how many fetches are under way at a time where each file costs one at least: most of their time is a round trip's.
const filesFetched = 24

// rows fetches small files ahead that have their objects to themselves, for those who read one after another in the order of listings. Each is a round trip or two, so many
// are fetched at a time. A row begins with two files of a directory; the first that was to be expected after them is the proof, and from then on each doubles
// what is fetched ahead. Reads here and there cost a look at a directory at most.
type rows struct {
	mu      sync.Mutex
	list    []*row // the one used latest last
	looking bool
	later   *row
}

// row is somebody who reads file after file.
type row struct {
	last   tree.Node // that was read
	ahead  []follower
	window int // how many to fetch ahead; 0: nothing is proven
}

// follower is a file that is expected to be read.
type follower struct {
	node  tree.Node
	asked bool // for its content
}

// read notes that a file is read, and returns the row for which more files are to be looked for; nil if none is.
func (r *rows) read(n tree.Node) *row {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.list) - 1; i >= 0; i-- {
		x := r.list[i]
		if x.last.Ino == n.Ino {
			return nil
		}
		at := slices.IndexFunc(x.ahead, func(f follower) bool { return f.node.Ino == n.Ino })
		if at < 0 {
			continue
		}
		r.list = append(slices.Delete(r.list, i, i+1), x)
		x.last, x.ahead = n, slices.Clone(x.ahead[at+1:])
		x.window = min(max(firstRow, 2*x.window), maxRow)
		if len(x.ahead) > x.window/2 && x.ahead[x.window/2].asked {
			return nil
		}
		return x
	}
	for i, x := range r.list {
		if x.last.Parent == n.Parent && x.window == 0 { // the second in this directory: it may be a row
			r.list = append(slices.Delete(r.list, i, i+1), x)
			x.last, x.ahead = n, nil
			return x
		}
	}
	if len(r.list) == maxRows {
		r.list = r.list[1:]
	}
	r.list = append(r.list, &row{last: n})
	return nil
}

// inRow fetches ahead for those who read small files in a row.
func (v *Volume) inRow(n tree.Node) {
	r := &v.rows
	x := r.read(n)
	if x == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.looking {
		r.later = x // of those that come meanwhile the latest counts
		return
	}
	r.looking = true
	v.wg.Go(func() {
		for x := x; x != nil; {
			v.lookAhead(x)
			r.mu.Lock()
			x, r.later = r.later, nil
			r.looking = x != nil
			r.mu.Unlock()
		}
	})
}

// lookAhead finds the files that follow in a row and asks the cache for as many as its window says.
func (v *Volume) lookAhead(x *row) {
	r := &v.rows
	r.mu.Lock()
	last, known, want, bytes := x.last, len(x.ahead), max(x.window, rowLooked), uint64(0)
	for _, f := range x.ahead {
		last = f.node
		bytes += f.node.Size
	}
	begun := x.last.Ino
	r.mu.Unlock()
	var found []follower
	steps := 0
	more := func(n tree.Node) bool {
		if steps++; n.Type == remote.File && n.Size > 0 && n.Size <= smallFile {
			found = append(found, follower{node: n})
			bytes += n.Size
		}
		return known+len(found) < want && bytes < rowBytes && steps < maxSteps
	}
	if known < want && bytes < rowBytes && !v.walkFrom(last, more) {
		for ino := last.Ino + 1; ino <= last.Ino+maxSteps; ino++ {
			if n, err := v.tree.Node(ino); err == nil && n.Parent == last.Parent && !more(n) {
				break
			}
		}
	}
	r.mu.Lock()
	// Meanwhile some of them may have been read, but no others put here.
	x.ahead = append(x.ahead, found...)
	if x.last.Ino != begun {
		if at := slices.IndexFunc(x.ahead, func(f follower) bool { return f.node.Ino == x.last.Ino }); at >= 0 {
			x.ahead = x.ahead[at+1:]
		}
	}
	var ask []tree.Node
	for i := range min(len(x.ahead), x.window) {
		if f := &x.ahead[i]; !f.asked {
			f.asked = true
			ask = append(ask, f.node)
		}
	}
	r.mu.Unlock()
	for _, n := range ask {
		if ref := objectOf(v.tree, n); ref != nil && alone(*ref, n) {
			v.cache.Prefetch([]remote.Extent{allOf(*ref)})
		}
	}
}

// alone reports whether a small file has an object to itself.
func alone(ref remote.Ref, n tree.Node) bool {
	return ref.Off == 0 && uint64(ref.Chunks) == (n.Size+remote.ChunkSize-1)/remote.ChunkSize
}
