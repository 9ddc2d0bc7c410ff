package proxy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/entrepot/entrepot/testdata/world"
)

// hit is a request that is answered from what is held, and a writer that costs nothing: what is left is our own work.
type hit struct {
	server *Server
	header http.Header
	req    *http.Request
	status int
	bytes  int64
	bears  []string // the field Authorization, which a login takes out of the request
}

func (h *hit) Header() http.Header { return h.header }

func (h *hit) WriteHeader(status int) { h.status = status }

func (h *hit) Write(p []byte) (int, error) {
	h.bytes += int64(len(p))
	return len(p), nil
}

// serve answers it once more.
func (h *hit) serve() {
	clear(h.header)
	h.bytes = 0
	if h.bears != nil {
		h.req.Header["Authorization"] = h.bears
	}
	h.server.ServeHTTP(h, h.req)
}

// newHits are the requests that pulls of what is held consist of, by the tls door and the mirror.
func newHits(t testing.TB) map[string]*hit {
	st := newSite(t, func(c *Config) { c.Log, c.ManifestTTL = zerolog.New(io.Discard), time.Hour })
	clock := st.clock()
	p := st.world.Push(t, "registry.k8s.io/app:1", world.Image(t, 1, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000))
	tr := st.transport(doorTLS)
	hits := map[string]*hit{}
	for name, of := range map[string]struct{ method, path, mirror string }{
		"manifest by digest":                   {http.MethodGet, "/v2/app/manifests/" + p.Digest, ""},
		"manifest by tag":                      {http.MethodGet, "/v2/app/manifests/1", ""},
		"head of a tag":                        {http.MethodHead, "/v2/app/manifests/1", ""},
		"head of a blob, mirror by ns":         {http.MethodHead, "/v2/app/blobs/" + p.Blobs[0], "/v2/app/blobs/" + p.Blobs[0] + "?ns=registry.k8s.io"},
		"blob":                                 {http.MethodGet, "/v2/app/blobs/" + p.Blobs[0], ""},
		"manifest by digest, mirror by ns":     {http.MethodGet, "/v2/app/manifests/" + p.Digest, "/v2/app/manifests/" + p.Digest + "?ns=registry.k8s.io"},
		"manifest by tag, mirror by ns":        {http.MethodGet, "/v2/app/manifests/1", "/v2/app/manifests/1?ns=registry.k8s.io"},
		"manifest by digest, mirror by a path": {http.MethodGet, "/v2/app/manifests/" + p.Digest, "/v2/registry.k8s.io/app/manifests/" + p.Digest},
		"manifest by tag, mirror by a path":    {http.MethodGet, "/v2/app/manifests/1", "/v2/registry.k8s.io/app/manifests/1"},
	} {
		req := httptest.NewRequest(of.method, of.path, nil)
		req.Host, req.TLS = "registry.k8s.io", &tls.ConnectionState{}
		req.Header.Set("Accept", manifestTypes)
		req.Header.Set("User-Agent", "containerd/2.4.2")
		conn := &wire{door: doorTLS, authority: "registry.k8s.io"}
		h := &hit{server: st.server, header: http.Header{}, req: req.WithContext(context.WithValue(t.Context(), wireKey{}, conn))}
		for range 2 { // the first time it may be brought
			out := req.Clone(t.Context())
			out.RequestURI, out.URL.Scheme, out.URL.Host, out.Method = "", "https", req.Host, http.MethodGet
			resp, err := tr.RoundTrip(out)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if of.mirror != "" {
			at := httptest.NewRequest(of.method, of.mirror, nil)
			at.Header = req.Header
			h.req = at.WithContext(context.WithValue(t.Context(), wireKey{}, &wire{door: doorMirror}))
		}
		hits[name] = h
	}
	clock.advance(hitAge)
	return hits
}

// hitAge is how old the tags are: a number that takes memory to be written.
const hitAge = 200 * time.Second

// TestHitAllocations: a hit's own allocations, beside those of net/http, are not more than at the last release. They are what a busy
// server's garbage collector lives of.
func TestHitAllocations(t *testing.T) {
	const file = "../bench/allocations.json"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var last map[string]float64
	if err := json.Unmarshal(content, &last); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	hits := newHits(t)
	maps.Copy(hits, newPrivateHits(t))
	for name, h := range hits {
		most, known := last[name]
		more := strings.Contains(name, "blob") || strings.Contains(name, "login") || strings.Contains(name, "path") // to be found out first
		if !known || !more && most > 2 {
			t.Errorf("%s: %s says %v, want a number, and of a manifest 2 at most", name, file, most)
		}
		h.serve()
		if got := h.header.Get("Cache-Status"); got != "entrepot; hit" {
			t.Errorf("%s: got %q, want a hit", name, got)
		}
		got := testing.AllocsPerRun(200, h.serve)
		for n := 0; n < 200 && got > most+poolLosses; n++ { // what goes on beside it is counted too, and ends
			got = min(got, testing.AllocsPerRun(200, h.serve))
		}
		if got > most+poolLosses {
			t.Errorf("%s: got %v allocations, want at most %v as %s says", name, got, most, file)
		}
	}
}

// BenchmarkHit is our own work for a request that is answered from what is held.
func BenchmarkHit(b *testing.B) {
	for name, h := range newHits(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.serve()
			}
		})
	}
}
