package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRoot(t *testing.T) {
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	_, certPEM, err := newRoot(Limits{}, now)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := parseChain(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	c := chain[0]
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"entrepot", host[:min(len(host), maxHost)]} {
		if !strings.Contains(c.Subject.CommonName, word) {
			t.Errorf("common name: got %q, want it to contain %q", c.Subject.CommonName, word)
		}
	}
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key: got %T, want ECDSA P-256", c.PublicKey)
	}
	if got, want := c.KeyUsage, x509.KeyUsageCertSign|x509.KeyUsageCRLSign; got != want {
		t.Errorf("key usage: got %b, want %b", got, want)
	}
	if !c.IsCA || c.MaxPathLen != 0 || !c.MaxPathLenZero || len(c.SubjectKeyId) == 0 {
		t.Errorf("got CA %v, path length %v, subject key id %x; want true, 0, some", c.IsCA, c.MaxPathLen, c.SubjectKeyId)
	}
	if got, want := c.NotBefore, now.Add(-time.Hour); !got.Equal(want) {
		t.Errorf("not before: got %v, want %v", got, want)
	}
	if got, want := c.NotAfter, now.AddDate(3, 0, 0); !got.Equal(want) {
		t.Errorf("not after: got %v, want %v", got, want)
	}
}

func TestSerials(t *testing.T) {
	seen := map[string]bool{}
	most := 0
	for range 1000 {
		n := newSerial()
		seen[n.String()] = true
		most = max(most, n.BitLen())
	}
	if got, want := len(seen), 1000; got != want {
		t.Errorf("different serials: got %v, want %v", got, want)
	}
	if got, want := most, 128; got != want {
		t.Errorf("longest serial: got %v bits, want %v", got, want)
	}
}

func TestCommonName(t *testing.T) {
	tests := []struct{ host, want string }{
		{"", "entrepot CA"},
		{"build-3", "entrepot CA (build-3)"},
		{strings.Repeat("a", 80), "entrepot CA (" + strings.Repeat("a", 50) + ")"},
		{strings.Repeat("a", 49) + "é", "entrepot CA (" + strings.Repeat("a", 49) + ")"},
	}
	for _, tt := range tests {
		got := commonName(tt.host)
		if got != tt.want {
			t.Errorf("common name for %q: got %q, want %q", tt.host, got, tt.want)
		}
		if len(got) > 64 || !utf8.ValidString(got) {
			t.Errorf("common name for %q: got %d bytes, want at most 64 of UTF-8", tt.host, len(got))
		}
	}
}
