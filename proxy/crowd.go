package proxy

import (
	"net/netip"
	"sync"
)

// crowd counts what each client has under way, so that one alone cannot take all there is for everybody. A client is an address, and
// with IPv6 a network of 64 bits, of which one machine may have any address it likes.
type crowd struct {
	most int // for one client
	mu   sync.Mutex
	of   map[netip.Prefix]int
}

func newCrowd(most int) *crowd { return &crowd{most: most, of: map[netip.Prefix]int{}} }

// place is one that a client has taken, by the client's network.
type place netip.Prefix

// enter takes a place for a client, by its address with a port. False means that it has all it may have. Whoever entered has to leave.
func (c *crowd) enter(remote string) (place, bool) {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return place{}, true // not IP: whoever may open the socket is trusted
	}
	a, bits := at.Addr().Unmap().WithZone(""), 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // errs on a size that the family has not
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[p] >= c.most {
		return place{}, false
	}
	c.of[p]++
	return place(p), true
}

func (c *crowd) leave(at place) {
	p := netip.Prefix(at)
	if !p.IsValid() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[p]--; c.of[p] == 0 {
		delete(c.of, p)
	}
}
