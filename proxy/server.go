// Package proxy brings a client's request to the cache or the registry and the answer back.
//
// Doors accept connections and find out where the client wants to go. Three servers read requests from them: http1 those that pulls are
// made of, and behind it, by the inbox, net/http's all others by HTTP/1.1; http2 what comes by HTTP/2. They have one handler, whose list
// of decisions is docs/request-handling.md and reads top to bottom in handler.go. The invariant: a byte from the cache goes out only to a
// caller whose right to that repository is proven.
package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"github.com/entrepot/entrepot/ca"
	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy/credentials"
	"github.com/entrepot/entrepot/proxy/http1"
	"github.com/entrepot/entrepot/proxy/http2"
	"github.com/entrepot/entrepot/proxy/upstream"
)

// Config says what a Server needs and how it behaves. Table, CA and Store are required.
type Config struct {
	Table    *hosts.Table
	Resolver *hosts.Resolver // nil: the system's
	CA       *ca.Authority
	Store    *cache.Store

	UpstreamRoots *x509.CertPool // nil: the system's
	AllowNets     []netip.Prefix // upstream addresses allowed though private or loopback
	AllowClients  []netip.Prefix // who may use the doors; nil: loopback and private networks
	Balancers     []netip.Prefix // whose connections begin with a PROXY header that says whose they are; nil: nobody's

	Users     *Users         // who may use the mirror and proxy doors by name and password; nil: nobody is asked
	ClientCAs *x509.CertPool // whose certificates open them too, where they speak TLS; nil: none is asked for

	Admins     *Users // who may use the admin door by name and password; nil: this machine may, and all may read metrics
	AdminToken string // opens the admin door to whoever can read it where it is kept; "" is none

	MirrorTLS, ProxyTLS CertFor // the certificates of these doors; nil: they speak plain HTTP

	// AnswerACME answers requests of the http door by which an ACME CA looks for us; false means that a request is not one. Nil: none is.
	AnswerACME func(http.ResponseWriter, *http.Request) bool

	TunnelPorts    []uint16      // where tunnels and plain HTTP to other hosts than registries may lead too, beside 443 and 80
	ClientLimit    int           // requests and tunnels under way for one client address; zero: 1000
	ReaderPatience time.Duration // with a client that takes nothing of what it asked for; zero: five minutes

	ManifestTTL time.Duration // how long a tag is served without asking upstream; zero: one minute
	MaxStale    time.Duration // how long it is served when upstream cannot be asked; zero: a week
	// AuthTTL is how long a registry's yes to a credential counts for that credential; zero: five minutes, below: for one request.
	AuthTTL time.Duration
	// MaxStaleAuth is how long a private image is served to whom upstream said yes, when it cannot be asked; zero: an hour.
	MaxStaleAuth time.Duration
	Offline      bool // never ask upstream

	Log zerolog.Logger
	// Dial replaces resolving and dialling; tests seal the network here. Nil means the guarded dialler.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Server is the doors, the servers behind them and the handler.
type Server struct {
	cfg      Config
	table    atomic.Pointer[hosts.Table]
	inbox    *inbox
	pulls    *http1.Server // of GET and HEAD by HTTP/1.1
	streams  *http2.Server // of all by HTTP/2
	http     *http.Server  // of the rest
	tls      *tls.Config   // of intercepted connections
	connect  http.Handler  // of CONNECT requests
	upstream *upstream.Client
	access   *access
	clients  *gate
	admins   *gate
	recent   *recent
	lookups  singleflight.Group // questions about tags
	budgets  budgets
	writes   writes
	pings    pings
	waits    waits
	crowd    *crowd
	chunks   *chunks
	metrics  *metrics
	misfits  *mentions // clients that spoke TLS to a door without, or the other way round
	log      zerolog.Logger
	now      func() time.Time
	via      string // our pseudonym in Via (RFC 9110, section 7.6.3), another one in each process

	ctx    context.Context // of what outlives a request; ends with Shutdown
	cancel context.CancelFunc
	work   sync.WaitGroup // accept loops, sniffs, tunnels, probes: Shutdown waits for them

	verifying sync.Mutex

	mu        sync.Mutex
	listeners map[net.Listener]bool
	own       []netip.AddrPort // where the doors are, that of the admin too
	tunnels   map[net.Conn]bool
	closing   bool
}

// Limits on a client.
const (
	readHeaderTimeout = 10 * time.Second
	handshakeTimeout  = 10 * time.Second
	idleTimeout       = 3 * time.Minute // longer than any client keeps an idle connection, so that none is closed under a request
	maxHeaderBytes    = 64 << 10
	maxStreams        = 250 // per HTTP/2 connection
)

// New makes a Server that listens nowhere yet.
func New(cfg Config) (*Server, error) {
	if cfg.Table == nil || cfg.CA == nil || cfg.Store == nil {
		return nil, errors.New("new proxy: Table, CA and Store are needed")
	}
	if cfg.ManifestTTL == 0 {
		cfg.ManifestTTL = time.Minute
	}
	if cfg.MaxStale == 0 {
		cfg.MaxStale = 7 * 24 * time.Hour
	}
	if cfg.AuthTTL == 0 {
		cfg.AuthTTL = proofLife
	}
	if cfg.MaxStaleAuth == 0 {
		cfg.MaxStaleAuth = staleAuth
	}
	if cfg.AllowClients == nil {
		cfg.AllowClients = privateNets()
	}
	if cfg.ReaderPatience == 0 {
		cfg.ReaderPatience = 5 * time.Minute
	}
	if cfg.ClientLimit == 0 {
		cfg.ClientLimit = 1000
	}
	s := &Server{
		cfg: cfg, inbox: newInbox(), log: cfg.Log, now: time.Now, via: pseudonym(), waits: usualWaits(),
		crowd: newCrowd(cfg.ClientLimit, crowdPatience), chunks: newChunks(), misfits: newMentions(wonderEvery),
		listeners: map[net.Listener]bool{}, tunnels: map[net.Conn]bool{},
	}
	s.table.Store(cfg.Table)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.metrics = newMetrics(s)
	s.access = newAccess(cfg.Store, cfg.AuthTTL)
	s.clients, s.admins = newGate(cfg.Users), newGate(cfg.Admins)
	s.recent, s.writes, s.pings = newRecent(), newWrites(), newPings()
	s.upstream = upstream.New(s.upstreamConfig())
	s.tls = s.tlsConfig()
	s.connect = s.newConnect()
	s.http = s.newHTTP()
	s.pulls = &http1.Server{
		Handler: s, Other: s.otherwise, ErrorLog: s.http.ErrorLog,
		HeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, Patience: cfg.ReaderPatience,
	}
	s.streams = &http2.Server{
		Handler: s, ErrorLog: s.http.ErrorLog, MaxStreams: maxStreams, MaxHeader: maxHeaderBytes,
		HeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, Patience: cfg.ReaderPatience,
	}
	s.work.Go(func() { s.http.Serve(s.inbox) }) // ends when the inbox is closed
	return s, nil
}

func (s *Server) upstreamConfig() upstream.Config {
	cfg := upstream.Config{
		Roots: s.cfg.UpstreamRoots, AllowNets: s.cfg.AllowNets, Dial: s.cfg.Dial,
		Agent: "entrepot", Via: s.via, Ours: s.cfg.CA.Made, OwnDoor: s.ownDoor, Observe: s.observe, Warn: s.warnOfCredential,
	}
	if s.cfg.Resolver != nil {
		cfg.Resolve = s.cfg.Resolver.Lookup
	}
	return cfg
}

// observe takes in what every answer from upstream tells beside its content.
func (s *Server) observe(q upstream.Request, resp *http.Response, _ error) {
	status := 0
	if resp != nil {
		status = resp.StatusCode
		// What a registry says to a search, a login, a listing or a push is about that, and a client has as many of those as he likes: it
		// must not keep tags from being checked for all.
		pull := readOnly(resp.Request) && (q.Kind == kindManifest || q.Kind == kindBlob)
		own := !q.Credential.IsZero()
		if pull && sameAuthority(resp.Request.URL.Host, q.Base.Host) && (own || !ofOneAccount(resp)) {
			s.budgets.note(q.Registry.Name, own, resp, s.now())
		}
	}
	s.metrics.upstreamAnswer(q.Registry.Name, q.Kind, status)
}

func (s *Server) warnOfCredential(registry string, err error) {
	what := "the mirror's own credential is of no use: it serves only what everybody may read"
	if errors.Is(err, credentials.ErrOld) {
		what = "the mirror's own credential cannot be got anew"
	}
	s.log.Warn().Str("registry", registry).Err(err).Msg(what)
}

func (s *Server) newHTTP() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          log.New(newServerNoise(s.log), "", 0),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnState:         s.parted,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return s.connContext(ctx, wireOf(c)) },
	}
}

func (s *Server) connContext(ctx context.Context, w *wire) context.Context {
	w.patience, w.network = s.cfg.ReaderPatience, network(w.RemoteAddr())
	return context.WithValue(ctx, wireKey{}, w)
}

// parted says in the log why a connection was ended whose client sent what no handler got to see. TLS at a door without is no fault of
// the client: the answer tells him to go on by HTTP.
func (s *Server) parted(c net.Conn, state http.ConnState) {
	f := framingOf(c)
	if state != http.StateClosed || f == nil || f.fault == nil {
		return
	}
	if errors.Is(f.fault, errSpeaksTLS) {
		s.mismatch(wireOf(c), "connection ended: the client speaks TLS, this door plain HTTP")
		return
	}
	s.log.Warn().Err(f.fault).Str("door", wireOf(c).door).Stringer("client", c.RemoteAddr()).Msg("connection ended: a malformed request")
}

type wireKey struct{}

// tlsConfig is shared by all intercepted connections, so that clients can resume sessions. TLS 1.2 is offered with AEAD suites only.
//
// A client that speaks both gets HTTP/1.1: a byte of a layer costs up to a fifth less CPU than by HTTP/2 and goes out a quarter to a half
// faster, since nothing is put into frames and no window is waited for. What HTTP/2 saves is a handshake for each connection more, half a
// millisecond, or as much as its frames cost in six megabytes. No client was found that is better off the other way.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1", "h2"},
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.cfg.CA.Certificate(hostOf(wireOf(hello.Conn).authority))
		},
	}
}

// SetTable replaces the registries. Requests under way end by the old rules. Credentials that were refused are tried again.
func (s *Server) SetTable(t *hosts.Table) {
	s.table.Store(t)
	s.upstream.ForgetRefusals()
}

// SetUsers replaces the names and passwords. A connection made by CONNECT stays who it was.
func (s *Server) SetUsers(clients, admins *Users) {
	s.clients.users.Store(clients)
	s.admins.users.Store(admins)
}

// spawn runs f, for which Shutdown waits. Once that has begun nothing new is, and c, if there is one, is closed instead.
func (s *Server) spawn(c io.Closer, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		if c != nil {
			c.Close()
		}
		return
	}
	s.work.Go(f)
}

// Shutdown stops accepting, lets transfers end until ctx does, then cuts what is left. The Store stays open; its owner closes it.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	others := make(chan error, 2) // all clients are told at once, and not when the last pull by another protocol is done
	go func() { others <- s.pulls.Shutdown(ctx) }()
	go func() { others <- s.streams.Shutdown(ctx) }()
	err := s.http.Shutdown(ctx) // closes the inbox
	err = errors.Join(err, <-others, <-others)
	s.waitForTunnels(ctx)
	s.cancel()
	s.pulls.Close()
	s.streams.Close()
	s.http.Close()
	s.work.Wait()
	s.upstream.Close()
	return err
}

func pseudonym() string {
	var b [8]byte
	rand.Read(b[:])
	return "entrepot-" + hex.EncodeToString(b[:])
}

// privateNets are loopback, link-local and the private networks of RFC 1918, RFC 6598 and RFC 4193.
func privateNets() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{
		"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// hostOf is the host of an authority, "quay.io" of "quay.io:443".
func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return strings.Trim(authority, "[]")
}
