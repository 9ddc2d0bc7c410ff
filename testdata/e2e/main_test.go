//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"testing"
)

// TestMain runs twice: outside, where it only makes the namespaces and runs
// itself in them, and inside, where the tests are.
func TestMain(m *testing.M) {
	if os.Getenv(insideVar) == "" {
		os.Exit(enter())
	}
	if err := settle(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: make the sandbox:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
