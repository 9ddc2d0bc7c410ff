package main

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newTurn is a turn of a server that is no process, in front of an origin.
func newTurn(t *testing.T, name string) *turn {
	t.Helper()
	b, err := newBed(t.Context(), options{}, t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	s, err := b.start(contender{name: name, start: startDirect})
	if err != nil {
		t.Fatal(err)
	}
	return &turn{bed: b, server: s, way: s.ways[wayH1]}
}

// TestMeasureHeld: a HEAD, which brings no byte, is seen. Entrepot fails by it, others are said to have asked.
func TestMeasureHeld(t *testing.T) {
	for _, row := range []struct {
		server string
		asks   bool
		want   string
	}{
		{"entrepot", false, ""},
		{"entrepot", true, "upstream was asked 1 times for what should be held, last HEAD /v2/a/manifests/1"},
		{"other", true, "upstream was asked 1 times"},
		{"nginx", true, ""},
	} {
		turn := newTurn(t, row.server)
		i := turn.bed.origin.image("a", "1", 1000)
		c := newClient(turn.way)
		err := turn.measureHeld(1000, func() error {
			if !row.asks {
				return nil
			}
			_, err := c.ask(t.Context(), http.MethodHead, manifestPath(i, "1"), "", -1)
			return err
		})
		c.close()
		if got := fmt.Sprint(err); row.want == "" && err != nil || !strings.Contains(got, row.want) {
			t.Errorf("%s, asks %v: got %v, want %q", row.server, row.asks, err, row.want)
		}
		if got := turn.sample[figAsked] == 1; got != row.asks {
			t.Errorf("%s: got %v requests, want one %v", row.server, turn.sample[figAsked], row.asks)
		}
	}
}

// TestWarmImageIsHeld: an image that upstream is asked for again is no warm one.
func TestWarmImageIsHeld(t *testing.T) {
	turn := newTurn(t, "entrepot") // which holds nothing, since its clients are led to upstream itself
	turn.server.image = turn.bed.origin.image("a", "1", 1000, 1000)
	if err := warmImage(turn); err == nil || !strings.Contains(err.Error(), "upstream was asked 3 times") {
		t.Errorf("got %v, want that upstream was asked", err)
	}
}

// TestRoundsRotate: each round begins with another server, and all of them have a turn in each.
func TestRoundsRotate(t *testing.T) {
	b := &bed{ctx: t.Context(), options: options{rounds: 4}, progress: t.Output(), origin: &origin{}}
	var servers []*server
	for _, name := range []string{"entrepot", "nginx", "squid"} {
		servers = append(servers, &server{name: name, ways: map[string]way{wayH1: {}}})
	}
	var turns []string
	sc := scenario{ways: []string{wayH1}, run: func(t *turn) error {
		turns = append(turns, t.server.name[:1])
		return nil
	}}
	if _, err := b.runScenario(sc, servers); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(turns, ""), "ens"+"nse"+"sen"+"ens"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFiguresHaveColumns: a figure that is measured and stands in no column is seen by nobody.
func TestFiguresHaveColumns(t *testing.T) {
	if !slices.Contains(figures(), figAsked) {
		t.Errorf("got the columns %v, want %s among them", figures(), figAsked)
	}
}

// TestAnew: a turn that looks at memory has programs that were started for it, over the same directory, and then one client.
func TestAnew(t *testing.T) {
	turn := newTurn(t, "entrepot")
	dir, did := turn.server.dir, ""
	turn.server.contender.start = func(b *bed, s *server) error {
		did += "started in " + s.dir + ", "
		s.ways = map[string]way{wayH1: {addr: "new"}}
		return nil
	}
	if _, err := turn.anew(func() error {
		did += "asked at " + turn.way.addr + " by " + turn.way.name
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := "started in " + dir + ", asked at new by h1"; did != want {
		t.Errorf("got %q, want %q", did, want)
	}
}

// TestForgetPages: a restart that cannot be a cold one fails, and says what to do.
func TestForgetPages(t *testing.T) {
	err := forgetPages(filepath.Join(t.TempDir(), "none", "drop_caches"))
	if err == nil || !strings.Contains(err.Error(), "run it as root") {
		t.Errorf("got %v, want that root is needed", err)
	}
}
