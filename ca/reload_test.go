package ca

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestReloadOfAnOperatorsCA: other files under the same names are taken over, and files that will not do change nothing.
func TestReloadOfAnOperatorsCA(t *testing.T) {
	first := newOperator(t, "first", nil, newKey(t, "ecdsa"), nil)
	second := newOperator(t, "second", nil, newKey(t, "ecdsa"), nil)
	cfg := files(t, first)
	a := mustOpen(t, cfg)
	write(t, cfg.CertFile, second.pem(), 0o644)
	wantError(t, a.Reload(), "does not belong", `"second"`) // the key has not come yet
	write(t, cfg.KeyFile, []byte("nonsense"), 0o600)
	wantError(t, a.Reload(), "no private key")
	if _, err := handshake(a, "quay.io", pool(first.cert)); err != nil {
		t.Errorf("after broken files: got error %v, want the old CA in force", err)
	}
	write(t, cfg.KeyFile, keyPEM(t, second.key), 0o600)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(a, "quay.io", pool(second.cert)); err != nil {
		t.Errorf("after good files: got error %v, want the new CA in force", err)
	}
	if got := a.RootPEM(); !bytes.Equal(got, second.pem()) {
		t.Errorf("RootPEM: got %s, want the new one", got)
	}
}

// TestReloadMakesNothing: a directory that was emptied is an error of a person, and a new CA would lock all clients out.
func TestReloadMakesNothing(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	a := mustOpen(t, cfg)
	if err := errors.Join(os.Remove(filepath.Join(cfg.Dir, certName)), os.Remove(filepath.Join(cfg.Dir, keyName))); err != nil {
		t.Fatal(err)
	}
	wantError(t, a.Reload(), certName, "no such file")
	wantFiles(t, cfg.Dir)
	if _, err := handshake(a, "quay.io", pool(rootsOf(a)...)); err != nil {
		t.Errorf("handshake: got error %v, want the old CA in force", err)
	}
}

func TestReloadKeepsLeavesOfTheSameIssuer(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	a := mustOpen(t, cfg)
	first, err := a.Certificate("quay.io")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Reload(), Announce(cfg, Limits{}), a.Reload()); err != nil {
		t.Fatal(err)
	}
	if again, err := a.Certificate("quay.io"); err != nil || again != first {
		t.Errorf("got another leaf (%v), want the same", err)
	}
	if err := errors.Join(Switch(cfg), a.Reload()); err != nil {
		t.Fatal(err)
	}
	if again, err := a.Certificate("quay.io"); err != nil || again == first {
		t.Errorf("after the switch: got the same leaf (%v), want another", err)
	}
}

// TestReloadUnderHandshakes: clients that trust both roots see no error while the roots change under them.
func TestReloadUnderHandshakes(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	a := mustOpen(t, cfg)
	if err := errors.Join(Announce(cfg, Limits{}), a.Reload()); err != nil {
		t.Fatal(err)
	}
	trust := pool(rootsOf(a)...)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := handshake(a, "quay.io", trust); err != nil {
					t.Errorf("handshake: got error %v", err)
					return
				}
			}
		})
	}
	for range 10 {
		if err := errors.Join(Switch(cfg), a.Reload(), SwitchBack(cfg), a.Reload()); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
}
