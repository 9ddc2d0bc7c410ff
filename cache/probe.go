package cache

import (
	"context"
	"fmt"
	"io"

	lru "github.com/hashicorp/golang-lru/v2"
)

// SmallRange is the number of bytes below which a range is a probe: lazy snapshotters read a footer, an index and single files of
// a layer that they may never need as a whole.
const SmallRange = 64 << 10

// probeShare is how much of an object may be probed, in percent, before it is worth filling.
const probeShare = 10

const probedInMemory = 1 << 12

// probed is what is remembered of an object that was probed and is not held.
type probed struct{ size, asked int64 }

func newProbed() *lru.Cache[Digest, probed] {
	c, _ := lru.New[Digest, probed](probedInMemory) // errs on a size below one only
	return c
}

// Probe is Blob for a caller that wants only the bytes from from up to but not including to, or the last -from bytes when from is
// negative; to is -1 for an open end. What is held, or filled up to there, is served as by Blob. Otherwise, a range of less than
// [SmallRange] is fetched from upstream as it is, without starting a fill, until a tenth of the object was asked for that way;
// then, and for any longer range, Probe is Blob.
//
// The Blob's Size is that of the whole object, and reading elsewhere than was said is possible: each Seek costs a request then.
func (s *Store) Probe(ctx context.Context, d Digest, from, to int64, up Source) (*Blob, error) {
	if b, err := s.lookup(ctx, d, &up); err == nil {
		return b, nil
	}
	n := to - from
	if from < 0 {
		n = -from
	}
	small := n > 0 && n < SmallRange
	seen, _ := s.probed.Get(d)
	if f := s.running(d); f != nil {
		small = small && f.waitsFor(from, to)
	} else if seen.size > 0 && seen.asked+n > seen.size/100*probeShare {
		small = false
	}
	if !small {
		return s.Blob(ctx, d, up)
	}
	b, err := s.probe(ctx, d, from, to, up.Fetch, seen.size)
	if b == nil && err == nil {
		return s.Blob(ctx, d, up)
	}
	return b, err
}

// running is the fill of d, which may end at any moment.
func (s *Store) running(d Digest) *fill {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fills[d]
}

// waitsFor tells whether a reader of the bytes from from to to would have to wait.
func (f *fill) waitsFor(from, to int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size < 0 {
		return true
	}
	if from < 0 {
		from, to = max(0, f.size+from), f.size
	}
	to = min(to, f.size)
	return from < to && f.visible(from, view{start: from}) < to
}

// probe asks upstream for a range. It returns nothing at all when upstream knows no ranges or no sizes.
func (s *Store) probe(ctx context.Context, d Digest, from, to int64, fetch Fetch, size int64) (*Blob, error) {
	r := &probe{ctx: ctx, store: s, digest: d, fetch: fetch, size: size, from: from, to: to}
	if from < 0 && size == 0 {
		r.from, r.to = 0, 1 // the last bytes cannot be named before the size is known
	} else if from < 0 {
		r.from, r.to = max(0, size+from), size
	}
	b, err := s.request(ctx, d, fetch, r.from, r.to)
	if err != nil {
		return nil, err
	}
	if b.pos != r.from || b.Size < 0 {
		b.Close()
		return nil, nil
	}
	s.counts.Probes.Add(1)
	r.body, r.size, r.to = b, b.Size, min(r.to, b.Size)
	if from < 0 && r.from != max(0, b.Size+from) {
		r.drop()
		r.from, r.to = max(0, b.Size+from), b.Size
	}
	return &Blob{ReadSeekCloser: r, Digest: d, Size: b.Size, MediaType: b.MediaType, Outcome: Probed}, nil
}

// probe reads parts of an object straight from upstream, a request for each.
type probe struct {
	ctx      context.Context
	store    *Store
	digest   Digest
	fetch    Fetch
	size     int64
	from, to int64 // what the first Read is expected to want
	body     *body
	pos      int64
	err      error
}

func (r *probe) Read(p []byte) (int, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case len(p) == 0:
		return 0, nil
	case r.pos >= r.size:
		return 0, io.EOF
	}
	n, err := r.read(p)
	if n == 0 && err != nil && !Personal(err) && r.ctx.Err() == nil {
		n, err = r.read(p) // once more: connections break
	}
	r.pos += int64(n)
	r.store.noteProbe(r.digest, r.size, int64(n))
	if n > 0 {
		return n, nil
	}
	r.err = err
	return 0, err
}

func (r *probe) read(p []byte) (int, error) {
	if err := r.open(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.to-r.pos)])
	if err != nil {
		r.drop()
	}
	if err == io.EOF {
		err = fmt.Errorf("probe %s: ended at byte %d, want %d: %w", r.digest, r.pos+int64(n), r.to, io.ErrUnexpectedEOF)
	}
	return n, err
}

// open sees to it that the body brings the byte at pos next. What the caller's buffer takes is what the caller wants: a copy of a
// short range limits it to that.
func (r *probe) open(n int64) error {
	if r.body != nil && r.body.pos == r.pos && r.pos < r.to {
		return nil
	}
	r.drop()
	if r.pos != r.from {
		r.from, r.to = r.pos, min(r.size, r.pos+n)
	}
	b, err := r.store.request(r.ctx, r.digest, r.fetch, r.from, r.to)
	if err != nil {
		return err
	}
	r.body = b
	if b.pos != r.pos || b.Size >= 0 && b.Size != r.size {
		r.drop()
		return fmt.Errorf("probe %s: upstream answers another range than was asked for", r.digest)
	}
	return nil
}

func (r *probe) drop() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

func (s *Store) noteProbe(d Digest, size, n int64) {
	seen, _ := s.probed.Get(d)
	s.probed.Add(d, probed{size, seen.asked + n}) // a lost addition of two at once does not matter
}

func (r *probe) Seek(offset int64, whence int) (int64, error) {
	pos, err := seek(r.pos, r.size, offset, whence)
	if err != nil {
		return 0, err
	}
	r.pos, r.err = pos, nil
	return pos, nil
}

func (r *probe) Close() error {
	r.drop()
	return nil
}

func (r *probe) failure() error { return r.err }
