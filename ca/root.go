package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"strings"
	"time"
)

const (
	rootYears = 3
	// skew is how far a client's clock may run behind ours.
	skew = time.Hour
	// maxHost keeps the common name within the 64 bytes of RFC 5280.
	maxHost = 50
)

// newRoot makes a key and its self-signed certificate, both as PEM.
func newRoot(limits Limits, now time.Time) (keyPEM, certPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make CA key: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make CA key: %w", err)
	}
	tmpl := rootTemplate(madeOn(), now)
	limits.apply(tmpl)
	certDER, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("make CA certificate: %w", err)
	}
	if _, err := x509.ParseCertificate(certDER); err != nil {
		return nil, nil, fmt.Errorf("make CA certificate: clients could not read it: %w; check the names it is limited to", err)
	}
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})
	return keyPEM, certPEM, nil
}

// rootTemplate leaves the subject key id to crypto/x509, which derives it from
// the key of every CA.
func rootTemplate(host string, now time.Time) *x509.Certificate {
	serial := newSerial()
	return &x509.Certificate{
		SerialNumber: serial,
		// The serial number in the subject keeps two roots of one host apart by
		// name: clients that still trust an old one must not try it on leaves of
		// the new one.
		Subject: pkix.Name{
			Organization: []string{"entrepot"},
			CommonName:   commonName(host),
			SerialNumber: fmt.Sprintf("%032x", serial),
		},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.AddDate(rootYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
}

func commonName(host string) string {
	if host == "" {
		return "entrepot CA"
	}
	if len(host) > maxHost {
		host = host[:maxHost]
	}
	return "entrepot CA (" + strings.ToValidUTF8(host, "") + ")"
}

// madeOn names this machine, so that a person who finds the root in a trust
// store knows where it came from. A machine without a name is no reason to stop.
func madeOn() string {
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	return host
}

// newSerial returns 128 random bits. RFC 5280 wants a positive number of at
// most 20 bytes, and rand.Read never fails.
func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return new(big.Int).SetBytes(b[:])
}
