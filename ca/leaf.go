package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"time"
)

const (
	// leafLife is long enough for a client that pins nothing and short enough
	// that a stolen leaf is soon worthless; clients allow up to 397 days.
	leafLife = 30 * 24 * time.Hour
	// maxCommonName is the bound of RFC 5280; a longer host stands in the SAN only.
	maxCommonName = 64
)

// leaf is a certificate for one host and the time from which a new one is made.
type leaf struct {
	cert    *tls.Certificate
	renewAt time.Time
}

// certificate is Authority.Certificate.
func (s *signing) certificate(name string) (*tls.Certificate, error) {
	host, err := parseName(name)
	if err != nil {
		return nil, err
	}
	if l := s.fresh(host); l != nil {
		return l.cert, nil
	}
	made, err, _ := s.flight.Do(host, func() (any, error) {
		// The flight before this one may have landed since we looked.
		if l := s.fresh(host); l != nil {
			return l, nil
		}
		return s.mint(host)
	})
	if err != nil {
		return nil, err
	}
	return made.(*leaf).cert, nil
}

// fresh returns the kept leaf of host, or nil when a new one must be made. The
// lower bound matters after a clock that ran ahead was put right.
func (s *signing) fresh(host string) *leaf {
	l, ok := s.leaves.Get(host)
	now := s.now()
	if !ok || now.Before(l.cert.Leaf.NotBefore) || !now.Before(l.renewAt) {
		return nil
	}
	return l
}

// mint makes a leaf and keeps it.
func (s *signing) mint(host string) (*leaf, error) {
	now := s.now()
	if err := s.issuer.checkTime(now); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %s: %w", host, err)
	}
	tmpl := s.leafTemplate(host, now)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, s.issuer.cert(), key.Public(), s.key)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %s: %w", host, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %s: %w", host, err)
	}
	if err := s.verify(host, cert, now); err != nil {
		return nil, err
	}
	l := &leaf{
		cert:    &tls.Certificate{Certificate: append([][]byte{der}, s.issuer.sent()...), PrivateKey: key, Leaf: cert},
		renewAt: s.renewAt(cert, now),
	}
	s.leaves.Add(host, l)
	return l, nil
}

// leafOrganization is what a leaf says of who made it.
func leafOrganization() []string { return []string{"entrepot"} }

// leafTemplate keeps the life of a leaf inside the life of its issuer.
func (s *signing) leafTemplate(host string, now time.Time) *x509.Certificate {
	tmpl := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{Organization: leafOrganization()},
		NotBefore:             later(now.Add(-skew), s.issuer.cert().NotBefore),
		NotAfter:              earlier(now.Add(leafLife), s.notAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(host); ip != nil {
		// No common name: OpenSSL holds one against the DNS names that an issuer
		// is limited to, even when it is an address.
		tmpl.IPAddresses = []net.IP{ip}
		return tmpl
	}
	tmpl.DNSNames = []string{host}
	if len(host) <= maxCommonName {
		tmpl.Subject.CommonName = host
	}
	return tmpl
}

// verify sees a new leaf with a client's eyes. An operator's CA may carry name
// constraints or other limits, and one error here says more than the alerts of
// all the clients that would refuse the leaf.
//
// Where no certificate above limits names, leaves differ in nothing that a
// client looks at but their own name: the first is verified for all. It spares
// a new name a tenth of its time.
func (s *signing) verify(host string, cert *x509.Certificate, now time.Time) error {
	err := cert.VerifyHostname(host)
	if err == nil && (s.limited || !s.verified.Load()) {
		_, err = cert.Verify(x509.VerifyOptions{Roots: s.roots, Intermediates: s.above, CurrentTime: now})
		s.verified.Store(err == nil)
	}
	if err != nil {
		return fmt.Errorf("make certificate for %s: clients would refuse it: %w; use a CA that may sign for this name", host, err)
	}
	return nil
}

// renewAt is when two thirds of the life are over. A leaf that ends with its
// issuer is kept to the end, for a new one would not live longer.
func (s *signing) renewAt(cert *x509.Certificate, now time.Time) time.Time {
	if !cert.NotAfter.Before(s.notAfter) {
		return cert.NotAfter
	}
	return now.Add(cert.NotAfter.Sub(now) / 3 * 2)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
