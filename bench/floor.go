package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The floor is what net/http and crypto/tls cost by themselves: a server that holds in memory what it was asked for once, has
// entrepot's limits on clients and its fields in the answer, and does nothing else. It looks at no path, judges no right, counts, logs
// and forgets nothing. What a hit of entrepot costs above it is entrepot's own; what it costs itself above nginx, no handler can save.

// floorCommand makes this program the floor.
const floorCommand = "floor"

func startFloor(b *bed, s *server) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	a := freeAddrs(2)
	if err := s.spawn(self, nil, floorCommand, a[0], a[1], b.trust.certFile, b.trust.keyFile, b.trust.rootFile, b.origin.addr); err != nil {
		return err
	}
	secure := "https://" + hostName + "/v2/"
	s.ways = map[string]way{
		wayPlain: {addr: a[0], base: "http://" + a[0] + "/v2/"},
		wayH1:    {addr: a[1], base: secure, roots: b.trust.pool},
		wayH2:    {addr: a[1], base: secure, roots: b.trust.pool},
	}
	return s.until()
}

// floor answers from held, by path.
type floor struct {
	origin *http.Client
	mu     sync.RWMutex
	held   map[string]floorAnswer
}

type floorAnswer struct {
	header http.Header
	body   []byte
}

// runFloor serves until it is killed. The words are startFloor's.
func runFloor(words []string) error {
	if len(words) != 6 {
		return fmt.Errorf("%s: got %d words, want 6", floorCommand, len(words))
	}
	debug.SetGCPercent(50)       // this and the next as in entrepot (cmd/entrepot/memory.go)
	heap := make([]byte, 28<<20) // never touched: for the garbage collector alone
	defer clear(heap)
	origin, err := originClient(words[4], words[5])
	if err != nil {
		return err
	}
	f := &floor{held: map[string]floorAnswer{}, origin: origin}
	srv := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 3 * time.Minute}
	plain, err := net.Listen("tcp", words[0])
	if err != nil {
		return err
	}
	secure, err := net.Listen("tcp", words[1])
	if err != nil {
		return err
	}
	go srv.Serve(plain) // ends with the process
	return srv.ServeTLS(secure, words[2], words[3])
}

// originClient is a client of the origin, which listens at addr, in the registry's name.
func originClient(rootFile, addr string) (*http.Client, error) {
	roots, err := poolOf(rootFile)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: roots}}}, nil
}

func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.RLock()
	a, ok := f.held[r.URL.Path]
	f.mu.RUnlock()
	if !ok {
		var err error
		if a, err = f.fetch(r.URL.Path); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if strings.Contains(r.URL.Path, "/blobs/") {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
		return
	}
	if r.Method == http.MethodGet {
		w.Write(a.body)
	}
}

func (f *floor) fetch(path string) (floorAnswer, error) {
	resp, err := f.origin.Get("https://" + hostName + path)
	if err != nil {
		return floorAnswer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return floorAnswer{}, err
	}
	digest := resp.Header.Get("Docker-Content-Digest")
	a := floorAnswer{body: body, header: http.Header{
		"Content-Type": {resp.Header.Get("Content-Type")}, "Content-Length": {strconv.Itoa(len(body))}, "Docker-Content-Digest": {digest},
		"Etag": {`"` + digest + `"`}, "Docker-Distribution-Api-Version": {"registry/2.0"}, "X-Content-Type-Options": {"nosniff"},
		"Cache-Status": {"entrepot; hit"},
	}}
	if strings.Contains(path, "/blobs/") {
		a.header.Del("Content-Length") // it may be a part
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[path] = a
	return a, nil
}
