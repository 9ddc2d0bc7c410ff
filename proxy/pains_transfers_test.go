package proxy

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/testdata/world"
)

func painsOfTransfers() []pain {
	return []pain{
		{"artifact-keeper 3335: the second pull right after the first", pullRightAfterPull},
		{"cw 20, 30: readers who have stopped hold up nobody and take no memory", stoppedReaders},
		{"harbor 22393, 8: silence in the middle is broken off and resumed", silenceInTheMiddle},
		{"distribution 4649, zot 2505: what a restart broke is resumed", resumedAfterRestart},
		{"26: a break is resumed by a fresh redirect", resumedByAFreshRedirect},
		{"If-Range: a break is resumed from a storage with another ETag", resumedFromAnotherStorage},
	}
}

func pullRightAfterPull(t *testing.T, w way) {
	c := newCargo(t, 300<<10)
	rt := c.by(w)
	for i := range 20 {
		img := world.Image(t, uint64(i), 100<<10+int64(i))
		url := c.url(w, corp, "app/blobs/"+c.world.Push(t, corp+"/app:v1", img).Blobs[1])
		before := c.world.BlobBytes()
		first := ask(t, rt, "GET", url)
		c.wants("the second", ask(t, rt, "GET", url), first.body, cacheHit)
		c.wants("the third", ask(t, rt, "GET", url, "Range", ""), first.body, cacheHit)
		if sent := c.world.BlobBytes() - before; sent != int64(len(first.body)) {
			t.Errorf("%d: upstream sent %d bytes, want %d", i, sent, len(first.body))
		}
	}
}

// heap is what is in use once nothing is left to be collected.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first only takes what pools hold out of their reach
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func stoppedReaders(t *testing.T, w way) {
	const readers, each = 20, 256 << 10
	c := newCargo(t, 16<<20)
	tr := c.by(w)
	tr.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10} // what the client itself holds is not the question
	before := heap()
	var stopped []*http.Response
	for range readers {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", c.url(w, corp, c.path), nil)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		stopped = append(stopped, resp)
	}
	a := c.fetchBy(w, corp, c.path)
	sameBytes(t, "who reads on", a.body, c.content)
	a.body = nil
	c.settled()
	if n := within("(*Server).sendBlob"); n != readers {
		t.Errorf("%d are being served, want %d who have stopped", n, readers)
	}
	if grown := heap() - before; grown > readers*each {
		t.Errorf("%d stopped readers of %d MiB hold %d bytes each, want at most %d", readers, len(c.content)>>20, grown/readers, each)
	}
	for _, resp := range stopped {
		resp.Body.Close()
	}
	eventually(t, "nobody is served any more", func() bool { return within("(*Server).sendBlob") == 0 })
	runtime.KeepAlive(c.content)
}

func silenceInTheMiddle(t *testing.T, w way) {
	c := newSiteKeeping(t, cache.Config{MaxSize: 1 << 30, IdleTimeout: 100 * time.Millisecond}).load(1 << 20)
	c.stalls(600 << 10)
	c.wants("with a silence in the middle", c.fetchBy(w, corp, c.path), c.content, cacheMiss)
	if asked := c.world.Host(corp).Counts(); asked.BlobGets != 2 || asked.BlobBytes != int64(len(c.content)) {
		t.Errorf("upstream was asked\n%swant the rest once more", c.world.Story())
	}
}

func resumedAfterRestart(t *testing.T, w way) {
	const at = 2 << 20
	c := newCargo(t, 3<<20)
	c.stalls(at)
	ctx, leave := context.WithCancel(t.Context())
	resp := c.begin(ctx, w)
	if _, err := io.CopyN(io.Discard, resp.Body, at); err != nil {
		t.Fatal(err)
	}
	leave()
	resp.Body.Close()
	c.restart()
	c.wants("after the restart", c.fetchBy(w, corp, c.path), c.content, cacheMiss)
	if sent := c.world.BlobBytes(); sent != int64(len(c.content)) {
		t.Errorf("upstream sent %d bytes, want %d\n%s", sent, len(c.content), c.world.Story())
	}
	if left := c.store.Usage().Partials; left != 0 {
		t.Errorf("%d bytes of partials are left", left)
	}
}

func resumedByAFreshRedirect(t *testing.T, w way) {
	st := newSite(t)
	img := world.Image(t, 1, 1<<20)
	p := st.world.Push(t, signs+"/app:v1", img)
	cut := st.world.Host(signedStore).Fault(world.Fault{Kind: world.Cut, At: 300 << 10, Method: "GET"})
	var wg sync.WaitGroup
	wg.Go(func() {
		<-cut.Hit()
		st.world.ExpireURLs()
	})
	defer wg.Wait()
	defer cut.Clear()
	a := st.fetchBy(w, signs, "app/blobs/"+p.Blobs[1])
	st.wants("the whole", a, layerOf(t, img, 0), cacheMiss)
	if got := st.world.Host(signs).Counts().BlobGets; got != 2 {
		t.Errorf("the registry was asked %d times, want twice\n%s", got, st.world.Story())
	}
	if sent := st.world.BlobBytes(); sent != int64(len(a.body)) {
		t.Errorf("upstream sent %d bytes, want %d", sent, len(a.body))
	}
	for _, r := range st.world.Requests() {
		if resumed := r.Host == signedStore && r.Range != "" && r.Method == "GET"; resumed != (r.Header.Get("If-Range") != "") {
			t.Errorf("%v: got If-Range %q, want the storage's ETag where it is resumed and nowhere else", r, r.Header.Get("If-Range"))
		}
	}
}

func resumedFromAnotherStorage(t *testing.T, w way) {
	c := newCargo(t, 1<<20)
	for _, f := range []world.Fault{
		{Kind: world.Cut, At: 300 << 10},
		{Kind: world.Headers, Header: map[string]string{"Etag": `"of another storage"`}},
	} {
		f.On, f.Method = world.Blob, "GET"
		c.world.Host(corp).Fault(f)
	}
	c.wants("the whole", c.fetchBy(w, corp, c.path), c.content, cacheMiss)
	if sent := c.world.BlobBytes(); sent != int64(len(c.content)) {
		t.Errorf("upstream sent %d bytes, want %d\n%s", sent, len(c.content), c.world.Story())
	}
}

func painsOfDisks() []pain {
	return []pain{
		{"90, harbor 13314: a disk that takes nothing", func(t *testing.T, w way) {
			uncached(t, w, func(st *site) { st.replaceByAFile("ingest") })
		}},
		{"90: a disk that fails at the last step", func(t *testing.T, w way) {
			uncached(t, w, func(st *site) { st.replaceByAFile("blobs") })
		}},
		{"distribution 1140: more than there is room for", func(t *testing.T, w way) {
			keep := cache.Config{MaxSize: 300 << 10, MinFree: -1}
			uncachedOn(t, w, newSiteKeeping(t, keep), func(*site) {})
		}},
		{"156, 183: a disk that loses a file under its readers", lostUnderReaders},
	}
}

func uncached(t *testing.T, w way, harm func(*site)) { uncachedOn(t, w, newSite(t), harm) }

// uncachedOn: the disk is harmed, each pull succeeds all the same, a counter and a line of the log say so (one line a minute where
// there is no room), and nothing is kept. When the disk is well again so is the cache.
func uncachedOn(t *testing.T, w way, st *site, harm func(*site)) {
	c := st.load(400 << 10)
	harm(st)
	for i := range 2 {
		a := c.fetchBy(w, corp, c.path)
		if a.StatusCode != 200 || a.err != nil || !bytes.Equal(a.body, c.content) {
			t.Errorf("%d: got %d, %d bytes, %v, want the whole", i, a.StatusCode, len(a.body), a.err)
		}
		c.settled()
		if a.Header.Get("Cache-Status") == cacheStatus[cacheHit] || c.store.Counts().Uncached.Load() != int64(i+1) {
			t.Errorf("%d: got %q, counted %d uncached", i, a.Header.Get("Cache-Status"), c.store.Counts().Uncached.Load())
		}
		want := i + 1
		if strings.Contains(c.log.String(), "no room for") {
			want = 1 // a minute
		}
		if lines := strings.Count(c.log.String(), "cache: keep "+c.digest); lines != want {
			t.Errorf("%d: %d lines of the log say so, want %d\n%s", i, lines, want, c.log)
		}
	}
	if left := c.store.Usage(); left.Reserved != 0 || left.Partials != 0 || left.Objects != 0 {
		t.Errorf("left over: %+v", left)
	}
}

// lostUnderReaders: what a client has begun to get from the disk ends well when the disk gives no more of it, by sendfile too.
func lostUnderReaders(t *testing.T, w way) {
	c := newCargo(t, 16<<20) // more than sockets take
	c.wants("cold", c.fetchBy(w, corp, c.path), c.content, cacheMiss)
	c.settled()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", c.url(w, corp, c.path), nil)
	resp, err := c.by(w).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, hex, _ := strings.Cut(c.digest, ":")
	if err := os.Truncate(c.dir+"/cache/blobs/sha256/"+hex[:2]+"/"+hex, 14<<20); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	sameBytes(t, "the one under way", got, c.content)
	c.settled()
	c.wants("the next", c.fetchBy(w, corp, c.path), c.content, cacheHit)
	if sent := c.world.BlobBytes(); sent != 2*int64(len(c.content)) {
		t.Errorf("upstream sent %d bytes, want the layer twice", sent)
	}
	if n := strings.Count(c.log.String(), "drop damaged "+c.digest); n != 1 {
		t.Errorf("%d lines of the log say so, want one\n%s", n, c.log)
	}
}

// replaceByAFile puts a file in the place of a directory of the cache, so that nothing can be made in it.
func (st *site) replaceByAFile(name string) {
	st.t.Helper()
	dir := st.dir + "/cache/" + name
	if err := os.RemoveAll(dir); err != nil {
		st.t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		st.t.Fatal(err)
	}
}
