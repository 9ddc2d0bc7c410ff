package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Dial opens a connection to addr, "host:port", under the same guard as every request of r: for tunnels.
func (c *Client) Dial(ctx context.Context, r hosts.Registry, addr string) (net.Conn, error) {
	return c.dialer(slices.Concat(c.cfg.AllowNets, r.AllowNets))(ctx, "tcp", addr)
}

// dialer resolves names itself, so that an override in /etc/hosts does not lead back to us, and judges each address after
// resolution, when no later answer of a name server can change it.
func (c *Client) dialer(allow []netip.Prefix) dialFunc {
	if c.cfg.Dial != nil {
		return c.cfg.Dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		found, err := c.resolve(ctx, host)
		if err != nil {
			return nil, err
		}
		addrs := slices.DeleteFunc(slices.Clone(found), func(a netip.Addr) bool { return !dialable(a, allow) })
		if len(addrs) == 0 {
			return nil, fmt.Errorf("%s is at %v, an address of a private or local network: refused; --allow-net permits it", host, found)
		}
		return race(ctx, network, addrs, port)
	}
}

func (c *Client) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if c.cfg.Resolve != nil {
		return c.cfg.Resolve(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// nowhere lists what no public registry lives at, beyond what netip's predicates know: shared address space (RFC 6598), this
// network (RFC 1122), protocol assignments and documentation, benchmarking, reserved, and the IPv6 forms that wrap an IPv4 address
// (NAT64 RFC 6052 and 8215, SIIT RFC 2765, 6to4, Teredo), behind which a private one could hide.
var nowhere = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("::/96"), netip.MustParsePrefix("::ffff:0:0:0/96"), netip.MustParsePrefix("fec0::/10"),
}

func dialable(a netip.Addr, allow []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	inside := func(p netip.Prefix) bool { return p.Contains(a) }
	if slices.ContainsFunc(allow, inside) {
		return true
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(nowhere, inside)
}

// headStart is how long one address is tried before the next one joins the race (RFC 8305, section 5).
const headStart = 250 * time.Millisecond

// race dials the addresses in order, each with a head start over the next, and keeps the first connection.
func race(ctx context.Context, network string, addrs []netip.Addr, port string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	results := make(chan dialled, len(addrs))
	var d net.Dialer
	dial := func(a netip.Addr) {
		conn, err := d.DialContext(ctx, network, net.JoinHostPort(a.String(), port))
		results <- dialled{conn, err}
	}
	started, failed := 0, []error(nil)
	next := time.NewTimer(0)
	defer next.Stop()
	for len(failed) < len(addrs) {
		select {
		case <-next.C:
			if started < len(addrs) {
				go dial(addrs[started]) // ends with ctx; its result has room in results
				started++
				next.Reset(headStart)
			}
		case r := <-results:
			if r.err == nil {
				go closeLosers(results, started-len(failed)-1)
				return r.conn, nil
			}
			failed = append(failed, r.err)
			next.Reset(0)
		}
	}
	return nil, errors.Join(failed...)
}

type dialled struct {
	conn net.Conn
	err  error
}

// closeLosers waits for the dials that lost the race, which end with its context, and closes what they got.
func closeLosers(results <-chan dialled, n int) {
	for range n {
		if r := <-results; r.err == nil {
			r.conn.Close()
		}
	}
}
