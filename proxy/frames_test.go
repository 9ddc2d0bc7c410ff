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

// rig is frames over a sink, and what was written to them.
type rig struct {
	*frames
	t    *testing.T
	out  *sink
	sent []byte
}

func newRig(t *testing.T) *rig {
	out := &sink{}
	return &rig{&frames{Conn: out}, t, out, nil}
}

func (r *rig) write(sizes ...int) {
	r.t.Helper()
	for _, n := range sizes {
		record := bytes.Repeat([]byte{byte(len(r.sent))}, n)
		r.sent = append(r.sent, record...)
		if got, err := r.Write(record); got != n || err != nil {
			r.t.Errorf("got %d, %v, want %d", got, err, n)
		}
	}
}

// see tells whether these were the writes since it was called last.
func (r *rig) see(when string, want ...int) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.out.sizes, want) {
		r.t.Errorf("%s: got writes of %v, want %v", when, r.out.sizes, want)
	}
	r.out.sizes = nil
	if got := r.out.Bytes(); len(want) > 0 && r.held == nil && !bytes.Equal(got, r.sent) {
		r.t.Errorf("%s: got %d bytes, or others, want %d", when, len(got), len(r.sent))
	}
}

// Records as TLS 1.3 makes them of a frame.
const (
	full  = fullRecord + 1
	rest  = full - maxRecord + frameHeader
	frame = full + rest
)

// lull lets a client earn that several frames are waited for.
func (r *rig) lull(n int) {
	for range n {
		r.write(full, rest)
	}
	r.out.sizes = nil
}

// TestFrames: a full record goes out with the rest of its frame, or alone after a moment; a small one at once.
func TestFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.write(50, full-2)
		r.see("small ones", 50, full-2)
		r.write(full, rest, full, rest)
		r.see("frames", frame, frame)
		r.write(full, full, full)
		r.see("full ones", full, full)
		time.Sleep(frameTime)
		r.see("the last of them", full)
		r.write(full, 100)
		time.Sleep(time.Second)
		r.see("another rest", full+100)

		r.out.broken = true
		r.write(full)
		time.Sleep(frameTime)
		synctest.Wait()
		if _, err := r.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v, want the error of the record that went alone", err)
		}
	})
}

// TestFramesTogether: frames that follow each other go out by fours, and what is no full frame at once with those before it.
func TestFramesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.lull(fewCalm)
		r.write(full, rest, full, rest, full, rest)
		r.see("three frames")
		r.write(full, rest)
		r.see("the fourth", 4*frame)
		r.write(full, rest, full, rest, 200)
		r.see("two, and a short one", 2*frame+200)
		r.write(full, rest, full, 300)
		r.see("one, and one with another rest", frame+full+300)
		r.write(full, full, full, full, full, rest)
		r.see("a frame of 80 KiB", 4*full)
		time.Sleep(frameTime)
		r.see("its end", frame)
	})
}

// TestFramesInVain: where nothing follows, what is held goes after a moment, and several frames are waited for ever more rarely: a client
// with a window of two frames loses a moment now and then, and not with each of them.
func TestFramesInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		waited := 0
		const windows = 1000
		for range windows {
			r.write(full, rest, full, rest)
			began := time.Now()
			for synctest.Wait(); r.holds(); synctest.Wait() {
				time.Sleep(frameTime / 4)
			}
			if time.Since(began) > 0 {
				waited++
			}
		}
		if waited < 3 || waited > 10 {
			t.Errorf("%d of %d windows waited for more, want a few", waited, windows)
		}
		if got := r.out.Bytes(); !bytes.Equal(got, r.sent) {
			t.Errorf("got %d bytes, or others, want %d", len(got), len(r.sent))
		}
	})
}

func (r *rig) holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held != nil
}

// TestFramesBroken: what breaks under several frames shows at the next record.
func TestFramesBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.lull(fewCalm)
		r.write(full, rest, full, rest)
		r.mu.Lock()
		r.out.broken = true
		r.mu.Unlock()
		time.Sleep(frameTime)
		synctest.Wait()
		if _, err := r.Write(make([]byte, full)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v, want the error of the frames that went late", err)
		}
	})
}
