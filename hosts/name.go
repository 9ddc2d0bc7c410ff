package hosts

import (
	"net/netip"
	"strconv"
	"strings"
)

// authority is "host" or "host:port" in the one form the table compares:
// lower case, no trailing dot, IPv6 in brackets and in its shortest spelling.
type authority struct {
	key  string // host and port as one, "host" alone when there is no port
	host string
	port string // decimal, "" for none
}

// parseAuthority judges text from the network; false means that it cannot be
// an authority. It does not allocate when s is already in canonical form.
func parseAuthority(s string) (authority, bool) {
	host, port, ok := splitPort(s)
	if !ok {
		return authority{}, false
	}
	host, ok = canonicalHost(host)
	if !ok {
		return authority{}, false
	}
	a := authority{key: host, host: host, port: port}
	switch {
	case port == "":
	case len(s) == len(host)+1+len(port) && strings.HasPrefix(s, host):
		a.key = s
	default:
		a.key = host + ":" + port
	}
	return a, true
}

// defaultPort tells whether the port says no more than the scheme does.
func (a authority) defaultPort() bool { return a.port == "443" || a.port == "80" }

// splitPort separates a port. An IPv6 address may stand without brackets when
// no port follows it; with brackets they are kept, for canonicalHost.
func splitPort(s string) (host, port string, ok bool) {
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false
		}
		host, s = s[:end+1], s[end+1:]
		if s == "" {
			return host, "", true
		}
		if s[0] != ':' {
			return "", "", false
		}
		port = s[1:]
	} else {
		colon := strings.IndexByte(s, ':')
		if colon < 0 || colon != strings.LastIndexByte(s, ':') {
			return s, "", true
		}
		host, port = s[:colon], s[colon+1:]
	}
	return host, port, port == "" || validPort(port)
}

// validPort wants the one decimal spelling, so that a port can be compared as
// text: no sign and no leading zero.
func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n != 0 && s[0] != '0' && s[0] != '+'
}

// canonicalHost judges a host without a port: a name, an IPv4 address, or an
// IPv6 address with or without brackets. A zone is refused, because it means
// something on one machine only.
func canonicalHost(s string) (string, bool) {
	bare, bracketed := strings.CutPrefix(s, "[")
	if bracketed || strings.Contains(s, ":") {
		ip, err := netip.ParseAddr(strings.TrimSuffix(bare, "]"))
		if err != nil || !ip.Is6() || ip.Zone() != "" || bracketed != strings.HasSuffix(s, "]") {
			return "", false
		}
		return "[" + ip.String() + "]", true
	}
	s = strings.TrimSuffix(s, ".")
	if !validName(s) {
		return "", false
	}
	return strings.ToLower(s), true
}

// validName judges a DNS name, or an IPv4 address, without a trailing dot.
// The underscore is allowed: service names in Compose files have it. A name
// that ends in a number is an IPv4 address or nothing, as in URLs.
func validName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for rest := s; ; {
		label, more, found := strings.Cut(rest, ".")
		if !validLabel(label) {
			return false
		}
		if !found {
			return !isNumber(label) || isIPv4(s)
		}
		rest = more
	}
}

// validLabel looks at bytes, before anything is lowered: the Kelvin sign, for
// one, has an ASCII letter as its lower case.
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

func isNumber(s string) bool { return strings.Trim(s, "0123456789") == "" }

func isIPv4(s string) bool {
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Is4()
}
