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

// leastPlain is what is noted of a plain layer at least. Where TCP sends by cubic, as on most machines, it takes nine tenths of nginx's
// CPU time; by BBR, which nginx is not rid of, a quarter. Both must pass.
const leastPlain = 0.80

// gate compares CPU time, as a ratio to nginx's in the same round, with what a file says that it was.
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
		failed = append(failed, fmt.Errorf("%s: CPU ÷ nginx is %.2f in the second run too, was %.2f, want at most %.2f: find out by "+
			"`make micro` and benchstat what costs more, or note what it costs now by `make gate-note` and say why",
			name, all[name].least, g.last[name], g.limit(name)))
	}
	return errors.Join(failed...)
}

func (g *gate) limit(scenario string) float64 { return g.last[scenario] * gateSlack }

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
		fmt.Fprintf(g.progress, "gate: %-26s CPU ÷ nginx %.2f, was %.2f, at most %.2f\n", name, is.least, g.last[name], g.limit(name))
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
			all = append(all, fmt.Errorf("%s: is in %s and was not measured for entrepot and nginx both: run it, or take it out",
				name, g.file))
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

// ratios are the CPU times of entrepot in nginx's.
func ratios(tables []table) map[string]spread {
	all := map[string]spread{}
	for _, t := range tables {
		for _, r := range t.results {
			if s, ok := r.compare("entrepot", comparisons()[0]); ok {
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
		ratio := all[scenario].median
		if strings.HasPrefix(scenario, "warm-plain-") {
			ratio = max(ratio, leastPlain)
		}
		text += fmt.Sprintf("\n  %q: %.2f", scenario, ratio)
	}
	return os.WriteFile(name, []byte(text+"\n}\n"), 0o644)
}
