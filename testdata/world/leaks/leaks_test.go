package leaks

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { VerifyTestMain(m) }

// TestDescriptors: a file that is open is seen, one that is closed is not.
func TestDescriptors(t *testing.T) {
	before := Descriptors()
	if len(before) == 0 {
		return // this system does not show them
	}
	f, err := os.Create(t.TempDir() + "/left-open")
	if err != nil {
		t.Fatal(err)
	}
	left := more(before, Descriptors())
	if len(left) != 1 || !strings.HasSuffix(left[0], "/left-open") {
		t.Errorf("got %q, want the open file", left)
	}
	f.Close()
	if left := more(before, Descriptors()); len(left) != 0 {
		t.Errorf("got %q after the file was closed, want nothing", left)
	}
}
