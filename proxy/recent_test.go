package proxy

import (
	"fmt"
	"testing"
	"time"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/testdata/world"
)

// TestRecentEvicted: what the store has no more is not served from memory for longer than a moment.
func TestRecentEvicted(t *testing.T) {
	st := newSite(t)
	clock := st.clock()
	p := st.world.Push(t, "registry.k8s.io/app:1", world.Image(t, 1, 1000))
	d, err := cache.ParseDigest(p.Digest)
	if err != nil {
		t.Fatal(err)
	}
	path := st.mirror("/v2/registry.k8s.io/app/manifests/" + p.Digest)
	word := func() string {
		resp, _ := st.get(doorMirror, path)
		return resp.Header.Get("Cache-Status")
	}
	st.get(doorMirror, path)
	st.settled()
	for _, row := range []struct {
		what, want string
		do         func()
	}{
		{"held", cacheStatus[cacheHit], func() {}},
		{"removed just now", cacheStatus[cacheHit], func() {
			if err := st.store.Remove(d); err != nil {
				t.Fatal(err)
			}
		}},
		{"a moment later", cacheStatus[cacheMiss], func() { clock.advance(recentTrust) }},
	} {
		row.do()
		if got := word(); got != row.want {
			t.Errorf("%s: got %q, want %q", row.what, got, row.want)
		}
	}
}

// TestRecentBound: many manifests take no more memory than a few.
func TestRecentBound(t *testing.T) {
	m, now := newRecent(), time.Unix(1, 0)
	var digests []cache.Digest
	const size = 1 << 20
	for i := range 3 * recentBytes / size {
		one := &manifest{digest: cache.DigestOf(fmt.Append(nil, i)), body: make([]byte, size)}
		digests = append(digests, one.digest)
		m.put(one, now)
		m.put(one, now) // the same again is not counted twice
	}
	held := 0
	for _, d := range digests {
		if one, _ := m.get(d, now); one != nil {
			held += one.weight()
		}
	}
	if held == 0 || held > recentBytes || held != m.bytes {
		t.Errorf("got %d bytes by %d counted, want the same and at most %d", held, m.bytes, recentBytes)
	}
	last := digests[len(digests)-1]
	if one, due := m.get(last, now); one == nil || due {
		t.Errorf("the last one: got %v, due %v, want it, and not due", one, due)
	}
	if _, due := m.get(last, now.Add(recentTrust)); !due {
		t.Error("a moment later: got it, want it to be due")
	}
}
