package blob

import (
	"container/list"
	"sync"
)

// fileCache keeps files open that were read lately. mu owns all of it.
//
// A file is used for as long as it has a name, which is asked of the file itself each time: objects that others remove or
// replace are opened anew.
type fileCache struct {
	max int

	mu    sync.Mutex
	files map[string]*list.Element // of *openFile
	order list.List                // the last used first
	gen   uint64                   // counts removals: a file opened before one may not be kept after it
}

type openFile struct {
	fileReader
	name string
	uses int  // reads under way
	gone bool // closed by the last of them
}

// get returns a file that is open under name, to be given back with put, or nil; and the generation to pass to add.
func (c *fileCache) get(name string) (*openFile, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.files[name]
	if e == nil {
		return nil, c.gen
	}
	c.order.MoveToFront(e)
	f := e.Value.(*openFile)
	f.uses++
	return f, c.gen
}

// add makes a file one that get returns, unless something was removed since generation gen, and returns it as get does.
func (c *fileCache) add(name string, r fileReader, gen uint64) *openFile {
	f := &openFile{fileReader: r, name: name, uses: 1}
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen != c.gen || c.files[name] != nil {
		f.gone = true
		return f
	}
	if c.files == nil {
		c.files = map[string]*list.Element{}
	}
	c.files[name] = c.order.PushFront(f)
	if c.order.Len() > c.max {
		c.removeLocked(c.order.Back())
	}
	return f
}

// put gives back what get or add returned.
func (c *fileCache) put(f *openFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.uses--
	if f.gone && f.uses == 0 {
		f.Close()
	}
}

// remove forgets name.
func (c *fileCache) remove(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	if e := c.files[name]; e != nil {
		c.removeLocked(e)
	}
}

// clear forgets all.
func (c *fileCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	for _, e := range c.files {
		c.removeLocked(e)
	}
}

func (c *fileCache) removeLocked(e *list.Element) {
	f := c.order.Remove(e).(*openFile)
	delete(c.files, f.name)
	f.gone = true
	if f.uses == 0 {
		f.Close()
	}
}
