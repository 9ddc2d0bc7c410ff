package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/testdata/world"
)

// secured is a site whose mirror and proxy doors speak TLS by our own CA.
func secured(t *testing.T, names []string, change ...func(*Config)) *site {
	t.Helper()
	return newSite(t, append([]func(*Config){func(c *Config) {
		c.MirrorTLS = OwnNames(c.CA, names)
		c.ProxyTLS = c.MirrorTLS
	}}, change...)...)
}

// safely is the way of a client that trusts our CA and speaks TLS with the door, showing the given certificates.
func (st *site) safely(door string, certs ...tls.Certificate) *http.Transport {
	tr := st.transport(doorMirror)
	tr.TLSClientConfig.Certificates = certs
	if door == doorProxy {
		tr.Proxy = http.ProxyURL(&url.URL{Scheme: "https", Host: st.doors[doorProxy]})
	}
	return tr
}

// clientCert is a certificate that signs itself, and the pool that trusts it.
func clientCert(t *testing.T, subject pkix.Name, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return selfSigned(t, key.Public(), key, &x509.Certificate{
		Subject: subject, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func selfSigned(t *testing.T, public, key any, tmpl *x509.Certificate) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = big.NewInt(7), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	tmpl.BasicConstraintsValid, tmpl.IsCA = true, true
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, pool
}

// TestMirrorOverTLS: a client that trusts our CA pulls by HTTPS, cold and warm; HTTP/2 is there for who wants it.
func TestMirrorOverTLS(t *testing.T) {
	st := secured(t, []string{"localhost"})
	p := st.world.Push(t, "quay.io/org/tool:v1", world.Image(t, 1, 300<<10))
	for _, word := range []string{cacheMiss, cacheHit} {
		st.log.reset()
		ref, err := name.ParseReference(st.doors[doorMirror] + "/quay.io/org/tool:v1")
		if err != nil {
			t.Fatal(err)
		}
		// The library takes plain HTTP for granted on loopback, and tries HTTPS first.
		img, err := remote.Image(ref, remote.WithTransport(st.safely(doorMirror)))
		if err == nil {
			err = readAll(img)
		}
		if err != nil {
			t.Fatalf("pull: %v\n%s", err, st.log)
		}
		for _, l := range st.log.await(t, kindBlob, 2) {
			if l.Cache != word || l.Door != doorMirror {
				t.Errorf("got %s by %s, want %s by mirror", l.Cache, l.Door, word)
			}
		}
	}
	a := ask(t, onlyHTTP2(st.safely(doorMirror)), "GET", "https://"+st.doors[doorMirror]+"/v2/quay.io/org/tool/blobs/"+p.Blobs[0])
	if a.StatusCode != 200 || a.ProtoMajor != 2 || a.TLS.NegotiatedProtocol != "h2" {
		t.Errorf("got %d by %s, want 200 by HTTP/2", a.StatusCode, a.Proto)
	}
}

// TestPlainHTTPAtATLSDoor: the client is told why, and so is the reader of the log, once at info.
func TestPlainHTTPAtATLSDoor(t *testing.T) {
	st := secured(t, []string{"localhost"}, talkative)
	for _, door := range []string{doorMirror, doorProxy} {
		st.saidOnce(door, "the client speaks plain HTTP, this door TLS", func() {
			resp, body, closed := st.say(door, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp.StatusCode != 400 || !strings.Contains(body, "HTTPS server") || !closed {
				t.Errorf("%s: got %d %q, closed %v, want a 400 that says why", door, resp.StatusCode, body, closed)
			}
		})
	}
}

// TestPreferredProtocol: who has the choice is given HTTP/1.1, by which a layer costs less; HTTP/2 is for who has nothing else.
func TestPreferredProtocol(t *testing.T) {
	st := secured(t, []string{"localhost"})
	for _, row := range []struct {
		offered []string
		want    string
	}{
		{[]string{"h2", "http/1.1"}, "http/1.1"},
		{[]string{"http/1.1", "h2"}, "http/1.1"},
		{[]string{"h2"}, "h2"},
		{nil, ""}, // HTTP/1.1 too
	} {
		for door, name := range map[string]string{doorMirror: "localhost", doorTLS: "quay.io"} {
			cfg := st.trust(name)
			cfg.NextProtos = row.offered
			c := tls.Client(st.raw(door), cfg)
			if err := c.Handshake(); err != nil || c.ConnectionState().NegotiatedProtocol != row.want {
				t.Errorf("%s door, %q offered: got %q and %v, want %q", door, row.offered, c.ConnectionState().NegotiatedProtocol, err, row.want)
			}
		}
	}
}

// TestOwnNames: our CA's certificate is shown for the door's names only.
func TestOwnNames(t *testing.T) {
	st := secured(t, []string{"localhost", "Cache.lan"})
	for name, want := range map[string]string{
		"localhost": "", "cache.lan": "", "CACHE.LAN": "", "quay.io": "unrecognized name", "bank.example": "unrecognized name",
		"x.cache.lan": "unrecognized name", "127.0.0.1": "", // no SNI: an address
	} {
		for _, door := range []string{doorMirror, doorProxy} {
			err := tls.Client(st.raw(door), st.trust(name)).Handshake()
			if want == "" && err != nil || want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)) {
				t.Errorf("%s door as %s: got %v, want %q", door, name, err, want)
			}
		}
	}
	if !strings.Contains(st.log.String(), "--server-name") {
		t.Errorf("the log does not say what to do:\n%s", st.log)
	}
	outside := secured(t, []string{"cache.lan", "192.0.2.7"})
	if err := tls.Client(outside.raw(doorMirror), outside.trust("192.0.2.7")).Handshake(); err != nil {
		t.Errorf("an address that is known outside: got %v, want its certificate", err)
	}
}

// TestProxyOverTLS: a client speaks TLS with the proxy, CONNECT in it, and TLS with the registry in that; each is ended here.
func TestProxyOverTLS(t *testing.T) {
	ways := map[string]string{}
	st := secured(t, []string{"localhost"}, leading(ways))
	st.world.Push(t, "quay.io/org/tool:v1", world.Image(t, 1, 300<<10))
	for _, word := range []string{cacheMiss, cacheHit} {
		st.log.reset()
		ref, err := name.ParseReference("quay.io/org/tool:v1")
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(ref, remote.WithTransport(st.safely(doorProxy)))
		if err == nil {
			err = readAll(img)
		}
		if err != nil {
			t.Fatalf("pull: %v\n%s", err, st.log)
		}
		for _, l := range st.log.await(t, kindBlob, 2) {
			if l.Cache != word || l.Door != doorProxy || l.Client != "127.0.0.1" {
				t.Errorf("got %s by %s from %s, want %s by proxy from 127.0.0.1", l.Cache, l.Door, l.Client, word)
			}
		}
	}
	a := ask(t, st.safely(doorProxy), "GET", "https://quay.io/v2/")
	if a.StatusCode != 401 || a.ProtoMajor != 1 {
		t.Errorf("inside: got %d by %s, want quay's 401 by HTTP/1.1, which a client is given that has the choice", a.StatusCode, a.Proto)
	}
	if a := ask(t, st.safely(doorProxy), "GET", "http://unknown.example.org/"); a.StatusCode != 200 {
		t.Errorf("absolute form: got %d, want 200", a.StatusCode)
	}
	cfg := st.trust("localhost")
	cfg.NextProtos = []string{"h2", "http/1.1"}
	outer := tls.Client(st.raw(doorProxy), cfg)
	if err := outer.Handshake(); err != nil || outer.ConnectionState().NegotiatedProtocol != "http/1.1" {
		t.Errorf("the proxy's own TLS: got %v, %q, want http/1.1 and no h2", err, outer.ConnectionState().NegotiatedProtocol)
	}
	fmt.Fprint(outer, "CONNECT quay.io:443 HTTP/1.1\r\nHost: quay.io:443\r\n\r\n")
	if resp, body := over(t, tls.Client(&afterConnect{Conn: outer}, st.trust("quay.io")), "gcr.io", "/v2/"); resp.StatusCode != 421 {
		t.Errorf("another host inside: got %d %s, want 421", resp.StatusCode, body)
	}
}

// afterConnect reads past the answer to CONNECT.
type afterConnect struct {
	net.Conn
	passed bool
}

func (a *afterConnect) Read(p []byte) (int, error) {
	if !a.passed {
		a.passed = true
		for head, b := "", make([]byte, 1); !strings.HasSuffix(head, "\r\n\r\n"); head += string(b) {
			if _, err := a.Conn.Read(b); err != nil {
				return 0, err
			}
		}
	}
	return a.Conn.Read(p)
}

// TestOwnCertificate: whatever key it has, the protocol is TLS 1.2 with AEAD suites or better.
func TestOwnCertificate(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	cert, pool := selfSigned(t, key.Public(), key, &x509.Certificate{DNSNames: []string{"cache.lan"}})
	st := newSite(t, func(c *Config) {
		c.MirrorTLS = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }
	})
	shake := func(version uint16, suites ...uint16) (tls.ConnectionState, error) {
		c := tls.Client(st.raw(doorMirror), &tls.Config{RootCAs: pool, ServerName: "cache.lan", MinVersion: tls.VersionTLS10, MaxVersion: version, CipherSuites: suites})
		err := c.Handshake()
		return c.ConnectionState(), err
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		if got, err := shake(version); err == nil {
			t.Errorf("got a handshake by %s, want none below TLS 1.2", tls.VersionName(got.Version))
		}
	}
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if !slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			continue
		}
		_, err := shake(tls.VersionTLS12, s.ID)
		aead := strings.Contains(s.Name, "ECDHE_RSA") && (strings.Contains(s.Name, "GCM") || strings.Contains(s.Name, "CHACHA20"))
		if (err == nil) != aead {
			t.Errorf("%s: got %v, want it taken: %v", s.Name, err, aead)
		}
	}
	if got, err := shake(tls.VersionTLS13); err != nil || got.Version != tls.VersionTLS13 {
		t.Errorf("got %v, want TLS 1.3", err)
	}
}

// TestMutualTLS: without a password file nobody gets past the handshake without a certificate; with one, either will do.
func TestMutualTLS(t *testing.T) {
	ada, pool := clientCert(t, pkix.Name{CommonName: "ada"})
	eve, _ := clientCert(t, pkix.Name{CommonName: "ada"})
	users := usersOf(t, "bob", "bobs")
	st := secured(t, []string{"localhost"}, func(c *Config) { c.ClientCAs = pool })
	url := "https://" + st.doors[doorMirror] + "/v2/"
	try := func(rt http.RoundTripper, url string, header ...string) (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	for what, certs := range map[string][]tls.Certificate{"none": nil, "another CA's": {eve}} {
		for _, rt := range []*http.Transport{st.safely(doorMirror, certs...), st.safely(doorProxy, certs...)} {
			if got, err := try(rt, url); rt.Proxy == nil && err == nil {
				t.Errorf("certificate %s: got %d, want no handshake", what, got)
			}
			if got, err := try(rt, "https://quay.io/v2/"); rt.Proxy != nil && err == nil {
				t.Errorf("certificate %s by proxy: got %d, want no handshake", what, got)
			}
		}
	}
	st.log.until(t, "shows no certificate of --client-ca")
	if got, err := try(st.safely(doorMirror, ada), url); got != 200 {
		t.Errorf("ada: got %d, %v, want 200", got, err)
	}
	st.log.until(t, `"user":"ada"`)
	st.log.reset()
	if got, err := try(st.safely(doorProxy, ada), "https://quay.io/v2/"); got != 401 {
		t.Errorf("ada by proxy: got %d, %v, want quay's 401", got, err)
	}
	st.log.until(t, `"user":"ada"`)

	st.server.SetUsers(users, nil)
	for _, row := range []struct {
		who    string
		certs  []tls.Certificate
		header []string
		want   int
	}{
		{"nobody", nil, nil, 401},
		{"bob", nil, bearing(basicAuth("bob", "bobs")), 200},
		{"ada by certificate", []tls.Certificate{ada}, nil, 200},
		{"ada by certificate, with a wrong password", []tls.Certificate{ada}, bearing(basicAuth("bob", "wrong")), 401},
		{"ada by certificate, with a registry's token", []tls.Certificate{ada}, bearing("Bearer x"), 200},
	} {
		if got, err := try(st.safely(doorMirror, row.certs...), url, row.header...); got != row.want {
			t.Errorf("%s: got %d, %v, want %d", row.who, got, err, row.want)
		}
	}
}

// TestCertificatesNeedTLS: a plain door with nothing but certificates to go by lets nobody in.
func TestCertificatesNeedTLS(t *testing.T) {
	_, pool := clientCert(t, pkix.Name{CommonName: "ada"})
	st := newSite(t, func(c *Config) { c.ClientCAs = pool })
	resp, body := st.get(doorMirror, st.mirror("/v2/"))
	refusedWith(t, "mirror", resp, string(body), 403, codeDenied, "--client-ca")
	resp, text, _ := st.say(doorProxy, "CONNECT quay.io:443 HTTP/1.1\r\nHost: quay.io:443\r\n\r\n")
	refusedWith(t, "proxy", resp, text, 403, codeDenied, "--client-ca")
}

// TestCertified: who a certificate is of, when it has no common name.
func TestCertified(t *testing.T) {
	if got := certified(nil); got != "" {
		t.Errorf("no TLS: got %q", got)
	}
	if got := certified(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "ada"}}}}); got != "" {
		t.Errorf("a certificate that was not verified: got %q, want nobody", got)
	}
	for want, c := range map[string]*x509.Certificate{
		"ada":             {Subject: pkix.Name{CommonName: "ada"}, DNSNames: []string{"x"}},
		"ci.lan":          {DNSNames: []string{"ci.lan"}},
		"ada@example.com": {EmailAddresses: []string{"ada@example.com"}},
		"spiffe://a/b":    {URIs: []*url.URL{{Scheme: "spiffe", Host: "a", Path: "/b"}}},
		"serial 9":        {SerialNumber: big.NewInt(9)},
	} {
		if got := certified(&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{c}}}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
