package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// memory: what is held for clients that do nothing, or little.
func memory() family {
	f := family{name: "memory", servers: caches()}
	f.about = "Memory of all of a server's processes, new ones for each scenario and round, that have had one client before " +
		"(memory-idle and memory-layer: none). A page that two of them share is counted twice."
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
		{
			name: "memory-layer-256", about: "the most while one client fetches a layer of 256 MiB that nobody has asked for yet, TLS. " +
				"Squid is left out, for the room on disk",
			ways: []string{wayH1}, rounds: 2, without: []string{"squid"}, run: coldPeak(256 * mib),
		},
		{
			name: "memory-layer-1024", about: "the same for a layer of 1 GiB: nothing should grow with a layer's size",
			ways: []string{wayH1}, rounds: 2, without: []string{"squid"}, run: coldPeak(1024 * mib),
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
	now, err := t.server.inUse()
	t.sample = sample{figRSS: float64(now) / mib}
	return err
}

// coldPeak is the most memory that new processes take while one client fetches a cold layer of this size.
func coldPeak(size int64) func(*turn) error {
	return func(t *turn) error {
		t.server.stop()
		if err := t.launch(); err != nil {
			return err
		}
		if err := coldLayer(t, size, (*origin).full); err != nil {
			return err
		}
		_, err := t.server.inUse()
		t.keep(figPeak)
		return err
	}
}

const idlers = 1000

// grown notes what the server's memory has grown by for each of n.
func (t *turn) grown(before int64, n int) error {
	if err := t.rest(time.Second); err != nil { // the last ones settle
		return err
	}
	now, err := t.server.inUse()
	t.sample = sample{figRSS: float64(now) / mib, figEach: float64(now-before) / 1024 / float64(n)}
	return err
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
	return errors.Join(t.grown(before, idlers), open.still(idlers))
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
	all []net.Conn
}

func (o *openConns) add(c net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, c)
}

func (o *openConns) close() {
	for _, c := range o.all {
		c.Close()
	}
}

// watch adds every connection that c opens from now on.
func (o *openConns) watch(c *client) {
	dial := c.tr.DialContext
	c.tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err == nil {
			o.add(conn)
		}
		return conn, err
	}
}

// still fails unless n of them are open at both ends: one that the server has closed meanwhile takes none of its memory.
func (o *openConns) still(n int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	open := 0
	for _, c := range o.all {
		if established(c) {
			open++
		}
	}
	if open != n {
		return fmt.Errorf("got %d connections that are open still, want %d", open, n)
	}
	return nil
}

// tcpEstablished is the kernel's TCP_ESTABLISHED: neither end has closed.
const tcpEstablished = 1

// established asks the kernel, since what the server has sent may be unread before its end.
func established(c net.Conn) bool {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	is := false
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		is = err == nil && info.State == tcpEstablished
	})
	return err == nil && is
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
			open.watch(c)
			if _, err := c.get(ctx, manifestPath(i, i.digest), ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(t.grown(before, idlers), open.still(idlers))
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
		return t.whileReading(n, share, blobPath(i, 1), func(context.Context) error { return t.grown(before, n) })
	}
}

// whileReading runs look once n clients read path slowly. All of them have to until look returns: its context ends with the first that
// cannot, whose error is the turn's.
func (t *turn) whileReading(n, share int, path string, look func(context.Context) error) error {
	ctx, leave := context.WithCancel(t.bed.ctx)
	defer leave()
	all, reading := errgroup.WithContext(ctx)
	begun := make(chan struct{}, n)
	var c *client
	for k := range n {
		if k%share == 0 {
			c = newSlowClient(t.way)
		}
		reader := c.twin()
		all.Go(func() error { return slowReader(reading, reader, path, begun) })
	}
	for range n {
		select {
		case <-begun:
		case <-reading.Done():
			return errors.Join(all.Wait(), t.bed.ctx.Err())
		}
	}
	err := look(reading)
	leave()
	return errors.Join(all.Wait(), err)
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

// slowReader reads until ctx ends, which is no error; the layer's end is one. It tells begun when the first piece is there.
func slowReader(ctx context.Context, c *client, path string, begun chan<- struct{}) error {
	defer c.close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unlessOver(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a slow reader of %s: %s", req.URL, resp.Status)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for first := true; ; first = false {
		if _, err := io.ReadFull(resp.Body, c.buf[:64<<10]); err != nil {
			return unlessOver(ctx, fmt.Errorf("a slow reader of %s: %w", req.URL, err))
		}
		if first {
			begun <- struct{}{}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// unlessOver is err, or nothing where ctx has ended, of which it is then a consequence.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
