package hosts

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Resolver turns host names into addresses by asking DNS servers itself. It
// never reads /etc/hosts: net.Resolver does so even when it is given a dial
// function of its own, and an override there would send the proxy to itself.
//
// Answers are kept for their time to live; concurrent lookups of one name share
// one question of each type. When no server answers, what was known within the
// last hour still holds.
type Resolver struct {
	fixed []netip.AddrPort // the operator's servers; none: those of conf
	conf  *resolvConf

	timeout  time.Duration // of one question to one server
	total    time.Duration // of one lookup
	grace    time.Duration // for the second type when the first has addresses
	patience time.Duration // for new addresses when there are stale ones
	minTTL   time.Duration
	maxTTL   time.Duration
	absent   time.Duration // the longest time to believe in "no such host"
	retry    time.Duration // the time to the next try after a failure
	stale    time.Duration // how long addresses hold beyond their time
	now      func() time.Time

	outages outages

	mu      sync.Mutex
	kept    *answerCache
	flights map[string]*flight
}

// flight is a lookup under way.
type flight struct {
	done chan struct{} // closed when result is there
	kept answer        // written before done is closed
}

// NewResolver makes a resolver that asks the given servers, each an IP address
// with or without a port. Without any it asks all nameservers of
// /etc/resolv.conf, and follows the file as it changes. Search domains are not
// applied.
func NewResolver(servers []string) (*Resolver, error) {
	r := &Resolver{
		conf: &resolvConf{
			path:  "/etc/resolv.conf",
			real:  "/run/systemd/resolve/resolv.conf",
			every: 5 * time.Second,
		},
		timeout:  2 * time.Second,
		total:    15 * time.Second,
		grace:    250 * time.Millisecond,
		patience: 1800 * time.Millisecond,
		minTTL:   5 * time.Second,
		maxTTL:   5 * time.Minute,
		absent:   30 * time.Second,
		retry:    2 * time.Second,
		stale:    time.Hour,
		now:      time.Now,
		outages:  outages{hold: 30 * time.Second},
		kept:     newAnswerCache(4096),
		flights:  map[string]*flight{},
	}
	for _, s := range servers {
		ap, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(r.fixed, ap) {
			r.fixed = append(r.fixed, ap)
		}
	}
	return r, nil
}

// Lookup returns the addresses of a host, IPv4 before IPv6, each family in the
// server's order. An IP address answers itself, and localhost is this machine
// whatever a server says (RFC 6761, section 6.3). The end of ctx ends this call,
// not the lookup for others who wait for the same name. The error wraps
// ErrNotFound when a server says that there is nothing. The slice is the
// caller's.
func (r *Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(trimBrackets(name)); err == nil {
		return []netip.Addr{ip.Unmap()}, nil
	}
	host, ok := canonicalHost(name)
	if !ok {
		return nil, fmt.Errorf("resolve %q: not a host name", name)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	known, f := r.join(host)
	if f == nil {
		return known.result()
	}
	// Waiting for dead servers is pointless when there is something to go on
	// with; RFC 8767 gives the figure.
	var enough <-chan time.Time
	if r.usable(known) {
		timer := time.NewTimer(r.patience)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-f.done:
		return f.kept.result()
	case <-enough:
		return known.result()
	case <-ctx.Done():
		return nil, fmt.Errorf("resolve %s: %w", host, ctx.Err())
	}
}

func trimBrackets(s string) string {
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		return s[1 : len(s)-1]
	}
	return s
}

// join returns a fresh answer, or else the lookup that is bringing one, with
// what is known of old.
func (r *Resolver) join(host string) (answer, *flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.kept.get(host)
	if known.freshAt(r.now()) {
		return known, nil
	}
	f := r.flights[host]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		r.flights[host] = f
		// Its callers wait for it on done. It belongs to none of them, so it
		// has a deadline of its own and ends by itself.
		go r.fly(f, host, known)
	}
	return known, f
}

// usable tells whether old addresses may stand in for new ones.
func (r *Resolver) usable(a answer) bool {
	return len(a.addrs) > 0 && r.now().Before(a.fresh.Add(r.stale))
}

// fly looks host up and hands the answer to everybody who waits.
func (r *Resolver) fly(f *flight, host string, known answer) {
	ctx, cancel := context.WithTimeout(context.Background(), r.total)
	defer cancel()
	a, failed := r.resolve(ctx, host)
	if failed && r.usable(known) {
		a = known
		a.held = r.now().Add(r.retry)
	}
	r.mu.Lock()
	f.kept = a
	r.kept.put(host, a)
	delete(r.flights, host)
	r.mu.Unlock()
	close(f.done)
}

// resolve asks for both types at once and returns when both are settled.
func (r *Resolver) resolve(ctx context.Context, host string) (a answer, failed bool) {
	servers := r.fixed
	if len(servers) == 0 {
		var err error
		if servers, err = r.conf.nameservers(r.now()); err != nil {
			return r.failure(fmt.Errorf("resolve %s: %w", host, err)), true
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v4, v6 := make(chan found, 1), make(chan found, 1)
	// Both are waited for below; cancel ends them at once.
	go func() { v4 <- r.ask(ctx, servers, host, dns.TypeA) }()
	go func() { v6 <- r.ask(ctx, servers, host, dns.TypeAAAA) }()
	var four, six found
	select {
	case four = <-v4:
		six = r.second(four, v6, cancel)
	case six = <-v6:
		four = r.second(six, v4, cancel)
	}
	return r.merge(host, four, six)
}

// second waits for the other type. There are servers that never answer AAAA:
// when the first has addresses, the other gets only a short grace.
func (r *Resolver) second(first found, other <-chan found, cancel func()) found {
	if len(first.addrs) > 0 {
		timer := time.AfterFunc(r.grace, cancel)
		defer timer.Stop()
	}
	return <-other
}

// merge makes one answer of two. Only when both types are known to be empty is
// the name not found.
func (r *Resolver) merge(host string, four, six found) (a answer, failed bool) {
	a.addrs = append(four.addrs, six.addrs...)
	if len(a.addrs) > 0 {
		ttl := r.maxTTL
		for _, f := range []found{four, six} {
			switch {
			case f.failed:
				ttl = 0 // half an answer holds for the shortest time
			case len(f.addrs) > 0:
				ttl = min(ttl, f.ttl)
			}
		}
		a.fresh = r.now().Add(max(ttl, r.minTTL))
		return a, false
	}
	e := &lookupError{name: host}
	for _, f := range []found{four, six} {
		if f.failed || !four.failed && !six.failed {
			e.add(f.attempts)
		}
	}
	if four.failed || six.failed {
		return r.failure(e), true
	}
	ttl := min(four.ttl, six.ttl, r.absent)
	return answer{err: e, fresh: r.now().Add(max(ttl, r.minTTL))}, false
}

// failure is kept for a moment, so that a crowd does not ask again one by one.
func (r *Resolver) failure(err error) answer {
	return answer{err: err, fresh: r.now().Add(r.retry)}
}
