package world

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	api "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// memory is a registry without a disk: ggcr's, but blobs know their
// repositories, are read through http.ServeContent, and may be generated
// while they are read.
type memory struct {
	api http.Handler

	mu    sync.Mutex
	blobs map[string]source
	links map[string]bool // repository "@" digest
}

// source opens a blob for reading.
type source struct {
	size int64
	open func() io.ReadSeeker
}

func newMemory() *memory {
	m := &memory{blobs: map[string]source{}, links: map[string]bool{}}
	m.api = api.New(api.Logger(log.New(io.Discard, "", 0)), api.WithBlobHandler(m), api.WithReferrersSupport(true))
	return m
}

func (m *memory) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	rt := parseRoute(req.URL.Path)
	if rt.kind == Blob && action(req.Method) == "pull" {
		m.serveBlob(rw, req, rt)
		return
	}
	m.api.ServeHTTP(rw, req)
}

func (m *memory) serveBlob(rw http.ResponseWriter, req *http.Request, rt route) {
	src, ok := m.find(rt.repo, rt.ref)
	if !ok {
		fail(rw, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry", map[string]string{"digest": rt.ref})
		return
	}
	h := rw.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", rt.ref)
	h.Set("Etag", `"`+rt.ref+`"`)
	h.Set("Cache-Control", "max-age=31536000")
	http.ServeContent(rw, req, "", time.Time{}, src.open())
}

func (m *memory) find(repo, digest string) (source, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	src, ok := m.blobs[digest]
	return src, ok && m.links[repo+"@"+digest]
}

// put keeps a blob in a repository.
func (m *memory) put(repo, digest string, src source) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[digest] = src
	m.links[repo+"@"+digest] = true
}

// Get, Stat and Put are for ggcr's upload code.
func (m *memory) Get(_ context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	src, ok := m.find(repo, h.String())
	if !ok {
		return nil, api.ErrNotFound
	}
	return io.NopCloser(src.open()), nil
}

// Stat says how long a blob is.
func (m *memory) Stat(_ context.Context, repo string, h v1.Hash) (int64, error) {
	src, ok := m.find(repo, h.String())
	if !ok {
		return 0, api.ErrNotFound
	}
	return src.size, nil
}

// Put keeps an upload.
func (m *memory) Put(_ context.Context, repo string, h v1.Hash, rc io.ReadCloser) error {
	all, err := io.ReadAll(rc)
	if err != nil {
		return err
	}
	// At the end of an upload ggcr takes "app/blobs" for the repository.
	m.put(strings.TrimSuffix(repo, "/blobs"), h.String(), fromBytes(all))
	return rc.Close()
}

func fromBytes(b []byte) source {
	return source{int64(len(b)), func() io.ReadSeeker { return bytes.NewReader(b) }}
}

// remote is a backend that is a real registry. Its redirects go to the client.
func (w *World) remote(base *url.URL) http.Handler {
	transport := &http.Transport{Proxy: nil, DisableCompression: true, MaxIdleConnsPerHost: 64}
	w.atClose(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(base)
			r.Out.Host = r.In.Host // signatures and upload locations are made for it
			if r.In.TLS != nil {
				r.Out.Header.Set("X-Forwarded-Proto", "https")
			}
		},
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(quiet{}, "", 0),
	}
}
