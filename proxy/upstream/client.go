// Package upstream talks to registries: it dials past /etc/hosts and only where it may, follows redirects so that nobody else has
// to, and gets tokens where the caller has no credential of its own: anonymous ones, or with a credential of ours.
//
// The one invariant: a credential goes to the host it was meant for and to no other, whatever that host answers.
package upstream

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy/credentials"
)

// Config says how a Client reaches the world. The zero value uses the system's resolver and roots and dials public addresses only.
type Config struct {
	Resolve   func(ctx context.Context, name string) ([]netip.Addr, error) // nil: the system's resolver
	Roots     *x509.CertPool                                               // nil: the system's
	AllowNets []netip.Prefix                                               // may be dialled though private or loopback
	Agent     string                                                       // User-Agent of requests that are our own
	Via       string                                                       // our pseudonym for the Via field, by which a loop is known
	// Ours tells whether a certificate was made by this program's own CA for interception: the host that shows it is no upstream. Nil
	// means there is none.
	Ours func(*x509.Certificate) bool
	// OwnDoor tells whether this program itself listens there. Nil means nowhere.
	OwnDoor func(netip.AddrPort) bool
	// Dial replaces resolving and dialling altogether; tests seal the network here.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Observe is told of every answer, whose body it must leave alone, and of every failure of a host (resp is nil). Nil means nobody is.
	Observe func(q Request, resp *http.Response, err error)
	// Warn is told when a credential of ours is refused by a registry or cannot be got. Nil means nobody is.
	Warn func(registry string, err error)
}

// Client sends requests to registries. It is safe for concurrent use.
type Client struct {
	cfg     Config
	now     func() time.Time
	tokens  tokens
	secrets *credentials.Sources
	logins  logins
	breaker breaker

	mu    sync.Mutex
	pools map[string]*pool // by what makes a connection another one: roots and allowed networks of a registry
}

// pool is the connections of registries that are reached in the same way.
type pool struct {
	api  *http.Transport // manifests, tokens: HTTP/2 where upstream offers it
	bulk *http.Transport // blobs and uploads: HTTP/1.1, a connection each, since streams of one h2 connection share one window and one fate
}

// The deadlines of one exchange. There is none on a whole transfer, which may take hours.
const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 10 * time.Second
	headerTimeout    = 20 * time.Second
	maxHops          = 10
	maxHeaderBytes   = 64 << 10 // Google's are large (rpardini/docker-registry-proxy #159)
)

// New makes a Client.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, now: time.Now, pools: map[string]*pool{}}
	c.breaker = breaker{down: map[string]*outage{}}
	c.tokens = tokens{flight: &singleflight.Group{}, held: map[tokenKey]token{}}
	c.secrets, c.logins = credentials.New(func() time.Time { return c.now() }, c.warn), newLogins()
	return c
}

// Close drops idle connections and ends credential helpers. Running requests are not touched; their contexts end them.
func (c *Client) Close() {
	c.secrets.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pools {
		p.api.CloseIdleConnections()
		p.bulk.CloseIdleConnections()
	}
}

// Request is one question to a registry.
type Request struct {
	Registry hosts.Registry
	Base     *url.URL // of the API, as [hosts.Registry.UpstreamURL] says
	Method   string   // GET or HEAD
	Path     string   // escaped, with its query, beginning with a slash
	Header   http.Header
	Kind     string // manifest, blob, … for the metrics; blobs get connections of their own
	// Patience is how long each exchange may take until its header is in. Zero means twenty seconds.
	Patience time.Duration
	// Scope, such as repository:library/alpine:pull, makes the client get a token when the registry wants one and Header has no
	// Authorization: an anonymous one, or by Credential.
	Scope string
	// Credential is one of ours to ask with, for the repository Repo; zero is none. An answer may have been given without it, by a
	// registry that did not ask for any.
	Credential hosts.Credential
	Repo       string
	// Validators, of the object that is asked for, make a Range conditional on it being what was begun. Nil makes none.
	Validators *Validators

	secret credentials.Secret // that Credential stands for
	form   string             // of a POST to a realm
}

// Do sends q and follows redirects. The answer is the last one, with the Docker-Content-Digest of the first that had one (quay.io
// has it on the redirect only). The caller closes its body. An error is an [*Error], or a [*Refused] by the token realm or of our
// own credential.
func (c *Client) Do(ctx context.Context, q Request) (*http.Response, error) {
	switch {
	case q.Scope == "" || q.Header.Get("Authorization") != "":
		return c.follow(ctx, q, q.Header)
	case !q.Credential.IsZero():
		return c.asOurselves(ctx, q)
	}
	return c.negotiate(ctx, q)
}

// negotiate asks with what was got for the scope before, and once more with what the registry's challenge wants.
func (c *Client) negotiate(ctx context.Context, q Request) (*http.Response, error) {
	held, renew := c.tokens.get(q, c.now())
	if renew != nil {
		c.fetchOnce(ctx, q, *renew, held) // for whoever comes later
	}
	if held == "" && !q.secret.IsZero() {
		if err := c.logins.get(q).admit(q, c.now()); err != nil {
			return nil, err // what the registry would want is known, and may not be done yet
		}
	}
	resp, err := c.follow(ctx, q, withAuthorization(q.Header, held))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	challenges := ParseChallenges(resp.Header.Values("Www-Authenticate"))
	if !q.secret.IsZero() {
		if !fromRegistry(q, resp) {
			return resp, nil
		}
		if word := secretWanted(q, challenges); word != "" {
			resp.Body.Close()
			return c.bySecret(ctx, q, word, word == held)
		}
	}
	fresh, err := c.token(ctx, q, challenges, held)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	if fresh == "" {
		return resp, nil // no challenge that we could answer: the caller hears upstream's own words
	}
	resp.Body.Close()
	return c.follow(ctx, q, withAuthorization(q.Header, fresh))
}

func withAuthorization(h http.Header, value string) http.Header {
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	if value != "" {
		h.Set("Authorization", value)
	}
	return h
}

// follow sends one request and goes where the answers point. An expired signature is mended by asking the registry once more.
func (c *Client) follow(ctx context.Context, q Request, header http.Header) (*http.Response, error) {
	for again := false; ; again = true {
		resp, hops, err := c.chain(ctx, q, header)
		if err != nil || hops == 0 || again || !signatureRefused(resp) {
			return resp, err
		}
		resp.Body.Close()
	}
}

// signatureRefused tells whether a storage host answered as they do to a signed URL that has expired: 403 mostly, 400 and 401 by
// some, 410 by few.
func signatureRefused(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusBadRequest, http.StatusUnauthorized, http.StatusGone:
		return resp.Request.Method == http.MethodGet
	}
	return false
}

func (c *Client) chain(ctx context.Context, q Request, header http.Header) (resp *http.Response, hops int, err error) {
	at, err := q.url()
	if err != nil {
		return nil, 0, &Error{Registry: q.Registry.Name, Host: q.Base.Host, Err: err}
	}
	header = header.Clone()
	var digest string
	for {
		q.Validators.condition(at.Host, header)
		resp, err := c.send(ctx, q, at, header)
		if err != nil {
			return nil, hops, err
		}
		q.Validators.note(at.Host, header.Get("If-Range") != "", resp)
		if digest == "" {
			digest = resp.Header.Get("Docker-Content-Digest")
		} else if resp.Header.Get("Docker-Content-Digest") == "" {
			resp.Header.Set("Docker-Content-Digest", digest)
		}
		next, err := target(at, resp)
		if next == nil && err == nil {
			return resp, hops, nil
		}
		drain(resp)
		if hops++; hops > maxHops && err == nil {
			err = fmt.Errorf("more than %d redirects", maxHops)
		}
		if err != nil {
			return nil, hops, &Error{Registry: q.Registry.Name, Host: at.Host, Err: err}
		}
		if !sameOrigin(at, next) {
			header.Del("Authorization")
			header.Del("Cookie")
		}
		at = next
	}
}

// url is where the question goes. The path comes from a client: "//host/x" must stay a path, and not be taken for a reference to host.
func (q *Request) url() (*url.URL, error) {
	at, err := url.ParseRequestURI("/" + strings.TrimLeft(q.Base.EscapedPath()+q.Path, "/"))
	if err != nil {
		return nil, errors.New("the path is malformed")
	}
	at.Scheme, at.Host = q.Base.Scheme, q.Base.Host
	return at, nil
}

// target is where a redirect points, nil when resp is none. A step from https down to http is refused: what comes over it could be
// anybody's, and so could the header that asks for it.
func target(at *url.URL, resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	location := resp.Header.Get("Location")
	if location == "" {
		return nil, fmt.Errorf("redirect %d without a Location", resp.StatusCode)
	}
	next, err := at.Parse(location)
	if err != nil {
		return nil, errors.New("redirect to a malformed Location") // whose text, in err, may hold a signature
	}
	if next.Scheme != "https" && (next.Scheme != "http" || at.Scheme == "https") {
		return nil, fmt.Errorf("redirect from %s to %s: refused", at.Scheme, next.Scheme)
	}
	if next.Host == "" || next.User != nil {
		return nil, fmt.Errorf("redirect to host %q: refused", next.Host)
	}
	return next, nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

// drain frees the connection of an answer nobody wants: a little is read so that it can be used again, the rest is cut off.
func drain(resp *http.Response) {
	io.CopyN(io.Discard, resp.Body, 4<<10)
	resp.Body.Close()
}

// send is one exchange with one host.
func (c *Client) send(ctx context.Context, q Request, at *url.URL, header http.Header) (*http.Response, error) {
	req := (&http.Request{
		Method: q.Method, URL: at, Host: at.Host, Header: header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	// Bytes are kept and compared as they are: an encoding on the way would make another digest and another length.
	req.Header.Set("Accept-Encoding", "identity")
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", c.cfg.Agent)
	}
	if q.form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(q.form)), int64(len(q.form))
	}
	if c.cfg.Via != "" {
		req.Header.Add("Via", "1.1 "+c.cfg.Via)
	}
	return c.Bare(q).RoundTrip(req)
}
