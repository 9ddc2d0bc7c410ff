package proxy

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

const corp = "reg.corp.test"

var accepting = []string{"Accept", manifestTypes}

// TestHeadIsNeverAGet: a HEAD costs upstream at most a HEAD, and what is held costs it nothing (Docker Hub counts GETs only,
// rpardini/docker-registry-proxy #54), but for a blob where it can be pushed: see TestHeadBeforePush.
func TestHeadIsNeverAGet(t *testing.T) {
	for _, w := range ways {
		t.Run(w.String(), func(t *testing.T) {
			st := newSite(t)
			p := st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 50<<10))
			rt := st.by(w)
			for _, path := range []string{"app/manifests/v1", "app/manifests/" + p.Digest, "app/blobs/" + p.Blobs[1]} {
				url := st.url(w, corp, path)
				cold := ask(t, rt, "HEAD", url, accepting...)
				c := st.world.Host(corp).Counts()
				if cold.StatusCode != 200 || c.ManifestGets+c.BlobGets != 0 {
					t.Errorf("cold HEAD %s: got %d and %+v upstream, want 200 and no GET", path, cold.StatusCode, c)
				}
				get := ask(t, rt, "GET", url, accepting...)
				st.settled()
				st.world.Reset()
				warm := ask(t, rt, "HEAD", url, accepting...)
				if c := st.world.Host(corp).Counts(); w.door == doorMirror || !strings.Contains(path, "/blobs/") {
					st.world.Silent(t)
				} else if c.Requests != 1 || c.BlobHeads != 1 {
					t.Errorf("warm HEAD %s: upstream was asked\n%swant one HEAD", path, st.world.Story())
				}
				for what, head := range map[string]answer{"cold": cold, "warm": warm} {
					if got, want := comparable(head), comparable(get); got != want {
						t.Errorf("%s: %s HEAD and GET differ:\n%s\n%s", path, what, got, want)
					}
				}
				st.world.Reset()
			}
		})
	}
}

// comparable is the header without what may differ between a HEAD and a GET of the same.
func comparable(a answer) string {
	h := a.Header.Clone()
	for _, name := range []string{"Date", "Age", "Cache-Status"} {
		h.Del(name)
	}
	var b strings.Builder
	h.Write(&b)
	return b.String()
}

// TestHeaders: what CONTRACT promises of each answer.
func TestHeaders(t *testing.T) {
	for _, w := range ways {
		t.Run(w.String(), func(t *testing.T) {
			st := newSite(t)
			clock := st.clock()
			img := world.Image(t, 2, 70<<10)
			p := st.world.Push(t, corp+"/app:v1", img)
			body, _ := img.RawManifest()
			rt := st.by(w)
			for i, row := range []struct{ path, status, kind, digest string }{
				{"app/manifests/v1", "entrepot; fwd=uri-miss; stored", typeOCIManifest, p.Digest},
				{"app/manifests/v1", "entrepot; hit", typeOCIManifest, p.Digest},
				{"app/manifests/" + p.Digest, "entrepot; hit", typeOCIManifest, p.Digest},
				{"app/blobs/" + p.Blobs[1], "entrepot; fwd=uri-miss; stored", octetStream, p.Blobs[1]},
				{"app/blobs/" + p.Blobs[1], "entrepot; hit", octetStream, p.Blobs[1]},
			} {
				a := ask(t, rt, "GET", st.url(w, corp, row.path), accepting...)
				want := map[string]string{
					"Cache-Status": row.status, "Docker-Content-Digest": row.digest, "Etag": `"` + row.digest + `"`, "Content-Type": row.kind,
					"Docker-Distribution-Api-Version": "registry/2.0", "X-Content-Type-Options": "nosniff", "Content-Encoding": "", "Set-Cookie": "",
				}
				length := int64(len(body))
				if row.kind == octetStream {
					length, want["Accept-Ranges"] = 70<<10, "bytes"
				} else {
					want["Accept-Ranges"] = ""
				}
				for name, value := range want {
					if got := a.Header.Get(name); got != value {
						t.Errorf("%d %s: got %s %q, want %q", i, row.path, name, got, value)
					}
				}
				if a.StatusCode != 200 || a.ContentLength != length || int64(len(a.body)) != length || a.err != nil {
					t.Errorf("%d %s: got %d, length %d, %d bytes, %v; want 200 and %d", i, row.path, a.StatusCode, a.ContentLength, len(a.body), a.err, length)
				}
			}
			clock.advance(40 * time.Second)
			a := ask(t, rt, "GET", st.url(w, corp, "app/manifests/v1"), accepting...)
			if age := a.Header.Get("Age"); age != "40" && age != "41" {
				t.Errorf("got Age %q, want 40", age)
			}
		})
	}
}

// TestTagLifeCycle: fresh, revalidated, moved, with what upstream is asked at each step.
func TestTagLifeCycle(t *testing.T) {
	for _, w := range ways {
		t.Run(w.String(), func(t *testing.T) {
			st := newSite(t)
			clock := st.clock()
			ref := "mcr.microsoft.com"
			old := st.world.Push(t, ref+"/app:v1", world.Image(t, 1, 50<<10))
			rt := st.by(w)
			url := st.url(w, ref, "app/manifests/v1")
			step := func(what, word, digest string, heads, gets int, header ...string) {
				t.Helper()
				st.world.Reset()
				st.log.reset()
				a := ask(t, rt, "GET", url, append(header, accepting...)...)
				c := st.world.Host(ref).Counts()
				if got := st.log.await(t, kindManifest, 1)[0].Cache; a.StatusCode != 200 || got != word || a.Header.Get("Docker-Content-Digest") != digest {
					t.Errorf("%s: got %d %s %s, want 200 %s %s", what, a.StatusCode, got, a.Header.Get("Docker-Content-Digest"), word, digest)
				}
				if a.Header.Get("Cache-Status") != cacheStatus[word] {
					t.Errorf("%s: got Cache-Status %q, want %q", what, a.Header.Get("Cache-Status"), cacheStatus[word])
				}
				if c.ManifestHeads != heads || c.ManifestGets != gets || c.Requests != heads+gets {
					t.Errorf("%s: upstream was asked\n%swant %d HEADs and %d GETs", what, st.world.Story(), heads, gets)
				}
				for _, r := range st.world.Requests() {
					if r.Method == "GET" && !strings.HasSuffix(r.Path, "/"+digest) {
						t.Errorf("%s: a GET of %s, want one by digest only", what, r.Path)
					}
				}
			}
			step("cold", cacheMiss, old.Digest, 1, 1)
			st.settled()
			step("fresh", cacheHit, old.Digest, 0, 0)
			clock.advance(59 * time.Second)
			step("still fresh", cacheHit, old.Digest, 0, 0)
			clock.advance(2 * time.Second)
			step("old", cacheRevalidated, old.Digest, 1, 0)
			clock.advance(58 * time.Second)
			step("fresh again", cacheHit, old.Digest, 0, 0)
			step("no-cache", cacheRevalidated, old.Digest, 1, 0, "Cache-Control", "no-cache")
			moved := st.world.Push(t, ref+"/app:v1", world.Image(t, 2, 50<<10))
			step("moved, not yet due", cacheHit, old.Digest, 0, 0)
			clock.advance(61 * time.Second)
			step("moved", cacheMiss, moved.Digest, 1, 1)
			st.settled()
			step("moved and fresh", cacheHit, moved.Digest, 0, 0)
			st.world.Push(t, ref+"/app:v1", world.Image(t, 1, 50<<10))
			clock.advance(61 * time.Second)
			step("moved back", cacheRevalidated, old.Digest, 1, 0)
			st.world.Push(t, ref+"/app:latest", world.Image(t, 1, 50<<10))
			url = st.url(w, ref, "app/manifests/latest")
			step("another tag of what is held", cacheRevalidated, old.Digest, 1, 0)
			step("the other tag, fresh", cacheHit, old.Digest, 0, 0)
		})
	}
}

// TestOneQuestionForAll: 200 clients who wait for the same old tag share one HEAD (and no GET).
func TestOneQuestionForAll(t *testing.T) {
	st := newSite(t)
	clock := st.clock()
	p := st.world.Push(t, "docker.io/library/alpine:3.20", world.Image(t, 1, 50<<10))
	url := st.mirror("/v2/alpine/manifests/3.20")
	rt := st.by(way{doorMirror, true})
	ask(t, rt, "GET", url, accepting...)
	hub := st.world.Host("registry-1.docker.io")
	clock.advance(2 * time.Minute)
	st.world.Reset()
	held := hub.Fault(world.Fault{Kind: world.Delay, On: world.Manifest})
	const clients = 200
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
	if c := hub.Counts(); c.ManifestHeads != 1 || c.ManifestGets != 0 {
		t.Errorf("upstream was asked\n%swant one HEAD", st.world.Story())
	}
}

// TestLeaderLeaves: the client whose request started a question leaves, and the others get their answer.
func TestLeaderLeaves(t *testing.T) {
	st := newSite(t)
	st.world.Push(t, "docker.io/library/alpine:3.20", world.Image(t, 1, 50<<10))
	url := st.mirror("/v2/alpine/manifests/3.20")
	held := st.world.Host("registry-1.docker.io").Fault(world.Fault{Kind: world.Delay, On: world.Manifest})
	rt := st.by(way{doorMirror, true})
	leader, leave := contextOf(t)
	left := make(chan struct{})
	go func() {
		defer close(left)
		try(leader, rt, "GET", url, accepting...)
	}()
	<-held.Hit()
	follower := make(chan answer)
	go func() {
		a, _ := try(t.Context(), rt, "GET", url, accepting...)
		follower <- a
	}()
	eventually(t, "both wait", func() bool { return within("(*Server).lookUp") >= 2 })
	leave()
	<-left
	st.log.await(t, kindManifest, 1)
	held.Release()
	if a := <-follower; a.Response == nil || a.StatusCode != 200 {
		t.Errorf("the follower got %v", a.Response)
	}
	if l := st.log.requests(kindManifest)[0]; l.Status != statusClientGone {
		t.Errorf("log of who left: got %+v, want status %d", l, statusClientGone)
	}
}

// TestRegistriesWithoutHead: where HEAD is refused or does not tell the digest, a GET by tag names it; bytes are what they are.
func TestRegistriesWithoutHead(t *testing.T) {
	for what, fault := range map[string]world.Fault{
		"405":          {Kind: world.Status, Status: 405, Method: "HEAD", On: world.Manifest, Times: -1},
		"501":          {Kind: world.Status, Status: 501, Method: "HEAD", On: world.Manifest, Times: -1},
		"no digest":    {Kind: world.Headers, Header: map[string]string{"Docker-Content-Digest": ""}, On: world.Manifest, Times: -1},
		"no type":      {Kind: world.Headers, Header: map[string]string{"Content-Type": "application/json"}, On: world.Manifest, Times: -1},
		"wrong digest": {Kind: world.Headers, Header: map[string]string{"Docker-Content-Digest": "sha256:xyz"}, On: world.Manifest, Times: -1},
	} {
		t.Run(what, func(t *testing.T) {
			st := newSite(t)
			clock := st.clock()
			p := st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 50<<10))
			st.world.Host(corp).Fault(fault)
			rt := st.by(way{doorMirror, true})
			for i, method := range []string{"GET", "GET", "HEAD"} {
				st.log.reset()
				a := ask(t, rt, method, st.url(ways[0], corp, "app/manifests/v1"), accepting...)
				if a.StatusCode != 200 || a.Header.Get("Docker-Content-Digest") != p.Digest || a.Header.Get("Content-Type") != typeOCIManifest {
					t.Errorf("%d: got %d %v", i, a.StatusCode, a.Header)
				}
				want := cacheRevalidated
				if i == 0 {
					want = cacheMiss // the bytes came from upstream, though it was for the digest's sake
				}
				if got := st.log.await(t, kindManifest, 1)[0].Cache; got != want {
					t.Errorf("%d: the log says %s, want %s", i, got, want)
				}
				clock.advance(2 * time.Minute)
			}
			if err := readAll(st.pull(doorMirror, corp+"/app:v1")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAcceptDecides: which stored manifest may answer is for the client's Accept to say (rpardini/docker-registry-proxy #129).
func TestAcceptDecides(t *testing.T) {
	st := newSite(t)
	list := world.DockerList(t, 1, 30<<10)
	st.world.Push(t, "docker.io/library/multi:1", list)
	idx, _ := list.IndexManifest()
	digest, _ := list.Digest()
	amd64 := idx.Manifests[0].Digest.String()
	rt := st.by(way{doorMirror, true})
	for i, row := range []struct {
		accept, kind, digest string
		status               int
	}{
		{typeDockerList + ", " + typeDockerManifest, typeDockerList, digest.String(), 200},
		{typeDockerManifest, typeDockerManifest, amd64, 200}, // the registry makes one of it, we do not
		{typeDockerManifest, typeDockerManifest, amd64, 200},
		{manifestTypes, typeDockerList, digest.String(), 200},
		{"*/*", typeDockerList, digest.String(), 200},
		{"application/*;q=0.1", typeDockerList, digest.String(), 200},
	} {
		a := ask(t, rt, "GET", st.mirror("/v2/multi/manifests/1"), "Accept", row.accept)
		if a.StatusCode != row.status || a.Header.Get("Content-Type") != row.kind || a.Header.Get("Docker-Content-Digest") != row.digest {
			t.Errorf("%d Accept %s: got %d %s %s, want %d %s %s", i, row.accept, a.StatusCode, a.Header.Get("Content-Type"), a.Header.Get("Docker-Content-Digest"), row.status, row.kind, row.digest)
		}
	}
}

// TestAcceptThatFitsNothing: what is held does not answer a client that does not take it; upstream does, in its own words.
func TestAcceptThatFitsNothing(t *testing.T) {
	st := newSite(t)
	st.world.Push(t, "docker.io/library/single:1", world.Image(t, 1, 30<<10))
	rt := st.by(way{doorMirror, true})
	url := st.mirror("/v2/single/manifests/1")
	ask(t, rt, "GET", url, accepting...)
	for _, method := range []string{"GET", "HEAD"} {
		st.world.Reset()
		a := ask(t, rt, method, url, "Accept", typeDockerManifest)
		if a.StatusCode != 404 || method == "GET" && !strings.Contains(string(a.body), `"detail":{"Tag":"1"}`) {
			t.Errorf("%s: got %d %s, want upstream's own 404", method, a.StatusCode, a.body)
		}
		if c := st.world.Host("registry-1.docker.io").Counts(); method == "HEAD" && c.ManifestGets > 0 {
			t.Errorf("a HEAD became a GET:\n%s", st.world.Story())
		}
	}
}

func TestIfNoneMatch(t *testing.T) {
	st := newSite(t)
	p := st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 50<<10))
	rt := st.by(way{doorMirror, true})
	const other = `"sha256:0000000000000000000000000000000000000000000000000000000000000000"`
	for _, row := range []struct {
		path, field string
		want        int
	}{
		{"app/manifests/v1", `"` + p.Digest + `"`, 304},
		{"app/manifests/v1", other, 200},
		{"app/manifests/v1", other + `, W/"` + p.Digest + `"`, 304},
		{"app/manifests/" + p.Digest, `"` + p.Digest + `"`, 304},
		{"app/manifests/" + p.Digest, `*`, 304},
		{"app/blobs/" + p.Blobs[1], `"` + p.Blobs[1] + `"`, 304},
		{"app/blobs/" + p.Blobs[1], other, 200},
	} {
		ask(t, rt, "GET", st.url(ways[0], corp, row.path), accepting...)
		st.settled()
		for _, method := range []string{"GET", "HEAD"} {
			a := ask(t, rt, method, st.url(ways[0], corp, row.path), append([]string{"If-None-Match", row.field}, accepting...)...)
			if a.StatusCode != row.want || row.want == http.StatusNotModified && (len(a.body) > 0 || a.Header.Get("Etag") == "") {
				t.Errorf("%s %s with %s: got %d, %d bytes, %v, want %d", method, row.path, row.field, a.StatusCode, len(a.body), a.Header, row.want)
			}
		}
	}
}
