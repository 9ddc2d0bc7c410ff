package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGate: the best round is compared, with some slack, and a file that knows none of the scenarios is no pass.
func TestGate(t *testing.T) {
	tables := []table{twoServers()} // ratios 0.50, 1.00 and 3.00
	for _, row := range []struct{ file, want string }{
		{`{"one": 0.5}`, ""},
		{`{"one": 0.4}`, ""},
		{`{"one": 0.3}`, "one: CPU ÷ nginx is 0.50, was 0.30"},
		{`{"two": 9}`, "nothing to compare"},
		{`{`, "unexpected end"},
	} {
		name := filepath.Join(t.TempDir(), "last.json")
		if err := os.WriteFile(name, []byte(row.file), 0o600); err != nil {
			t.Fatal(err)
		}
		err := judgeGate(name, tables, io.Discard)
		if err == nil && row.want != "" || err != nil && (row.want == "" || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: got %v, want %q", row.file, err, row.want)
		}
	}
}

// TestWriteRatios: what is written is what the gate reads.
func TestWriteRatios(t *testing.T) {
	name := filepath.Join(t.TempDir(), "last.json")
	tables := []table{twoServers()}
	if err := writeRatios(name, tables); err != nil {
		t.Fatal(err)
	}
	if got, want := text(name), "{\n  \"one\": 1.00\n}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := judgeGate(name, tables, io.Discard); err != nil {
		t.Error(err)
	}
}
