package cache

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"
)

// changeOnDisk flips a bit of what is held, as a bad disk does: the size stays.
func changeOnDisk(t *testing.T, s *Store, d Digest, at int64) {
	t.Helper()
	f, err := os.OpenFile(s.dir.blob(d), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// A file that the disk has changed between two starts is never served whole: the last piece does not come, and the next one who asks
// gets it fetched anew.
func TestChangedBetweenStarts(t *testing.T) {
	for _, size := range []int{1, 1000, withheld, withheld + 1, 1 << 20} {
		for _, at := range []int64{0, int64(size) / 2, int64(size) - 1} {
			dir, up := t.TempDir(), newUpstream(size)
			s := open(t, dir, Config{})
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			mustRead(t, b, err)
			wantIdle(t, s)
			s.Close()
			s = open(t, dir, Config{})
			changeOnDisk(t, s, up.digest(), at)
			b, err = s.Lookup(up.digest())
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(b)
			if !errors.Is(err, ErrMismatch) || len(got) >= size || b.Err() == nil {
				t.Errorf("%d bytes, changed at %d: got %d of them and %v, want fewer and ErrMismatch", size, at, len(got), err)
			}
			b.Close()
			if _, err := s.Lookup(up.digest()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%d bytes, changed at %d: afterwards got %v, want not exist", size, at, err)
			}
			b, err = s.Blob(t.Context(), up.digest(), up.source())
			if got := mustRead(t, b, err); !bytes.Equal(got, up.content) {
				t.Errorf("%d bytes, changed at %d: fetched anew and still wrong", size, at)
			}
			wantIdle(t, s)
			s.Close()
		}
	}
}

// What was seen to be its digest is read by the kernel's way from then on, also after a read in parts, behind which it is checked.
func TestSeenOnce(t *testing.T) {
	dir, up := t.TempDir(), newUpstream(1<<20)
	s := open(t, dir, Config{})
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	mustRead(t, b, err)
	wantIdle(t, s)
	for name, read := range map[string]func(*Blob){
		"whole": func(b *Blob) { io.Copy(io.Discard, b) },
		"in parts": func(b *Blob) {
			b.Seek(300<<10, io.SeekStart)
			io.CopyN(io.Discard, b, 500<<10)
		},
		"from the end": func(b *Blob) {
			b.Seek(0, io.SeekEnd)
			b.Seek(0, io.SeekStart)
			io.Copy(io.Discard, b)
		},
	} {
		s.Close()
		s = open(t, dir, Config{})
		b, err := s.Lookup(up.digest())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := b.ReadSeekCloser.(*checked); !ok {
			t.Errorf("%s: after a start got a %T, want a checked one", name, b.ReadSeekCloser)
		}
		read(b)
		b.Close()
		wantIdle(t, s) // waits for the check, which Close would end
		if !s.trusted.Contains(up.digest()) {
			t.Errorf("%s: it is not known to be good", name)
		}
	}
}
