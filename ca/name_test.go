package ca

import (
	"crypto/x509"
	"net"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a.", 126)
	tests := []struct{ name, want string }{
		{"quay.io", "quay.io"},
		{"QUAY.IO", "quay.io"},
		{"quay.io.", "quay.io"},
		{"localhost", "localhost"},
		{"my_registry", "my_registry"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"1.example", "1.example"},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com", "123456789012.dkr.ecr.us-east-1.amazonaws.com"},
		{long + "a", long + "a"},
		{long + "a.", long + "a"},
		{strings.Repeat("a", 63) + ".io", strings.Repeat("a", 63) + ".io"},
		{"127.0.0.1", "127.0.0.1"},
		{"::1", "::1"},
		{"[::1]", "::1"},
		{"2001:DB8:0:0::1", "2001:db8::1"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
	}
	for _, tt := range tests {
		got, err := parseName(tt.name)
		if err != nil || got != tt.want {
			t.Errorf("name %q: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestNamesRefused(t *testing.T) {
	tests := []struct{ name, want string }{
		{"", "empty"},
		{".", "empty"},
		{"..", "empty label"},
		{"quay.io..", "empty label"},
		{".quay.io", "empty label"},
		{"quay..io", "empty label"},
		{strings.Repeat("a.", 126) + "aa", "got 254 bytes, want at most 253"},
		{strings.Repeat("a", 64) + ".io", "got 64 bytes, want at most 63"},
		{"*.quay.io", "wildcards"},
		{"*", "wildcards"},
		{"a*.quay.io", `'*'`},
		{"quay.io\x00.example", `'\x00'`},
		{"quay.io:443", `':'`},
		{"user@quay.io", `'@'`},
		{"quay.io/v2", `'/'`},
		{"quay io", `' '`},
		{"quay.io\r\n", `'\r'`},
		{"-quay.io", "hyphen"},
		{"quay-.io", "hyphen"},
		{"bücher.example", "xn--"},
		{"quay.\u212ao", "xn--"}, // the Kelvin sign lower-cases to a plain k
		{"10.0.1", "number"},
		{"256.1.1.1", "number"},
		{"1.2.3.4.", "number"},
		{"010.0.0.1", "number"},
		{"[1.2.3.4]", `'['`},
		{"[::1", `'['`},
		{"fe80::1%eth0", "zone"},
	}
	for _, tt := range tests {
		_, err := parseName(tt.name)
		wantError(t, err, "make certificate for", tt.want)
	}
	_, err := parseName(strings.Repeat("x", 60000))
	if got, want := len(err.Error()), 300; got > want {
		t.Errorf("error for a long name: got %d bytes, want at most %d", got, want)
	}
}

func TestBadNameCostsNoMint(t *testing.T) {
	a := mustOpen(t, Config{Dir: t.TempDir()})
	mints := countMints(a)
	if _, err := a.Certificate("*.io"); err == nil {
		t.Error("got no error, want one")
	}
	if got := mints.Load(); got != 0 || a.inForce.Load().leaves.Len() != 0 {
		t.Errorf("got %d mints and %d leaves, want none", got, a.inForce.Load().leaves.Len())
	}
}

// FuzzName: a name that is let through is in its final form, and Go's own
// verifier takes it for the name that was asked for.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"quay.io", "QUAY.io.", "::1", "[::1]", "10.0.0.1", "*.io", "a\x00b", "xn--bcher-kva.de", "fe80::1%1", "\u212a.io"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		host, err := parseName(name)
		if err != nil {
			return
		}
		if again, err := parseName(host); err != nil || again != host {
			t.Errorf("name %q gives %q: got %q, %v the second time", name, host, again, err)
		}
		if host == "" || len(host) > maxName || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.:-_") != "" {
			t.Errorf("name %q: got %q, want a plain host", name, host)
		}
		cert := &x509.Certificate{DNSNames: []string{host}}
		if ip := net.ParseIP(host); ip != nil {
			cert = &x509.Certificate{IPAddresses: []net.IP{ip}}
		}
		if err := cert.VerifyHostname(host); err != nil {
			t.Errorf("name %q gives %q: clients would say %v", name, host, err)
		}
	})
}
