//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// theCA: its key is told to nobody and by nothing, and what it signs is for registries.
func (s *siege) theCA() {
	key, err := os.ReadFile(strings.TrimSuffix(s.e.ca, "crt") + "key")
	if err != nil {
		s.t.Fatal(err)
	}
	s.keyByPaths(string(key))
	s.keyByCommands(string(key))
	s.keyModes()
	s.certificatesMade()
	s.limitedCA()
	s.ownCAUpstream()
	s.endingCA()
}

// tells finds the key in a text: its label, or any line of it.
func tells(text, key string) bool {
	lines := strings.Split(strings.TrimSpace(key), "\n")
	return strings.Contains(text, "PRIVATE KEY") || slices.ContainsFunc(lines[1:len(lines)-1], func(line string) bool { return strings.Contains(text, line) })
}

// keyByPaths asks every door for the key by its name, and by paths to its file.
func (s *siege) keyByPaths(key string) {
	doors := map[string]func() net.Conn{
		"mirror": func() net.Conn { return s.dial(mirrorAddr) }, "proxy": func() net.Conn { return s.dial(proxyAddr) }, "http": func() net.Conn { return s.dial(httpAddr) },
		"admin": func() net.Conn { return s.dial(adminAddr) }, "tls": func() net.Conn { return s.inside("quay.io") }, "CONNECT": func() net.Conn { return s.tunnelled("quay.io") },
	}
	file := strings.TrimSuffix(s.e.ca, "crt") + "key"
	for _, path := range []string{
		"/ca.key", "/ca/ca.key", "/ca.crt/../ca.key", "/ca.crt/ca.key", "/ca.crt%2f..%2fca.key", "/ca.crt?file=ca.key", "/%63a.key", "/CA.KEY", "/ca.key.bak", "/ca.key~", "/ca.pem", "/.../ca.key",
		"//ca.key", "/./ca.key", `/..\ca\ca.key`, file, "/.." + file, "/%2e%2e/%2e%2e" + file, "/v2/" + file, "/v2/library/ca/blobs/../../../../ca/ca.key", "/v2/../ca/ca.key", "file://" + file, "/admin.token", "/data/admin.token",
		"/.well-known/acme-challenge/../../ca.key", "/.well-known/acme-challenge/ca.key", "/api/ca", "/api/ca.key", "/api/../ca.key",
	} {
		var codes, told []string
		for name, dial := range doors {
			for _, host := range []string{"Host: quay.io", "Host: x"} {
				resp, body := s.askOn(dial(), request("GET", path, host))
				codes = append(codes, resp.Status[:3])
				if tells(body, key) {
					told = append(told, name)
				}
			}
		}
		slices.Sort(codes)
		s.try("the key as "+shortened(path)+" of 6 doors", strings.Join(slices.Compact(codes), " "), unless(len(told) == 0, "told by %v", told))
	}
}

// keyByCommands: what is printed for people has no key in it, and nothing is written over one.
func (s *siege) keyByCommands(key string) {
	dir := filepath.Dir(filepath.Dir(s.e.ca))
	_, served := s.ask(mirrorAddr, request("GET", "/ca.crt"))
	texts := map[string]string{"GET /ca.crt": served}
	for _, words := range []string{"ca export", "ca export --format der", "ca show", "config show", "config check"} {
		out, err := try(command(nil, entrepotBinary(), append(strings.Fields(words), "--data-dir", dir)...))
		if err != nil {
			s.t.Fatal(words, err, out)
		}
		texts["entrepot "+words] = out
	}
	for what, text := range texts {
		s.try("the key in "+what, fmt.Sprintf("not in %d bytes", len(text)), unless(!tells(text, key) && len(text) > 0, "%s", text))
	}
	out, err := try(command(nil, entrepotBinary(), "ca", "export", "--data-dir", dir, "--out", filepath.Join(dir, "ca", "ca.key")))
	s.try("ca export over the key", firstLine(out), unless(err != nil, "it was written over"))
	out, err = try(command(nil, entrepotBinary(), "ca", "init", "--data-dir", dir))
	now, _ := os.ReadFile(filepath.Join(dir, "ca", "ca.key"))
	s.try("ca init over the CA", firstLine(out), unless(err != nil && string(now) == key, "it was written over"))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line[max(0, len(line)-60):]
}

// keyModes: with a key that others may read nothing is served.
func (s *siege) keyModes() {
	dir := filepath.Join(scratch(s.t), "careless")
	run(s.t, command(nil, entrepotBinary(), "ca", "init", "--data-dir", dir))
	file := filepath.Join(dir, "ca", "ca.key")
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644, 0o660, 0o620, 0o601, 0o777} {
		if err := os.Chmod(file, mode); err != nil {
			s.t.Fatal(err)
		}
		s.noStart(fmt.Sprintf("a key of mode %04o", mode), dir, "chmod 600")
	}
	if err := os.Rename(file, file+".moved"); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(file+".moved", file); err != nil {
		s.t.Fatal(err)
	}
	s.noStart("a link to a key that others may read", dir, "chmod 600")
}

// noStart tries to serve, which must end at once, with these words in what it says.
func (s *siege) noStart(what, dir, words string) {
	args := []string{"serve", "--data-dir", dir, "--proxy-listen", "127.0.0.1:27000", "--mirror-listen", "127.0.0.1:27001", "--admin-listen", "127.0.0.1:27002", "--resolver", dnsAddr}
	cmd := command(nil, entrepotBinary(), args...)
	late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	out, err := try(cmd)
	ended := late.Stop()
	s.try(what, firstLine(out), unless(ended && err != nil && strings.Contains(out, words), "it serves, or does not say why: %.300s", out))
}

// certificatesMade looks at the root that is given out and at a leaf.
func (s *siege) certificatesMade() {
	c := tls.Client(s.dial(tlsAddr), &tls.Config{RootCAs: s.roots, ServerName: "quay.io"})
	defer func() { _ = c.Close() }()
	if err := c.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	leaf := c.ConnectionState().PeerCertificates[0]
	text, err := os.ReadFile(s.e.ca)
	if err != nil {
		s.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	s.try("the root: path length, use", fmt.Sprint(root.MaxPathLen, root.KeyUsage), unless(root.IsCA && root.MaxPathLenZero && root.KeyUsage&^(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) == 0, "it may do more"))
	s.try("a leaf: names, use", fmt.Sprint(leaf.DNSNames, leaf.ExtKeyUsage), unless(slices.Equal(leaf.DNSNames, []string{"quay.io"}) && leaf.IPAddresses == nil && slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) && !leaf.IsCA && leaf.KeyUsage == x509.KeyUsageDigitalSignature, "it may do more"))
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	s.try("a leaf: life, serial number", fmt.Sprint(life, " ", leaf.SerialNumber.BitLen(), " bits"), unless(life < 32*24*time.Hour && leaf.SerialNumber.BitLen() > 64 && !leaf.NotAfter.After(root.NotAfter), "too long, or to be guessed"))
	s.try("a leaf's key is not the root's", leaf.PublicKeyAlgorithm.String(), unless(string(leaf.RawSubjectPublicKeyInfo) != string(root.RawSubjectPublicKeyInfo), "it is"))
	_, metrics := s.ask(adminAddr, request("GET", "/metrics"))
	s.try("for comparison: the metric of the CA's end", "", unless(strings.Contains(metrics, "entrepot_ca_expiry_timestamp_seconds"), "there is none"))
}

// limitedCA: a root with limits is no use for other hosts, and the program makes nothing that it forbids.
func (s *siege) limitedCA() {
	dir := filepath.Join(scratch(s.t), "limited")
	run(s.t, command(nil, entrepotBinary(), "ca", "init", "--constrain", "--data-dir", dir, "--registry", "reg.corp.test"))
	f := s.fort("limited", 27100, "--registry", "reg.corp.test,own.corp.test")
	s = s.beside(f)
	pair, err := tls.LoadX509KeyPair(f.ca, strings.TrimSuffix(f.ca, "crt")+"key")
	if err != nil {
		s.t.Fatal(err)
	}
	for host, good := range map[string]bool{"reg.corp.test": true, "quay.io": true, "bank.example.org": false, "evilquay.io": false, "10.0.0.1": false} {
		stolen, _ := pem.Decode([]byte(signFor(s.t, pair, host)))
		leaf, err := x509.ParseCertificate(stolen.Bytes)
		if err != nil {
			s.t.Fatal(err)
		}
		_, err = leaf.Verify(x509.VerifyOptions{Roots: s.roots, DNSName: host})
		s.try("a thief's certificate for "+host+" by a limited root", fmt.Sprint(err), unless((err == nil) == good, "want it good: %v", good))
	}
	c := s.tunnelledBy(f.proxy, ownName, "").(*tls.Conn)
	err = c.Handshake()
	_ = c.Close()
	s.try("a registry that came after the limits", fmt.Sprint(err), unless(err != nil, "a certificate was made for it"))
}

// ownCAUpstream: a registry with a certificate of the program's own CA is no registry, even where the machine trusts that CA.
func (s *siege) ownCAUpstream() {
	dir := filepath.Join(scratch(s.t), "mirrored")
	run(s.t, command(nil, entrepotBinary(), "ca", "init", "--data-dir", dir))
	f := s.fort("mirrored", 27200, "--registry", "forged.corp.test", "--upstream-ca", s.up.roots+","+filepath.Join(dir, "ca", "ca.crt"))
	pair, err := tls.LoadX509KeyPair(f.ca, strings.TrimSuffix(f.ca, "crt")+"key")
	if err != nil {
		s.t.Fatal(err)
	}
	forged := s.issued(pair, serving("forged.corp.test"))
	s.impostor("a registry with a certificate of the program's own CA, which it is told to trust", "forged.corp.test", "192.31.196.205", f.mirror, &tls.Config{Certificates: []tls.Certificate{forged}})
}

// endingCA: thirty days before its end the log says so, and the metrics can tell at any time.
func (s *siege) endingCA() {
	dir := scratch(s.t)
	root := s.issued(tls.Certificate{}, authority, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(20 * 24 * time.Hour) })
	key, err := x509.MarshalPKCS8PrivateKey(root.PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, keyFile := filepath.Join(dir, "ending.crt"), filepath.Join(dir, "ending.key")
	writeFile(s.t, cert, pemOf(root))
	writeFile(s.t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	if err := os.Chmod(keyFile, 0o600); err != nil {
		s.t.Fatal(err)
	}
	f := s.fort("ending", 27300, "--ca-cert", cert, "--ca-key", keyFile)
	_, metrics := s.ask(f.admin, request("GET", "/metrics"))
	log := s.logged(f.process, "the CA ends on")
	end := fmt.Sprintf("entrepot_ca_expiry_timestamp_seconds %g", float64(root.Leaf.NotAfter.Unix()))
	s.try("for comparison: a CA that ends in 20 days", end, unless(strings.Contains(log, "the CA ends on") && strings.Contains(metrics, end), "no warning, or not in the metrics"))
}
