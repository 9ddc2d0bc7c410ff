package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

// gate judges names and passwords. A bcrypt comparison takes up to a second of CPU, and a pull asks twenty times, so a yes is
// remembered: as a keyed hash of name, password and the hash they were compared with. What it stands for never changes; when the file
// changes, the question does. A no is not remembered, lest strangers fill the memory.
type gate struct {
	users  atomic.Pointer[Users] // nil: nobody is asked
	macs   *macs
	passed *lru.Cache[[sha256.Size]byte, struct{}]
	flight singleflight.Group
	slots  chan struct{} // one for each comparison under way

	mu      sync.Mutex
	waiting map[netip.Prefix]int // comparisons under way and to come, by a client's network; the zero one is of who has no address
}

const (
	maxPassed  = 1 << 12
	maxWaiting = 8                // of one client, so that who tries passwords does not hold up the others
	maxQueue   = 10 * time.Second // how long a stranger waits for a slot when others keep all busy
)

// errBusy is no judgement: the gate is busy with passwords that were not seen before.
var errBusy = errors.New("too many passwords are being checked: try again")

// newGate leaves half of the processors to those who are in already.
func newGate(u *Users) *gate {
	g := &gate{macs: newMACs(), slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), waiting: map[netip.Prefix]int{}}
	g.passed, _ = lru.New[[sha256.Size]byte, struct{}](maxPassed) // errs on a size below one only
	g.users.Store(u)
	return g
}

// check tells whether this is the password of that name. Callers with the same question share a comparison.
func (g *gate) check(ctx context.Context, client, name, password string) (bool, error) {
	u := g.users.Load()
	if u == nil {
		return false, nil
	}
	hash, known := u.hash(name)
	sum := g.sum(name, password, hash)
	if g.passed.Contains(sum) {
		g.passed.Get(sum) // it was used
		return true, nil
	}
	return g.ask(ctx, client, password, sum, hash, known)
}

// ask has a password compared that was not seen before.
func (g *gate) ask(ctx context.Context, client, password string, sum [sha256.Size]byte, hash string, known bool) (bool, error) {
	done := g.flight.DoChan(string(sum[:]), func() (any, error) { // its goroutine ends with the comparison; the callers wait
		if !g.queue(client, 1) {
			return false, errBusy
		}
		defer g.queue(client, -1)
		return g.compare(sum, hash, password, known)
	})
	select {
	case res := <-done:
		return res.Val.(bool), res.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// queue counts a client's comparisons in and out. False means that it has too many.
func (g *gate) queue(client string, n int) bool {
	var from netip.Prefix
	if a, err := netip.ParseAddr(client); err == nil {
		from = networkOf(a)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if n > 0 && g.waiting[from] >= maxWaiting {
		return false
	}
	if g.waiting[from] += n; g.waiting[from] == 0 {
		delete(g.waiting, from)
	}
	return true
}

// compare does for an unknown name what it does for a known one.
func (g *gate) compare(sum [sha256.Size]byte, hash string, password string, known bool) (bool, error) {
	wait := time.NewTimer(maxQueue)
	defer wait.Stop()
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-wait.C:
		return false, errBusy
	}
	ok := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil && known
	if ok {
		g.passed.Add(sum, struct{}{})
	}
	return ok, nil
}

// sum is what is remembered of a question. A name has no NUL in it that could shift the parts: it came out of the file, or the
// answer is no and nothing is remembered.
func (g *gate) sum(parts ...string) [sha256.Size]byte { return g.macs.of(0, parts...) }
