package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// result is a scenario's samples by server, one of each round.
type result struct {
	scenario scenario
	samples  map[string][]sample
	failed   map[string]string // why a server could not do it
}

// table is the results of a family.
type table struct {
	family   family
	servers  []string // in the order of rows
	versions []string // of the programs
	results  []result
}

// spread is the median of some values, and their ends.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) spread {
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

// of collects one figure of one server; false where it was not measured.
func (r result) of(server string, f figure) (spread, bool) {
	var values []float64
	for _, s := range r.samples[server] {
		if v, ok := s[f]; ok {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return spread{}, false
	}
	return spreadOf(values), true
}

// ratio compares a figure round by round: what the machine did in a round it did to both.
func (r result) ratio(server, base string, f figure) (spread, bool) {
	var values []float64
	for i, s := range r.samples[server] {
		if i >= len(r.samples[base]) {
			break
		}
		v, ok := s[f]
		w, okBase := r.samples[base][i][f]
		if ok && okBase && w > 0 {
			values = append(values, v/w)
		}
	}
	if len(values) == 0 || server == base {
		return spread{}, false
	}
	return spreadOf(values), true
}

// compared is a column of ratios: of the first of these figures that there is, and to whom.
type compared struct {
	title string
	of    []figure
	base  string
}

func comparisons() []compared {
	return []compared{
		{"CPU ÷ nginx", []figure{figCPUGiB, figCPUReq}, "nginx"},
		{"CPU ÷ kernel", []figure{figCPUGiB}, "kernel"},
		{"speed ÷ nginx", []figure{figSpeed, figRate}, "nginx"},
		{"p99 ÷ nginx", []figure{figP99}, "nginx"},
		{"time ÷ nginx", []figure{figTime}, "nginx"},
		{"time ÷ direct", []figure{figTime}, "direct"},
	}
}

// compare is what stands in such a column.
func (r result) compare(server string, c compared) (spread, bool) {
	for _, f := range c.of {
		if s, ok := r.ratio(server, c.base, f); ok {
			return s, true
		}
	}
	return spread{}, false
}

// rows is the table as cells, the first row being the titles. A column that nothing stands in is left out.
func (t table) rows() [][]string {
	titles := []string{"scenario", "server"}
	var all [][]string
	for _, f := range figures() {
		titles = append(titles, string(f))
	}
	for _, c := range comparisons() {
		titles = append(titles, c.title)
	}
	all = append(all, titles)
	for _, r := range t.results {
		for _, name := range t.servers {
			all = append(all, r.row(name))
		}
	}
	return withoutEmpty(all)
}

func (r result) row(server string) []string {
	cells := []string{r.scenario.name, server}
	if r.failed[server] != "" {
		cells[1] += " (fails)"
	}
	for _, f := range figures() {
		cells = append(cells, cell(r.of(server, f)))
	}
	for _, c := range comparisons() {
		cells = append(cells, cell(r.compare(server, c)))
	}
	return cells
}

func cell(s spread, ok bool) string {
	if !ok {
		return "-"
	}
	if s.least == s.most {
		return number(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.median), number(s.least), number(s.most))
}

// number has three digits that count.
func number(v float64) string {
	switch size := math.Abs(v); {
	case size == 0:
		return "0"
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 0.1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func withoutEmpty(rows [][]string) [][]string {
	var kept [][]string
	for range rows {
		kept = append(kept, nil)
	}
	for column := range rows[0] {
		if !slices.ContainsFunc(rows[1:], func(r []string) bool { return r[column] != "-" }) {
			continue
		}
		for i, r := range rows {
			kept[i] = append(kept[i], r[column])
		}
	}
	return kept
}

// print shows the table to people at a terminal.
func (t table) print(w io.Writer) {
	rows := t.rows()
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], len([]rune(c)))
		}
	}
	for _, r := range rows {
		for i, c := range r {
			fmt.Fprint(w, c, strings.Repeat(" ", widths[i]-len([]rune(c))+2))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

// writeReport puts the tables into a Markdown file, each in the place of what an earlier run wrote for that family, or at the end.
// What people wrote around them stays, and so do the tables of families that were not run.
func writeReport(name string, o options, tables []table) error {
	report := text(name)
	for _, t := range tables {
		begins, ends := "<!-- bench: "+t.family.name+" -->\n", "<!-- bench: end of "+t.family.name+" -->\n"
		before, rest, found := strings.Cut(report, begins)
		_, after, _ := strings.Cut(rest, ends)
		if !found {
			before += "\n"
		}
		report = before + begins + t.section(o) + ends + after
	}
	return os.WriteFile(name, []byte(report), 0o644)
}

// section is a family's part of the report.
func (t table) section(o options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", strings.ToUpper(t.family.name[:1])+t.family.name[1:], t.family.about)
	for _, r := range t.results {
		fmt.Fprintf(&b, "- `%s`: %s", r.scenario.name, r.scenario.about)
		if n := r.scenario.of(o.rounds); n < o.rounds {
			fmt.Fprintf(&b, " (rounds: %d)", n)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for i, r := range t.rows() {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", len(r)))
		}
	}
	for _, r := range t.results {
		for _, name := range t.servers {
			if why := r.failed[name]; why != "" {
				_, why, _ = strings.Cut(why, ": ") // the request, which is another one each time
				fmt.Fprintf(&b, "\n%s fails in `%s`: %s.\n", name, r.scenario.name, why)
			}
		}
	}
	measured := []string{machine(o.scratch)}
	if len(t.versions) > 0 {
		measured = append(measured, strings.Join(t.versions, ", "))
	}
	fmt.Fprintf(&b, "\n`%s` on %s. %s.\n\n", o.command(), strings.Join(measured, "; "), time.Now().UTC().Format(time.DateOnly))
	return b.String()
}

// text is what is in a file, nothing if it is not there.
func text(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}
