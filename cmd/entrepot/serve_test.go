package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestServeAndStop: doors on free ports, a start line that tells them, an end without error.
func TestServeAndStop(t *testing.T) {
	for _, end := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := serve(t, nil, "--tls-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0")
		for _, d := range doorKinds() {
			addr, _ := s.start[d.name].(string)
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Errorf("%s door at %q: %v", d.name, addr, err)
				continue
			}
			conn.Close()
		}
		if got, _ := s.start["ca_sha256"].(string); len(got) != 95 {
			t.Errorf("got fingerprint %q, want 32 bytes with colons", got)
		}
		s.Process.Signal(end)
		if code := s.exit(); code != 0 {
			t.Errorf("after %v: got exit code %d, want 0: %s", end, code, s.stderr)
		}
	}
}

// TestBanner: on a terminal a person is told where to go in and what to try.
func TestBanner(t *testing.T) {
	s := command(t, nil, "serve", "--log-format", "console", "--data-dir", t.TempDir(),
		"--proxy-listen", "127.0.0.1:0", "--mirror-listen", "127.0.0.1:0", "--admin-listen", "off")
	stdout, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	defer s.Wait()
	defer s.Process.Kill()
	var banner strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(banner.String(), "https://quay.io/v2/") {
		n, err := stdout.Read(buf)
		banner.Write(buf[:n])
		if err != nil {
			t.Fatalf("got only %q: %v", banner.String(), err)
		}
	}
	for _, want := range []string{"entrepot ", "proxy   127.0.0.1:", "admin   off", "ca.crt, until 2", "sha256 ", "docker pull localhost:"} {
		if !strings.Contains(banner.String(), want) {
			t.Errorf("got\n%s\nwant in it %q", banner.String(), want)
		}
	}
}

// TestRefused is every way in which a start must fail: exit code 1, what is wrong, and the next step.
func TestRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	notDir := file(t, "file", "")
	halfCA := t.TempDir()
	if err := errors.Join(os.Mkdir(halfCA+"/ca", 0o700), os.WriteFile(halfCA+"/ca/ca.key", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	off := []string{"--proxy-listen", "127.0.0.1:0", "--mirror-listen", "off", "--admin-listen", "off"}
	for _, c := range []struct {
		name string
		env  []string
		args []string
		want []string
	}{
		{"flag", nil, []string{"serve", "--max-sise", "1"}, []string{"entrepot: --max-sise: no such flag", "hint: did you mean --max-size?"}},
		{"flag without value", nil, []string{"serve", "--max-size"}, []string{"entrepot: flag needs an argument: -max-size", "hint: see `entrepot serve --help`"}},
		{"flag of a command below", nil, []string{"hosts", "remove", "--everything"}, []string{"entrepot: --everything: no such flag", "hint: see `entrepot hosts remove --help`"}},
		{"flag of one letter", nil, []string{"-x"}, []string{"entrepot: --x: no such flag\nhint: see `entrepot --help`"}},
		{"version of a command", nil, []string{"serve", "-v"}, []string{"entrepot: --v: no such flag\nhint: `entrepot version` prints it"}},
		{"command", nil, []string{"sevre"}, []string{`entrepot: no such command: "sevre"`, "hint: did you mean serve?"}},
		{"command below", nil, []string{"config", "nonsense"}, []string{`entrepot: config: no such command: "nonsense"`, "hint: commands are check, show"}},
		{"word", nil, []string{"serve", "quay.io"}, []string{`entrepot: serve: unexpected word "quay.io"`, "hint: settings are flags"}},
		{"value", nil, []string{"config", "check", "--max-size", "big"}, []string{`entrepot: --max-size: got "big", want a size`, "hint: units are"}},
		{"variable", []string{"ENTREPOT_OFFLINE=maybe"}, []string{"serve"}, []string{`entrepot: ENTREPOT_OFFLINE: got "maybe", want true or false`}},
		{"half CA", nil, []string{"serve", "--ca-key", notDir}, []string{"entrepot: --ca-key: is given without ca-cert", "hint: a CA needs both"}},
		{"unreadable CA", nil, append([]string{"serve", "--data-dir", halfCA}, off...), []string{"entrepot: open CA: ", "is there but", "move "}},
		{
			"port in use", nil,
			[]string{"serve", "--data-dir", t.TempDir(), "--mirror-listen", taken.Addr().String(), "--proxy-listen", "127.0.0.1:0"},
			[]string{"entrepot: mirror door: 127.0.0.1:" + port + " is already in use", "--mirror-listen (ENTREPOT_MIRROR_LISTEN)", "--mirror-listen off"},
		},
		{
			"no such address", nil,
			[]string{"serve", "--data-dir", t.TempDir(), "--proxy-listen", "192.0.2.1:3128", "--mirror-listen", "off", "--admin-listen", "off"},
			[]string{"entrepot: proxy door: 192.0.2.1:3128 is no address of this machine", "hint: choose another address with --proxy-listen"},
		},
		{
			"data directory in a file", nil, append([]string{"serve", "--data-dir", notDir + "/data/dir"}, off...),
			[]string{"entrepot: data directory " + notDir + "/data/dir cannot be made: " + notDir + " is a file, want a directory\n", "hint: choose another directory with --data-dir DIR"},
		},
		{
			"data directory that is a file", nil, append([]string{"serve", "--data-dir", notDir}, off...),
			[]string{"entrepot: data directory " + notDir + " is a file, want a directory\n", "hint: choose another directory with --data-dir DIR"},
		},
		{"no data directory", nil, []string{"serve", "--data-dir", ""}, []string{"entrepot: --data-dir: is empty\n", "hint: name a directory, or leave it out"}},
		{"no CA yet", nil, []string{"ca", "show", "--data-dir", notDir}, []string{"entrepot: read CA certificate: open"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stdout, stderr, code := output(t, c.env, c.args...)
			if code != 1 || stdout != "" {
				t.Errorf("got exit code %d and output %q, want 1 and none", code, stdout)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("got %q, want %q in it", stderr, want)
				}
			}
		})
	}
}

// TestOneDirectoryOneProcess: two stores on one directory would evict each other's files.
func TestOneDirectoryOneProcess(t *testing.T) {
	dir := t.TempDir()
	first := serveIn(t, dir, nil)
	again := []string{"serve", "--data-dir", dir, "--proxy-listen", "127.0.0.1:0", "--mirror-listen", "off", "--admin-listen", "off"}
	_, stderr, code := output(t, nil, again...)
	if want := "entrepot: data directory " + dir + " is used by another entrepot\nhint: stop the other one"; code != 1 || !strings.Contains(stderr, want) {
		t.Errorf("got %d, %q, want %q", code, stderr, want)
	}
	first.Process.Kill()
	first.exit()
	serveIn(t, dir, nil) // nothing is left of a lock whose holder was killed
}

// TestReload: a broken file leaves the old table in force, with one line that says so; a good one acts.
func TestReload(t *testing.T) {
	path := file(t, "entrepot.yaml", "registry: [a.example]\n")
	s := serve(t, nil, "--config", path)
	change := func(content, message string) map[string]any {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Process.Signal(syscall.SIGHUP)
		return s.until(message)
	}
	got := change("registry: [a.example]\nnonsense: 1\n", "not reloaded")
	if text := fmt.Sprint(got["error"]); !strings.Contains(text, path+":2: nonsense: no such key") || got["level"] != "error" {
		t.Errorf("got %v, want the line of the file", got)
	}
	got = change("registry:\n  - name: a.example\n    tags:\n      - tags: .*\n", "not reloaded")
	if text := fmt.Sprint(got["error"]); !strings.Contains(text, path+":4: registry: tags: ") {
		t.Errorf("got %v, want the line of the tag rule", got)
	}
	ruled := change("registry:\n  - name: a.example\n    tags: [{tags: latest, manifest-ttl: 0s}]\n", "reloaded")
	if later, ok := ruled["after_restart"]; ok {
		t.Errorf("got %v to come after a restart, want a tag rule in force at once", later)
	}
	lent := change("docker-config: "+file(t, "config.json", "{}")+"\nregistry:\n  - {name: a.example, credentials: [{prefix: a, docker-config: "+file(t, "more.json", "{}")+"}]}\n", "reloaded")
	if later, ok := lent["after_restart"]; ok {
		t.Errorf("got %v to come after a restart, want credentials in force at once", later)
	}
	first := change("registry: [a.example]\n", "reloaded")
	second := change("registry: [a.example, b.example]\nmax-size: 1GiB\nmirror-listen: off\n", "reloaded")
	if first["registries"].(float64)+1 != second["registries"].(float64) {
		t.Errorf("got %v and then %v registries, want one more", first["registries"], second["registries"])
	}
	if got := fmt.Sprint(second["after_restart"]); got != "[max-size]" {
		t.Errorf("got %v to come after a restart, want max-size only: the flag of the door beats the file", got)
	}
	s.Process.Signal(syscall.SIGTERM)
	if code := s.exit(); code != 0 {
		t.Errorf("got exit code %d, want 0: %s", code, s.stderr)
	}
}

// TestFileLimit: the Go runtime raises the soft limit of open files to the hard one. A cache for a fleet
// lives from that, so it is held here.
func TestFileLimit(t *testing.T) {
	s := serve(t, nil)
	var limit unix.Rlimit
	if err := unix.Prlimit(s.Process.Pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur != limit.Max {
		t.Errorf("got a limit of %d files, want the hard limit %d", limit.Cur, limit.Max)
	}
}

// TestCAShow: nothing is made by looking, and what serve has made is what is shown.
func TestCAShow(t *testing.T) {
	dir := t.TempDir()
	_, stderr, code := output(t, nil, "ca", "show", "--data-dir", dir)
	if code != 1 || !strings.Contains(stderr, "hint: it is made by the first `entrepot serve`") {
		t.Errorf("got %d, %q, want a hint on serve", code, stderr)
	}
	if entries, _ := filepath.Glob(dir + "/*"); len(entries) > 0 {
		t.Errorf("looking has made %v", entries)
	}
	s := serveIn(t, dir, nil)
	stdout, _, code := output(t, nil, "ca", "show", "--data-dir", dir)
	for _, want := range []string{dir + "/ca/ca.crt", s.start["ca_sha256"].(string), "valid until  20"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("got %d, %q, want %q in it", code, stdout, want)
		}
	}
}
