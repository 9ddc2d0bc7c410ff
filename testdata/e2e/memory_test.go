//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	manyPulls   = 50
	memoryLimit = 64 << 20 // what they may add to the process
)

// memory shows that what 50 pulls of one large layer at once cost does not
// depend on the layer: cold by the proxy door with real clients, that is one
// fill with 50 readers, and warm by the mirror door after a restart.
func memory(t *testing.T, u *upstream) {
	big := u.big.layers[1]
	dir := filepath.Join(scratch(t), "data")
	before := u.BlobBytes()
	t.Run("cold", func(t *testing.T) {
		e := startEntrepotIn(t, u, dir)
		e.healthy(t)
		e.flat(t, "cold, by proxy, crane", func() error {
			cmd := command(e.trusting(), program("crane"), "blob", "docker.io/library/big@"+big.digest)
			cmd.Stdout = io.Discard
			return finish(cmd)
		})
	})
	t.Run("warm", func(t *testing.T) {
		e := startEntrepotIn(t, u, dir)
		e.healthy(t)
		e.flat(t, "warm, by mirror, HTTP", func() error {
			return read("http://"+mirrorAddr+"/v2/library/big/blobs/"+big.digest, big.size)
		})
	})
	if got := u.BlobBytes() - before; got != big.size {
		t.Errorf("%d pulls moved %d blob bytes from upstream, want %d", 2*manyPulls, got, big.size)
	}
}

// flat runs the pull 50 times at once and measures the process's peak.
func (e *entrepot) flat(t *testing.T, what string, pull func() error) {
	t.Helper()
	pid := e.cmd.Process.Pid
	// 5 resets the peak, so that it is the peak of what follows.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	before, begin := memoryOf(t, pid, "VmRSS"), time.Now()
	var all sync.WaitGroup
	errs := make(chan error, manyPulls)
	for range manyPulls {
		all.Go(func() { errs <- pull() })
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	peak := memoryOf(t, pid, "VmHWM")
	t.Logf("%d pulls of %d MiB at once (%s): RSS %.1f MiB before, %.1f MiB peak, %.1f MiB more, in %.1f s",
		manyPulls, bigLayer>>20, what, mib(before), mib(peak), mib(peak-before), time.Since(begin).Seconds())
	if peak-before >= memoryLimit {
		t.Errorf("%s: %.1f MiB more, want less than %.1f", what, mib(peak-before), mib(memoryLimit))
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// memoryOf reads a line of /proc/PID/status, in bytes.
func memoryOf(t *testing.T, pid int, key string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in the status of process %d", key, pid)
	return 0
}

// read reads a URL to its end, which must come after size bytes.
func read(url string, size int64) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (n != size || resp.StatusCode != http.StatusOK) {
		err = fmt.Errorf("got %s and %d bytes, want %d", resp.Status, n, size)
	}
	return err
}
