package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMachine: memory and file system are told as the kernel tells them.
func TestMachine(t *testing.T) {
	if got, want := memorySize("MemFree: 1 kB\nMemTotal:       24684084 kB\n"), "24 GiB"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	const mounts = "27 1 254:0 / / rw - ext4 /dev/vda rw\n" +
		"28 27 0:21 / /proc rw - proc proc rw\n" +
		"29 27 0:30 / /tmp rw,relatime shared:1 - tmpfs tmpfs rw\n" +
		"30 29 8:1 / /tmp/big rw shared:2 master:1 - xfs /dev/sda1 rw\n"
	for dir, want := range map[string]string{
		"/home": "ext4 on vda", "/tmp": "tmpfs", "/tmp/a": "tmpfs", "/tmp/big/a": "xfs on sda1", "/tmp/bigger": "tmpfs", "/": "ext4 on vda",
	} {
		if got := fileSystem(mounts, dir); got != want {
			t.Errorf("%s: got %q, want %q", dir, got, want)
		}
	}
}

// TestVersion: a build is what it says of itself, and others are by their number.
func TestVersion(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	for _, row := range []struct{ name, says, want string }{
		{"entrepot", "entrepot v1.2.0-3-g1234567-dirty (go1.26.8, linux/amd64)", "entrepot v1.2.0-3-g1234567-dirty"},
		{"other", "entrepot dev (go1.26.8, linux/amd64)", "other dev"},
		{"parallel", "entrepot dev (go1.26.8, linux/amd64)", ""},
		{"nginx", "nginx version: nginx/1.22.1", "nginx 1.22.1"},
	} {
		if err := os.WriteFile(program, []byte("#!/bin/sh\necho '"+row.says+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := (contender{name: row.name, needs: []string{program}}).version(); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
}
