package cache

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
)

// allocated is how many bytes the file system has for a file.
func allocated(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	check(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// layable tells whether this file system finds room ahead of time.
func layable(t *testing.T) bool {
	f, err := os.CreateTemp(t.TempDir(), "")
	check(t, err)
	defer f.Close()
	err = lay(f, 0, layStep)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	return err == nil
}

// TestLay: a large object has room before its bytes come, by steps and never beyond its end; its size is what has come. What a transfer
// that broke does not need any more it gives back.
func TestLay(t *testing.T) {
	can := layable(t)
	for name, c := range map[string]struct {
		size, at int64 // where upstream stops
		room     int64 // then
		unsized  bool  // it does not say how much there is
	}{
		"first step":   {size: 20 << 20, at: 2 << 20, room: layStep},
		"second step":  {size: 20 << 20, at: 10 << 20, room: 2 * layStep},
		"to the end":   {size: 20 << 20, at: 18 << 20, room: 20 << 20},
		"small":        {size: 900 << 10, at: 512 << 10, room: 512 << 10},
		"unknown size": {size: 20 << 20, at: 2 << 20, room: 2 << 20, unsized: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, t.TempDir(), Config{})
				up := newUpstream(int(c.size))
				up.answer = func(_ int, _, _ int64, st *Stream) error {
					if c.unsized {
						st.Size = -1
					}
					return nil
				}
				up.before = holdAt(c.at, make(chan struct{}))
				b, err := s.Blob(t.Context(), up.digest(), up.source())
				check(t, err)
				_, err = io.CopyN(io.Discard, b, 1)
				check(t, err)
				synctest.Wait()
				partial := s.dir.partial(up.digest())
				info, err := os.Stat(partial)
				check(t, err)
				want := c.room
				if !can {
					want = c.at
				}
				if got := allocated(t, partial); info.Size() != c.at || got < want || got > want+16<<10 {
					t.Errorf("at byte %d: size %d, room for %d, want %d", c.at, info.Size(), got, want)
				}
				b.Close()
				s.Close()
				if got := allocated(t, partial); got > c.at+16<<10 {
					t.Errorf("left with room for %d, has %d", got, c.at)
				}
			})
		})
	}
}
