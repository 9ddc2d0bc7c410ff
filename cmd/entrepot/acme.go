package main

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/entrepot/entrepot/proxy/acme"
)

// acmeRules are how certificates are got by ACME.
type acmeRules struct {
	Email, Directory, CA string
	HTTPPort, TLSPort    int
	DNSHook              string
}

// acmeSettings say how certificates are got by ACME.
func acmeSettings() []setting {
	return []setting{
		{
			name: "acme-email", usage: "`ADDRESS` for the ACME CA's mail about the account",
			absent: "none", set: text(func(c *config) *string { return &c.ACME.Email }),
		},
		{
			name: "acme-directory", usage: "`URL` of the ACME CA's directory",
			absent: "Let's Encrypt", set: parsed(func(c *config) *string { return &c.ACME.Directory }, parseDirectory),
		},
		{
			name: "acme-ca", usage: "`FILE` with the roots of that CA's own server; PEM", path: true,
			absent: "the system's roots", set: text(func(c *config) *string { return &c.ACME.CA }),
		},
		{
			name: "acme-http-port", usage: "`PORT` opened while the ACME CA looks for an answer by HTTP-01, or off", preset: []string{"80"},
			set: parsed(func(c *config) *int { return &c.ACME.HTTPPort }, parsePortOrOff),
		},
		{
			name: "acme-tls-port", usage: "`PORT` opened while it looks by TLS-ALPN-01, or off", preset: []string{"443"},
			set: parsed(func(c *config) *int { return &c.ACME.TLSPort }, parsePortOrOff),
		},
		{
			name: "acme-dns-hook", usage: "`PROGRAM` that answers by DNS-01 instead; called with present or cleanup, the record's name and its value", path: true,
			absent: "none", set: text(func(c *config) *string { return &c.ACME.DNSHook }),
		},
	}
}

// checkACME finds what no CA would give a certificate for, and what nobody uses.
func (c config) checkACME(bad *problems) {
	if !c.uses(tlsACME) {
		for _, set := range acmeSettings() {
			if len(set.preset) == 0 && c.from(set.name).rank != byDefault { // `config show` prints those with a preset
				bad.add(c.from(set.name), "no open door uses it", "say --mirror-tls acme or --proxy-tls acme")
			}
		}
		return
	}
	if len(c.TLS.Names) == 0 {
		bad.add(c.from("server-name"), "there is no name to get a certificate for by ACME", "say --server-name cache.example.com, by which clients and the CA reach this server")
	}
	for _, n := range c.TLS.Names {
		if _, err := netip.ParseAddr(n); err == nil {
			bad.add(c.from("server-name"), fmt.Sprintf("%s is an address, for which there is no certificate by ACME", n), "say a host name, or have the certificate made by our CA: --mirror-tls ca")
		}
	}
	if c.ACME.HTTPPort == 0 && c.ACME.TLSPort == 0 && c.ACME.DNSHook == "" {
		bad.add(c.from("acme-http-port"), "the ACME CA has no way to look for an answer", "leave a port on, or say --acme-dns-hook")
	}
	if c.ACME.CA != "" {
		checkRoots(c.ACME.CA, c.from("acme-ca"), bad)
	}
}

// keeper begins to get the certificates; nil where no open door wants any.
func (c config) keeper(log zerolog.Logger) (*acme.Keeper, error) {
	if !c.uses(tlsACME) {
		return nil, nil
	}
	var roots *x509.CertPool
	if c.ACME.CA != "" {
		roots = x509.NewCertPool()
		if err := addRoots(roots, c.ACME.CA); err != nil {
			return nil, fmt.Errorf("acme-ca: %w", err)
		}
	}
	return acme.Open(acme.Config{
		Dir: filepath.Join(c.DataDir, "acme"), Names: c.TLS.Names, Email: c.ACME.Email, Directory: c.ACME.Directory, Roots: roots,
		HTTPPort: c.ACME.HTTPPort, TLSPort: c.ACME.TLSPort, DNSHook: c.ACME.DNSHook, Log: log,
	})
}

func parseDirectory(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", fault{"the https URL of a directory, such as https://acme-v02.api.letsencrypt.org/directory", ""}
	}
	return text, nil
}

// parsePortOrOff returns 0 for a port that is off.
func parsePortOrOff(text string) (int, error) {
	if text == "off" {
		return 0, nil
	}
	n, err := parsePort(text)
	if err != nil {
		return 0, fault{`a port from 1 to 65535, or "off"`, ""}
	}
	return int(n), nil
}
