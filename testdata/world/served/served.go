// Package served has what the tests of our HTTP servers need beside the servers and their clients: net/http's server to compare with, the
// certificate of both, what a server logs, and a way to wait for something without waiting for ever.
package served

import (
	"crypto/tls"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for what must happen, before it fails.
const Patience = 10 * time.Second

// Hear is what comes of c, which must come.
func Hear[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(Patience):
		t.Fatalf("%s: does not come", what)
	}
	return v
}

// Lines collects what a server logs.
type Lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is all of it.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Take is all of it, and forgets it.
func (l *Lines) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// NetHTTP starts net/http's server and says where, and how clients speak TLS with it, if they are to. It speaks these protocols by TLS.
func NetHTTP(t testing.TB, h http.Handler, to *Lines, secure bool, protocols ...string) (addr string, clients *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(to, "", 0)
	t.Cleanup(s.Close)
	if !secure {
		s.Start()
		return s.Listener.Addr().String(), nil
	}
	for _, p := range protocols {
		s.EnableHTTP2 = s.EnableHTTP2 || p == "h2"
	}
	s.StartTLS()
	return s.Listener.Addr().String(), offering(s, protocols)
}

// offering is how clients of s speak TLS that offer these protocols.
func offering(s *httptest.Server, protocols []string) *tls.Config {
	cfg := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.NextProtos, cfg.ServerName = protocols, "example.com"
	return cfg
}

// Certificate is that of net/http's own tests, for a server and its clients, which agree on one of these protocols.
func Certificate(t testing.TB, protocols ...string) (server, clients *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, NextProtos: protocols}, offering(s, protocols)
}
