package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// gateSlack is by how much a ratio may be worse than it was: twice of what moves it from run to run, and little for work that is done
// twice. (That a copy reaches the kernel is for TestSendfile to say.)
const gateSlack = 1.25

// markSlack is by how much it may be above the project's own mark at the most, whatever is noted: less, since a mark does not move.
const markSlack = 1.10

// mark is what docs/performance.md aims at for such a scenario, and false where that is not for the gate: a plain layer's depends on how
// TCP sends.
func mark(scenario string) (float64, bool) {
	for _, m := range []struct {
		names string // how they begin
		mark  float64
	}{{"warm-h1-", 0.95}, {"warm-h2-", 1.0}, {"manifest-", 1.0}, {"connection-", 1.15}} {
		if strings.HasPrefix(scenario, m.names) {
			return m.mark, true
		}
	}
	return 0, false
}

// pair is who is compared with whom. Plain layers by nginx would be judged by how TCP sends on this machine: by BBR, which entrepot's
// doors at a loopback address are rid of and nginx is not, they take a quarter of its CPU time, else nine tenths. What both of these do
// they do by the same.
func pair(scenario string) (server, base string) {
	if strings.HasPrefix(scenario, "warm-plain-") {
		return "outside", "kernel"
	}
	return "entrepot", "nginx"
}

// gate compares CPU time, as a ratio to nginx's or the kernel's in the same round, with what a file says that it was.
type gate struct {
	file     string
	last     map[string]float64
	progress io.Writer
}

func openGate(file string, progress io.Writer) (*gate, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	g := &gate{file: file, last: map[string]float64{}, progress: progress}
	if err := json.Unmarshal(content, &g.last); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return g, nil
}

// judge fails for a scenario that is over what it may be, now and when it is measured again, and for one that it cannot judge.
func (g *gate) judge(tables []table, again func(scenarios []string) ([]table, error)) error {
	strange := g.strange(tables)
	over := g.over(tables, slices.Sorted(maps.Keys(g.last)))
	if len(over) == 0 {
		return strange
	}
	fmt.Fprintf(g.progress, "gate: over the limit, measured once more in twice as many rounds: %s\n", strings.Join(over, ", "))
	second, err := again(over)
	if err != nil {
		return errors.Join(strange, err)
	}
	all := ratios(second)
	failed := []error{strange}
	for _, name := range g.over(second, over) {
		_, base := pair(name)
		failed = append(failed, fmt.Errorf("%s: CPU ÷ %s is %.2f in the second run too, was %.2f, want at most %.2f: find out by "+
			"`make micro` and benchstat what costs more, or, below the mark of docs/performance.md, note what it costs now by "+
			"`make gate-note` and say why", name, base, all[name].least, g.last[name], g.limit(name)))
	}
	return errors.Join(failed...)
}

func (g *gate) limit(scenario string) float64 {
	limit := g.last[scenario] * gateSlack
	if m, ok := mark(scenario); ok {
		limit = min(limit, m*markSlack)
	}
	return limit
}

// over are those of these scenarios that cost too much. The best round counts: a noisy machine makes a round worse by much, and better
// by little.
func (g *gate) over(tables []table, scenarios []string) []string {
	var found []string
	all := ratios(tables)
	for _, name := range scenarios {
		is, ok := all[name]
		if !ok {
			continue
		}
		_, base := pair(name)
		fmt.Fprintf(g.progress, "gate: %-26s CPU ÷ %-6s %.2f, was %.2f, at most %.2f\n", name, base, is.least, g.last[name], g.limit(name))
		if is.least > g.limit(name) {
			found = append(found, name)
		}
	}
	return found
}

// strange is what could not be judged: passed over, it would be a pass.
func (g *gate) strange(tables []table) error {
	var all []error
	measured := ratios(tables)
	for _, name := range slices.Sorted(maps.Keys(g.last)) {
		if _, ok := measured[name]; !ok {
			server, base := pair(name)
			all = append(all, fmt.Errorf("%s: is in %s and was not measured for %s and %s both: run it, or take it out",
				name, g.file, server, base))
		}
	}
	for _, t := range tables {
		for _, r := range t.results {
			if _, ok := g.last[r.scenario.name]; !ok {
				all = append(all, fmt.Errorf("%s: was run and is not in %s: note it by `make gate-note`", r.scenario.name, g.file))
			}
		}
	}
	return errors.Join(all...)
}

// again runs these scenarios once more, on servers that are started for them, in twice as many rounds.
func (b *bed) again(scenarios []string) ([]table, error) {
	var names []string
	for _, name := range scenarios {
		names = append(names, regexp.QuoteMeta(name))
	}
	b.options.only = regexp.MustCompile("^(" + strings.Join(names, "|") + ")$")
	b.options.rounds *= 2
	return b.runAll()
}

// ratios are the CPU times of entrepot in those of whom it is compared with.
func ratios(tables []table) map[string]spread {
	all := map[string]spread{}
	for _, t := range tables {
		for _, r := range t.results {
			server, base := pair(r.scenario.name)
			if s, ok := r.compare(server, compared{of: []figure{figCPUGiB, figCPUReq}, base: base}); ok {
				all[r.scenario.name] = s
			}
		}
	}
	return all
}

// writeRatios keeps them for the next gate.
func writeRatios(name string, tables []table) error {
	all := ratios(tables)
	text := "{"
	for i, scenario := range slices.Sorted(maps.Keys(all)) {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf("\n  %q: %.2f", scenario, all[scenario].median)
	}
	return os.WriteFile(name, []byte(text+"\n}\n"), 0o644)
}
