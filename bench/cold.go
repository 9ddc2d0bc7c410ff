package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cold: what nobody has asked for yet. Blobs are redirected to a storage, as most registries do.
func cold() family {
	f := family{name: "cold", servers: append(caches(), "direct"), about: "Content that no server holds yet. The registry redirects to its storage, as most do."}
	f.scenarios = []scenario{
		{
			name: "cold-full", about: "a layer of 256 MiB, one client, upstream as fast as it can, TLS on both sides",
			ways: []string{wayH1, wayConnect}, run: func(t *turn) error { return coldLayer(t, layerSize, (*origin).full) },
		},
		{
			name: "cold-line", about: "the same with upstream held to 100 MB/s",
			ways: []string{wayH1, wayConnect}, run: func(t *turn) error {
				return coldLayer(t, layerSize, func(o *origin) { o.line.set(100e6) })
			},
		},
		{
			name: "cold-small", about: "200 layers of 64 KiB, one after another by one connection", ways: []string{wayH1, wayConnect}, run: coldSmall,
		},
		{
			name: "cold-50", about: "a layer of 256 MiB, 50 clients at once over plain HTTP, upstream held to 40 MB/s; direct is one client. " +
				"Left out are registry, which makes a transfer for each client, and squid, whose 13 GB of TLS would take minutes",
			ways: []string{wayPlain, wayH1}, rounds: 3, without: []string{"registry"}, run: coldHerd,
		},
		{
			name: "cold-fan-out", about: "a layer of 256 MiB, 8 clients at once over plain HTTP, upstream as fast as it can: bytes delivered a second, and by what factor that is more than to one client",
			ways: []string{wayPlain}, run: fanOut,
		},
		{
			name: "cold-image", about: "an image of 30 layers of 512 KiB by its tag, 4 layers at a time, each answer of upstream after 20 ms",
			ways: []string{wayH1, wayConnect}, run: coldImage,
		},
		{name: "warm-image", about: "the same image once more", ways: []string{wayH1, wayConnect}, run: warmImage},
		{
			name: "cold-ranges", about: "a layer of 256 MiB by 16 workers that each ask for `bytes=N-` and read no more than 1 MiB, as containerd does; upstream held to 200 MB/s",
			ways: []string{wayH1, wayConnect}, rounds: 3, run: coldRanges,
		},
		{name: "warm-ranges", about: "the same once more, of a layer that is held", ways: []string{wayH1, wayConnect}, run: warmRanges},
		{name: "warm-ranges-plain", about: "the same over plain HTTP", ways: []string{wayPlain}, run: warmRanges},
		{
			name: "cold-far-range", about: "1 MiB at 200 MiB of a layer of 256 MiB while it is being filled by another client; upstream held to " +
				"40 MB/s. Times are the range's; CPU and what upstream sent, over the layer's bytes, are counted until both have all",
			ways: []string{wayH1, wayConnect}, rounds: 3, run: farRange,
		},
		{
			name: "fill", about: "a layer of 1 GiB until it is hashed, synced and under its name on disk", ways: []string{wayPlain}, rounds: 3, run: fillToDisk,
		},
	}
	return f
}

// capped: an upstream that holds each connection to a rate of its own.
func capped() family {
	return family{
		name: "slow connections", servers: []string{"entrepot", "parallel", "nginx", "direct"},
		about: "Each connection to upstream is held to 20 MB/s, as storages do. The server parallel is entrepot with `parallel: 4` in the registry's rules.",
		scenarios: []scenario{{
			name: "capped", about: "a layer of 128 MiB, one client", ways: []string{wayH1}, rounds: 3,
			run: func(t *turn) error { return coldLayer(t, 128*mib, func(o *origin) { o.perConn.Store(20e6) }) },
		}},
	}
}

// fresh is an image of one layer that nobody has seen, whose manifest the server holds: what comes next is the layer alone.
func (t *turn) fresh(size int64) (*image, error) {
	if err := t.settle(); err != nil {
		return nil, err
	}
	repo := fmt.Sprintf("%scold%d", movedPrefix, t.bed.number())
	i := t.bed.origin.image(repo, "1", 1000, size)
	c := newClient(t.way)
	defer c.close()
	if _, err := c.get(t.bed.ctx, manifestPath(i, "1"), ""); err != nil {
		return nil, err
	}
	return i, t.bed.evict()
}

// evict takes what servers wrote out of memory, so that the next one is given the same memory for it. A hypervisor that takes back what
// a machine does not use has to find each page anew, for which the kernel's copy into the page cache waits ten times as long as it takes
// by itself (2.5 instead of 0.24 CPU s/GiB): by chance more than all the rest that a cold layer costs, and as if it were the server's
// own work.
func (b *bed) evict() error {
	return filepath.WalkDir(b.scratch, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			err = forget(name)
		}
		if errors.Is(err, fs.ErrNotExist) { // a server made it for a moment
			return nil
		}
		return err
	})
}

func forget(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// settle waits until no server fetches anything any more, and until what it wrote is on disk: the next one should not pay for it.
func (t *turn) settle() error {
	t.bed.origin.full()
	defer unix.Sync()
	return t.quiet(200 * time.Millisecond)
}

func (t *turn) rest(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-t.bed.ctx.Done():
		return t.bed.ctx.Err()
	}
}

// coldLayer lets one client fetch what nobody has asked for yet, with upstream made slow by slow.
func coldLayer(t *turn, size int64, slow func(*origin)) error {
	i, err := t.fresh(size)
	if err != nil {
		return err
	}
	slow(t.bed.origin)
	c := newClient(t.way)
	defer c.close()
	if _, err := c.get(t.bed.ctx, manifestPath(i, "1"), ""); err != nil { // opens the connection
		return err
	}
	err = t.measure(size, func() error { return t.one(t.bed.ctx, c, blobPath(i, 1), "") })
	t.keep(figSpeed, figTime, figCPUGiB, figFirst, figUpstream, figPeak)
	return err
}

// one is a request whose answer is noted.
func (t *turn) one(ctx context.Context, c *client, path, part string) error {
	a, err := c.get(ctx, path, part)
	if err == nil {
		t.note(a)
	}
	return err
}

// coldSmall shows what a miss costs beside its bytes.
func coldSmall(t *turn) error {
	const layers, size = 200, 64 << 10
	if err := t.settle(); err != nil {
		return err
	}
	i := t.bed.origin.image(fmt.Sprintf("%ssmall%d", movedPrefix, t.bed.number()), "1", slices.Repeat([]int64{size}, layers)...)
	c := newClient(t.way)
	defer c.close()
	if _, err := c.get(t.bed.ctx, manifestPath(i, "1"), ""); err != nil { // opens the connection
		return err
	}
	err := t.measure(layers*size, func() error {
		for n := range layers {
			if err := t.one(t.bed.ctx, c, blobPath(i, n), ""); err != nil {
				return err
			}
		}
		return nil
	})
	t.keep(figTime, figCPUReq, figFirst, figP50, figP99, figUpstream, figPeak)
	return err
}

func coldHerd(t *turn) error {
	clients := 50
	if t.server.name == "direct" {
		clients = 1
	}
	return t.herd(clients, 40e6)
}

// herd lets so many clients ask for one layer at once.
func (t *turn) herd(n int, rate int64) error {
	i, err := t.fresh(layerSize)
	if err != nil {
		return err
	}
	t.bed.origin.line.set(rate)
	clients, err := t.connected(n, i)
	defer closeAll(clients)
	if err != nil {
		return err
	}
	err = t.measure(layerSize, func() error {
		return t.crowd(n, func(ctx context.Context, worker int) error { return t.one(ctx, clients[worker], blobPath(i, 1), "") })
	})
	t.keep(figSpeed, figTime, figCPUGiB, figFirst, figLast, figUpstream, figPeak)
	return err
}

func fanOut(t *turn) error {
	if err := t.herd(1, 0); err != nil {
		return err
	}
	alone := t.sample[figSpeed]
	if err := t.herd(8, 0); err != nil {
		return err
	}
	t.sample[figAlone] = t.sample[figSpeed] / alone
	return nil
}

const (
	layersOfImage = 30
	imageLatency  = 20 * time.Millisecond
)

func coldImage(t *turn) error {
	if err := t.settle(); err != nil {
		return err
	}
	var sizes []int64
	for range layersOfImage + 1 {
		sizes = append(sizes, 512<<10)
	}
	i := t.bed.origin.image(fmt.Sprintf("%simage%d", movedPrefix, t.bed.number()), "1", sizes...)
	t.server.image = i
	return t.pull(i, t.measure)
}

func warmImage(t *turn) error {
	if t.server.image == nil {
		if err := coldImage(t); err != nil {
			return err
		}
	}
	return t.pull(t.server.image, t.measureHeld)
}

// pull is what a client does for an image.
func (t *turn) pull(i *image, measure func(int64, func() error) error) error {
	const parallel = 4
	t.bed.origin.latency.Store(int64(imageLatency))
	var wanted int64
	for _, b := range i.blobs {
		wanted += b.size
	}
	c := newClient(t.way)
	c.tr.MaxIdleConnsPerHost = parallel
	defer c.close()
	err := measure(wanted, func() error {
		if err := t.one(t.bed.ctx, c, manifestPath(i, "1"), ""); err != nil {
			return err
		}
		return t.crowd(parallel, func(ctx context.Context, worker int) error {
			mine := c.twin()
			for n := worker; n < len(i.blobs); n += parallel {
				if err := t.one(ctx, mine, blobPath(i, n), ""); err != nil {
					return err
				}
			}
			return nil
		})
	})
	t.keep(figTime, figCPUReq, figFirst, figUpstream, figAsked, figPeak)
	return err
}

func fillToDisk(t *turn) error {
	const size = 1 << 30
	if !t.server.isOurs() {
		return errNotForIt
	}
	i, err := t.fresh(size)
	if err != nil {
		return err
	}
	hex := strings.TrimPrefix(i.blobs[1].digest, "sha256:")
	file := filepath.Join(t.server.dir, "data", "cache", "blobs", "sha256", hex[:2], hex)
	c := newClient(t.way)
	defer c.close()
	err = t.measure(size, func() error {
		if err := t.one(t.bed.ctx, c, blobPath(i, 1), ""); err != nil {
			return err
		}
		for {
			if _, err := os.Stat(file); err == nil {
				return nil
			}
			if err := t.rest(time.Millisecond); err != nil {
				return err
			}
		}
	})
	t.keep(figSpeed, figTime, figCPUGiB, figUpstream, figPeak)
	return err
}
