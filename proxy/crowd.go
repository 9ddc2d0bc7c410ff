package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// crowd counts what each client has under way, so that one alone cannot take all there is for everybody. A client is an address, and
// with IPv6 a network of 64 bits, of which one machine may have any address it likes.
//
// Who comes too many waits for a place, in order: a farm behind one address is slowed down by that and not turned away (harbor PR
// #22348: clients told 429 by a cap like this back off for minutes). There may wait as many as may be in.
type crowd struct {
	most     int           // for one client
	patience time.Duration // of who waits
	mu       sync.Mutex
	of       map[netip.Prefix]*guest
	last     place    // who came last, and most likely comes next: not to look for it each time spares a manifest hit a hundredth
	free     []*guest // of clients that have left, to be used again: one that comes and goes costs no allocation
}

// guest is a client that has something under way.
type guest struct {
	places *semaphore.Weighted
	here   int // in, or waiting
}

// crowdPatience is as long as clients surely wait for a header.
const crowdPatience = 20 * time.Second

func newCrowd(most int, patience time.Duration) *crowd {
	return &crowd{most: most, patience: patience, of: map[netip.Prefix]*guest{}}
}

// place is one that a client has taken, by the client's network.
type place struct {
	of    netip.Prefix
	guest *guest
}

// enter takes a place for a client, by its network, and waits for one if need be. False means that there was none to be had. Whoever
// entered has to leave.
func (c *crowd) enter(ctx context.Context, p netip.Prefix) (place, bool) {
	if !p.IsValid() {
		return place{}, true // not IP: whoever may open the socket is trusted
	}
	g := c.arrive(p)
	if g == nil {
		return place{}, false
	}
	if g.places.TryAcquire(1) {
		return place{p, g}, true
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	if g.places.Acquire(ctx, 1) != nil {
		c.part(p, g)
		return place{}, false
	}
	return place{p, g}, true
}

// network is what a client has: its address, or all that IPv6 lets it choose from. It is none where the address is not IP.
func network(addr net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Prefix{}
	}
	return networkOf(at.Addr())
}

func networkOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // errs on a size that the family has not
	return p
}

// arrive notes that a client has one more here, nil if there is no room to wait either.
func (c *crowd) arrive(p netip.Prefix) *guest {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last.guest == nil || c.last.of != p {
		c.meet(p)
	}
	g := c.last.guest
	if g.here >= 2*c.most {
		return nil
	}
	g.here++
	return g
}

// meet makes p's the last guest. The caller holds mu.
func (c *crowd) meet(p netip.Prefix) {
	before, g := c.last, c.of[p]
	if g == nil {
		g = c.welcome()
		c.of[p] = g
	}
	c.last = place{p, g}
	if before.guest != nil && before.guest.here == 0 {
		c.forget(before)
	}
}

// maxFree is how many of those are kept.
const maxFree = 64

// welcome makes a guest, or takes one that is free. The caller holds mu.
func (c *crowd) welcome() *guest {
	last := len(c.free) - 1
	if last < 0 {
		return &guest{places: semaphore.NewWeighted(int64(c.most))}
	}
	g := c.free[last]
	c.free = c.free[:last]
	return g
}

func (c *crowd) part(p netip.Prefix, g *guest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.here--; g.here == 0 && g != c.last.guest {
		c.forget(place{p, g})
	}
}

// forget is for a client that has nothing here. The caller holds mu.
func (c *crowd) forget(at place) {
	delete(c.of, at.of)
	if len(c.free) < maxFree {
		c.free = append(c.free, at.guest) // it has given back all its places
	}
}

func (c *crowd) leave(at place) {
	if at.guest != nil {
		at.guest.places.Release(1)
		c.part(at.of, at.guest)
	}
}
