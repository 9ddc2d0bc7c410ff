package proxy

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/entrepot/entrepot/proxy/upstream"
)

// leadBack makes what an answer says of where to go on (Location, Link, a token's realm) lead here, where it names the registry as we know
// it at base and not as the client does: an upload would go round us, or without the login that the client has for the name. What leads to
// another host, such as a signed URL of a storage, stays as it is.
//
// The mirror door has the listings' Link only: there nothing is pushed, and what a path means depends on what stands before it.
func (q *request) leadBack(h http.Header, asked *http.Request, base *url.URL) {
	if q.door == doorMirror {
		for i, link := range h["Link"] {
			h["Link"][i] = q.ownLink(link, asked.URL)
		}
		return
	}
	q.ownRealms(h, h["Www-Authenticate"], asked)
	own := clientOrigin(asked)
	if originOf(own) == originOf(base) {
		return
	}
	for i, target := range h["Location"] {
		h["Location"][i] = moved(target, base, own)
	}
	for i, link := range h["Link"] {
		h["Link"][i] = linkTarget.ReplaceAllStringFunc(link, func(target string) string {
			return "<" + moved(strings.Trim(target, "<>"), base, own) + ">"
		})
	}
}

// ownRealms sets the challenges of an answer, those in fields, which stay as they are. A token realm at the registry's address as we know
// it leads here: the client may not get there, and has its login for the name. So does one at the name that the client used, by the scheme
// that it used, and at the http door, whose clients do not speak TLS with us, one at any other host of the registry, by that name too (see
// ledRealm): by its own the client would bring its password by plain HTTP to whoever is there, if nobody has led that here. The mirror
// door has no realms: where a path leads depends on what stands before it.
func (q *request) ownRealms(h http.Header, fields []string, asked *http.Request) {
	if len(fields) == 0 {
		return
	}
	h["Www-Authenticate"] = fields
	if q.door == doorMirror {
		return
	}
	base, own := q.reg.UpstreamURL(q.host), clientOrigin(asked)
	led := make([]string, len(fields)) // others may be told the same
	for i, field := range fields {
		led[i] = upstream.MoveRealms(field, func(realm string) string {
			to := moved(moved(realm, base, own), overTLS(own), own)
			if to == realm && q.door == doorHTTP {
				to = q.underOwnName(realm, own)
			}
			return to
		})
	}
	h["Www-Authenticate"] = led
}

// ledRealm is where, below a registry's own name, its other hosts are for clients of the http door: "/-/realm/auth.docker.io/token". No
// registry has such a path: a repository's name does not begin with a dash.
const ledRealm = "/-/realm/"

// underOwnName is a realm at another host of the registry, as such a path.
func (q *request) underOwnName(realm string, own *url.URL) string {
	u, err := url.Parse(realm)
	if err != nil || u.Scheme != "https" || u.User != nil || !q.reg.Has(u.Host) {
		return realm
	}
	return (&url.URL{Scheme: own.Scheme, Host: own.Host, Path: ledRealm + u.Host + u.Path, RawQuery: u.RawQuery}).String()
}

// toRealm turns a request with such a path into one to the host that it names.
func (q *request) toRealm(r *http.Request, path string) (*http.Request, string) {
	rest, led := strings.CutPrefix(path, ledRealm)
	host, rest, found := strings.Cut(rest, "/")
	if !led || !found || q.door != doorHTTP || !q.reg.Has(host) {
		return r, path
	}
	r = r.Clone(r.Context())
	r.URL.Path, r.URL.RawPath = "/"+rest, ""
	q.host, q.kind = host, kindOfOther(r.URL.Path)
	return r, r.URL.Path
}

// overTLS is the same origin by TLS, at its usual port if it is plain at its own.
func overTLS(u *url.URL) *url.URL {
	if u.Scheme == "https" {
		return u
	}
	return &url.URL{Scheme: "https", Host: strings.TrimSuffix(u.Host, ":80")}
}

// linkTarget is the target of a link in a Link field (RFC 8288, section 3).
var linkTarget = regexp.MustCompile(`<[^<>]*>`)

// moved is target with the origin own, if it has that of base; a target without an origin is the client's to resolve.
func moved(target string, base, own *url.URL) string {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.User != nil {
		return target
	}
	u.Scheme = cmp.Or(u.Scheme, base.Scheme)
	if originOf(u) != originOf(base) {
		return target
	}
	u.Scheme, u.Host = own.Scheme, own.Host
	return u.String()
}

// clientOrigin is the scheme and host that the client believes to be talking to.
func clientOrigin(r *http.Request) *url.URL {
	switch {
	case r.URL.IsAbs():
		return &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host}
	case r.TLS != nil:
		return &url.URL{Scheme: "https", Host: r.Host}
	}
	return &url.URL{Scheme: "http", Host: r.Host}
}

// originOf is the origin of u with its port (RFC 6454), as it can be compared.
func originOf(u *url.URL) string {
	port := u.Port()
	switch {
	case port == "" && u.Scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
