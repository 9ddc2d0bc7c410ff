package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/testdata/world"
)

func painsOfTags() []pain {
	return []pain{
		{"harbor 21859: 200 clients, one HEAD", oneHeadForAll},
		{"PR 155, T2: a tag behind a redirect moves with its registry", redirectedTagMoves},
		{"129: Accept decides", acceptDecides},
		{"harbor 22106: what is gone upstream", goneUpstream},
		{"harbor 18707, distribution 3270: a 429 when nothing is held", busyRegistry},
		{"cosign: a no is not remembered", noIsNotRemembered},
	}
}

func oneHeadForAll(t *testing.T, w way) {
	const clients = 200
	st := newSite(t)
	clock := st.clock()
	p := st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 1000))
	st.fetchBy(w, corp, "app/manifests/v1", accepting...)
	st.settled()
	clock.advance(2 * time.Minute)
	st.world.Reset()
	held := st.world.Host(corp).Fault(world.Fault{Kind: world.Delay, On: world.Manifest})
	rt, url := st.by(w), st.url(w, corp, "app/manifests/v1")
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			a, err := try(t.Context(), rt, "GET", url, accepting...)
			if err != nil || a.StatusCode != 200 || a.Header.Get("Docker-Content-Digest") != p.Digest {
				t.Errorf("got %v, %v", a.Response, err)
			}
		})
	}
	eventually(t, "all clients wait", func() bool { return within("(*Server).lookUp") >= clients })
	held.Release()
	wg.Wait()
	if c := st.world.Host(corp).Counts(); c.ManifestHeads != 1 || c.ManifestGets != 0 {
		t.Errorf("upstream was asked\n%swant one HEAD", st.world.Story())
	}
}

func redirectedTagMoves(t *testing.T, w way) {
	const registry = "registry.k8s.io"
	st := newSite(t)
	clock := st.clock()
	old := st.world.Push(t, registry+"/pause:3.10", world.Image(t, 1, 1000))
	st.wantsTag("cold", st.fetchBy(w, registry, "pause/manifests/3.10", accepting...), old.Digest, cacheMiss)
	st.settled()
	moved := st.world.Push(t, registry+"/pause:3.10", world.Image(t, 2, 1000))
	clock.advance(2 * time.Minute)
	st.wantsTag("moved", st.fetchBy(w, registry, "pause/manifests/3.10", accepting...), moved.Digest, cacheMiss)
}

func acceptDecides(t *testing.T, w way) {
	st := newSite(t)
	p := st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 1000))
	st.fetchBy(w, corp, "app/manifests/v1", accepting...)
	st.settled()
	for accept, word := range map[string]string{
		typeOCIManifest: cacheHit, "*/*": cacheHit, "application/*;q=0.5": cacheHit, typeDockerManifest: "", typeOCIManifest + ";q=0": "",
	} {
		st.world.Reset()
		a := st.fetchBy(w, corp, "app/manifests/v1", "Accept", accept)
		if asked := st.world.Story() != ""; asked != (word == "") {
			t.Errorf("Accept %s: upstream was asked: %v, want %v", accept, asked, word == "")
		}
		if word != "" {
			st.wantsTag("Accept "+accept, a, p.Digest, word)
		}
	}
}

func goneUpstream(t *testing.T, w way) {
	st := newSite(t)
	clock := st.clock()
	p := st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 1000))
	st.fetchBy(w, corp, "app/manifests/v1", accepting...)
	st.settled()
	st.world.Remove(t, corp+"/app:v1")
	clock.advance(2 * time.Minute)
	for range 2 {
		if a := st.fetchBy(w, corp, "app/manifests/v1", accepting...); a.StatusCode != 404 || !strings.Contains(string(a.body), codeManifestUnknown) {
			t.Errorf("by tag: got %d %s, want upstream's 404", a.StatusCode, a.body)
		}
	}
	st.wantsTag("by digest", st.fetchBy(w, corp, "app/manifests/"+p.Digest, accepting...), p.Digest, cacheHit)
}

// busyRegistry: a limit is told as such to those who know how to wait or show it to people, as a 503 to those who repeat a 429 at once.
func busyRegistry(t *testing.T, w way) {
	st := newSite(t)
	p := st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 1000))
	const words = "You have reached your pull rate limit"
	for _, status := range []int{429, 408} {
		fault := st.world.Host(corp).Fault(world.Fault{
			Kind: world.Status, Status: status, Times: -1, Body: `{"errors":[{"code":"TOOMANYREQUESTS","message":"` + words + `"}]}`,
			Header: map[string]string{"Content-Type": "application/json", "Retry-After": "17", "Ratelimit-Limit": "100;w=21600", "Ratelimit-Remaining": "0;w=21600"},
		})
		for agent, waits := range map[string]bool{
			"containerd/v2.3.4": false, "docker/29.7.2 go/go1.26": true, "buildkit/v0.32": false,
			"containers/5.42.0 (github.com/containers/image)": true, "go-containerregistry/v0.22.1": true, "regclient/regctl": true,
		} {
			for _, path := range []string{"app/manifests/v1", "app/manifests/" + p.Digest, "app/blobs/" + p.Blobs[1]} {
				a := st.fetchBy(w, corp, path, "User-Agent", agent, "Accept", manifestTypes)
				want := status
				if !waits || w.door == doorMirror {
					want = http.StatusServiceUnavailable
				}
				if a.StatusCode != want || a.Header.Get("Retry-After") != "17" || a.Header.Get("Ratelimit-Remaining") != "0;w=21600" {
					t.Errorf("%s for %s: got %d %v, want %d and upstream's Retry-After", path, agent, a.StatusCode, a.Header, want)
				}
				said := fmt.Sprint("answers ", status) // by HEAD, which has no words of its own
				if strings.Contains(path, "manifests/sha256") {
					said = words
				}
				if text := string(a.body); !strings.Contains(text, said) || want == 503 && (strings.Contains(text, "TOOMANY") || !strings.Contains(text, codeUnavailable)) {
					t.Errorf("%s for %s: got %s, want %q", path, agent, text, said)
				}
			}
		}
		fault.Clear()
	}
	st.wantsTag("afterwards", st.fetchBy(w, corp, "app/manifests/v1", accepting...), p.Digest, cacheMiss)
}

func noIsNotRemembered(t *testing.T, w way) {
	st := newSite(t)
	st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 1000))
	for _, status := range []int{401, 403, 404, 429, 500, 503} {
		st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: status, On: world.Manifest, Times: 2})
		if a := st.fetchBy(w, corp, "app/manifests/sig", accepting...); a.StatusCode < 400 {
			t.Errorf("%d: got %d", status, a.StatusCode)
		}
		st.world.Heal()
		p := st.world.Push(t, corp+"/app:sig", world.Image(t, 2, 1000))
		if a := st.fetchBy(w, corp, "app/manifests/sig", accepting...); a.StatusCode != 200 || a.Header.Get("Docker-Content-Digest") != p.Digest {
			t.Errorf("right after a %d: got %d %s", status, a.StatusCode, a.body)
		}
		st.settled()
		st.world.Remove(t, corp+"/app:sig")
		st.server.forget(&request{registry: corp, repo: "app", ref: "sig"})
	}
}

func painsOfOutages() []pain {
	return []pain{
		{"35, distribution 1272: upstream cannot say what a tag is", staleInAnOutage},
		{"harbor 23750, 72: ping and token in trouble", realmInTrouble},
		{"distribution 1356: a tag whose content went", contentThatWent},
	}
}

func staleInAnOutage(t *testing.T, w way) {
	for what, outage := range outages {
		st := newSite(t)
		clock := st.clock()
		p := st.world.Push(t, signs+"/app:v1", world.Image(t, 1, 1000))
		st.fetchBy(w, signs, "app/manifests/v1", accepting...)
		st.settled()
		outage(st, signs)
		clock.advance(time.Hour)
		for range 2 {
			st.wantsTag(what, st.fetchBy(w, signs, "app/manifests/v1", accepting...), p.Digest, cacheStale)
		}
	}
}

// realmInTrouble: a pull of what is held and public does not fail for a ping or a token that the registry or its realm gives no answer
// to, whether its API is in trouble too or not.
func realmInTrouble(t *testing.T, w way) {
	for _, status := range []int{429, 503} {
		for _, on := range []world.Kind{world.Token, world.Ping, ""} {
			st := newSite(t)
			clock := st.clock()
			const ref = "docker.io/library/alpine:3.20"
			p := st.world.Push(t, ref, world.Image(t, 1, 100<<10))
			st.pull(w.door, ref)
			st.settled()
			st.awaitPublic(ref, p.Digest)
			for _, name := range st.world.Names() {
				st.world.Host(name).Fault(world.Fault{Kind: world.Status, Status: status, Times: -1, On: on})
			}
			st.world.ExpireTokens()
			clock.advance(2 * time.Minute)
			img, err := remote.Image(st.name(w.door, ref), remote.WithTransport(st.by(w)), remote.WithRetryStatusCodes())
			if err == nil {
				err = readAll(img)
			}
			if err != nil {
				t.Errorf("%d to %q: %v\n%s\n%s", status, on, err, st.log, st.world.Story())
			}
		}
	}
}

func contentThatWent(t *testing.T, w way) {
	c := newCargo(t, 1000)
	clock := c.clock()
	rt, url := c.by(w), c.url(w, corp, "app/manifests/v1")
	digest := ask(t, rt, "GET", url, accepting...).Header.Get("Docker-Content-Digest")
	c.settled()
	for o := range c.store.Objects() {
		if err := c.store.Remove(o.Digest); err != nil {
			t.Fatal(err)
		}
	}
	c.wantsTag("a fresh tag", ask(t, rt, "GET", url, accepting...), digest, cacheMiss)
	c.settled()
	for o := range c.store.Objects() {
		if err := c.store.Remove(o.Digest); err != nil {
			t.Fatal(err)
		}
	}
	c.fails(corp, 503)
	clock.advance(2 * time.Minute)
	for _, method := range []string{"HEAD", "GET"} {
		if a := ask(t, rt, method, url, accepting...); a.StatusCode != 503 || a.Header.Get("Docker-Content-Digest") != "" {
			t.Errorf("%s in an outage: got %d %v, want 503: the content is not held", method, a.StatusCode, a.Header)
		}
	}
}
