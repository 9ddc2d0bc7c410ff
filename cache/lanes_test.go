package cache

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// smallStretches are a 256th of the usual, so that tests do not need large objects.
func smallStretches() stretches { return stretches{64 << 10, 32 << 10, 128 << 10, 16 << 10} }

// openRequests counts requests that are open at once.
type openRequests struct {
	mu        sync.Mutex
	now, most int
}

// watch has o count the bodies of up, behind what its answer does.
func (o *openRequests) watch(up *upstream) {
	answer := up.answer
	up.answer = func(n int, from, to int64, st *Stream) error {
		if answer != nil {
			if err := answer(n, from, to, st); err != nil {
				return err
			}
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.now++
		o.most = max(o.most, o.now)
		return nil
	}
	up.closed = func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.now--
	}
}

// paced gives each body of up 10 MiB/s.
func paced(up *upstream) {
	up.chunk = 4 << 10
	up.before = func(ctx context.Context, _ int, _ int64) error { return sleep(ctx, 400*time.Microsecond) }
}

// An upstream that holds each connection to a rate is three times as fast over four of them, for a reader in order too, and sends no
// byte twice.
func TestParallelIsFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1<<20 + 4321
		took := map[int]time.Duration{}
		for _, parallel := range []int{1, 4} {
			up := newUpstream(size)
			up.parallel = parallel
			paced(up)
			var open openRequests
			open.watch(up)
			s := openSmall(t, t.TempDir())
			began := time.Now()
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			wantWhole(t, up, b, err)
			took[parallel] = time.Since(began)
			wantIdle(t, s)
			wantHit(t, s, up)
			if got := up.sent.Load(); got != size {
				t.Errorf("parallel %d: upstream sent %d bytes, want %d", parallel, got, size)
			}
			if open.most != parallel || open.now != 0 {
				t.Errorf("parallel %d: %d requests at once, %d left open", parallel, open.most, open.now)
			}
			t.Logf("parallel %d: %v, %d requests", parallel, took[parallel], up.opened.Load())
			s.Close()
		}
		if took[1] < 3*took[4] {
			t.Errorf("one connection takes %v, four take %v, want a third", took[1], took[4])
		}
	})
}

// openSmall opens a store that makes lanes of small objects.
func openSmall(t *testing.T, dir string) *Store {
	s := open(t, dir, Config{})
	s.stretches = smallStretches()
	return s
}

// Lanes do not run away from a frontier that stands still, and what is noted is the frontier.
func TestLanesKeepClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, held = 1 << 20, 32 << 10
		dir := t.TempDir()
		s := openSmall(t, dir)
		up := newUpstream(size)
		up.parallel = 4
		gate := make(chan struct{})
		up.before = func(ctx context.Context, request int, pos int64) error {
			if request > 0 {
				return nil
			}
			return holdAt(held, gate)(ctx, request, pos)
		}
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		check(t, err)
		synctest.Wait()
		stretch := int64(32 << 10) // without a pace, the shortest
		window, farthest := laneWindow*4*stretch, int64(0)
		for _, r := range up.requests() {
			farthest = max(farthest, r.to)
		}
		if farthest < window || farthest > held+window+stretch {
			t.Errorf("lanes went to %d with the frontier at %d, want %d behind it", farthest, held, window)
		}
		b.Close()
		s.Close()
		if got := noteOf(s, up.digest()).Frontier; got != held {
			t.Errorf("the frontier is noted as %d, want %d", got, held)
		}
		up.before = nil
		s = openSmall(t, dir)
		up.sent.Store(0)
		b, err = s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		if got := up.sent.Load(); got != size-held {
			t.Errorf("the resume cost %d bytes, want %d", got, size-held)
		}
		s.Close()
	})
}

// What is not large, or does not tell its size, comes in one piece.
func TestNotSplit(t *testing.T) {
	for _, c := range []struct {
		name     string
		size     int
		answer   func(n int, from, to int64, st *Stream) error
		requests int32
	}{
		{"empty", 0, nil, 2}, // no part of nothing
		{"one byte", 1, nil, 1},
		{"not large", 64 << 10, nil, 1},
		{"a byte more", 64<<10 + 1, nil, 2},
		{"no ranges", 500 << 10, func(_ int, _, _ int64, st *Stream) error { noRanges(st); return nil }, 1},
		{"no size", 500 << 10, func(_ int, _, _ int64, st *Stream) error { st.Size = -1; return nil }, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openSmall(t, t.TempDir())
			up := newUpstream(c.size)
			up.parallel, up.answer = 4, c.answer
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			wantWhole(t, up, b, err)
			wantIdle(t, s)
			wantHit(t, s, up)
			if got := up.sent.Load(); got != int64(c.size) {
				t.Errorf("upstream sent %d bytes, want %d", got, c.size)
			}
			if got := up.opened.Load(); got != c.requests {
				t.Errorf("%d requests, want %d", got, c.requests)
			}
		})
	}
}

// Lanes that fail, in each way, cost no byte and no pull.
func TestLanesOfABadUpstream(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		name     string
		spoil    func(up *upstream)
		requests int32 // at most
	}{
		{"refuses a second connection", func(up *upstream) {
			up.answer = func(n int, _, _ int64, _ *Stream) error {
				if n > 0 && n < 4 {
					return errCut
				}
				return nil
			}
		}, 5},
		{"refuses lanes for personal reasons", func(up *upstream) {
			up.answer = func(n int, _, _ int64, _ *Stream) error {
				if n > 0 && n < 4 {
					return personalError{}
				}
				return nil
			}
		}, 5},
		{"breaks every request once", func(up *upstream) {
			up.before = func(_ context.Context, request int, pos int64) error {
				if request%2 == 0 && pos%(16<<10) == 8<<10 {
					return errCut
				}
				return nil
			}
		}, 100},
		{"says another size to lanes", func(up *upstream) {
			up.answer = func(n int, from, _ int64, st *Stream) error {
				if n > 0 && n < 4 {
					st.Size++
				}
				return nil
			}
		}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openSmall(t, t.TempDir())
				up := newUpstream(size)
				up.parallel = 4
				paced(up)
				pace := up.before
				c.spoil(up)
				faults := up.before
				up.before = func(ctx context.Context, request int, pos int64) error {
					return errors.Join(pace(ctx, request, pos), faults(ctx, request, pos))
				}
				b, err := s.Blob(t.Context(), up.digest(), up.source())
				wantWhole(t, up, b, err)
				wantIdle(t, s)
				wantHit(t, s, up)
				if got := up.sent.Load(); got != size {
					t.Errorf("upstream sent %d bytes, want %d", got, size)
				}
				if got := up.opened.Load(); got > c.requests {
					t.Errorf("%d requests, want at most %d: %v", got, c.requests, up.requests())
				}
				s.Close()
			})
		})
	}
}

// An upstream that takes so many requests at once, whenever it answers, sends all it was asked for once, and none of what it takes is cut.
func TestLanesOfACountingUpstream(t *testing.T) {
	const size = 1<<20 + 77
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 0))
			s := openSmall(t, t.TempDir())
			up := newUpstream(size)
			up.parallel = 4
			up.chunk = 4 << 10
			waits, rate, most := time.Duration(1+dice.IntN(300)), time.Duration(1+dice.IntN(40)), 1+dice.IntN(4)
			var mu sync.Mutex // of dice and now
			now := 0
			up.answer = func(int, int64, int64, *Stream) error {
				mu.Lock()
				full := now == most
				if !full {
					now++
				}
				wait := time.Duration(dice.Int64N(int64(waits))) * time.Millisecond
				mu.Unlock()
				time.Sleep(wait)
				if full {
					return errCut
				}
				return nil
			}
			up.closed = func() {
				mu.Lock()
				defer mu.Unlock()
				now--
			}
			up.before = func(ctx context.Context, _ int, _ int64) error { return sleep(ctx, rate*time.Millisecond) }
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			wantWhole(t, up, b, err)
			wantIdle(t, s)
			if sent, left := up.sent.Load(), up.left.Load(); sent != size || left != 0 {
				t.Errorf("seed %d, %d at once: upstream sent %d bytes, want %d; %d bodies were cut: %v", seed, most, sent, size, left, up.requests())
			}
			s.Close()
		})
	}
}

// A lane's bytes are judged like all others.
func TestLaneBringsWrongBytes(t *testing.T) {
	s := openSmall(t, t.TempDir())
	up := newUpstream(500 << 10)
	up.parallel = 4
	up.digest()
	up.content[300<<10]++
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	wantBroken(t, up, b, err, ErrMismatch)
	wantIdle(t, s)
	if s.Has(up.digest()) {
		t.Error("wrong bytes are held")
	}
}

// A reader far ahead is served at the side, and what lanes bring is not fetched for it again.
func TestFarRangeBesideLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 24 << 20
		s := openSmall(t, t.TempDir())
		up := newUpstream(size)
		up.parallel = 3
		paced(up)
		up.chunk = 64 << 10
		whole, err := s.Blob(t.Context(), up.digest(), up.source())
		check(t, err)
		var wg sync.WaitGroup
		for _, from := range []int64{1 << 20, 14 << 20, 20 << 20} {
			wg.Go(func() {
				b, err := s.Blob(t.Context(), up.digest(), up.source())
				check(t, err)
				defer b.Close()
				b.Seek(from, io.SeekStart)
				if n, err := io.CopyN(io.Discard, b, 3<<20); err != nil {
					t.Errorf("from %d: got %d bytes, %v", from, n, err)
				}
			})
		}
		wg.Wait()
		wantWhole(t, up, whole, nil)
		wantIdle(t, s)
		if got := up.sent.Load(); got != size {
			t.Errorf("upstream sent %d bytes, want %d", got, size)
		}
		s.Close()
	})
}
