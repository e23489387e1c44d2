package volume

import (
	"fmt"
	"testing"
	"time"

	"megafs/fs/tree"
	"megafs/remote"
)

// rowOf makes files of a size in a directory.
func rowOf(b *bench, dir string, n int, size uint64) (list []tree.Node) {
	b.t.Helper()
	d := b.mk(remote.Root, dir, remote.Dir)
	for i := range n {
		ino := b.mk(d, fmt.Sprintf("f%03d", i), remote.File)
		if _, err := b.Setattr(ctx, ino, SetAttr{Size: &size}); err != nil {
			b.t.Fatal(err)
		}
		node, err := b.tree.Node(ino)
		if err != nil {
			b.t.Fatal(err)
		}
		list = append(list, node)
	}
	return list
}

// TestRows: the third file in the order of a listing shows a row, and each that follows doubles what is fetched ahead, over the end of a directory too; files here and there
// show nothing.
func TestRows(t *testing.T) {
	b := newBench(t)
	files := append(rowOf(b, "a", 100, 5000), rowOf(b, "b", 100, 5000)...)
	asked := func() (n int) {
		for _, x := range b.rows.list {
			for _, f := range x.ahead {
				if f.asked {
					n++
				}
			}
		}
		return n
	}
	read := func(n tree.Node) bool {
		x := b.rows.read(n)
		if x != nil {
			b.lookAhead(x)
		}
		return x != nil
	}
	// From the end to the beginning, and from one directory to the other.
	for i := range 50 {
		read(files[(i%2)*100+99-i])
		if n := asked(); n > 0 {
			t.Fatalf("%d files were asked for after %d reads here and there", n, i+1)
		}
	}
	if len(b.rows.list) > maxRows {
		t.Fatal(len(b.rows.list), "rows")
	}
	b.rows.list = nil
	most := 0
	for i, f := range files {
		looked := read(f)
		if i < 2 && asked() > 0 || i == 2 && asked() != firstRow || i == 3 && asked() != 2*firstRow {
			t.Fatalf("%d files were asked for after %d", asked(), i+1)
		}
		if looked && read(f) {
			t.Fatal("one file counted twice")
		}
		if i > 2 && i < len(files)-1 && !b.rows.list[0].ahead[0].asked {
			t.Fatalf("the file after %d was not asked for", i)
		}
		most = max(most, asked())
	}
	if len(b.rows.list) != 1 || most != maxRow {
		t.Fatalf("%d rows, %d files were asked for at most", len(b.rows.list), most)
	}
	// Of larger files fewer are asked for.
	b.rows.list, most = nil, 0
	for _, f := range rowOf(b, "c", 30, smallFile) {
		read(f)
		most = max(most, asked())
	}
	if most != rowBytes/smallFile {
		t.Fatalf("%d bytes were asked for", most*smallFile)
	}
}

// TestRowsOverMega: whoever reads small files of an account in a row has the next ones fetched.
func TestRowsOverMega(t *testing.T) {
	a := newAccount(t)
	s := a.login()
	b, end := a.mount(s, t.TempDir(), t.TempDir())
	d := b.mk(remote.Root, "dir", remote.Dir)
	for i := range 20 {
		b.write(b.mk(d, fmt.Sprintf("f%03d", i), remote.File), 0, pattern(30000, i))
	}
	b.drain()
	end()
	b, _ = a.mount(s, t.TempDir(), t.TempDir())
	d = b.ino(remote.Root, "dir")
	for i := range 3 {
		b.read(b.ino(d, fmt.Sprintf("f%03d", i)))
		for looking := true; looking; time.Sleep(time.Millisecond) { // or the third may come before the second was looked at
			b.rows.mu.Lock()
			looking = b.rows.looking
			b.rows.mu.Unlock()
		}
	}
	for stop := time.Now().Add(20 * time.Second); b.Volume.cache.Stats().Fetches < 3+firstRow; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(stop) {
			t.Fatalf("%d files were fetched after three were read", b.Volume.cache.Stats().Fetches)
		}
	}
}
