package cache

import "errors"

// Where upstream holds each connection to a rate of its own, as S3 and most CDNs do, a large object comes faster over several. If
// the operator allows that, so many at once each bring a stretch of the object: the transfer in order the first that is missing,
// side transfers, which are called lanes here, what comes next. The stretches are disjoint and each is read to its end, so that no
// byte is paid for twice.
//
// Lanes keep close to the frontier, up to which there is no gap: what lies behind one can be neither read in order nor hashed yet,
// and is lost in a kill.
const (
	laneWindow = 2 // stretches for each lane, ahead of the frontier
	laneShares = 4 // stretches for each lane at least, of the whole: the longer the last ones are, the longer most lanes wait for one
)

// stretches are the sizes of what lanes bring.
type stretches struct {
	unsplit           int64 // an object of this size or less is one request
	shortest, longest int64
	round             int64 // they end at a multiple of this
}

func usualStretches() stretches { return stretches{16 << 20, nearBytes, 32 << 20, segment} }

// parallel tells whether lanes may help: as far as is known, upstream has taken part, and there is something to share. The caller
// holds mu.
func (f *fill) parallel() bool {
	return f.source.Parallel > 1 && !f.side.alone && !f.side.off && !f.side.held && (f.size < 0 || f.size > f.store.stretches.unsplit)
}

// stretch is how much one request should bring: about a second's worth, since each costs upstream and us a round trip or two, by way
// of the registry and its redirect. The caller holds mu.
func (f *fill) stretch() int64 {
	s := f.store.stretches
	if f.size < 0 {
		return s.unsplit
	}
	share := f.size / int64(laneShares*f.source.Parallel)
	return max(s.shortest, min(f.pace.now(), share, s.longest))
}

// stretchEnd is where a request for what is missing from from on should end. The caller holds mu.
func (f *fill) stretchEnd(from int64) int64 {
	to := from + f.stretch()
	if f.size < 0 {
		return to
	}
	return min(to-to%f.store.stretches.round, f.taken.next(from), f.size)
}

// fillLanes begins lanes for what comes next, as many as are free.
func (f *fill) fillLanes() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.parallel() && f.side.lanes < f.source.Parallel-1 {
		part, ok := f.nextStretch()
		if !ok {
			return
		}
		f.side.lanes++
		f.side.work.Add(1)
		go f.lane(part, f.source.Fetch) // finish waits for it
	}
}

// nextStretch takes the first stretch that nobody brings yet, if it is close enough. The caller holds mu.
func (f *fill) nextStretch() (part span, ok bool) {
	if f.ended || f.size < 0 || !f.parallel() {
		return span{}, false
	}
	part.from = f.taken.gap(f.size).from
	window := laneWindow * int64(f.source.Parallel) * f.stretch()
	if part.from == f.size || part.from > f.have.end(0)+window {
		return span{}, false
	}
	part.to = f.stretchEnd(part.from)
	f.taken.add(part.from, part.to)
	return part, true
}

// lane brings stretch after stretch, as long as all goes well.
func (f *fill) lane(part span, fetch Fetch) {
	defer f.side.work.Done()
	for more := true; more; {
		at, err := f.copyAside(part, fetch)
		f.change(func() {
			f.taken.cut(at, part.to)
			f.noteSide(at > part.from, err)
			more = false
			if err == nil {
				part, more = f.nextStretch()
			}
			if !more {
				f.side.lanes--
			}
		})
	}
}

// noteSide draws the conclusions from how a side transfer ended. One that brought nothing was refused, perhaps because upstream
// counts connections or requests: then it gets no more of them than it would without lanes. The caller holds mu.
func (f *fill) noteSide(brought bool, err error) {
	if f.side.faults++; err == nil {
		f.side.faults = 0
	}
	f.side.off = f.side.off || f.side.faults >= maxFaults || errors.Is(err, errNoRanges)
	f.side.alone = f.side.alone || err != nil && !brought
}

// yield tells whether run, whose request was refused with err, should wait for the lanes that go on instead of asking again: upstream
// may want no request beside theirs.
func (f *fill) yield(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.side.lanes == 0 || Personal(err) {
		return false
	}
	f.side.alone, f.side.full = true, true
	return true
}

// outnumbered tells whether run has to wait for lanes, of which there will be no more, before it asks for what is missing from from on:
// the rest of them may be refused as well, and what is before from is wanted first then. The caller holds mu.
func (f *fill) outnumbered(from int64) bool {
	return f.side.alone && f.side.lanes > 0 && (f.side.full || from > f.have.end(0))
}

// goAlone gives up lanes before they began, because the first part was asked for and the answer does not tell the size: an empty
// object has no part, and some servers tell no sizes with parts. False means that nothing was given up.
func (f *fill) goAlone() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size >= 0 || !f.parallel() {
		return false
	}
	f.side.alone = true
	return true
}
