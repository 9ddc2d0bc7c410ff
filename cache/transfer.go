package cache

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// piece is the size of one read from upstream and one write to disk.
const piece = 256 << 10

// stepOfUnknown is how much is reserved at a time for an object whose size upstream does not say.
const stepOfUnknown = 1 << 20

// run is the fill's goroutine; the store's Close waits for it. The fill can be joined until it has a visible object or has failed,
// and it leaves the list only when the disk is in order, so that the next fill of this digest finds it so.
func (f *fill) run() {
	defer f.release()
	err := f.transfer()
	if err == nil {
		f.change(func() { f.verified = true })
	}
	f.finish()
	if err == nil {
		f.commit()
	} else {
		f.settle(err)
	}
	f.store.forget(f)
	f.change(func() { f.err = err })
	f.announce()
	f.store.sweep()
}

// finish waits for the side transfers, and for the check of the partial if nobody has asked for its outcome.
func (f *fill) finish() {
	f.change(func() { f.ended = true })
	f.cancel()
	f.side.work.Wait()
	for _, t := range []*time.Timer{f.wakes.timer, f.gathering.late} {
		if t != nil {
			t.Stop()
		}
	}
}

// announce lets those in who wait for the size.
func (f *fill) announce() {
	if !f.begun() {
		close(f.ready)
	}
}

// begun tells whether somebody may have got a Blob of this fill.
func (f *fill) begun() bool {
	select {
	case <-f.ready:
		return true
	default:
		return false
	}
}

// transfer brings all bytes to the file and checks them.
func (f *fill) transfer() error {
	complete, err := f.open()
	if err != nil {
		return &diskError{err}
	}
	if complete {
		f.announce()
		return nil
	}
	if err := f.finishFound(); err != nil {
		return err
	}
	for barren := 0; ; {
		if err := f.catchUp(); err != nil {
			return err
		}
		if f.size >= 0 && f.hashed == f.size {
			return f.verify()
		}
		before := f.pace.bytes
		err := f.step()
		if f.pace.bytes > before {
			barren = 0
		} else if err != nil { // and not a wait for side transfers
			barren++
		}
		if err == nil {
			continue
		}
		if err := f.mend(err, barren); err != nil {
			return err
		}
	}
}

// mend decides whether to ask again after err. A transfer that has begun is resumed; one that has not is the business of who asked.
func (f *fill) mend(err error, barren int) error {
	var disk *diskError
	switch {
	case f.store.ctx.Err() != nil:
		return fmt.Errorf("fetch %s: %w", f.digest, errClosed)
	case errors.Is(err, errStale), errors.Is(err, ErrRange) && f.found.Frontier > 0:
		return f.startOver()
	case errors.Is(err, ErrRange) && f.goAlone():
		return nil
	case errors.As(err, &disk), errors.Is(err, ErrMismatch), !f.begun():
		return err
	case Personal(err):
		if !f.another() {
			return err
		}
		return nil
	case barren >= maxBarrenTries:
		return err
	}
	return pause(f.ctx, firstPause<<barren)
}

// another goes on with the credentials of some reader who is still there, since those in use were refused.
func (f *fill) another() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sources, f.source)
	for src := range f.sources {
		f.source = src
		return true
	}
	return false
}

// step is one request to upstream, for the first part that is missing, or a wait when all of those are on their way or upstream does
// not want another request beside them.
func (f *fill) step() error {
	f.mu.Lock()
	part := span{f.taken.end(0), -1}
	if f.size >= 0 {
		part = f.taken.gap(f.size)
	}
	if f.outnumbered(part.from) {
		part.to = part.from
	}
	to := part.to
	if part.from != part.to {
		to = f.reach(part)
	}
	f.at, f.mine = part.from, part.from
	if f.parallel() {
		f.mine = to // lanes begin where it ends
		f.taken.add(part.from, to)
	}
	fetch := f.source.Fetch
	more := f.have.end(f.hashed) > f.hashed // came since catchUp looked, and may have been the last
	changed := f.onChange()
	f.mu.Unlock()
	if part.from == part.to {
		if more {
			return nil
		}
		select {
		case <-changed:
			return nil
		case <-f.ctx.Done():
			return f.ctx.Err()
		}
	}
	return f.bring(fetch, part.from, to)
}

// bring asks for what run has claimed, up to to, and copies it.
func (f *fill) bring(fetch Fetch, from, to int64) error {
	defer f.change(func() { f.taken.cut(f.at, f.mine) })
	b, err := f.store.request(f.ctx, f.digest, fetch, from, to)
	if err != nil && f.yield(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer b.Close()
	if b.Size < 0 && f.goAlone() {
		return nil
	}
	if err := f.begin(b); err != nil {
		return err
	}
	if to >= 0 && !b.Part {
		f.change(func() { f.side.off = true })
	}
	if to < 0 || !b.Part || f.size >= 0 && f.size < to {
		to = f.size // known by now, if ever before the end
	}
	return f.copy(b, to)
}

// begin takes what upstream's header says: the size, once and for all.
func (f *fill) begin(b *body) error {
	switch {
	case f.size >= 0 && b.Size >= 0 && b.Size != f.size:
		return fmt.Errorf("fetch %s: upstream says %d bytes, said %d before: %w", f.digest, b.Size, f.size, ErrMismatch)
	case f.checking != nil && b.Size >= 0 && f.found.Size >= 0 && b.Size != f.found.Size:
		return errStale
	}
	if !f.begun() || f.size < 0 && b.Size >= 0 {
		if err := f.makeRoom(b.Size); err != nil {
			return err
		}
		f.change(func() { f.size, f.mediaType = b.Size, b.MediaType })
		f.announce()
	}
	return f.await()
}

// makeRoom reserves up to size bytes in all.
func (f *fill) makeRoom(size int64) error {
	if size <= f.reserved {
		return nil
	}
	if err := f.store.admit(size - f.reserved); err != nil {
		return &diskError{err}
	}
	f.reserved = size
	return nil
}

// copy moves the body to the file up to limit, or to where a side transfer has been. A clean end before the known size is an error
// like any other break.
func (f *fill) copy(b *body, limit int64) error {
	if err := b.skip(f.at); err != nil {
		return fmt.Errorf("fetch %s: %w", f.digest, err)
	}
	buf := f.store.piece()
	defer f.store.pieces.Put(buf)
	for first := true; ; first = false {
		f.fillLanes()
		f.claim(limit)
		if f.mine == f.at {
			return nil
		}
		n, written, err := f.gather(b, buf[:min(piece, f.mine-f.at)])
		if writeErr := f.append(buf[:n], written); writeErr != nil {
			return writeErr
		}
		if first { // lets those go on that were woken by it: on a busy machine no other thread did for 3 ms, while upstream never paused
			runtime.Gosched()
		}
		if err == io.EOF {
			return f.bodyEnded(limit)
		}
		if err != nil {
			return fmt.Errorf("fetch %s: broke at byte %d: %w", f.digest, f.at, err)
		}
	}
}

// claim takes the next piece, if no side transfer was there first.
func (f *fill) claim(limit int64) {
	if f.at < f.mine {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.side.off && f.taken.end(0) < f.mine && limit-f.mine > nearBytes {
		return // a side transfer left a gap behind us, nobody else will close it, and the end of what was asked for is far
	}
	to := min(f.mine+piece, f.taken.next(f.mine))
	if limit >= 0 {
		to = min(to, limit)
	}
	f.taken.add(f.mine, to)
	f.mine = to
}

func (f *fill) bodyEnded(limit int64) error {
	if f.size < 0 {
		f.change(func() { f.size = f.at })
		return nil
	}
	if f.at < limit {
		return fmt.Errorf("fetch %s: ended at byte %d, want %d: %w", f.digest, f.at, limit, io.ErrUnexpectedEOF)
	}
	return nil
}

func (f *fill) verify() error {
	if f.digest.is(f.sum) {
		return nil
	}
	return fmt.Errorf("fetch %s: upstream's %d bytes have another digest: %w", f.digest, f.hashed, ErrMismatch)
}

// commit gives verified content its final name. Readers have the bytes already, so a failure costs the next one a transfer and is
// only reported.
func (f *fill) commit() {
	if f.complete {
		return
	}
	owed := f.reserved - f.paid
	if err := f.store.commit(f.digest, f.file, meta{f.size, f.mediaType}); err != nil {
		f.store.index.release(f.reserved, owed)
		f.store.giveUp(f.digest, err)
		return
	}
	f.store.index.settle(f.digest, f.size, f.reserved, owed)
	f.pinned = true
}

// settle ends a fill that failed. What was received stays for a resume, unless it is known to be wrong or the disk is at fault.
func (f *fill) settle(err error) {
	defer func() { f.store.index.release(f.reserved, f.reserved-f.paid) }()
	stale := f.await()
	var disk *diskError
	switch {
	case errors.As(err, &disk):
		f.store.giveUp(f.digest, err)
	case errors.Is(err, ErrMismatch):
		f.store.counts.Mismatches.Add(1)
		f.store.report("refuse "+f.digest.String(), err)
		f.store.removePartial(f.digest)
	case errors.Is(stale, errStopped): // not looked at: it stays as it was
		f.store.index.addPartial(f.digest, f.found.Frontier)
	case stale != nil || f.hashed == 0:
		f.store.removePartial(f.digest)
	default:
		f.takeNote()
		size := f.onDisk()
		f.file.Truncate(size) // gives back what was laid behind it
		f.store.index.addPartial(f.digest, size)
	}
}

// giveUp notes that content could not be kept, once for all who read it.
func (s *Store) giveUp(d Digest, err error) {
	s.counts.Uncached.Add(1)
	if !errors.Is(err, errNoRoom) || s.tight.due(s.now()) {
		s.report("keep "+d.String(), err)
	}
	s.removePartial(d)
	if !s.onDisk(d) {
		s.disk.remove(s.dir.meta(d))
	}
}
