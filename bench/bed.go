package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// bed is what all scenarios stand on: the origin and how servers are started.
type bed struct {
	ctx      context.Context
	options  options
	scratch  string
	progress io.Writer
	trust    *trust
	origin   *origin
	tools    string
	names    int // host names that were used up
	numbers  int // repositories that were
	started  int
	images   map[string]*image // that all turns share
}

func newBed(ctx context.Context, o options, scratch string, progress io.Writer) (*bed, error) {
	t, err := newTrust(scratch)
	if err != nil {
		return nil, err
	}
	origin, err := startOrigin(t.leaf)
	if err != nil {
		return nil, err
	}
	return &bed{ctx: ctx, options: o, scratch: scratch, progress: progress, trust: t, origin: origin, tools: o.tools, images: map[string]*image{}}, nil
}

func (b *bed) close() { b.origin.close() }

// number is one that was not used before.
func (b *bed) number() int {
	b.numbers++
	return b.numbers
}

// contender is one that can be started.
type contender struct {
	name  string
	needs []string // programs
	start func(*bed, *server) error
}

func (b *bed) contenders() []contender {
	all := []contender{
		{"entrepot", []string{b.options.entrepot}, startEntrepot},
		{"other", []string{b.options.other}, startEntrepot},
		{"outside", []string{b.options.entrepot}, startEntrepot},
		{"parallel", []string{b.options.entrepot}, startEntrepot},
		{"nginx", []string{"/usr/sbin/nginx"}, startNginx},
		{"floor", nil, startFloor},
		{"kernel", nil, startKernel},
		{"registry", []string{filepath.Join(b.tools, "registry")}, startRegistry},
		{"squid", []string{"/usr/sbin/squid", "/usr/lib/squid/security_file_certgen"}, startSquid},
		{"direct", nil, startDirect},
	}
	var some []contender
	for _, c := range all {
		if !c.among(b.options.servers) || c.name == "other" && b.options.other == "" {
			continue
		}
		if i := slices.IndexFunc(c.needs, missing); i >= 0 {
			fmt.Fprintf(b.progress, "bench: %s is left out: there is no %s; bench/install brings it\n", c.name, c.needs[i])
			continue
		}
		some = append(some, c)
	}
	return some
}

// among tells whether c is one of these, or they are none, which means all. Another build of entrepot is where entrepot is.
func (c contender) among(names []string) bool {
	name := c.name
	if name == "other" {
		name = "entrepot"
	}
	return len(names) == 0 || slices.Contains(names, name)
}

func missing(program string) bool {
	_, err := os.Stat(program)
	return err != nil
}

// startDirect starts nothing: its clients go to the origin itself.
func startDirect(b *bed, s *server) error {
	s.ways = map[string]way{wayH1: {addr: b.origin.addr, base: "https://" + hostName + "/v2/", roots: b.trust.pool}}
	return nil
}

// start starts a contender with nothing in its cache.
func (b *bed) start(c contender) (*server, error) {
	b.started++
	dir := filepath.Join(b.scratch, fmt.Sprintf("%s-%d", c.name, b.started))
	s := &server{name: c.name, contender: c, holds: map[string]bool{}, dir: dir}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	if err := b.launch(s); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// launch starts the server's programs over what its directory holds.
func (b *bed) launch(s *server) error {
	if err := s.contender.start(b, s); err != nil {
		return err
	}
	for name, w := range s.ways {
		w.name = name
		s.ways[name] = w
	}
	return nil
}

// launch starts the server of this turn, which was stopped, for a turn that should inherit nothing but the cache.
func (t *turn) launch() error {
	err := t.bed.launch(t.server)
	t.way = t.server.ways[t.way.name]
	return err
}

// end stops a server and removes what it wrote.
func (b *bed) end(s *server) {
	s.stop()
	if !b.options.keep {
		os.RemoveAll(s.dir)
	}
}

// runAll runs the chosen scenarios, family by family, and gives a table for each family.
func (b *bed) runAll() ([]table, error) {
	var tables []table
	for _, f := range families(b.options.objects) {
		f.scenarios = slices.DeleteFunc(slices.Clone(f.scenarios), func(sc scenario) bool { return !b.options.only.MatchString(sc.name) })
		if len(f.scenarios) == 0 {
			continue
		}
		t, err := b.runFamily(f)
		if err != nil {
			return tables, fmt.Errorf("%s: %w", f.name, err)
		}
		t.print(b.progress)
		tables = append(tables, t)
	}
	return tables, nil
}

// runFamily runs scenarios that share servers and what those hold.
func (b *bed) runFamily(f family) (table, error) {
	t := table{family: f}
	var servers []*server
	defer func() {
		for _, s := range servers {
			b.end(s)
		}
	}()
	for _, c := range b.contenders() {
		if !c.among(f.servers) {
			continue
		}
		s, err := b.start(c)
		if err != nil {
			return t, err
		}
		servers = append(servers, s)
		t.servers = append(t.servers, s.name)
		if v := c.version(); v != "" {
			t.versions = append(t.versions, v)
		}
	}
	for _, sc := range f.scenarios {
		began := time.Now()
		r, err := b.runScenario(sc, servers)
		if err != nil {
			return t, fmt.Errorf("%s: %w", sc.name, err)
		}
		fmt.Fprintf(b.progress, "%-28s %5.1f s\n", sc.name, time.Since(began).Seconds())
		t.results = append(t.results, r)
	}
	return t, nil
}

// runScenario lets the servers take turns within each round, so that what the machine does besides hits all of them alike. Each round
// begins with the next of them: what the last one of a round leaves behind, the same one would else always find.
func (b *bed) runScenario(sc scenario, servers []*server) (result, error) {
	r := result{scenario: sc, samples: map[string][]sample{}, failed: map[string]string{}}
	rounds := sc.of(b.options.rounds)
	for round := range rounds {
		for k := range servers {
			s := servers[(round+k)%len(servers)]
			w, ok := s.way(sc.ways)
			if !ok || slices.Contains(sc.without, s.name) || r.failed[s.name] != "" {
				continue
			}
			b.origin.full()
			one := &turn{bed: b, server: s, way: w, round: round}
			err := sc.run(one)
			switch {
			case err == nil:
				r.samples[s.name] = append(r.samples[s.name], one.sample)
			case errors.Is(err, errNotForIt):
			case s.isOurs() || b.ctx.Err() != nil:
				return r, fmt.Errorf("%s, by %s: %w", s.name, w.name, err)
			default: // what others cannot do is worth a line in the report, and no more
				fmt.Fprintf(b.progress, "bench: %s: %s fails: %v\n", sc.name, s.name, err)
				r.failed[s.name] = err.Error()
				delete(r.samples, s.name)
			}
		}
	}
	return r, nil
}

// way is the first of these that the server has.
func (s *server) way(names []string) (way, bool) {
	for _, name := range names {
		if w, ok := s.ways[name]; ok {
			return w, true
		}
	}
	return way{}, false
}

// crowd lets n workers work at the same time.
func (t *turn) crowd(n int, work func(ctx context.Context, worker int) error) error {
	g, ctx := errgroup.WithContext(t.bed.ctx)
	for i := range n {
		g.Go(func() error { return work(ctx, i) })
	}
	return g.Wait()
}
