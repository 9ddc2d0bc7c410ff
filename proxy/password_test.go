package proxy

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestLoginInAnOutage: a ping that brings a password wants to know whether it is right, as docker's and skopeo's login do. While the
// registry cannot be asked only what it has said before is an answer; the pings that begin a pull go on to be answered.
func TestLoginInAnOutage(t *testing.T) {
	right, wrong := basicAuth("AWS", "world"), basicAuth("AWS", "wrong")
	for what, outage := range map[string]func(*site){
		"says 503": func(st *site) {
			st.world.Host(world.ECR).Fault(world.Fault{Kind: world.Status, Status: 503, Times: -1, Header: map[string]string{"Retry-After": "17"}})
		},
		"refused": func(st *site) { st.cutOff(world.ECR, nil) },
		"timeout": func(st *site) { st.cutOff(world.ECR, os.ErrDeadlineExceeded) },
	} {
		for _, w := range writable {
			t.Run(what+" "+w.String(), func(t *testing.T) {
				st := newSite(t)
				clock := st.clock()
				rt, url := st.by(w), st.url(w, world.ECR, "")
				p := st.world.Push(t, world.ECR+"/app:v1", world.Image(t, 1, 50<<10))
				for credential, status := range map[string]int{"": 401, right: 200, wrong: 401} {
					if a := ask(t, rt, "GET", url, bearing(credential)...); a.StatusCode != status {
						t.Fatalf("%q: got %d, want %d", credential, a.StatusCode, status)
					}
				}
				pulls := func(when string) {
					t.Helper()
					for _, path := range []string{"app/manifests/v1", "app/manifests/" + p.Digest, "app/blobs/" + p.Blobs[1]} {
						if a := ask(t, rt, "GET", st.url(w, world.ECR, path), bearing(right, accepting...)...); a.StatusCode != 200 {
							t.Errorf("%s: %s: got %d %s", when, path, a.StatusCode, a.body)
						}
					}
				}
				pulls("before")
				st.settled()
				outage(st)
				clock.advance(10 * time.Minute) // the tag is not fresh, nor the proof
				for who, credential := range map[string]string{"nobody": "", "the right password": right, "a token": "Bearer x"} {
					a := ask(t, rt, "GET", url, bearing(credential)...)
					if a.StatusCode != 200 || a.Header.Get("Cache-Status") != cacheStatus[cacheStale] {
						t.Errorf("%s: got %d %v %s, want a stale yes", who, a.StatusCode, a.Header, a.body)
					}
					if asks := a.Header.Get("Www-Authenticate"); !strings.HasPrefix(asks, "Basic ") {
						t.Errorf("%s: got the challenge %q, want the registry's, or skopeo sends no password", who, asks)
					}
				}
				doubted := func(who, credential string) {
					t.Helper()
					resp, body := st.get(w.door, url, "Authorization", credential)
					refusedWith(t, who, resp, string(body), http.StatusServiceUnavailable, codeUnavailable, "whether the password is right")
					if after := resp.Header.Get("Retry-After"); after != map[bool]string{true: "17", false: soon}[what == "says 503"] {
						t.Errorf("%s: got Retry-After %q", who, after)
					}
				}
				doubted("a wrong password", wrong)
				doubted("another user", basicAuth("eve", "world"))
				pulls("in the outage")
				clock.advance(staleAuth)
				doubted("what was right long ago", right)
			})
		}
	}
}

// offlineSite holds corp's team/app:v1, which is public, and asks no registry.
func offlineSite(t *testing.T) (*site, world.Pushed) {
	t.Helper()
	st := newSite(t)
	const ref = corp + "/team/app:v1"
	p := st.world.Push(t, ref, world.Image(t, 1, 50<<10))
	st.pull(doorProxy, ref)
	st.awaitPublic(ref, p.Digest)
	st.restart(func(c *Config) { c.Offline = true })
	return st, p
}

// TestLoginOffline: with --offline nobody can say either, but what is held and public is pulled, whatever credential comes with it.
func TestLoginOffline(t *testing.T) {
	st, p := offlineSite(t)
	base := "https://" + corp + "/v2/"
	credential := basicAuth("ada", "right")
	resp, body := st.get(doorProxy, base, "Authorization", credential)
	refusedWith(t, "a login", resp, string(body), http.StatusServiceUnavailable, codeUnavailable, "whether the password is right")
	for _, path := range []string{"manifests/v1", "blobs/" + p.Blobs[1]} {
		if resp, body := st.get(doorProxy, base+"team/app/"+path, "Authorization", credential, "Accept", manifestTypes); resp.StatusCode != 200 {
			t.Errorf("%s: got %s: %s", path, resp.Status, body)
		}
	}
}

// TestPasswordTakenBack: that a registry said yes to a password is no answer any more when it has said no.
func TestPasswordTakenBack(t *testing.T) {
	v := newVault(t)
	w := way{doorProxy, true}
	rt, url := v.by(w), v.url(w, corp, "")
	ping := func(status int) {
		t.Helper()
		if a := ask(t, rt, "GET", url, "Authorization", v.ada(corp)); a.StatusCode != status {
			t.Errorf("got %d %s, want %d", a.StatusCode, a.body, status)
		}
	}
	ping(200)
	v.world.RemoveAccount(corp, "ada")
	ping(401)
	v.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 503, Times: -1})
	ping(503)
}
