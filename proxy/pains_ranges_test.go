package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

func painsOfRanges() []pain {
	return []pain{
		{"T9, harbor 23875: a far range of a young transfer does not wait", farRange},
		{"stargz, SOCI, nydus: small probes start no transfer", smallProbes},
		{"containers-image, zstd chunked: 1024 parts in order, and a 400 for one more", manyParts},
		{"regctl: an end beyond the end", endBeyondTheEnd},
		{"containerd 11998: a range of a manifest is the whole of it", rangeOfAManifest},
		{"zot 3623: a client that leaves in the middle of many parts", leavesManyParts},
	}
}

func farRange(t *testing.T, w way) {
	const size, far, flight = 14 << 20, 11 << 20, 7 << 20 // what the kernel holds of a connection that is cut
	c := newCargo(t, size)
	stall := c.stalls(1 << 20)
	whole := c.begin(t.Context(), w)
	<-stall.Hit()
	a := c.fetchBy(w, corp, c.path, "Range", fmt.Sprintf("bytes=%d-%d", far, far+1<<20-1)) // hangs if it waits for what is before it
	if a.StatusCode != 206 {
		t.Errorf("got %d, want 206", a.StatusCode)
	}
	sameBytes(t, "the far range", a.body, c.content[far:far+1<<20])
	stall.Release()
	c.ends(whole, nil)
	c.settled()
	if sent := c.world.BlobBytes(); sent > size+flight {
		t.Errorf("upstream sent %d bytes for %d, want nothing twice but for what was in flight", sent, size)
	}
	c.wants("afterwards", c.fetchBy(w, corp, c.path), c.content, cacheHit)
}

func smallProbes(t *testing.T, w way) {
	c := newCargo(t, 4<<20)
	for _, row := range []struct {
		field    string
		from, to int
	}{{"bytes=0-1", 0, 2}, {"bytes=-100", 4<<20 - 100, 4 << 20}, {"bytes=1000000-1049999", 1_000_000, 1_050_000}} {
		before := c.world.BlobBytes()
		a := c.fetchBy(w, corp, c.path, "Range", row.field)
		want := fmt.Sprintf("bytes %d-%d/%d", row.from, row.to-1, 4<<20)
		if a.StatusCode != 206 || a.Header.Get("Content-Range") != want || a.Header.Get("Cache-Status") != cacheStatus[cacheBypass] {
			t.Errorf("%s: got %d %v, want 206 %s", row.field, a.StatusCode, a.Header, want)
		}
		sameBytes(t, row.field, a.body, c.content[row.from:row.to])
		if sent := c.world.BlobBytes() - before; sent > int64(row.to-row.from)+1 {
			t.Errorf("%s: upstream sent %d bytes, want %d", row.field, sent, row.to-row.from)
		}
	}
	if u := c.store.Usage(); u.Fills > 0 || u.Objects > 0 || u.Partials > 0 {
		t.Errorf("probes have started a transfer: %+v", u)
	}
	for at := 0; at < 4<<20/5; at += 50_000 {
		c.fetchBy(w, corp, c.path, "Range", fmt.Sprintf("bytes=%d-%d", at, at+49_999))
	}
	c.settled()
	c.wants("when a tenth was asked for", c.fetchBy(w, corp, c.path), c.content, cacheHit)
}

// parts is a Range of n parts of one byte each, the later ones before the earlier ones.
func parts(n int) string {
	var b strings.Builder
	b.WriteString("bytes=")
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		at := 1000 * (n - i)
		fmt.Fprintf(&b, "%d-%d", at, at)
	}
	return b.String()
}

func manyParts(t *testing.T, w way) {
	c := newCargo(t, 2<<20)
	for _, state := range []string{"cold", "warm"} {
		a := c.fetchBy(w, corp, c.path, "Range", parts(1024))
		_, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
		if a.StatusCode != 206 || err != nil || a.ContentLength != int64(len(a.body)) {
			t.Fatalf("%s: got %d %v, %d bytes", state, a.StatusCode, a.Header, len(a.body))
		}
		r := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
		for i := range 1024 {
			part, err := r.NextPart()
			if err != nil {
				t.Fatalf("%s: part %d: %v", state, i, err)
			}
			at := 1000 * (1024 - i)
			got, _ := io.ReadAll(part)
			if want := fmt.Sprintf("bytes %d-%d/%d", at, at, 2<<20); part.Header.Get("Content-Range") != want || !bytes.Equal(got, c.content[at:at+1]) {
				t.Fatalf("%s: part %d: got %q, want %q", state, i, part.Header.Get("Content-Range"), want)
			}
		}
		if _, err := r.NextPart(); err != io.EOF {
			t.Errorf("%s: more than 1024 parts: %v", state, err)
		}
		c.settled()
	}
	a := c.fetchBy(w, corp, c.path, "Range", parts(1025))
	refusedWith(t, "1025 parts", a.Response, string(a.body), http.StatusBadRequest, codeUnsupported, "1024 ranges")
	c.wants("more in sum than there is", c.fetchBy(w, corp, c.path, "Range", "bytes=0-1999999,1-1999999"), c.content, cacheHit)
}

func endBeyondTheEnd(t *testing.T, w way) {
	c := newCargo(t, 200<<10)
	for _, state := range []string{"cold", "warm"} {
		a := c.fetchBy(w, corp, c.path, "Range", fmt.Sprintf("bytes=%d-%d", 1000, 200<<10))
		if want := fmt.Sprintf("bytes 1000-%d/%d", 200<<10-1, 200<<10); a.StatusCode != 206 || a.Header.Get("Content-Range") != want {
			t.Errorf("%s: got %d %q, want 206 %q", state, a.StatusCode, a.Header.Get("Content-Range"), want)
		}
		sameBytes(t, state, a.body, c.content[1000:])
		c.settled()
	}
}

func rangeOfAManifest(t *testing.T, w way) {
	st := newSite(t)
	img := world.Image(t, 1, 1000)
	p := st.world.Push(t, corp+"/app:v1", img)
	body, _ := img.RawManifest()
	for _, ref := range []string{"v1", p.Digest} {
		a := st.fetchBy(w, corp, "app/manifests/"+ref, append([]string{"Range", "bytes=0-"}, accepting...)...)
		if a.StatusCode != 200 || a.Header.Get("Accept-Ranges") != "" {
			t.Errorf("%.10s: got %d %v, want 200", ref, a.StatusCode, a.Header)
		}
		sameBytes(t, "the manifest", a.body, body)
		st.settled()
	}
	for _, r := range st.world.Requests() {
		if r.Kind == world.Manifest && r.Range != "" {
			t.Errorf("upstream was asked for a range of a manifest: %s", r)
		}
	}
}

func leavesManyParts(t *testing.T, w way) {
	c := newCargo(t, 4<<20)
	stall := c.stalls(1 << 20)
	for i := range 10 {
		ctx, leave := context.WithCancel(t.Context())
		resp := c.begin(ctx, w, "Range", "bytes=0-499999,600000-1999999")
		io.CopyN(io.Discard, resp.Body, int64(i)*80_000)
		leave()
		resp.Body.Close()
	}
	eventually(t, "nobody is served any more", func() bool { return within("(*Server).sendBlob") == 0 })
	stall.Release()
	c.settled()
	eventually(t, "nothing is pinned any more", func() bool { return c.store.Usage().Pinned == 0 })
	c.wants("who comes next", c.fetchBy(w, corp, c.path), c.content, cacheHit)
}
