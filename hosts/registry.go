package hosts

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Registry is one registry and its rules. It is a value; the slices of one that
// came out of a Table are shared and must not be changed.
type Registry struct {
	// Name is how people write it ("docker.io"), the log field and the cache
	// key. It is itself one of the hosts. A name with "*" is a family: Lookup
	// puts the host that was asked for in its place ("us.gcr.io").
	Name string

	// Hosts are all host names it answers to, none meaning only Name. A port
	// may be part of one ("reg.corp:5001"). A leading "*." stands for one or
	// more labels, a "*" further inside for exactly one.
	Hosts []string

	// Upstream is the base URL of its API ("https://registry-1.docker.io").
	// Empty means https:// and the host that was asked for, which makes each
	// host a registry of its own.
	Upstream string

	// Mode says what is done with its connections.
	Mode Mode

	// Realms are hosts trusted with its token requests, besides its own.
	// Patterns as in Hosts are allowed.
	Realms []string

	// ManifestTTL is how long a tag is served without asking; 0 is the
	// server's default, Never asks each time.
	ManifestTTL time.Duration

	// MaxStale is how long a tag may be served when upstream cannot be asked;
	// 0 is the server's default.
	MaxStale time.Duration

	// WhenGone says what becomes of a tag that upstream has no more; 0 is
	// Gone.
	WhenGone WhenGone

	// Tags say otherwise of some tags. The first that matches counts.
	Tags []TagRule

	// Parallel is over how many connections at once a large blob may be
	// fetched, at most MaxParallel; 0 is one.
	Parallel int

	// CAFile holds more roots for its TLS, in PEM.
	CAFile string

	// AllowNets are upstream addresses that may be dialled for it although
	// they are private or loopback.
	AllowNets []netip.Prefix

	// Credentials are ours, for callers who have none of their own.
	Credentials []Credential

	// Share are patterns, as in TagRule, of repositories that our credential
	// opens to everybody; others only to callers who have logged in to us.
	Share []string
}

// MaxParallel is the most connections that one blob may be fetched over. More
// would bring little and look like an attack.
const MaxParallel = 16

// UpstreamURL returns the base URL for a request that came for host, which is
// one that Lookup found this registry by. A token realm among the hosts is its
// own upstream; everything else goes to Upstream. The URL is the caller's.
func (r Registry) UpstreamURL(host string) *url.URL {
	key := r.hostKey(host)
	realm := slices.Contains(r.Hosts, key) && listed(r.Realms, key)
	if r.Upstream != "" && !realm {
		if u, err := url.Parse(r.Upstream); err == nil {
			return u
		}
	}
	return &url.URL{Scheme: "https", Host: key}
}

// hostKey is host as this registry lists it: a default port is dropped unless
// it is listed. What is no host at all becomes the registry's name, so that no
// text from the network ends up in a URL unjudged.
func (r Registry) hostKey(host string) string {
	a, ok := parseAuthority(host)
	switch {
	case !ok:
		return r.Name
	case a.defaultPort() && !slices.Contains(r.Hosts, a.key):
		return a.host
	}
	return a.key
}

// Has tells whether the registry answers to authority, by one of its hosts as
// [Table.Lookup] reads them.
func (r Registry) Has(authority string) bool {
	a, ok := parseAuthority(authority)
	return ok && (listed(r.Hosts, a.key) || a.defaultPort() && listed(r.Hosts, a.host))
}

// IsRealm tells whether host may see a token request of this registry: its own
// hosts, its upstream's host, its realms. The members of a family do not trust
// each other, since their names are given out to anybody who asks.
func (r Registry) IsRealm(host string) bool {
	a, ok := parseAuthority(host)
	if !ok {
		return false
	}
	key := withoutHTTPS(a)
	if key == r.Name || slices.Contains(r.Hosts, key) || listed(r.Realms, key) {
		return true
	}
	up, err := url.Parse(r.Upstream)
	if err != nil || r.Upstream == "" {
		return false
	}
	own, ok := parseAuthority(up.Host)
	return ok && withoutHTTPS(own) == key
}

// withoutHTTPS is the authority as the table lists it.
func withoutHTTPS(a authority) string {
	if a.port == "443" {
		return a.host
	}
	return a.key
}

// listed tells whether a canonical host is in the list, by name or by pattern.
func listed(list []string, key string) bool {
	host, port, _ := splitPort(key)
	return slices.ContainsFunc(list, func(entry string) bool {
		if !strings.Contains(entry, "*") {
			return entry == key
		}
		p, ok := parsePattern(entry)
		return ok && p.match(host, port)
	})
}

// only returns the registry as it is for one host of a family: its own name,
// trusted by nobody else in the family. Its realms stay among its hosts. What
// is listed by a pattern only gets no password that was meant for the listed.
func (r Registry) only(host string) Registry {
	if !slices.Contains(r.Hosts, host) {
		r.Credentials = slices.DeleteFunc(slices.Clone(r.Credentials), Credential.fixed)
	}
	own := []string{host}
	for _, h := range r.Hosts {
		if h != host && slices.Contains(r.Realms, h) {
			own = append(own, h)
		}
	}
	r.Name, r.Hosts = host, own
	return r
}

// standsAlone tells whether host, found in this registry, is a registry of its
// own: in a family, and wherever no common upstream makes the hosts aliases. A
// cache key shared by two upstreams would serve one's tags as the other's.
func (r Registry) standsAlone(host string) bool {
	if host == r.Name || slices.Contains(r.Hosts, host) && listed(r.Realms, host) {
		return false
	}
	return r.Upstream == "" || strings.Contains(r.Name, "*")
}

// clone returns a copy that shares nothing.
func (r Registry) clone() Registry {
	r.Hosts = slices.Clone(r.Hosts)
	r.Realms = slices.Clone(r.Realms)
	r.AllowNets = slices.Clone(r.AllowNets)
	r.Tags = slices.Clone(r.Tags)
	r.Credentials = slices.Clone(r.Credentials)
	r.Share = slices.Clone(r.Share)
	return r
}
