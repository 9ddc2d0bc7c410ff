// Package pebble plays an ACME CA for tests: pebble, Let's Encrypt's own small server, in this process, with the DNS by which it looks
// for the names it is asked about. All of them are at 127.0.0.1.
//
// It validates in earnest. Only the ports at which it looks are others than 80 and 443.
package pebble

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

// Town is a CA and its DNS.
type Town struct {
	Directory         string         // URL
	Roots             *x509.CertPool // of the CA's own server
	RootsFile         string         // the same, PEM
	Issued            *x509.CertPool // of what it issues
	HTTPPort, TLSPort int            // where it looks
	Records           string         // file of TXT records, one a line, as a hook is called: present NAME VALUE
}

// New opens one until the test is over.
func New(t testing.TB) *Town {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	w := &Town{HTTPPort: freePort(t), TLSPort: freePort(t), Records: filepath.Join(t.TempDir(), "records")}
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "for tests"}})
	looker := va.New(quiet, w.HTTPPort, w.TLSPort, true, w.dns(t), store)
	front := wfe.New(quiet, store, looker, authority, []string{"pebble.letsencrypt.org"}, true, false, 1, 1)
	srv := httptest.NewTLSServer(front.Handler())
	t.Cleanup(srv.Close)
	w.Directory = srv.URL + wfe.DirectoryPath
	w.Roots, w.Issued = x509.NewCertPool(), x509.NewCertPool()
	w.Roots.AddCert(srv.Certificate())
	w.Issued.AppendCertsFromPEM(authority.GetRootCert(0).PEM())
	w.RootsFile = filepath.Join(t.TempDir(), "pebble.crt")
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(w.RootsFile, root, 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// Endless excuses the one goroutine of pebble that nothing ends.
func Endless() goleak.Option {
	return goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks")
}

// freePort is one that nobody has, at this moment.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// dns opens the name server.
func (w *Town) dns(t testing.TB) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) { rw.WriteMsg(w.answer(q)) })}
	done := make(chan error, 1)
	go func() { done <- srv.ActivateAndServe() }() // the cleanup waits for it
	t.Cleanup(func() {
		srv.Shutdown()
		<-done
	})
	return l.Addr().String()
}

func (w *Town) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	asked := q.Question[0]
	head := dns.RR_Header{Name: asked.Name, Rrtype: asked.Qtype, Class: dns.ClassINET}
	switch asked.Qtype {
	case dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)})
	case dns.TypeTXT:
		content, _ := os.ReadFile(w.Records) // none before the first hook
		for line := range strings.Lines(string(content)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "present" && strings.EqualFold(f[1], asked.Name) {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: head, Txt: []string{f[2]}})
			}
		}
	}
	return m
}

// Hook writes a program that enters its words into Records, and then does what last says in the shell.
func (w *Town) Hook(t testing.TB, last string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\necho \"$@\" >>%s\n%s\n", w.Records, last), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
