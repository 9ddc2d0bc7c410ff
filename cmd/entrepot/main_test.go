package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/pebble"
	"github.com/entrepot/entrepot/testdata/world/leaks"
)

// asCommand makes the test binary behave as the command, so that scenarios run the real thing: its exit
// code, its signals, its two streams.
const asCommand = "RUN_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	leaks.VerifyTestMain(m, pebble.Endless())
}

// command is the program, ready to run with no environment but env.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	// The race detector sleeps for a second at the end of a process unless it is told not to.
	cmd.Env = append([]string{asCommand + "=1", "GORACE=atexit_sleep_ms=0", "HOME=" + t.TempDir()}, env...)
	return cmd
}

// output runs the program to its end.
func output(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(t, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("running %v: %v", args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// serving is a program with open doors.
type serving struct {
	*exec.Cmd
	t      *testing.T
	lines  *bufio.Scanner
	stderr *bytes.Buffer
	start  map[string]any // the line that says so
}

// serve starts the program on free ports and a new directory.
func serve(t *testing.T, env []string, args ...string) *serving {
	t.Helper()
	return serveIn(t, t.TempDir(), env, args...)
}

func serveIn(t *testing.T, dir string, env []string, args ...string) *serving {
	t.Helper()
	args = append([]string{"serve", "--data-dir", dir}, args...)
	for _, door := range []string{"--proxy-listen", "--mirror-listen", "--admin-listen"} {
		if !slices.Contains(args, door) {
			args = append(args, door, "127.0.0.1:0")
		}
	}
	s := &serving{Cmd: command(t, env, args...), t: t, stderr: new(bytes.Buffer)}
	s.Cmd.Stderr = s.stderr
	stdout, err := s.Cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.lines = bufio.NewScanner(stdout)
	if err := s.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Cmd.Process.Kill(); s.Cmd.Wait() })
	s.start = s.until("serving")
	return s
}

// until reads the log up to the line with that message.
func (s *serving) until(message string) map[string]any {
	s.t.Helper()
	var seen []string
	for s.lines.Scan() {
		seen = append(seen, s.lines.Text())
		var line map[string]any
		if err := json.Unmarshal(s.lines.Bytes(), &line); err != nil {
			s.t.Fatalf("log line %q is no JSON: %v", s.lines.Text(), err)
		}
		if text, _ := line["message"].(string); strings.HasPrefix(text, message) {
			return line
		}
	}
	s.t.Fatalf("got no log line %q, only:\n%s\nstderr:\n%s", message, strings.Join(seen, "\n"), s.stderr)
	return nil
}

// exit waits for the end and returns the code.
func (s *serving) exit() int {
	for s.lines.Scan() {
		s.t.Log(s.lines.Text())
	}
	s.Cmd.Wait() // the code says all
	return s.Cmd.ProcessState.ExitCode()
}

// file writes a file for one test.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := t.TempDir() + "/" + name
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loaded is what the given sources come to; the configuration must be without fault.
func loaded(t *testing.T, env environment, flags map[string][]string) config {
	t.Helper()
	if env == nil {
		env = environment{}
	}
	c, err := sources{flags, env}.load()
	if err != nil {
		report(testWriter{t}, err)
		t.Fatal("configuration has faults")
	}
	return c
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// TestShellWord: what the banner says to try can be pasted, wherever the data directory is.
func TestShellWord(t *testing.T) {
	for path, want := range map[string]string{
		"data/ca/ca.crt":    "data/ca/ca.crt",
		"my data/ca.crt":    "'my data/ca.crt'",
		"ann's disk/ca.crt": `'ann'\''s disk/ca.crt'`,
	} {
		if got := shellWord(path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}
