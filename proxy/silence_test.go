package proxy

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// silent makes a host take requests of one kind and say nothing to them until the test ends.
func (st *site) silent(host string, kind world.Kind) *world.Armed {
	st.t.Helper()
	a := st.world.Host(host).Fault(world.Fault{Kind: world.Delay, On: kind, Times: -1})
	st.t.Cleanup(a.Release)
	return a
}

// TestSilentUpstream: who waits for a header gets an answer in time (containerd #4861, #13682, nora #1001): what is held, stale; the
// size that a manifest told, and the bytes when they come; else a 503 or 504 that says when to come again.
func TestSilentUpstream(t *testing.T) {
	st := newSite(t)
	st.server.waits = waits{whole: 2 * time.Second, mirror: 800 * time.Millisecond, ping: 800 * time.Millisecond}
	clock := st.clock()
	p := st.world.Push(t, "registry.k8s.io/app:1", world.Image(t, 1, 200<<10))
	st.get(doorMirror, st.mirror("/v2/registry.k8s.io/app/manifests/1"))

	t.Run("manifest, nothing held", func(t *testing.T) {
		st.world.Push(t, "mcr.microsoft.com/app:1", world.Image(t, 2, 1000))
		st.silent("mcr.microsoft.com", world.Manifest)
		for _, row := range []struct{ door, url string }{
			{doorMirror, st.mirror("/v2/mcr.microsoft.com/app/manifests/1")},
			{doorTLS, "https://mcr.microsoft.com/v2/app/manifests/1"},
		} {
			resp, body := st.get(row.door, row.url)
			if resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusGatewayTimeout || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%s: got %d %s, want 503 or 504 with Retry-After", row.door, resp.StatusCode, body)
			}
		}
	})
	t.Run("blob of a known size", func(t *testing.T) {
		storage := st.silent("us-west1-docker.pkg.dev", world.Blob)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://registry.k8s.io/v2/app/blobs/"+p.Blobs[0], nil)
		resp, err := st.transport(doorTLS).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.ContentLength <= 0 {
			t.Fatalf("got %d with length %d before upstream spoke, want 200 and the length", resp.StatusCode, resp.ContentLength)
		}
		storage.Clear()
		storage.Release()
		body, err := io.ReadAll(resp.Body)
		if err != nil || int64(len(body)) != resp.ContentLength {
			t.Errorf("got %d bytes (%v), want %d", len(body), err, resp.ContentLength)
		}
		_, again := st.get(doorMirror, st.mirror("/v2/registry.k8s.io/app/blobs/"+p.Blobs[0]))
		if !bytes.Equal(again, body) {
			t.Errorf("what came late is not what is held")
		}
	})
	t.Run("too late for the mirror, and kept", func(t *testing.T) {
		p := st.world.Push(t, "registry.k8s.io/late:1", world.Image(t, 3, 300<<10))
		st.get(doorMirror, st.mirror("/v2/registry.k8s.io/late/manifests/1"))
		storage := st.silent("us-west1-docker.pkg.dev", world.Blob)
		url := st.mirror("/v2/registry.k8s.io/late/blobs/" + p.Blobs[1])
		if resp, body := st.get(doorMirror, url); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Errorf("got %d %s, want 503 with Retry-After", resp.StatusCode, body)
		}
		storage.Clear()
		storage.Release()
		st.settled()
		before := st.world.BlobBytes()
		resp, body := st.get(doorMirror, url)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Status") != cacheStatus[cacheHit] || len(body) != 300<<10 {
			t.Errorf("afterwards got %d %s and %d bytes, want a hit", resp.StatusCode, resp.Header.Get("Cache-Status"), len(body))
		}
		st.world.NoMoreBlobBytes(t, before)
	})
	t.Run("tag that is held", func(t *testing.T) {
		clock.advance(2 * time.Minute)
		st.silent("registry.k8s.io", world.Manifest)
		if status, _, word := st.outcome("/v2/registry.k8s.io/app/manifests/1"); status != http.StatusOK || word != cacheStale {
			t.Errorf("got %d %s, want 200 STALE", status, word)
		}
		before := st.world.Host("registry.k8s.io").Counts().Requests
		for range 5 { // the first one paid
			if status, _, word := st.outcome("/v2/registry.k8s.io/app/manifests/1"); status != http.StatusOK || word != cacheStale {
				t.Errorf("got %d %s, want 200 STALE", status, word)
			}
		}
		if got := st.world.Host("registry.k8s.io").Counts().Requests - before; got != 0 {
			t.Errorf("a silent host was asked %d times more, want none", got)
		}
	})
}
