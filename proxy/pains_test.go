package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// pain is something that users of other caches have suffered from, by the number under which they told it, and shows that it cannot
// happen here to a client that comes by w.
type pain struct {
	name string
	run  func(t *testing.T, w way)
}

// TestPains: each by the mirror door and by the proxy door, in HTTP/1 and in HTTP/2. Numbers without a name are those of
// rpardini/docker-registry-proxy. What needs no more than a store is tested in package cache under the same numbers.
func TestPains(t *testing.T) {
	for _, p := range slices.Concat(painsOfContent(), painsOfRanges(), painsOfTransfers(), painsOfWaiting(), painsOfTags(), painsOfOutages(), painsOfDisks()) {
		t.Run(p.name, func(t *testing.T) {
			for _, w := range ways {
				t.Run(w.String(), func(t *testing.T) { p.run(t, w) })
			}
		})
	}
}

// signs is a registry that redirects to signed URLs of another host and wants no token.
const (
	signs       = "mcr.microsoft.com"
	signedStore = "westeurope.data.mcr.microsoft.com"
)

// get by w, with whatever stands in header.
func (st *site) fetchBy(w way, registry, path string, header ...string) answer {
	st.t.Helper()
	return ask(st.t, st.by(w), http.MethodGet, st.url(w, registry, path), header...)
}

// wants fails the test unless a is a 200 with this content, by which cache's word.
func (st *site) wants(what string, a answer, content []byte, word string) {
	st.t.Helper()
	if a.StatusCode != http.StatusOK || a.err != nil || a.Header.Get("Cache-Status") != cacheStatus[word] {
		st.t.Errorf("%s: got %d %q (%v), want 200 and %s\n%s", what, a.StatusCode, a.Header.Get("Cache-Status"), a.err, word, st.world.Story())
	}
	sameBytes(st.t, what, a.body, content)
}

// wantsTag is the same for a manifest by tag.
func (st *site) wantsTag(what string, a answer, digest, word string) {
	st.t.Helper()
	if a.StatusCode != http.StatusOK || a.Header.Get("Docker-Content-Digest") != digest || a.Header.Get("Cache-Status") != cacheStatus[word] {
		st.t.Errorf("%s: got %d %v %.80q, want 200 %s %s\n%s", what, a.StatusCode, a.Header, a.body, word, digest, st.world.Story())
	}
}

// begin asks for the cargo and returns when its header is here.
func (c *cargo) begin(ctx context.Context, w way, header ...string) *http.Response {
	c.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(w, corp, c.path), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.by(w).RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// ends reads what is left of a response.
func (c *cargo) ends(resp *http.Response, before []byte) {
	c.t.Helper()
	rest, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Errorf("the rest: %v", err)
	}
	sameBytes(c.t, "the whole", append(bytes.Clone(before), rest...), c.content)
}

// stalls makes the first whole transfer of the cargo stop at a byte.
func (c *cargo) stalls(at int64) *world.Armed {
	return c.world.Host(corp).Fault(world.Fault{
		Kind: world.Stall, At: at, On: world.Blob, Method: http.MethodGet,
		Match: func(r *http.Request) bool { return r.Header.Get("Range") == "" },
	})
}
