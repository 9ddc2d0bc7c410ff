package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkHit(b *testing.B) {
	s := open(b, b.TempDir(), Config{})
	up := keep(b, s, 1000)
	d := up.digest()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			blob, err := s.Lookup(d)
			if err != nil {
				b.Fatal(err)
			}
			blob.Close()
		}
	})
}

func BenchmarkJoin(b *testing.B) {
	s := open(b, b.TempDir(), Config{})
	up := newUpstream(1 << 20)
	up.before = holdAt(1<<19, nil)
	starter, err := s.Blob(b.Context(), up.digest(), up.source())
	check(b, err)
	defer starter.Close()
	d := up.digest()
	b.ReportAllocs()
	for b.Loop() {
		blob, err := s.Blob(b.Context(), d, up.source())
		check(b, err)
		blob.Close()
	}
}

// BenchmarkFill brings 64 MiB to the disk, hashed, while so many readers follow it.
func BenchmarkFill(b *testing.B) {
	for _, readers := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			s := open(b, b.TempDir(), Config{})
			up := newUpstream(64 << 20)
			d := up.digest()
			b.SetBytes(64 << 20)
			for b.Loop() {
				fillOnce(b, s, d, up, readers)
				b.StopTimer()
				check(b, s.Remove(d))
				b.StartTimer()
			}
		})
	}
}

func fillOnce(b *testing.B, s *Store, d Digest, up *upstream, readers int) {
	var wg sync.WaitGroup
	blob, err := s.Blob(b.Context(), d, up.source())
	check(b, err)
	for range readers {
		wg.Go(func() {
			r, err := s.Blob(b.Context(), d, up.source())
			check(b, err)
			defer r.Close()
			nowhere := struct{ io.Writer }{io.Discard} // which would read in small pieces
			if n, err := io.CopyBuffer(nowhere, struct{ io.Reader }{r}, make([]byte, 64<<10)); n != 64<<20 {
				b.Errorf("got %d bytes, %v", n, err)
			}
		})
	}
	wg.Wait()
	s.work.Wait()
	blob.Close()
}

// BenchmarkParallelRanges has 16 workers read a cold 256 MiB layer in chunks of 1 MiB from a real server, and tells what that cost
// upstream: what the server wrote, buffers of cut connections included.
func BenchmarkParallelRanges(b *testing.B) {
	const size = 256 << 20
	up := newUpstream(size)
	srv := newRegistry(b, up)
	s := open(b, b.TempDir(), Config{})
	for b.Loop() {
		srv.wrote.Store(0)
		todo := make(chan int64)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for from := range todo {
					blob, err := s.Blob(b.Context(), up.digest(), Source{Fetch: srv.fetch})
					check(b, err)
					blob.Seek(from, io.SeekStart)
					if n, err := io.CopyN(io.Discard, blob, 1<<20); n != 1<<20 {
						b.Errorf("got %d bytes, %v", n, err)
					}
					blob.Close()
				}
			})
		}
		for from := int64(0); from < size; from += 1 << 20 {
			todo <- from
		}
		close(todo)
		wg.Wait()
		s.work.Wait()
		b.ReportMetric(float64(srv.wrote.Load())/size, "layers/op")
		b.ReportMetric(float64(srv.asked.Swap(0)), "requests/op")
		check(b, s.Remove(up.digest()))
	}
}

// BenchmarkParallelFill brings a cold 256 MiB layer from a real server that gives each connection 40 MB/s, over so many connections,
// and tells what that cost upstream.
func BenchmarkParallelFill(b *testing.B) {
	const size = 256 << 20
	up := newUpstream(size)
	srv := newRegistry(b, up)
	for _, parallel := range []int{1, 4, 8} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			s := open(b, b.TempDir(), Config{})
			srv.wrote.Store(0)
			srv.asked.Store(0)
			b.SetBytes(size)
			for b.Loop() {
				blob, err := s.Blob(b.Context(), up.digest(), Source{srv.fetch, parallel})
				check(b, err)
				s.work.Wait()
				blob.Close()
				check(b, s.Remove(up.digest()))
			}
			b.ReportMetric(float64(srv.wrote.Load())/size/float64(b.N), "layers/op")
			b.ReportMetric(float64(srv.asked.Load())/float64(b.N), "requests/op")
		})
	}
}

// registry serves up over a socket, at 40 MB/s for each connection, and counts what it wrote.
type registry struct {
	url          string
	client       *http.Client
	wrote, asked atomic.Int64
}

type metered struct {
	http.ResponseWriter
	r     *registry
	began time.Time
	sent  int64
}

func (m *metered) Write(p []byte) (int, error) {
	due := time.Duration(m.sent) * time.Second / 40e6
	if ahead := due - time.Since(m.began); ahead > 5*time.Millisecond {
		time.Sleep(ahead)
	}
	n, err := m.ResponseWriter.Write(p)
	m.sent += int64(n)
	m.r.wrote.Add(int64(n))
	return n, err
}

func newRegistry(b *testing.B, up *upstream) *registry {
	r := &registry{client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(b, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(&metered{w, r, time.Now(), 0}, req, "", time.Time{}, bytes.NewReader(up.content))
	})}
	r.url = "http://" + l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	b.Cleanup(func() { r.client.CloseIdleConnections(); srv.Close(); <-done })
	return r
}

func (r *registry) fetch(ctx context.Context, from, to int64) (*Stream, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, err
	}
	want := fmt.Sprintf("bytes=%d-", from)
	if to >= 0 {
		want += strconv.FormatInt(to-1, 10)
	}
	req.Header.Set("Range", want)
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	_, total, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
	size, err := strconv.ParseInt(total, 10, 64)
	return &Stream{Body: resp.Body, Offset: from, Part: true, Size: size}, err
}

// BenchmarkStart opens a store of 100,000 objects: the time of Open, and the time until all of them are accounted for.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	litter(b, dir, 100_000)
	for b.Loop() {
		began := time.Now()
		s, err := Open(dir, Config{})
		check(b, err)
		b.ReportMetric(float64(time.Since(began).Microseconds()), "open-µs")
		<-s.scanned
		check(b, s.Close())
	}
	os.RemoveAll(dir)
}
