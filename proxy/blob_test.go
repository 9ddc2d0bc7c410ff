package proxy

import (
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/entrepot/entrepot/testdata/world"
)

// layerOf gives a layer's bytes.
func layerOf(t testing.TB, img v1.Image, i int) []byte {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	rc, err := layers[i].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cargo is a site with one image on a registry without tokens or redirects.
type cargo struct {
	*site
	content []byte
	digest  string
	path    string
}

func newCargo(t *testing.T, size int64, change ...func(*Config)) *cargo {
	t.Helper()
	return newSite(t, change...).load(size)
}

// load puts an image into the registry.
func (st *site) load(size int64) *cargo {
	t := st.t
	t.Helper()
	c := &cargo{site: st}
	img := world.Image(t, 77, size)
	p := c.world.Push(t, corp+"/app:v1", img)
	c.content, c.digest = layerOf(t, img, 0), p.Blobs[1]
	c.path = "app/blobs/" + c.digest
	return c
}

// TestOneTransferForAll: clients join at any moment, and upstream sends the blob once.
func TestOneTransferForAll(t *testing.T) {
	for _, w := range ways {
		t.Run(w.String(), func(t *testing.T) {
			c := newCargo(t, 400<<10)
			stall := c.world.Host(corp).Fault(world.Fault{Kind: world.Stall, At: 200 << 10, On: world.Blob, Method: "GET"})
			const clients = 50
			rt := c.by(w)
			var wg sync.WaitGroup
			join := func(n int) {
				for range n {
					wg.Go(func() {
						a, err := try(t.Context(), rt, "GET", c.url(w, corp, c.path))
						if err != nil || a.err != nil || a.StatusCode != 200 {
							t.Errorf("got %v, %v", err, a.err)
							return
						}
						sameBytes(t, "body", a.body, c.content)
					})
				}
			}
			join(clients / 2) // before the header
			<-stall.Hit()
			join(clients / 4) // in the middle
			eventually(t, "the second group has joined", func() bool { return within("(*Server).sendBlob") >= clients*3/4 })
			stall.Release()
			join(clients - clients/2 - clients/4) // about the end
			wg.Wait()
			if got := c.world.BlobBytes(); got != int64(len(c.content)) {
				t.Errorf("upstream sent %d blob bytes, want %d", got, len(c.content))
			}
			words := map[string]int{}
			for _, l := range c.log.await(t, kindBlob, clients) {
				words[l.Cache]++
				if l.Bytes != int64(len(c.content)) || l.Error != "" {
					t.Errorf("log: got %+v", l)
				}
			}
			if words[cacheMiss] != 1 || words[cacheCollapsed] < clients/2 {
				t.Errorf("log: got %v, want one MISS and mostly COLLAPSED", words)
			}
		})
	}
}

// TestHeadersGoFirst: the status line and what there is of the body are with the client while upstream is still busy with the rest.
func TestHeadersGoFirst(t *testing.T) {
	for _, w := range ways {
		for _, at := range []int64{0, 100, 300 << 10} {
			t.Run(fmt.Sprint(w, at), func(t *testing.T) {
				c := newCargo(t, 1<<20)
				stall := c.world.Host(corp).Fault(world.Fault{Kind: world.Stall, At: at, On: world.Blob, Method: "GET"})
				ctx, cancel := contextOf(t)
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, "GET", c.url(w, corp, c.path), nil)
				resp, err := c.by(w).RoundTrip(req) // hangs if the header waits for bytes
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if resp.ContentLength != int64(len(c.content)) {
					t.Errorf("got length %d, want %d", resp.ContentLength, len(c.content))
				}
				got := make([]byte, at)
				if n, err := io.ReadFull(resp.Body, got); err != nil {
					t.Errorf("before the stall's end: got %d bytes, %v, want %d", n, err, at)
				}
				stall.Release()
				rest, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Error(err)
				}
				sameBytes(t, "body", append(got, rest...), c.content)
			})
		}
	}
}

// TestRanges on content that is held, and on a fill that has got halfway.
func TestRanges(t *testing.T) {
	for _, w := range ways {
		for _, state := range []string{"warm", "growing"} {
			t.Run(w.String()+" "+state, func(t *testing.T) {
				c := newCargo(t, 1<<20)
				url, rt := c.url(w, corp, c.path), c.by(w)
				if state == "warm" {
					ask(t, rt, "GET", url)
					c.settled()
				} else {
					stall := c.world.Host(corp).Fault(world.Fault{Kind: world.Stall, At: 600 << 10, On: world.Blob, Method: "GET"})
					full := make(chan answer, 1)
					go func() {
						a, _ := try(t.Context(), rt, "GET", url)
						full <- a
					}()
					<-stall.Hit()
					defer func() {
						stall.Release()
						a := <-full
						sameBytes(t, "the whole", a.body, c.content)
					}()
				}
				size := len(c.content)
				etag := `"` + c.digest + `"`
				for _, row := range []struct {
					field, ifRange, contentRange string
					status, from, to             int
				}{
					{"bytes=0-0", "", "bytes 0-0/1048576", 206, 0, 1},
					{"bytes=100-199", "", "bytes 100-199/1048576", 206, 100, 200},
					{"bytes=0-524287", "", "bytes 0-524287/1048576", 206, 0, 512 << 10},
					{"bytes=100-199", etag, "bytes 100-199/1048576", 206, 100, 200},
					{"bytes=1048576-", "", "bytes */1048576", 416, 0, 0},
					{"bytes=2000000-3000000", "", "bytes */1048576", 416, 0, 0},
				} {
					header := []string{"Range", row.field}
					if row.ifRange != "" {
						header = append(header, "If-Range", row.ifRange)
					}
					a := ask(t, rt, "GET", url, header...)
					if a.StatusCode != row.status || a.Header.Get("Content-Range") != row.contentRange {
						t.Errorf("%s: got %d %q, want %d %q", row.field, a.StatusCode, a.Header.Get("Content-Range"), row.status, row.contentRange)
					}
					if row.status == 206 {
						sameBytes(t, row.field, a.body, c.content[row.from:row.to])
					}
				}
				if state == "growing" {
					return
				}
				for field, want := range map[string][]byte{
					"bytes=-5": c.content[size-5:], "bytes=1048000-": c.content[1048000:], "bytes=1048570-9999999": c.content[1048570:], "bytes=-9999999": c.content,
				} {
					a := ask(t, rt, "GET", url, "Range", field)
					sameBytes(t, field, a.body, want)
				}
				for _, header := range [][]string{{"Range", "bytes=0-9", "If-Range", `"other"`}, {"Range", "items=0-9"}, {"Range", "items"}} {
					if a := ask(t, rt, "GET", url, header...); a.StatusCode != 200 || len(a.body) != size {
						t.Errorf("%v: got %d, %d bytes, want the whole", header, a.StatusCode, len(a.body))
					}
				}
				c.multi(rt, url)
			})
		}
	}
}

// multi asks for several ranges: parts come as asked for, in order (CLIENTS: zstd:chunked).
func (c *cargo) multi(rt http.RoundTripper, url string) {
	t := c.t
	t.Helper()
	a := ask(t, rt, "GET", url, "Range", "bytes=500-599,0-99,-10")
	_, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if a.StatusCode != 206 || err != nil || a.ContentLength != int64(len(a.body)) {
		t.Fatalf("several ranges: got %d %v", a.StatusCode, a.Header)
	}
	parts := multipart.NewReader(strings.NewReader(string(a.body)), params["boundary"])
	for _, want := range [][]byte{c.content[500:600], c.content[:100], c.content[len(c.content)-10:]} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(part)
		sameBytes(t, part.Header.Get("Content-Range"), got, want)
	}
}

// TestLeaverEndsNothing: the client whose request started a transfer leaves; the transfer goes on to its end.
func TestLeaverEndsNothing(t *testing.T) {
	for _, w := range ways {
		t.Run(w.String(), func(t *testing.T) {
			c := newCargo(t, 1<<20)
			stall := c.world.Host(corp).Fault(world.Fault{Kind: world.Stall, At: 300 << 10, On: world.Blob, Method: "GET"})
			ctx, leave := context.WithCancel(t.Context())
			left := make(chan struct{})
			go func() {
				defer close(left)
				try(ctx, c.by(w), "GET", c.url(w, corp, c.path))
			}()
			<-stall.Hit()
			leave()
			<-left
			if l := c.log.await(t, kindBlob, 1)[0]; l.Error != errClientGone.Error() && l.Status != statusClientGone {
				t.Errorf("log: got %+v, want the client gone", l)
			}
			stall.Release()
			c.settled()
			before := c.world.BlobBytes()
			a := ask(t, c.by(w), "GET", c.url(w, corp, c.path))
			sameBytes(t, "body", a.body, c.content)
			c.world.NoMoreBlobBytes(t, before)
			if before != int64(len(c.content)) {
				t.Errorf("upstream sent %d bytes, want %d", before, len(c.content))
			}
		})
	}
}

// TestSendfile: a hit by the plain mirror door reaches the kernel's copy through every wrapper of ours: the connection's ReadFrom is
// called with what has the file's descriptor, as package net wants it for sendfile(2). TestSocketSendfile has the wrapper below that.
func TestSendfile(t *testing.T) {
	c := newCargo(t, 2<<20)
	door, copies := c.observedMirror()
	rt := c.by(way{doorMirror, true})
	url := door + "/v2/" + corp + "/" + c.path
	ask(t, rt, "GET", url)
	c.settled()
	copied := func() int64 {
		c.log.await(t, kindBlob, 1) // the client has its bytes before ReadFrom is back
		c.log.reset()
		return copies.Swap(0)
	}
	copied()
	a := ask(t, rt, "GET", url)
	sameBytes(t, "body", a.body, c.content)
	if got, want := copied(), int64(len(c.content)); got != want {
		t.Errorf("a hit: %d bytes went from the file by the connection's ReadFrom, want %d", got, want)
	}
	a = ask(t, rt, "GET", url, "Range", "bytes=4096-1052671")
	sameBytes(t, "range", a.body, c.content[4096:1052672])
	if got, want := copied(), int64(1<<20); got != want {
		t.Errorf("a range of a hit: %d bytes by ReadFrom, want %d", got, want)
	}
}

// observedMirror is one more mirror door, by its address; copies are what it was asked to copy from files.
func (c *cargo) observedMirror() (door string, copies *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	copies = &atomic.Int64{}
	done := make(chan error, 1)
	go func() { done <- c.server.ServeMirror(observed{l, copies}) }()
	c.t.Cleanup(func() {
		l.Close()
		<-done
	})
	return "http://" + l.Addr().String(), copies
}

// observed counts the bytes that connections are asked to copy from a file.
type observed struct {
	net.Listener
	copies *atomic.Int64
}

func (o observed) Accept() (net.Conn, error) {
	c, err := o.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &observedConn{c.(*net.TCPConn), o.copies}, nil
}

type observedConn struct {
	*net.TCPConn
	copies *atomic.Int64
}

func (o *observedConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := o.TCPConn.ReadFrom(r)
	if lr, ok := r.(*io.LimitedReader); ok {
		r = lr.R
	}
	if _, ok := r.(syscall.Conn); ok {
		o.copies.Add(n)
	}
	return n, err
}
