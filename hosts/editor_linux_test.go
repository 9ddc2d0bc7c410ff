package hosts

import (
	"syscall"
	"testing"

	"github.com/entrepot/entrepot/testdata/world/mounts"
)

// The real thing that TestEditInPlace plays: a file that is a mount.
func TestEditOfABindMount(t *testing.T) {
	if !mounts.Own(t) {
		return
	}
	source, path := hostsFile(t, usual), hostsFile(t, "")
	if err := syscall.Mount(source, path, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	})
	mustAdd(t, path, both, "quay.io")
	if read(t, source) == usual {
		t.Error("the file behind the mount was not changed")
	}
	mustRemove(t, path)
	if got := read(t, source); got != usual {
		t.Errorf("got %q, want %q", got, usual)
	}
	if got := leftovers(t, path); got != nil {
		t.Errorf("left behind: %v", got)
	}
}
