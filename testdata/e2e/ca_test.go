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
	"syscall"
	"testing"
	"time"
)

// rotating is the life of a CA that is limited to the registries, on Debian's
// own trust store: made, installed, followed by another while a client pulls at
// each step, and taken out again.
func rotating(t *testing.T, u *upstream) {
	dir := filepath.Join(scratch(t), "entrepot")
	ca := func(words ...string) string {
		t.Helper()
		return run(t, command(nil, entrepotBinary(), append(append([]string{"ca"}, words...), "--data-dir", dir)...))
	}
	ca("init", "--constrain", "--registry", "s3reg.corp.test", "--registry", "reg.corp.test")
	e := startEntrepotIn(t, u, dir)
	c := crane(t, proxied()...)
	distrustsCA(t, c)
	limited(t, dir)
	ca("install")
	t.Cleanup(func() { ca("install", "--remove") })
	e.pullTwice(t, c, "proxy", quayImage)

	first := e.givenOut(t)
	for _, step := range []struct {
		flags []string
		roots int
	}{{nil, 2}, {[]string{"--switch"}, 2}, {[]string{"--finish"}, 1}} {
		before := e.givenOut(t)
		ca(append([]string{"rotate"}, step.flags...)...)
		if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		e.until(t, func() error {
			if now := e.givenOut(t); now == before || strings.Count(now, "BEGIN") != step.roots {
				return fmt.Errorf("/ca.crt gives %q, want another %d roots", now, step.roots)
			}
			return nil
		})
		// Who trusts what was given out before this step is let in.
		e.pullTwice(t, c, "proxy", quayImage)
		ca("install")
		e.pullTwice(t, c, "proxy", quayImage)
	}
	if last := e.givenOut(t); strings.Contains(first, last) {
		t.Error("the root is the same as before the rotation")
	}
	ca("install", "--remove")
	distrustsCA(t, c)
}

// limited asks OpenSSL about leaves that a thief of the key would sign: those
// for registries verify, others do not.
func limited(t *testing.T, dir string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca", "ca.crt"), filepath.Join(dir, "ca", "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	for host, good := range map[string]bool{
		"quay.io": true, "cdn.quay.io": true, "us.gcr.io": true, "s3reg.corp.test": true,
		"mail.example.com": false, "notquay.io": false, "10.0.0.1": false, "2001:db8::1": false,
	} {
		file := filepath.Join(scratch(t), "leaf.crt")
		writeFile(t, file, signFor(t, pair, host))
		out, err := try(command(nil, "openssl", "verify", "-no-CApath", "-no-CAstore", "-CAfile", filepath.Join(dir, "ca", "ca.crt"), file))
		if (err == nil) != good || !good && !strings.Contains(out, "subtree violation") {
			t.Errorf("%s: openssl says %q, want that it verifies to be %v", host, out, good)
		}
	}
}

// signFor makes a leaf without asking whether it may.
func signFor(t *testing.T, ca tls.Certificate, host string) string {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"thief"}}, NotBefore: time.Now().Add(-time.Minute),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func distrustsCA(t *testing.T, c tool) {
	t.Helper()
	if out, err := c.fetch(quayImage); err == nil || !strings.Contains(out, "x509: certificate signed by unknown authority") {
		t.Errorf("without the root in the store: got %v and %q, want x509's complaint", err, out)
	}
}

// givenOut is what /ca.crt gives.
func (e *entrepot) givenOut(t *testing.T) string {
	t.Helper()
	_, pem := get(t, "http://"+mirrorAddr+"/ca.crt")
	return pem
}
