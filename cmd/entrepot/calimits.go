package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/entrepot/entrepot/ca"
	"github.com/entrepot/entrepot/hosts"
)

// caLimits are the hosts that the doors need certificates for: the registries, and this server itself where
// a door's own certificate is by the CA.
func (c config) caLimits() (ca.Limits, error) {
	table, err := c.table()
	if err != nil {
		return ca.Limits{}, err
	}
	var l ca.Limits
	for _, r := range intercepted(table) {
		for _, h := range r.Hosts {
			domain := bareHost(h[strings.LastIndexByte(h, '*')+1:])
			if ip, err := netip.ParseAddr(domain); err == nil {
				l.Addrs = append(l.Addrs, ip)
			} else {
				l.Names = append(l.Names, strings.TrimPrefix(domain, "."))
			}
		}
	}
	for _, h := range c.namesByCA() {
		if ip, err := netip.ParseAddr(h); err == nil {
			l.Addrs = append(l.Addrs, ip)
		} else {
			l.Names = append(l.Names, h)
		}
	}
	l.Names = topmost(l.Names)
	slices.SortFunc(l.Addrs, netip.Addr.Compare)
	l.Addrs = slices.Compact(l.Addrs)
	if !l.Any() {
		return l, withHint("leave out --constrain", "--constrain: no registry is intercepted, so there is nothing to limit the CA to")
	}
	return l, nil
}

// intercepted are the registries whose TLS ends here. One that is refused is told so in its own name.
func intercepted(table *hosts.Table) []hosts.Registry {
	return slices.DeleteFunc(table.Registries(), func(r hosts.Registry) bool { return r.Mode == hosts.Tunnel })
}

// bareHost is a listed host without its port and without the brackets of an address.
func bareHost(h string) string {
	if name, _, err := net.SplitHostPort(h); err == nil {
		return name
	}
	return strings.Trim(h, "[]")
}

// topmost drops names below others of the list: a name that is permitted permits all below it.
func topmost(names []string) []string {
	slices.SortFunc(names, func(a, b string) int { return len(a) - len(b) })
	var top []string
	for _, n := range names {
		if !slices.ContainsFunc(top, func(t string) bool { return n == t || strings.HasSuffix(n, "."+t) }) {
			top = append(top, n)
		}
	}
	slices.Sort(top)
	return top
}

func hostsOf(l ca.Limits) []string {
	list := slices.Clone(l.Names)
	for _, a := range l.Addrs {
		list = append(list, a.String())
	}
	return list
}

// endIsNear is when people are told that the CA ends: time enough for all clients to learn the next one.
const endIsNear = 30 * 24 * time.Hour

// cautions are what will go wrong with the CA, or goes wrong now with a single registry. They are said at
// the start, once a day, at a reload, and by the commands that look.
func cautions(now ca.Public, table *hosts.Table, at time.Time) []string {
	var all []string
	if left := now.End().Sub(at); left < endIsNear {
		all = append(all, fmt.Sprintf("the CA ends on %s (%s): clients refuse the proxy and tls doors from then on; %s",
			now.End().Format(time.DateOnly), inDays(left), remedy(now)))
	}
	for _, r := range intercepted(table) {
		var names []string
		for _, h := range r.Hosts {
			names = append(names, bareHost(strings.ReplaceAll(h, "*", "any"))) // a host of the family
		}
		if out := now.Outside(names); len(out) > 0 {
			all = append(all, fmt.Sprintf("registry %s: the CA is limited to other hosts and may not sign for %s: clients would refuse the proxy and tls doors; %s",
				r.Name, strings.Join(out, ", "), remedy(now)))
		}
	}
	return all
}

func inDays(left time.Duration) string {
	switch days := int(left.Hours() / 24); {
	case left <= 0:
		return "it has ended"
	case days == 1:
		return "in 1 day"
	default:
		return fmt.Sprintf("in %d days", days)
	}
}

// remedy is the next step towards another root.
func remedy(now ca.Public) string {
	if !now.Ours() {
		return fmt.Sprintf("it is your own: put another one in place of %s and its key, and send SIGHUP", now.Roots[0].File)
	}
	return now.Phase.Next()
}

// warn tells cautions to the one who gave the command.
func (p program) warn(cautions []string) {
	for _, text := range cautions {
		fmt.Fprintf(p.stderr, "entrepot: warning: %s\n", text)
	}
}
