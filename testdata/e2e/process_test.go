//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout   = 30 * time.Second // until a daemon must answer
	stopTimeout    = 20 * time.Second // from SIGTERM to SIGKILL
	commandTimeout = 3 * time.Minute  // for one pull, build or push
	tailLines      = 15               // of a log, shown when a test fails
	tailWidth      = 300              // of such a line; registries write long ones
)

// process is a running daemon. It ends with the test that started it.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // the file with all that it wrote
	gone chan struct{} // closed when it has ended and err is set
	err  error
}

// start starts a daemon with its output in a file of its own, of which a failed
// test shows the end. Directories of the daemon must outlive it: make them first.
func start(t testing.TB, name string, cmd *exec.Cmd) *process {
	t.Helper()
	log, err := os.CreateTemp(scratch(t), name+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd.Stdout, cmd.Stderr = log, log
	p := &process{name: name, cmd: cmd, log: log.Name(), gone: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() { // ends with the process; stop waits for it
		p.err = cmd.Wait()
		close(p.gone)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("end of %s:\n%s", p.log, tail(p.log))
		}
	})
	return p
}

// stop ends the process by SIGTERM, and by SIGKILL when it takes too long,
// which is a failure: all that we run is meant to stop when told.
func (p *process) stop(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(stopTimeout):
		t.Errorf("%s does not stop on SIGTERM within %v", p.name, stopTimeout)
		_ = p.cmd.Process.Kill()
		<-p.gone
	}
}

// kill ends the process without telling it.
func (p *process) kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	<-p.gone
}

// until waits for the daemon to answer: for ready to return nil.
func (p *process) until(t testing.TB, ready func() error) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-p.gone:
			t.Fatalf("%s ended before it was ready: %v", p.name, p.err)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready after %v: %v", p.name, startTimeout, err)
		}
	}
}

// command is a program with the environment of a machine on which nothing is
// set, plus the given variables.
func command(env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	home := filepath.Join(os.Getenv(scratchVar), "home")
	cmd.Env = append([]string{
		"PATH=" + systemPath, "HOME=" + home, "TMPDIR=" + os.Getenv(scratchVar), "LANG=C.UTF-8",
	}, env...)
	return cmd
}

// try runs a command to its end and returns all that it printed.
func try(cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := finish(cmd)
	return out.String(), err
}

// run runs a command that must succeed and returns what it printed on its
// standard output, without the warnings beside it.
func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var out, all bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, &all), &all
	if err := finish(cmd); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, all.String())
	}
	return strings.TrimSpace(out.String())
}

func finish(cmd *exec.Cmd) error {
	cmd.WaitDelay = time.Second // a child that stays behind may keep the pipe
	if err := cmd.Start(); err != nil {
		return err
	}
	late := time.AfterFunc(commandTimeout, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		return fmt.Errorf("not done after %v", commandTimeout)
	}
	return err
}

// scratch is the directory of this test; it stays until the run ends, since
// a daemon may have mounts in it for a moment longer than the test.
func scratch(t testing.TB) string {
	t.Helper()
	clean := strings.NewReplacer(" ", "-", ":", "-", ",", "").Replace(t.Name())
	dir := filepath.Join(os.Getenv(scratchVar), clean)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for i, line := range lines {
		lines[i] = line[:min(len(line), tailWidth)]
	}
	return strings.Join(lines, "\n")
}
