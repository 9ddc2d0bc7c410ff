package world

import (
	"net/http"
	"net/url"
)

// admission is how a registry asks for credentials: basic or bearer.
type admission interface {
	// admit reports whether the request may go on; else it has answered.
	admit(rw http.ResponseWriter, req *http.Request, rt route) bool
}

// registry is the part that all personalities share.
type registry struct {
	world   *World
	name    string // as people write it
	backend http.Handler
	memory  *memory // the backend, if it is ours
	prefix  string  // in front of the repository's name in the backend
	rights  *rights
	auth    admission // nil: nobody is asked
	storage *storage  // nil: blobs come from the registry itself
	// quirk answers what this registry does its own way, and reports that it did.
	quirk func(rw http.ResponseWriter, req *http.Request, rt route) bool
	// dress adds to the header of answers of the backend.
	dress func(h http.Header, rt route, status int)
	// unfit answers for a manifest whose type the client does not accept; nil: it gets it anyway.
	unfit func(rw http.ResponseWriter, req *http.Request, rt route, found *held)
}

// ServeHTTP is the registry's API.
func (r *registry) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	rt := parseRoute(req.URL.Path)
	rw.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if r.auth != nil && !r.auth.admit(rw, req, rt) {
		return
	}
	if r.quirk != nil && r.quirk(rw, req, rt) {
		return
	}
	read := action(req.Method) == "pull"
	switch {
	case read && rt.kind == Blob && r.storage != nil && (req.Method == http.MethodGet || r.storage.heads):
		r.redirect(rw, req, rt)
	case read && rt.kind == Manifest:
		r.manifest(rw, req, rt)
	default:
		r.ask(rw, req, rt)
	}
}

// redirect sends the client to the storage, if there is such a blob.
func (r *registry) redirect(rw http.ResponseWriter, req *http.Request, rt route) {
	probe := req.Clone(req.Context())
	probe.Method = http.MethodHead
	probe.Header.Del("Range")
	answer := hold()
	r.pass(answer, probe, rt)
	if answer.status >= 400 {
		fail(rw, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry", map[string]string{"digest": rt.ref})
		return
	}
	r.storage.send(r.world, rw, req, r, rt)
}

// manifest answers from a copy: the backend in memory keeps its lock while it
// writes, and a client or a fault may make that long.
func (r *registry) manifest(rw http.ResponseWriter, req *http.Request, rt route) {
	found := hold()
	r.pass(found, req, rt)
	if found.status == http.StatusOK && r.unfit != nil && !accepts(req.Header, found.header.Get("Content-Type")) {
		r.unfit(rw, req, rt, found)
		return
	}
	if r.dress != nil {
		r.dress(found.header, rt, found.status)
	}
	found.send(rw)
}

// ask passes on and dresses the answer.
func (r *registry) ask(rw http.ResponseWriter, req *http.Request, rt route) {
	if r.dress != nil {
		rw = onHeader(rw, func(status int) { r.dress(rw.Header(), rt, status) })
	}
	r.pass(rw, req, rt)
}

// pass asks the backend, which knows neither credentials nor prefixes.
func (r *registry) pass(rw http.ResponseWriter, req *http.Request, rt route) {
	req = req.Clone(req.Context())
	req.Header.Del("Authorization")
	if r.prefix != "" && rt.repo != "" {
		path := "/v2/" + r.prefix + req.URL.Path[len("/v2/"):]
		req.URL = &url.URL{Path: path, RawQuery: req.URL.RawQuery}
	}
	r.backend.ServeHTTP(rw, req)
}

// stored is the name of a repository in the backend.
func (r *registry) stored(repo string) string { return r.prefix + repo }
