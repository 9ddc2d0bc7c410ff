package ca

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// twoPairs are the files of two CAs, for tests that lay them out as a process leaves them that dies.
type twoPairs struct{ oldKey, oldCert, newKey, newCert []byte }

func newTwoPairs(t *testing.T) (p twoPairs) {
	t.Helper()
	var err error
	if p.oldKey, p.oldCert, err = newRoot(Limits{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if p.newKey, p.newCert, err = newRoot(Limits{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDeathDuringSwitch lays out what a switch that dies behind each of its calls leaves: one of the two signs, both are given out,
// and the same command ends the work.
func TestDeathDuringSwitch(t *testing.T) {
	p := newTwoPairs(t)
	tests := []struct {
		name  string
		files map[string][]byte
		signs []byte
	}{
		{"before", map[string][]byte{"ca.key": p.oldKey, "ca.crt": p.oldCert, "ca.next.key": p.newKey, "ca.next.crt": p.newCert}, p.oldCert},
		{"second key", map[string][]byte{
			"ca.key": p.oldKey, "ca.crt": p.oldCert, "ca.next.key": p.newKey, "ca.next.crt": p.newCert, "ca.old.key": p.oldKey,
		}, p.oldCert},
		{"second certificate", map[string][]byte{
			"ca.key": p.oldKey, "ca.crt": p.oldCert, "ca.next.key": p.newKey, "ca.next.crt": p.newCert, "ca.old.key": p.oldKey, "ca.old.crt": p.oldCert,
		}, p.oldCert},
		{"happened", map[string][]byte{
			"ca.key": p.newKey, "ca.crt": p.oldCert, "ca.next.crt": p.newCert, "ca.old.key": p.oldKey, "ca.old.crt": p.oldCert,
		}, p.newCert},
		{"over", map[string][]byte{"ca.key": p.newKey, "ca.crt": p.newCert, "ca.old.key": p.oldKey, "ca.old.crt": p.oldCert}, p.newCert},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir()}
			for name, data := range tt.files {
				write(t, filepath.Join(cfg.Dir, name), data, 0o600)
			}
			a := mustOpen(t, cfg)
			if got := a.RootPEM(); !bytes.HasPrefix(got, tt.signs) || !bytes.Contains(got, p.oldCert) || !bytes.Contains(got, p.newCert) {
				t.Errorf("roots: got %s, want the one that signs and then the other", got)
			}
			if _, err := handshake(a, "quay.io", pool(rootsOf(a)[0])); err != nil {
				t.Errorf("handshake: got error %v", err)
			}
			if bytes.Equal(tt.signs, p.oldCert) {
				if err := Switch(cfg); err != nil {
					t.Fatal(err)
				}
			}
			wantFiles(t, cfg.Dir, "ca.crt", "ca.key", "ca.old.crt", "ca.old.key")
			if got := mustOpen(t, cfg).RootPEM(); !bytes.Equal(got, append(bytes.Clone(p.newCert), p.oldCert...)) {
				t.Errorf("roots at the end: got %s, want the new one and the old one", got)
			}
			if err := Finish(cfg); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, cfg.Dir, "ca.crt", "ca.key")
		})
	}
}

// TestDeathDuringOtherSteps: halves of a pair that a dead step leaves are in nobody's way.
func TestDeathDuringOtherSteps(t *testing.T) {
	p := newTwoPairs(t)
	tests := []struct {
		name  string
		files map[string][]byte
		roots int
		step  func(Config) error
		want  []string
	}{
		{
			"announce",
			map[string][]byte{"ca.key": p.oldKey, "ca.crt": p.oldCert, "ca.next.key": p.newKey},
			1,
			func(c Config) error { return Announce(c, Limits{}) },
			[]string{"ca.crt", "ca.key", "ca.next.crt", "ca.next.key"},
		},
		{
			"finish",
			map[string][]byte{"ca.key": p.newKey, "ca.crt": p.newCert, "ca.old.crt": p.oldCert},
			2,
			Finish,
			[]string{"ca.crt", "ca.key"},
		},
		{
			"back, then finish",
			map[string][]byte{
				"ca.key": p.newKey, "ca.crt": p.newCert, "ca.old.key": p.oldKey, "ca.old.crt": p.oldCert, "ca.next.key": p.newKey, "ca.next.crt": p.newCert,
			},
			2,
			Finish,
			[]string{"ca.crt", "ca.key"},
		},
		{
			"back, behind the moment",
			map[string][]byte{
				"ca.key": p.oldKey, "ca.crt": p.newCert, "ca.old.crt": p.oldCert, "ca.next.key": p.newKey, "ca.next.crt": p.newCert,
			},
			2,
			Switch,
			[]string{"ca.crt", "ca.key", "ca.old.crt", "ca.old.key"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir()}
			for name, data := range tt.files {
				write(t, filepath.Join(cfg.Dir, name), data, 0o600)
			}
			if got := len(mustOpen(t, cfg).Public().Roots); got != tt.roots {
				t.Errorf("roots: got %d, want %d", got, tt.roots)
			}
			if err := tt.step(cfg); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, cfg.Dir, tt.want...)
			mustOpen(t, cfg)
		})
	}
}

// TestForeignFilesInTheWay: what a person put under one of the names is not overwritten, and nothing happens.
func TestForeignFilesInTheWay(t *testing.T) {
	p := newTwoPairs(t)
	for _, name := range []string{"ca.old.key", "ca.old.crt"} {
		cfg := Config{Dir: t.TempDir()}
		a := mustOpen(t, cfg)
		if err := Announce(cfg, Limits{}); err != nil {
			t.Fatal(err)
		}
		content := map[string][]byte{"ca.old.key": p.oldKey, "ca.old.crt": p.oldCert}[name]
		file := write(t, filepath.Join(cfg.Dir, name), content, 0o600)
		wantError(t, Switch(cfg), file, "move it away")
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: got %s, %v, want it untouched", name, got, err)
		}
		if got := mustOpen(t, cfg).Fingerprint(); got != a.Fingerprint() {
			t.Errorf("with %s in the way: got %v, want the old root %v", name, got, a.Fingerprint())
		}
	}
}

// victimEnv makes the test binary a process that goes round a change-over in the directory it names, until it is killed.
const victimEnv = "CA_TEST_VICTIM"

func TestMain(m *testing.M) {
	if d := os.Getenv(victimEnv); d != "" {
		beKilled(Config{Dir: d})
	}
	os.Exit(m.Run())
}

// beKilled begins with the step that is next, whatever the one before it got done, and only tells when it cannot go on.
func beKilled(cfg Config) {
	fmt.Println("going")
	for {
		now, err := Look(cfg)
		if err == nil {
			switch now.Phase {
			case Steady:
				err = Announce(cfg, Limits{})
			case Announced:
				err = Switch(cfg)
			case Switched:
				if SwitchBack(cfg) == nil { // not when a dead Finish has removed the old key
					err = Switch(cfg)
				}
				err = errors.Join(err, Finish(cfg))
			}
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

// TestKill: a kill at any moment of a change-over leaves a CA that opens, whose leaves verify by the root it gives first.
func TestKill(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	mustOpen(t, cfg)
	for range 25 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimEnv+"="+cfg.Dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan() // it is going
		killer := time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { cmd.Process.Kill() })
		for lines.Scan() {
			t.Errorf("the victim says %q", lines.Text())
		}
		killer.Stop()
		cmd.Wait() // it was killed
		checkAfterKill(t, cfg)
	}
}

func checkAfterKill(t *testing.T, cfg Config) {
	t.Helper()
	a := mustOpen(t, cfg)
	roots := rootsOf(a)
	if _, err := handshake(a, "quay.io", pool(roots[0])); err != nil {
		t.Errorf("after a kill: handshake: got error %v", err)
	}
	if len(roots) > 2 || len(roots) == 2 && roots[0].Equal(roots[1]) {
		t.Errorf("after a kill: got %d roots, want one, or two that differ", len(roots))
	}
	if got, want := certFile(t, cfg), roots[0]; !got.Equal(want) {
		t.Error("after a kill and a start: ca.crt is not the root that signs")
	}
}

func certFile(t *testing.T, cfg Config) *x509.Certificate {
	t.Helper()
	chain, err := readChain(filepath.Join(cfg.Dir, certName))
	if err != nil {
		t.Fatal(err)
	}
	return chain[0]
}
