package main

import (
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// judged runs the gate over twoServers, whose ratios are 0.50, 1.00 and 3.00, with this file. A second run measures second.
func judged(t *testing.T, file string, second []table, secondErr error) (said string, again []string, err error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "last.json")
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var progress strings.Builder
	g, err := openGate(name, &progress)
	if err != nil {
		return "", nil, err
	}
	err = g.judge([]table{twoServers()}, func(scenarios []string) ([]table, error) {
		again = scenarios
		return second, secondErr
	})
	return progress.String(), again, err
}

// TestGate: the best round is compared, with some slack. What is over it is measured once more before it fails, and what cannot be
// judged is no pass.
func TestGate(t *testing.T) {
	better := twoServers()
	better.results[0].samples["entrepot"][0] = sample{figCPUGiB: 0.4} // 0.20
	for _, row := range []struct {
		file, want string
		second     []table
		secondErr  error
		again      bool
	}{
		{file: `{"one": 0.5}`},
		{file: `{"one": 0.4}`},
		{file: `{"one": 0.39}`, second: []table{better}, again: true},
		{
			file: `{"one": 0.39}`, second: []table{twoServers()}, again: true,
			want: "one: CPU ÷ nginx is 0.50 in the second run too, was 0.39, want at most 0.49",
		},
		{file: `{"one": 0.39}`, secondErr: errors.New("no second run"), again: true, want: "no second run"},
		{file: `{"one": 0.5, "two": 9}`, want: "two: is in "},
		{file: `{"two": 9}`, want: "one: was run and is not in "},
		{file: `{`, want: "unexpected end"},
	} {
		said, again, err := judged(t, row.file, row.second, row.secondErr)
		if err == nil && row.want != "" || err != nil && (row.want == "" || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: got %v, want %q", row.file, err, row.want)
		}
		if got := slices.Equal(again, []string{"one"}); got != row.again {
			t.Errorf("%s: got %v measured again, want it %v", row.file, again, row.again)
		}
		if got := strings.Contains(said, "measured once more in twice as many rounds: one\n"); got != row.again {
			t.Errorf("%s: got %q, want a word of the second run %v", row.file, said, row.again)
		}
	}
}

// TestGateOfWhatFailed: a scenario of the file that has no ratio, since nginx could not do it, was not judged.
func TestGateOfWhatFailed(t *testing.T) {
	g := &gate{file: "last.json", last: map[string]float64{"one": 9}, progress: t.Output()}
	failed := twoServers()
	delete(failed.results[0].samples, "nginx")
	if err := g.judge([]table{failed}, nil); err == nil || !strings.Contains(err.Error(), "was not measured") {
		t.Errorf("got %v, want that it was not measured", err)
	}
}

// TestGateKnowsItsScenarios: what `make gate` runs is what the file has, so that a scenario's new name is seen before CI's gate.
func TestGateKnowsItsScenarios(t *testing.T) {
	g, err := openGate("last.json", t.Output())
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^GATED = (.*)$`).FindStringSubmatch(text("../Makefile"))
	if found == nil {
		t.Fatal("the Makefile has no GATED")
	}
	o, err := parse([]string{"-scenarios", found[1]})
	if err != nil {
		t.Fatal(err)
	}
	var run []string
	for _, f := range families(o.objects) {
		for _, sc := range f.scenarios {
			if o.only.MatchString(sc.name) {
				run = append(run, sc.name)
			}
		}
	}
	servers := regexp.MustCompile(`(?m)^GATING = (.*)$`).FindStringSubmatch(text("../Makefile"))
	if servers == nil {
		t.Fatal("the Makefile has no GATING")
	}
	for _, name := range run {
		server, base := pair(name)
		if all := strings.Split(servers[1], ","); !slices.Contains(all, server) || !slices.Contains(all, base) {
			t.Errorf("make gate starts %v, want %s and %s for %s", all, server, base, name)
		}
	}
	slices.Sort(run)
	if want := slices.Sorted(maps.Keys(g.last)); !slices.Equal(run, want) {
		t.Errorf("make gate runs %v, want %v, which last.json has", run, want)
	}
}

// TestLimit: what is noted decides, but for what is over the project's own mark.
func TestLimit(t *testing.T) {
	g := &gate{last: map[string]float64{
		"warm-plain-8": 2, "warm-h1-8": 0.6, "warm-h2-8": 1.5, "manifest-h1-tag": 1.05, "connection-tls": 1.15, "connection-x25519-tls": 0.8,
	}}
	for name, want := range map[string]float64{
		"warm-plain-8": 2.5, "warm-h1-8": 0.75, "warm-h2-8": 1.1, "manifest-h1-tag": 1.1, "connection-tls": 1.265, "connection-x25519-tls": 1,
	} {
		if got := g.limit(name); math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// TestWriteRatios: what is written is what the gate reads, and a plain layer's is to the kernel.
func TestWriteRatios(t *testing.T) {
	name := filepath.Join(t.TempDir(), "last.json")
	plain := twoServers()
	plain.results[0].scenario.name = "warm-plain-8"
	plain.results[0].samples["outside"] = []sample{{figCPUGiB: 0.9}}
	plain.results[0].samples["kernel"] = []sample{{figCPUGiB: 0.75}}
	tables := []table{twoServers(), plain}
	if err := writeRatios(name, tables); err != nil {
		t.Fatal(err)
	}
	if got, want := text(name), "{\n  \"one\": 1.00,\n  \"warm-plain-8\": 1.20\n}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	g, err := openGate(name, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if err := g.judge(tables, nil); err != nil {
		t.Error(err)
	}
}
