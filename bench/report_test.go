package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func twoServers() table {
	r := result{scenario: scenario{name: "one", about: "a thing"}, samples: map[string][]sample{
		"entrepot": {{figCPUGiB: 1}, {figCPUGiB: 4}, {figCPUGiB: 3}},
		"nginx":    {{figCPUGiB: 2}, {figCPUGiB: 4}, {figCPUGiB: 1}},
	}}
	return table{
		family: family{name: "things", about: "All of them."}, servers: []string{"entrepot", "nginx", "squid"},
		versions: []string{"nginx 1.2"}, results: []result{r},
	}
}

// TestRows: ratios are of the same round, and a server that took no part has dashes.
func TestRows(t *testing.T) {
	want := []string{
		"scenario,server,CPU s/GiB,CPU ÷ nginx", "one,entrepot,3.00 (1.00–4.00),1.00 (0.50–3.00)", "one,nginx,2.00 (1.00–4.00),-", "one,squid,-,-",
	}
	rows := twoServers().rows()
	for i, r := range rows {
		if got := strings.Join(r, ","); i >= len(want) || got != want[i] {
			t.Errorf("row %d: got %q, want %q", i, got, want)
		}
	}
	if len(rows) != len(want) {
		t.Errorf("got %d rows, want %d", len(rows), len(want))
	}
}

// TestSpread: of an even number of values the median is between the two in the middle, and not the larger one.
func TestSpread(t *testing.T) {
	if got := spreadOf([]float64{4, 1, 2, 8}); got != (spread{3, 1, 8}) {
		t.Errorf("got %v", got)
	}
	if got := spreadOf([]float64{4, 1, 2}); got != (spread{2, 1, 4}) {
		t.Errorf("got %v", got)
	}
	for v, want := range map[float64]string{-32.36: "-32.4", 1234.5: "1234", 0.05: "0.050", 0: "0", -0.5: "-0.50"} {
		if got := number(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

// TestWriteReport: what people wrote around the tables stays, and so does another family's table; what an earlier run wrote does not.
func TestWriteReport(t *testing.T) {
	name := filepath.Join(t.TempDir(), "performance.md")
	const begins, ends, other = "<!-- bench: things -->\n", "<!-- bench: end of things -->\n", "<!-- bench: more -->\nkept\n<!-- bench: end of more -->\n"
	if err := os.WriteFile(name, []byte("before\n"+begins+"old\n"+ends+"between\n"+other+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{pattern: ".", rounds: 3, out: "docs", objects: allObjects, scratch: "/"}
	things := twoServers()
	things.results[0].scenario.rounds = 2
	things.results[0].failed = map[string]string{"squid": "GET https://host:1/a: no answer"}
	for range 2 {
		if err := writeReport(name, o, []table{things}); err != nil {
			t.Fatal(err)
		}
	}
	got := text(name)
	for _, want := range []string{
		"before\n" + begins, ends + "between\n" + other + "after\n", "| one | entrepot | 3.00", "### Things", "- `one`: a thing (rounds: 2)\n",
		"squid fails in `one`: no answer.\n", "`BENCH='.' ROUNDS=3 OUT=docs make bench` on ", "; nginx 1.2. 2",
	} {
		if strings.Count(got, want) != 1 {
			t.Errorf("got %q, want %q in it once", got, want)
		}
	}
	if strings.Contains(got, "old") {
		t.Errorf("got %q, want nothing of what was there before", got)
	}
}

// TestFooter: a table says which flags it was made with, which builds were measured, and on what; nothing is said of what there is not.
func TestFooter(t *testing.T) {
	o, err := parse([]string{
		"-scenarios", "one", "-out", "docs", "-servers", "entrepot,nginx", "-other", "/somewhere/old", "-objects", "20000",
	})
	if err != nil {
		t.Fatal(err)
	}
	things := twoServers()
	things.versions = []string{"entrepot 1234567", "other 89abcde"}
	got := things.section(o)
	want := "`BENCH='one' ROUNDS=3 OUT=docs FLAGS='-servers entrepot,nginx -other OLD -objects 20000' make bench` on "
	if !strings.Contains(got, want) || !strings.Contains(got, "root; entrepot 1234567, other 89abcde. 2") {
		t.Errorf("got %q, want %q and the builds in it", got, want)
	}
	things.versions = nil
	if got := things.section(o); strings.Contains(got, ";") || !strings.Contains(got, "root. 2") {
		t.Errorf("got %q, want no word of programs", got)
	}
}

// TestRestartSays: how many objects there are, in heading and line.
func TestRestartSays(t *testing.T) {
	f := restart(20_000)
	if !strings.Contains(f.about, " 20,000 objects ") || f.scenarios[0].about != "20,000 objects" {
		t.Errorf("got %q and %q", f.about, f.scenarios[0].about)
	}
	for n, want := range map[int]string{7: "7", 999: "999", 1000: "1,000", 1_000_000: "1,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
