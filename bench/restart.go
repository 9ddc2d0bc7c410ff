package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// restart: how long it takes to be back with a large cache.
func restart(objects int) family {
	return family{
		name: "restart", servers: []string{"entrepot"},
		about: "Entrepot alone, started on a cache of " + thousands(objects) + " objects whose directories are not in memory: " +
			"the time until the first hit, counted from before the program is started, until all objects are accounted for, and the " +
			"memory then.",
		scenarios: []scenario{{
			name: "restart", about: thousands(objects) + " objects", ways: []string{wayPlain}, rounds: 3, run: restartLarge,
		}},
	}
}

// thousands is a number as people write it.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// restartLarge is once for each round over the same objects: what makes a round is a new process and an empty memory.
func restartLarge(t *turn) error {
	if err := forgetPages(dropCaches); err != nil { // now, and not when a million objects are there
		return err
	}
	i, err := t.held("small", make([]int64, manifestLayers)...)
	if err != nil {
		return err
	}
	t.server.stop()
	if t.round == 0 {
		root := filepath.Join(t.server.dir, "data", "cache", "blobs", "sha256")
		if err := litter(t.bed.ctx, root, t.bed.options.objects); err != nil {
			return err
		}
	}
	if err := forgetPages(dropCaches); err != nil {
		return err
	}
	asked := t.bed.origin.asked.Load()
	began := time.Now()
	if err := t.launch(); err != nil {
		return err
	}
	c := newClient(t.way)
	defer c.close()
	if _, err := c.get(t.bed.ctx, manifestPath(i, i.digest), ""); err != nil {
		return err
	}
	t.sample = sample{figFirst: ms(time.Since(began))}
	if n := t.bed.origin.asked.Load() - asked; n > 0 {
		return fmt.Errorf("upstream was asked %d times for what was held before the restart", n)
	}
	for t.server.metric("entrepot_cache_objects") < float64(t.bed.options.objects) {
		if err := t.rest(20 * time.Millisecond); err != nil {
			return err
		}
	}
	t.sample[figTime] = time.Since(began).Seconds()
	if err := t.rest(2 * time.Second); err != nil { // what the scan leaves behind is given back
		return err
	}
	t.sample[figRSS] = float64(t.server.resident(false)) / mib
	t.sample[figPeak] = float64(t.server.resident(true)) / mib
	return nil
}

// litter makes n empty objects as entrepot keeps them: the content under its digest, and beside it what its size and type must be.
func litter(ctx context.Context, root string, n int) error {
	const workers = 4
	g, ctx := errgroup.WithContext(ctx)
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(root, fmt.Sprintf("%02x", i)), 0o755); err != nil {
			return err
		}
	}
	for w := range workers {
		g.Go(func() error {
			for i := w; i < n && ctx.Err() == nil; i += workers {
				sum := sha256.Sum256([]byte(strconv.Itoa(i)))
				name := hex.EncodeToString(sum[:])
				path := filepath.Join(root, name[:2], name)
				if err := os.WriteFile(path+".meta", []byte(`{"size":0,"mediaType":"application/octet-stream"}`), 0o644); err != nil {
					return err
				}
				if err := os.WriteFile(path, nil, 0o444); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

const dropCaches = "/proc/sys/vm/drop_caches"

// forgetPages makes the kernel forget what it holds of files and directories. file is dropCaches.
func forgetPages(file string) error {
	unix.Sync() // what is not written yet cannot be forgotten
	if err := os.WriteFile(file, []byte("3"), 0); err != nil {
		return fmt.Errorf("forget what is in memory of files: %w; "+
			"without it a restart is a warm one: run it as root, or leave it out by -scenarios", err)
	}
	return nil
}

// metric is one of entrepot's, by its name.
func (s *server) metric(name string) float64 {
	resp, err := http.Get(s.control + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			v, _ := strconv.ParseFloat(rest, 64)
			return v
		}
	}
	return 0
}
