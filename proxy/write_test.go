package proxy

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/testdata/world"
)

// writable are the doors through which can be pushed.
var writable = []way{{doorProxy, true}, {doorProxy, false}, {doorTLS, true}, {doorHTTP, true}}

// head asks for a blob by HEAD and returns the status and the log's line.
func (st *site) head(rt http.RoundTripper, url string) (int, line) {
	st.t.Helper()
	st.log.reset()
	a := ask(st.t, rt, "HEAD", url)
	st.log.until(st.t, `"method":"HEAD"`)
	lines := st.log.requests(kindBlob) // late ones of a pull too
	l := lines[slices.IndexFunc(lines, func(l line) bool { return l.Method == http.MethodHead })]
	if want := cacheStatus[l.Cache]; l.Cache != cacheMiss && a.Header.Get("Cache-Status") != want {
		st.t.Errorf("HEAD %s: got Cache-Status %q, want %q", url, a.Header.Get("Cache-Status"), want)
	}
	return a.StatusCode, l
}

// TestHeadBeforePush: by a HEAD of a blob clients ask whether they have to push it, so the registry is asked each time, however well it
// is held; a no is passed on and believed, and where the registry cannot be asked what is held is the answer. At the mirror, through which
// nothing is pushed, it is a hit.
func TestHeadBeforePush(t *testing.T) {
	for _, w := range append(writable, way{doorMirror, true}) {
		t.Run(w.String(), func(t *testing.T) {
			st := newSite(t)
			const ref = corp + "/team/app:v1"
			p := st.world.Push(t, ref, world.Image(t, 1, 50<<10))
			st.pull(w.door, ref)
			st.settled()
			st.awaitPublic(ref, p.Digest)
			eventually(t, "the probe has ended", func() bool { return within("(*Server).probe.func1") == 0 })
			rt, url := st.by(w), st.url(w, corp, "team/app/blobs/"+p.Blobs[1])
			upstream := st.world.Host(corp)
			step := func(what string, status int, word string, heads int) {
				t.Helper()
				before := upstream.Counts()
				got, l := st.head(rt, url)
				if w.door == doorMirror {
					status, word, heads = 200, cacheHit, 0
				}
				c := upstream.Counts()
				if got != status || l.Cache != word || c.BlobHeads-before.BlobHeads != heads || c.BlobGets != before.BlobGets {
					t.Errorf("%s: got %d %s and %d HEADs upstream, want %d %s and %d", what, got, l.Cache, c.BlobHeads-before.BlobHeads, status, word, heads)
				}
				if (word == cacheStale) != (l.Error != "") && status == 200 {
					t.Errorf("%s: got %+v, want the reason of what is stale and of nothing else", what, l)
				}
			}
			for range 2 {
				step("held here and there", 200, cacheRevalidated, 1)
			}
			upstream.Fault(world.Fault{Kind: world.Status, Status: 503, Times: -1})
			step("a registry in trouble", 200, cacheStale, 1)
			st.world.Heal()
			upstream.Fault(world.Fault{Kind: world.Status, Status: 404, Times: -1, On: world.Blob})
			step("thrown away there", 404, cacheBypass, 1)
			st.world.Heal()
			upstream.Fault(world.Fault{Kind: world.Status, Status: 503, Times: -1})
			step("in trouble after a no", 503, cacheBypass, 1)
		})
	}
}

// TestHeadOffline: with --offline what is held is the answer.
func TestHeadOffline(t *testing.T) {
	st, p := offlineSite(t)
	st.pull(doorProxy, corp+"/team/app:v1")
	status, l := st.head(st.transport(doorProxy), "https://"+corp+"/v2/team/app/blobs/"+p.Blobs[1])
	if status != 200 || l.Cache != cacheStale {
		t.Errorf("got %d %s, want 200 STALE", status, l.Cache)
	}
}

// TestStrangersNoForgetsNothing: a registry's 404 to whom it does not show the repository says nothing of what is in there.
func TestStrangersNoForgetsNothing(t *testing.T) {
	v := newVault(t)
	w := way{doorProxy, true}
	rt, ada := v.by(w), v.ada(corp)
	for _, path := range v.paths(corp) {
		ask(t, rt, "GET", v.url(w, corp, path), bearing(ada, accepting...)...)
	}
	v.settled()
	url := v.url(w, corp, "acme/app/blobs/"+v.held[corp].Blobs[1])
	v.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 404, Times: -1, On: world.Blob})
	if a := ask(t, rt, "HEAD", url, "Authorization", basicAuth("eve", "pass")); a.StatusCode != 404 {
		t.Errorf("eve: got %d", a.StatusCode)
	}
	if a := ask(t, rt, "GET", url, "Authorization", ada); a.StatusCode != 200 || a.Header.Get("Cache-Status") != cacheStatus[cacheHit] {
		t.Errorf("ada: got %d %v, want a hit", a.StatusCode, a.Header)
	}
}

// TestPushAfterGarbageCollection: a layer that the registry has thrown away is pushed anew, though it is held here.
func TestPushAfterGarbageCollection(t *testing.T) {
	for _, w := range []way{{doorProxy, true}, {doorTLS, true}, {doorHTTP, true}} {
		t.Run(w.String(), func(t *testing.T) {
			st := newSite(t)
			img := world.Image(t, 1, 50<<10)
			st.world.Push(t, corp+"/team/app:v1", img)
			st.pull(w.door, corp+"/team/app:v1")
			st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 404, Times: -1, On: world.Blob, Method: "HEAD"})
			st.log.reset()
			if err := remote.Write(st.name(w.door, corp+"/team/app:v2"), img, remote.WithTransport(st.by(w)), remote.WithContext(t.Context())); err != nil {
				t.Fatalf("push: %v\n%s", err, st.log)
			}
			sent := 0
			for _, l := range st.log.requests(kindUpload) {
				if l.Method == http.MethodPut && l.Status == http.StatusCreated {
					sent++
				}
			}
			if sent != 2 {
				t.Errorf("got %d blobs pushed, want the layer and the configuration\n%s", sent, st.log)
			}
		})
	}
}

// TestDeletedManifest: once a manifest was deleted through us no tag of its repository is fresh, and neither tag nor digest is served
// against the registry's word; a tag that is still there gets fresh again. The tags of other repositories stay as they are.
func TestDeletedManifest(t *testing.T) {
	st := newSite(t)
	img, other := world.Image(t, 1, 50<<10), world.Image(t, 2, 50<<10)
	gone, kept, beside := corp+"/team/app:gone", corp+"/team/app:kept", corp+"/team/beside:v1"
	p := st.world.Push(t, gone, img)
	st.world.Push(t, kept, other)
	st.world.Push(t, beside, other)
	base := "https://" + corp + "/v2/team/"
	word := func(path string, status int, want string, method ...string) {
		t.Helper()
		st.log.reset()
		resp, body := st.do(doorProxy, append(method, http.MethodGet)[0], base+path, accepting...)
		if l := st.log.await(t, kindManifest, 1)[0]; resp.StatusCode != status || l.Cache != want {
			t.Errorf("%s: got %d %s %.200s, want %d %s", path, resp.StatusCode, l.Cache, body, status, want)
		}
	}
	for _, ref := range []string{gone, kept, beside} {
		st.pull(doorProxy, ref)
	}
	st.log.await(t, kindManifest, 3)
	for _, path := range []string{"app/manifests/gone", "app/manifests/kept", "app/manifests/" + p.Digest, "beside/manifests/v1"} {
		word(path, 200, cacheHit)
	}
	st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 405, Method: http.MethodDelete})
	word("app/manifests/"+p.Digest, 405, cacheBypass, http.MethodDelete)
	word("app/manifests/gone", 200, cacheHit)
	word("app/manifests/"+p.Digest, 202, cacheBypass, http.MethodDelete)
	st.world.Remove(t, gone) // with the manifest, as registries do
	word("app/manifests/gone", 404, cacheBypass)
	word("app/manifests/"+p.Digest, 404, cacheBypass)
	word("app/manifests/kept", 200, cacheRevalidated)
	word("app/manifests/kept", 200, cacheHit)
	word("beside/manifests/v1", 200, cacheHit)
}

// TestDeletedManifestInAnOutage: if the registry cannot be asked what the tags are now, the last known stand in.
func TestDeletedManifestInAnOutage(t *testing.T) {
	st := newSite(t)
	const ref = corp + "/team/app:v1"
	p := st.world.Push(t, ref, world.Image(t, 1, 50<<10))
	st.pull(doorProxy, ref)
	st.awaitPublic(ref, p.Digest)
	base := "https://" + corp + "/v2/team/app/manifests/"
	if resp, body := st.do(doorProxy, http.MethodDelete, base+p.Digest); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("delete: got %s: %s", resp.Status, body)
	}
	st.unplug()
	resp, _ := st.get(doorProxy, base+"v1", accepting...)
	if resp.StatusCode != 200 || resp.Header.Get("Cache-Status") != cacheStatus[cacheStale] {
		t.Errorf("got %s %v, want it stale", resp.Status, resp.Header)
	}
}

// TestPushedByDigest: a manifest that is pushed by its digest can move tags (?tag= in its PUT), which the next pull sees.
func TestPushedByDigest(t *testing.T) {
	st := newSite(t)
	const ref = corp + "/team/app:v1"
	st.world.Push(t, ref, world.Image(t, 1, 50<<10))
	st.pull(doorProxy, ref)
	img := world.Image(t, 2, 50<<10)
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	n := st.name(doorProxy, corp+"/team/app@"+want.String())
	if err := remote.Write(n, img, remote.WithTransport(st.transport(doorProxy)), remote.WithContext(t.Context())); err != nil {
		t.Fatalf("push: %v\n%s", err, st.log)
	}
	st.world.Push(t, ref, img) // what the registry made of it
	if got, _ := st.pull(doorProxy, ref).Digest(); got != want {
		t.Errorf("the next pull got %s, want %s", got, want)
	}
}

// TestDeletedBlob: who deletes a blob through us finds that it is gone, and so does whoever else knows its digest.
func TestDeletedBlob(t *testing.T) {
	st := newSite(t)
	const ref = corp + "/team/app:v1"
	p := st.world.Push(t, ref, world.Image(t, 1, 50<<10))
	st.pull(doorProxy, ref)
	st.awaitPublic(ref, p.Digest)
	url := "https://" + corp + "/v2/team/app/blobs/" + p.Blobs[1]
	st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 202, Method: http.MethodDelete, On: world.Blob})
	st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 404, Times: -1, On: world.Blob})
	if resp, _ := st.get(doorProxy, url); resp.StatusCode != 200 || resp.Header.Get("Cache-Status") != cacheStatus[cacheHit] {
		t.Errorf("before: got %s %v, want a hit", resp.Status, resp.Header)
	}
	if resp, body := st.do(doorProxy, http.MethodDelete, url); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("delete: got %s: %s", resp.Status, body)
	}
	if resp, _ := st.get(doorProxy, url); resp.StatusCode != 404 {
		t.Errorf("after: got %s, want 404", resp.Status)
	}
}

// TestWritesAreBounded: whoever writes to ever other repositories fills no memory.
func TestWritesAreBounded(t *testing.T) {
	w, now := newWrites(), time.Now()
	for i := range maxWrites + 100 {
		w.note(&request{registry: corp, repo: fmt.Sprint("team/app", i)}, now)
	}
	if got := w.last.Len(); got != maxWrites {
		t.Errorf("got %d repositories, want %d", got, maxWrites)
	}
}
