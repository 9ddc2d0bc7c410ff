package ca

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"testing"
	"time"
)

func TestIntermediateVerifiesAgainstTheRootOnly(t *testing.T) {
	root := newOperator(t, "root", nil, newKey(t, "rsa"), nil)
	upper := newOperator(t, "upper", root, newKey(t, "ecdsa"), nil)
	lower := newOperator(t, "lower", upper, newKey(t, "ecdsa"), nil)
	tests := []struct {
		name   string
		chain  []*operator
		sent   int
		anchor *operator
	}{
		{"with the root", []*operator{lower, upper, root}, 3, root},
		{"without the root", []*operator{lower, upper}, 3, upper},
		{"one above", []*operator{upper, root}, 2, root},
		{"alone", []*operator{upper}, 2, upper},
		{"root", []*operator{root}, 1, root},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := mustOpen(t, files(t, tt.chain...))
			if got, want := a.RootPEM(), tt.anchor.pem(); !bytes.Equal(got, want) {
				t.Errorf("RootPEM: got %s, want %q: %s", got, tt.anchor.cert.Subject, want)
			}
			for _, trusted := range []*operator{root, tt.anchor} {
				state, err := handshake(a, "quay.io", pool(trusted.cert))
				if err != nil {
					t.Fatalf("client that trusts %q: got error %v", trusted.cert.Subject, err)
				}
				if got := len(state.PeerCertificates); got != tt.sent {
					t.Errorf("certificates sent: got %v, want %v", got, tt.sent)
				}
			}
		})
	}
}

func TestChainEndsWithItsFirstEnd(t *testing.T) {
	soon := time.Now().Add(48 * time.Hour).Truncate(time.Second)
	root := newOperator(t, "root", nil, newKey(t, "ecdsa"), func(c *x509.Certificate) { c.NotAfter = soon })
	below := newOperator(t, "below", root, newKey(t, "ecdsa"), nil)
	a := mustOpen(t, files(t, below, root))
	if got := a.NotAfter(); !got.Equal(soon) {
		t.Errorf("NotAfter: got %v, want %v", got, soon)
	}
	cert, err := a.Certificate("quay.io")
	if err != nil {
		t.Fatal(err)
	}
	if got := cert.Leaf.NotAfter; !got.Equal(soon) {
		t.Errorf("leaf ends: got %v, want %v", got, soon)
	}
}

func TestIssuersThatWillNotDo(t *testing.T) {
	key := newKey(t, "ecdsa")
	alone := func(change func(*x509.Certificate)) []*operator {
		return []*operator{newOperator(t, "own", nil, key, change)}
	}
	root := newOperator(t, "root", nil, newKey(t, "ecdsa"), nil)
	other := newOperator(t, "other", nil, newKey(t, "ecdsa"), nil)
	flat := newOperator(t, "flat", nil, newKey(t, "ecdsa"), func(c *x509.Certificate) { c.MaxPathLenZero = true })
	ended := newOperator(t, "ended", nil, newKey(t, "ecdsa"), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	below := func(parent *operator) *operator { return newOperator(t, "own", parent, key, nil) }
	tests := []struct {
		name  string
		chain []*operator
		want  []string
	}{
		{"expired", alone(func(c *x509.Certificate) {
			c.NotAfter = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)
			c.NotBefore = c.NotAfter.AddDate(-1, 0, 0)
		}), []string{"expired on 2025-03-01 12:00 UTC", "renewed"}},
		{"not yet valid", alone(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), []string{"not valid before", "clock"}},
		{"no CA", alone(func(c *x509.Certificate) { c.IsCA = false }), []string{"no CA certificate"}},
		{"no basic constraints", alone(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false }), []string{"no CA certificate"}},
		{"may not sign", alone(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), []string{"certSign"}},
		{"for clients only", []*operator{newOperator(t, "own", root, key, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), root}, []string{"sign for servers"}},
		{"wrong order", []*operator{root, below(root)}, []string{"not signed by the next", "root last"}},
		{"foreign root", []*operator{below(root), other}, []string{"not signed by the next", "root last"}},
		{"path length", []*operator{below(flat), flat}, []string{`"flat" allows 0 CAs`}},
		{"root expired", []*operator{below(ended), ended}, []string{`"ended" expired`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := files(t, tt.chain...)
			_, err := Open(cfg)
			wantError(t, err, append(tt.want, cfg.CertFile)...)
		})
	}
}

func TestMismatchedKey(t *testing.T) {
	root := newOperator(t, "root", nil, newKey(t, "ecdsa"), nil)
	for _, kind := range []string{"ecdsa", "rsa"} {
		cfg := files(t, root)
		write(t, cfg.KeyFile, keyPEM(t, newKey(t, kind)), 0o600)
		_, err := Open(cfg)
		wantError(t, err, cfg.KeyFile, cfg.CertFile, "does not belong", `"root"`)
	}
}

func TestShortRSA(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(files(t, newOperator(t, "short", nil, key, nil)))
	wantError(t, err, "got 1024 bits, want 2048")
}

func TestCertificateFilesThatWillNotDo(t *testing.T) {
	root := newOperator(t, "root", nil, newKey(t, "ecdsa"), nil)
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "no PEM certificate"},
		{"binary", root.cert.Raw, "-inform der"},
		{"damaged", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "certificate 1"},
		{"second damaged", append(root.pem(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})...), "certificate 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := files(t, root)
			write(t, cfg.CertFile, tt.data, 0o644)
			_, err := Open(cfg)
			wantError(t, err, cfg.CertFile, tt.want)
		})
	}
}

func TestOwnRootExpired(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, Config{Dir: dir})
	later := func() time.Time { return a.NotAfter().Add(time.Second) }
	_, err := open(Config{Dir: dir}, later)
	wantError(t, err, "expired on "+a.NotAfter().Format("2006-01-02"), filepath.Join(dir, certName), "ca rotate --switch")
	before := func() time.Time { return time.Now().Add(-2 * time.Hour) }
	_, err = open(Config{Dir: dir}, before)
	wantError(t, err, "not valid before", "clock")
}

func TestNameConstraints(t *testing.T) {
	root := newOperator(t, "narrow", nil, newKey(t, "ecdsa"), func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical = true
		c.PermittedDNSDomains = []string{"quay.io"}
	})
	a := mustOpen(t, files(t, root))
	if _, err := a.Certificate("cdn.quay.io"); err != nil {
		t.Errorf("permitted name: got error %v, want none", err)
	}
	_, err := a.Certificate("ghcr.io")
	wantError(t, err, "ghcr.io", "may sign for this name")
}
