package main

import (
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/entrepot/entrepot/ca"
)

// TestCALimits: which names a limited CA may sign for, from the registries that are intercepted.
func TestCALimits(t *testing.T) {
	path := file(t, "entrepot.yaml", `registry:
  - reg.corp.example:5000
  - "10.0.0.5:5000"
  - "[2001:db8::5]:5000"
  - name: eu.corp.example
    hosts: [eu.corp.example, "*.mirrors.corp.example"]
    upstream: https://eu.corp.example
    realms: [login.corp.example]
  - {name: nvcr.io, mode: tunnel}
  - {name: quay.io, mode: refuse}
`)
	l, err := loaded(t, nil, map[string][]string{"config": {path}}).caLimits()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"amazonaws.com", "azurecr.io", "docker.io", "eu.corp.example", "gcr.io", "ghcr.io", "mcr.microsoft.com", "mirrors.corp.example",
		"pkg.dev", "public.ecr.aws", "quay.io", "reg.corp.example", "registry.gitlab.com", "registry.k8s.io", "10.0.0.5", "2001:db8::5",
	}
	if got := hostsOf(l); !slices.Equal(got, want) {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

// TestCAConstrained: a registry that comes later, outside the limits, is told of by name when the server starts, at SIGHUP and by the
// commands; a rotation keeps limits, and takes the registry in.
func TestCAConstrained(t *testing.T) {
	dir := t.TempDir()
	if said, _ := ran(t, "ca", "init", "--constrain", "--data-dir", dir); !strings.Contains(said, "limited to   amazonaws.com, azurecr.io, docker.io, ") {
		t.Errorf("got %q, want the limits in it", said)
	}
	const want = "registry reg.corp.example: the CA is limited to other hosts and may not sign for reg.corp.example"
	late := []string{"--data-dir", dir, "--registry", "reg.corp.example"}
	for _, command := range [][]string{{"config", "check"}, {"ca", "show"}} {
		if _, stderr := ran(t, append(command, late...)...); strings.Count(stderr, "warning") != 1 || !strings.Contains(stderr, "entrepot: warning: "+want) ||
			!strings.Contains(stderr, "entrepot ca rotate") {
			t.Errorf("%v: got %q, want one warning with %q", command, stderr, want)
		}
		if _, stderr := ran(t, append(command, late[:2]...)...); stderr != "" {
			t.Errorf("%v without that registry: got %q, want no warning", command, stderr)
		}
	}
	s := serveIn(t, dir, nil, late[2:]...)
	if line := s.until("registry reg.corp.example"); line["level"] != "warn" || !strings.HasPrefix(line["message"].(string), want) {
		t.Errorf("at the start: got %v, want the warning", line)
	}
	s.Process.Signal(syscall.SIGHUP)
	s.until("reloaded")
	s.until(want)
	ran(t, append([]string{"ca", "rotate"}, late...)...)
	ran(t, "ca", "rotate", "--switch", "--data-dir", dir)
	if _, stderr := ran(t, append([]string{"config", "check"}, late...)...); stderr != "" {
		t.Errorf("after the rotation: got %q, want no warning", stderr)
	}
	ran(t, "ca", "rotate", "--finish", "--data-dir", dir)
	if said, _ := ran(t, "ca", "rotate", "--constrain=false", "--data-dir", dir); strings.Count(said, "limited to") != 1 {
		t.Errorf("--constrain=false: got %q, want the limits of the old root only", said)
	}
}

// TestCAEnds: 30 days before the end it is said, at the start, once a day, at SIGHUP, and by the commands.
func TestCAEnds(t *testing.T) {
	const want = "the CA ends on "
	o := ownCA(t, 29*24*time.Hour+time.Minute)
	for _, command := range [][]string{{"config", "check"}, {"ca", "show"}} {
		if _, stderr := ran(t, append(command, o.flags()...)...); !strings.Contains(stderr, "entrepot: warning: "+want) || !strings.Contains(stderr, "in 29 days") {
			t.Errorf("%v: got %q, want %q in it", command, stderr, want)
		}
	}
	s := serve(t, nil, o.flags()...)
	for _, when := range []string{"start", "SIGHUP"} {
		line := s.until(want)
		if line["level"] != "warn" || !strings.Contains(line["message"].(string), "(in 29 days)") || !strings.Contains(line["message"].(string), o.cert) {
			t.Errorf("at %s: got %v, want a warning with the days left and what to do", when, line)
		}
		s.Process.Signal(syscall.SIGHUP)
	}
	o.renew(t, 31*24*time.Hour)
	if _, stderr := ran(t, append([]string{"ca", "show"}, o.flags()...)...); stderr != "" {
		t.Errorf("31 days before: got %q, want no warning", stderr)
	}
}

// TestCAEndIsSaidDaily: a server that nobody touches says it too.
func TestCAEndIsSaidDaily(t *testing.T) {
	dir := t.TempDir()
	c := loaded(t, nil, map[string][]string{"data-dir": {dir}})
	h, err := openHouse(c, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer h.store.Close()
	lines := make(chan string, 10)
	var now atomic.Pointer[time.Time]
	at := func(before time.Duration) { now.Store(new(h.authority.NotAfter().Add(-before))) }
	at(31 * 24 * time.Hour)
	days := make(chan time.Time)
	signals := make(chan os.Signal)
	w := watch{
		config: c, log: zerolog.New(lineWriter(lines)), signals: signals, daily: days, now: func() time.Time { return *now.Load() },
		house: h, ended: make(chan error, doorCount),
	}
	done := make(chan error, 1)
	go func() { done <- w.run() }() // waited for at the end
	days <- time.Now()
	signals <- syscall.SIGHUP // comes behind the day, whose line would be there
	if line := <-lines; strings.Contains(line, "the CA ends") {
		t.Errorf("31 days before: got %q, want no warning", line)
	}
	at(29*24*time.Hour + time.Minute)
	days <- time.Now()
	if line := <-lines; !strings.Contains(line, "the CA ends on "+h.authority.NotAfter().Format(time.DateOnly)+" (in 29 days)") ||
		!strings.Contains(line, "begin with: entrepot ca rotate") || !strings.Contains(line, `"level":"warn"`) {
		t.Errorf("29 days before: got %q, want the warning", line)
	}
	signals <- syscall.SIGTERM
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// lineWriter passes the lines of a log on.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) { w <- string(p); return len(p), nil }

// TestInDays: what is left, in words.
func TestInDays(t *testing.T) {
	for _, tt := range []struct {
		left time.Duration
		want string
	}{{30 * 24 * time.Hour, "in 30 days"}, {25 * time.Hour, "in 1 day"}, {time.Hour, "in 0 days"}, {0, "it has ended"}, {-time.Hour, "it has ended"}} {
		if got := inDays(tt.left); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.left, got, tt.want)
		}
	}
}

// TestCautionsOfAnEndedCA: who looks is told, though a server would not start.
func TestCautionsOfAnEndedCA(t *testing.T) {
	dir := t.TempDir()
	ran(t, "ca", "init", "--data-dir", dir)
	now, err := ca.Look(ca.Config{Dir: dir + "/ca"})
	if err != nil {
		t.Fatal(err)
	}
	table, err := loaded(t, nil, map[string][]string{"data-dir": {dir}}).table()
	if err != nil {
		t.Fatal(err)
	}
	got := cautions(now, table, now.End().Add(time.Hour))
	if len(got) != 1 || !strings.Contains(got[0], "(it has ended)") {
		t.Errorf("got %q, want one that says that it has ended", got)
	}
}
