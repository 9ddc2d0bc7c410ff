package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestHelpOfFlags: the library takes what stands between backquotes for the name of a value. A switch has none, all others have one.
func TestHelpOfFlags(t *testing.T) {
	seen := 0
	var look func(path string, flags []cli.Flag, below []*cli.Command)
	look = func(path string, flags []cli.Flag, below []*cli.Command) {
		for _, f := range flags {
			seen++
			left, _, _ := strings.Cut(cli.FlagStringer(f), "\t")
			words := strings.Fields(left)
			words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") || w == "[" || w == "]" })
			valued := f.(cli.DocGenerationFlag).TakesValue()
			if !valued && len(words) > 0 || valued && (len(words) == 0 || words[0] != strings.ToUpper(words[0])) {
				t.Errorf("%s: got %q, want a value's name in capitals where there is a value, and none for a switch", path, left)
			}
		}
		for _, c := range below {
			look(path+" "+c.Name, c.Flags, c.Subcommands)
		}
	}
	app := program{}.app()
	look(app.Name, app.Flags, app.Commands)
	if seen < 100 {
		t.Errorf("got %d flags, want those of all commands", seen)
	}
}

// TestVersion: by the command and by the flag that people try first.
func TestVersion(t *testing.T) {
	want, _ := ran(t, "version")
	for _, args := range [][]string{{"--version"}, {"-v"}} {
		if got, _ := ran(t, args...); got != want || !strings.HasPrefix(got, "entrepot ") {
			t.Errorf("%v: got %q, want %q", args, got, want)
		}
	}
}
