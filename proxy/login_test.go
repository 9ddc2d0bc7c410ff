package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/crypto/bcrypt"

	"github.com/entrepot/entrepot/testdata/world"
)

// usersOf are a file's users; each pair is a name and a password.
func usersOf(t testing.TB, pairs ...string) *Users {
	t.Helper()
	var lines strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		hash, err := bcrypt.GenerateFromPassword([]byte(pairs[i+1]), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s:%s\n", pairs[i], hash)
	}
	u, err := ReadUsers(htpasswd(t, lines.String()))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func htpasswd(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// guarded is a site whose mirror and proxy doors ask for ada's password, which nobody upstream has ever heard of.
func guarded(t *testing.T, change ...func(*Config)) *site {
	t.Helper()
	users := usersOf(t, "ada", "ours-only", "bob", "bobs")
	return newSite(t, append([]func(*Config){func(c *Config) { c.Users = users }}, change...)...)
}

func TestReadUsers(t *testing.T) {
	const good = "$2y$05$QvDbIwUQqBHAqEJc5yPMs.dOLIEvUSqG1WtvvAsUBPN1Rfu/2gkVi"
	for _, row := range []struct{ what, content, want string }{
		{"one user", "ada:" + good + "\n", ""},
		{"comments, empty lines, no newline at the end", "# people\n\n  ada:" + good + "\r\nbob:" + strings.Replace(good, "2y", "2a", 1), ""},
		{"nobody", "# nobody\n", "no user in it"},
		{"no hash", "ada\n", "line 1: want NAME:HASH"},
		{"no name", ":" + good, "line 1: want NAME:HASH"},
		{"twice", "ada:" + good + "\nada:" + good, `line 2: user "ada" is there twice`},
		{"MD5", "ada:$apr1$x$yyyyyyyyyyyyyyyyyyyyyy", "not hashed by bcrypt; set it again with: htpasswd -B"},
		{"SHA-1", "ada:{SHA}5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8", "not hashed by bcrypt"},
		{"plain", "ada:secret", "not hashed by bcrypt"},
		{"cost of minutes", "ada:" + strings.Replace(good, "$05$", "$20$", 1), "cost 20, want at most 14"},
	} {
		_, err := ReadUsers(htpasswd(t, row.content))
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.what, err, row.want)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "QvDb")) {
			t.Errorf("%s: %v has a hash in it", row.what, err)
		}
	}
	if _, err := ReadUsers(t.TempDir() + "/none"); err == nil || !strings.Contains(err.Error(), "see that it exists") {
		t.Errorf("no file: got %v", err)
	}
}

// TestMirrorAsksForAPassword: all but the CA's certificate, by the mirror's port and by the proxy's when it is used as one.
func TestMirrorAsksForAPassword(t *testing.T) {
	st := guarded(t)
	p := st.world.Push(t, "docker.io/library/alpine:3.20", world.Image(t, 1, 100<<10))
	for _, base := range []string{st.mirror(""), "http://" + st.doors[doorProxy]} {
		for _, path := range []string{"/v2/", "/v2/library/alpine/manifests/3.20", "/v2/library/alpine/blobs/" + p.Blobs[0], "/v2/library/alpine/tags/list", "/nothing", "/v2/a.test/b/manifests/c"} {
			for what, credential := range map[string]string{
				"nobody": "", "wrong password": basicAuth("ada", "wrong"), "unknown name": basicAuth("eve", "ours-only"), "empty": basicAuth("", ""),
				"another's password": basicAuth("bob", "ours-only"), "a token": "Bearer x", "rubbish": "Basic !!!", "the name in another case": basicAuth("Ada", "ours-only"),
			} {
				resp, body := st.get(doorMirror, base+path, bearing(credential)...)
				refusedWith(t, what+" "+path, resp, string(body), 401, codeUnauthorized, "docker login")
				if got := resp.Header.Get("Www-Authenticate"); got != basicChallenge {
					t.Errorf("%s %s: got challenge %q, want %q", what, path, got, basicChallenge)
				}
			}
		}
		if resp, _ := st.get(doorMirror, base+"/ca.crt"); resp.StatusCode != 200 {
			t.Errorf("/ca.crt without a login: got %d, want 200", resp.StatusCode)
		}
		resp, body := st.get(doorMirror, base+"/v2/", "Authorization", basicAuth("ada", "ours-only"), "Authorization", basicAuth("eve", "x"))
		refusedWith(t, "two credentials", resp, string(body), 401, codeUnauthorized, "")
		if resp, _ := st.get(doorMirror, base+"/v2/", "Authorization", basicAuth("ada", "ours-only")); resp.StatusCode != 200 {
			t.Errorf("the right password: got %d, want 200", resp.StatusCode)
		}
	}
	st.world.Silent(t)
	st.log.reset()
	st.get(doorMirror, st.mirror("/v2/"), "Authorization", basicAuth("ada", "ours-only"))
	if st.log.until(t, `"user":"ada"`); strings.Contains(st.log.String(), "ours-only") {
		t.Errorf("the log has the password:\n%s", st.log)
	}
}

// TestMirrorLoginStaysHere: a real client logs in and pulls; neither a registry nor a realm ever sees the name or the password, and
// the image is public to whoever logs in.
func TestMirrorLoginStaysHere(t *testing.T) {
	st := guarded(t)
	for i, ref := range images {
		st.world.Push(t, ref, world.Image(t, uint64(i), 30<<10))
		st.log.reset()
		st.pull(doorMirror, ref, &authn.Basic{Username: "ada", Password: "ours-only"})
		st.log.await(t, kindBlob, 2)
		st.log.reset()
		st.pull(doorMirror, ref, &authn.Basic{Username: "bob", Password: "bobs"})
		for _, l := range st.log.await(t, kindBlob, 2) {
			if l.Cache != cacheHit {
				t.Errorf("%s for another user: got %s, want HIT", ref, l.Cache)
			}
		}
		if _, err := st.tryPull(doorMirror, ref); err == nil {
			t.Errorf("%s is pulled without a login", ref)
		}
	}
	noPasswords(t, st)
	st.world.NoLeaks(t)
}

// noPasswords: the registries of the world were asked with tokens, or with nothing.
func noPasswords(t *testing.T, st *site) {
	t.Helper()
	for _, seen := range st.world.Requests() {
		if seen.Authorization != "" && seen.Authorization != "Bearer" {
			t.Errorf("upstream got a credential that was for us: %v", seen)
		}
	}
}

// TestMirrorHidesForeignChallenges: a client that answered the mirror's challenge would answer a registry's with the same password,
// at the realm that the registry names.
func TestMirrorHidesForeignChallenges(t *testing.T) {
	st := guarded(t)
	for _, reg := range []string{"docker.io", corp} {
		st.world.Account(reg, "eve", "pass", "acme/*")
		st.world.Private(reg + "/acme/app")
		st.world.Push(t, reg+"/acme/app:v1", world.Image(t, 1, 30<<10))
		for _, path := range []string{"manifests/v1", "tags/list", "token"} {
			resp, body := st.get(doorMirror, st.mirror("/v2/acme/app/"+path+"?ns="+reg), bearing(basicAuth("ada", "ours-only"), accepting...)...)
			if resp.StatusCode != 403 && resp.StatusCode != 404 || resp.Header.Get("Www-Authenticate") != "" {
				t.Errorf("%s %s: got %d %q %s, want a no without a challenge", reg, path, resp.StatusCode, resp.Header.Get("Www-Authenticate"), body)
			}
		}
	}
}

// TestProxyAsksForAPassword: CONNECT and absolute-form alike. A registry's credential goes its way inside.
func TestProxyAsksForAPassword(t *testing.T) {
	st := guarded(t)
	st.world.Push(t, "quay.io/org/tool:v1", world.Image(t, 2, 30<<10))
	for what, credential := range map[string]string{"nobody": "", "wrong": basicAuth("ada", "wrong"), "a token": "Bearer x"} {
		field := ""
		if credential != "" {
			field = "Proxy-Authorization: " + credential + "\r\n"
		}
		for _, target := range []string{"quay.io:443", "unknown.example.org:443", "127.0.0.1:22"} {
			resp, body, closed := st.say(doorProxy, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n"+field+"\r\n")
			refusedWith(t, what+" CONNECT", resp, body, 407, codeUnauthorized, "HTTPS_PROXY=http://NAME:PASSWORD")
			if got := resp.Header.Get("Proxy-Authenticate"); got != basicChallenge || !closed {
				t.Errorf("%s CONNECT %s: got challenge %q, closed %v, want %q and an end", what, target, got, closed, basicChallenge)
			}
		}
		resp, body, _ := st.say(doorProxy, "GET http://unknown.example.org/ HTTP/1.1\r\nHost: unknown.example.org\r\n"+field+"\r\n")
		refusedWith(t, what+" absolute", resp, body, 407, codeUnauthorized, "HTTPS_PROXY")
		if got := resp.Header.Get("Proxy-Authenticate"); got != basicChallenge {
			t.Errorf("%s absolute: got challenge %q, want %q", what, got, basicChallenge)
		}
	}
	// What is for a server is no credential for a proxy.
	resp, _, _ := st.say(doorProxy, "CONNECT quay.io:443 HTTP/1.1\r\nHost: quay.io:443\r\nAuthorization: "+basicAuth("ada", "ours-only")+"\r\n\r\n")
	if resp.StatusCode != 407 {
		t.Errorf("Authorization at a proxy: got %d, want 407", resp.StatusCode)
	}
	st.world.Silent(t)

	rt := st.transport(doorProxy)
	rt.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: st.doors[doorProxy], User: url.UserPassword("ada", "ours-only")})
	st.log.reset()
	a := ask(t, rt, "GET", "https://quay.io/v2/org/tool/manifests/v1", accepting...)
	if a.StatusCode != 401 || !strings.HasPrefix(a.Header.Get("Www-Authenticate"), "Bearer ") {
		t.Errorf("inside the proxy: got %d %v, want quay's own challenge", a.StatusCode, a.Header)
	}
	st.log.until(t, `"user":"ada"`)
	noPasswords(t, st)
}

// TestProxyLoginStaysHere: a plain server behind the proxy gets its own credential and not ours.
func TestProxyLoginStaysHere(t *testing.T) {
	ways := map[string]string{}
	st := guarded(t, leading(ways))
	ways["plain.test:80"] = st.target(func(c *net.TCPConn) {
		defer c.Close()
		var head strings.Builder
		for buf := make([]byte, 4096); !strings.Contains(head.String(), "\r\n\r\n"); {
			n, err := c.Read(buf)
			if head.Write(buf[:n]); err != nil {
				return
			}
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", head.Len(), head.String())
	})
	resp, body, _ := st.say(doorProxy, "GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\nAuthorization: Bearer theirs\r\nProxy-Authorization: "+
		basicAuth("ada", "ours-only")+"\r\n\r\n")
	if resp.StatusCode != 200 || !strings.Contains(body, "Bearer theirs") || strings.Contains(body, "Proxy-") || strings.Contains(body, "Basic") {
		t.Errorf("got %d, the server saw\n%s\nwant its own credential there and nothing of ours", resp.StatusCode, body)
	}
}

// TestTransparentDoorsAskNobody: their clients believe to be at the registry, whose credential they bring.
func TestTransparentDoorsAskNobody(t *testing.T) {
	st := guarded(t)
	st.healthy(doorTLS)
	st.healthy(doorHTTP)
}

// TestSetUsers: a new file counts at once, and what was remembered of the old one does not.
func TestSetUsers(t *testing.T) {
	st := guarded(t)
	for _, step := range []struct {
		users           *Users
		old, new, empty int
	}{
		{st.server.clients.users.Load(), 200, 401, 401},
		{usersOf(t, "ada", "changed"), 401, 200, 401},
		{usersOf(t, "bob", "changed"), 401, 401, 401},
		{nil, 200, 200, 200},
	} {
		st.server.SetUsers(step.users, nil)
		for password, want := range map[string]int{"ours-only": step.old, "changed": step.new, "": step.empty} {
			resp, _ := st.get(doorMirror, st.mirror("/v2/"), "Authorization", basicAuth("ada", password))
			if resp.StatusCode != want {
				t.Errorf("ada with %q: got %d, want %d", password, resp.StatusCode, want)
			}
		}
	}
}

// TestGateSharesAndRemembers: a pull's many requests cost one comparison, and unknown names cost one each like known ones.
func TestGateSharesAndRemembers(t *testing.T) {
	g := newGate(usersOf(t, "ada", "right"))
	g.slots = make(chan struct{}, 1)
	g.slots <- struct{}{} // somebody is being looked at
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if ok, err := g.check(t.Context(), "10.0.0.7", "ada", "right"); !ok || err != nil {
				t.Errorf("got %v, %v, want yes", ok, err)
			}
		})
	}
	<-g.slots
	all.Wait()
	g.slots = nil // no more comparison can begin
	if ok, err := g.check(t.Context(), "10.0.0.7", "ada", "right"); !ok || err != nil {
		t.Errorf("a second time: got %v, %v, want yes without a comparison", ok, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.slots = make(chan struct{}, 1)
	g.slots <- struct{}{}
	if ok, err := g.check(ctx, "10.0.0.7", "eve", "right"); ok || err == nil {
		t.Errorf("an unknown name: got %v, %v, want to wait for a slot like everybody", ok, err)
	}
	<-g.slots
	if ok, err := g.check(t.Context(), "10.0.0.7", "eve", "right"); ok || err != nil {
		t.Errorf("an unknown name with a known password: got %v, %v, want no", ok, err)
	}
	if g.passed.Len() != 1 {
		t.Errorf("got %d answers remembered, want the one yes", g.passed.Len())
	}
}

// TestGateIsFair: who tries passwords fills his own share of the queue, and nobody else's. With IPv6 he has more addresses than one.
func TestGateIsFair(t *testing.T) {
	for guesser, other := range map[string]string{"10.6.6.6": "10.0.0.7", "2001:db8:0:6::%x": "2001:db8:0:7::1"} {
		g := newGate(usersOf(t, "ada", "right"))
		g.slots = make(chan struct{}, 1)
		g.slots <- struct{}{}
		var all sync.WaitGroup
		var busy atomic.Int64
		for i := range 3 * maxWaiting {
			from := strings.ReplaceAll(guesser, "%x", fmt.Sprintf("%x", i+1))
			all.Go(func() {
				ok, err := g.check(t.Context(), from, "ada", fmt.Sprint("guess", i))
				if errors.Is(err, errBusy) {
					busy.Add(1)
				}
				if ok {
					t.Error("a guess is taken for the password")
				}
			})
		}
		eventually(t, "the guesses beyond the share are turned away", func() bool { return busy.Load() == 2*maxWaiting })
		all.Go(func() {
			if ok, err := g.check(t.Context(), other, "ada", "right"); !ok || err != nil {
				t.Errorf("somebody else: got %v, %v, want yes", ok, err)
			}
		})
		<-g.slots
		all.Wait()
		if len(g.waiting) != 0 {
			t.Errorf("got %v still counted, want nobody", g.waiting)
		}
	}
}

// TestTunnelLogin: what is tunnelled untouched is asked for too, and the log says by whom.
func TestTunnelLogin(t *testing.T) {
	ways := map[string]string{}
	st := guarded(t, leading(ways))
	ways["tunnelled.test:443"] = st.target(func(c *net.TCPConn) { fmt.Fprint(c, "hello"); c.Close() })
	c := st.raw(doorProxy)
	fmt.Fprintf(c, "CONNECT tunnelled.test:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: %s\r\n\r\n", basicAuth("bob", "bobs"))
	var got strings.Builder
	for buf := make([]byte, 512); !strings.HasSuffix(got.String(), "hello"); {
		n, err := c.Read(buf)
		if got.Write(buf[:n]); err != nil {
			t.Fatalf("got %q, %v, want hello through the tunnel", got.String(), err)
		}
	}
	c.Close()
	st.log.until(t, `"user":"bob"`)
}
