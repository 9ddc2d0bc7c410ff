package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDataDirOfAnotherUser: where the server may not write it is told whose the place is, of the data directory and of the cache in it.
func TestDataDirOfAnotherUser(t *testing.T) {
	owner, user := os.Geteuid(), os.Geteuid()
	if owner == 0 {
		user = 65532
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil { // the other user is to get as far as dir
		t.Fatal(err)
	}
	for _, c := range []struct{ closed, data, want string }{
		{dir + "/a", dir + "/a", "data directory " + dir + "/a is not writable: open " + dir + "/a/.writable-"},
		{dir + "/b", dir + "/b/data", "data directory " + dir + "/b/data is not writable: mkdir " + dir + "/b/data: permission denied"},
		{dir + "/c/cache", dir + "/c", "open cache: mkdir " + dir + "/c/cache/blobs: permission denied"},
	} {
		if err := os.MkdirAll(c.closed, 0o700); err != nil {
			t.Fatal(err)
		}
		if c.closed != c.data && strings.HasPrefix(c.closed, c.data) {
			if err := os.Chown(c.data, user, -1); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(c.closed, 0o500); err != nil {
			t.Fatal(err)
		}
		cmd := command(t, nil, "serve", "--data-dir", c.data, "--proxy-listen", "127.0.0.1:0", "--mirror-listen", "off", "--admin-listen", "off")
		if user != owner {
			cmd.Path = "/proc/self/exe" // which another user may run wherever it lies
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}}
		}
		out, err := cmd.CombinedOutput()
		want := []string{
			"entrepot: " + c.want, fmt.Sprintf(" (%s belongs to user %d and has mode 0500)\n", c.closed, owner),
			fmt.Sprintf("hint: let user %d write there, or choose another directory with --data-dir DIR", user),
		}
		for _, text := range want {
			if err == nil || !strings.Contains(string(out), text) {
				t.Errorf("%s: got %v, %q, want %q in it", c.data, err, out, text)
			}
		}
	}
}
