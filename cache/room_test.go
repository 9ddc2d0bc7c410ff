package cache

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// distribution#1140, bazel-remote's lesson: the limit holds with many fills at once, and the least recently used go.
func TestEviction(t *testing.T) {
	s := open(t, t.TempDir(), Config{MaxSize: 10 << 20})
	<-s.scanned
	ups := make([]*upstream, 12)
	for i := range ups {
		ups[i] = newUpstream(1<<20 - i)
		b, err := s.Blob(t.Context(), ups[i].digest(), ups[i].source())
		wantWhole(t, ups[i], b, err)
		s.work.Wait()
		if i >= 2 {
			wantHit(t, s, ups[0]) // so that it is never the oldest
		}
		if u := s.Usage(); u.Bytes > u.Limit {
			t.Fatalf("%d bytes are held, the limit is %d", u.Bytes, u.Limit)
		}
	}
	for i, up := range ups {
		if got, want := s.Has(up.digest()), i == 0 || i > 3; got != want && i != 3 {
			t.Errorf("object %d is held: %v, want %v", i, got, want)
		}
	}
	wantIdle(t, s)
}

// What somebody reads is not evicted, and what would only fit in its place is not kept.
func TestReadersPin(t *testing.T) {
	s := open(t, t.TempDir(), Config{MaxSize: 3 << 20})
	<-s.scanned
	one, two := newUpstream(2<<20), newUpstream(2<<20+1)
	b, err := s.Blob(t.Context(), one.digest(), one.source())
	wantWhole(t, one, b, err)
	s.work.Wait()
	held, err := s.Lookup(one.digest())
	if err != nil {
		t.Fatal(err)
	}
	b, err = s.Blob(t.Context(), two.digest(), two.source())
	wantWhole(t, two, b, err)
	if b.Outcome != Uncached || !s.Has(one.digest()) {
		t.Errorf("got outcome %v, want uncached", b.Outcome)
	}
	wantWhole(t, one, held, nil)
	b, err = s.Blob(t.Context(), two.digest(), two.source())
	wantWhole(t, two, b, err)
	wantIdle(t, s)
	if !s.Has(two.digest()) || s.Has(one.digest()) {
		t.Error("the other one was not kept afterwards")
	}
}

func TestFillsReserve(t *testing.T) {
	s := open(t, t.TempDir(), Config{MaxSize: 3 << 20})
	<-s.scanned
	gate := make(chan struct{})
	var blobs []*Blob
	var uncached int
	for i := range 4 {
		up := newUpstream(1<<20 - i)
		up.before = holdAt(500<<10, gate)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		if err != nil {
			t.Fatal(err)
		}
		if b.Outcome == Uncached {
			uncached++
		}
		blobs = append(blobs, b)
	}
	if got := s.Usage().Reserved; uncached != 1 || got > 3<<20 {
		t.Errorf("%d of 4 were refused and %d bytes are reserved, want 1 and at most %d", uncached, got, 3<<20)
	}
	close(gate)
	for _, b := range blobs {
		mustRead(t, b, nil)
	}
	wantIdle(t, s)
}

func TestFreeSpaceFloor(t *testing.T) {
	dir := t.TempDir()
	disk := realDisk()
	var s *Store
	const volume = 10 << 20
	disk.free = func(string) (int64, error) { // a small volume with nothing else on it
		u := s.index.usage()
		return volume - u.Bytes - u.Partials - (u.Reserved - s.index.owed.Load()), nil
	}
	s = openFaulty(t, disk, dir, Config{MaxSize: 1 << 40, MinFree: 4 << 20})
	<-s.scanned
	for i := range 10 {
		up := newUpstream(1<<20 - i)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		s.work.Wait()
		if got := s.Usage().Bytes; got > volume-4<<20 {
			t.Errorf("%d bytes are held, want %d left free", got, 4<<20)
		}
		if !s.Has(up.digest()) {
			t.Error("the newest is not held")
		}
	}
	wantIdle(t, s)
}

// distribution#4957: a delete that failed was forgotten and the disk never shrank.
func TestDeletionIsTriedAgain(t *testing.T) {
	disk := realDisk()
	var broken atomic.Bool
	broken.Store(true)
	disk.remove = func(name string) error {
		if broken.Load() && strings.Contains(name, "blobs") {
			return syscall.EIO
		}
		return os.Remove(name)
	}
	s := openFaulty(t, disk, t.TempDir(), Config{MaxSize: 3 << 20})
	<-s.scanned
	put := func(i int) {
		up := newUpstream(1<<20 - i)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		s.work.Wait()
	}
	for i := range 4 {
		put(i)
	}
	if u := s.Usage(); u.Stuck == 0 || s.Counts().DeleteFailures.Load() == 0 {
		t.Errorf("got %+v and %d failures, want something stuck", u, s.Counts().DeleteFailures.Load())
	}
	broken.Store(false)
	put(4)
	if u := s.Usage(); u.Stuck != 0 || u.Bytes > u.Limit {
		t.Errorf("got %+v, want nothing stuck and the limit kept", u)
	}
}

func TestUseIsRememberedOverRestarts(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Config{})
	ups := make([]*upstream, 4)
	for i := range ups {
		ups[i] = newUpstream(1<<20 - i)
		b, err := s.Blob(t.Context(), ups[i].digest(), ups[i].source())
		wantWhole(t, ups[i], b, err)
		s.work.Wait()
		then := time.Now().Add(time.Duration(i-10) * time.Hour)
		check(t, os.Chtimes(s.dir.blob(ups[i].digest()), then, then))
	}
	wantHit(t, s, ups[0])
	s.Close()
	s = open(t, dir, Config{MaxSize: 2<<20 + 100<<10})
	<-s.scanned
	s.work.Wait()
	for i, want := range []bool{true, false, false, true} {
		if got := s.Has(ups[i].digest()); got != want {
			t.Errorf("object %d is held: %v, want %v", i, got, want)
		}
	}
}

// harbor#20157: leftovers of broken transfers filled the disk.
func TestPartialsAreBounded(t *testing.T) {
	dir := t.TempDir()
	var last *Store
	for range 4 {
		_, last = leavePartial(t, dir, 4<<20+int(time.Now().UnixNano()%1000), 3<<20)
	}
	old := time.Now().Add(-2 * partialAge)
	names, _ := filepath.Glob(filepath.Join(last.dir.ingest(), "sha256-*"))
	if len(names) < 4 {
		t.Fatalf("got %v", names)
	}
	s := open(t, dir, Config{MaxSize: 70 << 20})
	s.work.Wait()
	if got := s.Usage().Partials; got > 7<<20 || got == 0 {
		t.Errorf("%d bytes of partials, want at most a tenth of 70 MiB", got)
	}
	s.Close()
	names, _ = filepath.Glob(filepath.Join(last.dir.ingest(), "sha256-*"))
	for _, name := range names {
		check(t, os.Chtimes(name, old, old))
	}
	s = open(t, dir, Config{})
	s.work.Wait()
	names, _ = filepath.Glob(filepath.Join(last.dir.ingest(), "*"))
	if len(names) != 0 {
		t.Errorf("after two days: %v", names)
	}
}
