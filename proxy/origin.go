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

// leadBack makes what an answer says of where to go on (Location, Link, a token's realm) lead here, where it names the registry as we know it at base and
// not as the client does: an upload would go round us, or without the login that the client has for the name. What leads to another
// host, such as a signed URL of a storage, stays as it is.
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
// that it used: it came to the http door because it does not speak TLS with us. At any other host it stays as it is: who says that the
// client would find us there by plain HTTP, with its password? The mirror door has no realms: where a path leads depends on what stands
// before it.
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
		led[i] = upstream.MoveRealms(field, func(realm string) string { return moved(moved(realm, base, own), overTLS(own), own) })
	}
	h["Www-Authenticate"] = led
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
