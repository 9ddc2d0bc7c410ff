package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/testdata/world"
)

// TestParallelOpenRanges: containerd with concurrent_layer_fetch_buffer reads a cold layer by many workers, each of which asks for
// everything from its chunk on, reads the chunk and hangs up. Upstream sends the layer once (CLIENTS: 16 workers of 1 MiB ask for
// 126 times the layer in sum), and so do we.
func TestParallelOpenRanges(t *testing.T) {
	const chunk, workers, size = 1 << 20, 16, 256 << 20
	for _, door := range []string{doorMirror, doorProxy} {
		t.Run(door, func(t *testing.T) {
			st := newSite(t)
			st.server.chunks.patience = time.Minute // all will hang up, be the machine busy or not
			p := st.world.Push(t, "registry.k8s.io/big:1", world.Image(t, 1, size))
			base := "https://registry.k8s.io/v2/big/"
			if door == doorMirror {
				base = st.mirror("/v2/registry.k8s.io/big/")
			}
			st.get(door, base+"manifests/1", "Accept", manifestTypes)
			layer := p.Blobs[0]
			if p.Layers != size {
				t.Fatalf("the layers have %d bytes", p.Layers)
			}
			for _, b := range p.Blobs {
				if resp, _ := st.do(door, http.MethodHead, base+"blobs/"+b); resp.ContentLength == size {
					layer = b
				}
			}
			st.log.await(t, kindBlob, len(p.Blobs))
			got := make([]byte, size)
			before := st.world.BlobBytes()
			st.log.reset()
			offsets := make(chan int64, size/chunk)
			for at := int64(0); at < size; at += chunk {
				offsets <- at
			}
			close(offsets)
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for at := range offsets {
						if err := st.readChunk(door, base+"blobs/"+layer, got[at:at+chunk], at); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if d := cache.DigestOf(got); d.String() != layer {
				t.Errorf("the chunks make %s, want %s", d, layer)
			}
			out := int64(0)
			for _, l := range st.log.await(t, kindBlob, size/chunk) {
				out += l.Bytes
			}
			t.Logf("clients were sent %.3f times the layer", float64(out)/size)
			if out > size+size/10 {
				t.Errorf("clients were sent %d bytes of a layer of %d", out, size)
			}
			st.settled()
			sent := st.world.BlobBytes() - before
			t.Logf("upstream sent %.3f times the layer", float64(sent)/float64(size))
			if sent > size+size/20 {
				t.Errorf("upstream sent %d bytes for a layer of %d: %.2f times", sent, size, float64(sent)/float64(size))
			}
			_, whole := st.get(door, base+"blobs/"+layer)
			if !bytes.Equal(whole, got) {
				t.Error("the whole is not the sum of its chunks")
			}
		})
	}
}

// readChunk asks for everything from at on, reads p full and hangs up.
func (st *site) readChunk(door, url string, p []byte, at int64) error {
	req, err := http.NewRequestWithContext(st.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", at))
	st.mu.Lock() // transport notes each in the site
	tr := st.transport(door)
	st.mu.Unlock()
	tr.ForceAttemptHTTP2 = false // as containerd
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("chunk at %d: got %d, want 206", at, resp.StatusCode)
	}
	_, err = io.ReadFull(resp.Body, p)
	return err
}
