package world

import (
	"fmt"
	"net/http"
	"strings"
)

// storage is where a registry sends those who want a blob: a CDN or a bucket.
type storage struct {
	host     string // "" is the registry's own host, told by a relative Location
	style    style
	status   int
	heads    bool           // HEADs are redirected too; else the registry answers them
	redirect func(h header) // what else stands on the redirect
	answer   func(h header) // what else stands on the bytes
	multi    int            // what it says to a request for many ranges; 0: serves them
	oneAuth  bool           // refuses a second way of authentication, as S3 does
}

// header is what the personalities write into.
type header struct {
	http.Header
	digest string
}

// send redirects a request for a blob.
func (s *storage) send(w *World, rw http.ResponseWriter, req *http.Request, reg *registry, rt route) {
	host, _ := split(req.Host)
	target := s.host
	if target == "" {
		target = host
	}
	g := grant{method: req.Method, host: target, from: reg, repo: rt.repo, digest: rt.ref}
	u := w.grants.sign(s.style, g)
	location := u.String()
	h := header{rw.Header(), rt.ref}
	h.Set("Content-Type", "application/octet-stream")
	if s.host == "" {
		location = u.RequestURI()
		h.Set("Content-Type", "text/html; charset=UTF-8")
	}
	if s.redirect != nil {
		s.redirect(h)
	}
	h.Set("Location", location)
	h.Set("Content-Length", "0")
	rw.WriteHeader(s.status)
}

// handler is the storage host itself.
func (s *storage) handler(w *World) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		host, _ := split(req.Host)
		if s.oneAuth && req.Header.Get("Authorization") != "" {
			refuse(rw, http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "+
				"Signature query string parameter or the Authorization header should be specified")
			return
		}
		g, problem := w.grants.check(s.style, host, req)
		if problem != "" {
			refuse(rw, http.StatusForbidden, "AccessDenied", problem)
			return
		}
		s.serve(rw, req, g)
	})
}

// serve answers with the bytes, told in the storage's words.
func (s *storage) serve(rw http.ResponseWriter, req *http.Request, g grant) {
	many := strings.Contains(req.Header.Get("Range"), ",")
	if many && s.multi >= 400 {
		refuse(rw, s.multi, "NotImplemented", "Multi-range requests are not supported")
		return
	}
	etag := fmt.Sprintf(`"%s-4"`, hexOf(g.digest)[:32]) // a checksum of parts, not of the content
	req = req.Clone(req.Context())
	if many && s.multi == http.StatusOK || req.Header.Get("If-Range") != "" && req.Header.Get("If-Range") != etag {
		req.Header.Del("Range")
	}
	for _, key := range []string{"If-Range", "If-None-Match", "If-Match", "Authorization"} {
		req.Header.Del(key) // judged above, or not ours to judge
	}
	req.URL.Path, req.URL.RawPath, req.URL.RawQuery = "/v2/"+g.from.stored(g.repo)+"/blobs/"+g.digest, "", ""
	g.from.backend.ServeHTTP(onHeader(rw, func(status int) {
		if status != http.StatusOK && status != http.StatusPartialContent {
			return
		}
		h := header{rw.Header(), g.digest}
		h.Del("Docker-Content-Digest")
		h.Del("Docker-Distribution-Api-Version")
		h.Set("Etag", etag)
		h.Set("Last-Modified", "Mon, 02 Jun 2025 08:00:00 GMT")
		h.Set("Accept-Ranges", "bytes")
		if status == http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), "multipart/") {
			h.Set("Content-Type", "application/octet-stream")
		}
		if s.answer != nil {
			s.answer(h)
		}
	}), req)
}

// refuse answers like S3.
func refuse(rw http.ResponseWriter, status int, code, message string) {
	rw.Header().Set("Content-Type", "application/xml")
	rw.WriteHeader(status)
	_, _ = fmt.Fprintf(rw, `<?xml version="1.0" encoding="UTF-8"?>`+"\n<Error><Code>%s</Code><Message>%s</Message></Error>\n", code, message)
}
