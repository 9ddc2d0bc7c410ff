package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// sink takes what is written until it is broken.
type sink struct {
	net.Conn
	bytes.Buffer
	sizes  []int
	broken bool
}

func (s *sink) Write(p []byte) (int, error) {
	if s.broken {
		return 0, io.ErrClosedPipe
	}
	s.sizes = append(s.sizes, len(p))
	return s.Buffer.Write(p)
}

func (s *sink) Read(p []byte) (int, error) { return s.Buffer.Read(p) }

// TestPair: a full record goes out with the next one, or alone after a moment; all others at once, and everything in order.
func TestPair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{}
		p := &pair{Conn: out}
		var all []byte
		write := func(sizes ...int) {
			for _, n := range sizes {
				record := bytes.Repeat([]byte{byte(len(all))}, n)
				all = append(all, record...)
				if got, err := p.Write(record); got != n || err != nil {
					t.Errorf("got %d, %v, want %d", got, err, n)
				}
			}
		}
		see := func(when string, want ...int) {
			t.Helper()
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			if !slices.Equal(out.sizes, want) {
				t.Errorf("%s: got writes of %v, want %v", when, out.sizes, want)
			}
			out.sizes = nil
		}
		const full = fullRecord + 1
		write(50, full-2)
		see("small ones", 50, full-2)
		write(full, 31, full, 31)
		see("frames", full+31, full+31)
		write(full, full, full)
		see("full ones", 2*full)
		time.Sleep(pairTime)
		see("the last of them, alone", full)
		write(full, 31)
		time.Sleep(time.Second)
		see("a frame, and no more", full+31)
		if got := out.Bytes(); !bytes.Equal(got, all) {
			t.Errorf("got %d bytes, or others, want %d", len(got), len(all))
		}

		out.broken = true
		write(full)
		time.Sleep(pairTime)
		synctest.Wait()
		if _, err := p.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v, want the error of the record that went alone", err)
		}
	})
}
