package cache

import (
	"io"
	"sync"
	"time"
)

// gathering is a piece that is being read. A transfer that is fast is written in larger parts than it is read: by TLS a record of 16 KiB
// comes at a time, and a write for each took a tenth more CPU for each byte. The first ones wait for what comes within gatherTime, as
// far as is known. Where it then does not come, readers get what there is after gatherLate.
type gathering struct {
	late *time.Timer

	mu      sync.Mutex
	buf     []byte // nil when nothing is waiting
	pos     int64  // of buf in the object
	come    int    // of buf
	written int    // of those, too late for the rest
}

const (
	gatherTime = time.Millisecond
	gatherLate = 10 * time.Millisecond
	gatherMost = piece
	paceKnown  = 10 * time.Millisecond // from then on it can be told
)

// gather reads into p, more than once if the transfer is fast. The first so many bytes of it are in the file then. An error of r comes
// with what was read before it.
func (f *fill) gather(r io.Reader, p []byte) (n, written int, err error) {
	n, err = r.Read(p)
	least := min(len(p), f.pace.within(gatherTime))
	if n >= least || err != nil || f.size < 0 {
		return n, 0, err
	}
	g := &f.gathering
	g.begin(p, f.at, n, f.writeLate)
	for n < least && err == nil {
		var more int
		more, err = r.Read(p[n:])
		n += more
		g.mu.Lock()
		g.come = n
		g.mu.Unlock()
	}
	return n, g.end(), err
}

func (g *gathering) begin(buf []byte, pos int64, come int, late func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buf, g.pos, g.come, g.written = buf, pos, come, 0
	if g.late == nil {
		g.late = time.AfterFunc(gatherLate, late)
		return
	}
	g.late.Reset(gatherLate)
}

// end tells how much was written late.
func (g *gathering) end() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buf = nil
	return g.written
}

// writeLate writes what waits in vain. An error shows again when the rest is written.
func (f *fill) writeLate() {
	g := &f.gathering
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buf == nil {
		return
	}
	if f.keep(g.buf[g.written:g.come], g.pos+int64(g.written)) == nil {
		g.written = g.come
	}
	g.late.Reset(gatherLate)
}

// within is how much comes in so short a time, gatherMost if it is more.
func (p *pace) within(d time.Duration) int {
	rate := p.rate
	if passed := time.Since(p.ended); rate == 0 && p.bytes > 0 && passed >= paceKnown {
		rate = p.over(passed)
	}
	return int(min(gatherMost, rate*int64(d)/int64(time.Second)))
}
