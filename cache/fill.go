package cache

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"
)

// fill is one transfer of one digest from upstream to disk, with any number of readers of the growing file. It belongs to the
// store, not to a client: it goes on when the one who started it leaves, and it can be joined until the committed object is visible.
//
// One goroutine, run, brings the bytes in order and hashes them. Where readers are far ahead of it, or upstream may be asked over
// several connections, side transfers bring single segments into the same file; run leaves those out, and hashes them when it gets
// there. So no byte is fetched twice.
type fill struct {
	store  *Store
	digest Digest
	ctx    context.Context // the store's, and ended with the fill
	cancel context.CancelFunc
	ready  chan struct{} // closed when the size is known, or the fill has failed

	// Of run alone until ended is set.
	sum      hash.Hash
	hashed   int64 // how far the file is in sum
	laid     int64 // how far there is room for the file
	noted    int64 // how far the note on disk tells
	notedAt  time.Time
	reserved int64
	checking chan error // the judgement on what an earlier transfer left, while it is being made
	found    note       // what that was
	quiet    int        // requests since a side transfer was last begun
	mine     int64      // how far run has claimed what it is bringing; nobody else brings that

	gathering gathering // has a lock of its own, which is taken before mu

	mu        sync.Mutex
	source    *Source // of run's next request
	file      file
	changed   chan struct{} // closed when something below moves; nil while nobody waits
	size      int64         // -1 while unknown
	mediaType string
	have      spans // in the file
	taken     spans // in the file or on its way
	at        int64 // what the request of run brings next
	pace      pace
	paid      int64            // of what was reserved, what is on disk
	complete  bool             // it was there already
	verified  bool             // all bytes are there and are the digest
	ended     bool             // run has done its part; no more side transfers
	err       error            // why it ended, if not verified
	sources   map[*Source]bool // the ways to upstream of those who read. When the one in use is refused for personal reasons, another is tried
	readers   int              // and one for run itself; the last one closes file
	pinned    bool
	wakes     wakes
	side      sides
}

// view is what a reader is after: from where it reads on, and whether that was so far ahead that waiting made no sense.
type view struct {
	start int64
	far   bool
}

// withheld is how much of the end no reader gets before the digest agrees, so that a wrong body can never be completed. A reader
// that began far ahead asked for a part, not for a body, and would have to wait for the whole: it is told what upstream says.
const withheld = 64 << 10

// diskError is a fault of our own disk, which must never fail a pull: the reader goes on without it.
type diskError struct{ err error }

func (e *diskError) Error() string { return "cache disk: " + e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

func newFill(s *Store, d Digest, src *Source) *fill {
	f := &fill{store: s, digest: d, source: src, ready: make(chan struct{}), size: -1, readers: 1, sources: map[*Source]bool{}}
	f.ctx, f.cancel = context.WithCancel(s.ctx)
	return f
}

// hold lets a reader in.
func (f *fill) hold(src *Source) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers++
	f.sources[src] = true
}

// leave lets a reader out.
func (f *fill) leave(src *Source) {
	f.mu.Lock()
	delete(f.sources, src)
	f.mu.Unlock()
	f.release()
}

func (f *fill) release() {
	f.mu.Lock()
	f.readers--
	last := f.readers == 0
	f.mu.Unlock()
	if !last {
		return
	}
	if f.file != nil {
		f.file.Close()
	}
	if f.pinned {
		f.store.unpin(f.digest)
	}
}

// blob waits for the size and gives the caller, who holds f by src, a reader. On an error the hold is given back.
func (f *fill) blob(ctx context.Context, src *Source, outcome Outcome) (*Blob, error) {
	select {
	case <-f.ready:
	case <-ctx.Done():
		f.leave(src)
		return nil, context.Cause(ctx)
	}
	f.mu.Lock()
	size, mediaType, err := f.size, f.mediaType, f.err
	if f.complete || f.verified && outcome == Collapsed {
		outcome = Hit // complete, if not yet under its final name
	}
	f.mu.Unlock()
	var disk *diskError
	if errors.As(err, &disk) {
		f.leave(src)
		return f.store.uncached(ctx, f.digest, src.Fetch)
	}
	if err != nil {
		f.leave(src)
		return nil, err
	}
	r := &growing{ctx: ctx, fill: f, source: src}
	return &Blob{ReadSeekCloser: r, Digest: f.digest, Size: size, MediaType: mediaType, Outcome: outcome}, nil
}

func (f *fill) isVerified() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.verified
}

func (f *fill) length() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// readAt reads what r may read where it stands, waiting for it if need be.
func (f *fill) readAt(r *growing, p []byte) (int, error) {
	end, err := f.wait(r)
	if err != nil {
		return 0, err
	}
	n, err := f.file.ReadAt(p[:min(int64(len(p)), end-r.pos)], r.pos)
	if n > 0 {
		return n, nil
	}
	err = fmt.Errorf("read back %s at byte %d: %v", f.digest, r.pos, err)
	f.store.report("read a fill", err)
	return 0, &diskError{err}
}

// wait returns the end of what r may read once that lies beyond where it stands, io.EOF when there is no more.
func (f *fill) wait(r *growing) (end int64, err error) {
	for {
		f.mu.Lock()
		f.serveFar(r)
		end, err := f.look(r)
		var changed <-chan struct{}
		if end == 0 && err == nil {
			changed = f.onChange()
		}
		f.mu.Unlock()
		if changed == nil {
			return end, err
		}
		select {
		case <-changed:
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		}
	}
}

// look tells what there is for r, 0 and nil when it has to wait. Nothing of a body that is known to be wrong is given out any
// more, and nobody is told of an end before the digest agrees. The caller holds mu.
func (f *fill) look(r *growing) (end int64, err error) {
	if errors.Is(f.err, ErrMismatch) {
		return 0, f.err
	}
	if end := f.visible(r.pos, r.view); r.pos < end {
		return end, nil
	}
	if f.verified {
		return 0, io.EOF
	}
	return 0, f.err
}

// visible is the end of what may be read at pos.
func (f *fill) visible(pos int64, v view) int64 {
	end := f.have.end(pos)
	switch {
	case f.verified || v.far:
		return end
	case f.size >= 0:
		return min(end, f.size-withheld)
	}
	return end - withheld
}

func (f *fill) onChange() <-chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// change makes a step under the lock and wakes those who wait.
func (f *fill) change(step func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	step()
	f.wake()
}

func (f *fill) wake() {
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
	f.wakes.bytes, f.wakes.last = 0, time.Now()
}
