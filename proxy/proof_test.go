package proxy

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// told is all that a caller learns from an answer, but for the time of it.
func told(a answer) string {
	h := a.Header.Clone()
	h.Del("Date")
	return fmt.Sprintf("%d %v %q", a.StatusCode, h, a.body)
}

// TestNothingTellsOfAPrivateDigest: a stranger is answered in the same words before and after somebody entitled has pulled, whoever that
// was and however he asks.
func TestNothingTellsOfAPrivateDigest(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		for _, w := range ways[:2] {
			t.Run(reg+" "+w.String(), func(t *testing.T) {
				l := newLender(t)
				rt := l.by(w)
				strangers := l.strangers(reg)
				look := func() map[string]string {
					all := map[string]string{}
					for who, credential := range strangers {
						for _, path := range l.paths(reg) {
							for _, request := range [][]string{{"GET"}, {"HEAD"}, {"GET", "Range", "bytes=5-9"}, {"GET", "Range", "bytes=999999999-"}, {"GET", "If-None-Match", "*"}} {
								a := ask(t, rt, request[0], l.url(w, reg, path), bearing(credential, append(slices.Clone(request[1:]), accepting...)...)...)
								all[fmt.Sprint(who, request, path)] = told(a)
							}
						}
					}
					return all
				}
				before := look()
				for _, path := range l.paths(reg) {
					l.as("")
					ask(t, rt, "GET", l.url(w, reg, path), bearing(l.ada(reg), accepting...)...)
					l.want(reg, path, "bob")
				}
				l.as("")
				l.settled()
				for what, words := range look() {
					if words != before[what] {
						t.Errorf("%s:\nbefore %s\nafter  %s", what, before[what], words)
					}
				}
			})
		}
	}
}

// TestMaxStaleAuth: without upstream a caller goes on for as long after his proof as the operator says, and nobody else begins.
func TestMaxStaleAuth(t *testing.T) {
	for _, row := range []struct {
		config, after time.Duration
		served        bool
	}{
		{0, 30 * time.Minute, true},
		{0, 61 * time.Minute, false},
		{hosts.Never, proofLife + time.Second, false},
		{hosts.Never, proofLife - time.Minute, true},
		{3 * time.Hour, 2 * time.Hour, true},
		{3 * time.Hour, 4 * time.Hour, false},
	} {
		v := newVault(t)
		if v.server.cfg.MaxStaleAuth = row.config; row.config == 0 {
			v.server.cfg.MaxStaleAuth = staleAuth
		}
		w := way{doorProxy, true}
		rt := v.by(w)
		credential := v.ada(corp)
		for _, path := range v.paths(corp) {
			ask(t, rt, "GET", v.url(w, corp, path), bearing(credential, accepting...)...)
		}
		v.settled()
		v.clock.advance(row.after)
		v.unplug()
		for _, path := range []string{"acme/app/manifests/v1", "acme/app/manifests/" + v.held[corp].Digest, "acme/app/blobs/" + v.held[corp].Blobs[1]} {
			tag := strings.HasSuffix(path, "/v1")
			a := ask(t, rt, "GET", v.url(w, corp, path), bearing(credential, accepting...)...)
			if (a.StatusCode == 200) != row.served && !(tag && row.after < proofLife) {
				t.Errorf("%v after %v: %s: got %d, want served %v", row.config, row.after, path, a.StatusCode, row.served)
			}
			for who, other := range map[string]string{"nobody": "", "eve": basicAuth("eve", "pass"), "wrong": basicAuth("ada", "wrong")} {
				if a := ask(t, rt, "GET", v.url(w, corp, path), bearing(other, accepting...)...); a.StatusCode < 400 {
					t.Errorf("%v after %v: %s: %s got %d", row.config, row.after, path, who, a.StatusCode)
				}
			}
		}
	}
}

// TestAuthTTL: a yes counts for as long as the operator says, and the registry's no for whoever is asked about after that.
func TestAuthTTL(t *testing.T) {
	for _, row := range []struct{ config, life time.Duration }{{0, proofLife}, {time.Minute, time.Minute}, {20 * time.Minute, 20 * time.Minute}, {hosts.Never, 0}} {
		for _, reg := range []string{"docker.io", corp} {
			v := newVault(t, func(c *Config) { c.AuthTTL = row.config })
			w := way{doorProxy, true}
			rt, credential := v.by(w), v.ada(reg)
			held := []string{"acme/app/manifests/" + v.held[reg].Digest, "acme/app/blobs/" + v.held[reg].Blobs[1]}
			var asked atomic.Int64 // with this credential, not by a probe
			host := v.world.Host(strings.Replace(reg, "docker.io", "registry-1.docker.io", 1))
			host.Fault(world.Fault{Kind: world.Delay, Times: -1, Match: func(r *http.Request) bool {
				if r.Header.Get("Authorization") == credential {
					asked.Add(1)
				}
				return false
			}})
			again := func(when string, status int, wanted bool) {
				t.Helper()
				for _, path := range held {
					before := asked.Load()
					a := ask(t, rt, "GET", v.url(w, reg, path), bearing(credential, accepting...)...)
					if got := asked.Load() > before; a.StatusCode != status || got != wanted {
						t.Errorf("%v, %s, %s: %s: got %d, asked %v, want %d, %v", row.config, reg, when, path, a.StatusCode, got, status, wanted)
					}
				}
			}
			for _, path := range v.paths(reg) {
				ask(t, rt, "GET", v.url(w, reg, path), bearing(credential, accepting...)...)
			}
			v.settled()
			eventually(t, "the probe has ended", func() bool { return within("(*Server).probe.func1") == 0 })
			again("at once", 200, row.life == 0)
			v.world.RemoveAccount(reg, "ada")
			v.world.ExpireTokens()
			if row.life > 0 {
				v.clock.advance(row.life - time.Second)
				again("before the end", 200, false)
				v.clock.advance(2 * time.Second)
			}
			again("after the end", 401, true)
		}
	}
}

// TestPublicIsRenewed: that everybody reads a repository is found out anew behind the requests, so that no pull of what is in use waits
// for it.
func TestPublicIsRenewed(t *testing.T) {
	st := newSite(t)
	clock := st.clock()
	p := st.world.Push(t, "quay.io/org/app:v1", world.Image(t, 1, 1000))
	path := "/v2/quay.io/org/app/manifests/" + p.Digest
	st.outcome(path)
	st.awaitPublic("quay.io/org/app:v1", p.Digest)
	for range 10 {
		clock.advance(publicRenew + time.Minute)
		before := st.world.Host("quay.io").Counts().ManifestHeads
		if status, _, word := st.outcome(path); status != 200 || word != cacheHit {
			t.Errorf("got %d %s, want a hit", status, word)
		}
		eventually(t, "the proof is renewed", func() bool { return st.world.Host("quay.io").Counts().ManifestHeads > before })
		eventually(t, "the probe has ended", func() bool { return within("(*Server).probe.func1") == 0 })
	}
}

// TestProofEndsWithItsToken: a proof does not outlive the token that it is of, where that says when it ends; in an outage, in which there
// are no new tokens, it counts like any other.
func TestProofEndsWithItsToken(t *testing.T) {
	st := newSite(t)
	a, now := st.server.access, time.Now()
	jwt := func(claims string) string {
		return "Bearer e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	for credential, row := range map[string]struct{ early, late bool }{
		jwt(fmt.Sprintf(`{"exp":%d}`, now.Add(2*time.Minute).Unix())):   {true, false},
		jwt(fmt.Sprintf(`{"exp":%d.5}`, now.Add(2*time.Minute).Unix())): {true, false},
		jwt(fmt.Sprintf(`{"exp":%d}`, now.Add(time.Hour).Unix())):       {true, true},
		jwt(fmt.Sprintf(`{"exp":"%d"}`, now.Add(2*time.Minute).Unix())): {true, true},
		jwt(`{"exp":-1}`):    {false, false},
		jwt(`{"exp":1e400}`): {true, true},
		jwt(`{}`):            {true, true}, "Bearer opaque": {true, true}, "Bearer a.%%.c": {true, true}, "Basic eDp5": {true, true},
		"bearer " + jwt(fmt.Sprintf(`{"exp":%d}`, now.Add(2*time.Minute).Unix()))[len("Bearer "):]: {true, false},
	} {
		q := &request{registry: "quay.io", repo: "org/app"}
		r := &http.Request{Header: http.Header{"Authorization": {credential}}}
		a.grant(q, r, now)
		early, late := a.proven(q, r, now.Add(time.Minute)), a.proven(q, r, now.Add(3*time.Minute))
		if early != row.early || late != row.late {
			t.Errorf("%s: got %v and %v, want %v and %v", credential, early, late, row.early, row.late)
		}
		if a.proven(q, r, now.Add(proofLife)) || !a.provenBefore(q, r, time.Hour, time.Hour, now.Add(30*time.Minute)) {
			t.Errorf("%s: the proof lives too long, or is no proof in an outage", credential)
		}
	}
}

// TestProofsAreBounded: whoever comes with ever other credentials fills no memory.
func TestProofsAreBounded(t *testing.T) {
	a := newSite(t).server.access
	for i := range maxProofs + 100 {
		a.grant(&request{registry: "quay.io", repo: "org/app"}, &http.Request{Header: http.Header{"Authorization": {fmt.Sprint(i)}}}, time.Now())
	}
	if got := a.proofs.Len(); got != maxProofs {
		t.Errorf("got %d proofs, want %d", got, maxProofs)
	}
}
