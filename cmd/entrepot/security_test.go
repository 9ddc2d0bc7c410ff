package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var attackPart = regexp.MustCompile(`t\.Run\("([^"]+)"`)

// TestSecurityTable: the parts of TestAttack that docs/security.md names are those that there are.
func TestSecurityTable(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	run, told := map[string]bool{}, map[string]bool{}
	for _, m := range attackPart.FindAllStringSubmatch(read("testdata/e2e/attack_test.go"), -1) {
		run[m[1]] = true
	}
	_, table, _ := strings.Cut(read("docs/security.md"), "## What `make attack` tries")
	table, _, _ = strings.Cut(table, "\n## ")
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, " | "); len(cells) == 2 && !strings.HasPrefix(line, "| rule") {
			for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(cells[1]), " |"), ", ") {
				told[part] = true
			}
		}
	}
	if len(run) == 0 || !maps.Equal(run, told) {
		t.Errorf("docs/security.md names %q, TestAttack has %q", slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(run)))
	}
}
