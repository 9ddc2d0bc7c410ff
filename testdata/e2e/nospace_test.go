//go:build e2e

package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/entrepot/entrepot/testdata/world"
)

const (
	smallDisk  = "64m"
	atOnce     = 4 // clients
	noSpaceSum = "entrepot_uncached_nospace_total"
)

// noSpace shows that a disk that is too small fails no pull: a layer of four
// times its size goes through uncached to all who ask, which is said once a
// minute, and what is small is cached as ever. Where upstream tells no length
// and the limit is more than there is, it turns out in mid-transfer.
func noSpace(t *testing.T, u *upstream) {
	t.Run("limit", func(t *testing.T) { tooSmall(t, u) })
	t.Run("mid-transfer", func(t *testing.T) {
		untold := u.Host("production.cloudflare.docker.com").Fault(world.Fault{Kind: world.Chunked, Times: -1})
		t.Cleanup(untold.Clear)
		tooSmall(t, u, "--max-size", "10GiB")
	})
}

func tooSmall(t *testing.T, u *upstream, flags ...string) {
	dir := filepath.Join(scratch(t), "small-disk")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+smallDisk); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // goes with the namespace if not now
	e := startEntrepotIn(t, u, dir, flags...)
	c := crane(t, e.trusting()...)
	e.pullTwice(t, c, "proxy", hubSmall)
	e.bigAtOnce(t)
	// Clients that come while it is being found out share that; who comes
	// later makes it be found out again.
	if got := e.tells(t, "keep "+u.big.layers[1].digest, true); got > atOnce {
		t.Errorf("it is found out %d times for %d clients, want once at most for each", got, atOnce)
	}
	e.pullTwice(t, c, "proxy", quayImage)
}

// bigAtOnce has clients read the large layer at once, by two doors, and looks
// at each byte.
func (e *entrepot) bigAtOnce(t *testing.T) {
	t.Helper()
	big := e.up.big.layers[1]
	var all sync.WaitGroup
	errs := make([]error, atOnce)
	for i := range atOnce {
		all.Go(func() {
			if i%2 == 0 {
				errs[i] = digestFrom(big.digest, func(w io.Writer) error {
					cmd := command(e.trusting(), program("crane"), "blob", "docker.io/library/big@"+big.digest)
					cmd.Stdout = w
					return finish(cmd)
				})
				return
			}
			errs[i] = digestFrom(big.digest, func(w io.Writer) error {
				return copyURL(w, "http://"+mirrorAddr+"/v2/library/big/blobs/"+big.digest)
			})
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("%d pulls at once of a layer that the disk does not take: %v", atOnce, err)
	}
}

func digestFrom(want string, read func(io.Writer) error) error {
	h := sha256.New()
	if err := read(h); err != nil {
		return err
	}
	if got := digestOf(h); got != want {
		return fmt.Errorf("got %s, want %s", got, want)
	}
	return nil
}

func copyURL(w io.Writer, url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// metric is a number that the admin door tells; of one with labels the sum.
func (e *entrepot) metric(t testing.TB, name string) (total float64) {
	t.Helper()
	_, text := get(t, "http://"+adminAddr+"/metrics")
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(rest)
		n, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			t.Fatalf("metric %q: %v", line, err)
		}
		total += n
	}
	return total
}

// lines are those of the log that have a text in them.
func (e *entrepot) lines(t testing.TB, text string) (found []string) {
	t.Helper()
	all, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(all)) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}
