package proxy

import (
	"net"
	"net/netip"
	"slices"
)

// claim remembers where a listener is, so that nothing is ever dialled there. The caller holds the lock.
func (s *Server) claim(l net.Listener) {
	if at, err := netip.ParseAddrPort(l.Addr().String()); err == nil { // a Unix socket cannot be dialled by name
		s.own = append(s.own, netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port()))
	}
}

// ownDoor tells whether a connection to there would come in by one of our doors.
func (s *Server) ownDoor(to netip.AddrPort) bool {
	s.mu.Lock()
	doors := slices.Clone(s.own)
	s.mu.Unlock()
	return slices.ContainsFunc(doors, func(door netip.AddrPort) bool {
		switch {
		case door.Port() != to.Port():
			return false
		case to.Addr().IsUnspecified(): // the kernel takes it for this machine
			return true
		case door.Addr().IsUnspecified():
			return here(to.Addr())
		}
		return door.Addr() == to.Addr()
	})
}

// here tells whether an address is this machine's: one of an interface, or any at all of a network that lies on loopback.
func here(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return true // not known: rather a refusal than a circle
	}
	for _, i := range interfaces {
		addrs, _ := i.Addrs() // an interface that is gone has none
		for _, addr := range addrs {
			p, err := netip.ParsePrefix(addr.String())
			if err == nil && (p.Addr() == a || i.Flags&net.FlagLoopback != 0 && p.Contains(a)) {
				return true
			}
		}
	}
	return false
}
