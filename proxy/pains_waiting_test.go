package proxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

func painsOfWaiting() []pain {
	return []pain{
		{"nora 1001, containerd 13682: upstream takes the request for a blob and says nothing", silentBlob},
		{"zot 2416, harbor 17934: upstream takes the request for a manifest and says nothing", silentManifest},
	}
}

// impatient makes clients wait for a part of what they wait for otherwise.
func (st *site) impatient() {
	st.server.waits = waits{whole: time.Second, mirror: 300 * time.Millisecond, ping: 300 * time.Millisecond}
}

// silentBlob: a client of the proxy has the size that the manifest told before upstream has said a word; one whose size nobody knows,
// and each client of the mirror, who has somewhere else to go, gets a 503 and is told when to come again.
func silentBlob(t *testing.T, w way) {
	c := newCargo(t, 200<<10)
	c.impatient()
	silent := c.silent(corp, world.Blob)
	a := c.fetchBy(w, corp, c.path)
	if a.StatusCode/100 != 5 || a.Header.Get("Retry-After") == "" || !strings.Contains(string(a.body), codeUnavailable) {
		t.Errorf("of no known size: got %d %v %s, want 503 or 504 with Retry-After", a.StatusCode, a.Header, a.body)
	}
	c.server.upstream.Close()
	c.fetchBy(w, corp, "app/manifests/v1", accepting...)
	if w.door == doorMirror {
		return
	}
	resp := c.begin(t.Context(), w)
	if resp.StatusCode != 200 || resp.ContentLength != int64(len(c.content)) {
		t.Fatalf("of known size: got %d, length %d, want 200 and %d", resp.StatusCode, resp.ContentLength, len(c.content))
	}
	silent.Clear()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("when upstream has spoken: %v", err)
	}
	sameBytes(t, "when upstream has spoken", body, c.content)
}

// silentManifest: what is held is served, stale; the first who asks pays for it, and nobody after him. What is not held is a 503 or 504.
func silentManifest(t *testing.T, w way) {
	st := newSite(t)
	st.impatient()
	clock := st.clock()
	p := st.world.Push(t, signs+"/app:v1", world.Image(t, 1, 1000))
	st.fetchBy(w, signs, "app/manifests/v1", accepting...)
	st.settled()
	clock.advance(2 * time.Minute)
	st.silent(signs, world.Manifest)
	st.wantsTag("the first", st.fetchBy(w, signs, "app/manifests/v1", accepting...), p.Digest, cacheStale)
	if w.door != doorMirror {
		return // the exchange goes on behind the answer, for twenty seconds, and then opens the breaker: see TestSilentUpstream
	}
	before := st.world.Host(signs).Counts().Requests
	for range 5 {
		st.wantsTag("the next", st.fetchBy(w, signs, "app/manifests/v1", accepting...), p.Digest, cacheStale)
	}
	a := st.fetchBy(w, signs, "app/manifests/v2", accepting...)
	if a.StatusCode != http.StatusServiceUnavailable && a.StatusCode != http.StatusGatewayTimeout || a.Header.Get("Retry-After") == "" {
		t.Errorf("not held: got %d %v, want 503 or 504 with Retry-After", a.StatusCode, a.Header)
	}
	if asked := st.world.Host(signs).Counts().Requests - before; asked != 0 {
		t.Errorf("a silent host was asked %d times more, want none", asked)
	}
}
