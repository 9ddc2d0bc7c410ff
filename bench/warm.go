package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
)

const (
	mib       = 1 << 20
	layerSize = 256 * mib
)

// caches are all servers but the origin itself.
func caches() []string { return []string{"entrepot", "nginx", "registry", "squid"} }

// warmLayers: a large layer that is held, by each way in, with one, a few and many connections.
func warmLayers() family {
	f := family{name: "warm layer", servers: append(caches(), "outside", "floor", "kernel"), about: "A layer of 256 MiB that is held, read again and again over connections that are open."}
	for _, way := range []string{wayPlain, wayH1, wayH2, wayConnect} {
		for _, conns := range []int{1, 8, 64} {
			total := int64(2 << 30) // over all connections
			if way == wayConnect {
				total /= 4 // squid is slow
			}
			part := min(layerSize, total/int64(conns))
			f.scenarios = append(f.scenarios, scenario{
				name:  fmt.Sprintf("warm-%s-%d", way, conns),
				about: fmt.Sprintf("%s, connections: %d, of the layer at a time: %d MiB", wayAbout(way), conns, part/mib), ways: []string{way},
				run: func(t *turn) error { return warmLayer(t, conns, part, total) },
			})
		}
	}
	return f
}

func wayAbout(name string) string {
	return map[string]string{
		wayPlain: "plain HTTP", wayH1: "TLS, HTTP/1.1", wayH2: "TLS, HTTP/2", wayConnect: "CONNECT and TLS, HTTP/1.1",
	}[name]
}

// warmLayer reads total bytes by so many connections, each of which asks for part again and again.
func warmLayer(t *turn, conns int, part, total int64) error {
	i, err := t.held("big", layerSize)
	if err != nil {
		return err
	}
	clients, err := t.connected(conns, i)
	defer closeAll(clients)
	if err != nil {
		return err
	}
	err = t.measureHeld(total, func() error {
		return t.crowd(conns, func(ctx context.Context, worker int) error {
			from, want := int64(worker)*part%layerSize, ""
			if part < layerSize {
				want = span(from, from+part)
			}
			for n := int64(0); n < total/int64(conns) && !t.enough(); n += part {
				if err := t.one(ctx, clients[worker], blobPath(i, 1), want); err != nil {
					return err
				}
			}
			return nil
		})
	})
	t.keep(figSpeed, figCPUGiB, figFirst, figUpstream, figAsked, figPeak)
	return err
}

// held makes an image of one layer that the server holds from its first turn on.
func (t *turn) held(repo string, sizes ...int64) (*image, error) {
	i := t.bed.shared(repo, sizes...)
	key := repo + " by " + t.way.name
	if t.server.holds[key] {
		return i, nil
	}
	c := newClient(t.way)
	defer c.close()
	if _, err := c.get(t.bed.ctx, manifestPath(i, i.tag), ""); err != nil {
		return nil, fmt.Errorf("fill the cache: %w", err)
	}
	if _, err := c.get(t.bed.ctx, manifestPath(i, i.digest), ""); err != nil {
		return nil, fmt.Errorf("fill the cache: %w", err)
	}
	for n := range i.blobs {
		for range 2 { // the second time over what is only now complete
			if _, err := c.get(t.bed.ctx, blobPath(i, n), ""); err != nil {
				return nil, fmt.Errorf("fill the cache: %w", err)
			}
		}
	}
	t.server.holds[key] = true
	return i, nil
}

// shared is the one image of this name, the same in all turns.
func (b *bed) shared(repo string, sizes ...int64) *image {
	if i := b.images[repo]; i != nil {
		return i
	}
	i := b.origin.image(repo, "1", append([]int64{1000}, sizes...)...)
	b.images[repo] = i
	return i
}

// connected are clients that have had an answer already.
func (t *turn) connected(n int, i *image) ([]*client, error) {
	clients := make([]*client, n)
	var mu sync.Mutex
	err := t.crowd(n, func(ctx context.Context, worker int) error {
		c := newClient(t.way)
		mu.Lock()
		clients[worker] = c
		mu.Unlock()
		_, err := c.get(ctx, manifestPath(i, i.digest), "")
		return err
	})
	return clients, err
}

func closeAll(clients []*client) {
	for _, c := range clients {
		if c != nil {
			c.close()
		}
	}
}

// manifestLayers makes a manifest of about manifestSize bytes.
const (
	manifestLayers = 11
	manifestSize   = 2500
)

// warmManifests: what every pull begins with, on connections that are kept alive.
func warmManifests() family {
	f := family{name: "warm manifest", servers: append(caches(), "floor"), about: "A manifest of 2.5 KB that is held, over 64 connections that are kept alive, asked for 20,000 times."}
	for _, way := range []string{wayPlain, wayH1, wayH2, wayConnect} {
		for _, kind := range []string{"digest", "tag", "head"} {
			if (way == wayPlain || way == wayConnect) && kind != "digest" {
				continue
			}
			about := map[string]string{"digest": "GET by digest", "tag": "GET by a tag that is fresh", "head": "HEAD of a tag that is fresh"}[kind]
			f.scenarios = append(f.scenarios, scenario{
				name: fmt.Sprintf("manifest-%s-%s", way, kind), about: wayAbout(way) + ", " + about, ways: []string{way},
				run: func(t *turn) error { return warmManifest(t, kind) },
			})
		}
	}
	return f
}

func warmManifest(t *turn, kind string) error {
	const conns, all = 64, 20_000
	i, err := t.held("small", make([]int64, manifestLayers)...)
	if err != nil {
		return err
	}
	clients, err := t.connected(conns, i)
	defer closeAll(clients)
	if err != nil {
		return err
	}
	method, ref := http.MethodGet, i.digest
	if kind != "digest" {
		ref = i.tag
	}
	if kind == "head" {
		method = http.MethodHead
	}
	err = t.measureHeld(all*manifestSize, func() error {
		return t.crowd(conns, func(ctx context.Context, worker int) error {
			for range all / conns {
				if t.enough() {
					break
				}
				a, err := clients[worker].ask(ctx, method, manifestPath(i, ref), "", -1)
				if err != nil {
					return err
				}
				t.note(a)
			}
			return nil
		})
	})
	t.keep(figRate, figCPUReq, figP50, figP99, figUpstream, figAsked, figPeak)
	return err
}

// connections: what a new connection costs.
func connections() family {
	return family{
		name: "new connections", servers: append(caches(), "floor"), about: "A connection of its own for each request of a small manifest that is held, 16 at a time.",
		scenarios: []scenario{
			{name: "connection-tls", about: "TLS, one GET, 1,500 times", ways: []string{wayH1}, run: newConnections},
			{name: "connection-connect", about: "CONNECT (nginx and registry: none), TLS, one GET, 1,500 times", ways: []string{wayConnect, wayH1}, run: newConnections},
			{name: "connection-x25519-tls", about: "connection-tls by clients that offer X25519 alone: nginx on OpenSSL 3.0 knows no exchange that is safe from quantum computers", ways: []string{wayH1}, run: oldExchange},
			{name: "connection-x25519-connect", about: "connection-connect by such clients", ways: []string{wayConnect, wayH1}, run: oldExchange},
			{name: "connection-new-names", about: "CONNECT, TLS in 200 names that were never seen before, one GET", ways: []string{wayConnect}, run: newNames},
		},
	}
}

func newConnections(t *turn) error {
	const workers, all = 16, 1500
	i, err := t.held("small", make([]int64, manifestLayers)...)
	if err != nil {
		return err
	}
	err = t.measureHeld(all*manifestSize, func() error {
		return t.crowd(workers, func(ctx context.Context, _ int) error {
			for n := 0; n < all/workers && !t.enough(); n++ {
				if err := t.once(ctx, newClient(t.way), manifestPath(i, i.digest)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	t.keep(figRate, figCPUReq, figP50, figP99, figUpstream, figAsked, figPeak)
	return err
}

// oldExchange is newConnections with the same work for all servers: else those that can give the client X25519MLKEM768, and some cannot.
func oldExchange(t *turn) error {
	t.way.exchange = []tls.CurveID{tls.X25519}
	return newConnections(t)
}

func newNames(t *turn) error {
	const workers, all = 4, 200
	i, err := t.held("small", make([]int64, manifestLayers)...)
	if err != nil {
		return err
	}
	first := t.bed.names
	t.bed.names += all
	err = t.measureHeld(all*manifestSize, func() error {
		return t.crowd(workers, func(ctx context.Context, worker int) error {
			for n := worker; n < all; n += workers {
				c := newClient(t.way).forHost(fmt.Sprintf("n%d.%s", first+n, hostName))
				if err := t.once(ctx, c, manifestPath(i, i.digest)); err != nil {
					return err
				}
			}
			return nil
		})
	})
	t.keep(figRate, figCPUReq, figP50, figP99, figUpstream, figAsked, figPeak)
	return err
}

// once is one request of a client that is not used again.
func (t *turn) once(ctx context.Context, c *client, path string) error {
	defer c.close()
	a, err := c.get(ctx, path, "")
	if err == nil {
		t.note(a)
	}
	return err
}
