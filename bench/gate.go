package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// gateSlack is by how much a ratio may be worse than it was. What it is for is work that doubles unseen: a file that is read again at
// each hit made it six times. (That a copy reaches the kernel is for TestSendfile to say.)
const gateSlack = 1.5

// judgeGate compares CPU time, as a ratio to nginx's in the same round, with what the file says it was. The best round counts: a
// noisy machine makes a round worse by much, and better by little.
func judgeGate(name string, tables []table, progress io.Writer) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	last := map[string]float64{}
	if err := json.Unmarshal(content, &last); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var worse []error
	judged := 0
	all := ratios(tables)
	for _, scenario := range slices.Sorted(maps.Keys(all)) {
		is := all[scenario]
		was, ok := last[scenario]
		if !ok {
			continue
		}
		judged++
		fmt.Fprintf(progress, "gate: %-24s CPU ÷ nginx %.2f, was %.2f\n", scenario, is.least, was)
		if is.least > was*gateSlack {
			worse = append(worse, fmt.Errorf("%s: CPU ÷ nginx is %.2f, was %.2f, want at most %.2f: find out by `make micro` and benchstat what costs more, "+
				"or write the new number into %s and say why", scenario, is.least, was, was*gateSlack, name))
		}
	}
	if judged == 0 {
		return fmt.Errorf("%s: nothing to compare: want nginx, and scenarios that the file knows", name)
	}
	return errors.Join(worse...)
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
		text += fmt.Sprintf("\n  %q: %.2f", scenario, all[scenario].median)
	}
	return os.WriteFile(name, []byte(text+"\n}\n"), 0o644)
}
