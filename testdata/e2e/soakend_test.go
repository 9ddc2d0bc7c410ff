//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	soakRecovery    = time.Minute // from the last fault until all can be pulled
	soakDescriptors = 16          // more than at the start
	soakGoroutines  = 16
	soakHeap        = 32 << 20 // indexes and tables, which are bounded, and what the clients that look have in use
)

// footprint is what a process takes of the machine.
type footprint struct {
	descriptors, goroutines int64
	heap                    int64 // what the last garbage collection left; half of the next one's goal
	rss                     int64 // of the race binary several times the heap's peak, which it never gives back: told and not judged
}

func (f footprint) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, heap %.1f MiB, RSS %.1f MiB", f.descriptors, f.goroutines, mib(f.heap), mib(f.rss))
}

func (e *entrepot) footprint(t *testing.T) footprint {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", e.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return footprint{
		int64(len(open)), int64(e.metric(t, "go_goroutines")), int64(e.metric(t, "go_memstats_next_gc_bytes") / 2),
		memoryOf(t, e.cmd.Process.Pid, "VmRSS"),
	}
}

// recovers pulls every image by every door when nothing goes wrong any more.
func (s *soak) recovers(e *entrepot) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), soakRecovery)
	defer cancel()
	for i := range 3 {
		c := s.newClient(e.ca, i)
		for _, img := range s.images {
			err := c.pull(ctx, img)
			for err != nil && ctx.Err() == nil && !errors.As(err, new(*lieError)) {
				pause(ctx, 100*time.Millisecond) // a registry that failed is not asked for a while
				err = c.pull(ctx, img)
			}
			if err != nil {
				s.t.Errorf("with all healed, %s/%s by client %d: %v", img.registry, img.repo, i, err)
			}
		}
		c.http.CloseIdleConnections()
	}
}

// settles waits until the last entrepot is as it was at its start. It is
// pulled from meanwhile, since an idle one collects garbage every two minutes.
func (s *soak) settles(e *entrepot, before footprint) {
	s.t.Helper()
	late, again := time.After(startTimeout), time.NewTicker(100*time.Millisecond)
	defer again.Stop()
	for i := 0; ; i++ {
		c := s.newClient(e.ca, 0)
		_ = c.pull(s.t.Context(), s.images[i%len(s.images)]) // recovers has judged it
		c.http.CloseIdleConnections()
		s.up.HangUp() // connections that are kept for the next pull are no leak
		now, fills := e.footprint(s.t), e.metric(s.t, "entrepot_fills_in_flight")
		if fills == 0 && now.descriptors <= before.descriptors+soakDescriptors && now.goroutines <= before.goroutines+soakGoroutines &&
			now.heap <= before.heap+soakHeap {
			s.t.Logf("at the start %v; at the end %v", before, now)
			return
		}
		select {
		case <-again.C:
		case <-late:
			s.t.Errorf("it does not settle: %v transfers, %v, was %v", fills, now, before)
			return
		}
	}
}

// looksBack judges the files and the logs that the run left.
func (s *soak) looksBack(e *entrepot) {
	s.t.Helper()
	s.t.Logf("requests: %v", &s.tally)
	if n := s.evicted(e); n == 0 {
		s.t.Error("nothing was evicted: the limit was never reached")
	}
	e.stop(s.t)
	s.leftovers()
	hits := 0
	for _, log := range s.logs {
		text, err := os.ReadFile(log)
		if err != nil {
			s.t.Fatal(err)
		}
		hits += strings.Count(string(text), `"cache":"HIT"`)
		for _, bad := range []string{"DATA RACE", "panic", "fatal error", "goroutine "} {
			if i := strings.Index(string(text), bad); i >= 0 {
				s.t.Errorf("%s has %q:\n%.4000s", log, bad, text[max(0, i-200):])
			}
		}
	}
	if hits == 0 {
		s.t.Error("not one HIT")
	}
	s.t.Logf("%d hits in %d lives", hits, len(s.logs))
}

func (s *soak) evicted(e *entrepot) float64 { return e.metric(s.t, "entrepot_evictions_total") }

// leftovers shows that what broken transfers and kills left is bounded: of
// partials a tenth of the limit, of half-written small files none, and all
// content within the limit.
func (s *soak) leftovers() {
	s.t.Helper()
	var partials, content int64
	err := filepath.WalkDir(filepath.Join(s.dir, "cache"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(d.Name(), "."):
			if d.Name() != ".lock" {
				s.t.Errorf("left behind: %s of %v", path, info.ModTime())
			}
		case strings.HasSuffix(d.Name(), ".note"):
		case filepath.Base(filepath.Dir(path)) == "ingest":
			partials += info.Size()
		case !strings.HasSuffix(d.Name(), ".meta"):
			content += info.Size()
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
	if partials > soakMaxSize/10 {
		s.t.Errorf("partials have %d bytes, want at most a tenth of %d", partials, soakMaxSize)
	}
	if content+partials > soakMaxSize+1<<20 { // tags and manifests' notes are small and not in the account
		s.t.Errorf("content has %d bytes and partials %d, want at most %d", content, partials, soakMaxSize)
	}
	s.t.Logf("left: %d bytes of content, %d of partials", content, partials)
}
