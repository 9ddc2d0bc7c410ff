package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestReadmeTranscript: the program prints the banner and the lines as they are shown, and the second pull is a HIT for all that the
// first one had to fetch.
func TestReadmeTranscript(t *testing.T) {
	i := slices.IndexFunc(allBlocks(t), func(b block) bool { return b.tag == "transcript" })
	if i < 0 {
		t.Fatal("the README has no block with <!-- transcript --> before it")
	}
	shown := allBlocks(t)[i].text
	head := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d  `).FindStringIndex(shown)
	if head == nil {
		t.Fatal("the transcript has no log lines")
	}
	_, got, _ := strings.Cut(shown[:head[0]], "\n")
	if want := bannerAgain(t, got); got != want {
		t.Errorf("banner: got\n%s\nwant\n%s", got, want)
	}
	refs := map[string][]string{}
	for line := range strings.Lines(shown[head[0]:]) {
		again, f := printedAgain(t, line)
		if again != line {
			t.Errorf("got\n%swant\n%s", line, again)
		}
		refs[f["cache"].(string)] = append(refs[f["cache"].(string)], f["ref"].(string))
	}
	for _, word := range []string{"MISS", "HIT"} {
		slices.Sort(refs[word])
	}
	if len(refs["HIT"]) == 0 || !slices.Equal(refs["MISS"], refs["HIT"]) {
		t.Errorf("got HIT for %v, want it for %v", refs["HIT"], refs["MISS"])
	}
}

// bannerAgain is the banner of a server with the same version and CA on the default doors.
func bannerAgain(t *testing.T, shown string) string {
	t.Helper()
	m := regexp.MustCompile(`^entrepot (\S+)\n(?s:.*)until (\S+)\n +sha256 (\S+)\n`).FindStringSubmatch(shown)
	if m == nil {
		t.Fatalf("no banner: %q", shown)
	}
	end, err := time.Parse(time.DateOnly, m[2])
	if err != nil {
		t.Fatal(err)
	}
	c := loaded(t, nil, map[string][]string{"data-dir": {"./data"}})
	var doors [doorCount]net.Listener
	for i, addr := range c.Listen {
		if addr != "" {
			doors[i] = listening{addr: addr}
		}
	}
	return program{version: m[1]}.banner(c, root{m[3], end}, doors)
}

// listening is a listener as far as a banner looks.
type listening struct {
	net.Listener
	addr string
}

func (l listening) Addr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(l.addr)) }

var requestLine = regexp.MustCompile(`^(\d\d:\d\d:\d\d)  (\w+) +(\w+) +([^/ ]+)/?(\S*) +(\S*?) +([0-9.]+) (\w+) +([0-9.]+) (m?s) +(\d*) +(\w+)\n$`)

// printedAgain is what the console makes of the log line that a line of it stands for.
func printedAgain(t *testing.T, line string) (string, map[string]any) {
	t.Helper()
	m := requestLine.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("no line of the console: %q", line)
	}
	at, err := time.ParseInLocation(time.DateTime, "2026-11-21 "+m[1], time.Local)
	if err != nil {
		t.Fatal(err)
	}
	if hex, ok := strings.CutPrefix(m[6], "sha256:"); ok {
		m[6] = "sha256:" + hex + strings.Repeat("0", 64-len(hex))
	}
	scale := map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "ms": 1, "s": 1000}
	number := func(value, unit string) float64 { n, _ := strconv.ParseFloat(value, 64); return n * scale[unit] }
	status, _ := strconv.Atoi(m[11])
	f := map[string]any{
		"time": at.Format(time.RFC3339), "cache": m[2], "kind": m[3], "registry": m[4], "repo": m[5], "ref": m[6],
		"bytes": number(m[7], m[8]), "duration_ms": number(m[9], m[10]), "status": status, "door": m[12],
	}
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(f); err != nil {
		t.Fatal(err)
	}
	return printed(t, false, text.String()), f
}

// TestReadmeMessages: what the README tells people to look for is what the program says; … stands for what varies.
func TestReadmeMessages(t *testing.T) {
	said := literals(t)
	_, rest, _ := strings.Cut(page(t, filepath.Join(top, "README.md")), "<!-- messages -->\n")
	table, _, _ := strings.Cut(rest, "\n\n")
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1)
	if len(rows) < 10 {
		t.Fatalf("got %d messages behind <!-- messages -->, want more", len(rows))
	}
	for _, row := range rows {
		for _, part := range strings.Split(row[1], "…") {
			if part = strings.TrimSpace(part); !strings.Contains(said, part) {
				t.Errorf("%q: the program never says %q", row[1], part)
			}
		}
	}
}

// literals are all strings in the program's code, a line each.
func literals(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"cmd", "proxy", "ca", "cache", "hosts"} {
		for _, path := range goFiles(t, dir) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(top, path), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					text, _ := strconv.Unquote(l.Value)
					all.WriteString(text + "\n")
				}
				return true
			})
		}
	}
	return all.String()
}
