package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/pebble"
)

// TestACME: the program gets its certificate from a real ACME server, whose look our own doors answer where they have its ports: the
// http door, and a mirror door that asks everybody else for a certificate.
func TestACME(t *testing.T) {
	for by, args := range map[string]func(*pebble.Town) []string{
		"HTTP-01 with a port to itself": func(w *pebble.Town) []string {
			return []string{"--acme-http-port", fmt.Sprint(w.HTTPPort), "--acme-tls-port", "off"}
		},
		"HTTP-01 by the http door": func(w *pebble.Town) []string {
			return []string{"--acme-http-port", fmt.Sprint(w.HTTPPort), "--acme-tls-port", "off", "--http-listen", fmt.Sprintf("127.0.0.1:%d", w.HTTPPort)}
		},
		"TLS-ALPN-01 by the mirror door": func(w *pebble.Town) []string {
			return []string{
				"--acme-http-port", "off", "--acme-tls-port", fmt.Sprint(w.TLSPort), "--mirror-listen", fmt.Sprintf("127.0.0.1:%d", w.TLSPort),
				"--client-ca", filepath.Join(dataDirWithCA(t), "ca", "ca.crt"), "--proxy-tls", "acme",
			}
		},
		"DNS-01": func(w *pebble.Town) []string { return []string{"--acme-dns-hook", w.Hook(t, "")} },
	} {
		t.Run(by, func(t *testing.T) {
			w := pebble.New(t)
			s := serve(t, nil, append([]string{
				"--mirror-tls", "acme", "--server-name", "cache.example.test", "--acme-directory", w.Directory, "--acme-ca", w.RootsFile, "--acme-email", "ada@example.com",
			}, args(w)...)...)
			s.until("a certificate by ACME is in use")
			c, err := net.Dial("tcp", fmt.Sprint(s.start["mirror"]))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			// Where the door wants one of ours too, TLS 1.3 says so after the handshake.
			if err := tls.Client(c, &tls.Config{RootCAs: w.Issued, ServerName: "cache.example.test"}).Handshake(); err != nil {
				t.Errorf("got %v, want a certificate of the ACME CA", err)
			}
		})
	}
}

// TestACMERefused: what no CA would do is said before a door opens.
func TestACMERefused(t *testing.T) {
	plain := file(t, "plain", "nothing")
	acme := []string{"--mirror-tls", "acme", "--server-name", "cache.example.com"}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--mirror-tls", "acme"}, []string{"server-name: there is no name to get a certificate for"}},
		{[]string{"--mirror-tls", "acme", "--server-name", "10.0.0.7"}, []string{"10.0.0.7 is an address", "--mirror-tls ca"}},
		{[]string{"--acme-email", "ada@example.com"}, []string{"--acme-email: no open door uses it", "--mirror-tls acme"}},
		{append(acme, "--acme-http-port", "off", "--acme-tls-port", "off"), []string{"no way to look", "--acme-dns-hook"}},
		{append(acme, "--acme-http-port", "0"), []string{"want a port from 1 to 65535"}},
		{append(acme, "--acme-directory", "http://ca.example/"), []string{"want the https URL of a directory"}},
		{append(acme, "--acme-ca", plain), []string{"--acme-ca: ", "has no certificate in it"}},
	} {
		_, stderr, code := output(t, nil, append([]string{"config", "check", "--data-dir", t.TempDir()}, c.args...)...)
		for _, want := range c.want {
			if code != 1 || !strings.Contains(stderr, want) {
				t.Errorf("%v: got %d %q, want 1 and %q", c.args, code, stderr, want)
			}
		}
	}
}
