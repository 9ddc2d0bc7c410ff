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
	return table{family{name: "things", about: "All of them."}, []string{"entrepot", "nginx", "squid"}, []result{r}}
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

// TestWriteReport: what people wrote around the tables stays, and so does another family's table; what an earlier run wrote does not.
func TestWriteReport(t *testing.T) {
	name := filepath.Join(t.TempDir(), "performance.md")
	const begins, ends, other = "<!-- bench: things -->\n", "<!-- bench: end of things -->\n", "<!-- bench: more -->\nkept\n<!-- bench: end of more -->\n"
	if err := os.WriteFile(name, []byte("before\n"+begins+"old\n"+ends+"between\n"+other+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{pattern: ".", rounds: 3}
	for range 2 {
		if err := writeReport(name, o, []table{twoServers()}); err != nil {
			t.Fatal(err)
		}
	}
	got := text(name)
	for _, want := range []string{"before\n" + begins, ends + "between\n" + other + "after\n", "| one | entrepot | 3.00", "### Things", "- `one`: a thing"} {
		if strings.Count(got, want) != 1 {
			t.Errorf("got %q, want %q in it once", got, want)
		}
	}
	if strings.Contains(got, "old") {
		t.Errorf("got %q, want nothing of what was there before", got)
	}
}
