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
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// brokenDisks are ways in which the disk fails under a running entrepot. Each
// breaks it and returns what mends it. The system calls of the program under
// test are answered by strace in the kernel's place.
var brokenDisks = []struct {
	name string
	hurt func(t *testing.T, e *entrepot, cache string) (heal func())
}{
	{"EIO on write", injected("pwrite64:error=EIO")},
	{"EIO on a later write", injected("pwrite64:error=EIO:when=3+")},
	{"over quota on a later write", injected("pwrite64:error=EDQUOT:when=3+")},
	{"failing fsync", injected("fsync,fdatasync:error=EIO")},
	{"failing rename", injected("rename,renameat,renameat2:error=EIO")},
	{"read-only", readOnly},
}

// badDisk shows that a disk that fails in mid-work fails no pull: what a
// client gets is whole and right, a counter and a line of the log say that it
// was not kept, and when the disk is well again so is the cache.
func badDisk(t *testing.T, u *upstream) {
	for _, d := range brokenDisks {
		t.Run(d.name, func(t *testing.T) {
			dir := filepath.Join(scratch(t), "data")
			e := startEntrepotIn(t, u, dir)
			c := crane(t, e.trusting()...)
			heal := d.hurt(t, e, filepath.Join(dir, "cache"))
			whatever, native := []string{"MISS", "COLLAPSED", "BYPASS", "HIT"}, u.image(quayImage).native
			start := e.mark(t)
			pull(t, c, quayImage)
			e.blobs(t, start, native, "proxy", whatever...) // waits for the lines, which come behind the requests
			start = e.mark(t)
			e.mirrored(t)
			e.blobs(t, start, native, "mirror", whatever...)
			e.tells(t, "keep sha256:", false)
			for _, one := range e.entries(t, 0) {
				small := one.Bytes < 100<<10 // few writes, none of which failed
				if one.Kind == "blob" && (one.Cache == "HIT" && !small || one.Status != http.StatusOK) {
					t.Errorf("got %+v, want it from upstream", one)
				}
			}
			heal()
			e.warm = true // the small ones may be held
			e.pullTwice(t, c, "proxy", quayImage)
		})
	}
	t.Run("EIO on read", func(t *testing.T) { badReads(t, u) })
}

// badReads shows that a disk that does not give back what is held fails no
// pull either, be it a file that the kernel sends or one that is looked at
// first, as after a start.
func badReads(t *testing.T, u *upstream) {
	dir := filepath.Join(scratch(t), "data")
	e := startEntrepotIn(t, u, dir)
	c := crane(t, e.trusting()...)
	e.pullTwice(t, c, "proxy", quayImage)
	for range 2 {
		for _, stop := range []bool{false, true} {
			if stop {
				e.stop(t)
				e = startEntrepotIn(t, u, dir)
			}
			heal := injected("pread64,sendfile:error=EIO")(t, e, dir)
			e.mirrored(t)
			heal()
			before := u.BlobBytes()
			e.mirrored(t)
			u.NoMoreBlobBytes(t, before)
		}
	}
}

// mirrored reads each blob of an image by the mirror door and looks at each byte.
func (e *entrepot) mirrored(t *testing.T) {
	t.Helper()
	for digest := range e.up.image(quayImage).native {
		err := digestFrom(digest, func(w io.Writer) error {
			return copyURL(w, "http://"+mirrorAddr+"/v2/quay.io/prometheus/busybox/blobs/"+digest)
		})
		if err != nil {
			t.Errorf("%s by the mirror: %v", digest, err)
		}
	}
}

// tells waits until as many lines with this text as pulls that were counted
// say that something was not kept, or fewer where one says it for a minute, and
// tells how many were counted.
func (e *entrepot) tells(t *testing.T, text string, once bool) int {
	t.Helper()
	late, again := time.After(startTimeout), time.NewTicker(20*time.Millisecond)
	defer again.Stop()
	for {
		said, counted := e.lines(t, text), int(e.metric(t, noSpaceSum))
		if counted > 0 && (len(said) == counted || once && len(said) > 0 && len(said) < counted) {
			t.Logf("says %d times of %d: %.300s", len(said), counted, said[0])
			return counted
		}
		select {
		case <-again.C:
		case <-late:
			t.Errorf("%s is %d, and %d lines tell of it, want as many: %s", noSpaceSum, counted, len(said), said)
			return counted
		}
	}
}

// injected has strace answer system calls, of which its manual tells the
// notation, from now until it is healed.
func injected(what string) func(*testing.T, *entrepot, string) func() {
	calls, _, _ := strings.Cut(what, ":")
	return func(t *testing.T, e *entrepot, _ string) func() {
		t.Helper()
		record := filepath.Join(scratch(t), "strace.txt")
		tracer := start(t, "strace", command(nil, "/usr/bin/strace", "-f", "-p", strconv.Itoa(e.cmd.Process.Pid),
			"-e", "trace="+calls, "-e", "inject="+what, "-o", record))
		tracer.until(t, func() error {
			if text, err := os.ReadFile(tracer.log); err != nil || !strings.Contains(string(text), "attached") {
				return fmt.Errorf("strace says %q, %v, want that it is attached", text, err)
			}
			return nil
		})
		return func() {
			tracer.stop(t)
			if text, err := os.ReadFile(record); err != nil || !strings.Contains(string(text), "(INJECTED)") {
				t.Errorf("nothing was injected: %v", err)
			}
		}
	}
}

// readOnly mounts the directories for content over themselves, to be read only.
func readOnly(t *testing.T, _ *entrepot, cache string) func() {
	t.Helper()
	places := []string{filepath.Join(cache, "ingest"), filepath.Join(cache, "blobs"), filepath.Join(cache, "tags")}
	for _, dir := range places {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for _, dir := range places {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
}
