package cache

import (
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"
)

// append writes and hashes what comes next. The first bytes of it may be in the file already.
func (f *fill) append(p []byte, written int) error {
	if len(p) == 0 {
		return nil
	}
	pos, n := f.at, int64(len(p))
	if f.size < 0 && pos+n > f.reserved {
		if err := f.makeRoom(pos + n + max(stepOfUnknown, pos/2)); err != nil {
			return err
		}
	}
	f.layAhead(pos, n)
	if err := f.keep(p[written:], pos+int64(written)); err != nil {
		return err
	}
	f.advance(n)
	if pos == f.hashed {
		f.hash(p)
	}
	return f.catchUp()
}

// layStep is for how much the file system looks for room at a time. By pages as they are written it takes half as much CPU time again for
// each byte; and what was laid and is never written, after a transfer that broke, is no more than this.
const layStep = 8 << 20

// layAhead has room made for the n bytes at pos and those behind them. Where that is not to be had the write will do without, or tell.
func (f *fill) layAhead(pos, n int64) {
	if pos+n <= f.laid || f.size-pos < layStep/8 {
		return
	}
	f.laid = min(pos+layStep, f.size)
	if err := lay(f.file, pos, f.laid-pos); err != nil {
		f.laid = math.MaxInt64
	}
}

// keep writes p at pos and lets readers have it.
func (f *fill) keep(p []byte, pos int64) error {
	if len(p) == 0 {
		return nil
	}
	if err := f.write(p, pos); err != nil {
		return err
	}
	f.came(pos, int64(len(p)))
	return nil
}

// write writes p at pos. A full disk gets a second chance after an eviction, if that can make room for the rest too.
func (f *fill) write(p []byte, pos int64) error {
	_, err := f.file.WriteAt(p, pos)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		if n := f.store.minFree + f.store.index.owed.Load() + piece; f.store.index.canFree(n) {
			f.store.free(n)
			_, err = f.file.WriteAt(p, pos)
		}
	}
	if err != nil {
		return &diskError{err}
	}
	return nil
}

func (f *fill) hash(p []byte) {
	f.sum.Write(p)
	f.hashed += int64(len(p))
	if f.hashed-f.noted >= max(noteEvery, f.hashed/16) && time.Since(f.notedAt) >= f.store.notePause {
		f.takeNote()
	}
}

// catchUp hashes what side transfers have brought, from the page cache, as far as there is no gap.
func (f *fill) catchUp() error {
	f.mu.Lock()
	end := f.have.end(f.hashed)
	f.mu.Unlock()
	if end == f.hashed {
		return nil
	}
	buf := f.store.piece()
	defer f.store.pieces.Put(buf)
	for f.hashed < end {
		n, err := f.file.ReadAt(buf[:min(piece, end-f.hashed)], f.hashed)
		if n == 0 {
			return &diskError{fmt.Errorf("read back %s at byte %d: %v", f.digest, f.hashed, err)}
		}
		f.hash(buf[:n])
	}
	return nil
}

// advance notes that the request of run has brought n bytes.
func (f *fill) advance(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at += n
	f.pace.note(n)
}

// pace is how fast the transfer in order goes.
type pace struct {
	bytes   int64
	rate    int64 // bytes a second, of the last interval
	counted int64 // bytes up to that one's end
	ended   time.Time
}

// paceInterval is short enough to see a transfer slow down, and long enough not to take one burst for speed.
const paceInterval = 500 * time.Millisecond

func (p *pace) note(n int64) {
	p.bytes += n
	if p.ended.IsZero() {
		p.ended = time.Now()
	}
	if passed := time.Since(p.ended); passed >= paceInterval {
		p.rate = p.over(passed)
		p.counted, p.ended = p.bytes, time.Now()
	}
}

// now is the rate at this moment, which is less than the last interval's when nothing comes any more.
func (p *pace) now() int64 {
	if passed := time.Since(p.ended); passed > 2*paceInterval {
		return min(p.rate, p.over(passed))
	}
	return p.rate
}

func (p *pace) over(passed time.Duration) int64 {
	return int64(float64(p.bytes-p.counted) / passed.Seconds())
}

// wakes spares readers of a fast transfer being woken for every few kilobytes: 8 readers woken each 32 KiB instead of 256 KiB slow
// the transfer down by a third.
type wakes struct {
	bytes int       // come in since the last one
	last  time.Time // when that was
	timer *time.Timer
	armed bool
}

const wakeEvery = 5 * time.Millisecond

// came notes that the file has got n bytes at pos. The caller has written them.
func (f *fill) came(pos, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have.add(pos, pos+n)
	f.paid += n
	f.store.index.owed.Add(-n)
	w := &f.wakes
	w.bytes += int(n)
	switch {
	case f.changed == nil:
	case w.bytes >= piece || time.Since(w.last) >= wakeEvery:
		f.wake()
	case w.timer == nil:
		w.timer, w.armed = time.AfterFunc(wakeEvery, f.wakeLate), true
	case !w.armed:
		w.timer.Reset(wakeEvery)
		w.armed = true
	}
}

func (f *fill) wakeLate() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakes.armed = false
	f.wake()
}
