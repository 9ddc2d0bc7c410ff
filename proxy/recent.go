package proxy

import (
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/entrepot/entrepot/cache"
)

// recent holds the manifests that were asked for last, verified and parsed. Without it each hit opens, reads, hashes and parses a file:
// that was 110 of the 150 µs of CPU time that a hit took, over TLS. It is bounded by bytes, since an index may have megabytes.
//
// What is here never differs from its digest, but it may be gone from the store: after a moment the store is asked again, which notes
// the use of the object too.
type recent struct {
	mu    sync.Mutex
	byUse *simplelru.LRU[cache.Digest, remembered]
	bytes int
}

type remembered struct {
	*manifest
	seen time.Time // in the store
}

const (
	recentBytes = 32 << 20
	recentTrust = time.Second // how long the store is not asked again
	recentEach  = 1 << 10     // what an entry takes beside the body
)

func newRecent() *recent {
	m := &recent{}
	// The bound that counts is that of bytes. New errs on a size below one only.
	m.byUse, _ = simplelru.NewLRU(math.MaxInt32, func(_ cache.Digest, old remembered) { m.bytes -= old.weight() })
	return m
}

// weight is about what a manifest takes in memory: a child, parsed, is a third of its text or less.
func (m *manifest) weight() int { return 2*len(m.body) + recentEach }

// get returns nil if d is not here. due tells that it has to be looked for in the store again.
func (m *recent) get(d cache.Digest, now time.Time) (_ *manifest, due bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.byUse.Get(d)
	if !ok {
		return nil, true
	}
	return r.manifest, now.Sub(r.seen) >= recentTrust
}

// put remembers what was found in the store. Nobody changes it any more.
func (m *recent) put(one *manifest, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byUse.Remove(one.digest)
	m.byUse.Add(one.digest, remembered{one, now})
	m.bytes += one.weight()
	for m.bytes > recentBytes {
		m.byUse.RemoveOldest()
	}
}

func (m *recent) drop(d cache.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byUse.Remove(d)
}
