package cache

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrepot/entrepot/testdata/world/mounts"
)

// badFile gives up in one of several ways.
type badFile struct {
	file
	full   int64 // no write goes beyond this
	unread int64 // no read goes beyond this
	err    error
	sync   error
}

func (f *badFile) WriteAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > f.full {
		return 0, f.err
	}
	return f.file.WriteAt(p, at)
}

func (f *badFile) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) > f.unread {
		return 0, f.err
	}
	return f.file.ReadAt(p, at)
}

func (f *badFile) Sync() error {
	if f.sync != nil {
		return f.sync
	}
	return f.file.Sync()
}

const whole = 1 << 40

func badDisk(change func(f *badFile)) disk {
	d := realDisk()
	d.open = func(name string) (file, error) {
		f, err := realDisk().open(name)
		if err != nil {
			return nil, err
		}
		bad := &badFile{file: f, full: whole, unread: whole}
		change(bad)
		return bad, nil
	}
	return d
}

// diskFaults are the ways in which a disk gives up.
var diskFaults = []struct {
	name string
	disk func() disk
}{
	{"full at once", func() disk { return badDisk(func(f *badFile) { f.full, f.err = 0, syscall.ENOSPC }) }},
	{"full in the middle", func() disk { return badDisk(func(f *badFile) { f.full, f.err = 500<<10, syscall.ENOSPC }) }},
	{"full at the end", func() disk { return badDisk(func(f *badFile) { f.full, f.err = 1<<20-1, syscall.ENOSPC }) }},
	{"write error", func() disk { return badDisk(func(f *badFile) { f.full, f.err = 500<<10, syscall.EIO }) }},
	{"failing fsync", func() disk { return badDisk(func(f *badFile) { f.sync = syscall.EIO }) }},
	{"failing rename", func() disk {
		d := realDisk()
		d.rename = func(string, string) error { return syscall.EROFS }
		return d
	}},
	{"read-only", func() disk {
		d := realDisk()
		d.open = func(string) (file, error) { return nil, syscall.EROFS }
		return d
	}},
	{"below the floor", func() disk {
		d := realDisk()
		d.free = func(string) (int64, error) { return 100, nil }
		return d
	}},
}

// rpardini#90, nginx and Squid on a full disk: whatever the disk does, each reader gets all bytes, and one report says so.
func TestDiskThatGivesUp(t *testing.T) {
	for _, c := range diskFaults {
		t.Run(c.name, func(t *testing.T) {
			said := &reports{}
			s := openFaulty(t, c.disk(), t.TempDir(), Config{Report: said.add})
			up := newUpstream(1 << 20)
			gate := make(chan struct{})
			up.before = holdAt(200<<10, gate)
			var wg sync.WaitGroup
			for i := range 5 {
				b, err := s.Blob(t.Context(), up.digest(), up.source())
				if err != nil {
					t.Fatal(err)
				}
				if i == 4 {
					b.Seek(100<<10, io.SeekStart)
					up := &upstream{content: up.content[100<<10:]}
					wg.Go(func() { wantWhole(t, up, b, nil) })
					break
				}
				wg.Go(func() { wantWhole(t, up, b, nil) })
				if strings.HasPrefix(c.name, "full at once") || c.name == "read-only" || c.name == "below the floor" {
					s.work.Wait() // each is a fill of its own
					break
				}
			}
			close(gate)
			wg.Wait()
			wantIdle(t, s)
			if got := s.Counts().Uncached.Load(); got != 1 {
				t.Errorf("counted %d uncached, want 1", got)
			}
			if got := said.all(); len(got) != 1 {
				t.Errorf("reported %q, want one line", got)
			}
			if s.Has(up.digest()) {
				t.Error("it was kept")
			}
			left, _ := filepath.Glob(filepath.Join(s.dir.ingest(), "*"))
			if len(left) > 0 {
				t.Errorf("litter: %v", left)
			}
		})
	}
}

// Who goes on without the disk is told no lie either.
func TestWrongContentOnADiskThatGivesUp(t *testing.T) {
	for _, c := range diskFaults {
		t.Run(c.name, func(t *testing.T) {
			s := openFaulty(t, c.disk(), t.TempDir(), Config{})
			up := newUpstream(1 << 20)
			good := newUpstream(1 << 20)
			up.content[1<<20-1]++
			b, err := s.Blob(t.Context(), good.digest(), up.source())
			wantBroken(t, up, b, err, ErrMismatch)
			wantIdle(t, s)
		})
	}
}

// A partial that cannot be read back is read from upstream again, from the start, since the digest must be checked.
func TestDiskThatCannotBeRead(t *testing.T) {
	for _, wrong := range []bool{false, true} {
		s := openFaulty(t, badDisk(func(f *badFile) { f.unread, f.err = 300<<10, syscall.EIO }), t.TempDir(), Config{})
		up := newUpstream(1 << 20)
		d := up.digest()
		if wrong {
			up.content[1<<20-1]++
		}
		gate := make(chan struct{})
		up.before = func(ctx context.Context, request int, pos int64) error {
			if request > 0 {
				return nil
			}
			return holdAt(1<<20-1, gate)(ctx, request, pos)
		}
		b, err := s.Blob(t.Context(), d, up.source())
		if wrong {
			wantBroken(t, up, b, err, ErrMismatch)
		} else {
			wantWhole(t, up, b, err)
		}
		close(gate)
		wantIdle(t, s)
	}
}

func TestUncachedIsResumedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openFaulty(t, badDisk(func(f *badFile) { f.full, f.err = 0, syscall.ENOSPC }), t.TempDir(), Config{})
		up := newUpstream(1 << 20)
		up.before = cutAt(2, 512<<10)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		s.Close()
	})
}

// A connection that breaks behind the last byte has brought all there is: nothing more is asked for, which upstream would refuse.
func TestUncachedBrokenAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openFaulty(t, badDisk(func(f *badFile) { f.full, f.err = 0, syscall.ENOSPC }), t.TempDir(), Config{})
		up := newUpstream(1 << 20)
		up.before = cutAt(2, 1<<20) // the fill's request and the client's own
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		for _, r := range up.requests() {
			if r.from >= 1<<20 {
				t.Errorf("asked for %v, which does not exist", r)
			}
		}
		s.Close()
	})
}

func TestUncachedSeeks(t *testing.T) {
	s := openFaulty(t, badDisk(func(*badFile) {}), t.TempDir(), Config{MaxSize: 1 << 19})
	up := newUpstream(1 << 20)
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Outcome != Uncached || b.Size != 1<<20 {
		t.Errorf("got %+v", b)
	}
	b.Seek(0, io.SeekEnd)
	b.Seek(0, io.SeekStart)
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, up.content) {
		t.Errorf("got %d other bytes, %v", len(got), err)
	}
	if got := up.opened.Load(); got != 2 {
		t.Errorf("upstream was asked %d times, want 2: what did not fit, and the way past", got)
	}
	b.Seek(-10, io.SeekEnd)
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, up.content[1<<20-10:]) {
		t.Errorf("got %q, %v", got, err)
	}
	if b.Err() != nil {
		t.Errorf("got %v", b.Err())
	}
}

// TestFullVolume fills a real one.
func TestFullVolume(t *testing.T) {
	if !mounts.Own(t) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	disk := realDisk()
	disk.free = func(string) (int64, error) { return 1 << 40, nil } // so that it is noticed only by writing
	s := openFaulty(t, disk, dir, Config{MaxSize: 1 << 30})
	for i := range 5 { // the oldest make way when a write fails
		up := newUpstream(3<<20 + i)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		wantIdle(t, s)
		wantHit(t, s, up)
	}
	evictions := s.Counts().Evictions.Load()
	up := newUpstream(12 << 20)
	gate := make(chan struct{})
	up.before = holdAt(1<<20, gate)
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	joined, err := s.Blob(t.Context(), up.digest(), up.source())
	close(gate)
	wantWhole(t, up, joined, err)
	wantWhole(t, up, b, nil)
	wantIdle(t, s)
	if got := s.Counts().Uncached.Load(); got != 1 {
		t.Errorf("counted %d uncached, want 1", got)
	}
	if got := s.Counts().Evictions.Load(); got != evictions {
		t.Errorf("%d were evicted for what is larger than the volume", got-evictions)
	}
	d, err := s.Put([]byte("still alive"), "")
	if err != nil || !s.Has(d) {
		t.Errorf("afterwards: %v", err)
	}
	s.Close()
}

// What others write to a real volume is seen there: nothing goes in vain, and what must go for the floor does.
func TestVolumeThatOthersFill(t *testing.T) {
	if !mounts.Own(t) {
		return
	}
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"))
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(dir, "cache"), Config{MaxSize: 1 << 30, MinFree: 2 << 20})
		defer s.Close()
		for i := range 5 {
			up := newUpstream(1<<20 + i)
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			wantWhole(t, up, b, err)
			wantIdle(t, s)
		}
		check(t, os.WriteFile(dir+"/others", make([]byte, 7<<20), 0o600))
		up := newUpstream(8 << 20)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		if got := s.Usage().Objects; b.Outcome != Uncached || got != 5 {
			t.Errorf("got outcome %v and %d objects left, want uncached and 5", b.Outcome, got)
		}
		check(t, os.WriteFile(dir+"/others", make([]byte, 10<<20), 0o600))
		time.Sleep(floorEvery)
		synctest.Wait()
		free, err := volumeFree(dir)
		if got := s.Usage().Objects; err != nil || free < 2<<20 || got != 3 {
			t.Errorf("%d bytes are free (%v) and %d objects left, want at least %d and 3", free, err, got, 2<<20)
		}
	})
}
