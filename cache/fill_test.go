package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"testing"
)

// HARP#947: 50 clients, 47 transfers.
func TestOneTransferForManyReaders(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(1 << 20)
	gate := make(chan struct{})
	up.before = holdAt(512<<10, gate)
	var wg sync.WaitGroup
	for range 50 {
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
	wantIdle(t, s)
}

// artifact-keeper#3335: the second pull right after the first went upstream again. Readers join after each piece, and between the
// last byte and the commit, which waits until they have.
func TestJoinAtAnyMoment(t *testing.T) {
	disk := realDisk()
	committing, commit := make(chan struct{}), make(chan struct{})
	disk.rename = func(from, to string) error {
		close(committing)
		<-commit
		return realDisk().rename(from, to)
	}
	s := openFaulty(t, disk, t.TempDir(), Config{})
	up := newUpstream(400 << 10)
	piece := make(chan struct{})
	up.before = func(ctx context.Context, _ int, _ int64) error {
		select {
		case <-piece:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var wg sync.WaitGroup
	join := func() {
		ready := make(chan struct{})
		wg.Go(func() {
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			close(ready)
			wantWhole(t, up, b, err)
		})
		<-ready
	}
	for running := true; running; {
		join()
		select {
		case piece <- struct{}{}:
		case <-committing:
			running = false
		}
	}
	join()
	close(commit)
	s.work.Wait()
	join()
	wg.Wait()
	wantIdle(t, s)
	if got := up.opened.Load(); got != 1 {
		t.Errorf("upstream was asked %d times, want 1", got)
	}
}

// distribution#4649, zot#4345: a client that leaves took the transfer and the others with it.
func TestLeaversHarmNobody(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(1 << 20)
	gate := make(chan struct{})
	up.before = holdAt(256<<10, gate)
	first, leave := context.WithCancelCause(t.Context())
	starter, err := s.Blob(first, up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	stays, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("client gone")
	done := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, starter)
		done <- err
	}()
	leave(gone)
	if err := <-done; !errors.Is(err, gone) {
		t.Errorf("the leaver got %v", err)
	}
	starter.Close()
	close(gate)
	wantWhole(t, up, stays, nil)
	wantIdle(t, s)
	wantHit(t, s, up)
}

func TestFillOutlivesItsOnlyClient(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(1 << 20)
	gate := make(chan struct{})
	up.answer = func(int, int64, int64, *Stream) error { <-gate; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Blob(ctx, up.digest(), up.source()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
	close(gate)
	wantIdle(t, s)
	wantHit(t, s, up)
}

func TestSizes(t *testing.T) {
	for _, size := range []int{0, 1, withheld - 1, withheld, withheld + 1, piece, 3*piece + 7} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d %v", size, known), func(t *testing.T) {
				s := open(t, t.TempDir(), Config{})
				up := newUpstream(size)
				if !known {
					up.answer = func(_ int, _, _ int64, st *Stream) error { st.Size = -1; return nil }
				}
				b, err := s.Blob(t.Context(), up.digest(), up.source())
				wantWhole(t, up, b, err)
				wantIdle(t, s)
				wantHit(t, s, up)
				if got := s.Usage(); got.Objects != 1 || got.Bytes != int64(size) {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

// harbor#15735, distribution#2367, harbor#22555 and their kin: what is not its digest is neither ended nor kept.
func TestWrongContent(t *testing.T) {
	good := newUpstream(1 << 20)
	for _, c := range []struct {
		name string
		spit func(up *upstream)
		want error
	}{
		{"first byte", func(up *upstream) { up.content[0]++ }, ErrMismatch},
		{"last byte", func(up *upstream) { up.content[len(up.content)-1]++ }, ErrMismatch},
		{"a page of HTML", func(up *upstream) { up.content = []byte("<html>Just a moment") }, ErrMismatch},
		{"nothing", func(up *upstream) { up.content = nil }, ErrMismatch},
		{"short, and says so", func(up *upstream) { up.content = up.content[:1<<19] }, ErrMismatch},
		{"short, of no known size", func(up *upstream) {
			up.content = up.content[:1<<19]
			up.answer = func(_ int, _, _ int64, st *Stream) error { st.Size = -1; return nil }
		}, ErrMismatch},
		{"long", func(up *upstream) { up.content = append(up.content, "<html>"...) }, ErrMismatch},
		{"a size too small", func(up *upstream) {
			up.answer = func(_ int, _, _ int64, st *Stream) error { st.Size = 1 << 19; return nil }
		}, ErrMismatch},
		{"another size on resume", func(up *upstream) {
			up.before = cutAt(1, 512<<10)
			up.answer = func(n int, _, _ int64, st *Stream) error { st.Size += int64(n); return nil }
		}, ErrMismatch},
		{"refused", func(up *upstream) {
			up.answer = func(int, int64, int64, *Stream) error { return fs.ErrPermission }
		}, fs.ErrPermission},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, t.TempDir(), Config{})
			up := newUpstream(1 << 20)
			c.spit(up)
			b, err := s.Blob(t.Context(), good.digest(), up.source())
			wantBroken(t, good, b, err, c.want)
			wantIdle(t, s)
			if s.Has(good.digest()) || s.Usage().Partials != 0 {
				t.Error("something was kept")
			}
			b, err = s.Blob(t.Context(), good.digest(), good.source())
			wantWhole(t, good, b, err)
		})
	}
}

func TestCloseDuringAFill(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(1 << 20)
	up.before = holdAt(512<<10, nil)
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		wantBroken(t, up, b, nil, errClosed)
	}()
	s.Close()
	<-done
	if _, err := s.Blob(t.Context(), up.digest(), up.source()); !errors.Is(err, errClosed) {
		t.Errorf("got %v, want that the cache is closed", err)
	}
}

// Nothing of the end is given out before the digest agrees, also to a reader that begins in the middle.
func TestTheTailIsWithheld(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(1 << 20)
	d := up.digest()
	up.content[100]++
	gate := make(chan struct{})
	up.before = holdAt(1<<20, gate) // all bytes are sent, their end is not
	up.answer = func(_ int, _, _ int64, st *Stream) error { st.Size = -1; return nil }
	b, err := s.Blob(t.Context(), d, up.source())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Seek(500<<10, io.SeekStart)
	done := make(chan int)
	go func() {
		got, err := io.ReadAll(b)
		if !errors.Is(err, ErrMismatch) {
			t.Errorf("got %v, want a mismatch", err)
		}
		done <- len(got)
	}()
	close(gate)
	if got := <-done; got > 1<<20-withheld-500<<10 {
		t.Errorf("got %d bytes", got)
	}
}

func TestReadersOfAFillSeek(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := newUpstream(1 << 20)
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, c := range []struct {
		offset int64
		whence int
		want   int64
	}{{0, io.SeekEnd, 1 << 20}, {-10, io.SeekCurrent, 1<<20 - 10}, {5, io.SeekStart, 5}, {-1 << 20, io.SeekEnd, 0}, {2 << 20, io.SeekStart, 2 << 20}} {
		if got, err := b.Seek(c.offset, c.whence); got != c.want || err != nil {
			t.Errorf("seek %d from %d: got %d, %v, want %d", c.offset, c.whence, got, err, c.want)
		}
	}
	if _, err := io.ReadAll(b); err != nil {
		t.Errorf("beyond the end: %v", err)
	}
	for _, whence := range []int{io.SeekStart, 17} {
		if _, err := b.Seek(-1, whence); err == nil {
			t.Errorf("seek -1 from %d: got no error", whence)
		}
	}
	b.Seek(-100, io.SeekEnd)
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, up.content[1<<20-100:]) {
		t.Errorf("got %d other bytes, %v", len(got), err)
	}
}
