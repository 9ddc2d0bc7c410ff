package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestShow holds `config show` against a golden file; UPDATE=1 writes it anew.
func TestShow(t *testing.T) {
	const golden = "testdata/show.yaml"
	got, stderr, code := output(
		t, []string{"ENTREPOT_MAX_SIZE=50GiB", "ENTREPOT_ALLOW_NET=10.0.0.0/8,fd00::/8"},
		"config", "show", "--config", "testdata/entrepot.yaml", "--data-dir", "/srv/entrepot", "--offline", "--registry", "flag.example",
	)
	if code != 0 {
		t.Fatalf("got exit code %d: %s", code, stderr)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestShowIsAFile: what is shown, used as the file, is in force the same way.
func TestShowIsAFile(t *testing.T) {
	show := func(path string) string {
		var out bytes.Buffer
		p := program{stdout: &out}
		s := sources{map[string][]string{"config": {path}}, environment{"HOME": "/home/u"}}
		c, err := s.load()
		if err == nil {
			err = p.configShow(s, c)
		}
		if err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	first := show("testdata/entrepot.yaml")
	second := show(file(t, "entrepot.yaml", first))
	if got, want := withoutComments(second), withoutComments(first); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func withoutComments(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
