package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// doorTLS is how the mirror and proxy doors speak TLS.
type doorTLS struct {
	Mirror, Proxy string   // where the certificate comes from, by the words below
	Names         []string // as which clients know this server
	Cert, Key     string
	ClientCA      string
}

// Where a door's certificate comes from.
const (
	tlsOff  = "off"
	tlsCert = "cert"
	tlsCA   = "ca"
	tlsACME = "acme"
)

// tlsSettings say how the mirror and proxy doors speak TLS.
func tlsSettings() []setting {
	return []setting{
		{
			name: "mirror-tls", usage: "the mirror door speaks TLS by `SOURCE`: cert (--server-cert), ca (a certificate by our CA), acme (by Let's Encrypt and its like) or off", preset: []string{tlsOff},
			set: parsed(func(c *config) *string { return &c.TLS.Mirror }, oneOf(tlsOff, tlsCert, tlsCA, tlsACME)),
		},
		{
			name: "proxy-tls", usage: "the proxy door does, by `SOURCE`: its clients then say HTTPS_PROXY=https://…", preset: []string{tlsOff},
			set: parsed(func(c *config) *string { return &c.TLS.Proxy }, oneOf(tlsOff, tlsCert, tlsCA, tlsACME)),
		},
		{
			name: "server-name", usage: "`NAME` or address by which clients know this server, for its certificate", list: true,
			absent: "localhost, the host's name, and the address a client came to",
			set:    appended(func(c *config) *[]string { return &c.TLS.Names }, parseServerName),
		},
		{
			name: "server-cert", usage: "`FILE` with the server's certificate and chain; PEM", path: true,
			absent: "none", set: text(func(c *config) *string { return &c.TLS.Cert }),
		},
		{
			name: "server-key", usage: "`FILE` with its key; PEM", path: true,
			absent: "none", set: text(func(c *config) *string { return &c.TLS.Key }),
		},
		{
			name: "client-ca", usage: "`FILE` with a CA whose client certificates open the mirror and proxy doors, beside passwords or instead of them; PEM", path: true,
			absent: "no certificate is asked for", set: text(func(c *config) *string { return &c.TLS.ClientCA }),
		},
	}
}

// tlsSources are those of the doors that are open, by the name of their setting.
func (c config) tlsSources() map[string]string {
	used := map[string]string{}
	for door, source := range map[int]string{mirrorDoor: c.TLS.Mirror, proxyDoor: c.TLS.Proxy} {
		if c.Listen[door] != "" {
			used[doorKinds()[door].name+"-tls"] = source
		}
	}
	return used
}

// uses tells whether an open door's certificate comes from there.
func (c config) uses(source string) bool {
	for _, s := range c.tlsSources() {
		if s == source {
			return true
		}
	}
	return false
}

// checkTLS finds doors without what they need, and what no door needs.
func (c config) checkTLS(bad *problems) {
	switch {
	case c.TLS.Cert == "" && c.TLS.Key != "":
		bad.add(c.from("server-key"), "is given without server-cert", "a server needs both")
	case c.TLS.Key == "" && c.TLS.Cert != "":
		bad.add(c.from("server-cert"), "is given without server-key", "a server needs both")
	case c.TLS.Cert != "" && !c.uses(tlsCert):
		bad.add(c.from("server-cert"), "no open door uses it", "say --mirror-tls cert or --proxy-tls cert")
	case c.TLS.Cert != "":
		if _, err := readServerCert(c.TLS.Cert, c.TLS.Key, time.Now()); err != nil {
			bad.add(c.from("server-cert"), err.Error(), "")
		}
	}
	for name, source := range c.tlsSources() {
		if source == tlsCert && c.TLS.Cert == "" {
			bad.add(c.from(name), "there is no certificate for it", "name it by --server-cert and --server-key, or say --"+name+" ca")
		}
	}
	if len(c.TLS.Names) > 0 && !c.uses(tlsCA) && !c.uses(tlsACME) {
		bad.add(c.from("server-name"), "no open door uses it", "it is for certificates that are made: --mirror-tls ca, or acme")
	}
	c.checkClientCA(bad)
}

// checkClientCA finds doors that could not ask for a certificate, and would let nobody in.
func (c config) checkClientCA(bad *problems) {
	if c.TLS.ClientCA == "" {
		return
	}
	if err := addRoots(x509.NewCertPool(), c.TLS.ClientCA); err != nil {
		bad.add(c.from("client-ca"), err.Error(), "want a file with certificates in PEM form")
	}
	if !c.uses(tlsCert) && !c.uses(tlsCA) && !c.uses(tlsACME) {
		bad.add(c.from("client-ca"), "no open door speaks TLS", "certificates are shown by TLS only: say --mirror-tls ca or --proxy-tls ca")
		return
	}
	for name, source := range c.tlsSources() {
		if source == tlsOff && c.Access.Htpasswd == "" {
			door, _, _ := strings.Cut(name, "-")
			bad.add(c.from("client-ca"), fmt.Sprintf("the %s door has no TLS by which to ask for a certificate, and would let nobody in", door),
				fmt.Sprintf("give it TLS (--%s ca), or passwords (--htpasswd), or turn it off (--%s-listen off)", name, door))
		}
	}
}

// readServerCert reads a certificate and its key. One that has ended is an error: no client would take it.
func readServerCert(certFile, keyFile string, now time.Time) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the server's certificate: %w", err)
	}
	if end := cert.Leaf.NotAfter; now.After(end) {
		return nil, fmt.Errorf("read the server's certificate: %s ended on %s; renew it", certFile, end.Format(time.DateOnly))
	}
	return &cert, nil
}

// serverCert reads it, if an open door uses it.
func (c config) serverCert() (*tls.Certificate, error) {
	if !c.uses(tlsCert) {
		return nil, nil
	}
	return readServerCert(c.TLS.Cert, c.TLS.Key, time.Now())
}

// parseServerName takes a host name or an address, without a port.
func parseServerName(text string) (string, error) {
	if _, err := netip.ParseAddr(text); err == nil {
		return text, nil
	}
	bad := fault{"a host name or an address without a port, such as cache.example.com or 10.0.0.7", ""}
	for label := range strings.SplitSeq(text, ".") {
		isWord := !strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
		})
		if label == "" || len(label) > 63 || !isWord {
			return "", bad
		}
	}
	return strings.ToLower(text), nil
}

// serverCert is the certificate of a file, which a reload may replace.
type serverCert struct {
	atomic.Pointer[tls.Certificate]
}

func (s *serverCert) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.Load(), nil }

// serverNames are those that were said, or those by which a client of a small network would come.
func (c config) serverNames() []string {
	if len(c.TLS.Names) > 0 {
		return c.TLS.Names
	}
	names := []string{"localhost"}
	if host, err := os.Hostname(); err == nil && !slices.Contains(names, host) {
		names = append(names, strings.ToLower(host))
	}
	return names
}

// namesByCA are those for which our CA makes a door's certificate. Which address a client will come to is
// not known before, but for this machine's own.
func (c config) namesByCA() []string {
	switch {
	case !c.uses(tlsCA):
		return nil
	case len(c.TLS.Names) > 0:
		return c.TLS.Names
	}
	return append(c.serverNames(), "127.0.0.1", "::1")
}

// clientRoots are nil where nobody is asked for a certificate.
func (c config) clientRoots() (*x509.CertPool, error) {
	if c.TLS.ClientCA == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if err := addRoots(pool, c.TLS.ClientCA); err != nil {
		return nil, fmt.Errorf("client-ca: %w", err)
	}
	return pool, nil
}
