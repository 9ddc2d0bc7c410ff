package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustOpen(t testing.TB, cfg Config) *Authority {
	t.Helper()
	a, err := Open(cfg)
	if err != nil {
		t.Fatalf("open: got error %v", err)
	}
	return a
}

// wantError sees that err is one line with all of the words, so that a person
// can act on it.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one with %q", words)
	}
	for _, word := range append(words, "; ") {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got error %q, want it to contain %q", err, word)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("got error %q, want one line", err)
	}
}

// operator is a CA as an operator's own tools would make it.
type operator struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ecdsa":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newOperator makes a CA below parent, or a root; change may spoil it.
func newOperator(t testing.TB, name string, parent *operator, key crypto.Signer, change func(*x509.Certificate)) *operator {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-24 * time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if change != nil {
		change(tmpl)
	}
	signer := &operator{cert: tmpl, key: key}
	if parent != nil {
		signer = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, signer.cert, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &operator{cert: cert, key: key}
}

func (o *operator) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.cert.Raw})
}

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// files writes an operator's pair: the key of the first CA, the chain of all.
func files(t testing.TB, chain ...*operator) Config {
	t.Helper()
	var certs []byte
	for _, o := range chain {
		certs = append(certs, o.pem()...)
	}
	dir := t.TempDir()
	return Config{
		CertFile: write(t, filepath.Join(dir, "own.crt"), certs, 0o644),
		KeyFile:  write(t, filepath.Join(dir, "own.key"), keyPEM(t, chain[0].key), 0o600),
	}
}

func write(t testing.TB, file string, data []byte, perm os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(file, data, perm); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, perm); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOpenKeepsItsRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "ca")
	first := mustOpen(t, Config{Dir: dir})
	second := mustOpen(t, Config{Dir: dir})
	if got, want := second.Fingerprint(), first.Fingerprint(); got != want {
		t.Errorf("fingerprint after a second open: got %v, want %v", got, want)
	}
	for name, want := range map[string]os.FileMode{".": 0o700, "ca.key": 0o600, "ca.crt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s: got %04o, want %04o", name, got, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(entries), 2; got != want {
		t.Errorf("files in the directory: got %v (%v), want %v", got, entries, want)
	}
}

func TestRootIsWhatClientsTrust(t *testing.T) {
	dir := t.TempDir()
	a := mustOpen(t, Config{Dir: dir})
	file, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if got := a.RootPEM(); !bytes.Equal(got, file) {
		t.Errorf("RootPEM: got %s, want ca.crt: %s", got, file)
	}
	root := a.inForce.Load().issuer.anchor()
	sum := sha256.Sum256(root.Raw)
	plain := strings.ToLower(strings.ReplaceAll(a.Fingerprint(), ":", ""))
	if want := hex.EncodeToString(sum[:]); plain != want || len(a.Fingerprint()) != 32*3-1 {
		t.Errorf("fingerprint: got %v, want %v with colons", a.Fingerprint(), want)
	}
	if got, want := a.NotAfter(), root.NotAfter; !got.Equal(want) {
		t.Errorf("NotAfter: got %v, want %v", got, want)
	}
}

func TestOperatorKeys(t *testing.T) {
	for _, kind := range []string{"rsa", "ecdsa", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			root := newOperator(t, "own root", nil, newKey(t, kind), nil)
			a := mustOpen(t, files(t, root))
			state, err := handshake(a, "quay.io", pool(root.cert))
			if err != nil {
				t.Fatalf("handshake: got error %v", err)
			}
			if got, want := len(state.PeerCertificates), 1; got != want {
				t.Errorf("certificates sent: got %v, want %v (no root)", got, want)
			}
		})
	}
}

func TestOneFileForBoth(t *testing.T) {
	root := newOperator(t, "own root", nil, newKey(t, "ecdsa"), nil)
	both := write(t, filepath.Join(t.TempDir(), "both.pem"), append(keyPEM(t, root.key), root.pem()...), 0o400)
	a := mustOpen(t, Config{CertFile: both, KeyFile: both})
	if got := a.RootPEM(); !bytes.Equal(got, root.pem()) {
		t.Errorf("RootPEM: got %s, want the certificate alone", got)
	}
}

func TestConfigContradictions(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name string
		cfg  Config
		want []string
	}{
		{"nothing", Config{}, []string{"no directory"}},
		{"certificate alone", Config{Dir: dir, CertFile: "a.crt"}, []string{"a.crt", "without a key"}},
		{"key alone", Config{Dir: dir, KeyFile: "a.inForce.Load().key"}, []string{"a.inForce.Load().key", "without a certificate"}},
		{"leaves", Config{Dir: dir, Leaves: -1}, []string{"got -1"}},
		{"missing files", Config{CertFile: dir + "/a.crt", KeyFile: dir + "/a.inForce.Load().key"}, []string{"a.crt", "no such file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(tt.cfg)
			wantError(t, err, tt.want...)
		})
	}
}
