//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"
	"time"
)

// killed shows that kill -9 in the middle of a cold pull leaves nothing
// wrong: after a restart the pull works, and the one after that is a HIT.
func killed(t *testing.T, u *upstream) {
	dir := filepath.Join(scratch(t), "data")
	before := u.BlobBytes()
	t.Run("in the middle", func(t *testing.T) {
		e := startEntrepotIn(t, u, dir)
		done := make(chan error, 1)
		go func() { // ends with the pull, which the kill ends
			_, err := crane(t, e.trusting()...).pull(hubBig)
			done <- err
		}()
		u.untilMoved(t, before+bigLayer/4)
		e.kill(t)
		if err := <-done; err == nil {
			t.Error("the pull was over before the kill: nothing was shown")
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		e := startEntrepotIn(t, u, dir)
		e.warm = true // of what was whole before
		e.pullTwice(t, crane(t, e.trusting()...), "proxy", hubBig)
		t.Logf("the layer of %d bytes took %d from upstream in all", u.big.layers[1].size, u.BlobBytes()-before)
	})
}

// untilMoved waits until the world has sent as many blob bytes.
func (u *upstream) untilMoved(t *testing.T, total int64) {
	t.Helper()
	late, again := time.After(startTimeout), time.NewTicker(time.Millisecond)
	defer again.Stop()
	for u.BlobBytes() < total {
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("upstream sent %d blob bytes, want %d", u.BlobBytes(), total)
		}
	}
}
