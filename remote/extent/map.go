package extent

import (
	"errors"
	"slices"
	"sort"

	"megafs/remote"
)

// Map says which bytes of a file are where. The zero Map is empty: everything is a gap, which reads as zeros.
type Map struct {
	list []remote.Extent
}

// FromSorted makes a Map of extents in order, which it takes over. Lists that are not in order, overlap, or have an empty extent or one that
// ends beyond remote.MaxSize are refused with kind Invalid.
func FromSorted(list []remote.Extent) (*Map, error) {
	end := uint64(0)
	for _, e := range list {
		if e.Off < end || e.Len == 0 || e.Off > remote.MaxSize || e.Len > remote.MaxSize-e.Off {
			return nil, remote.E("read extents", "", remote.Invalid, errors.New("empty, too far, overlapping or out of order"))
		}
		end = e.End()
	}
	return &Map{list}, nil
}

func (m *Map) find(off uint64) int {
	return sort.Search(len(m.list), func(i int) bool { return m.list[i].End() > off })
}

// Set lays an extent over what is there.
func (m *Map) Set(e remote.Extent) {
	if e.Len == 0 {
		return
	}
	i := m.open(e.Off, e.End())
	m.list = slices.Insert(m.list, i, e)
	for at := min(i+1, len(m.list)-1); at > 0 && at >= i; at-- {
		if a, b := m.list[at-1], m.list[at]; joins(a, b) {
			m.list[at-1].Len += b.Len
			m.list = slices.Delete(m.list, at, at+1)
		}
	}
}

// joins reports whether b continues a. Inline bytes are left as they came. References that differ in their object's number of chunks are
// never joined, as one of them lies, and the sum of two that fit their object might not fit.
func joins(a, b remote.Extent) bool {
	if a.End() != b.Off || a.Inline != nil || b.Inline != nil || a.Hole != b.Hole {
		return false
	}
	return a.Hole || a.Ref.Object == b.Ref.Object && a.Ref.Epoch == b.Ref.Epoch && a.Ref.Chunks == b.Ref.Chunks &&
		uint64(a.Ref.Off)+a.Len == uint64(b.Ref.Off)
}

// open makes [from, to) a gap and returns the index where it is.
func (m *Map) open(from, to uint64) int {
	i := m.find(from)
	j := i
	var put [2]remote.Extent
	k, at := 0, i
	if i < len(m.list) && m.list[i].Off < from {
		put[k] = m.list[i].Slice(0, from)
		k++
		at++
	}
	for j < len(m.list) && m.list[j].End() <= to {
		j++
	}
	if j < len(m.list) && m.list[j].Off < to {
		put[k] = m.list[j].Slice(to, m.list[j].End())
		k++
		j++
	}
	m.list = slices.Replace(m.list, i, j, put[:k]...)
	return at
}

// Clear makes [from, to) a gap.
func (m *Map) Clear(from, to uint64) {
	if from < to {
		m.open(from, to)
	}
}

// Cut makes everything from an offset on a gap.
func (m *Map) Cut(from uint64) { m.Clear(from, ^uint64(0)) }

// Range calls fn for [from, to) in order: parts of extents, and gaps as holes with gap true. fn returns false to stop.
func (m *Map) Range(from, to uint64, fn func(e remote.Extent, gap bool) bool) {
	for i := m.find(from); from < to; i++ {
		if i >= len(m.list) || m.list[i].Off >= to {
			fn(remote.Extent{Off: from, Len: to - from, Hole: true}, true)
			return
		}
		if off := m.list[i].Off; off > from {
			if !fn(remote.Extent{Off: from, Len: off - from, Hole: true}, true) {
				return
			}
			from = off
		}
		e := m.list[i].Slice(from, to)
		if !fn(e, false) {
			return
		}
		from = e.End()
	}
}

// All returns the extents in order; they must not be changed.
func (m *Map) All() []remote.Extent { return m.list }

// Len returns how many extents there are.
func (m *Map) Len() int { return len(m.list) }
