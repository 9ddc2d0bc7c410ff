//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// upstreamTLS: a registry that cannot show who it is, or speaks what nobody should, is not asked anything.
func (s *siege) upstreamTLS() {
	self := func(name string) []tls.Certificate { return []tls.Certificate{s.selfSigned(name)} }
	s.impostor("a registry with a certificate of nobody", "bad.corp.test", "192.31.196.201", mirrorAddr, &tls.Config{Certificates: self("bad.corp.test")})
	s.impostor("a registry with TLS 1.1", "old.corp.test", "192.31.196.202", mirrorAddr, &tls.Config{Certificates: self("old.corp.test"), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
}

// impostor is a registry that must not be asked anything, by the mirror door at door.
func (s *siege) impostor(what, name, addr, door string, cfg *tls.Config) {
	s.t.Helper()
	asked, resp, body := s.plays(name, addr, door, cfg)
	s.try(what, resp.Status, unless(resp.StatusCode >= 500 && !asked && (strings.Contains(body, "tls: ") || resp.StatusCode == http.StatusLoopDetected), "got %.200q, asked %v", body, asked))
}

// plays is a registry for the time of one question to the mirror door at door, and tells whether it was asked.
func (s *siege) plays(name, addr, door string, cfg *tls.Config) (asked bool, resp *http.Response, body string) {
	s.t.Helper()
	s.dns.Answer(name, netip.MustParseAddr(addr))
	l, err := tls.Listen("tcp", addr+":443", cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true })}
	go func() { _ = server.Serve(l) }() // ends with Close
	resp, body = s.ask(door, request("GET", "/v2/"+name+"/a/b/manifests/1"))
	_ = server.Close()
	return asked, resp, body
}

// selfSigned is a server's certificate that nobody signed but itself.
func (s *siege) selfSigned(names ...string) tls.Certificate {
	s.t.Helper()
	return s.issued(tls.Certificate{}, serving(names...))
}

// serving makes a certificate one for a server of these names.
func serving(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName, c.DNSNames, c.ExtKeyUsage = names[0], names, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
}

// impostors are registries with certificates of an authority that is trusted, for all of them by --upstream-ca, or for one alone by its
// ca-file, and that are not good for these registries all the same.
func (s *siege) impostors() {
	all, one := s.issued(tls.Certificate{}, authority), s.issued(tls.Certificate{}, authority)
	dir := scratch(s.t)
	writeFile(s.t, filepath.Join(dir, "all.pem"), pemOf(all))
	writeFile(s.t, filepath.Join(dir, "one.pem"), pemOf(one))
	leaf := s.issued(all, serving("up6.corp.test"))
	below := s.issued(leaf, serving("up6.corp.test"))
	below.Certificate = append(below.Certificate, leaf.Certificate...)
	rows := []struct {
		what string
		cert tls.Certificate
	}{
		{"that has ended", s.issued(all, serving("up0.corp.test"), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })},
		{"that is not yet good", s.issued(all, serving("up1.corp.test"), func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })},
		{"for another name", s.issued(all, serving("other.corp.test"))},
		{"with the name in its subject only", s.issued(all, serving("up3.corp.test"), func(c *x509.Certificate) { c.DNSNames = nil })},
		{"for a family one level too low", s.issued(all, serving("*.up4.corp.test"))},
		{"for clients", s.issued(all, serving("up5.corp.test"), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })},
		{"signed by another server", below},
		{"of an authority that only another registry's ca-file has", s.issued(one, serving("up7.corp.test"))},
	}
	config := "registry:\n  - {name: filed.corp.test, ca-file: " + filepath.Join(dir, "one.pem") + "}\n"
	for i := range rows {
		config += fmt.Sprintf("  - up%d.corp.test\n", i)
	}
	writeFile(s.t, filepath.Join(dir, "impostors.yaml"), config)
	f := s.fort("impostors", 31000, "--config", filepath.Join(dir, "impostors.yaml"), "--upstream-ca", filepath.Join(dir, "all.pem"))
	for i, row := range rows {
		s.impostor("a registry with a certificate "+row.what, fmt.Sprintf("up%d.corp.test", i), "192.31.196.206", f.mirror, &tls.Config{Certificates: []tls.Certificate{row.cert}})
	}
	asked, resp, _ := s.plays("filed.corp.test", "192.31.196.206", f.mirror, &tls.Config{Certificates: []tls.Certificate{s.issued(one, serving("filed.corp.test"))}})
	s.try("for comparison: the registry that the ca-file is for", resp.Status, unless(asked, "it was not asked"))
}
