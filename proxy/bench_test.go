package proxy

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// BenchmarkWarmBlob reads a 64 MiB layer that is held, by the ways clients take. It counts both ends' work.
func BenchmarkWarmBlob(b *testing.B) {
	const size = 64 << 20
	for _, way := range []struct {
		name, door string
		h2         bool
	}{{"plain mirror", doorMirror, false}, {"TLS h1", doorTLS, false}, {"TLS h2", doorTLS, true}, {"CONNECT h2", doorProxy, true}} {
		b.Run(way.name, func(b *testing.B) {
			st := newSite(b)
			p := st.world.Push(b, "registry.k8s.io/big:1", world.Image(b, 1, size))
			url := "https://registry.k8s.io/v2/big/"
			if way.door == doorMirror {
				url = st.mirror("/v2/registry.k8s.io/big/")
			}
			tr := st.transport(way.door)
			if way.h2 {
				onlyHTTP2(tr)
			}
			get := func(path string) int64 {
				req, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, url+path, nil)
				resp, err := tr.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				defer resp.Body.Close()
				n, err := io.Copy(io.Discard, resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Fatal(resp.Status, err)
				}
				return n
			}
			get("manifests/1")
			layer := p.Blobs[0]
			for _, d := range p.Blobs {
				if get("blobs/"+d) == size {
					layer = d
				}
			}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				get("blobs/" + layer)
			}
		})
	}
}

// BenchmarkWarmManifest asks for a manifest by a fresh tag and by digest, the access check included.
func BenchmarkWarmManifest(b *testing.B) {
	st := newSite(b)
	p := st.world.Push(b, "registry.k8s.io/app:1", world.Image(b, 1, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000))
	tr := st.transport(doorMirror)
	for _, ref := range []string{"1", p.Digest} {
		b.Run(fmt.Sprintf("%.7s", ref), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, st.mirror("/v2/registry.k8s.io/app/manifests/"+ref), nil)
				req.Header.Set("Accept", manifestTypes)
				resp, err := tr.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}
