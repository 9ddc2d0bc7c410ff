package upstream

import (
	"net"
	"net/netip"
	"slices"
)

// dialable judges an address that is about to be dialled: it is public, or allow is meant for it. An address of a cloud's metadata
// service hands out the machine's own credentials to whoever asks, and lies in networks that people allow for other reasons (fd00::/8):
// it has to be allowed by itself. One that wraps an IPv4 address is only as good as that is.
func dialable(a netip.Addr, allow []netip.Prefix) bool {
	a = canonical(a)
	if inner, ok := wrapped(a); ok && !dialable(inner, allow) {
		return false
	}
	alone := slices.Contains(metadata, a)
	meant := func(p netip.Prefix) bool { return p.Contains(a) && (p.IsSingleIP() || !alone) }
	return slices.ContainsFunc(allow, meant) || !alone && public(a) && !ownAddress(a)
}

// canonical is a in the one form that can be compared.
func canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// public tells whether somebody else's public server can live at a. For IPv6 it is what IANA has given out as such, and not what is left
// when the rest is taken away: there is much rest, and it grows.
func public(a netip.Addr) bool {
	if a.Is6() && !globalUnicast.Contains(a) {
		return false
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(nowhere, func(p netip.Prefix) bool { return p.Contains(a) })
}

// ownAddress tells whether a is an address of this machine. A public one is reached from here past the firewall that stands before it.
func ownAddress(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false // a sandbox without netlink; what is private is refused anyway
	}
	return slices.ContainsFunc(addrs, func(own net.Addr) bool {
		p, err := netip.ParsePrefix(own.String())
		return err == nil && canonical(p.Addr()) == a
	})
}

// wrapped is the IPv4 address inside one of IPv6: behind NAT64 (RFC 6052) and 6to4 (RFC 3056) it is where the connection ends.
func wrapped(a netip.Addr) (inner netip.Addr, ok bool) {
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return inner, false
}

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour     = netip.MustParsePrefix("2002::/16")
)

// nowhere lists what no public registry lives at, beyond what netip's predicates know (IANA's registries of special-purpose addresses).
var nowhere = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // shared address space of providers
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation, and the next two
	netip.MustParsePrefix("198.51.100.0/24"), //
	netip.MustParsePrefix("203.0.113.0/24"),  //
	netip.MustParsePrefix("192.88.99.0/24"),  // relays of 6to4
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarking
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast
	netip.MustParsePrefix("2001::/23"),       // protocol assignments: Teredo, benchmarking, ORCHID
	netip.MustParsePrefix("2001:db8::/32"),   // documentation, and the next
	netip.MustParsePrefix("3fff::/20"),       //
	sixToFour,
}

// metadata lists where clouds tell a machine who it is.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // most of them
	netip.MustParseAddr("169.254.170.2"),   // Amazon's containers, and the next
	netip.MustParseAddr("169.254.170.23"),  //
	netip.MustParseAddr("fd00:ec2::254"),   // Amazon, and its containers
	netip.MustParseAddr("fd00:ec2::23"),    //
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("168.63.129.16"),   // Azure, at a public address
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("169.254.42.42"),   // Scaleway, and by IPv6
	netip.MustParseAddr("fd00:42::42"),     //
}
