package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/testdata/world"
)

func painsOfContent() []pain {
	return []pain{
		{"26, 164: a signed redirect is never kept", redirectsAreNotKept},
		{"144, 159: chains of redirects and relative ones are followed", redirectsAreFollowed},
		{"T1: a tag is one registry's", tagsBelongToARegistry},
		{"97, zot 344: one copy for all repositories and registries", oneCopyForAll},
		{"55: no conditional request goes upstream", noConditions},
		{"156, 183: a file that the disk has changed is found and fetched again", damagedFile},
		{"harbor 23373, distribution 4845: a broken body is cut and nothing is appended", brokenBodyIsCut},
		{"harbor 22555: who resumes what broke ends with the right bytes", resumedByTheClient},
		{"distribution 2367: a blob of no bytes", emptyBlob},
		{"containerd 10018: a manifest is its bytes, up to 8 MiB", largeManifest},
		{"CVE-2021-41190: no manifest is two things", ambiguousManifest},
		{"distribution, HEAD and then GET: a tag that moves in between", movesBetweenHeadAndGet},
	}
}

func redirectsAreNotKept(t *testing.T, w way) {
	st := newSite(t)
	img := world.Image(t, 1, 100<<10, 50<<10)
	p := st.world.Push(t, signs+"/app:v1", img)
	for i, content := range [][]byte{layerOf(t, img, 0), layerOf(t, img, 1)} {
		path := "app/blobs/" + p.Blobs[i+1]
		st.wants("cold", st.fetchBy(w, signs, path), content, cacheMiss)
		st.settled()
		st.world.ExpireURLs()
		before := st.world.BlobBytes()
		st.wants("when the URL has expired", st.fetchBy(w, signs, path), content, cacheHit)
		st.world.NoMoreBlobBytes(t, before)
	}
}

func redirectsAreFollowed(t *testing.T, w way) {
	st := newSite(t)
	for i, registry := range []string{"registry.k8s.io", "k8s.gcr.io", signs} {
		img := world.Image(t, uint64(i), 30<<10)
		p := st.world.Push(t, registry+"/project/repo/app:v1", img)
		a := st.fetchBy(w, registry, "project/repo/app/manifests/v1", accepting...)
		st.wantsTag(registry, a, p.Digest, cacheMiss)
		st.wants(registry, st.fetchBy(w, registry, "project/repo/app/blobs/"+p.Blobs[1]), layerOf(t, img, 0), cacheMiss)
	}
}

func tagsBelongToARegistry(t *testing.T, w way) {
	st := newSite(t)
	one := st.world.Push(t, signs+"/app:v1", world.Image(t, 1, 1000))
	two := st.world.Push(t, corp+"/app:v1", world.Image(t, 2, 1000))
	for _, word := range []string{cacheMiss, cacheHit} {
		st.wantsTag(signs, st.fetchBy(w, signs, "app/manifests/v1", accepting...), one.Digest, word)
		st.wantsTag(corp, st.fetchBy(w, corp, "app/manifests/v1", accepting...), two.Digest, word)
		st.settled()
	}
}

func oneCopyForAll(t *testing.T, w way) {
	st := newSite(t)
	img := world.Image(t, 1, 100<<10)
	content := layerOf(t, img, 0)
	var blob string
	for _, ref := range []string{corp + "/one:v1", corp + "/two:v1", signs + "/three:v1"} {
		blob = st.world.Push(t, ref, img).Blobs[1]
	}
	st.wants("the first", st.fetchBy(w, corp, "one/blobs/"+blob), content, cacheMiss)
	st.settled()
	before := st.world.BlobBytes()
	st.wants("another repository", st.fetchBy(w, corp, "two/blobs/"+blob), content, cacheHit)
	st.wants("another registry", st.fetchBy(w, signs, "three/blobs/"+blob), content, cacheHit)
	st.world.NoMoreBlobBytes(t, before)
}

func noConditions(t *testing.T, w way) {
	st := newSite(t)
	clock := st.clock()
	p := st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 100<<10))
	for range 2 {
		for _, path := range []string{"app/manifests/v1", "app/manifests/" + p.Digest, "app/blobs/" + p.Blobs[1]} {
			st.fetchBy(w, corp, path, "If-None-Match", `"sha256:x"`, "If-Modified-Since", "Mon, 02 Jun 2025 08:00:00 GMT", "Accept", manifestTypes)
		}
		clock.advance(time.Hour)
	}
	for _, r := range st.world.Requests() {
		for _, name := range []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Range"} {
			if r.Header.Get(name) != "" {
				t.Errorf("%s with %s", r, name)
			}
		}
	}
}

// overwrite changes one byte of what is held of a blob.
func (st *site) overwrite(digest string, at int) {
	st.t.Helper()
	_, hex, _ := strings.Cut(digest, ":")
	f, err := os.OpenFile(st.dir+"/cache/blobs/sha256/"+hex[:2]+"/"+hex, os.O_RDWR, 0)
	if err != nil {
		st.t.Fatal(err)
	}
	defer f.Close()
	one := make([]byte, 1)
	if _, err := f.ReadAt(one, int64(at)); err != nil {
		st.t.Fatal(err)
	}
	one[0] ^= 1
	if _, err := f.WriteAt(one, int64(at)); err != nil {
		st.t.Fatal(err)
	}
}

func damagedFile(t *testing.T, w way) {
	for _, by := range []string{"a read", "verify"} {
		c, then := newCargo(t, 400<<10), cacheMiss
		c.wants("cold", c.fetchBy(w, corp, c.path), c.content, cacheMiss)
		c.settled()
		c.restart()
		c.overwrite(c.digest, 100<<10)
		if by == "verify" {
			_, body := c.do("admin", http.MethodPost, "http://"+c.doors["admin"]+"/api/verify")
			if !strings.Contains(string(body), c.digest) {
				t.Errorf("verify says %s, want %s damaged", body, c.digest)
			}
		} else if a := c.fetchBy(w, corp, c.path); a.err == nil || len(a.body) >= len(c.content) {
			t.Errorf("the damaged file: got %d, %d bytes, %v, want it cut", a.StatusCode, len(a.body), a.err)
		} else {
			c.settled()
			then = cacheHit // it was fetched anew at once
		}
		c.wants("after "+by, c.fetchBy(w, corp, c.path), c.content, then)
		c.settled()
		c.wants("from then on", c.fetchBy(w, corp, c.path), c.content, cacheHit)
	}
}

func brokenBodyIsCut(t *testing.T, w way) {
	c := newCargo(t, 8<<20)
	c.world.Host(corp).Fault(world.Fault{Kind: world.Truncate, At: 7 << 20, On: world.Blob, Method: "GET"})
	a := c.fetchBy(w, corp, c.path)
	if a.StatusCode == http.StatusServiceUnavailable {
		a.err, a.body = nil, nil // all was over before the header was sent: there was nothing to cut
	} else if w.h1 && !errors.Is(a.err, io.ErrUnexpectedEOF) || !w.h1 && (a.err == nil || !strings.Contains(a.err.Error(), "stream error")) {
		t.Errorf("got %d, %v, want the connection cut, or the stream reset", a.StatusCode, a.err)
	}
	if !bytes.HasPrefix(c.content, a.body) {
		t.Errorf("got %d bytes that are not the blob's", len(a.body))
	}
	c.healthy(w.door)
}

func resumedByTheClient(t *testing.T, w way) {
	for name, harm := range map[string]world.Fault{
		"short":                {Kind: world.Truncate, At: 200 << 10},
		"a lie about length":   {Kind: world.WrongLength, At: faultySize - 1},
		"corrupt in its end":   {Kind: world.Corrupt, At: faultySize - 1},
		"a page in its place":  {Kind: world.HTML},
		"an encoding":          {Kind: world.ContentEncoding},
		"a registry's trouble": {Kind: world.Status, Status: 503},
	} {
		c := newCargo(t, faultySize)
		harm.On, harm.Method = world.Blob, "GET"
		c.world.Host(corp).Fault(harm)
		a := c.fetchBy(w, corp, c.path)
		if a.StatusCode != 200 {
			a.body = nil
		} else if a.err == nil {
			t.Errorf("%s: ended politely after %d bytes", name, len(a.body))
		}
		c.settled()
		rest := c.fetchBy(w, corp, c.path, "Range", fmt.Sprintf("bytes=%d-", len(a.body)), "If-Range", `"`+c.digest+`"`)
		want := fmt.Sprintf("bytes %d-%d/%d", len(a.body), faultySize-1, faultySize)
		if rest.StatusCode != 206 || rest.err != nil || rest.Header.Get("Content-Range") != want {
			t.Errorf("%s: the rest: got %d %q (%v), want 206 %q", name, rest.StatusCode, rest.Header.Get("Content-Range"), rest.err, want)
		}
		sameBytes(t, name, append(a.body, rest.body...), c.content)
	}
}

func emptyBlob(t *testing.T, w way) {
	st := newSite(t)
	digest := cache.DigestOf(nil).String()
	st.world.PutBlob(t, corp+"/app", digest, nil)
	for _, word := range []string{cacheMiss, cacheHit} {
		a := st.fetchBy(w, corp, "app/blobs/"+digest)
		st.wants("no bytes", a, nil, word)
		if a.ContentLength != 0 {
			t.Errorf("got length %d, want 0", a.ContentLength)
		}
		st.settled()
	}
	for _, field := range []string{"bytes=0-", "bytes=0-9", "bytes=-5"} {
		if a := st.fetchBy(w, corp, "app/blobs/"+digest, "Range", field); a.StatusCode != 200 && a.StatusCode != 416 || a.err != nil {
			t.Errorf("%s of nothing: got %d, %v", field, a.StatusCode, a.err)
		}
	}
}

// padded is a manifest of exactly size bytes.
func padded(size int) []byte {
	const is = `{"schemaVersion":2,"mediaType":"` + typeOCIIndex + `","manifests":[]}`
	return []byte(is + strings.Repeat(" ", size-len(is)))
}

func largeManifest(t *testing.T, w way) {
	st := newSite(t)
	most, more := padded(maxManifest), padded(maxManifest+1)
	st.world.PutManifest(t, corp+"/app:most", typeOCIIndex, most)
	st.world.PutManifest(t, corp+"/app:more", typeOCIIndex, more)
	if w.door == doorMirror { // by one way, since the race detector makes parsing slow
		st.wants("8 MiB", st.fetchBy(w, corp, "app/manifests/most", accepting...), most, cacheMiss)
	}
	for _, ref := range []string{"more", cache.DigestOf(more).String()} {
		if a := st.fetchBy(w, corp, "app/manifests/"+ref, accepting...); a.StatusCode < 400 || !strings.Contains(string(a.body), "not a manifest") {
			t.Errorf("8 MiB and a byte by %.10s: got %d %.80q, want a refusal", ref, a.StatusCode, a.body)
		}
		st.settled()
	}
	larger := padded(maxManifest + 2)
	st.world.PutManifest(t, corp+"/app:larger", typeOCIIndex, larger)
	st.world.Host(corp).Fault(world.Fault{Kind: world.Chunked, On: world.Manifest, Method: "GET"})
	if a := st.fetchBy(w, corp, "app/manifests/"+cache.DigestOf(larger).String(), accepting...); a.StatusCode < 400 || !strings.Contains(string(a.body), "more than") {
		t.Errorf("8 MiB and two bytes without a length: got %d %.80q, want a refusal", a.StatusCode, a.body)
	}
	st.settled()
	st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 405, Method: "HEAD", On: world.Manifest, Times: -1})
	if a := st.fetchBy(w, corp, "app/manifests/more", accepting...); a.StatusCode < 400 {
		t.Errorf("8 MiB and a byte by GET: got %d %.80q, want a refusal", a.StatusCode, a.body)
	}
}

func ambiguousManifest(t *testing.T, w way) {
	st := newSite(t)
	body := []byte(`{"schemaVersion":2,"mediaType":"` + typeOCIIndex + `","manifests":[{"size":1}],"layers":[{"size":1}]}`)
	st.world.PutManifest(t, corp+"/app:both", typeOCIIndex, body)
	for _, ref := range []string{"both", cache.DigestOf(body).String()} {
		for range 2 {
			if a := st.fetchBy(w, corp, "app/manifests/"+ref, accepting...); a.StatusCode < 400 {
				t.Errorf("%.10s: got %d %s, want a refusal", ref, a.StatusCode, a.body)
			}
			st.settled()
		}
	}
}

func movesBetweenHeadAndGet(t *testing.T, w way) {
	for _, head := range []int{200, 405} {
		st := newSite(t)
		clock := st.clock()
		old := st.world.Push(t, corp+"/app:v1", world.Image(t, 1, 1000))
		img := world.Image(t, 2, 1000)
		moved, _ := img.Digest()
		if head != 200 {
			st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: head, Method: "HEAD", On: world.Manifest, Times: -1})
		}
		st.world.Host(corp).Fault(world.Fault{Kind: world.HTML, On: world.Manifest, Method: "GET", Match: func(*http.Request) bool {
			st.world.Push(t, corp+"/app:v1", img)
			return false
		}})
		a := st.fetchBy(w, corp, "app/manifests/v1", accepting...)
		if said := a.Header.Get("Docker-Content-Digest"); a.StatusCode != 200 || said != cache.DigestOf(a.body).String() || said != old.Digest && said != moved.String() {
			t.Errorf("HEAD %d: got %d, said to be %s, is %s", head, a.StatusCode, said, cache.DigestOf(a.body))
		}
		clock.advance(2 * time.Minute)
		if a := st.fetchBy(w, corp, "app/manifests/v1", accepting...); a.Header.Get("Docker-Content-Digest") != moved.String() {
			t.Errorf("HEAD %d: when it has moved: got %d %v", head, a.StatusCode, a.Header)
		}
	}
}
