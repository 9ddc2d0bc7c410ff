package world

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
)

// serve is the way of every request: find the host by its name, count it,
// look for leaked credentials, let a fault have its turn, then play.
func (w *World) serve(rw http.ResponseWriter, req *http.Request) {
	if !w.begin() {
		panic(http.ErrAbortHandler)
	}
	defer w.serving.Done()
	name, port := split(req.Host)
	h := w.hosts[name]
	if h == nil || (req.TLS != nil && !strings.EqualFold(req.TLS.ServerName, name)) {
		w.complain("world: request for %q on a connection to %q", req.Host, serverName(req))
		http.Error(rw, "misdirected request", http.StatusMisdirectedRequest)
		return
	}
	kind := h.kind(req)
	h.count(req.Method, kind)
	entry := w.note(req, kind)
	w.watch(h, req)
	counting := &counter{ResponseWriter: rw, host: h, entry: entry, blob: kind == Blob && req.Method == http.MethodGet}
	if req.TLS == nil && !h.plain {
		http.Redirect(counting, req, "https://"+authorityOf(h, port)+req.URL.RequestURI(), http.StatusMovedPermanently)
		return
	}
	h.play(counting, req, kind)
}

// begin enters a request, unless the world is at its end.
func (w *World) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.serving.Add(1)
	return true
}

func serverName(req *http.Request) string {
	if req.TLS == nil {
		return "the plain listener"
	}
	return req.TLS.ServerName
}

// kind classes a request. What a storage host has are blobs.
func (h *Host) kind(req *http.Request) Kind {
	switch {
	case h.storage, strings.HasPrefix(req.URL.Path, downloads):
		return Blob
	case h.world.realmAt(h.Name, req.URL.Path) != nil:
		return Token
	}
	return parseRoute(req.URL.Path).kind
}

// watch records credentials that came to a host they do not belong to.
func (w *World) watch(h *Host, req *http.Request) {
	leak := func(what string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.leaks = append(w.leaks, fmt.Sprintf("%s %s%s saw %s", req.Method, h.Name, req.URL.Path, what))
	}
	if req.Header.Get("Proxy-Authorization") != "" {
		leak("Proxy-Authorization")
	}
	if h.owner == "" {
		for _, key := range []string{"Authorization", "Cookie"} {
			if req.Header.Get(key) != "" {
				leak(key)
			}
		}
		return
	}
	if from := w.issuer(req); from != "" && from != h.owner {
		leak("a credential of " + from)
	}
}

// Leaks lists credentials that came to hosts which must not see them: any at
// a storage host, another registry's at a registry.
func (w *World) Leaks() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.leaks...)
}

// counter books what goes out. It counts before it writes: the client may
// have the last byte before Write returns here, and may even have left with
// it, so that Write reports an error. Of a client that leaves early one chunk
// too much is counted.
type counter struct {
	http.ResponseWriter
	host  *Host
	entry *Request
	blob  bool
	sent  bool
	body  bool // the answer's body is blob bytes
}

func (c *counter) WriteHeader(status int) {
	if c.sent {
		return
	}
	if status >= 200 {
		c.sent = true
		c.entry.status.Store(int32(status))
		c.body = c.blob && (status == http.StatusOK || status == http.StatusPartialContent)
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	c.add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

func (c *counter) add(n int64) {
	c.entry.bytes.Add(n)
	if c.body {
		c.host.bytes.Add(n)
	}
}

// FlushError lets http.ResponseController flush through the layers.
func (c *counter) FlushError() error {
	c.WriteHeader(http.StatusOK)
	return http.NewResponseController(c.ResponseWriter).Flush()
}

// Flush is for those who ask for http.Flusher.
func (c *counter) Flush() { _ = c.FlushError() } // errors show at the next write

// tally is a counter pair that may be read while it grows.
type tally struct {
	status atomic.Int32
	bytes  atomic.Int64
}
