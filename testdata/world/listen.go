package world

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
)

// ports says how the world is reached: which ports speak TLS. Registries on
// odd ports exist in companies, so reg.corp.test has two.
var ports = map[string]bool{"443": true, "5001": true, "80": false, "5000": false}

// number gives every host its address, in the order of names, so that a run
// of the world looks like the one before.
func (w *World) number() {
	addr := w.opts.Addresses.Addr()
	six := netip.MustParseAddr("fd66::")
	for range 9 {
		addr, six = addr.Next(), six.Next()
	}
	for _, name := range w.Names() {
		addr, six = addr.Next(), six.Next()
		h := w.hosts[name]
		h.Addr, h.addr6 = addr, six
		w.byAddr[addr], w.byAddr[six] = h, h
	}
}

// listen opens the listeners and serves them.
func (w *World) listen() {
	w.t.Helper()
	w.server = w.newServer()
	w.tlsAddr = w.open("127.0.0.1:0", true, nil)
	w.plainAddr = w.open("127.0.0.1:0", false, nil)
	if !w.opts.RealPorts {
		return
	}
	for _, name := range w.Names() {
		h := w.hosts[name]
		for port, secure := range ports {
			if h.speaks(port) {
				w.open(net.JoinHostPort(h.Addr.String(), port), secure, h)
			}
		}
	}
}

// open serves addr and returns the address it got.
func (w *World) open(addr string, secure bool, h *Host) string {
	w.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		w.t.Fatalf("world: listen: %v", err)
	}
	got := l.Addr().String()
	if h != nil {
		l = &picky{Listener: l, host: h}
	}
	w.serving.Go(func() { // Close waits for it
		serve := w.server.Serve
		if secure {
			serve = func(l net.Listener) error { return w.server.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			w.complain("world: serve %s: %v", got, err)
		}
	})
	return got
}

// picky is the listener of a host on real ports: it resets connections while
// the host is to be down.
type picky struct {
	net.Listener
	host *Host
}

func (p *picky) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		if err != nil || !p.host.refuses() {
			return c, err
		}
		reset(c)
	}
}

// tlsConfig chooses certificate and protocols by SNI.
func (w *World) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		// ServeTLS wants one of these set, GetConfigForClient alone is not enough.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, fmt.Errorf("no certificate")
		},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			h := w.hosts[strings.ToLower(hello.ServerName)]
			if h == nil {
				return nil, fmt.Errorf("no host %q", hello.ServerName)
			}
			leaf, err := w.root.leaf(h)
			if err != nil {
				return nil, err
			}
			h.connected()
			return &tls.Config{
				MinVersion:   tls.VersionTLS12,
				Certificates: []tls.Certificate{*leaf},
				NextProtos:   h.protocols(),
			}, nil
		},
	}
}

// Dial connects to the host that plays addr ("quay.io:443", or an address
// that the world's DNS handed out). Any other address fails the test.
func (w *World) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	h := w.played(name)
	if h == nil || !h.speaks(port) {
		w.mu.Lock()
		w.tries = append(w.tries, addr)
		w.mu.Unlock()
		w.complain("world: dial to %s, which is not of this world", addr)
		return nil, fmt.Errorf("dial %s: not of this world", addr)
	}
	if h.refuses() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	to := w.plainAddr
	if ports[port] {
		to = w.tlsAddr
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to)
}

// played finds a host by name or address.
func (w *World) played(name string) *Host {
	if ip, err := netip.ParseAddr(name); err == nil {
		return w.byAddr[ip.Unmap()]
	}
	return w.hosts[strings.TrimSuffix(strings.ToLower(name), ".")]
}

// StrayDials are the addresses that somebody dialled though the world does
// not play them.
func (w *World) StrayDials() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.tries...)
}

func (w *World) transport() *http.Transport {
	return &http.Transport{
		DialContext:       w.Dial,
		TLSClientConfig:   &tls.Config{RootCAs: w.Roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
}

// reset ends a connection with RST instead of FIN.
func reset(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // without it the reset is a polite end, and the test says so
	}
	_ = c.Close() // nobody is left to tell
}

// split gives host and port of a Host header; the port may be missing.
func split(authority string) (string, string) {
	name, port, err := net.SplitHostPort(authority)
	if err != nil {
		return strings.ToLower(authority), ""
	}
	if _, err := strconv.Atoi(port); err != nil {
		return strings.ToLower(authority), ""
	}
	return strings.ToLower(name), port
}
