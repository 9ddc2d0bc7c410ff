package world

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Counts is what one host was asked since the last Reset. A request counts
// when it arrives, a byte when it is handed to the network, so a client that
// has read an answer to its end finds all of it here.
type Counts struct {
	Requests      int   `json:"requests"`
	Pings         int   `json:"pings"`
	Tokens        int   `json:"tokens"`
	ManifestGets  int   `json:"manifest_gets"`
	ManifestHeads int   `json:"manifest_heads"`
	BlobGets      int   `json:"blob_gets"`  // redirects included
	BlobHeads     int   `json:"blob_heads"` // redirects included
	Writes        int   `json:"writes"`     // PUT, POST, PATCH, DELETE of registry paths
	Others        int   `json:"others"`
	Connections   int   `json:"connections"` // TLS handshakes begun, and plain connections used
	BlobBytes     int64 `json:"blob_bytes"`  // in 200 and 206 answers to blob GETs
}

// Host is one played name.
type Host struct {
	Name string
	Addr netip.Addr // what the world's DNS says

	world   *World
	addr6   netip.Addr
	handler http.Handler
	owner   string   // the registry whose credentials belong here; "" none
	storage bool     // a CDN: every path is a blob, every credential a leak
	http1   bool     // does not negotiate HTTP/2
	extra   []string // ports besides 443 and 80
	plain   bool     // serves on plain HTTP instead of sending to https
	bytes   atomic.Int64

	mu     sync.Mutex
	counts Counts
	faults []*Armed
}

// Counts is a snapshot.
func (h *Host) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.counts
	c.BlobBytes = h.bytes.Load()
	return c
}

func (h *Host) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts = Counts{}
	h.bytes.Store(0)
}

func (h *Host) connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts.Connections++
}

// count books a request at its arrival.
func (h *Host) count(method string, kind Kind) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &h.counts
	c.Requests++
	head := method == http.MethodHead
	switch {
	case kind == Token:
		c.Tokens++
	case kind == Ping:
		c.Pings++
	case kind != Other && action(method) == "push":
		c.Writes++
	case kind == Manifest && head:
		c.ManifestHeads++
	case kind == Manifest:
		c.ManifestGets++
	case kind == Blob && head:
		c.BlobHeads++
	case kind == Blob:
		c.BlobGets++
	default:
		c.Others++
	}
}

// speaks reports whether the host listens on a port.
func (h *Host) speaks(port string) bool {
	for _, p := range append([]string{"443", "80"}, h.extra...) {
		if p == port {
			return true
		}
	}
	return false
}

func (h *Host) protocols() []string {
	if h.http1 {
		return []string{"http/1.1"}
	}
	return []string{"h2", "http/1.1"}
}

// authority is the name and the port that a URL to this host carries.
func authorityOf(h *Host, port string) string {
	if port == "" || port == "443" || port == "80" {
		return h.Name
	}
	return net.JoinHostPort(h.Name, port)
}
