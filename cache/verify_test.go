package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func keep(t testing.TB, s *Store, size int) *upstream {
	t.Helper()
	up := newUpstream(size)
	if _, err := s.Put(up.content, "a/b"); err != nil {
		t.Fatal(err)
	}
	return up
}

// harbor#22555, Squid's short 200s: a file that was cut is never served whole as good, also right after a restart.
func TestTruncatedFileIsAMiss(t *testing.T) {
	for _, restart := range []bool{false, true} {
		dir := t.TempDir()
		s := open(t, dir, Config{})
		up := keep(t, s, 1<<20)
		if restart {
			s.Close()
		}
		check(t, os.Truncate(s.dir.blob(up.digest()), 1<<19))
		if restart {
			s = open(t, dir, Config{})
			<-s.scanned
		}
		if s.Has(up.digest()) {
			t.Error("Has says it is there")
		}
		if _, err := s.Lookup(up.digest()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want not exist", err)
		}
		if got := s.Counts().Damaged.Load(); got != 1 {
			t.Errorf("counted %d damaged, want 1", got)
		}
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		wantIdle(t, s)
		wantHit(t, s, up)
	}
}

// A file that is cut while it is read breaks off, and is dropped.
func TestFileCutDuringARead(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	up := keep(t, s, 1<<20)
	b, err := s.Lookup(up.digest())
	check(t, err)
	check(t, os.Truncate(s.dir.blob(up.digest()), 1<<19))
	wantBroken(t, up, b, nil, io.ErrUnexpectedEOF)
	if b.Err() == nil || s.Has(up.digest()) || s.Counts().Damaged.Load() != 1 {
		t.Errorf("got %v, held: %v", b.Err(), s.Has(up.digest()))
	}
}

func TestVerify(t *testing.T) {
	said := &reports{}
	s := open(t, t.TempDir(), Config{Report: said.add})
	var ups []*upstream
	for i := range 6 {
		ups = append(ups, keep(t, s, 100<<10+i))
	}
	overwrite(t, s.dir.blob(ups[2].digest()), 7, []byte("rot"))
	check(t, os.Truncate(s.dir.blob(ups[4].digest()), 10))
	var told int
	got, err := s.Verify(t.Context(), VerifyOptions{Progress: func(v Verification) { told++ }})
	check(t, err)
	want := []Digest{ups[2].digest(), ups[4].digest()}
	for _, d := range want {
		if !slices.Contains(got.Damaged, d) || s.Has(d) {
			t.Errorf("%v was not found, or stays", d)
		}
	}
	if got.Objects != 6 || got.TotalObjects != 6 || len(got.Damaged) != 2 || told < 6 || len(said.all()) != 2 {
		t.Errorf("got %+v, told %d times, reported %q", got, told, said.all())
	}
	got, err = s.Verify(t.Context(), VerifyOptions{})
	if err != nil || got.Objects != 4 || len(got.Damaged) != 0 {
		t.Errorf("again: got %+v, %v", got, err)
	}
}

func TestVerifyKeepsToItsRateAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Config{})
		for i := range 4 {
			keep(t, s, 1<<20+i)
		}
		began := time.Now()
		if _, err := s.Verify(t.Context(), VerifyOptions{Rate: 1 << 20}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("4 MiB at 1 MiB/s took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if v, err := s.Verify(ctx, VerifyOptions{Rate: 1 << 20}); !errors.Is(err, context.DeadlineExceeded) || len(v.Damaged) > 0 {
			t.Errorf("got %+v, %v", v, err)
		}
		s.Close()
	})
}

func TestSuspect(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	good, bad := keep(t, s, 1000), keep(t, s, 2000)
	overwrite(t, s.dir.blob(bad.digest()), 7, []byte("rot"))
	s.Suspect(good.digest())
	s.Suspect(bad.digest())
	s.Suspect(bad.digest())
	s.work.Wait()
	if !s.Has(good.digest()) || s.Has(bad.digest()) {
		t.Error("the wrong one went")
	}
}

func TestTags(t *testing.T) {
	dir := t.TempDir()
	said := &reports{}
	s := open(t, dir, Config{})
	k := Key{Registry: "docker.io", Repo: "library/alpine", Tag: "3", Variant: "index"}
	want := Tag{Digest: DigestOf([]byte("x")), MediaType: "a/b", Size: 7, Seen: time.Now().UTC().Round(0)}
	if _, err := s.Tag(k); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
	check(t, s.SetTag(k, want))
	if err := s.SetTag(Key{Repo: "a\nb"}, want); err == nil {
		t.Error("a line feed was accepted")
	}
	s.Close()
	s = open(t, dir, Config{Report: said.add})
	if got, err := s.Tag(k); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	var listed int
	for gotKey, got := range s.Tags() {
		if listed++; gotKey != k || got != want {
			t.Errorf("listed %v as %v", gotKey, got)
		}
	}
	if listed != 1 || s.Has(want.Digest) {
		t.Errorf("listed %d tags, want 1, whose content is not held", listed)
	}
	s.ForgetTag(k)
	s.ForgetTag(k)
	if _, err := s.Tag(k); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
	for _, damage := range []string{"", "{", `{"digest":"sha256:zz"}`, `{"registry":"ghcr.io"}`} {
		check(t, s.SetTag(k, want))
		check(t, os.WriteFile(s.dir.tag(k), []byte(damage), 0o600))
		s.Close()
		s = open(t, dir, Config{Report: said.add})
		before := len(said.all())
		for range 2 {
			if _, err := s.Tag(k); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%q: got %v, want not exist", damage, err)
			}
		}
		if got := len(said.all()) - before; got != 1 {
			t.Errorf("%q: reported %d times, want once", damage, got)
		}
	}
}

func TestObjects(t *testing.T) {
	s := open(t, t.TempDir(), Config{})
	one, two := keep(t, s, 10), keep(t, s, 20)
	b, err := s.Lookup(one.digest())
	check(t, err)
	defer b.Close()
	var got []Object
	for o := range s.Objects() {
		got = append(got, o)
	}
	if len(got) != 2 || got[0].Digest != one.digest() || got[0].Readers != 1 || got[1].Digest != two.digest() || got[1].Size != 20 {
		t.Errorf("got %+v", got)
	}
	if age := time.Since(got[0].Used); age < 0 || age > time.Minute {
		t.Errorf("used %v ago", age)
	}
}

// litter makes n objects as an earlier process would have left them, empty ones for speed, and with half of them no meta file.
func litter(t testing.TB, dir string, n int) {
	t.Helper()
	l := newLayout(dir)
	_, err := l.make()
	check(t, err)
	for i := range 256 {
		check(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256", fmt.Sprintf("%02x", i)), 0o700))
	}
	for i := range n {
		d := DigestOf(fmt.Append(nil, i))
		check(t, os.WriteFile(l.blob(d), nil, 0o600))
		if i%2 == 0 {
			check(t, os.WriteFile(l.meta(d), []byte(`{"size":0}`), 0o600))
		}
	}
}

// TestScan: a restart serves at once, hits and fills, while the scan stands at the first file it looks at. So it does not matter how
// many objects there are; BenchmarkStart tells how long it takes to account for 100,000.
func TestScan(t *testing.T) {
	const n = 2000
	dir := t.TempDir()
	litter(t, dir, n)
	orphan := newLayout(dir).meta(DigestOf([]byte("orphan")))
	first := filepath.Join(dir, "blobs", "sha256", "00", ".new-1")
	for _, name := range []string{orphan, first, filepath.Join(dir, "ingest", ".new-2")} {
		check(t, os.WriteFile(name, nil, 0o600))
		old := time.Now().Add(-time.Hour)
		check(t, os.Chtimes(name, old, old))
	}
	disk, begun, gate := realDisk(), make(chan struct{}), make(chan struct{})
	disk.remove = func(name string) error {
		if name == first {
			close(begun)
			<-gate
		}
		return os.Remove(name)
	}
	s := openFaulty(t, disk, dir, Config{})
	<-begun
	for i := range 100 {
		b, err := s.Lookup(DigestOf(fmt.Append(nil, i)))
		if err != nil {
			t.Fatalf("a hit waits for the scan: %v", err)
		}
		b.Close()
	}
	up := newUpstream(100 << 10)
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	wantWhole(t, up, b, err)
	check(t, s.SetTag(Key{Registry: "r", Repo: "a", Tag: "b"}, Tag{Digest: up.digest()}))
	if s.Usage().Scanned {
		t.Error("the scan has ended before its gate was opened")
	}
	close(gate)
	<-s.scanned
	s.work.Wait()
	if got := s.Usage().Objects; got != n+1 {
		t.Errorf("got %d objects, want %d", got, n+1)
	}
	for _, name := range []string{orphan, first, filepath.Join(dir, "ingest", ".new-2")} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("litter: %s", name)
		}
	}
}

func TestIndexIsSmall(t *testing.T) {
	const n = 100_000
	found := make([]object, n)
	for i := range found {
		found[i] = object{key: DigestOf(fmt.Append(nil, i)).key(), size: 1, used: int64(i)}
	}
	before := heap()
	x := newIndex(1<<40, time.Now)
	x.adopt(found, nil)
	got := (heap() - before) / n
	if got > 72 {
		t.Errorf("an object takes %d bytes, want at most 72", got)
	}
	t.Logf("%d bytes an object", got)
	runtime.KeepAlive(found)
	runtime.KeepAlive(x)
}

// The order of use survives whatever order the scan finds things in, and what is used during the scan is newer than all of it.
func TestOrderOfUse(t *testing.T) {
	x := newIndex(1<<40, func() time.Time { return time.Unix(5, 0) }) // the clock was set back
	digest := func(i int) Digest { return DigestOf(fmt.Append(nil, i)) }
	var found []object
	for _, i := range rand.Perm(100_000) {
		found = append(found, object{key: digest(i).key(), size: 1, used: 1000 + int64(i)})
	}
	x.pin(digest(7), 1)
	var list []aged
	for part := range slices.Chunk(found, 30_000) {
		list = x.adopt(part, list)
		x.pin(digest(3), 1)
		x.remove(digest(5))
	}
	x.inOrder(list)
	want := []int{3, 7}
	for i := 99_999; i >= 0; i-- {
		if i != 3 && i != 5 && i != 7 {
			want = append(want, i)
		}
	}
	got := x.entries()
	if len(got) != len(want) || x.objects != int64(len(want)) {
		t.Fatalf("got %d in the list and %d in the account, want %d", len(got), x.objects, len(want))
	}
	for i, e := range got {
		if e.digest() != digest(want[i]) {
			t.Fatalf("place %d: got %v, want object %d", i, e.digest(), want[i])
		}
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
