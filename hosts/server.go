package hosts

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const dnsPort = 53

// systemdStub is the address of systemd-resolved's stub. It answers from
// /etc/hosts, which is what must not happen here.
var systemdStub = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 53}), dnsPort)

// parseServer reads the address of a DNS server, with or without a port, and
// with or without brackets and zone if it is IPv6.
func parseServer(s string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil && ap.Port() != 0 {
		return ap, nil
	}
	bare := s
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		bare = s[1 : len(s)-1]
	}
	if ip, err := netip.ParseAddr(bare); err == nil {
		return netip.AddrPortFrom(ip, dnsPort), nil
	}
	return netip.AddrPort{}, fmt.Errorf("DNS server %q is not an IP address: write it as 1.1.1.1, 1.1.1.1:53 or [::1]:53", s)
}

// parseResolvConf returns all nameservers of a resolv.conf, in order. Lines
// that cannot be read are passed over, as the C library does; search domains
// and options do not concern us, because registries have full names.
func parseResolvConf(text string) []netip.AddrPort {
	var servers []netip.AddrPort
	for line := range strings.Lines(text) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if ap, err := parseServer(words[1]); err == nil && !slices.Contains(servers, ap) {
			servers = append(servers, ap)
		}
	}
	return servers
}

// resolvConf follows the nameservers of this machine as they change.
type resolvConf struct {
	path  string
	real  string        // what stands behind systemd-resolved's stub
	every time.Duration // how often the files are looked at

	mu      sync.Mutex
	read    time.Time
	servers []netip.AddrPort
}

// nameservers returns the servers of the file as it is now, or was a few
// seconds ago. A file that is missing or empty for a moment, as while it is
// being replaced, leaves the last servers in force.
//
// The file is read, not only looked at: it is short, and one that was changed
// twice within the clock's grain has the same time and often the same size.
func (c *resolvConf) nameservers(now time.Time) ([]netip.AddrPort, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now.Sub(c.read); c.servers != nil && age >= 0 && age < c.every {
		return c.servers, nil
	}
	c.read = now
	servers, err := c.load()
	if err == nil {
		c.servers = servers
	}
	if c.servers == nil {
		return nil, err
	}
	return c.servers, nil
}

func (c *resolvConf) load() ([]netip.AddrPort, error) {
	text, err := os.ReadFile(c.path)
	if err != nil {
		return nil, fmt.Errorf("%w: name a DNS server in the configuration", err)
	}
	servers := parseResolvConf(string(text))
	if len(servers) == 0 {
		return nil, errors.New(c.path + " has no nameserver: name a DNS server in the configuration")
	}
	if !slices.Equal(servers, []netip.AddrPort{systemdStub}) {
		return servers, nil
	}
	if text, err = os.ReadFile(c.real); err == nil {
		if behind := parseResolvConf(string(text)); len(behind) > 0 {
			return behind, nil
		}
	}
	return servers, nil
}

// outages remembers which servers did not answer a short time ago, so that a
// dead first server is waited for once and not by every lookup.
type outages struct {
	hold time.Duration

	mu    sync.Mutex
	since map[netip.AddrPort]time.Time
}

// note records how a server did.
func (o *outages) note(server netip.AddrPort, dead bool, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !dead {
		delete(o.since, server)
		return
	}
	if o.since == nil {
		o.since = map[netip.AddrPort]time.Time{}
	}
	for s, at := range o.since {
		if now.Sub(at) >= o.hold {
			delete(o.since, s) // servers that have left resolv.conf too
		}
	}
	o.since[server] = now
}

// order returns the servers with those behind that are held to be dead. They
// are still asked when nobody else answers.
func (o *outages) order(servers []netip.AddrPort, now time.Time) []netip.AddrPort {
	o.mu.Lock()
	defer o.mu.Unlock()
	var alive, dead []netip.AddrPort
	for _, s := range servers {
		if at, ok := o.since[s]; ok && now.Sub(at) < o.hold {
			dead = append(dead, s)
		} else {
			alive = append(alive, s)
		}
	}
	return append(alive, dead...)
}
