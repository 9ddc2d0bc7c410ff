//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

const (
	soakVar     = "SOAK"      // how long; `make soak` says 10 minutes
	soakSeedVar = "SOAK_SEED" // to have the same choices again
	soakShort   = 20 * time.Second
	soakClients = 100
	soakMaxSize = 48 << 20 // a third of what there is
	soakKilling = 60       // percent of the time in which it is killed again and again; the rest is one life
	soakLook    = 10 * time.Second
)

// soak is a run: 100 clients that pull, abort and resume at random, an
// upstream that goes wrong at random, and an entrepot that is killed at random
// and has room for a third of what it is asked for. Nothing of it is expected
// to succeed, but what ends politely must be right.
type soak struct {
	t      *testing.T
	up     *upstream
	dir    string
	seed   uint64
	images []soakImage
	tally  tally
	logs   []string // of all entrepots
}

// TestSoak has a world of its own: Test's is filled with files of this machine.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	length := soakLength(t)
	t.Logf("seed %d: to have the same choices again: %s=%d %s=%v", s.seed, soakSeedVar, s.seed, soakVar, length)
	e := s.start()
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var all sync.WaitGroup
	for i := range soakClients {
		all.Go(func() { s.newClient(e.ca, i).run(ctx) })
	}
	all.Go(func() { s.harm(ctx) })
	e, before := s.killing(ctx, e, length*soakKilling/100)
	s.living(ctx, e)
	all.Wait()
	s.up.Heal()
	s.recovers(e)
	s.settles(e, before)
	s.looksBack(e)
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{
		t: t, dir: filepath.Join(scratch(t), "data"), seed: soakSeed(t),
		up: &upstream{World: newWorld(t, world.Options{RateLimit: -1}), roots: filepath.Join(scratch(t), "public-roots.pem")},
	}
	writeFile(t, s.up.roots, string(s.up.RootPEM))
	s.up.resolvable(t)
	s.images = makeSoakImages(t, s.up.World, s.random(0))
	return s
}

// random gives each part of the run choices of its own, which do not depend on
// what the others do.
func (s *soak) random(part uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, part)) }

func soakLength(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(soakVar)
	if text == "" {
		return soakShort
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", soakVar, err)
	}
	return length
}

func soakSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv(soakSeedVar)
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", soakSeedVar, err)
	}
	return seed
}

// start starts the binary that looks for races, on what the last one left.
func (s *soak) start() *entrepot {
	s.t.Helper()
	flags := s.up.serveFlags(s.dir, "--max-size", fmt.Sprintf("%dMiB", soakMaxSize>>20), "--manifest-ttl", "500ms", "--grace", "2s",
		"--tls-listen", "off", "--http-listen", "off")
	p := start(s.t, "entrepot", command(nil, raceBinary(), flags...))
	s.logs = append(s.logs, p.log)
	p.until(s.t, ready)
	return &entrepot{process: p, up: s.up, ca: filepath.Join(s.dir, "ca", "ca.crt")}
}

// killing ends entrepot again and again, mostly without telling it, and
// returns the last one with what it took at its start.
func (s *soak) killing(ctx context.Context, e *entrepot, length time.Duration) (*entrepot, footprint) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	choose, kills, stops, before := s.random(1), 0, 0, e.footprint(s.t)
	for {
		select {
		case <-e.gone:
			s.t.Fatalf("entrepot ended by itself: %v", e.err)
		case <-ctx.Done():
			s.t.Logf("killed %d times, stopped %d times", kills, stops)
			return e, before
		case <-time.After(time.Second + time.Duration(choose.IntN(4000))*time.Millisecond):
		}
		if choose.IntN(4) > 0 {
			kills++
			e.kill(s.t)
		} else {
			stops++
			s.terminate(e)
		}
		e = s.start()
		before = e.footprint(s.t)
	}
}

// living lets it run on: what only grows shows in a long life.
func (s *soak) living(ctx context.Context, e *entrepot) {
	s.t.Helper()
	again := time.NewTicker(soakLook)
	defer again.Stop()
	for {
		select {
		case <-e.gone:
			s.t.Fatalf("entrepot ended by itself: %v", e.err)
		case <-ctx.Done():
			return
		case <-again.C:
			s.t.Logf("under load: %v", e.footprint(s.t))
		}
	}
}

// terminate stops it by SIGTERM, which must be an orderly end under load.
func (s *soak) terminate(e *entrepot) {
	s.t.Helper()
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Error(err)
	}
	select {
	case <-e.gone:
		if e.err != nil {
			s.t.Errorf("after SIGTERM it ended with %v, want exit code 0", e.err)
		}
	case <-time.After(stopTimeout):
		s.t.Errorf("it does not stop on SIGTERM within %v", stopTimeout)
		e.kill(s.t)
	}
}
