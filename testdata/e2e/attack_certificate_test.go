//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// issued is a certificate with its key, by itself where by is zero. change makes it another one than a client's good for an hour.
func (s *siege) issued(by tls.Certificate, change ...func(*x509.Certificate)) tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "ada"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	for _, f := range change {
		f(c)
	}
	parent, signer := c, any(key)
	if by.PrivateKey != nil {
		parent, signer = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func authority(c *x509.Certificate) {
	c.Subject.CommonName, c.IsCA, c.KeyUsage, c.ExtKeyUsage = "clients", true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature, nil
}

func pemOf(c tls.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
}

// certificates tries to get in without the right one, where that alone opens the doors, and where a password does as well.
func (s *siege) certificates() {
	clients := s.issued(tls.Certificate{}, authority)
	file := filepath.Join(scratch(s.t), "clients.pem")
	writeFile(s.t, file, pemOf(clients))
	f := s.fort("certified", 23000, "--mirror-tls", "ca", "--proxy-tls", "ca", "--client-ca", file)
	s = s.beside(f)
	right := s.issued(clients)
	for door, addr := range map[string]string{"mirror": f.mirror, "proxy": f.proxy} {
		status, err := s.shows(addr, &right)
		s.try("for comparison: the right certificate at the "+door+" door", fmt.Sprint(status, err), unless(status == 200, "want it let in"))
		for what, c := range s.wrongCertificates(clients, right, f) {
			status, err := s.shows(addr, c)
			s.try("at the "+door+" door: "+what, fmt.Sprint(err), unless(err != nil && status == 0, "got %d", status))
		}
	}
	s.resumes(f, right)
	r := s.say(s.dial(f.mirror), request("GET", "/v2/"))
	s.try("plain HTTP at a door of TLS", r.String(), unless(r.refused(), "want 400"))
	s.eitherOr(file, clients, right)
}

// wrongCertificates open nothing where one is asked for. nil is none.
func (s *siege) wrongCertificates(clients, right tls.Certificate, f *fort) map[string]*tls.Certificate {
	s.t.Helper()
	ours, err := tls.LoadX509KeyPair(f.ca, strings.TrimSuffix(f.ca, "crt")+"key")
	if err != nil {
		s.t.Fatal(err)
	}
	list := map[string]*tls.Certificate{"no certificate": nil}
	add := func(what string, c tls.Certificate) { list[what] = &c }
	add("one that is its own CA", s.issued(tls.Certificate{}))
	add("one of another CA of the same name", s.issued(s.issued(tls.Certificate{}, authority)))
	add("one that has ended", s.issued(clients, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))
	add("one that is not yet good", s.issued(clients, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }))
	add("one for servers", s.issued(clients, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))
	add("one for mail", s.issued(clients, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }))
	add("one by the CA that intercepts", s.issued(ours))
	add("the interception's root itself", ours)
	below := s.issued(right)
	below.Certificate = append(below.Certificate, right.Certificate...)
	add("one signed by a client", below)
	borrowed := right
	borrowed.PrivateKey = s.issued(clients).PrivateKey
	add("the right one without its key", borrowed)
	strange := s.issued(tls.Certificate{})
	strange.Certificate = append(strange.Certificate, right.Certificate[0], clients.Certificate[0])
	add("a strange one with the right chain behind it", strange)
	return list
}

// shows asks with a certificate. The error is the handshake's, or what came in place of an answer.
func (s *siege) shows(addr string, c *tls.Certificate, change ...func(*tls.Config)) (int, error) {
	s.t.Helper()
	cfg := &tls.Config{RootCAs: s.roots, ServerName: "localhost"}
	if c != nil { // shown whoever the server says that he trusts
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
	for _, f := range change {
		f(cfg)
	}
	return s.pingOn(tls.Client(s.dial(addr), cfg), request("GET", "/v2/"))
}

// pingOn is the status of one answer.
func (s *siege) pingOn(c net.Conn, text string) (int, error) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return statusOn(c, text)
}

// resumes: a session that was begun without a certificate, as a server of an ACME CA begins one when it looks at a name, or at another
// door, is not gone on with as if there had been one.
func (s *siege) resumes(f *fort, right tls.Certificate) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		name := tls.VersionName(version)
		tickets := tls.NewLRUClientSessionCache(8)
		with := func(protos ...string) func(*tls.Config) {
			return func(c *tls.Config) {
				c.MinVersion, c.MaxVersion, c.ClientSessionCache, c.NextProtos = version, version, tickets, protos
			}
		}
		status, err := s.shows(f.mirror, nil, with("acme-tls/1"))
		s.try(name+" as a server of an ACME CA", fmt.Sprint(status, err), unless(status == 0 || status == 403, "want no answer, or 403"))
		status, err = s.shows(f.mirror, nil, with("http/1.1"))
		s.try(name+": its session resumed without a certificate", fmt.Sprint(err), unless(err != nil && status == 0, "got %d", status))
		status, err = s.shows(f.proxy, nil, with("http/1.1"))
		s.try(name+": the same at the proxy door", fmt.Sprint(err), unless(err != nil && status == 0, "got %d", status))
		status, _ = s.shows(f.mirror, &right, with("http/1.1"))
		s.try("for comparison: "+name+" with the certificate", fmt.Sprint(status), unless(status == 200, "want 200"))
	}
}

// eitherOr: where a certificate or a password does, a bad certificate is no password, and who has neither is asked for one.
func (s *siege) eitherOr(file string, clients, right tls.Certificate) {
	f := s.fort("either", 24000, "--mirror-tls", "ca", "--proxy-tls", "ca", "--client-ca", file, "--htpasswd", s.htpasswd("users", bcrypt.MinCost, "ada", adaPassword))
	s = s.beside(f)
	status, err := s.shows(f.mirror, nil)
	s.try("neither certificate nor password", fmt.Sprint(status, err), unless(status == 401, "want 401"))
	for what, c := range s.wrongCertificates(clients, right, f) {
		if c == nil {
			continue
		}
		status, err := s.shows(f.mirror, c)
		s.try("no password, and "+what, fmt.Sprint(status, err), unless(status == 0 || status == 401, "want no handshake, or 401"))
	}
	cfg := &tls.Config{RootCAs: s.roots, ServerName: "localhost", Certificates: []tls.Certificate{right}}
	status, err = s.pingOn(tls.Client(s.dial(f.mirror), cfg), request("GET", "/v2/", basicAs("Authorization", "ada", "wrong")))
	s.try("the right certificate and a wrong password", fmt.Sprint(status, err), unless(status == 401, "want 401"))
	status, err = s.pingOn(tls.Client(s.dial(f.proxy), cfg.Clone()), request("CONNECT", "127.0.0.1:443"))
	s.try("the right certificate, and a CONNECT to this machine", fmt.Sprint(status, err), unless(status >= 400, "want a refusal"))
	for what, name := range map[string]string{"a bank's name": "bank.example.org", "a registry's": "quay.io"} {
		c := tls.Client(s.dial(f.mirror), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		err := c.Handshake()
		_ = c.Close()
		s.try("a door's certificate for "+what, fmt.Sprint(err), unless(err != nil, "it was made"))
	}
}
