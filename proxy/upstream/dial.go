package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
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
		addrs, err := c.judge(host, port, found, allow)
		if err != nil {
			return nil, err
		}
		return race(ctx, network, addrs, port)
	}
}

// judge leaves of the addresses that were found those that may be dialled. Our own doors never are, whatever is allowed: what comes
// in by them as if from this machine could do what only this machine may, and would come back for ever.
func (c *Client) judge(host, port string, found []netip.Addr, allow []netip.Prefix) ([]netip.Addr, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %.20q is not a port", host, port)
	}
	var good []netip.Addr
	for _, a := range found {
		if a = canonical(a); c.cfg.OwnDoor != nil && c.cfg.OwnDoor(netip.AddrPortFrom(a, uint16(n))) {
			return nil, fmt.Errorf("%s is at %v, where %w listens: refused", host, a, ErrOurselves)
		}
		if dialable(a, allow) {
			good = append(good, a)
		}
	}
	if len(good) == 0 {
		return nil, fmt.Errorf("%s is at %v, an address of a private or local network: refused; --allow-net permits it", host, found)
	}
	return good, nil
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
