package world

import (
	"context"
	"crypto/x509"
	"errors"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sort"
	"strings"
	"sync"
	"time"
)

// T is the part of *testing.T that the world needs; a command can have one too.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// Options shape a world; the zero value suits unit tests.
type Options struct {
	// Backends are real registries by registry name ("docker.io" →
	// "http://127.0.0.1:5000"). A registry without one is kept in memory.
	// What registry.k8s.io has is in the one of us-west1-docker.pkg.dev, below
	// k8s-artifacts-prod/images/.
	Backends map[string]string
	// Forward plays more TLS hosts that pass every request on with its Host
	// header untouched: "s3.corp.test" → "http://127.0.0.1:7070". They count
	// as storage: an Authorization header there is a leak.
	Forward map[string]string
	// RealPorts lets each host listen on its own address, ports 443 and 80.
	// It needs the right to bind them.
	RealPorts bool
	// Addresses is where the hosts' addresses are taken from, 127.66.0.0/16
	// if unset. With RealPorts they must be addresses of this machine.
	Addresses netip.Prefix
	// IPv6 lets DNS answer AAAA as well, from fd66::/64, through Dial only.
	IPv6 bool
	// RateLimit is Docker Hub's, manifests per six hours; 0 means 100, a
	// negative number none.
	RateLimit int
	// URLLife is how long signed URLs live; 0 means each registry's own.
	URLLife time.Duration
}

// World is all of it. It ends with the test that made it.
type World struct {
	Roots     *x509.CertPool  // what a client of the world must trust
	RootPEM   []byte          // the same as a file
	Transport *http.Transport // goes straight to the world
	Client    *http.Client    // Transport, following redirects

	t          T
	opts       Options
	root       *authority
	hosts      map[string]*Host // fixed after New
	byAddr     map[netip.Addr]*Host
	registries map[string]*registry // by the name people write; fixed after New
	grants     *grants
	tokens     *tokens
	limit      *limit // Docker Hub's
	server     *http.Server
	tlsAddr    string
	plainAddr  string
	serving    sync.WaitGroup // Serve loops and handlers; Close waits for them
	done       chan struct{}  // closed by Close; stalled answers watch it

	mu     sync.Mutex
	closed bool
	ends   []func()      // what Close has to do besides
	shift  time.Duration // how far the world's clock is ahead
	log    []*Request
	leaks  []string
	tries  []string // dials to addresses that the world does not play
}

// New builds a world and serves it until the test ends.
func New(t T, opts Options) *World {
	t.Helper()
	if !opts.Addresses.IsValid() {
		opts.Addresses = netip.MustParsePrefix("127.66.0.0/16")
	}
	if opts.RateLimit == 0 {
		opts.RateLimit = 100
	}
	root, err := newAuthority()
	if err != nil {
		t.Fatalf("world: make root: %v", err)
	}
	w := &World{
		Roots: root.pool(), RootPEM: root.pem,
		t: t, opts: opts, root: root,
		hosts: map[string]*Host{}, byAddr: map[netip.Addr]*Host{},
		registries: map[string]*registry{}, done: make(chan struct{}),
	}
	w.grants, w.tokens = newGrants(w), newTokens(w)
	w.build()
	w.number()
	w.listen()
	w.Transport = w.transport()
	w.Client = &http.Client{Transport: w.Transport}
	t.Cleanup(w.Close)
	return w
}

// Host gives a played host; asking for another one ends the test.
func (w *World) Host(name string) *Host {
	w.t.Helper()
	h := w.hosts[strings.ToLower(name)]
	if h == nil {
		w.t.Fatalf("world: no host %q here; there are %s", name, strings.Join(w.Names(), ", "))
	}
	return h
}

// Names are all played hosts, sorted.
func (w *World) Names() []string {
	names := make([]string, 0, len(w.hosts))
	for name := range w.hosts {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Advance moves the world's clock, so that tokens and signed URLs grow old.
func (w *World) Advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shift += d
}

// Now is the world's time.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.shift)
}

// Close ends the world and waits for its goroutines. New arranges for it.
func (w *World) Close() {
	w.mu.Lock()
	was, ends := w.closed, w.ends
	w.closed = true
	w.mu.Unlock()
	if was {
		return
	}
	close(w.done)
	w.Transport.CloseIdleConnections()
	if err := w.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		w.t.Logf("world: close: %v", err)
	}
	for _, end := range ends {
		end()
	}
	w.serving.Wait()
}

// HangUp closes the connections that wait for a next request, as servers do
// after a while. What is in use stays, so that a test can tell it from what a
// client's pool keeps.
func (w *World) HangUp() {
	w.server.SetKeepAlivesEnabled(false) // closes what is idle
	w.server.SetKeepAlivesEnabled(true)
}

// atClose adds to what Close does.
func (w *World) atClose(end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends = append(w.ends, end)
}

// complain fails the test, unless it is over already: a stray goroutine of
// the code under test must not turn into a panic of package testing.
func (w *World) complain(format string, args ...any) {
	w.mu.Lock()
	over := w.closed
	w.mu.Unlock()
	if !over {
		w.t.Errorf(format, args...)
	}
}

// newServer makes the one server behind all listeners.
func (w *World) newServer() *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(w.serve),
		TLSConfig:         w.tlsConfig(),
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:          log.New(quiet{}, "", 0),
		ReadHeaderTimeout: time.Minute,
	}
}

// connKey finds the connection of a request, for faults that reset it.
type connKey struct{}

// quiet swallows what the server says about clients that break handshakes:
// tests do that on purpose.
type quiet struct{}

func (quiet) Write(p []byte) (int, error) { return len(p), nil }
