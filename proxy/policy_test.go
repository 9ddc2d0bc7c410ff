package proxy

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// outcome asks for the manifest by the mirror and returns the status, the digest and the log's word.
func (st *site) outcome(path string) (status int, digest, word string) {
	st.t.Helper()
	const asker = "outcome" // lines of what others asked before may come late
	st.log.reset()
	resp, _ := st.get(doorMirror, st.mirror(path), "Accept", manifestTypes, "User-Agent", asker)
	st.log.until(st.t, `"ua":"`+asker+`"`)
	for _, l := range st.log.requests(kindManifest) {
		if l.UA == asker {
			word = l.Cache
		}
	}
	return resp.StatusCode, resp.Header.Get("Docker-Content-Digest"), word
}

// TestPullLimitIsSpared: with less than a tenth of Docker Hub's limit left, a tag that moved is served as it was, however often it is
// asked for, and nothing is spent; where nothing is held, the image is pulled (rpardini/docker-registry-proxy #54, harbor #13112).
func TestPullLimitIsSpared(t *testing.T) {
	st := newSite(t)
	clock := st.clock()
	old := st.world.Push(t, "docker.io/library/app:1", world.Image(t, 1, 1000))
	other := st.world.Push(t, "docker.io/library/other:1", world.Image(t, 2, 1000))
	if status, digest, word := st.outcome("/v2/library/app/manifests/1"); status != 200 || digest != old.Digest || word != cacheMiss {
		t.Fatalf("cold: got %d %s %s", status, digest, word)
	}
	moved := st.world.Push(t, "docker.io/library/app:1", world.Image(t, 3, 1000))
	st.world.RateLimit(5)
	for range 3 {
		clock.advance(2 * time.Minute)
		if status, digest, word := st.outcome("/v2/library/app/manifests/1"); status != 200 || digest != old.Digest || word != cacheStale {
			t.Errorf("little left: got %d %s %s, want the old one STALE", status, digest, word)
		}
	}
	if status, digest, _ := st.outcome("/v2/library/other/manifests/1"); status != 200 || digest != other.Digest {
		t.Errorf("not held: got %d %s, want it pulled all the same", status, digest)
	}
	st.world.RateLimit(100)
	clock.advance(2 * time.Minute)
	st.outcome("/v2/library/app/manifests/1") // learns that there is enough again, if not in time for itself
	clock.advance(2 * time.Minute)
	if status, digest, _ := st.outcome("/v2/library/app/manifests/1"); status != 200 || digest != moved.Digest {
		t.Errorf("enough left: got %d %s, want the new one %s", status, digest, moved.Digest)
	}
}

// TestRetryAfterIsObeyed: a registry that asks for peace is left in peace while what is held can be served (harbor #18707).
func TestRetryAfterIsObeyed(t *testing.T) {
	st := newSite(t)
	clock := st.clock()
	st.world.Push(t, "quay.io/org/app:1", world.Image(t, 1, 1000))
	st.outcome("/v2/quay.io/org/app/manifests/1")
	clock.advance(2 * time.Minute)
	quay := st.world.Host("quay.io")
	fault := quay.Fault(world.Fault{Kind: world.Status, Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "120"}, Times: -1})
	st.outcome("/v2/quay.io/org/app/manifests/1")
	before := quay.Counts().Requests
	for range 3 {
		if status, _, word := st.outcome("/v2/quay.io/org/app/manifests/1"); status != 200 || word != cacheStale {
			t.Errorf("in the time of peace: got %d %s, want 200 STALE", status, word)
		}
	}
	if got := quay.Counts().Requests; got != before {
		t.Errorf("quay.io was asked %d times in the time of peace", got-before)
	}
	fault.Clear()
	clock.advance(3 * time.Minute)
	if status, _, word := st.outcome("/v2/quay.io/org/app/manifests/1"); status != 200 || word != cacheRevalidated {
		t.Errorf("afterwards: got %d %s, want 200 REVALIDATED", status, word)
	}
}

// TestRetryAfterOfOtherThings: what a registry asks of who searches, lists or pushes keeps nobody's tags from being checked; else one
// client could hold them still for all.
func TestRetryAfterOfOtherThings(t *testing.T) {
	for what, row := range map[string]struct{ door, method, url, host string }{
		"a search":  {doorProxy, "GET", "https://index.docker.io/v1/search?q=x", "index.docker.io"},
		"a listing": {doorProxy, "GET", "https://registry-1.docker.io/v2/library/app/tags/list", "registry-1.docker.io"},
		"a push":    {doorProxy, "PUT", "https://registry-1.docker.io/v2/library/app/manifests/2", "registry-1.docker.io"},
		"a login":   {doorProxy, "GET", "https://auth.docker.io/token?account=x", "auth.docker.io"},
	} {
		t.Run(what, func(t *testing.T) {
			st := newSite(t)
			clock := st.clock()
			st.world.Push(t, "docker.io/library/app:1", world.Image(t, 1, 1000))
			st.outcome("/v2/library/app/manifests/1")
			clock.advance(2 * time.Minute)
			st.world.Host(row.host).Fault(world.Fault{Kind: world.Status, Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "3600"}})
			if resp, body := st.do(row.door, row.method, row.url); resp.StatusCode != http.StatusTooManyRequests {
				t.Fatalf("got %d %s, want the registry's 429", resp.StatusCode, body)
			}
			if status, _, word := st.outcome("/v2/library/app/manifests/1"); status != 200 || word != cacheRevalidated {
				t.Errorf("a tag afterwards: got %d %s, want 200 REVALIDATED", status, word)
			}
		})
	}
}

// TestRetryAfterOfOneAccount: a client whose own account has no pulls left keeps nobody else's tags from being checked.
func TestRetryAfterOfOneAccount(t *testing.T) {
	bearer := func(claims string) string {
		return "Bearer e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".x"
	}
	for what, row := range map[string]struct{ authorization, source, want string }{
		"a user's token":               {bearer(`{"sub":"alice"}`), "", cacheRevalidated},
		"a user's password":            {"Basic YWxpY2U6c2VjcmV0", "", cacheRevalidated},
		"counted by account":           {"Bearer opaque", "9d1cd5e1-0f4a-4a5e-8d5a-1f3a5c3c9a11", cacheRevalidated},
		"an anonymous token":           {bearer(`{"sub":""}`), "", cacheStale},
		"one that says so":             {bearer(`{"sub":"(anonymous)"}`), "", cacheStale},
		"one of which we know nothing": {"Bearer opaque", "", cacheStale},
		"counted by address":           {bearer(`{"sub":"alice"}`), "203.0.113.77", cacheStale},
	} {
		t.Run(what, func(t *testing.T) {
			st := newSite(t)
			clock := st.clock()
			st.world.Push(t, "quay.io/org/app:1", world.Image(t, 1, 1000))
			st.outcome("/v2/quay.io/org/app/manifests/1")
			clock.advance(2 * time.Minute)
			header := map[string]string{"Retry-After": "3600"}
			if row.source != "" {
				header["Docker-Ratelimit-Source"] = row.source
			}
			fault := st.world.Host("quay.io").Fault(world.Fault{Kind: world.Status, Status: http.StatusTooManyRequests, Header: header, Times: -1})
			st.do(doorProxy, "GET", "https://quay.io/v2/org/app/manifests/1", "Authorization", row.authorization)
			fault.Clear()
			if status, _, word := st.outcome("/v2/quay.io/org/app/manifests/1"); status != 200 || word != row.want {
				t.Errorf("for another client: got %d %s, want 200 %s", status, word, row.want)
			}
		})
	}
}

// TestGoneUpstream: what a 404 for a tag that is held means is the operator's to say; pulls by digest are not affected (harbor #22106,
// #20680).
func TestGoneUpstream(t *testing.T) {
	for name, row := range map[string]struct {
		rule   hosts.WhenGone
		after  time.Duration
		status int
	}{
		"default":        {0, 2 * time.Minute, 404},
		"gone":           {hosts.Gone, 2 * time.Minute, 404},
		"keep":           {hosts.Keep, 100 * time.Hour, 200},
		"keep for a day": {hosts.KeepFor(24 * time.Hour), 2 * time.Hour, 200},
		"kept a day":     {hosts.KeepFor(24 * time.Hour), 25 * time.Hour, 404},
	} {
		t.Run(name, func(t *testing.T) {
			st := newSite(t, func(c *Config) {
				c.Table, _ = hosts.New([]hosts.Registry{{Name: "quay.io", WhenGone: row.rule}})
			})
			clock := st.clock()
			p := st.world.Push(t, "quay.io/org/app:1", world.Image(t, 1, 1000))
			st.outcome("/v2/quay.io/org/app/manifests/1")
			st.awaitPublic("quay.io/org/app:1", p.Digest)
			st.world.Remove(t, "quay.io/org/app:1")
			clock.advance(row.after)
			for range 2 {
				if status, _, _ := st.outcome("/v2/quay.io/org/app/manifests/1"); status != row.status {
					t.Errorf("by tag: got %d, want %d\n%s\n%s", status, row.status, st.log, st.world.Story())
				}
			}
			if status, digest, _ := st.outcome("/v2/quay.io/org/app/manifests/" + p.Digest); status != 200 || digest != p.Digest {
				t.Errorf("by digest: got %d %s, want it", status, digest)
			}
		})
	}
}

// TestGoneBehindARedirect: registry.k8s.io answers every pull with a redirect to another registry. What that one does not have does not
// exist: a client that heard 503 would try again and again, and a tag that was taken back would go on for a week.
func TestGoneBehindARedirect(t *testing.T) {
	st := newSite(t)
	clock := st.clock()
	nobodys := "sha256:" + strings.Repeat("0", 64)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, path := range []string{"/manifests/1", "/manifests/" + nobodys, "/blobs/" + nobodys} {
			resp, body := st.do(doorMirror, method, st.mirror("/v2/registry.k8s.io/nosuch"+path), "Accept", manifestTypes)
			if resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: got %d %s, want 404", method, path, resp.StatusCode, body)
			}
		}
	}
	p := st.world.Push(t, "registry.k8s.io/app:1", world.Image(t, 1, 1000))
	st.outcome("/v2/registry.k8s.io/app/manifests/1")
	st.awaitPublic("registry.k8s.io/app:1", p.Digest)
	st.world.Remove(t, "registry.k8s.io/app:1")
	clock.advance(2 * time.Minute)
	if status, _, word := st.outcome("/v2/registry.k8s.io/app/manifests/1"); status != http.StatusNotFound {
		t.Errorf("taken back: got %d %s, want 404", status, word)
	}
}

// TestTagRules: how long a tag is served without asking is told by the first rule that fits (rpardini/docker-registry-proxy PR #155).
func TestTagRules(t *testing.T) {
	st := newSite(t, func(c *Config) {
		table, err := hosts.New([]hosts.Registry{{Name: "quay.io", ManifestTTL: 10 * time.Minute, Tags: []hosts.TagRule{
			{Tags: "latest", ManifestTTL: hosts.Never}, {Repos: "org/*", Tags: "v[0-9]*", ManifestTTL: 24 * time.Hour},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		c.Table = table
	})
	clock := st.clock()
	tags := map[string]string{"latest": cacheRevalidated, "v1.2": cacheHit, "main": cacheHit}
	for tag := range tags {
		st.world.Push(t, "quay.io/org/app:"+tag, world.Image(t, 1, 1000))
		st.outcome("/v2/quay.io/org/app/manifests/" + tag)
	}
	for _, step := range []map[string]string{tags, {"latest": cacheRevalidated, "v1.2": cacheHit, "main": cacheRevalidated}} {
		for tag, want := range step {
			if _, _, word := st.outcome("/v2/quay.io/org/app/manifests/" + tag); word != want {
				t.Errorf("%s: got %s, want %s", tag, word, want)
			}
		}
		clock.advance(20 * time.Minute)
	}
}
