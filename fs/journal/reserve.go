package journal

// purpose is what a record is for, which says what room it may use.
type purpose int

const (
	forData    purpose = iota
	forFreeing         // of a caller's, which gives room back or needs little: the reserve too
	forNotes           // of the journal's own: that, and what is kept back for notes
)

// keep is how much must be left behind a record.
func (p purpose) keep() int64 {
	if p == forNotes {
		return 0
	}
	return noteRoom
}

// used is the end of what records of that purpose may not use. mu is held.
func (s *segment) used(why purpose) int64 {
	if s.reserve && why == forData {
		return s.size
	}
	return s.end
}

// useReserve makes a spare file of the reserve, if it is there for that. mu is held.
func (j *Journal) useReserve(why purpose) bool {
	if why == forData || j.reserve.f == nil {
		return false
	}
	j.spares, j.reserve = append(j.spares, j.reserve), spare{}
	return true
}

// refill makes a reserve if there is none. That it can't be made is no error: it is tried again with the next segment, and when some are freed.
func (j *Journal) refill() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.reserve.f != nil || j.refilling || j.usable() != nil || j.free(forData) < j.step {
		return
	}
	j.bytes += j.step
	j.refilling = true
	j.mu.Unlock()
	sp, err := j.newSpare(reserveName, j.step)
	if err != nil {
		_ = j.discard(sp.name, sp.f)
	}
	j.mu.Lock()
	j.refilling = false
	if err != nil {
		j.bytes -= j.step
		return
	}
	j.reserve = sp
}
