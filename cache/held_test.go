package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"testing"
)

// damages are what a disk does to a finished file of 1 MiB between two starts, and whether a client that reads all of it can still be
// given what is right. What was sent cannot be taken back.
var damages = map[string]struct {
	do    func(t *testing.T, s *Store, d Digest)
	whole bool
}{
	"nothing":             {func(*testing.T, *Store, Digest) {}, true},
	"the end is gone":     {func(t *testing.T, s *Store, d Digest) { cutOnDisk(t, s, d, 300<<10) }, true},
	"the last piece gone": {func(t *testing.T, s *Store, d Digest) { cutOnDisk(t, s, d, 1<<20-100) }, true},
	"all is gone":         {func(t *testing.T, s *Store, d Digest) { cutOnDisk(t, s, d, 0) }, true},
	"wrong at the end":    {func(t *testing.T, s *Store, d Digest) { changeOnDisk(t, s, d, 1<<20-100) }, true},
	"wrong at the start":  {func(t *testing.T, s *Store, d Digest) { changeOnDisk(t, s, d, 100) }, false},
	"wrong and cut":       {func(t *testing.T, s *Store, d Digest) { changeOnDisk(t, s, d, 100); cutOnDisk(t, s, d, 300<<10) }, false},
}

// cutOnDisk takes the end of what is held away under those who read it.
func cutOnDisk(t *testing.T, s *Store, d Digest, size int64) {
	t.Helper()
	if err := os.Truncate(s.dir.blob(d), size); err != nil {
		t.Fatal(err)
	}
}

// A pull that has begun on a held object does not fail of the disk: what does not come back is fetched again, once, and nobody who was
// sent something wrong is told that it was right.
func TestDamagedUnderReaders(t *testing.T) {
	for name, row := range damages {
		for _, seen := range []bool{true, false} { // by this process to be its digest, so that the kernel may send it
			if seen && name == "wrong at the end" || seen && name == "wrong at the start" {
				continue // only `entrepot verify` finds that
			}
			t.Run(fmt.Sprint(name, " seen ", seen), func(t *testing.T) {
				dir, up := t.TempDir(), newUpstream(1<<20)
				s := open(t, dir, Config{})
				b, err := s.Blob(t.Context(), up.digest(), up.source())
				mustRead(t, b, err)
				wantIdle(t, s)
				if !seen {
					s.Close()
					s = open(t, dir, Config{})
				}
				var all [2]*Blob
				for i := range all {
					if all[i], err = s.Blob(t.Context(), up.digest(), up.source()); err != nil {
						t.Fatal(err)
					}
				}
				row.do(t, s, up.digest())
				for i, b := range all {
					wantAgain(t, fmt.Sprint("reader ", i), b, up.content, row.whole)
				}
				wantIdle(t, s)
				if n := len(up.requests()); name != "nothing" && n != 2 {
					t.Errorf("upstream was asked %d times, want twice", n)
				}
				wantHit(t, s, up)
				s.Close()
			})
		}
	}
}

// wantAgain reads b and closes it.
func wantAgain(t *testing.T, who string, b *Blob, want []byte, whole bool) {
	t.Helper()
	got, err := io.ReadAll(b)
	if right := err == nil && bytes.Equal(got, want); right != whole || len(got) == len(want) && !right {
		t.Errorf("%s: got %d bytes and %v, want success %v", who, len(got), err, whole)
	}
	if (err == nil) != (b.Err() == nil) {
		t.Errorf("%s: got %v, and Err says %v", who, err, b.Err())
	}
	if whole {
		at, err := b.Seek(100, io.SeekStart)
		part, readErr := io.ReadAll(io.LimitReader(b, 1000))
		if at != 100 || err != nil || readErr != nil || !bytes.Equal(part, want[100:1100]) {
			t.Errorf("%s: back at %d: %d bytes, %v, %v", who, at, len(part), err, readErr)
		}
	}
	b.Close()
}

// With no way to upstream, and with one that has nothing, the reader is told so.
func TestDamagedAndNothingElse(t *testing.T) {
	for _, away := range []error{nil, fs.ErrNotExist} {
		up := newUpstream(1 << 20)
		s := open(t, t.TempDir(), Config{})
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		mustRead(t, b, err)
		wantIdle(t, s)
		if away == nil {
			b, err = s.Lookup(up.digest())
		} else {
			b, err = s.Blob(t.Context(), up.digest(), Source{Fetch: func(context.Context, int64, int64) (*Stream, error) { return nil, away }})
		}
		if err != nil {
			t.Fatal(err)
		}
		cutOnDisk(t, s, up.digest(), 300<<10)
		got, err := io.ReadAll(b)
		if len(got) != 300<<10 || !errors.Is(err, io.ErrUnexpectedEOF) || b.Err() == nil || away != nil && !errors.Is(err, away) {
			t.Errorf("got %d bytes and %v, want what there is and why not more", len(got), err)
		}
		b.Close()
		wantIdle(t, s)
		s.Close()
	}
}
