package proxy

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/rs/zerolog"

	"github.com/entrepot/entrepot/ca"
	"github.com/entrepot/entrepot/testdata/world"
)

// outages are the ways in which upstream fails to say what a tag is.
var outages = map[string]func(st *site, host string){
	"429": func(st *site, host string) { st.fails(host, 429) },
	"408": func(st *site, host string) { st.fails(host, 408) },
	"500": func(st *site, host string) { st.fails(host, 500) },
	"502": func(st *site, host string) { st.fails(host, 502) },
	"503": func(st *site, host string) { st.fails(host, 503) },
	"cut": func(st *site, host string) {
		st.world.Host(host).Fault(world.Fault{Kind: world.Cut, At: -1, Times: -1})
	},
	"refused":    func(st *site, host string) { st.cutOff(host, nil) },
	"timeout":    func(st *site, host string) { st.cutOff(host, os.ErrDeadlineExceeded) },
	"distrusted": func(st *site, host string) { st.impersonate(host) },
	"no name": func(st *site, host string) {
		st.cutOff(host, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true})
	},
}

func (st *site) fails(host string, status int) {
	st.world.Host(host).Fault(world.Fault{Kind: world.Status, Status: status, Body: "sorry", On: world.Manifest, Times: -1})
}

// cutOff lets every new connection to host fail and ends those there are.
func (st *site) cutOff(host string, err error) {
	if err == nil {
		st.world.Host(host).Fault(world.Fault{Kind: world.Refuse, Times: -1})
	} else {
		st.cut.Store(host, err)
	}
	st.hangUp(host)
}

// impersonate lets every new connection to host lead to somebody whose certificate nobody trusts.
func (st *site) impersonate(host string) {
	st.t.Helper()
	other, err := ca.Open(ca.Config{Dir: st.t.TempDir()})
	if err != nil {
		st.t.Fatal(err)
	}
	leaf, err := other.Certificate(host)
	if err != nil {
		st.t.Fatal(err)
	}
	st.cut.Store(host, st.target(func(c *net.TCPConn) {
		tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*leaf}}).Handshake()
		c.Close()
	}))
	st.hangUp(host)
}

// TestStale: when upstream cannot say, what was seen last is served for MaxStale and not longer, and the answer says so.
func TestStale(t *testing.T) {
	for what, outage := range outages {
		t.Run(what, func(t *testing.T) {
			st := newSite(t, func(c *Config) { c.MaxStale = 24 * time.Hour })
			clock := st.clock()
			const ref = "mcr.microsoft.com"
			p := st.world.Push(t, ref+"/app:v1", world.Image(t, 1, 50<<10))
			w := way{doorProxy, true}
			rt := st.by(w)
			url := st.url(w, ref, "app/manifests/v1")
			ask(t, rt, "GET", url, accepting...)
			st.log.await(t, kindManifest, 1)
			st.settled()
			outage(st, ref)
			clock.advance(23 * time.Hour)
			for _, method := range []string{"GET", "HEAD"} {
				st.log.reset()
				a := ask(t, rt, method, url, accepting...)
				age := a.Header.Get("Age")
				if a.StatusCode != 200 || a.Header.Get("Docker-Content-Digest") != p.Digest || a.Header.Get("Cache-Status") != cacheStatus[cacheStale] || !strings.HasPrefix(age, "828") {
					t.Errorf("%s after 23 h: got %d %v, want a stale 200", method, a.StatusCode, a.Header)
				}
				if l := st.log.await(t, kindManifest, 1)[0]; l.Cache != cacheStale || l.Error == "" {
					t.Errorf("log: got %+v, want STALE and why", l)
				}
			}
			clock.advance(2 * time.Hour)
			a := ask(t, rt, "GET", url, accepting...)
			if a.StatusCode < 400 || a.Header.Get("Docker-Content-Digest") != "" || !strings.Contains(string(a.body), ref) {
				t.Errorf("after 25 h: got %d %s, want upstream's failure", a.StatusCode, a.body)
			}
		})
	}
}

// TestNoIsNoOutage: upstream's no is passed on and is never answered from what is held.
func TestNoIsNoOutage(t *testing.T) {
	for _, status := range []int{401, 403, 404, 400, 410} {
		st := newSite(t)
		clock := st.clock()
		st.world.Push(t, "mcr.microsoft.com/app:v1", world.Image(t, 1, 50<<10))
		for _, w := range ways {
			rt := st.by(w)
			url := st.url(w, "mcr.microsoft.com", "app/manifests/v1")
			ask(t, rt, "GET", url, accepting...)
			clock.advance(2 * time.Minute)
			fault := st.world.Host("mcr.microsoft.com").Fault(world.Fault{
				Kind: world.Status, Status: status, Times: -1, On: world.Manifest,
				Header: map[string]string{"WWW-Authenticate": `Basic realm="x"`, "Content-Type": "application/json", "Set-Cookie": "a=b"},
				Body:   `{"errors":[{"code":"DENIED","message":"go away"}]}`,
			})
			a := ask(t, rt, "GET", url, accepting...)
			if a.StatusCode != status || a.Header.Get("Docker-Content-Digest") != "" || a.Header.Get("Cache-Status") != cacheStatus[cacheBypass] {
				t.Errorf("%s: got %d %v, want %d", w, a.StatusCode, a.Header, status)
			}
			if status == 401 && a.Header.Get("Www-Authenticate") != `Basic realm="x"` || a.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s: %d with %v, want upstream's challenge and no cookie", w, status, a.Header)
			}
			fault.Clear()
		}
	}
}

// TestNoSecretInTheLog: whatever goes well or wrong, at any level, no token, password or signature is written down.
func TestNoSecretInTheLog(t *testing.T) {
	st := newSite(t, func(c *Config) { c.Log = c.Log.Level(zerolog.TraceLevel) })
	w := st.world
	w.Account("docker.io", "ada", "ada-secret-password", "acme/*")
	w.Account(corp, "bob", "bob-secret-password", "team/*")
	w.Private("docker.io/acme/app")
	w.Private(corp + "/team/app")
	hub := w.Push(t, "docker.io/acme/app:v1", world.Image(t, 1, 200<<10))
	w.Push(t, corp+"/team/app:v1", world.Image(t, 2, 20<<10))
	w.Push(t, world.ECR+"/app:v1", world.Image(t, 3, 200<<10))
	w.Push(t, "gcr.io/p/app:v1", world.Image(t, 4, 200<<10))
	ada := &authn.Basic{Username: "ada", Password: "ada-secret-password"}
	st.pull(doorProxy, "docker.io/acme/app:v1", ada)
	st.pull(doorTLS, corp+"/team/app:v1", &authn.Basic{Username: "bob", Password: "bob-secret-password"})
	st.pull(doorProxy, world.ECR+"/app:v1", &authn.Basic{Username: "AWS", Password: "world"})
	st.tryPull(doorProxy, "docker.io/acme/app:v1", &authn.Basic{Username: "ada", Password: "wrong-secret-password"})
	cdn := w.Host("production.cloudflare.docker.com")
	for _, kind := range []world.FaultKind{world.Cut, world.Reset} {
		w.Push(t, "docker.io/library/alpine:1", world.Image(t, 10, 200<<10))
		cdn.Fault(world.Fault{Kind: kind, At: -1, Times: -1})
		st.tryPull(doorMirror, "docker.io/library/alpine:1")
		cdn.Heal()
	}
	// Redirects that lead nowhere carry signatures as well.
	for i, location := range []string{
		"https://cdn.example.test/%zz?verify=signed-secret", "http://cdn.example.test/x?sig=signed-secret",
		"https://user:signed-secret@cdn.example.test/", "https://cdn.example.test:port/?sig=signed-secret", "ftp://cdn/?sig=signed-secret", "https://[::1/?sig=signed-secret",
	} {
		w.Host("quay.io").Fault(world.Fault{Kind: world.Status, Status: 302, On: world.Blob, Header: map[string]string{"Location": location}})
		a := ask(t, st.by(way{doorMirror, true}), "GET", st.mirror("/v2/quay.io/a/b/blobs/"+hub.Blobs[i%2]))
		if a.StatusCode < 500 || strings.Contains(string(a.body), "signed-secret") {
			t.Errorf("redirect to %s: got %d %s, want a 5xx that does not tell it", location, a.StatusCode, a.body)
		}
	}
	st.get(doorProxy, "http://unknown.example.org/x?token=query-secret")
	st.get(doorProxy, "https://auth.docker.io/token?service=registry.docker.io&account=ada&password=query-secret")
	text := st.log.String()
	for _, secret := range []string{
		"secret", "Bearer ey", "world-token", "verify=", "X-Amz-", "Signature=", "sig=", "AF4dLs9_",
		base64.StdEncoding.EncodeToString([]byte("ada:ada-secret-password")), "QVdTOndvcmxk",
	} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%q is in the log: …%s…", secret, text[max(0, i-200):min(len(text), i+100)])
		}
	}
}
