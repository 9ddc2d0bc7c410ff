package main

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestMakeImage: the image is for this machine's architecture, as the README says, and no other one's binary is waited for; the
// binaries of a release are both.
func TestMakeImage(t *testing.T) {
	for target, want := range map[string][]string{"image": {runtime.GOARCH}, "binaries": {"amd64", "arm64"}} {
		cmd := exec.Command("make", "--dry-run", "GO=go", target)
		cmd.Dir = top
		cmd.Env = slices.DeleteFunc(os.Environ(), func(line string) bool { // of the make that runs the tests
			return strings.HasPrefix(line, "MAKE") || strings.HasPrefix(line, "MFLAGS=")
		})
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("make --dry-run %s: %v\n%s", target, err, out)
		}
		var got []string
		for _, m := range regexp.MustCompile(`GOARCH=(\w+) .* -o dist/linux-(\w+)/entrepot`).FindAllStringSubmatch(string(out), -1) {
			got = append(got, m[1:]...)
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("make %s: got binaries for %v, want %v\n%s", target, got, want, out)
		}
	}
}
