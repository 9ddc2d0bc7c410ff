package proxy

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// lender is a vault whose mirror has ada's credential of its own, and asks for passwords or not, see as.
type lender struct {
	*vault
	file  string // with ada's password
	users *Users
}

func newLender(t *testing.T, share ...string) *lender {
	l := &lender{newVault(t), t.TempDir() + "/password", usersOf(t, "bob", "bobs", "carol", "carols")}
	l.say("right")
	l.configure(hosts.Credential{Username: "ada", PasswordFile: l.file}, share...)
	return l
}

// as is the field by which a user logs in to the mirror. For nobody ("") the mirror asks for no login from now on: whom it does not
// let in at all is of no interest here.
func (l *lender) as(user string) []string {
	if user == "" {
		l.server.SetUsers(nil, nil)
		return nil
	}
	l.server.SetUsers(l.users, nil)
	return []string{"Authorization", basicAuth(user, user+"s")}
}

func (l *lender) say(password string) {
	l.t.Helper()
	if err := os.WriteFile(l.file, []byte(password), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// configure puts a table in force in which the registries have this credential, none if it is zero.
func (l *lender) configure(c hosts.Credential, share ...string) {
	l.t.Helper()
	list := append(hosts.Defaults(), hosts.Registry{Name: corp}, hosts.Registry{Name: world.ECR})
	for i := range list {
		if r := &list[i]; r.Name == "docker.io" || r.Name == corp {
			if r.Share = share; !c.IsZero() {
				r.Credentials = []hosts.Credential{c}
			}
		}
	}
	table, err := hosts.New(list)
	if err != nil {
		l.t.Fatal(err)
	}
	l.server.SetTable(table)
}

// want asks the mirror for a path below a registry, as user ("" for nobody), and returns the answer.
func (l *lender) want(reg, path, user string, header ...string) answer {
	l.t.Helper()
	header = append(l.as(user), header...)
	w := way{doorMirror, true}
	return ask(l.t, l.by(w), "GET", l.url(w, reg, path), append(header, accepting...)...)
}

// everywhere checks that a caller gets all of acme/app, or none of it, by every method, range and listing.
func (l *lender) everywhere(what, reg, user string, open bool) {
	l.t.Helper()
	w := way{doorMirror, true}
	rt := l.by(w)
	paths := append(l.paths(reg), "acme/app/tags/list", "acme/app/referrers/"+l.held[reg].Digest)
	for _, path := range paths {
		for _, request := range [][]string{{"GET"}, {"HEAD"}, {"GET", "Range", "bytes=5-9"}, {"GET", "If-None-Match", "*"}} {
			header := slices.Concat(request[1:], accepting, l.as(user))
			a := ask(l.t, rt, request[0], l.url(w, reg, path), header...)
			if !open && !refused(a) {
				l.t.Errorf("%s: %v %s: got %d %v %.80q, want it refused", what, request, path[:17], a.StatusCode, a.Header, a.body)
			}
			if open && a.StatusCode >= 400 && l.exists(reg, request[0], path) {
				l.t.Errorf("%s: %v %s: got %d %.200q, want it", what, request, path, a.StatusCode, a.body)
			}
		}
	}
}

// exists tells whether there is something to be had: a layer is no manifest, and a registry has no HEAD of listings.
func (l *lender) exists(reg, method, path string) bool {
	digest, ok := strings.CutPrefix(path, "acme/app/manifests/")
	return !(ok && slices.Contains(l.held[reg].Blobs, digest)) && (method == "GET" || !strings.Contains(path, "/tags/") && !strings.Contains(path, "/referrers/"))
}

// TestOwnCredentialIsForUsers: what only our credential reads goes to those who logged in to the mirror, before and after, by all ways;
// and it is nobody's proof but theirs (the single account of distribution, Harbor, zot, Quay, Nexus, Artifactory).
func TestOwnCredentialIsForUsers(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		t.Run(reg, func(t *testing.T) {
			l := newLender(t)
			l.everywhere("a stranger at first", reg, "", false)
			l.everywhere("a user", reg, "bob", true)
			l.settled()
			l.everywhere("a stranger afterwards", reg, "", false)
			before := l.world.BlobBytes()
			for _, b := range l.held[reg].Blobs {
				if a := l.want(reg, "acme/app/blobs/"+b, "carol"); a.StatusCode != 200 || a.Header.Get("Cache-Status") != cacheStatus[cacheHit] {
					t.Errorf("another user: got %d %v, want a hit", a.StatusCode, a.Header)
				}
			}
			l.world.NoMoreBlobBytes(t, before)
			l.clock.advance(2 * proofLife)
			l.everywhere("a stranger later", reg, "", false)
			l.world.NoLeaks(t)
			if _, err := l.store.Tag((&request{registry: reg, repo: "acme/app"}).publicKey()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is remembered to be public: %v", err)
			}
		})
	}
}

// TestOwnCredentialInAnOutage: without upstream users get what was proven for them within the hour, strangers nothing.
func TestOwnCredentialInAnOutage(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		t.Run(reg, func(t *testing.T) {
			l := newLender(t)
			l.everywhere("a user", reg, "bob", true)
			l.settled()
			l.clock.advance(30 * time.Minute)
			l.unplug()
			for _, path := range []string{"acme/app/manifests/v1", "acme/app/manifests/" + l.held[reg].Digest, "acme/app/blobs/" + l.held[reg].Blobs[1]} {
				if a := l.want(reg, path, "carol"); a.StatusCode != 200 {
					t.Errorf("a user, %s: got %d %s", path, a.StatusCode, a.body)
				}
				if a := l.want(reg, path, ""); a.StatusCode < 400 || len(a.body) > 1000 {
					t.Errorf("a stranger, %s: got %d", path, a.StatusCode)
				}
			}
			l.clock.advance(staleAuth)
			if a := l.want(reg, "acme/app/manifests/v1", "bob"); a.StatusCode < 400 {
				t.Errorf("a user after the hour: got %d", a.StatusCode)
			}
		})
	}
}

// TestShare: what the operator shares is everybody's, nothing beside it, and no longer than he does.
func TestShare(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		t.Run(reg, func(t *testing.T) {
			own := hosts.Credential{}
			l := newLender(t, "acme/app")
			own, _ = mustLookup(t, l, reg).Credential("acme/app")
			l.world.Private(reg + "/acme/other")
			other := l.world.Push(t, reg+"/acme/other:v1", world.Image(t, 77, 1000))
			l.everywhere("a stranger", reg, "", true)
			for _, path := range []string{"acme/other/manifests/v1", "acme/other/tags/list", "acme/other/blobs/" + other.Blobs[0], "acme/app/blobs/" + other.Blobs[0]} {
				if a := l.want(reg, path, ""); !refused(a) {
					t.Errorf("beside what is shared: %s: got %d %v", path, a.StatusCode, a.Header)
				}
			}
			l.want(reg, "acme/other/manifests/v1", "bob")
			if a := l.want(reg, "acme/app/manifests/"+other.Digest, ""); !refused(a) {
				t.Errorf("another repository's digest: got %d", a.StatusCode)
			}
			l.settled()
			l.configure(own)
			l.everywhere("no longer shared", reg, "", false)
			l.everywhere("no longer shared, a user", reg, "bob", true)
			l.configure(hosts.Credential{}, "acme/app")
			l.everywhere("no credential any more", reg, "bob", false)
			l.world.NoLeaks(t)
		})
	}
}

func mustLookup(t *testing.T, l *lender, reg string) hosts.Registry {
	t.Helper()
	r, ok := l.server.table.Load().Lookup(reg)
	if !ok {
		t.Fatalf("no registry %s", reg)
	}
	return r
}

// TestStrangersDoNotJoinOurs: a transfer that our credential began for a user is nothing for a stranger to join.
func TestStrangersDoNotJoinOurs(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		l := newLender(t)
		layer := "acme/app/blobs/" + l.held[reg].Blobs[1]
		storage := map[string]string{"docker.io": "production.cloudflare.docker.com", corp: corp}[reg]
		stalled := l.world.Host(storage).Fault(world.Fault{Kind: world.Stall, At: 200 << 10, On: world.Blob, Method: "GET"})
		w := way{doorMirror, true}
		rt, to := l.by(w), l.url(w, reg, layer)
		user, login := make(chan answer), l.as("bob")
		go func() {
			a, _ := try(t.Context(), rt, "GET", to, login...)
			user <- a
		}()
		<-stalled.Hit()
		l.as("")
		for _, header := range [][]string{nil, {"Range", "bytes=0-99"}} {
			if a := ask(t, rt, "GET", to, header...); !refused(a) {
				t.Errorf("%s, a stranger: got %d, %d bytes", reg, a.StatusCode, len(a.body))
			}
		}
		stalled.Release()
		if a := <-user; a.err != nil || len(a.body) != 300<<10 {
			t.Errorf("%s, the user: got %d bytes, %v", reg, len(a.body), a.err)
		}
	}
}

// TestFingerprints: each credential of ours has one, unlike everybody's and unlike that of any field a client can send.
func TestFingerprints(t *testing.T) {
	l := newLender(t)
	nobody, _ := http.NewRequest("GET", "/", nil)
	own := func(c hosts.Credential) fingerprint {
		return l.server.access.fingerprint(&request{own: c, entitled: true}, nobody)
	}
	a, b := hosts.Credential{Helper: "a"}, hosts.Credential{Helper: "b"}
	again := own(a)
	if own(a) == own(b) || own(a) != again || again == (fingerprint{}) || l.server.access.fingerprint(&request{own: a}, nobody) != (fingerprint{}) {
		t.Errorf("got %x, %x and %x", again, own(a), own(b))
	}
	resp, body, _ := l.site.say(doorMirror, fmt.Sprintf("GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: \x00%q\r\n\r\n", a))
	if resp.StatusCode != 400 {
		t.Errorf("a field with a zero byte: got %d %s, want 400", resp.StatusCode, body)
	}
}

// TestClientCredentialComesFirst: who brings a credential of his own is asked for with that and no other (rpardini #61); and ours is of
// the mirror door alone.
func TestClientCredentialComesFirst(t *testing.T) {
	l := newLender(t, "acme/app")
	for who, credential := range l.strangers(corp) {
		if credential == "" {
			continue
		}
		for _, path := range l.paths(corp) {
			if a := l.want(corp, path, "", "Authorization", credential); !refused(a) {
				t.Errorf("%s: got %d by our credential", who, a.StatusCode)
			}
		}
	}
	for _, w := range []way{{doorProxy, true}, {doorProxy, false}, {doorTLS, true}, {doorHTTP, true}} {
		for _, reg := range []string{"docker.io", corp} {
			for _, path := range []string{"acme/app/manifests/v1", "acme/app/tags/list", "acme/app/blobs/" + l.held[reg].Blobs[0]} {
				if a := ask(t, l.by(w), "GET", l.url(w, reg, path), accepting...); a.StatusCode != 401 {
					t.Errorf("%v, %s/%s: got %d, want the registry's 401", w, reg, path, a.StatusCode)
				}
			}
		}
	}
	for _, r := range l.world.Requests() {
		if r.Authorization == "Basic" && r.Host == "auth.docker.io" {
			t.Errorf("our password was sent: %v", r)
		}
	}
	// Of two fields the first is empty: they are his all the same.
	req, _ := http.NewRequestWithContext(t.Context(), "GET", l.mirror("/v2/"+corp+"/acme/app/manifests/v1"), nil)
	req.Header = http.Header{"Authorization": {"", basicAuth("eve", "pass")}, "Accept": {manifestTypes}}
	resp, err := l.transport(doorMirror).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode == 200 {
		t.Errorf("two fields: got %d by our credential", resp.StatusCode)
	}
}

// TestPathsThatMeanAnother: no path makes our password open another repository or the catalog than the one it was lent for.
func TestPathsThatMeanAnother(t *testing.T) {
	l := newLender(t, "acme/app")
	seen := l.seen(corp)
	l.world.Host(corp).Fault(world.Fault{
		Kind: world.Status, Status: 401, Times: -1, Header: map[string]string{"WWW-Authenticate": `Basic realm="all"`},
		Match: func(r *http.Request) bool { return r.Header.Get("Authorization") == "" },
	})
	if a := l.want(corp, "acme/app/tags/list", ""); a.StatusCode != 200 || !strings.Contains(strings.Join(seen(), "\n"), "Basic") {
		t.Fatalf("a path that means what it says: got %d, want our password to open it", a.StatusCode)
	}
	before := len(seen())
	for _, path := range []string{
		"acme/app/tags/list/../../../secret/x/tags/list", "acme/app/tags/list/../../../_catalog", "acme/app/tags/list%2f..%2f..%2f..%2f_catalog", "_catalog",
		"acme/app/tags/listing", "acme/app/../secret/manifests/v1", "acme/app/referrers/x",
	} {
		st := l.raw(doorMirror)
		fmt.Fprintf(st, "GET /v2/%s/%s HTTP/1.1\r\nHost: x\r\n\r\n", corp, path)
		hear(t, st)
	}
	for _, line := range seen()[before:] {
		if strings.Contains(line, "Basic") {
			t.Errorf("our password went with %s", strings.SplitN(line, " Basic", 2)[0])
		}
	}
}
