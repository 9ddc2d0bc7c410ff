package cache

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// Clients such as containerd's parallel fetcher and the lazy snapshotters ask for parts that the transfer in order comes to only
// much later. What is farther ahead than nearBytes, and than the transfer in order comes in nearSeconds, is fetched at the side.
const (
	nearBytes   = 8 << 20
	nearSeconds = 2
	segment     = 4 << 20 // a side transfer ends at a multiple of this
	segmentHead = 1 << 20 // and begins at one of this
	maxSides    = 4       // at once
	maxFaults   = 3       // in a row; then upstream is left in peace
	calmAfter   = 8       // requests in order without a new side transfer, then they have no end again
)

// sides are the side transfers of a fill.
type sides struct {
	running int
	begun   int // ever, and
	seen    int // when run looked last
	faults  int
	lanes   int            // running beside those
	alone   bool           // upstream does not want lanes
	full    bool           // nor another request while those that it took go on
	off     bool           // upstream does not take part
	held    bool           // for a moment none is begun: the file begins anew
	work    sync.WaitGroup // run waits for it
}

var errNoRanges = errors.New("upstream ignores ranges")

// serveFar begins a side transfer where r waits for bytes that would be long in coming. The caller holds mu.
func (f *fill) serveFar(r *growing) {
	if f.ended || f.side.off || f.side.held || f.size < 0 || r.pos >= f.size {
		return
	}
	window := f.window()
	if r.pos == r.view.start && r.pos > f.have.end(0)+window {
		r.view.far = true
	}
	pos := r.pos
	if end := f.have.end(pos); end > pos {
		if !r.view.far || pos-r.view.start < segment || end-pos > segment/2 || end >= f.size {
			return
		}
		pos = end // a part is read to its end in order: the next segment should be there in time
	}
	onItsWay := f.taken.end(pos) > pos || pos >= f.at && pos <= f.at+window
	if onItsWay || f.side.running >= maxSides {
		return
	}
	part := f.segment(pos)
	f.taken.add(part.from, part.to)
	f.side.running++
	f.side.begun++
	f.side.work.Add(1)
	go f.fetchAside(part, r.source.Fetch) // finish waits for it
}

// window is how far ahead of the transfer in order a reader may be and still wait for it. The caller holds mu.
func (f *fill) window() int64 {
	return max(nearBytes, nearSeconds*f.pace.now())
}

// segment is what a side transfer for pos brings: from a round number to the next, and nothing that is taken.
func (f *fill) segment(pos int64) span {
	from := pos - pos%segmentHead
	for f.taken.next(from) < pos {
		from = f.taken.end(f.taken.next(from))
	}
	return span{from, min(pos-pos%segment+segment, f.taken.next(pos), f.size)}
}

func (f *fill) fetchAside(part span, fetch Fetch) {
	defer f.side.work.Done()
	at, err := f.copyAside(part, fetch)
	f.change(func() {
		f.side.running--
		f.taken.cut(at, part.to)
		f.noteSide(at > part.from, err)
	})
}

// copyAside brings part to the file and returns how far it got. It has no say in how the fill ends: what it does not bring, the
// transfer in order will.
func (f *fill) copyAside(part span, fetch Fetch) (at int64, err error) {
	at = part.from
	b, err := f.store.request(f.ctx, f.digest, fetch, part.from, part.to)
	if err != nil {
		return at, err
	}
	defer b.Close()
	if b.pos != part.from {
		return at, errNoRanges
	}
	if b.Size >= 0 && b.Size != f.length() {
		return at, fmt.Errorf("upstream says %d bytes, said %d before: %w", b.Size, f.length(), ErrMismatch)
	}
	buf := f.store.piece()
	defer f.store.pieces.Put(buf)
	for at < part.to {
		n, err := b.Read(buf[:min(piece, part.to-at)])
		if n > 0 {
			if err := f.write(buf[:n], at); err != nil {
				return at, err
			}
			f.came(at, int64(n))
			at += int64(n)
		}
		if err != nil && at < part.to {
			return at, err
		}
		if err == io.EOF {
			break
		}
	}
	return at, nil
}

// reach is where a request for part should end. While side transfers go on it is short, so that it need not be cut where one of
// them has been: bytes in flight on a connection that is cut are paid for and lost. The caller holds mu.
func (f *fill) reach(part span) int64 {
	if f.parallel() {
		return f.stretchEnd(part.from)
	}
	if f.quiet++; f.side.begun > f.side.seen {
		f.quiet, f.side.seen = 0, f.side.begun
	}
	switch {
	case f.side.begun > 0 && !f.side.off && f.quiet < calmAfter:
		return min(part.to, part.from+nearBytes)
	case part.to == f.size:
		return -1
	}
	return part.to
}
