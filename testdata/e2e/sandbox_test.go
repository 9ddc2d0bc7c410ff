//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	insideVar  = "E2E_INSIDE"  // set for the process inside the namespaces
	scratchVar = "E2E_SCRATCH" // the directory that holds all that a run writes
	keepVar    = "E2E_KEEP"
)

// enter runs this binary again as process 1 of fresh namespaces and returns
// its exit code. With process 1 everything ends that it started.
func enter() int {
	if err := errors.Join(checkRoot(), checkPrograms()); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: cannot run here:\n%v\n", err)
		return 1
	}
	scratch, err := os.MkdirTemp("", "entrepot-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer clean(scratch)
	// The kernel sends Pdeathsig when the starting *thread* ends.
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVar+"=1", scratchVar+"="+scratch)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: make namespaces:", err)
		return 1
	}
	stop := forward(cmd.Process)
	defer stop()
	if err := cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return 1
}

// forward passes the signals that end a run on to the process inside, which
// as process 1 gets only those that it handles.
func forward(p *os.Process) (stop func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	go func() { // ends when stop closes the channel
		for s := range signals {
			_ = p.Signal(s)
		}
	}()
	return func() { signal.Stop(signals); close(signals) }
}

// clean removes what a run left: its files, and the control groups that
// containers had, which the kernel keeps although the namespaces are gone.
func clean(scratch string) {
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + cgroupParent)
	for _, g := range append(groups, "/sys/fs/cgroup"+cgroupParent) {
		removeGroup(g)
	}
	if os.Getenv(keepVar) != "" {
		fmt.Fprintln(os.Stderr, "e2e: kept", scratch)
		return
	}
	_ = os.RemoveAll(scratch)
}

// removeGroup removes a control group and those below it. Their files are the
// kernel's and need no removal.
func removeGroup(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeGroup(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir)
}

func checkRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("root is needed to make namespaces and run dockerd")
	}
	return nil
}

// settle makes the fresh namespaces habitable: mounts that do not spread, a
// /proc of its own, a network, and private copies of what the tests write to.
func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, dir := range []string{"/etc", "/usr/local/share/ca-certificates"} {
		if err := private(dir); err != nil {
			return fmt.Errorf("private copy of %s: %w", dir, err)
		}
	}
	return network()
}

// private puts a copy of the directory over it. The whole of /etc and not
// single files of it, so that a program may also replace one by rename.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	into := filepath.Join(os.Getenv(scratchVar), "private", strings.ReplaceAll(dir, "/", "_"))
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", dir+"/.", into).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return unix.Mount(into, dir, "", unix.MS_BIND, "")
}
