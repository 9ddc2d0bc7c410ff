package ca

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// rootsOf are the certificates of Public, for clients.
func rootsOf(a *Authority) []*x509.Certificate {
	var certs []*x509.Certificate
	for _, r := range a.Public().Roots {
		certs = append(certs, r.Cert)
	}
	return certs
}

// TestRotateClientsAtEachStep goes through a change-over with real handshakes: who did as the step before said is never shut out.
func TestRotateClientsAtEachStep(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	a := mustOpen(t, cfg)
	before := rootsOf(a)[0]
	if err := Announce(cfg, Limits{}); err != nil {
		t.Fatal(err)
	}
	look, err := Look(cfg)
	if err != nil {
		t.Fatal(err)
	}
	after := look.Roots[1].Cert
	clients := map[string]*x509.CertPool{"old": pool(before), "new": pool(after), "both": pool(before, after)}
	tests := []struct {
		name   string
		step   func(Config) error
		served []*x509.Certificate
		accept []string
		phase  Phase
	}{
		{"announced", func(Config) error { return nil }, []*x509.Certificate{before, after}, []string{"old", "both"}, Announced},
		{"switched", Switch, []*x509.Certificate{after, before}, []string{"new", "both"}, Switched},
		{"back", SwitchBack, []*x509.Certificate{before, after}, []string{"old", "both"}, Announced},
		{"switched again", Switch, []*x509.Certificate{after, before}, []string{"new", "both"}, Switched},
		{"finished", Finish, []*x509.Certificate{after}, []string{"new", "both"}, Steady},
	}
	for _, tt := range tests {
		if err := tt.step(cfg); err != nil {
			t.Fatalf("%s: got error %v", tt.name, err)
		}
		if err := a.Reload(); err != nil {
			t.Fatalf("%s: reload: got error %v", tt.name, err)
		}
		if got := rootsOf(a); !slices.EqualFunc(got, tt.served, (*x509.Certificate).Equal) {
			t.Errorf("%s: got %d roots, want the %d of this step in their order", tt.name, len(got), len(tt.served))
		}
		if got := a.Public().Phase; got != tt.phase {
			t.Errorf("%s: got phase %v, want %v", tt.name, got, tt.phase)
		}
		for name, trust := range clients {
			_, err := handshake(a, "quay.io", trust)
			if got, want := err == nil, slices.Contains(tt.accept, name); got != want {
				t.Errorf("%s: a client that trusts %s: got %v (%v), want %v", tt.name, name, got, err, want)
			}
		}
	}
	wantFiles(t, cfg.Dir, "ca.crt", "ca.key")
	if again := mustOpen(t, cfg); again.Fingerprint() != a.Fingerprint() {
		t.Errorf("after a new start: got %v, want %v", again.Fingerprint(), a.Fingerprint())
	}
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("files: got %v, want %v", got, want)
	}
}

// TestRotateKeysAreTheOwners: each key of a change-over has mode 0600, and one with another mode is refused.
func TestRotateKeysAreTheOwners(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	a := mustOpen(t, cfg)
	steps := []struct {
		step func() error
		key  string
	}{
		{func() error { return Announce(cfg, Limits{}) }, "ca.next.key"},
		{func() error { return Switch(cfg) }, "ca.old.key"},
	}
	for _, tt := range steps {
		if err := tt.step(); err != nil {
			t.Fatal(err)
		}
		key := filepath.Join(cfg.Dir, tt.key)
		info, err := os.Stat(key)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("mode of %s: got %04o, want 0600", tt.key, got)
		}
		if err := os.Chmod(key, 0o640); err != nil {
			t.Fatal(err)
		}
		_, err = Open(cfg)
		wantError(t, err, "got mode 0640, want 0600", "chmod 600 "+key)
		wantError(t, a.Reload(), "chmod 600 "+key)
		if err := os.Chmod(key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pem := a.RootPEM(); bytes.Contains(pem, []byte("PRIVATE")) {
		t.Errorf("RootPEM: got a key in %s", pem)
	}
}

func TestRotateOutOfOrder(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	announce := func(cfg Config) error { return Announce(cfg, Limits{}) }
	wantError(t, announce(cfg), "no CA is there", "ca init")
	mustOpen(t, cfg)
	steps := []struct {
		at    string
		wrong map[string]func(Config) error
		hint  string
		next  func(Config) error
	}{
		{"steady", map[string]func(Config) error{"switch": Switch, "back": SwitchBack, "finish": Finish}, "begin with: entrepot ca rotate", announce},
		{"announced", map[string]func(Config) error{"announce": announce, "back": SwitchBack, "finish": Finish}, "rotate --switch", Switch},
		{"switched", map[string]func(Config) error{"announce": announce, "switch": Switch}, "rotate --finish", Finish},
	}
	for _, tt := range steps {
		for name, step := range tt.wrong {
			err := step(cfg)
			if err == nil {
				t.Fatalf("%s when %s: got no error, want one", name, tt.at)
			}
			wantError(t, err, tt.hint)
		}
		if err := tt.next(cfg); err != nil {
			t.Fatalf("after %s: got error %v", tt.at, err)
		}
	}
}

// TestRotateAnEndedRoot: a root that has ended is followed by the same steps.
func TestRotateAnEndedRoot(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	if err := initAt(cfg, Limits{}, time.Now().AddDate(-4, 0, 0)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(cfg)
	wantError(t, err, "expired")
	if err := errors.Join(Announce(cfg, Limits{}), Switch(cfg), Finish(cfg)); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, cfg)
}

// TestAnEndedNextRootIsReplaced: it can neither sign nor stay.
func TestAnEndedNextRootIsReplaced(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	mustOpen(t, cfg)
	if err := announceAt(cfg, Limits{}, time.Now().AddDate(-4, 0, 0)); err != nil {
		t.Fatal(err)
	}
	wantError(t, Switch(cfg), "expired")
	if err := errors.Join(Announce(cfg, Limits{}), Switch(cfg), Finish(cfg)); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, cfg)
}

func TestRotateIsNotForAnOperatorsCA(t *testing.T) {
	cfg := files(t, newOperator(t, "own root", nil, newKey(t, "ecdsa"), nil))
	for name, err := range map[string]error{
		"init": Init(cfg, Limits{}), "announce": Announce(cfg, Limits{}), "switch": Switch(cfg), "finish": Finish(cfg),
	} {
		if err == nil {
			t.Fatalf("%s: got no error, want one", name)
		}
		wantError(t, err, cfg.CertFile, "is yours", "SIGHUP")
	}
}

// TestMadeInAChangeOver: the leaves of both roots are ours, those of another CA are not.
func TestMadeInAChangeOver(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	a := mustOpen(t, cfg)
	leafOf := func(a *Authority) *x509.Certificate {
		t.Helper()
		cert, err := a.Certificate("quay.io")
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf
	}
	old, foreign := leafOf(a), leafOf(mustOpen(t, Config{Dir: t.TempDir()}))
	if err := errors.Join(Announce(cfg, Limits{}), Switch(cfg), a.Reload()); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		leaf *x509.Certificate
		want bool
	}{"old": {old, true}, "new": {leafOf(a), true}, "foreign": {foreign, false}} {
		if got := a.Made(tt.leaf); got != tt.want {
			t.Errorf("%s leaf: got %v, want %v", name, got, tt.want)
		}
	}
	if old.Equal(leafOf(a)) {
		t.Error("the leaf of the old root is still given out after the switch")
	}
	if err := errors.Join(Finish(cfg), a.Reload()); err != nil {
		t.Fatal(err)
	}
	if a.Made(old) {
		t.Error("the old root's leaf is ours after the end")
	}
}

// TestMadeByAThief: a root of our making signs for nobody but us, whatever a leaf of it says of itself; an operator's may have others.
func TestMadeByAThief(t *testing.T) {
	root := newOperator(t, "own root", nil, newKey(t, "ecdsa"), nil)
	for name, tt := range map[string]struct {
		a    *Authority
		want bool
	}{"made here": {mustOpen(t, Config{Dir: t.TempDir()}), true}, "an operator's": {mustOpen(t, files(t, root)), false}} {
		s := tt.a.inForce.Load()
		other := newOperator(t, "quay.io", &operator{cert: s.issuer.cert(), key: s.key}, newKey(t, "ecdsa"), func(c *x509.Certificate) { c.IsCA = false })
		if got := tt.a.Made(other.cert); got != tt.want {
			t.Errorf("another leaf of a root %s: got %v, want %v", name, got, tt.want)
		}
	}
}

func TestInit(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "ca")}
	if err := Init(cfg, Limits{}); err != nil {
		t.Fatal(err)
	}
	first := mustOpen(t, cfg).Fingerprint()
	if err := Init(cfg, Limits{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: got error %v, want %v", err, fs.ErrExist)
	}
	if got := mustOpen(t, cfg).Fingerprint(); got != first {
		t.Errorf("after the second time: got %v, want %v", got, first)
	}
	begun := Config{Dir: t.TempDir()}
	key, cert, err := newRoot(Limits{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(begun.Dir, newName), append(key, cert...), 0o600)
	if err := Init(begun, Limits{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("beside one begun: got error %v, want %v", err, fs.ErrExist)
	}
	half := Config{Dir: t.TempDir()}
	write(t, filepath.Join(half.Dir, keyName), key, 0o600)
	wantError(t, Init(half, Limits{}), keyName, certName, "both or neither")
}
