// Package leaks fails a package's tests when they leave something behind: a
// goroutine that nobody ended, a file or a socket that nobody closed.
//
//	func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }
package leaks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long what was just ended may take to be gone.
const patience = 5 * time.Second

// VerifyTestMain runs the tests and ends the process. Descriptors are looked
// at where the system shows them, below /proc. The options excuse goroutines
// of others that have no end.
func VerifyTestMain(m *testing.M, excused ...goleak.Option) {
	before := Descriptors()
	code := m.Run()
	if code == 0 {
		code = report(before, excused)
	}
	os.Exit(code)
}

func report(before map[string]string, excused []goleak.Option) int {
	if err := goleak.Find(excused...); err != nil {
		fmt.Fprintln(os.Stderr, "leaks:", err)
		return 1
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left := more(before, Descriptors())
		if len(left) == 0 {
			return 0
		}
		if time.Now().After(end) {
			fmt.Fprintf(os.Stderr, "leaks: descriptors left open: %s\n", strings.Join(left, ", "))
			return 1
		}
	}
}

// Descriptors are the open ones of this process, number to what it is, but
// for those that the runtime opens for itself once and keeps. Where the
// system does not show them there are none.
func Descriptors() map[string]string {
	found := map[string]string{}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || strings.HasPrefix(to, "anon_inode:") || strings.HasPrefix(to, "/proc/") {
			continue // closed meanwhile, as the one that was opened to list them; or the runtime's poller
		}
		found[filepath.Base(link)] = to
	}
	return found
}

// more lists what is in after and was not there before.
func more(before, after map[string]string) []string {
	var out []string
	for fd, to := range after {
		if before[fd] != to {
			out = append(out, fd+" "+to)
		}
	}
	return out
}
