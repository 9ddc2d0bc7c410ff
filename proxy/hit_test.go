package proxy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

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
	h.server.ServeHTTP(h, h.req)
}

// newHits are the requests that pulls of what is held consist of, by the tls door where it does not matter.
func newHits(t testing.TB) map[string]*hit {
	st := newSite(t, func(c *Config) { c.Log = zerolog.New(io.Discard) })
	p := st.world.Push(t, "registry.k8s.io/app:1", world.Image(t, 1, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000))
	tr := st.transport(doorTLS)
	hits := map[string]*hit{}
	for name, of := range map[string]struct{ method, path string }{
		"manifest by digest": {http.MethodGet, "/v2/app/manifests/" + p.Digest},
		"manifest by tag":    {http.MethodGet, "/v2/app/manifests/1"},
		"head of a tag":      {http.MethodHead, "/v2/app/manifests/1"},
		"head of a blob":     {http.MethodHead, "/v2/app/blobs/" + p.Blobs[0]},
		"blob":               {http.MethodGet, "/v2/app/blobs/" + p.Blobs[0]},
	} {
		req := httptest.NewRequest(of.method, of.path, nil)
		req.Host, req.TLS = "registry.k8s.io", &tls.ConnectionState{}
		req.Header.Set("Accept", manifestTypes)
		req.Header.Set("User-Agent", "containerd/2.4.2")
		conn := &wire{door: doorTLS, authority: "registry.k8s.io"}
		if name == "head of a blob" { // at the doors through which can be pushed it is a question to the registry
			conn.door, conn.authority, req.URL.RawQuery = doorMirror, "", "ns=registry.k8s.io"
		}
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
		hits[name] = h
	}
	return hits
}

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
	for name, h := range newHits(t) {
		most, known := last[name]
		if !known || !strings.Contains(name, "blob") && most > 2 {
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
