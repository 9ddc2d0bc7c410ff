package hosts

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// maxHops bounds a chain of CNAMEs.
const maxHops = 8

// part is what one message says about a name and a type: addresses, or where
// to ask on, or, with neither, that there is nothing.
type part struct {
	addrs []netip.Addr
	next  string // the end of a chain of CNAMEs that the message leaves open
	ttl   time.Duration
}

// readAnswer follows the CNAMEs of a message to the addresses at their end.
// Records of other names are none of our business and not looked at.
func readAnswer(m *dns.Msg, name string, qtype uint16) part {
	name = dns.Fqdn(name)
	ttl := uint32(1<<32 - 1)
	asked := name
	for range maxHops {
		target, t, ok := cname(m, name)
		if !ok {
			break
		}
		name, ttl = target, min(ttl, t)
	}
	p := part{}
	for _, rr := range m.Answer {
		ip, ok := address(rr, qtype)
		if ok && strings.EqualFold(rr.Header().Name, name) && !slices.Contains(p.addrs, ip) {
			p.addrs = append(p.addrs, ip)
			ttl = min(ttl, rr.Header().Ttl)
		}
	}
	if len(p.addrs) == 0 {
		start := soa(m)
		switch {
		case m.Rcode == dns.RcodeNameError || name == asked && start == nil:
			ttl = negativeTTL(start)
		case start == nil:
			p.next = name
		default:
			ttl = min(ttl, negativeTTL(start))
		}
	}
	p.ttl = time.Duration(ttl) * time.Second
	return p
}

// cname finds where name points to.
func cname(m *dns.Msg, name string) (target string, ttl uint32, ok bool) {
	for _, rr := range m.Answer {
		if c, is := rr.(*dns.CNAME); is && strings.EqualFold(c.Hdr.Name, name) {
			return c.Target, c.Hdr.Ttl, true
		}
	}
	return "", 0, false
}

// address takes the address out of a record of the type asked for.
func address(rr dns.RR, qtype uint16) (netip.Addr, bool) {
	var raw []byte
	switch rr := rr.(type) {
	case *dns.A:
		if qtype == dns.TypeA {
			raw = rr.A.To4()
		}
	case *dns.AAAA:
		if qtype == dns.TypeAAAA {
			raw = rr.AAAA
		}
	}
	ip, ok := netip.AddrFromSlice(raw)
	return ip.Unmap(), ok
}

// soa is the record with which a server says that it is sure of a "nothing".
func soa(m *dns.Msg) *dns.SOA {
	for _, rr := range m.Ns {
		if s, ok := rr.(*dns.SOA); ok {
			return s
		}
	}
	return nil
}

// negativeTTL is how long "nothing" holds, by RFC 2308.
func negativeTTL(s *dns.SOA) uint32 {
	if s == nil {
		return 0
	}
	return min(s.Hdr.Ttl, s.Minttl)
}
