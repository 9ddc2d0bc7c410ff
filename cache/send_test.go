package cache

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"
)

// taker takes parts of files as a connection does, until it has enough.
type taker struct {
	bytes.Buffer
	enough int
	err    error // from then on
}

func (k *taker) ReadFrom(r io.Reader) (int64, error) {
	part := r.(*io.LimitedReader)
	n, err := io.CopyN(&k.Buffer, part, min(part.N, int64(k.enough-k.Len())))
	if err == nil && part.N > 0 {
		err = k.err
	}
	return n, err
}

// What is left to the kernel is what Read would give: all that is there, and nothing of the last piece before the digest agrees.
func TestSendTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, held = 1 << 20, 1<<20 - withheld/2
		s := open(t, t.TempDir(), Config{})
		up := newUpstream(size)
		gate := make(chan struct{})
		up.before = holdAt(held, gate)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		check(t, err)
		k := &taker{enough: size}
		done := make(chan error)
		go func() {
			sent, err := b.ReadSeekCloser.(*growing).SendTo(k, size)
			if sent != size {
				t.Errorf("sent %d bytes, want %d", sent, size)
			}
			done <- err
		}()
		synctest.Wait()
		if got := k.Len(); got != size-withheld {
			t.Errorf("before the digest is known: %d bytes, want %d", got, size-withheld)
		}
		close(gate)
		check(t, <-done)
		if !bytes.Equal(k.Bytes(), up.content) {
			t.Errorf("got %d other bytes", k.Len())
		}
		b.Close()
		s.Close()
	})
}

// What was not sent can be read: where a part was not taken whole, and where the disk is none that the kernel could copy from.
func TestSendToIsReadOn(t *testing.T) {
	gone := errors.New("client gone")
	for name, c := range map[string]struct {
		disk disk
		k    taker
		want int64
	}{
		"short":      {realDisk(), taker{enough: 100_000}, 100_000},
		"gone":       {realDisk(), taker{enough: 100_000, err: gone}, 100_000},
		"other disk": {badDisk(func(*badFile) {}), taker{enough: 1 << 20}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := openFaulty(t, c.disk, t.TempDir(), Config{})
			up := newUpstream(1 << 20)
			gate := make(chan struct{})
			up.before = holdAt(500_000, gate) // before the file has another name
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			check(t, err)
			defer b.Close()
			sent, err := b.ReadSeekCloser.(*growing).SendTo(&c.k, 1<<20)
			if sent != c.want || err != c.k.err {
				t.Errorf("sent %d, %v, want %d, %v", sent, err, c.want, c.k.err)
			}
			close(gate)
			rest, err := io.ReadAll(b)
			if err != nil || !bytes.Equal(append(c.k.Bytes(), rest...), up.content) {
				t.Errorf("got %d other bytes, %v", c.k.Len()+len(rest), err)
			}
		})
	}
}
