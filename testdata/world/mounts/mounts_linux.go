// Package mounts lets a test mount file systems, whoever runs it.
package mounts

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// inside tells a process that it has mounts of its own.
const inside = "TEST_HAS_OWN_MOUNTS"

// Own runs a test where it may mount what it likes and nobody else sees it. In there it returns true; outside, where the test has been
// run in another process by then, false. It is for tests, not for what is below them. Root has a namespace of mounts for that, and
// every other user one in which he is root.
//
// Where the kernel gives neither, which is said to protect it from its users, there is no such place and the test is skipped.
func Own(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	var exit *exec.ExitError
	out, err := again(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
	if err != nil && !errors.As(err, &exit) {
		out, err = again(t, &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		})
	}
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skipf("no namespace of our own: %v", err)
	case err != nil:
		t.Fatalf("with mounts of its own: %v\n%s", err, out)
	}
	return false
}

// again runs this test alone in another process.
func again(t *testing.T, where *syscall.SysProcAttr) ([]byte, error) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = where
	return cmd.CombinedOutput()
}
