package cache

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// harbor#22555, rpardini#90: upstream breaks, the client does not notice.
func TestResumeAfterABreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{})
		up := newUpstream(1 << 20)
		up.before = cutAt(1, 512<<10)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		wantIdle(t, s)
		if got, want := up.requests(), (span{512 << 10, -1}); len(got) != 2 || got[1] != want {
			t.Errorf("asked for %v, want all and then %v", got, want)
		}
		if got := up.sent.Load(); got != 1<<20 {
			t.Errorf("upstream sent %d bytes, want %d", got, 1<<20)
		}
	})
}

func TestResumeWhereRangesAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{})
		up := newUpstream(1 << 20)
		up.before = cutAt(1, 512<<10)
		up.answer = func(_ int, _, _ int64, st *Stream) error { noRanges(st); return nil }
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		s.Close()
	})
}

// An upstream that stays away fails the readers, and what came is there for the next.
func TestUpstreamStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{})
		up := newUpstream(1 << 20)
		up.before = cutAt(1000, 512<<10)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantBroken(t, up, b, err, errCut)
		wantIdle(t, s)
		up.before = nil
		b, err = s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		if got := up.sent.Load(); got != 1<<20 {
			t.Errorf("upstream sent %d bytes, want %d", got, 1<<20)
		}
		s.Close()
	})
}

func TestSilenceIsBrokenOffAndResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{IdleTimeout: time.Minute})
		up := newUpstream(1 << 20)
		up.before = func(ctx context.Context, request int, pos int64) error {
			if request > 0 || pos < 512<<10 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		began := time.Now()
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		if took := time.Since(began); took < time.Minute || took > time.Minute+longestPause {
			t.Errorf("took %v, want the idle timeout of a minute and a pause", took)
		}
		s.Close()
	})
}

// However slowly it comes, it comes: there is no deadline on the whole.
func TestSlowUpstreamIsNotBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{IdleTimeout: time.Minute})
		up := newUpstream(1 << 20)
		up.before = func(context.Context, int, int64) error { time.Sleep(50 * time.Second); return nil }
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		if got := up.opened.Load(); got != 1 {
			t.Errorf("upstream was asked %d times, want 1", got)
		}
		s.Close()
	})
}

type personalError struct{}

func (personalError) Error() string  { return "401 Unauthorized" }
func (personalError) Personal() bool { return true }

func TestRefusalOfOneIsNotTheOthers(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(1 << 20)
	gate := make(chan struct{})
	refused := func(ctx context.Context, _, _ int64) (*Stream, error) { <-gate; return nil, personalError{} }
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Blob(t.Context(), up.digest(), Source{Fetch: refused}); !Personal(err) {
			t.Errorf("the refused one got %v", err)
		}
	})
	for s.Usage().Fills == 0 {
	}
	for range 5 {
		wg.Go(func() {
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			wantWhole(t, up, b, err)
		})
	}
	close(gate)
	wg.Wait()
	if got := up.opened.Load(); got != 1 {
		t.Errorf("upstream was asked %d times, want 1", got)
	}
}

// The token of who started the fill expires; a transfer that broke goes on with that of somebody who is still there.
func TestResumeWithAnotherReadersCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{})
		up := newUpstream(1 << 20)
		up.before = cutAt(1, 512<<10)
		var asked atomic.Int32
		expires := func(ctx context.Context, from, to int64) (*Stream, error) {
			if asked.Add(1) > 1 {
				return nil, personalError{}
			}
			return up.fetch(ctx, from, to)
		}
		starter, err := s.Blob(t.Context(), up.digest(), Source{Fetch: expires})
		if err != nil {
			t.Fatal(err)
		}
		joiner, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, joiner, err)
		wantWhole(t, up, starter, nil)
		s.Close()
	})
}
