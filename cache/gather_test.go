package cache

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type counter struct{ atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.Add(int64(len(p)))
	return len(p), nil
}

// A fast transfer is written in large parts, but an upstream that stops in the middle of one does not keep it from readers.
func TestStallHandsOutWhatCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, chunk = 16 << 20, 16 << 10
		const stops, again = 8<<20 + 5*chunk, 8<<20 + 9*chunk
		s := open(t, t.TempDir(), Config{})
		up := newUpstream(size)
		up.chunk = chunk
		up.before = func(ctx context.Context, _ int, pos int64) error {
			if pos == stops || pos == again {
				time.Sleep(time.Second)
			}
			time.Sleep(50 * time.Microsecond)
			return ctx.Err()
		}
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		check(t, err)
		var got bytes.Buffer
		var come counter
		done := make(chan error)
		go func() {
			_, err := io.Copy(io.MultiWriter(&got, &come), b)
			done <- err
		}()
		began := time.Now()
		for stall, at := range []int{stops, again} {
			time.Sleep(time.Until(began.Add(time.Duration(stall)*time.Second + 500*time.Millisecond)))
			synctest.Wait()
			if come.Load() != int64(at) {
				t.Errorf("stall %d at byte %d: the reader has %d", stall, at, come.Load())
			}
		}
		check(t, <-done)
		if !bytes.Equal(got.Bytes(), up.content) {
			t.Errorf("got %d other bytes", got.Len())
		}
		b.Close()
		wantIdle(t, s)
		s.Close()
	})
}
