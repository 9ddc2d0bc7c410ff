package http2

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// manifest answers as a hit does.
func manifest(content []byte) http.Handler {
	fields := map[string][]string{
		"Content-Type": {"application/vnd.oci.image.index.v1+json"}, "Etag": {`"sha256:0"`}, "Docker-Content-Digest": {"sha256:0"},
		"Cache-Status": {"entrepot; hit"}, "Content-Length": {strconv.Itoa(len(content))},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, v := range fields {
			h[name] = v
		}
		w.Write(content)
	})
}

// pull is the header of what clients send most.
var pull = []string{
	":method", "GET", ":scheme", "https", ":authority", "registry-1.docker.io", ":path", "/v2/library/alpine/manifests/latest",
	"user-agent", "containerd/2.4.2", "accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, */*",
	"accept-encoding", "gzip",
}

// pulls is a client that asks for the same again and again, and reads as little of the answers as it can.
type pulls struct {
	*peer
	id uint32
}

func newPulls(p *peer) *pulls {
	p.SetReuseFrames()
	p.widen(0, 1<<30)
	return &pulls{p, 1}
}

func (p *pulls) ask() {
	p.headers(p.id, true, pull...)
	for {
		f, err := p.ReadFrame()
		p.must(err)
		if h := f.Header(); h.StreamID == p.id && h.Flags.Has(http2.FlagDataEndStream) {
			p.id += 2
			return
		}
	}
}

// TestRequestAllocations: what a request and its answer cost beside the handler's own. They are what the garbage collector lives of.
func TestRequestAllocations(t *testing.T) {
	s := &Server{
		Handler: manifest(make([]byte, 2000)), HeaderTimeout: time.Minute, IdleTimeout: time.Minute, Patience: time.Minute, MaxStreams: 100,
		MaxHeader: 64 << 10,
	}
	server, c := net.Pipe()
	done := make(chan bool)
	go func() {
		defer close(done)
		s.Serve(t.Context(), server, nil)
	}()
	p := newPeer(t, c)
	greeted := make(chan bool)
	go func() {
		defer close(greeted)
		p.greet()
	}()
	for range 3 { // the server's preface, and its answer to ours
		_, err := p.ReadFrame()
		p.must(err)
	}
	<-greeted
	ask := newPulls(p).ask
	const most = 21
	if got := testing.AllocsPerRun(500, ask); got > most+poolLosses {
		t.Errorf("got %v allocations, want at most %v", got, most)
	}
	c.Close()
	<-done
}

// BenchmarkRequest is a manifest's way over loopback, beside net/http's. It counts both ends' work.
func BenchmarkRequest(b *testing.B) {
	for name, d := range map[string]*door{"http2": open(b, manifest(make([]byte, 2000))), "nethttp": openTheirs(b, manifest(make([]byte, 2000)))} {
		b.Run(name, func(b *testing.B) {
			p := newPulls(d.dial(b))
			p.Conn.SetDeadline(time.Time{})
			b.ReportAllocs()
			for b.Loop() {
				p.ask()
			}
		})
	}
}

// BenchmarkLayer is a layer's.
func BenchmarkLayer(b *testing.B) {
	const size = 64 << 20
	content := make([]byte, 256<<10)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for range size / len(content) {
			w.Write(content)
		}
	})
	for name, d := range map[string]*door{"http2": open(b, h), "nethttp": openTheirs(b, h)} {
		b.Run(name, func(b *testing.B) {
			p := d.dial(b, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			p.Conn.SetDeadline(time.Time{})
			p.widen(0, 1<<30)
			c, buf := p.Conn.(*tls.Conn), make([]byte, 64<<10)
			b.SetBytes(size)
			for id := uint32(1); b.Loop(); id += 2 {
				p.get(id, "/")
				p.widen(0, size)
				_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(c, size+size/(16<<10)*frameHeader), buf)
				p.must(err)
			}
		})
	}
}
