package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/hosts"
)

// The kinds of request, as they are called in the log.
const (
	kindPing      = "ping"
	kindToken     = "token"
	kindManifest  = "manifest"
	kindBlob      = "blob"
	kindTags      = "tags"
	kindReferrers = "referrers"
	kindUpload    = "upload"
	kindSearch    = "search"
	kindTunnel    = "tunnel"
	kindOther     = "other"
)

// request is what the handler knows of one request, and what the log will say about it.
type request struct {
	door       string
	host       string // the registry's host as the client named it, lower case
	reg        hosts.Registry
	registry   string // its name, or whatever else the request was for
	kind       string
	repo       string
	ref        string       // tag or digest
	digest     cache.Digest // of ref, zero for a tag
	anonymous  bool         // where the client brings no credential, getting a token is our business
	user       string       // who logged in to this proxy, empty for nobody
	byPassword bool         // in the field where a registry's credential would stand
	upload     *upload      // the body of a push, else nil

	own      hosts.Credential // of ours for this repository, zero for none
	entitled bool             // this caller may have what own reads

	cache  string // HIT, MISS, …
	status int
	err    error // for the log
	began  time.Time
}

// byDigest tells whether the request names content rather than a tag.
func (q *request) byDigest() bool { return !q.digest.IsZero() }

// malformed is a request that no registry could answer.
type malformed struct{ code, message string }

func (m *malformed) Error() string { return m.message }

// parseAPI finds out what a path of the registry API asks for. The path has been decoded once, by net/http, and is never decoded
// again; what goes upstream is built anew from the parts found here.
func (q *request) parseAPI(path string) error {
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case path == "/v2" || ok && rest == "":
		q.kind = kindPing
		return nil
	case !ok:
		q.kind = kindOfOther(path)
		return nil
	case rest == "_catalog":
		q.kind = kindTags
		return nil
	}
	if !q.usual(rest) && !q.search(rest) {
		q.kind = kindOfOther(path)
		return nil
	}
	return q.check()
}

// usual finds what nearly all requests are for, a manifest or a blob, from the last slash of the path. It says what search would, in a
// tenth of the time: that was a sixth of our own part of a hit.
func (q *request) usual(rest string) bool {
	end := max(0, strings.LastIndexByte(rest, '/'))
	ref := strings.TrimPrefix(rest[end:], "/")
	if repo, ok := strings.CutSuffix(rest[:end], "/manifests"); ok && repo != "" {
		q.kind, q.repo, q.ref = kindManifest, repo, ref
		return true
	}
	if repo, ok := strings.CutSuffix(rest[:end], "/blobs"); ok && repo != "" && !strings.HasPrefix(ref, "uploads") {
		q.kind, q.repo, q.ref = kindBlob, repo, ref
		return true
	}
	return false
}

// search finds the parts of any other path below /v2/.
func (q *request) search(rest string) bool {
	best := 0 // the last one counts: a repository's own name may have such words in it
	for _, r := range []struct{ middle, kind string }{
		{"/manifests/", kindManifest},
		{"/blobs/uploads", kindUpload},
		{"/blobs/", kindBlob},
		{"/tags/list", kindTags},
		{"/referrers/", kindReferrers},
	} {
		if i := strings.LastIndex(rest, r.middle); i > best {
			best, q.kind, q.repo, q.ref = i, r.kind, rest[:i], rest[i+len(r.middle):]
		}
	}
	return best > 0
}

// kindOfOther names what is not of the pull API, for the log.
func kindOfOther(path string) string {
	switch {
	case path == "/token" || strings.HasSuffix(path, "/token") || strings.HasSuffix(path, "/auth") || strings.HasPrefix(path, "/oauth2/"):
		return kindToken
	case strings.HasPrefix(path, "/v1/search") || strings.HasPrefix(path, "/v2/search"):
		return kindSearch
	}
	return kindOther
}

// check judges the parts against the grammar, so that nothing malformed reaches the cache or a registry's cached paths.
func (q *request) check() error {
	if !validName(q.repo) {
		return &malformed{codeNameInvalid, fmt.Sprintf("repository name %.80q is not valid: want lower-case path elements such as library/alpine", q.repo)}
	}
	switch q.kind {
	case kindBlob, kindReferrers:
		d, err := cache.ParseDigest(q.ref)
		if err != nil {
			return &malformed{codeDigestInvalid, err.Error()}
		}
		q.digest = d
	case kindManifest:
		return q.checkReference()
	}
	return nil
}

func (q *request) checkReference() error {
	if strings.Contains(q.ref, ":") {
		d, err := cache.ParseDigest(q.ref)
		if err != nil {
			return &malformed{codeDigestInvalid, err.Error()}
		}
		q.digest = d
		return nil
	}
	if !validTag(q.ref) {
		return &malformed{codeTagInvalid, fmt.Sprintf("tag %.80q is not valid: want at most 128 letters, digits, dots, dashes and underscores", q.ref)}
	}
	return nil
}

// apiPath is the path that asks upstream for kind and ref of the request's repository.
func (q *request) apiPath(kind, ref string) string {
	return "/v2/" + q.repo + "/" + kind + "s/" + ref
}

func (q *request) scope() string {
	if !q.anonymous || q.repo == "" {
		return ""
	}
	return "repository:" + q.repo + ":pull"
}

// mirrored finds registry and API path of a request to the mirror door, where the client does not say by connection where it wants
// to go: by ns, by a registry before /v2 or behind it, else Docker Hub. A path that repeats what ns says is not doubled: BuildKit
// sends both. No host at all means that the path is not of the API. What stands before /v2 and is no registry is given back as the
// host, to be refused by its name.
func mirrored(t *hosts.Table, u *url.URL) (host, path string, err error) {
	ns, err := singleNS(u)
	if err != nil {
		return "", "", err
	}
	path = u.Path
	if path != "/v2" && !strings.HasPrefix(path, "/v2/") {
		before, rest, found := strings.Cut(strings.TrimPrefix(path, "/")+"/", "/v2/")
		if !found || before == "" {
			return "", path, nil
		}
		host, path = before, "/v2/"+strings.TrimSuffix(rest, "/")
		if _, known := t.Lookup(host); !known {
			return strings.ToLower(host), path, nil
		}
	}
	if rest, ok := strings.CutPrefix(path, "/v2/"); ok {
		if first, more, found := strings.Cut(rest, "/"); found && first != "" {
			if _, known := t.Lookup(first); known && (ns == "" && host == "" || sameRegistry(t, first, ns) || sameRegistry(t, first, host)) {
				host, path = first, "/v2/"+more
			}
		}
	}
	switch {
	case ns != "":
		host = ns
	case host == "":
		host = defaultRegistry
	}
	return strings.ToLower(host), path, nil
}

const defaultRegistry = "docker.io"

// maxNS is longer than any host name with a port.
const maxNS = 262

func singleNS(u *url.URL) (string, error) {
	if u.RawQuery == "" {
		return "", nil
	}
	if ns, alone := strings.CutPrefix(u.RawQuery, "ns="); alone && ns != "" && len(ns) <= maxNS && !strings.ContainsAny(ns, "%+&;") {
		return ns, nil // as containerd sends it: parsing the query makes eight pieces of garbage
	}
	all := u.Query()["ns"]
	if len(all) > 1 {
		return "", &malformed{codeUnsupported, "more than one ns in the query"}
	}
	if len(all) == 0 || all[0] == "" {
		return "", nil
	}
	if len(all[0]) > maxNS {
		return "", &malformed{codeUnsupported, "ns is too long to be a host name"}
	}
	return all[0], nil
}

func sameRegistry(t *hosts.Table, a, b string) bool {
	if b == "" {
		return false
	}
	ra, okA := t.Lookup(a)
	rb, okB := t.Lookup(b)
	return okA && okB && ra.Name == rb.Name
}

// withLibrary gives Docker Hub's official images their full name.
func withLibrary(path string) string {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return path
	}
	name, more, found := strings.Cut(rest, "/")
	if !found || name == "" {
		return path
	}
	for _, what := range []string{"manifests/", "blobs/", "tags/", "referrers/"} {
		if strings.HasPrefix(more, what) {
			return "/v2/library/" + name + "/" + more
		}
	}
	return path
}

// withoutNS is the query without what was said to us alone.
func withoutNS(u *url.URL) string {
	if !strings.Contains(u.RawQuery, "ns=") {
		return u.RawQuery
	}
	v := u.Query()
	v.Del("ns")
	return v.Encode()
}

// plausibleHost tells whether s can be a host name or an address: what is in a URL's host and nothing else.
func plausibleHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(".-_:", rune(c)) {
			return false
		}
	}
	return true
}

// withoutUser is a host as it may be repeated, in the log and to the client: before an @ somebody may have put a name and a password.
func withoutUser(host string) string {
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		return "…" + host[i:]
	}
	return host
}

// readOnly tells whether a request only looks.
func readOnly(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }
