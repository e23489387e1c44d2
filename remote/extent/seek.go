package extent

import "megafs/remote"

// Bytes returns how many bytes lie in extents that are no holes. It looks at each extent.
func (m *Map) Bytes() uint64 {
	n := uint64(0)
	for i := range m.list {
		if !m.list[i].Hole {
			n += m.list[i].Len
		}
	}
	return n
}

// NextData returns the first offset from off on, below size, whose byte lies in an extent that is no hole, and whether there is one. (SEEK_DATA;
// ENXIO if there is none.)
func (m *Map) NextData(off, size uint64) (uint64, bool) {
	data, found := size, false
	m.Range(off, size, func(e remote.Extent, _ bool) bool {
		if !e.Hole {
			data, found = e.Off, true
		}
		return !found
	})
	return data, found
}

// NextHole returns the first offset from off on, below size, that lies in a hole or a gap, or else size, where every file has a last hole. (SEEK_HOLE; if
// off is size or beyond, it returns size and ENXIO is the caller's to say.)
func (m *Map) NextHole(off, size uint64) uint64 {
	hole := size
	m.Range(off, size, func(e remote.Extent, _ bool) bool {
		if e.Hole {
			hole = e.Off
		}
		return !e.Hole
	})
	return hole
}
