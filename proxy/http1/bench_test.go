package http1

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// pull is what clients send most.
const pull = "GET /v2/library/alpine/manifests/latest HTTP/1.1\r\nHost: registry-1.docker.io\r\nUser-Agent: containerd/2.4.2\r\n" +
	"Accept: application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, */*\r\nAccept-Encoding: gzip\r\n\r\n"

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

// script is a client that sends a request when it is told to, and costs nothing.
type script struct{ asks, answers chan bool }

func (s *script) Read(p []byte) (int, error) {
	if !<-s.asks {
		return 0, io.EOF
	}
	return copy(p, pull), nil
}

func (s *script) Write(p []byte) (int, error) {
	s.answers <- true
	return len(p), nil
}

func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// TestRequestAllocations: what a request and its answer cost beside the handler's own. They are what the garbage collector lives of.
func TestRequestAllocations(t *testing.T) {
	s := &Server{Handler: manifest(make([]byte, 2000)), HeaderTimeout: time.Minute, IdleTimeout: time.Minute, Patience: time.Minute}
	c := &script{asks: make(chan bool), answers: make(chan bool)}
	var work sync.WaitGroup
	work.Go(func() { s.Serve(t.Context(), c, nil) })
	ask := func() {
		c.asks <- true
		<-c.answers
	}
	const most = 8
	if got := testing.AllocsPerRun(500, ask); got > most+poolLosses {
		t.Errorf("got %v allocations, want at most %v", got, most)
	}
	close(c.asks)
	work.Wait()
}

// BenchmarkRequest is a manifest's way over loopback, beside net/http's. It counts both ends' work.
func BenchmarkRequest(b *testing.B) {
	content := make([]byte, 2000)
	for way, secure := range ways {
		for name, d := range map[string]*door{"http1": open(b, secure, manifest(content)), "nethttp": openTheirs(b, secure, manifest(content))} {
			b.Run(way+"/"+name, func(b *testing.B) {
				c, err := net.Dial("tcp", d.addr)
				if err != nil {
					b.Fatal(err)
				}
				if secure {
					c = tls.Client(c, d.clients)
				}
				defer c.Close()
				answer := make([]byte, 8<<10)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := io.WriteString(c, pull); err != nil {
						b.Fatal(err)
					}
					for n, end := 0, 0; end == 0 || n < end; {
						more, err := c.Read(answer[n:])
						if err != nil {
							b.Fatal(err)
						}
						n += more
						if i := bytes.Index(answer[:n], []byte("\r\n\r\n")); i >= 0 {
							end = i + 4 + len(content)
						}
					}
				}
			})
		}
	}
}
