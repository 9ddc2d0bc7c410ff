package proxy

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/proxy/upstream"
)

// pass streams a request to its registry and the answer back: pushes, tokens, listings, whatever is not a pull. Nothing of it is
// kept.
func (s *Server) pass(q *request, w *countingWriter, r *http.Request, path string) {
	q.outcome(w, cacheBypass)
	r, path = q.toRealm(r, path)
	if s.cfg.Offline {
		s.passFailed(q, w, r, &upstream.Error{Registry: q.registry, Err: errOffline})
		return
	}
	if readOnly(r) && (q.kind == kindPing || q.anonymous && q.kind != kindToken) {
		s.passLook(q, w, r, path)
		return
	}
	if !readOnly(r) {
		r, q.upload = watchUpload(r)
	}
	base := q.reg.UpstreamURL(q.host)
	if strings.EqualFold(hostOf(q.host), hubIndex) && !strings.HasPrefix(path, "/v2") {
		base = &url.URL{Scheme: "https", Host: hubIndex}
	}
	s.reverse(q, s.upstream.Bare(s.passing(q, r, base)), func(h http.Header) { q.leadBack(h, r, base) }, func(out *http.Request) {
		out.URL.Scheme, out.URL.Host, out.Host = base.Scheme, base.Host, base.Host
		if q.kind != kindToken || q.door == doorMirror { // of a realm ns may be a parameter of its own
			out.URL.RawQuery = withoutNS(out.URL)
		}
		if q.kind == kindTags {
			out.URL.RawQuery = boundedQuery(out.URL.RawQuery)
		}
		if q.door == doorMirror {
			out.URL.Path, out.URL.RawPath = path, ""
		}
		out.URL.Path = base.Path + out.URL.Path
	}).ServeHTTP(w, r)
}

// passing is how upstream is asked for what is passed on: a registry may take its time over the end of a push.
func (s *Server) passing(q *request, r *http.Request, base *url.URL) upstream.Request {
	u := upstream.Request{Registry: q.reg, Base: base, Kind: q.kind, Patience: s.waits.exchange(q)}
	if !readOnly(r) {
		u.Patience = -1
	}
	return u
}

// hubIndex is Docker Hub's host for search and the v1 API, which its registry host does not have.
const hubIndex = "index.docker.io"

// passUnknown passes on a plain HTTP request to a host that is no registry, as a forward proxy does.
func (s *Server) passUnknown(q *request, w *countingWriter, r *http.Request) {
	q.outcome(w, cacheBypass)
	if r.URL.Scheme != "http" {
		q.refuse(w, http.StatusBadRequest, codeUnsupported, "a proxy is asked for "+r.URL.Scheme+" URLs by CONNECT")
		return
	}
	if port := cmp.Or(r.URL.Port(), "80"); !s.portAllowed(port, "80") {
		q.refuse(w, http.StatusForbidden, codeDenied, portMessage("plain HTTP leads to port 80 only, not to", r.URL.Host, port))
		return
	}
	s.reverse(q, s.upstream.Bare(s.passing(q, r, r.URL)), func(http.Header) {}, func(*http.Request) {}).ServeHTTP(w, r)
}

// reverse is net/http's own reverse proxy: hop-by-hop fields, trailers, informational answers and flushing are as it does them. It has
// the fields of an answer mended and the request rewritten.
func (s *Server) reverse(q *request, rt http.RoundTripper, mend func(http.Header), rewrite func(*http.Request)) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     rt,
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.Header.Del("Upgrade")
			p.Out.Header.Del("Connection")
			p.Out.Header.Add("Via", "1.1 "+s.via)
			p.Out.URL.RawQuery = p.In.URL.RawQuery // as it was sent: httputil leaves out what it cannot parse, a signature perhaps
			rewrite(p.Out)
		},
		ModifyResponse: func(resp *http.Response) error {
			if !readOnly(resp.Request) && resp.StatusCode < 300 {
				s.written(q, resp.Request.Method)
			}
			if q.byPassword && resp.StatusCode == http.StatusUnauthorized { // as in fail
				resp.StatusCode = http.StatusForbidden
				resp.Header.Del("Www-Authenticate")
			}
			if resp.StatusCode == http.StatusProxyAuthRequired {
				q.badGateway(resp)
			}
			mend(resp.Header)
			resp.Header.Del("Alt-Svc") // leads past us, to where nobody checks and keeps
			if q.kind == kindTags || q.kind == kindReferrers {
				return boundListing(resp)
			}
			return s.realmInTrouble(q, resp)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			s.passFailed(q, w, r, err)
		},
		ErrorLog: s.http.ErrorLog,
	}
}

// badGateway puts a 502 in the place of a 407, which a client would take for ours and answer with the password that it has for us.
func (q *request) badGateway(resp *http.Response) {
	resp.Body.Close()
	q.err = &answered{registry: q.registry, status: resp.StatusCode}
	body := errorBody(codeUnavailable, q.err.Error())
	resp.StatusCode, resp.ContentLength, resp.Trailer = http.StatusBadGateway, int64(len(body)), nil
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.Header = http.Header{"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(body))}}
}

// passLook asks as for a pull, with redirects followed here and a token of ours where the client brings none: for pings, which
// k8s.gcr.io redirects to another host, and for listings by the mirror.
func (s *Server) passLook(q *request, w *countingWriter, r *http.Request, path string) {
	u := s.question(q, r, r.Method, q.kind, q.ref)
	u.Path = (&url.URL{Path: path, RawQuery: boundedQuery(withoutNS(r.URL))}).String()
	resp, err := s.look(r.Context(), q, u)
	if err != nil {
		s.passFailed(q, w, r, err)
		return
	}
	if err := boundListing(resp); err != nil {
		s.passFailed(q, w, r, &upstream.Error{Registry: q.registry, Host: resp.Request.URL.Host, Err: err})
		return
	}
	defer resp.Body.Close()
	if q.kind == kindPing {
		s.judged(q, r, resp.StatusCode, resp.Header)
	}
	if resp.StatusCode >= 300 {
		if a := takeAnswer(u, resp); troubled(a) {
			s.passFailed(q, w, r, a)
		} else {
			q.fail(w, r, a)
		}
		return
	}
	h := w.Header()
	for _, name := range append([]string{"Content-Length", "Docker-Content-Digest", "Oci-Filters-Applied"}, passedOn...) {
		if v, ok := resp.Header[name]; ok {
			h[name] = v
		}
	}
	for _, link := range resp.Header.Values("Link") {
		h.Add("Link", q.ownLink(link, r.URL))
	}
	w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(w, resp.Body); err != nil {
		q.err = err
		panic(http.ErrAbortHandler)
	}
}

// ownLink makes the target of a Link field (RFC 8288), the next page of a list, lead here again: the path that the client asked for,
// with the query that upstream wants and the ns that the client said.
func (q *request) ownLink(link string, asked *url.URL) string {
	target, rest, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	u, err := url.Parse(target)
	if !found || err != nil {
		return link
	}
	query := u.Query()
	if ns := asked.Query().Get("ns"); ns != "" {
		query.Set("ns", ns)
	}
	return "<" + (&url.URL{Path: asked.Path, RawQuery: query.Encode()}).String() + ">" + rest
}

var errUnsent = errors.New("the body of the request ended before its length: the client has not sent all of it")

var errShort = errors.New("the answer ended before its length")
