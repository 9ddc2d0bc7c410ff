package ca

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// asNobody is f with the rights to files that a user has who owns none. Root has to put his own away for that, which Linux lets a
// single thread do.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread() // and if f panics, the thread ends
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	f()
	if err := syscall.Setfsuid(0); err != nil {
		t.Fatal(err)
	}
	runtime.UnlockOSThread()
}

// TestReadOnlyDirectory: where nothing can be written, that is said and where.
func TestReadOnlyDirectory(t *testing.T) {
	base := t.TempDir()
	if err := os.Chmod(filepath.Dir(base), 0o755); err != nil { // for nobody to come this far
		t.Fatal(err)
	}
	for _, dir := range []string{base, filepath.Join(base, "ca")} {
		if err := os.Chmod(base, 0o555); err != nil {
			t.Fatal(err)
		}
		asNobody(t, func() {
			_, err := Open(Config{Dir: dir})
			wantError(t, err, dir, "permission denied", "see that this user may write there")
		})
	}
}
