package proxy

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// The registry of these tests is known to clients by another address than the one that it is asked at.
const (
	movedName = "reg.example.com"
	movedBase = "https://reg.example.com:6543"
	plainBase = "http://inner.example.com:6001"
)

// movedSite is a site with a registry at base, whose answers name it by that. It may be behind something else.
func movedSite(t *testing.T, base string, behind ...func(http.Handler) http.Handler) *site {
	t.Helper()
	var all http.Handler = namesItself{registry.New(registry.Logger(log.New(io.Discard, "", 0))), base}
	for _, of := range behind {
		all = of(all)
	}
	at := httptest.NewUnstartedServer(all)
	if strings.HasPrefix(base, "https:") {
		at.StartTLS()
	} else {
		at.Start()
	}
	t.Cleanup(at.Close)
	st := newSite(t, func(c *Config) {
		table, err := hosts.New([]hosts.Registry{{Name: movedName + ":6543", Hosts: []string{movedName, movedName + ":80"}, Upstream: base}})
		if err != nil {
			t.Fatal(err)
		}
		c.Table = table
		if at.Certificate() != nil {
			c.UpstreamRoots.AddCert(at.Certificate())
		}
	})
	u, _ := url.Parse(base)
	st.cut.Store(u.Hostname(), at.Listener.Addr().String())
	return st
}

// namesItself is a registry that tells where to go on by whole URLs, as distribution's does with http.host set and Harbor does.
type namesItself struct {
	http.Handler
	base string
}

func (n namesItself) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/tags/list") {
		rw.Header().Set("Link", "<"+n.base+`/v2/team/app/tags/list?last=b&n=2>; rel="next"`)
	}
	n.Handler.ServeHTTP(&wholeLocation{rw, n.base}, r)
}

type wholeLocation struct {
	http.ResponseWriter
	base string
}

func (w *wholeLocation) WriteHeader(status int) {
	if at := w.Header().Get("Location"); strings.HasPrefix(at, "/") {
		w.Header().Set("Location", w.base+at)
	}
	w.ResponseWriter.WriteHeader(status)
}

// origins remembers who answered a client, which tries TLS first where it need not be.
type origins struct {
	http.RoundTripper
	mu   sync.Mutex
	seen map[string]bool
}

func (o *origins) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := o.RoundTripper.RoundTrip(r)
	if err == nil {
		o.mu.Lock()
		o.seen[r.URL.Scheme+"://"+r.URL.Host] = true
		o.mu.Unlock()
	}
	return resp, err
}

// TestPushGoesOnHere: a client whose registry tells where an upload goes on by its address upstream stays at the door that it came by,
// by the name that it has a login for.
func TestPushGoesOnHere(t *testing.T) {
	for _, base := range []string{movedBase, plainBase} {
		for _, w := range []way{{doorProxy, true}, {doorProxy, false}, {doorTLS, true}, {doorHTTP, true}} {
			t.Run(base+" "+w.String(), func(t *testing.T) {
				st := movedSite(t, base)
				ref := movedName + "/team/app:v1"
				by := &origins{RoundTripper: st.by(w), seen: map[string]bool{}}
				img := world.Image(t, 2, 300<<10, 10<<10)
				if err := remote.Write(st.name(w.door, ref), img, remote.WithTransport(by), remote.WithContext(t.Context())); err != nil {
					t.Fatalf("push: %v\n%s", err, st.log)
				}
				want := strings.TrimSuffix(st.url(w, movedName, ""), "/v2/")
				if len(by.seen) != 1 || !by.seen[want] {
					t.Errorf("the client went to %v, want %s only", by.seen, want)
				}
				if n := len(st.log.requests(kindUpload)); n < 6 {
					t.Errorf("got %d lines of uploads, want POST, PATCH and PUT of each layer\n%s", n, st.log)
				}
				a := ask(t, st.by(w), "GET", st.url(w, movedName, "team/app/tags/list"))
				next, err := url.Parse(want + "/v2/team/app/tags/list")
				if err != nil {
					t.Fatal(err)
				}
				target, _, _ := strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), ">")
				if next, err = next.Parse(target); err != nil || next.String() != want+"/v2/team/app/tags/list?last=b&n=2" {
					t.Errorf("the Link leads to %s, %v, want it at %s", next, err, want)
				}
			})
		}
	}
}

// TestPlainPushByProxyGoesOnHere: the same where the proxy is asked by an absolute http URL.
func TestPlainPushByProxyGoesOnHere(t *testing.T) {
	st := movedSite(t, movedBase)
	resp, body := st.do(doorProxy, "POST", "http://"+movedName+"/v2/team/app/blobs/uploads/")
	if at := resp.Header.Get("Location"); resp.StatusCode != 202 || !strings.HasPrefix(at, "http://"+movedName+"/v2/") {
		t.Errorf("got %d %s, Location %q, want it at http://%s", resp.StatusCode, body, at, movedName)
	}
}

// TestChunkOutOfOrder: what the registry says of a chunk of an upload that is not the next one comes as it was said.
func TestChunkOutOfOrder(t *testing.T) {
	st := movedSite(t, movedBase)
	by := st.by(way{doorProxy, true})
	a := ask(t, by, "POST", "https://"+movedName+"/v2/team/app/blobs/uploads/")
	if a = ask(t, by, "PATCH", a.Header.Get("Location"), "Content-Range", "5-9"); a.StatusCode != 416 || !strings.Contains(string(a.body), "BLOB_UPLOAD_UNKNOWN") {
		t.Errorf("got %d %s, want the registry's 416", a.StatusCode, a.body)
	}
}

// TestLinkOfPrivateListing: by the mirror door a client with a credential of its own is led on there too.
func TestLinkOfPrivateListing(t *testing.T) {
	st := movedSite(t, movedBase)
	if err := remote.Write(st.name(doorProxy, movedName+"/team/app:v1"), world.Image(t, 2, 1000), remote.WithTransport(st.transport(doorProxy))); err != nil {
		t.Fatal(err)
	}
	path := "/v2/" + movedName + "/team/app/tags/list"
	a := ask(t, st.transport(doorMirror), "GET", st.mirror(path), "Authorization", "Bearer x")
	if link := a.Header.Get("Link"); a.StatusCode != 200 || link != "<"+path+`?last=b&n=2>; rel="next"` {
		t.Errorf("got %d, Link %s, want it to lead to %s", a.StatusCode, link, path)
	}
}

// TestMoved: what names the registry as it is asked is moved, whatever else there is stays to the last byte.
func TestMoved(t *testing.T) {
	own := &url.URL{Scheme: "https", Host: movedName}
	for _, row := range []struct{ base, target, want string }{
		{movedBase, movedBase + "/v2/a%2Fb/?_state=A%2BB+c&x", "https://" + movedName + "/v2/a%2Fb/?_state=A%2BB+c&x"},
		{movedBase, "https://REG.example.com:6543/v2/", "https://" + movedName + "/v2/"},
		{movedBase, "//reg.example.com:6543/v2/", "https://" + movedName + "/v2/"},
		{"https://a.example.com", "https://a.example.com:443/v2/", "https://" + movedName + "/v2/"},
		{"http://a.example.com:80", "http://a.example.com/v2/", "https://" + movedName + "/v2/"},
		{movedBase, "https://bucket.storage.example.com/x?Signature=abc%2F", ""},
		{movedBase, "https://reg.example.com/v2/", ""},
		{movedBase, "http://reg.example.com:6543/v2/", ""},
		{movedBase, "https://ada:secret@reg.example.com:6543/v2/", ""},
		{movedBase, "/v2/a//b", ""},
		{movedBase, "", ""},
		{movedBase, "https://%zz/", ""},
	} {
		base, err := url.Parse(row.base)
		if err != nil {
			t.Fatal(err)
		}
		want := row.want
		if want == "" {
			want = row.target
		}
		if got := moved(row.target, base, own); got != want {
			t.Errorf("%s of %s: got %s, want %s", row.target, row.base, got, want)
		}
	}
}

// wantsToken is a registry that is read and written with a token only, which whoever logs in as ada gets at base.
type wantsToken struct {
	http.Handler
	base string
}

func (w wantsToken) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/auth" {
		if user, password, _ := r.BasicAuth(); user != "ada" || password != "secret" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(rw, `{"token":"ada's"}`)
		return
	}
	if r.Header.Get("Authorization") != "Bearer ada's" {
		rw.Header().Set("Www-Authenticate", `Bearer realm="`+w.base+`/auth",service="inner",scope="repository:team/app:pull,push"`)
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Handler.ServeHTTP(rw, r)
}

// TestLoginGoesOnHere: a client whose registry wants a token from its address upstream brings its login to the door that it came by,
// whether a ping tells it where, a manifest or a push, and the mirror's client is told what the registry says.
func TestLoginGoesOnHere(t *testing.T) {
	for _, base := range []string{movedBase, plainBase} {
		for _, w := range []way{{doorProxy, true}, {doorProxy, false}, {doorTLS, true}, {doorHTTP, true}} {
			t.Run(base+" "+w.String(), func(t *testing.T) {
				st := movedSite(t, base, func(h http.Handler) http.Handler { return wantsToken{h, base} })
				by := &origins{RoundTripper: st.by(w), seen: map[string]bool{}}
				ref := st.name(w.door, movedName+"/team/app:v1")
				ada := remote.WithAuth(&authn.Basic{Username: "ada", Password: "secret"})
				if err := remote.Write(ref, world.Image(t, 2, 1000), remote.WithTransport(by), ada); err != nil {
					t.Fatalf("push: %v\n%s", err, st.log)
				}
				if _, err := remote.Image(ref, remote.WithTransport(by), ada); err != nil {
					t.Fatalf("pull: %v\n%s", err, st.log)
				}
				want := strings.TrimSuffix(st.url(w, movedName, ""), "/v2/")
				if len(by.seen) != 1 || !by.seen[want] {
					t.Errorf("the client went to %v, want %s only", by.seen, want)
				}
				for _, path := range []string{"", "team/app/manifests/v1", "team/app/tags/list", "team/app/blobs/" + cache.DigestOf([]byte("x")).String()} {
					for _, header := range [][]string{nil, {"Authorization", "Bearer another's"}} {
						a := ask(t, st.by(w), "GET", st.url(w, movedName, path), header...)
						if got := a.Header.Get("Www-Authenticate"); a.StatusCode != 401 || !strings.HasPrefix(got, `Bearer realm="`+want+`/auth",`) {
							t.Errorf("/v2/%s with %q: got %d, %s, want the realm at %s", path, header, a.StatusCode, got, want)
						}
					}
				}
				a := ask(t, st.transport(doorMirror), "GET", st.mirror("/v2/"+movedName+"/team/app/manifests/v1"), "Authorization", "Bearer another's")
				if got := a.Header.Get("Www-Authenticate"); a.StatusCode != 401 || !strings.HasPrefix(got, `Bearer realm="`+base+`/auth",`) {
					t.Errorf("by the mirror: got %d, %s, want the realm at %s", a.StatusCode, got, base)
				}
			})
		}
	}
}

// TestRealmByName: a registry that is asked at another address sends for tokens to its name, which may be led here, or be known nowhere
// else: a client is sent to the door that it came by, and we ask where the registry is.
func TestRealmByName(t *testing.T) {
	for _, base := range []string{movedBase, plainBase} {
		for _, name := range []string{"https://" + movedName, "https://" + movedName + ":443", "http://" + movedName, "http://" + movedName + ":80"} {
			if strings.HasPrefix(name, "http:") && base == movedBase {
				continue // from TLS to plain HTTP, which is refused
			}
			st := movedSite(t, base, func(h http.Handler) http.Handler { return opensToAll{h, name} })
			for _, w := range []way{{doorProxy, true}, {doorTLS, true}, {doorHTTP, true}} {
				by := &origins{RoundTripper: st.by(w), seen: map[string]bool{}}
				want := strings.TrimSuffix(st.url(w, movedName, ""), "/v2/")
				if strings.HasPrefix(name, "http:") && (w.door != doorHTTP || strings.HasSuffix(name, ":80")) {
					continue // it leads there by itself, or past us as it says
				}
				if err := remote.Write(st.name(w.door, movedName+"/team/app:v1"), world.Image(t, 2, 1000), remote.WithTransport(by)); err != nil {
					t.Fatalf("%s, %s, push by %s: %v\n%s", base, name, w, err, st.log)
				}
				if len(by.seen) != 1 || !by.seen[want] {
					t.Errorf("%s, %s, by %s: the client went to %v, want %s only", base, name, w, by.seen, want)
				}
			}
			brought := remote.WithAuth(&authn.Bearer{Token: "everybody's"})
			if err := remote.Write(st.name(doorHTTP, movedName+"/team/app:v1"), world.Image(t, 2, 1000), remote.WithTransport(st.by(way{doorHTTP, true})), brought); err != nil {
				t.Fatal(err)
			}
			if a := ask(t, st.transport(doorMirror), "GET", st.mirror("/v2/"+movedName+"/team/app/manifests/v1")); a.StatusCode != 200 {
				t.Errorf("%s, %s, by the mirror: got %d %s\n%s", base, name, a.StatusCode, a.body, st.log)
			}
		}
	}
}

// opensToAll is a registry that gives everybody a token at /auth of name.
type opensToAll struct {
	http.Handler
	name string
}

func (o opensToAll) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/auth":
		io.WriteString(rw, `{"token":"everybody's"}`)
	case r.Header.Get("Authorization") != "Bearer everybody's":
		rw.Header().Set("Www-Authenticate", `Bearer realm="`+o.name+`/auth",service="inner"`)
		rw.WriteHeader(http.StatusUnauthorized)
	default:
		o.Handler.ServeHTTP(rw, r)
	}
}

// TestRealmElsewhere: a realm at another host of the registry stays as the registry says it, to clients that speak TLS. To those of the http
// door it is at the name by which they came: the other one may not lead here, and the password would be read on its way to it.
func TestRealmElsewhere(t *testing.T) {
	st := newSite(t)
	st.world.Account("docker.io", "ada", "right", "acme/*")
	st.world.Private("docker.io/acme/app")
	p := st.world.Push(t, "docker.io/acme/app:v1", world.Image(t, 2, 1000))
	for door, realm := range map[string]string{
		doorProxy: "https://auth.docker.io/token", doorTLS: "https://auth.docker.io/token",
		doorHTTP: "http://registry-1.docker.io/-/realm/auth.docker.io/token",
	} {
		w := way{door, true}
		for _, path := range []string{"", "acme/app/manifests/v1", "acme/app/tags/list"} {
			a := ask(t, st.by(w), "GET", strings.Replace(st.url(w, "docker.io", path), "//docker.io/", "//registry-1.docker.io/", 1), "Authorization", "Bearer another's")
			if got := a.Header.Get("Www-Authenticate"); a.StatusCode != 401 || !strings.HasPrefix(got, `Bearer realm="`+realm+`",`) {
				t.Errorf("/v2/%s by %s: got %d, %s, want the realm %s", path, door, a.StatusCode, got, realm)
			}
		}
		by := &origins{RoundTripper: st.by(w), seen: map[string]bool{}}
		for password, want := range map[string]bool{"right": true, "wrong": false} {
			login := remote.WithAuth(&authn.Basic{Username: "ada", Password: password})
			got, err := remote.Get(st.name(door, "registry-1.docker.io/acme/app:v1"), remote.WithTransport(by), login)
			if (err == nil) != want || want && got.Digest.String() != p.Digest {
				t.Errorf("ada by %s, %s password: got %v, %v", door, password, got, err)
			}
		}
		if door == doorHTTP && (len(by.seen) != 1 || !by.seen["http://registry-1.docker.io"]) {
			t.Errorf("the client went to %v, want the name that it came by", by.seen)
		}
	}
	for _, path := range []string{"/-/realm/quay.io/v2/auth", "/-/realm/", "/-/realm/auth.docker.io", "/-/realm/evil.example.com/token", "/-/realm/169.254.169.254/token"} {
		before := st.world.Host("quay.io").Counts().Requests + st.world.Host("auth.docker.io").Counts().Requests
		a := ask(t, st.by(way{doorHTTP, true}), "GET", "http://registry-1.docker.io"+path)
		if n := st.world.Host("quay.io").Counts().Requests + st.world.Host("auth.docker.io").Counts().Requests; a.StatusCode < 400 || n != before {
			t.Errorf("%s: got %d, and others were asked %d times", path, a.StatusCode, n-before)
		}
	}
}
