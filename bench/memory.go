package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// memory: what is held for clients that do nothing, or little.
func memory() family {
	f := family{name: "memory", servers: caches()}
	f.about = "Memory of all of a server's processes, new ones for each scenario and round, that have had one client before " +
		"(memory-idle: none). A page that two of them share is counted twice."
	f.scenarios = []scenario{
		{name: "memory-idle", about: "after the start, nothing cached", ways: []string{wayPlain, wayConnect}, run: idleMemory},
		{
			name: "memory-tunnels", about: "1,000 tunnels to a host that is no registry, a TLS handshake through each, then silence",
			ways: []string{wayConnect}, run: idleTunnels,
		},
		{
			name: "memory-keepalive", about: "1,000 TLS connections that have had one answer and are kept alive",
			ways: []string{wayH1, wayConnect}, run: keptAlive,
		},
		{name: "memory-keepalive-h2", about: "the same by HTTP/2", ways: []string{wayH2}, run: keptAlive},
		{
			name: "memory-slow-200", about: "200 clients that read a layer of 256 MiB at 64 KiB a second, TLS",
			ways: []string{wayH1, wayConnect}, run: slowReaders(200, 1),
		},
		{name: "memory-slow-500", about: "500 of them", ways: []string{wayH1, wayConnect}, run: slowReaders(500, 1)},
		{name: "memory-slow-500-h2", about: "500 of them by HTTP/2", ways: []string{wayH2}, run: slowReaders(500, 1)},
		{
			name: "memory-slow-streams", about: "500 of them by HTTP/2, 50 over each connection",
			ways: []string{wayH2}, run: slowReaders(500, 50),
		},
	}
	return f
}

// anew gives the turn's server new processes, which inherit the cache but no garbage, and one client: what is then used for the first
// time belongs to no client.
func (t *turn) anew(one func() error) (before int64, err error) {
	t.server.stop()
	if err := t.launch(); err != nil {
		return 0, err
	}
	if err := one(); err != nil {
		return 0, err
	}
	err = t.rest(time.Second) // it settles
	return t.server.resident(false), err
}

func idleMemory(t *turn) error {
	t.server.stop()
	if err := t.launch(); err != nil {
		return err
	}
	if err := t.rest(time.Second); err != nil {
		return err
	}
	t.sample = sample{figRSS: float64(t.server.resident(false)) / mib}
	return nil
}

const idlers = 1000

// grown notes what the server's memory has grown by for each of n.
func (t *turn) grown(before int64, n int) error {
	if err := t.rest(time.Second); err != nil { // the last ones settle
		return err
	}
	now := t.server.resident(false)
	t.sample = sample{figRSS: float64(now) / mib, figEach: float64(now-before) / 1024 / float64(n)}
	return nil
}

func idleTunnels(t *turn) error {
	before, err := t.anew(func() error {
		c, err := t.tunnel(t.bed.ctx)
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		return err
	}
	open := &openConns{}
	defer open.close()
	err = t.crowd(20, func(ctx context.Context, worker int) error {
		for range idlers / 20 {
			c, err := t.tunnel(ctx)
			if err != nil {
				return err
			}
			open.add(c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.grown(before, idlers)
}

// tunnel opens one to the origin by its address, which is no registry, and shakes hands through it.
func (t *turn) tunnel(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", t.server.tunnels)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", t.bed.origin.addr)
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.Close()
		return nil, fmt.Errorf("CONNECT: %v, %v", resp, err)
	}
	secure := tls.Client(c, &tls.Config{RootCAs: t.bed.trust.pool, ServerName: "tunnel.invalid", InsecureSkipVerify: true})
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}

// openConns are open until close.
type openConns struct {
	mu  sync.Mutex
	all []io.Closer
}

func (o *openConns) add(c io.Closer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, c)
}

func (o *openConns) close() {
	for _, c := range o.all {
		c.Close()
	}
}

func keptAlive(t *turn) error {
	i, err := t.held("small", make([]int64, manifestLayers)...)
	if err != nil {
		return err
	}
	before, err := t.anew(func() error { return t.once(t.bed.ctx, newClient(t.way), manifestPath(i, i.digest)) })
	if err != nil {
		return err
	}
	open := &openConns{}
	defer open.close()
	err = t.crowd(20, func(ctx context.Context, worker int) error {
		for range idlers / 20 {
			c := newClient(t.way)
			open.add(closer(c.close))
			if _, err := c.get(ctx, manifestPath(i, i.digest), ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.grown(before, idlers)
}

type closer func()

func (c closer) Close() error {
	c()
	return nil
}

// slowReaders lets n clients begin with a layer and then read so slowly that the server waits for each of them. So many share a
// connection.
func slowReaders(n, share int) func(*turn) error {
	return func(t *turn) error {
		i, err := t.held("big", layerSize)
		if err != nil {
			return err
		}
		before, err := t.anew(func() error { return t.once(t.bed.ctx, newClient(t.way), blobPath(i, 1)) })
		if err != nil {
			return err
		}
		ctx, leave := context.WithCancel(t.bed.ctx)
		defer leave()
		var begun, all sync.WaitGroup
		defer all.Wait()
		defer leave()
		var c *client
		for k := range n {
			if k%share == 0 {
				c = newSlowClient(t.way)
			}
			begun.Add(1)
			reader := c.twin()
			all.Go(func() { slowReader(ctx, reader, blobPath(i, 1), begun.Done) })
		}
		begun.Wait()
		return t.grown(before, n)
	}
}

// newSlowClient takes little into its own buffers.
func newSlowClient(w way) *client {
	c := newClient(w)
	c.tr.ReadBufferSize = 4 << 10
	c.tr.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}
	c.tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, w.addr)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return conn, err
	}
	return c
}

// slowReader reads until ctx ends. begun is called when the first byte is there.
func slowReader(ctx context.Context, c *client, path string, begun func()) {
	defer c.close()
	var once sync.Once
	defer once.Do(begun)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	for tick := time.NewTicker(time.Second); ; {
		if _, err := io.ReadFull(resp.Body, c.buf[:64<<10]); err != nil {
			return
		}
		once.Do(begun)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
