package main

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// origin plays a public registry, by HTTP/1.1 over TLS as the storage behind registries does. It can be slow in three ways, and
// counts what it sends.
type origin struct {
	addr string
	srv  *http.Server

	mu        sync.Mutex
	noise     []byte
	numbers   uint64
	blobs     map[string]*blob
	manifests map[string]*image // by "repo:tag" and "repo@digest"

	sent    atomic.Int64 // body bytes of blobs
	asked   atomic.Int64 // requests
	last    atomic.Pointer[string]
	line    pace         // of the whole line
	perConn atomic.Int64 // bytes a second of one connection, 0 for no limit
	latency atomic.Int64 // nanoseconds before each answer
}

// movedPrefix begins the names of repositories whose blobs are redirected to a storage, as most registries do.
const movedPrefix = "moved/"

func startOrigin(certificate tls.Certificate) (*origin, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &origin{addr: l.Addr().String(), noise: newNoise(), blobs: map[string]*blob{}, manifests: map[string]*image{}}
	o.srv = &http.Server{
		Handler: o, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}},
	}
	go o.srv.ServeTLS(l, "", "") // ends with close
	return o, nil
}

func (o *origin) close() { o.srv.Close() }

// blob makes content that nobody has seen before.
func (o *origin) blob(size int64) *blob {
	o.mu.Lock()
	o.numbers++
	n := o.numbers
	o.mu.Unlock()
	b := newBlob(o.noise, n, size)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.blobs[b.digest] = b
	return b
}

// image makes an image that nobody has seen before.
func (o *origin) image(repo, tag string, sizes ...int64) *image {
	var blobs []*blob
	for _, n := range sizes {
		blobs = append(blobs, o.blob(n))
	}
	i := newImage(repo, tag, blobs)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.manifests[repo+":"+tag] = i
	o.manifests[repo+"@"+i.digest] = i
	return i
}

// full lets it answer as fast as it can.
func (o *origin) full() {
	o.line.set(0)
	o.perConn.Store(0)
	o.latency.Store(0)
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.asked.Add(1)
	request := r.Method + " " + r.URL.Path
	o.last.Store(&request)
	time.Sleep(time.Duration(o.latency.Load()))
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	path, isAPI := strings.CutPrefix(r.URL.Path, "/v2/")
	repo, digest, isBlob := strings.Cut(path, "/blobs/")
	repoOfManifest, ref, isManifest := strings.Cut(path, "/manifests/")
	switch {
	case isAPI && path == "":
		io.WriteString(w, "{}")
	case isBlob && strings.HasPrefix(repo, movedPrefix):
		http.Redirect(w, r, "/storage/"+digest, http.StatusTemporaryRedirect)
	case isBlob:
		o.serveBlob(w, r, digest)
	case isManifest:
		o.serveManifest(w, r, repoOfManifest, ref)
	case strings.HasPrefix(r.URL.Path, "/storage/"):
		o.serveBlob(w, r, strings.TrimPrefix(r.URL.Path, "/storage/"))
	default:
		http.NotFound(w, r)
	}
}

func (o *origin) serveManifest(w http.ResponseWriter, r *http.Request, repo, ref string) {
	sign := ":"
	if strings.Contains(ref, ":") {
		sign = "@"
	}
	o.mu.Lock()
	i := o.manifests[repo+sign+ref]
	o.mu.Unlock()
	if i == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", typeManifest)
	h.Set("Docker-Content-Digest", i.digest)
	h.Set("Content-Length", strconv.Itoa(len(i.manifest)))
	if r.Method == http.MethodGet {
		w.Write(i.manifest)
	}
}

func (o *origin) serveBlob(w http.ResponseWriter, r *http.Request, digest string) {
	o.mu.Lock()
	b := o.blobs[digest]
	o.mu.Unlock()
	if b == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", digest)
	h.Set("Etag", `"`+digest+`"`)
	h.Set("Cache-Control", "public, max-age=31536000")
	m := &meter{ResponseWriter: w, origin: o}
	m.mine.set(o.perConn.Load())
	http.ServeContent(m, r, "", time.Time{}, b.reader())
}

// meter counts and slows down what goes out.
type meter struct {
	http.ResponseWriter
	origin *origin
	mine   pace
}

// meterStep is how much goes out between two looks at the clock.
const meterStep = 64 << 10

func (m *meter) Write(p []byte) (int, error) {
	all := len(p)
	for len(p) > 0 {
		n, err := m.ResponseWriter.Write(p[:min(len(p), meterStep)])
		m.origin.sent.Add(int64(n))
		if err != nil {
			return all - len(p) + n, err
		}
		p = p[n:]
		m.mine.wait(n)
		m.origin.line.wait(n)
	}
	return all, nil
}

const slack = 20 * time.Millisecond

// pace lets so many bytes a second through, 0 for no limit. All who share it wait their turn.
type pace struct {
	mu   sync.Mutex
	rate int64
	next time.Time
}

func (p *pace) set(rate int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate, p.next = rate, time.Time{}
}

func (p *pace) wait(n int) {
	p.mu.Lock()
	if p.rate == 0 {
		p.mu.Unlock()
		return
	}
	// Sleeping takes longer than it was asked for: what that cost is made up for by what follows at once. What begins has nothing to make
	// up for: a line does not send 20 ms' worth of bytes at once.
	if now := time.Now(); p.next.Before(now.Add(-slack)) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(int64(n) * int64(time.Second) / p.rate))
	due := p.next
	p.mu.Unlock()
	time.Sleep(time.Until(due))
}
