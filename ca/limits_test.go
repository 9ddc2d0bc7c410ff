package ca

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestLimits: what a limited root signs for hosts outside its limits is refused by Go, though the key would sign it. The
// end-to-end tests ask OpenSSL.
func TestLimits(t *testing.T) {
	tests := []struct {
		name    string
		limits  Limits
		in, out []string
	}{
		{
			"names",
			Limits{Names: []string{"quay.io", "docker.io", "my_registry"}},
			[]string{"quay.io", "cdn.quay.io", "auth.docker.io", "my_registry"},
			[]string{"mail.example.com", "notquay.io", "io", "10.0.0.1", "2001:db8::1"},
		},
		{
			"names and addresses",
			Limits{Names: []string{"quay.io"}, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("2001:db8::5")}},
			[]string{"quay.io", "10.0.0.5", "2001:db8::5"},
			[]string{"mail.example.com", "10.0.0.6", "2001:db8::6"},
		},
		{
			"one kind of address",
			Limits{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.5")}},
			[]string{"10.0.0.5"},
			[]string{"mail.example.com", "quay.io", "10.0.0.6", "2001:db8::5"},
		},
		{"none", Limits{}, []string{"quay.io", "mail.example.com", "10.0.0.1"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir()}
			if err := Init(cfg, tt.limits); err != nil {
				t.Fatal(err)
			}
			a := mustOpen(t, cfg)
			for _, host := range tt.in {
				if _, err := handshake(a, host, pool(rootsOf(a)...)); err != nil {
					t.Errorf("%s: handshake: got error %v, want none", host, err)
				}
			}
			for _, host := range tt.out {
				_, err := a.Certificate(host)
				wantError(t, err, host, "may sign for this name")
				_, err = forge(t, a, host).Verify(x509.VerifyOptions{Roots: pool(rootsOf(a)...)})
				if invalid := (x509.CertificateInvalidError{}); !errors.As(err, &invalid) || invalid.Reason != x509.CANotAuthorizedForThisName {
					t.Errorf("%s: got error %v, want that the CA may not sign for the name", host, err)
				}
			}
			if got := a.Public().Outside(slices.Concat(tt.in, tt.out)); !slices.Equal(got, tt.out) {
				t.Errorf("outside: got %q, want %q", got, tt.out)
			}
			if got := a.Public().Roots[0].Limits(); !slices.Equal(got.Names, tt.limits.Names) || len(got.Addrs) != len(tt.limits.Addrs) {
				t.Errorf("limits: got %v, want %v", got, tt.limits)
			}
		})
	}
}

// forge signs for a host as a thief of the key would, who verifies nothing.
func forge(t *testing.T, a *Authority, host string) *x509.Certificate {
	t.Helper()
	s := a.inForce.Load()
	key := newKey(t, "ecdsa")
	der, err := x509.CreateCertificate(rand.Reader, s.leafTemplate(host, time.Now()), s.issuer.cert(), key.Public(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// TestOutsideAnOperatorsLimits reads constraints that we would not write.
func TestOutsideAnOperatorsLimits(t *testing.T) {
	root := newOperator(t, "root", nil, newKey(t, "ecdsa"), func(c *x509.Certificate) {
		c.PermittedDNSDomains = []string{".Corp.example", "quay.io"}
		c.ExcludedDNSDomains = []string{"bad.corp.example"}
	})
	below := newOperator(t, "below", root, newKey(t, "ecdsa"), func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"corp.example", "ghcr.io"} })
	a := mustOpen(t, files(t, below, root))
	hosts := []string{"reg.corp.example", "corp.example", "x.bad.corp.example", "quay.io", "ghcr.io", "10.0.0.1", "nonsense..name"}
	want := []string{"corp.example", "x.bad.corp.example", "quay.io", "ghcr.io", "nonsense..name"}
	if got := a.Public().Outside(hosts); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, host := range hosts {
		_, err := a.Certificate(host)
		if got, want := err != nil, slices.Contains(want, host); got != want {
			t.Errorf("%s: Certificate: got error %v, want that to be %v as Outside says", host, err, want)
		}
	}
}
