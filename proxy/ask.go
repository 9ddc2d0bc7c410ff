package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/proxy/upstream"
)

// asIs are the fields of a client's request that a registry gets to see with a question of ours.
var asIs = []string{"Accept", "Authorization", "User-Agent"}

// question is a request to the registry for one of its objects, with the caller's own credential.
func (s *Server) question(q *request, r *http.Request, method, kind, ref string) upstream.Request {
	h := http.Header{}
	for _, name := range asIs {
		if v, ok := r.Header[name]; ok {
			h[name] = v
		}
	}
	switch accept := h.Get("Accept"); {
	case kind == kindBlob:
		h.Del("Accept")
	case kind == kindManifest && (accept == "" || accept == "*/*"):
		// Who takes anything (curl, a browser) means what the tag is, not what the registry makes of it for clients of 2015.
		h.Set("Accept", manifestTypes)
	}
	return upstream.Request{
		Registry: q.reg, Base: q.reg.UpstreamURL(q.host), Method: method, Path: q.apiPath(kind, ref),
		Header: h, Kind: kind, Scope: q.scope(), Patience: s.waits.exchange(q), Repo: q.repo,
	}
}

var errOffline = errors.New("entrepot runs with --offline")

// askAs sends a question as whoever q is by now: the caller, nobody in particular, or ourselves.
func (s *Server) askAs(ctx context.Context, q *request, r *http.Request, u upstream.Request) (*http.Response, error) {
	if q.entitled {
		u.Credential = q.own
	}
	if s.cfg.Offline {
		return nil, &upstream.Error{Registry: q.registry, Err: errOffline}
	}
	resp, err := s.upstream.Do(ctx, u)
	if err != nil {
		if upstream.IsRefused(err) {
			s.access.revoke(q, r)
		}
		return nil, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		a := takeAnswer(u, resp)
		if a.Personal() {
			s.access.revoke(q, r)
			if !q.anonymous && s.access.everPublic(q) {
				s.probe(q, q.ref) // it may have been closed, which must be known before the next outage
			}
		}
		return nil, a
	}
	s.access.grant(q, r, s.now())
	if err := s.access.publish(q, r, digestOf(resp), s.now()); err != nil {
		s.log.Warn().Err(err).Msg("that a repository is public is remembered in memory only")
	}
	return resp, nil
}

// digestOf is what upstream calls the content, zero where it does not say.
func digestOf(resp *http.Response) cache.Digest {
	d, _ := cache.ParseDigest(resp.Header.Get("Docker-Content-Digest")) // zero with an error
	return d
}

// found is what a HEAD tells of an object. Digest is zero where upstream did not say, size is -1.
type found struct {
	digest    cache.Digest
	mediaType string
	size      int64
}

// head asks for the description of the request's manifest or blob.
func (s *Server) head(ctx context.Context, q *request, r *http.Request, ref string) (found, error) {
	resp, err := s.ask(ctx, q, r, s.question(q, r, http.MethodHead, q.kind, ref))
	if err != nil {
		return found{}, err
	}
	resp.Body.Close()
	return found{digestOf(resp), mediaType(resp), resp.ContentLength}, nil
}

// describe asks for the description of the request's object by HEAD. For a blob a GET of one byte has the last word: HEAD is refused
// by public.ecr.aws whatever the token (distribution/distribution#4383), and by storage whose URLs are signed for GET. For a manifest
// that is wanted by GET the registry's words to a GET are the last: a caller who got others for what is held would know that it is.
func (s *Server) describe(ctx context.Context, q *request, r *http.Request) (found, error) {
	f, err := s.head(ctx, q, r, q.ref)
	var a *answered
	switch {
	case !errors.As(err, &a) || troubled(err):
		return f, err
	case q.kind == kindManifest && r.Method == http.MethodGet:
		resp, err := s.ask(ctx, q, r, s.question(q, r, http.MethodGet, kindManifest, q.ref))
		if err == nil {
			resp.Body.Close()
		}
		return found{digest: q.digest}, err
	case q.kind != kindBlob || a.status == http.StatusNotFound:
		return f, err
	}
	u := s.question(q, r, http.MethodGet, kindBlob, q.ref)
	u.Header.Set("Range", "bytes=0-0")
	resp, err := s.ask(ctx, q, r, u)
	if err != nil {
		return found{}, err
	}
	resp.Body.Close()
	f = found{digest: q.digest, mediaType: mediaType(resp), size: resp.ContentLength}
	if resp.StatusCode == http.StatusPartialContent {
		_, f.size, err = contentRange(resp.Header.Get("Content-Range"))
	}
	return f, err
}

// source is the way from the cache to upstream for the request's blob.
func (s *Server) source(q *request, r *http.Request) cache.Source {
	return cache.Source{Fetch: s.fetch(q, r, kindBlob, q.ref), Parallel: q.reg.Parallel}
}

// fetch is the way from the cache to upstream for the request's object of this kind: with the credential of the one who asked, from
// the registry each time, so that a redirect is always fresh.
//
// A transfer is continued by Range with the If-Range of the host that began it. What is named by its digest cannot change, and the hash
// judges the sum of all parts; the condition tells of another content at its first byte and not at its last.
func (s *Server) fetch(q *request, r *http.Request, kind, ref string) cache.Fetch {
	asked := s.question(q, r, http.MethodGet, kind, ref)
	asked.Validators = new(upstream.Validators)
	asked.Patience = 0 // the transfer's, not the client's: see waits.opening
	return func(ctx context.Context, from, to int64) (*cache.Stream, error) {
		u := asked
		u.Header = asked.Header.Clone()
		switch {
		case to >= 0:
			u.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
		case from > 0:
			u.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		}
		ctx, cancel := context.WithCancelCause(ctx)
		resp, err := s.ask(ctx, q, r, u)
		if err != nil {
			cancel(nil)
			if nothingBehind(err) {
				err = cache.ErrRange
			}
			return nil, err
		}
		return s.stream(q, resp, cancel)
	}
}

// nothingBehind tells whether upstream has no bytes from where the cache wants to go on: its partial is longer than the truth.
func nothingBehind(err error) bool {
	var a *answered
	return errors.As(err, &a) && a.status == http.StatusRequestedRangeNotSatisfiable
}

// stream judges the header of a body that the cache will keep.
func (s *Server) stream(q *request, resp *http.Response, cancel context.CancelCauseFunc) (*cache.Stream, error) {
	st := &cache.Stream{Size: resp.ContentLength, MediaType: mediaType(resp)}
	var err error
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		err = fmt.Errorf("the body is encoded (%.20q), which nobody asked for: %w", e, cache.ErrMismatch)
	} else if resp.StatusCode == http.StatusPartialContent {
		st.Part = true
		st.Offset, st.Size, err = contentRange(resp.Header.Get("Content-Range"))
	}
	if err != nil {
		cancel(nil)
		resp.Body.Close()
		return nil, &upstream.Error{Registry: q.registry, Host: resp.Request.URL.Host, Err: err}
	}
	st.Body = newBody(resp.Body, cancel, s.metrics.upstreamBytes(q.registry))
	return st, nil
}

// contentRange reads "bytes 0-9/10" and "bytes 0-9/*" (RFC 9110, section 14.4).
func contentRange(field string) (first, total int64, err error) {
	bad := fmt.Errorf("malformed Content-Range %.60q: %w", field, cache.ErrMismatch)
	rest, ok := strings.CutPrefix(field, "bytes ")
	span, size, found := strings.Cut(rest, "/")
	from, to, dash := strings.Cut(span, "-")
	if !ok || !found || !dash {
		return 0, 0, bad
	}
	first, err = strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	if err != nil || err2 != nil || first < 0 || last < first {
		return 0, 0, bad
	}
	if size == "*" {
		return first, -1, nil
	}
	if total, err = strconv.ParseInt(size, 10, 64); err != nil || total <= last {
		return 0, 0, bad
	}
	return first, total, nil
}

// mediaType is the Content-Type without its parameters.
func mediaType(resp *http.Response) string {
	t, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(t)
}

// body is an upstream body that is counted. That it breaks off when nothing comes for too long is the cache's business.
type body struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	count  func(int)
}

func newBody(rc io.ReadCloser, cancel context.CancelCauseFunc, count func(int)) *body {
	return &body{rc, cancel, count}
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count(n)
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
