package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// client is one client of a server: connections of its own, kept alive.
type client struct {
	base string
	http *http.Client
	tr   *http.Transport
	buf  []byte
}

// newClient makes a client that comes by w. It has not connected yet.
func newClient(w way) *client {
	tr := &http.Transport{
		Protocols:          new(http.Protocols), // one of them only, whatever the server prefers
		TLSClientConfig:    w.clientTLS(),
		DisableCompression: true,
		MaxIdleConns:       64,
		ReadBufferSize:     64 << 10,
		Proxy:              http.ProxyURL(w.proxy()),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, w.addr)
		},
	}
	tr.Protocols.SetHTTP2(w.name == wayH2)
	tr.Protocols.SetHTTP1(w.name != wayH2)
	return &client{base: w.base, tr: tr, http: &http.Client{Transport: tr}, buf: make([]byte, 256<<10)}
}

func (c *client) close() { c.tr.CloseIdleConnections() }

// answer is what came of a request.
type answer struct {
	bytes int64
	first time.Duration // from the request to the first byte of the body, or to the header where there is none
	took  time.Duration
}

// accept is what image clients accept.
const accept = typeManifest + ", application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, " +
	"application/vnd.docker.distribution.manifest.list.v2+json"

// get fetches a path below the API to its end. span is a Range field, or "".
func (c *client) get(ctx context.Context, path, span string) (answer, error) {
	return c.ask(ctx, http.MethodGet, path, span, -1)
}

// ask is get by another method, and reads no more than limit bytes unless that is negative: then it hangs up.
func (c *client) ask(ctx context.Context, method, path, span string, limit int64) (answer, error) {
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", accept)
	if span != "" {
		req.Header.Set("Range", span)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return answer{}, fmt.Errorf("%s %s: %s", method, req.URL, resp.Status)
	}
	a := answer{}
	for limit < 0 || a.bytes < limit {
		n, err := resp.Body.Read(c.buf)
		if a.first == 0 && (n > 0 || err != nil) {
			a.first = time.Since(began)
		}
		a.bytes += int64(n)
		if errors.Is(err, io.EOF) {
			if a.bytes < limit {
				return a, fmt.Errorf("%s %s: %d bytes instead of %d", method, req.URL, a.bytes, limit)
			}
			break
		}
		if err != nil {
			return a, fmt.Errorf("%s %s: after %d bytes: %w", method, req.URL, a.bytes, err)
		}
	}
	a.took = time.Since(began)
	return a, nil
}

// twin shares the connections of c, for another goroutine.
func (c *client) twin() *client {
	other := *c
	other.buf = make([]byte, len(c.buf))
	return &other
}

// forHost is the same client for another name of the registry.
func (c *client) forHost(name string) *client {
	other := *c
	u, _ := url.Parse(c.base) // made by us
	other.base = strings.Replace(c.base, u.Hostname(), name, 1)
	other.tr = c.tr.Clone()
	other.tr.TLSClientConfig.ServerName = name
	other.http = &http.Client{Transport: other.tr}
	return &other
}

func blobPath(i *image, n int) string { return i.repo + "/blobs/" + i.blobs[n].digest }

func manifestPath(i *image, ref string) string { return i.repo + "/manifests/" + ref }

func span(from, to int64) string { return fmt.Sprintf("bytes=%d-%d", from, to-1) }
