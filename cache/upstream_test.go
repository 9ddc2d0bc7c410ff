package cache

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// upstream plays a registry's blob, with the faults that a test gives it.
type upstream struct {
	content []byte
	once    sync.Once
	name    Digest
	opened  atomic.Int32
	sent    atomic.Int64
	left    atomic.Int32 // bodies that were closed before their end: what was on its way is paid for and lost

	// answer may change a request's answer, or refuse it. Requests are counted from 0.
	answer func(request int, from, to int64, st *Stream) error
	// before is called before each piece of a body and may wait, or break the body.
	before func(ctx context.Context, request int, pos int64) error
	// closed is called when a body is closed.
	closed func()
	// chunk is the size of a piece, 32 KiB when 0.
	chunk int
	// parallel is the Parallel of its source.
	parallel int

	mu    sync.Mutex
	asked []span
}

func newUpstream(size int) *upstream {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size), byte(size >> 8)}).Read(b)
	return &upstream{content: b}
}

// digest is that of the content as it was when it was first asked for.
func (u *upstream) digest() Digest {
	u.once.Do(func() { u.name = DigestOf(u.content) })
	return u.name
}

func (u *upstream) fetch(ctx context.Context, from, to int64) (*Stream, error) {
	request := int(u.opened.Add(1)) - 1
	u.mu.Lock()
	u.asked = append(u.asked, span{from, to})
	u.mu.Unlock()
	size := int64(len(u.content))
	st := &Stream{Offset: from, Part: to >= 0 || from > 0, Size: size, MediaType: "application/octet-stream"}
	if u.answer != nil {
		if err := u.answer(request, from, to, st); err != nil {
			return nil, err
		}
	}
	if st.Part && from >= size {
		return nil, ErrRange
	}
	if to < 0 || !st.Part {
		to = size
	}
	if st.Body == nil {
		st.Body = &upstreamBody{u: u, ctx: ctx, request: request, pos: st.Offset, to: min(to, size)}
	}
	return st, nil
}

// noRanges is the answer of an upstream that knows none.
func noRanges(st *Stream) { st.Offset, st.Part = 0, false }

func (u *upstream) source() Source { return Source{Fetch: u.fetch, Parallel: u.parallel} }

func (u *upstream) requests() []span {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.asked)
}

type upstreamBody struct {
	u       *upstream
	ctx     context.Context
	request int
	pos, to int64
	broken  bool
}

func (b *upstreamBody) Read(p []byte) (int, error) {
	if b.u.before != nil {
		if err := b.u.before(b.ctx, b.request, b.pos); err != nil {
			b.broken = true
			return 0, err
		}
	}
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	if b.pos >= b.to {
		return 0, io.EOF
	}
	chunk := b.u.chunk
	if chunk == 0 {
		chunk = 32 << 10
	}
	n := copy(p[:min(len(p), chunk)], b.u.content[b.pos:b.to])
	b.pos += int64(n)
	b.u.sent.Add(int64(n))
	return n, nil
}

func (b *upstreamBody) Close() error {
	if b.pos < b.to && !b.broken {
		b.u.left.Add(1)
	}
	if b.u.closed != nil {
		b.u.closed()
	}
	return nil
}

var errCut = errors.New("connection reset by peer")

// cutAt breaks the first body that comes to pos, and each later one times-1 times more.
func cutAt(times int, pos int64) func(context.Context, int, int64) error {
	var cuts atomic.Int32
	return func(_ context.Context, _ int, at int64) error {
		if at >= pos && int(cuts.Add(1)) <= times {
			return errCut
		}
		return nil
	}
}

// holdAt makes bodies wait at pos until the gate is closed.
func holdAt(pos int64, gate <-chan struct{}) func(context.Context, int, int64) error {
	return func(ctx context.Context, _ int, at int64) error {
		if at < pos {
			return nil
		}
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reports collects what a store reports.
type reports struct {
	mu   sync.Mutex
	said []string
}

func (r *reports) add(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, what+": "+err.Error())
}

func (r *reports) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.said)
}

func open(t testing.TB, dir string, cfg Config) *Store {
	t.Helper()
	return openFaulty(t, realDisk(), dir, cfg)
}

// openFaulty is open on a disk of the test's own.
func openFaulty(t testing.TB, disk disk, dir string, cfg Config) *Store {
	t.Helper()
	s, err := openOn(disk, dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustRead(t testing.TB, b *Blob, err error) []byte {
	t.Helper()
	if err != nil {
		t.Error(err)
		return nil
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	if err != nil {
		t.Errorf("read: got %v after %d bytes", err, len(got))
	}
	return got
}

// wantWhole reads b, which must be up's content.
func wantWhole(t testing.TB, up *upstream, b *Blob, err error) {
	t.Helper()
	if got := mustRead(t, b, err); !bytes.Equal(got, up.content) {
		t.Errorf("got %d other bytes, want the %d of upstream", len(got), len(up.content))
	}
}

// wantBroken reads b, which must never be given out as complete.
func wantBroken(t testing.TB, up *upstream, b *Blob, err, want error) {
	t.Helper()
	if err == nil {
		defer b.Close()
		var got []byte
		got, err = io.ReadAll(b)
		if len(got) >= len(up.content) {
			t.Errorf("got %d bytes, want fewer than %d", len(got), len(up.content))
		}
	}
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

func wantHit(t testing.TB, s *Store, up *upstream) {
	t.Helper()
	b, err := s.Lookup(up.digest())
	wantWhole(t, up, b, err)
}

// wantIdle checks that nothing is left of all transfers: no promise, no pin, no fill.
func wantIdle(t testing.TB, s *Store) {
	t.Helper()
	s.work.Wait()
	u := s.Usage()
	if u.Fills != 0 || u.Reserved != 0 || u.Pinned != 0 || s.index.owed.Load() != 0 {
		t.Errorf("left over: %+v and %d bytes owed, want nothing", u, s.index.owed.Load())
	}
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
