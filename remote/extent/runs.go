package extent

import (
	"slices"
	"sort"
)

// Run is Len bytes from Off on, with a value that says where they are.
type Run[V any] struct {
	Off, Len uint64
	V        V
}

// End returns the offset after the last byte.
func (r Run[V]) End() uint64 { return r.Off + r.Len }

// Runs is an ordered list of runs that do not overlap. What no run covers is a gap.
type Runs[V any] struct {
	list  []Run[V]
	slice func(v V, skip, n uint64) V
	joins func(a V, alen uint64, b V) bool
}

// NewRuns returns an empty list. slice returns the value of n bytes that begin skip bytes into a run of value v; joins
// reports whether a run of value b right after one of value a and alen bytes may be told as one run of value a.
func NewRuns[V any](slice func(v V, skip, n uint64) V, joins func(a V, alen uint64, b V) bool) *Runs[V] {
	return &Runs[V]{slice: slice, joins: joins}
}

// find returns the index of the first run that ends after off.
func (r *Runs[V]) find(off uint64) int {
	return sort.Search(len(r.list), func(i int) bool { return r.list[i].End() > off })
}

// part returns the part of a run that lies in [from, to).
func (r *Runs[V]) part(x Run[V], from, to uint64) Run[V] {
	from, to = max(from, x.Off), min(to, x.End())
	return Run[V]{from, to - from, r.slice(x.V, from-x.Off, to-from)}
}

// Set lays n bytes of value v at off over what is there.
func (r *Runs[V]) Set(off, n uint64, v V) {
	if n == 0 {
		return
	}
	end := off + n
	i := r.find(off)
	j := i
	var put [3]Run[V]
	k := 0
	if i < len(r.list) && r.list[i].Off < off {
		put[k] = r.part(r.list[i], 0, off)
		k++
	}
	put[k] = Run[V]{off, n, v}
	k++
	for j < len(r.list) && r.list[j].End() <= end {
		j++
	}
	if j < len(r.list) && r.list[j].Off < end {
		put[k] = r.part(r.list[j], end, r.list[j].End())
		k++
		j++
	}
	r.list = slices.Replace(r.list, i, j, put[:k]...)
	// The neighbours of what is new may continue it.
	for at := min(i+k, len(r.list)-1); at > 0 && at >= i; at-- {
		a, b := &r.list[at-1], r.list[at]
		if a.End() == b.Off && r.joins(a.V, a.Len, b.V) {
			a.Len += b.Len
			r.list = slices.Delete(r.list, at, at+1)
		}
	}
}

// Clear makes [from, to) a gap.
func (r *Runs[V]) Clear(from, to uint64) {
	if from >= to {
		return
	}
	i := r.find(from)
	j := i
	var put [2]Run[V]
	k := 0
	if i < len(r.list) && r.list[i].Off < from {
		put[k] = r.part(r.list[i], 0, from)
		k++
	}
	for j < len(r.list) && r.list[j].End() <= to {
		j++
	}
	if j < len(r.list) && r.list[j].Off < to {
		put[k] = r.part(r.list[j], to, r.list[j].End())
		k++
		j++
	}
	r.list = slices.Replace(r.list, i, j, put[:k]...)
}

// Cut makes everything from an offset on a gap.
func (r *Runs[V]) Cut(from uint64) { r.Clear(from, ^uint64(0)) }

// Range calls fn for [from, to) in order: parts of runs, and gaps with ok false. fn returns false to stop.
func (r *Runs[V]) Range(from, to uint64, fn func(off, n uint64, v V, ok bool) bool) {
	var none V
	for i := r.find(from); from < to; i++ {
		if i >= len(r.list) || r.list[i].Off >= to {
			fn(from, to-from, none, false)
			return
		}
		x := r.list[i]
		if x.Off > from {
			if !fn(from, x.Off-from, none, false) {
				return
			}
			from = x.Off
		}
		p := r.part(x, from, to)
		if !fn(p.Off, p.Len, p.V, true) {
			return
		}
		from = p.End()
	}
}

// All returns the runs in order; they must not be changed.
func (r *Runs[V]) All() []Run[V] { return r.list }

// Len returns how many runs there are.
func (r *Runs[V]) Len() int { return len(r.list) }

// Clone returns a list of its own with the same runs.
func (r *Runs[V]) Clone() *Runs[V] {
	return &Runs[V]{slices.Clone(r.list), r.slice, r.joins}
}
