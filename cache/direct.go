package cache

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
)

// direct reads an object straight from upstream for one client, because the disk does not take it. As far as it can it is hashed
// from its first byte, and then the last piece is kept back until the digest agrees, as a fill does. A break is resumed.
type direct struct {
	ctx    context.Context
	cancel context.CancelFunc
	store  *Store
	digest Digest
	fetch  Fetch
	size   int64
	want   int64     // where the client has seeked to
	pos    int64     // of the next byte in buf
	next   int64     // of the next byte from upstream
	sum    hash.Hash // of all bytes before next; nil when reading did not begin at 0
	body   *body
	buf    []byte // the bytes from pos to next
	judged bool   // the end was reached and is good
	err    error  // what the client was told
}

// newDirect reads from pos. sum is of the bytes before from, which is not behind pos; nil when they are not known.
func newDirect(ctx context.Context, s *Store, d Digest, fetch Fetch, pos, from int64, sum hash.Hash) *direct {
	r := &direct{store: s, digest: d, fetch: fetch, want: pos, pos: pos, next: from, sum: sum, size: -1}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// uncached is Blob without the store.
func (s *Store) uncached(ctx context.Context, d Digest, fetch Fetch) (*Blob, error) {
	r := newDirect(ctx, s, d, fetch, 0, 0, d.hash())
	if err := r.open(); err != nil {
		r.cancel()
		return nil, err
	}
	return &Blob{ReadSeekCloser: r, Digest: d, Size: r.size, MediaType: r.body.MediaType, Outcome: Uncached}, nil
}

// goOn continues for r, who was reading f, straight from upstream. The hash of f goes on with it where it can.
func (f *fill) goOn(r *growing) *direct {
	from, sum := f.hashState(r.pos)
	if sum == nil && r.view.start == 0 {
		from, sum = 0, f.digest.hash() // what was read before cannot be hashed any more, but it can be asked for again
	}
	if sum == nil {
		from = r.pos
	}
	d := newDirect(r.ctx, f.store, f.digest, r.source.Fetch, r.pos, from, sum)
	d.size = f.length()
	return d
}

// hashState is a copy of the hash of all bytes before pos, or some before, if there is one.
func (f *fill) hashState(pos int64) (from int64, sum hash.Hash) {
	f.mu.Lock()
	ended := f.ended // until then run goes on hashing
	reaches := ended && f.hashed <= pos && f.have.end(f.hashed) >= pos
	f.mu.Unlock()
	if !reaches || f.sum == nil {
		return 0, nil
	}
	cloner, ok := f.sum.(hash.Cloner)
	if !ok {
		return 0, nil
	}
	sum, err := cloner.Clone()
	if err != nil {
		return 0, nil
	}
	return f.hashed, sum
}

// open asks upstream for what comes next.
func (r *direct) open() error {
	b, err := r.store.request(r.ctx, r.digest, r.fetch, r.next, -1)
	if err != nil {
		return err
	}
	if r.size >= 0 && b.Size >= 0 && b.Size != r.size {
		b.Close()
		return fmt.Errorf("fetch %s: upstream says %d bytes, said %d before: %w", r.digest, b.Size, r.size, ErrMismatch)
	}
	if err := b.skip(r.next); err != nil {
		b.Close()
		return fmt.Errorf("fetch %s: %w", r.digest, err)
	}
	r.body, r.size = b, max(r.size, b.Size)
	return nil
}

func (r *direct) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.want != r.pos {
		r.move()
	}
	for barren := 0; r.err == nil; {
		if n := copy(p, r.free()); n > 0 {
			r.buf = r.buf[n:]
			r.pos += int64(n)
			r.want = r.pos
			return n, nil
		}
		if r.judged {
			r.err = io.EOF
			break
		}
		before := r.next
		err := r.look()
		if barren++; r.next > before {
			barren = 0
		}
		if err != nil {
			r.err = r.mend(err, barren)
		}
	}
	return 0, r.err
}

// free is what the client may have.
func (r *direct) free() []byte {
	if r.sum == nil || r.judged {
		return r.buf
	}
	return r.buf[:max(0, len(r.buf)-withheld)]
}

// look reads on. What lies before pos is only hashed.
func (r *direct) look() error {
	if r.body == nil {
		if r.size >= 0 && r.next >= r.size {
			return r.judge() // it broke behind the last byte, and a request for what comes next would be refused
		}
		if err := r.open(); err != nil {
			return err
		}
	}
	room := withheld / 2
	r.buf = append(r.buf, make([]byte, room)...)
	fresh := r.buf[len(r.buf)-room:]
	n, err := r.body.Read(fresh)
	r.buf = r.buf[:len(r.buf)-room+n]
	if r.sum != nil {
		r.sum.Write(fresh[:n])
	}
	r.next += int64(n)
	if surplus := r.pos - (r.next - int64(len(r.buf))); surplus > 0 {
		r.buf = r.buf[min(surplus, int64(len(r.buf))):]
	}
	if err == io.EOF {
		return r.judge()
	}
	return err
}

func (r *direct) judge() error {
	if r.size >= 0 && r.next < r.size {
		return fmt.Errorf("fetch %s: ended at byte %d of %d: %w", r.digest, r.next, r.size, io.ErrUnexpectedEOF)
	}
	if r.sum != nil && !r.digest.is(r.sum) {
		r.store.counts.Mismatches.Add(1)
		return fmt.Errorf("fetch %s: upstream's bytes have another digest: %w", r.digest, ErrMismatch)
	}
	r.judged = true
	return nil
}

// mend drops the body that broke and returns nil when it is worth asking again.
func (r *direct) mend(err error, barren int) error {
	r.drop()
	switch {
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case errors.Is(err, ErrMismatch), Personal(err), barren >= maxBarrenTries:
		return err
	}
	return pause(r.ctx, firstPause<<barren)
}

func (r *direct) drop() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

func (r *direct) failure() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

// Seek only notes where to go on: callers ask for the end and come back, and nothing was moved then.
func (r *direct) Seek(offset int64, whence int) (int64, error) {
	pos, err := seek(r.want, r.size, offset, whence)
	if err != nil {
		return 0, err
	}
	r.want = pos
	return pos, nil
}

func (r *direct) move() {
	r.drop()
	r.pos, r.next, r.buf, r.sum, r.judged, r.err = r.want, r.want, nil, nil, false, nil
	if r.want == 0 {
		r.sum = r.digest.hash()
	}
	if r.size >= 0 && r.want >= r.size {
		r.err = io.EOF
	}
}

func (r *direct) Close() error {
	r.cancel()
	r.drop()
	return nil
}
