package cache

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// victimEnv makes the test binary a process that fills the cache in the directory it names, until it is killed.
const victimEnv = "CACHE_TEST_VICTIM"

const victimBlobs = 4

// victimUpstreams have one that is large enough for side transfers.
func victimUpstreams() (ups [victimBlobs]*upstream) {
	for i := range ups {
		ups[i] = newUpstream(1<<20 + i)
		ups[i].chunk = 16 << 10
	}
	ups[1] = newUpstream(10 << 20)
	ups[2].parallel, ups[3].parallel = 2, 4
	return ups
}

// beKilled fills blob after blob, tells of each that is committed, and starts again when all are there.
func beKilled(dir string) {
	s, err := Open(dir, Config{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s.stretches, s.notePause = smallStretches(), 0
	fmt.Println("open")
	ups := victimUpstreams()
	for round := 0; ; round++ {
		for i, up := range ups {
			b, err := s.Blob(context.Background(), up.digest(), up.source())
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			if b.Size > nearBytes { // a far range, so that the partial has gaps
				b.Seek(nearBytes+1<<20, io.SeekStart)
				io.CopyN(io.Discard, b, 1000)
				b.Seek(0, io.SeekStart)
			}
			io.Copy(io.Discard, b)
			b.Close()
			for s.Usage().Fills > 0 {
				runtime.Gosched()
			}
			fmt.Println("held", i)
		}
		if round > 0 {
			for _, up := range ups {
				s.Remove(up.digest())
			}
		}
	}
}

var kills = flag.Int("kills", 8, "how many `times` TestKill kills")

// A kill at any moment leaves no wrong byte, loses nothing that was committed, and leaves no litter.
func TestKill(t *testing.T) {
	dir, ups := t.TempDir(), victimUpstreams()
	for range *kills {
		held := killOne(t, dir)
		checkAfterKill(t, dir, held, ups)
	}
}

// killOne returns which blobs the victim said it held, unless it may have removed them since.
func killOne(t *testing.T, dir string) map[int]bool {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan() // it has opened the store
	killer := time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, func() { cmd.Process.Kill() })
	defer killer.Stop()
	held, all := map[int]bool{}, 0
	for lines.Scan() {
		var i int
		if n, _ := fmt.Sscanf(lines.Text(), "held %d", &i); n != 1 {
			t.Errorf("the victim says %q", lines.Text())
			continue
		}
		held[i] = true
		if all++; all%victimBlobs == 0 && all > victimBlobs {
			clear(held)
		}
	}
	cmd.Wait()
	if all >= 2*victimBlobs {
		clear(held)
	}
	return held
}

func checkAfterKill(t *testing.T, dir string, committed map[int]bool, ups [victimBlobs]*upstream) {
	t.Helper()
	said := &reports{}
	s := open(t, dir, Config{Report: said.add})
	defer s.Close()
	<-s.scanned
	for i, up := range ups {
		up.sent.Store(0)
		partial := noteOf(s, up.digest())
		b, err := s.Blob(t.Context(), up.digest(), up.source())
		wantWhole(t, up, b, err)
		sent := up.sent.Load()
		if committed[i] && sent != 0 {
			t.Errorf("blob %d was committed before the kill and cost %d bytes again", i, sent)
		}
		if want := int64(len(up.content)) - partial.Frontier; sent > want {
			t.Errorf("blob %d had %d bytes and cost %d more, want at most %d", i, partial.Frontier, sent, want)
		}
		wantIdle(t, s)
		s.Remove(up.digest())
	}
	if got := said.all(); len(got) > 0 {
		t.Errorf("reported: %q", got)
	}
	left, err := filepath.Glob(filepath.Join(dir, "ingest", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("litter: %v, %v", left, err)
	}
	filepath.WalkDir(filepath.Join(dir, "blobs"), func(name string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			t.Errorf("litter: %s", name)
		}
		return err
	})
}

func noteOf(s *Store, d Digest) note {
	n, err := readNote(s.dir.note(d))
	if err != nil {
		return note{}
	}
	return n
}

// A partial whose data did not reach the disk, though its note did, is not believed.
func TestDamagedPartialIsThrownAway(t *testing.T) {
	for _, damage := range []struct {
		name string
		do   func(t *testing.T, partial, note string)
	}{
		{"zeros", func(t *testing.T, partial, _ string) { overwrite(t, partial, 1<<20, make([]byte, 4096)) }},
		{"short", func(t *testing.T, partial, _ string) { check(t, os.Truncate(partial, 1<<20)) }},
		{"no note", func(t *testing.T, _, note string) { check(t, os.Remove(note)) }},
		{"empty note", func(t *testing.T, _, note string) { check(t, os.Truncate(note, 0)) }},
		{"note of another size", func(t *testing.T, _, note string) {
			b, err := os.ReadFile(note)
			check(t, err)
			check(t, os.WriteFile(note, bytes.Replace(b, []byte(`"size":4194304`), []byte(`"size":4194305`), 1), 0o600))
		}},
	} {
		t.Run(damage.name, func(t *testing.T) {
			dir := t.TempDir()
			up, s := leavePartial(t, dir, 4<<20, 3<<20)
			damage.do(t, s.dir.partial(up.digest()), s.dir.note(up.digest()))
			s = open(t, dir, Config{})
			up.sent.Store(0)
			b, err := s.Blob(t.Context(), up.digest(), up.source())
			wantWhole(t, up, b, err)
			wantIdle(t, s)
			wantHit(t, s, up)
		})
	}
}

// leavePartial closes a store when the fill of an object has come exactly to at.
func leavePartial(t *testing.T, dir string, size int, at int64) (*upstream, *Store) {
	t.Helper()
	up := newUpstream(size)
	gate := make(chan struct{})
	reached := make(chan struct{}, 1)
	hold := holdAt(at, gate)
	up.before = func(ctx context.Context, request int, pos int64) error {
		if pos >= at {
			select {
			case reached <- struct{}{}:
			default:
			}
		}
		return hold(ctx, request, pos)
	}
	s := open(t, dir, Config{})
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	b.Close()
	s.Close()
	up.before = nil
	return up, s
}

func TestResumeAfterRestartAsksForTheRestOnly(t *testing.T) {
	dir := t.TempDir()
	up, _ := leavePartial(t, dir, 4<<20, 3<<20)
	s := open(t, dir, Config{})
	<-s.scanned
	if got := s.Usage().Partials; got != 3<<20 {
		t.Errorf("got %d bytes of partials in the account, want %d", got, 3<<20)
	}
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	wantWhole(t, up, b, err)
	if got := up.requests()[1:]; len(got) != 1 || got[0] != (span{3 << 20, -1}) {
		t.Errorf("asked for %v, want from %d on", got, 3<<20)
	}
	wantIdle(t, s)
	if got := s.Usage().Partials; got != 0 {
		t.Errorf("got %d bytes of partials in the account, want none", got)
	}
}

func TestPartialLongerThanTheObjectIsThrownAway(t *testing.T) {
	dir := t.TempDir()
	long, s := leavePartial(t, dir, 4<<20, 3<<20)
	up := newUpstream(1 << 20) // the truth, of which upstream sent something else once
	for _, name := range []func(Digest) string{s.dir.partial, s.dir.note} {
		check(t, os.Rename(name(long.digest()), name(up.digest())))
	}
	s = open(t, dir, Config{})
	b, err := s.Blob(t.Context(), up.digest(), up.source())
	wantWhole(t, up, b, err)
	wantIdle(t, s)
}

func overwrite(t *testing.T, name string, at int64, p []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	check(t, err)
	defer f.Close()
	_, err = f.WriteAt(p, at)
	check(t, err)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
