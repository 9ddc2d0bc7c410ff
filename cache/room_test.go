package cache

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
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

// smallVolume is a store on a volume of 10 MiB of which 4 MiB are to stay free, with 5 objects of 1 MiB each and others' files of as
// many bytes as others says.
func smallVolume(t *testing.T, cfg Config, others *atomic.Int64) (s *Store, held []*upstream) {
	t.Helper()
	disk := realDisk()
	disk.free = func(string) (int64, error) {
		u := s.index.usage()
		return 10<<20 - others.Load() - u.Bytes - u.Partials - (u.Reserved - s.index.owed.Load()), nil
	}
	cfg.MaxSize, cfg.MinFree = 1<<40, 4<<20
	s = openFaulty(t, disk, t.TempDir(), cfg)
	<-s.scanned
	for i := range 5 {
		up := newUpstream(1<<20 - i)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		s.work.Wait()
		held = append(held, up)
	}
	return s, held
}

// A volume that others have filled: the whole cache was evicted for a layer that could not be kept all the same.
func TestNothingIsEvictedInVain(t *testing.T) {
	var others atomic.Int64
	said := &reports{}
	s, held := smallVolume(t, Config{Report: said.add}, &others)
	wantKept := func(up *upstream, outcome Outcome, evictions int64) {
		t.Helper()
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		s.work.Wait()
		if got := s.Counts().Evictions.Load(); b.Outcome != outcome || got != evictions {
			t.Errorf("got outcome %v and %d evictions, want %v and %d", b.Outcome, got, outcome, evictions)
		}
	}
	others.Store(3 << 20) // 3 MiB would be left of 10 if all went
	wantKept(newUpstream(3<<20+1), Uncached, 0)
	if got, want := said.all()[0], "no room for 3.0 MiB: the volume has 2.0 MiB free, 5.0 MiB more could be evicted, "+
		"of that 4.0 MiB stay free (--min-free)"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	reader, err := s.Lookup(held[4].digest())
	check(t, err)
	wantKept(newUpstream(5<<19), Uncached, 0) // what is being read cannot go
	check(t, reader.Close())
	wantKept(newUpstream(5<<19), Miss, 5)
	wantIdle(t, s)
}

// That there is no room is said with what takes it, and without what does not: "0 B of it are being read and filled".
func TestNoRoomSaysWhatTakesIt(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		size, taken, owed, bytes, free, floor int64
		want                                  string
	}{
		{11, 0, 0, 0, 90, 0, "the cache may hold 10 MiB (--max-size)"},
		{5, 6, 0, 0, 90, 0, "the cache may hold 10 MiB (--max-size), and 6.0 MiB of it are being read and filled"},
		{5, 0, 0, 0, 0, 0, "the volume has 0 B free"},
		{5, 0, 0, 0, 2, 1, "the volume has 2.0 MiB free, of that 1.0 MiB stay free (--min-free)"},
		{5, 2, 2, 3, 2, 1, "the volume has 2.0 MiB free, 3.0 MiB more could be evicted, " +
			"of that 2.0 MiB are promised already, of that 1.0 MiB stay free (--min-free)"},
	} {
		x := newIndex(10*mib, time.Now)
		x.taken, x.bytes = c.taken*mib, c.bytes*mib
		x.owed.Store(c.owed * mib)
		want := "no room for " + inUnits(c.size*mib) + ": " + c.want
		if err := x.reserve(c.size*mib, c.free*mib, c.floor*mib); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What fills the volume while nothing is fetched meets the floor too, and what is held makes way for it, as far as it has to.
func TestFloorIsKeptBetweenFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var others atomic.Int64
		s, held := smallVolume(t, Config{}, &others)
		check(t, s.index.reserve(1<<20, 1<<40, 0)) // a transfer under way has not written that yet
		time.Sleep(floorEvery)
		synctest.Wait()
		if got := s.Usage().Objects; got != 5 {
			t.Errorf("%d objects are held, want all 5 while there is room", got)
		}
		others.Store(2 << 20)
		time.Sleep(floorEvery)
		synctest.Wait()
		for i, up := range held {
			if got, want := s.Has(up.digest()), i >= 2; got != want {
				t.Errorf("object %d is held: %v, want %v", i, got, want)
			}
		}
		s.Close()
	})
}

// A client that comes again and again for what there is no room for must not fill the log.
func TestNoRoomIsSaidOnceAMinute(t *testing.T) {
	said := &reports{}
	s := open(t, t.TempDir(), Config{MaxSize: 1 << 20, Report: said.add})
	s.work.Wait()
	clock := time.Now()
	s.now = func() time.Time { return clock }
	for i, want := range []int{1, 1, 2} {
		up := newUpstream(2 << 20)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		s.work.Wait()
		if got := said.all(); len(got) != want || !strings.HasSuffix(got[0], "no room for 2.0 MiB: the cache may hold 1.0 MiB (--max-size)") {
			t.Errorf("after %d: got %q, want %d lines", i+1, got, want)
		}
		clock = clock.Add(tightEvery / 2)
	}
	if got := s.Counts().Uncached.Load(); got != 3 {
		t.Errorf("counted %d, want 3", got)
	}
}

// Of two that do not fit together one is kept: neither is refused for the sake of the other.
func TestFillsShareTheVolume(t *testing.T) {
	var others atomic.Int64
	s, _ := smallVolume(t, Config{}, &others)
	gate := make(chan struct{})
	var got []Outcome
	var blobs []*Blob
	for i := range 2 {
		up := newUpstream(4<<20 + i)
		up.before = holdAt(100<<10, gate)
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		check(t, err)
		got, blobs = append(got, b.Outcome), append(blobs, b)
	}
	close(gate)
	for _, b := range blobs {
		mustRead(t, b, nil)
	}
	wantIdle(t, s)
	if got[0] != Miss || got[1] != Uncached {
		t.Errorf("got %v, want the first kept and the second not", got)
	}
	if got, want := s.Usage().Objects, int64(3); got != want { // 3 of 5 had to go for it
		t.Errorf("%d objects are held, want %d", got, want)
	}
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
