package ca

import (
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Limits are the hosts that a root is good for (name constraints, RFC 5280
// section 4.2.1.10). Clients refuse its leaves for all others, so a stolen key
// is of no use against them. The zero value is no limits.
type Limits struct {
	Names []string     // DNS names; each permits all names below it too
	Addrs []netip.Addr // IP addresses; none means that none may be signed
}

// Any tells whether there are limits at all.
func (l Limits) Any() bool { return len(l.Names) > 0 || len(l.Addrs) > 0 }

// apply writes the limits into a root. They are critical: a client that does
// not know them must not accept the root. What is permitted of one kind of name
// says nothing of another, so addresses get their own.
func (l Limits) apply(tmpl *x509.Certificate) {
	if !l.Any() {
		return
	}
	tmpl.PermittedDNSDomainsCritical = true
	tmpl.PermittedDNSDomains = l.Names
	if len(l.Names) == 0 {
		tmpl.ExcludedDNSDomains = []string{""} // all
	}
	for _, a := range l.Addrs {
		tmpl.PermittedIPRanges = append(tmpl.PermittedIPRanges, &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())})
	}
	if len(l.Addrs) == 0 {
		tmpl.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
	}
}

// Limits returns what a root is limited to, as far as it was made with Limits.
func (r Root) Limits() Limits {
	l := Limits{Names: r.Cert.PermittedDNSDomains}
	for _, n := range r.Cert.PermittedIPRanges {
		if a, ok := netip.AddrFromSlice(n.IP); ok {
			l.Addrs = append(l.Addrs, a)
		}
	}
	return l
}

// Outside returns those of the hosts for which clients would refuse a leaf,
// because a certificate of the chain is limited to others. Without limits that
// is none.
func (p Public) Outside(hosts []string) []string {
	var out []string
	for _, host := range hosts {
		name, err := canonicalName(host)
		if err != nil || slices.ContainsFunc(p.chain, func(c *x509.Certificate) bool { return !permits(c, name) }) {
			out = append(out, host)
		}
	}
	return out
}

// permits reads the name constraints of one certificate as crypto/x509 does.
func permits(c *x509.Certificate, name string) bool {
	if ip := net.ParseIP(name); ip != nil {
		within := func(n *net.IPNet) bool { return n.Contains(ip) }
		return !slices.ContainsFunc(c.ExcludedIPRanges, within) &&
			(len(c.PermittedIPRanges) == 0 || slices.ContainsFunc(c.PermittedIPRanges, within))
	}
	below := func(domain string) bool { return isBelow(name, domain) }
	return !slices.ContainsFunc(c.ExcludedDNSDomains, below) &&
		(len(c.PermittedDNSDomains) == 0 || slices.ContainsFunc(c.PermittedDNSDomains, below))
}

// isBelow tells whether a constraint on domain speaks of name: of the domain
// itself and all below it, or only of what is below it where a dot leads.
func isBelow(name, domain string) bool {
	domain = strings.ToLower(domain)
	if domain == "" || name == domain {
		return true
	}
	return strings.HasSuffix(name, "."+strings.TrimPrefix(domain, "."))
}
