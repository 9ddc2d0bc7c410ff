package cache

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// chunks reads up in chunks as containerd's parallel fetcher does: each worker opens the blob, seeks, reads a chunk, hangs up.
func chunks(t *testing.T, s *Store, up *upstream, workers, chunk int) {
	t.Helper()
	todo := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for from := range todo {
				b, err := s.Blob(t.Context(), up.digest(), up.source())
				if err != nil {
					t.Error(err)
					continue
				}
				b.Seek(int64(from), io.SeekStart)
				want := up.content[from:min(from+chunk, len(up.content))]
				got := make([]byte, len(want))
				if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("chunk at %d: got other bytes, %v", from, err)
				}
				b.Close()
			}
		})
	}
	for from := 0; from < len(up.content); from += chunk {
		todo <- from
	}
	close(todo)
	wg.Wait()
}

// containerd's 16 workers of 1 MiB each, on a cold layer: measured against registries they cost four times the layer.
func TestParallelRangesCostTheLayerOnce(t *testing.T) {
	const size = 32<<20 + 12345
	up := newUpstream(size)
	up.chunk = 128 << 10
	s := open(t, t.TempDir(), Config{})
	chunks(t, s, up, 16, 1<<20)
	wantIdle(t, s)
	if got := up.sent.Load(); got != size {
		t.Errorf("upstream sent %d bytes, want %d", got, size)
	}
	wantHit(t, s, up)
	t.Logf("%d requests for %d MiB", up.opened.Load(), size>>20)
}

// The same where upstream gives each connection 20 MiB/s: side transfers must not make it slower than one stream, nor the requests
// many more than the segments.
func TestParallelRangesOnASlowUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 32 << 20
		up := newUpstream(size)
		up.chunk = 256 << 10
		up.before = func(context.Context, int, int64) error { time.Sleep(12500 * time.Microsecond); return nil }
		s := open(t, t.TempDir(), Config{})
		began := time.Now()
		chunks(t, s, up, 16, 1<<20)
		s.work.Wait()
		took := time.Since(began)
		if got := up.sent.Load(); got != size {
			t.Errorf("upstream sent %d bytes, want %d", got, size)
		}
		if took > 1600*time.Millisecond {
			t.Errorf("took %v, one stream takes 1.6 s", took)
		}
		if got := up.opened.Load(); got > 2*size/segment {
			t.Errorf("%d requests for %d segments", got, size/segment)
		}
		t.Logf("%d requests, %v", up.opened.Load(), took)
		s.Close()
	})
}

// ENGINE's scenario D: a range of a part that comes much later was served after the fill had come there.
func TestFarRangeDoesNotWait(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(32 << 20)
	gate := make(chan struct{})
	var inOrder atomic.Int32
	up.before = func(ctx context.Context, request int, pos int64) error {
		if request > 0 {
			return nil
		}
		inOrder.Add(1)
		return holdAt(1<<20, gate)(ctx, request, pos)
	}
	var wg sync.WaitGroup
	for range 8 { // one transfer for all of them
		wg.Go(func() {
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			got := make([]byte, 1000)
			b.Seek(20<<20+5, io.SeekStart)
			if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, up.content[20<<20+5:][:1000]) {
				t.Errorf("got other bytes, %v", err)
			}
		})
	}
	wg.Wait()
	if got := up.requests(); len(got) != 2 || got[1] != (span{20 << 20, 24 << 20}) {
		t.Errorf("asked for %v, want all and then one segment", got)
	}
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	close(gate)
	wantWhole(t, up, b, err)
	wantIdle(t, s)
	if got := up.sent.Load(); got != 32<<20 {
		t.Errorf("upstream sent %d bytes, want %d", got, 32<<20)
	}
}

// Side transfers that fail, in each way, cost time and nothing else.
func TestFarRangesOfABadUpstream(t *testing.T) {
	for _, c := range []struct {
		name string
		spit func(up *upstream)
	}{
		{"ignores ranges", func(up *upstream) {
			up.answer = func(_ int, _, _ int64, st *Stream) error { noRanges(st); return nil }
		}},
		{"refuses a second connection", func(up *upstream) {
			up.answer = func(n int, _, _ int64, _ *Stream) error {
				if n > 0 {
					return errCut
				}
				return nil
			}
		}},
		{"breaks each segment once", func(up *upstream) {
			var mu sync.Mutex
			broken := map[int64]bool{}
			up.before = func(_ context.Context, _ int, pos int64) error {
				mu.Lock()
				defer mu.Unlock()
				if at := pos / segment; pos%segment > segment/2 && !broken[at] {
					broken[at] = true
					return errCut
				}
				return nil
			}
		}},
		{"says another size", func(up *upstream) {
			up.answer = func(n int, _, to int64, st *Stream) error {
				if n > 0 && to >= 0 {
					st.Size++
				}
				return nil
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, t.TempDir(), Config{})
				up := newUpstream(16 << 20)
				up.chunk = 256 << 10
				c.spit(up)
				if before := up.before; before == nil {
					up.before = func(context.Context, int, int64) error { time.Sleep(time.Millisecond); return nil }
				}
				chunks(t, s, up, 4, 3<<20)
				s.work.Wait()
				b, err := s.Blob(t.Context(), up.digest(), up.source())
				wantWhole(t, up, b, err)
				s.Close()
			})
		})
	}
}

// A partial with gaps counts up to the first one.
func TestGapsDoNotSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	up := newUpstream(32 << 20)
	reached := make(chan struct{})
	up.before = func(ctx context.Context, request int, pos int64) error {
		if request > 0 || pos < 2<<20 {
			return nil
		}
		close(reached)
		<-ctx.Done()
		return ctx.Err()
	}
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	b.Seek(20<<20, io.SeekStart)
	io.CopyN(io.Discard, b, 4<<20)
	<-reached
	b.Close()
	s.Close()
	if got := noteOf(s, up.digest()).Frontier; got != 2<<20 {
		t.Errorf("the frontier is noted as %d, want %d", got, 2<<20)
	}
	up.before = nil
	s = open(t, dir, Config{})
	up.sent.Store(0)
	b, err = s.Blob(t.Context(), up.digest(), up.source())
	wantWhole(t, up, b, err)
	if got := up.sent.Load(); got != 30<<20 {
		t.Errorf("upstream sent %d bytes, want %d", got, 30<<20)
	}
}

func TestProbe(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(4 << 20)
	read := func(from, to int64, want Outcome) {
		t.Helper()
		b, err := s.Probe(t.Context(), up.digest(), from, to, up.source())
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if b.Outcome != want || b.Size != 4<<20 {
			t.Errorf("got %+v, want outcome %v", b, want)
		}
		if from < 0 {
			from, to = b.Size+from, b.Size
		} else if to < 0 {
			to = b.Size
		}
		b.Seek(0, io.SeekEnd)
		b.Seek(from, io.SeekStart)
		got, err := io.ReadAll(io.LimitReader(b, to-from))
		if err != nil || !bytes.Equal(got, up.content[from:to]) {
			t.Errorf("%d to %d: got %d other bytes, %v", from, to, len(got), err)
		}
	}
	read(-50, -1, Probed)
	read(100, 200, Probed)
	read(3<<20, 3<<20+SmallRange-1, Probed)
	if got, want := up.sent.Load(), int64(50+100+SmallRange-1); got > want+1 {
		t.Errorf("upstream sent %d bytes, want %d", got, want)
	}
	if s.Usage().Fills != 0 || s.Has(up.digest()) {
		t.Error("a fill was started")
	}
	for i := range int64(5) {
		read(i<<16, i<<16+SmallRange-1, Probed)
	}
	read(0, 60000, Miss) // a tenth of it was asked for by now
	wantIdle(t, s)
	read(0, 10, Hit)

	up = newUpstream(4<<20 + 1)
	up.content = up.content[:4<<20]
	read(5, -1, Miss) // an open end is no probe
	s.work.Wait()
}

func TestProbeOfSeveralRanges(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(4 << 20)
	b, err := s.Probe(t.Context(), up.digest(), 100, 110, up.source())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, p := range []span{{100, 110}, {3000000, 3000100}, {50, 51}} {
		b.Seek(p.from, io.SeekStart)
		got := make([]byte, p.to-p.from)
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, up.content[p.from:p.to]) {
			t.Errorf("%v: got other bytes, %v", p, err)
		}
	}
	if got := up.sent.Load(); got != 111 {
		t.Errorf("upstream sent %d bytes, want 111", got)
	}
}

// While a fill runs, a probe of what it has comes from there, and one far ahead does not wait for it.
func TestProbeDuringAFill(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(4 << 20)
	gate := make(chan struct{})
	up.before = func(ctx context.Context, request int, pos int64) error {
		if request > 0 {
			return nil
		}
		return holdAt(1<<20, gate)(ctx, request, pos)
	}
	fill, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(io.Discard, fill, 1<<20)
	for _, c := range []struct {
		at   int64
		want Outcome
	}{{1000, Collapsed}, {3 << 20, Probed}} {
		b, err := s.Probe(t.Context(), up.digest(), c.at, c.at+10, up.source())
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 10)
		b.Seek(c.at, io.SeekStart)
		if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, up.content[c.at:][:10]) || b.Outcome != c.want {
			t.Errorf("at %d: got %q, %v, outcome %v, want %v", c.at, got, err, b.Outcome, c.want)
		}
		b.Close()
	}
	close(gate)
	fill.Close()
	wantIdle(t, s)
}

// The last side transfer ends when the transfer in order has just looked and is about to wait for it.
func TestLastSideTransferIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{})
		up := newUpstream(10)
		f := newFill(s, up.digest(), &Source{Fetch: up.fetch})
		f.size = 10
		f.have.add(0, 10)
		f.taken.add(0, 10)
		if err := f.step(); err != nil { // it would wait for ever, which the bubble notices
			t.Error(err)
		}
		f.cancel()
		s.Close()
	})
}

func TestSpans(t *testing.T) {
	var s spans
	s.add(10, 20)
	s.add(30, 40)
	s.add(20, 25)
	s.add(5, 5)
	if len(s) != 2 || s[0] != (span{10, 25}) {
		t.Errorf("got %v", s)
	}
	s.cut(12, 35)
	if len(s) != 2 || s[0] != (span{10, 12}) || s[1] != (span{35, 40}) {
		t.Errorf("got %v", s)
	}
	if got := s.gap(50); got != (span{0, 10}) {
		t.Errorf("gap: got %v", got)
	}
	s.add(0, 50)
	if got := s.gap(50); got.from != got.to {
		t.Errorf("gap: got %v in %v", got, s)
	}
}
