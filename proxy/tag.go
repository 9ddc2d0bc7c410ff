package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy/upstream"
)

// A tag may have two answers: an index for clients that take one, and a single manifest that some registries make of it for those
// that do not. Both are remembered, the index first.
var variants = []string{"index", "manifest"}

func variantOf(mediaType string) string {
	if mediaType == typeOCIIndex || mediaType == typeDockerList {
		return "index"
	}
	return "manifest"
}

func (q *request) key(variant string) cache.Key {
	return cache.Key{Registry: q.registry, Repo: q.repo, Tag: q.ref, Variant: variant}
}

// serveTag answers GET and HEAD of a manifest by tag. What was seen within --manifest-ttl is served at once; then one question, shared
// by all who wait, tells whether the tag has moved; when upstream cannot say, what was seen last stands in for --max-stale.
func (s *Server) serveTag(q *request, w *countingWriter, r *http.Request) {
	held, have := s.heldTag(q, r)
	rule, now := s.rule(q), q.began
	fresh := have && now.Sub(held.Seen) < rule.ManifestTTL && !s.writes.outdated(q, held.Seen) && !wantsNew(r) && s.access.proven(q, r, now)
	if fresh {
		s.probe(q, q.ref)
		if s.sendTag(q, w, r, held, cacheHit, now) {
			return
		}
	}
	r, _, done := limit(r, s.waits.whole)
	defer done()
	if fresh { // evicted, or just being committed
		s.fetchTag(q, w, r, held, cacheHit)
		return
	}
	old := func(word string) bool {
		return have && s.mayStandIn(q, r, held, rule, now) && s.sendTag(q, w, r, held, word, s.now())
	}
	if s.budgets.resting(q.registry, now) && !wantsNew(r) && old(cacheStale) {
		return
	}
	tag, err := s.lookUp(s.asEverybody(q, r, have, now), r)
	switch {
	case err == nil && have && tag.Digest == held.Digest && s.sendTag(q, w, r, tag.Tag, cacheRevalidated, s.now()):
	case err == nil && s.spares(q, r, tag.Tag) && old(cacheStale):
		q.err = errScarce
	case err == nil:
		s.fetchTag(q, w, r, tag.Tag, tag.word)
	case errors.Is(err, errSchema1):
		s.pass(q, w, r, "/v2/"+q.repo+"/manifests/"+q.ref)
	case troubled(err) && old(cacheStale):
		q.err = err
	case have && isGone(err):
		s.serveGone(q, w, r, held, rule, err)
	default:
		q.fail(w, r, err)
	}
}

// rule is what the configuration says of the request's tag.
func (s *Server) rule(q *request) hosts.TagRule {
	rule := q.reg.TagRule(q.repo, q.ref)
	rule.ManifestTTL = cmp.Or(rule.ManifestTTL, s.cfg.ManifestTTL)
	rule.MaxStale = cmp.Or(rule.MaxStale, s.cfg.MaxStale)
	return rule
}

func isGone(err error) bool {
	var a *answered
	return errors.As(err, &a) && a.status == http.StatusNotFound
}

// serveGone answers for a tag that upstream has no more: as the operator wishes for those who could read it, else by upstream's 404.
func (s *Server) serveGone(q *request, w *countingWriter, r *http.Request, held cache.Tag, rule hosts.TagRule, err error) {
	now := s.now()
	mine := s.provenBefore(q, r, now)
	if mine && rule.WhenGone.Keeps(now.Sub(held.Seen)) && s.sendTag(q, w, r, held, cacheStale, now) {
		q.err = err
		return
	}
	if mine && !rule.WhenGone.Keeps(now.Sub(held.Seen)) {
		s.forget(q)
	}
	q.fail(w, r, err)
}

// asEverybody lets a question whether a public tag has moved be asked with a token of ours, where the client has not brought one yet
// (containerd never does at first): HEAD costs nobody a pull. If it has moved, the client is asked for its own credential.
func (s *Server) asEverybody(q *request, r *http.Request, have bool, now time.Time) *request {
	if !have || r.Header.Get("Authorization") != "" || !s.access.public(q, now) {
		return q
	}
	p := *q
	p.anonymous = true
	return &p
}

// heldTag is what is remembered of the request's tag, of a type that this client takes.
func (s *Server) heldTag(q *request, r *http.Request) (cache.Tag, bool) {
	accept := r.Header.Values("Accept")
	for _, v := range variants {
		if t, err := s.cfg.Store.Tag(q.key(v)); err == nil && admits(accept, t.MediaType) {
			return t, true
		}
	}
	return cache.Tag{}, false
}

// wantsNew tells whether the client asks for a check at upstream (RFC 9111, section 5.2.1.4).
func wantsNew(r *http.Request) bool {
	return strings.Contains(strings.ToLower(r.Header.Get("Cache-Control")), "no-cache")
}

var errScarce = errors.New("the tag has moved, but little of the registry's pull limit is left: the last one held is served")

// spares tells whether t, which upstream says the tag is now, should not be fetched while so little of the pull limit is left.
func (s *Server) spares(q *request, r *http.Request, t cache.Tag) bool {
	held, have := s.heldTag(q, r)
	return have && held.Digest != t.Digest && s.budgets.scarce(q.registry)
}

// mayStandIn tells whether the last known tag may be served where upstream fails to answer, or should not be asked.
func (s *Server) mayStandIn(q *request, r *http.Request, held cache.Tag, rule hosts.TagRule, now time.Time) bool {
	return now.Sub(held.Seen) < rule.MaxStale && s.provenBefore(q, r, now)
}

// sendTag answers from what is held, and tells whether it could: the content of a remembered tag may have been evicted. A HEAD is
// answered all the same, unless upstream is gone: it would send the client here for what nobody can bring (distribution #1356).
func (s *Server) sendTag(q *request, w *countingWriter, r *http.Request, t cache.Tag, word string, now time.Time) bool {
	m, anew, err := s.storedManifest(t.Digest, now)
	switch {
	case err == nil:
		s.noteHeld(q, m, anew)
	case r.Method == http.MethodHead && t.Size > 0 && word != cacheStale:
	default:
		return false
	}
	q.outcome(w, word)
	age(w, t.Seen, now)
	if m == nil {
		describe(w, t.Digest, t.MediaType)
		w.Header().Set("Content-Length", strconv.FormatInt(t.Size, 10))
		return true
	}
	sendManifest(w, r, m, t.MediaType)
	return true
}

// fetchTag answers from what the tag is now: HEAD from the description, GET by fetching the digest. If that turns out to be held, by
// another name perhaps, the log says word.
func (s *Server) fetchTag(q *request, w *countingWriter, r *http.Request, t cache.Tag, word string) {
	if r.Method == http.MethodHead && t.Size > 0 {
		q.cache = cacheMiss
		w.Header().Set("Cache-Status", "entrepot; fwd=uri-miss")
		describe(w, t.Digest, t.MediaType)
		w.Header().Set("Content-Length", strconv.FormatInt(t.Size, 10))
		s.access.note(q, t.Digest)
		return
	}
	s.access.note(q, t.Digest)
	m, err := s.manifest(r.Context(), q, r, t.Digest)
	if err != nil {
		q.fail(w, r, err)
		return
	}
	if m.outcome != cache.Hit {
		word = outcomes[m.outcome]
	}
	q.outcome(w, word)
	sendManifest(w, r, m, m.mediaType)
}

// current is a tag as upstream says that it is now, and what the log says of its content where that is held.
type current struct {
	cache.Tag
	word string
}

// lookUp asks upstream what the tag is now and remembers it. Callers with the same method, credential and Accept share a question,
// which goes on when one of them leaves.
func (s *Server) lookUp(q *request, r *http.Request) (current, error) {
	who := s.access.fingerprint(q, r)
	key := strings.Join([]string{r.Method, q.registry, q.repo, q.ref, strings.Join(r.Header.Values("Accept"), ","), string(who[:]), strconv.FormatBool(q.anonymous)}, "\n")
	done := s.lookups.DoChan(key, func() (any, error) {
		t, err := s.askTag(s.ctx, q, r)
		if err == nil && !s.spares(q, r, t.Tag) {
			s.remember(q, r, t.Tag)
		}
		if err == nil {
			s.probe(q, q.ref)
		}
		return t, err
	})
	select {
	case res := <-done:
		return res.Val.(current), res.Err
	case <-r.Context().Done():
		return current{}, context.Cause(r.Context())
	}
}

// askTag asks by HEAD, which no registry counts as a pull, and by GET where HEAD does not tell the digest.
func (s *Server) askTag(ctx context.Context, q *request, r *http.Request) (current, error) {
	asked := s.now() // it may be changed between the answer and when that is here
	f, err := s.head(ctx, q, r, q.ref)
	if err == nil && strings.HasPrefix(f.mediaType, typeDockerSchema1) {
		return current{}, errSchema1
	}
	if err == nil && !f.digest.IsZero() && isManifestType(f.mediaType) {
		return current{cache.Tag{Digest: f.digest, MediaType: f.mediaType, Size: max(0, f.size), Seen: asked}, cacheRevalidated}, nil
	}
	var a *answered
	if err != nil && !(errors.As(err, &a) && headIsNotEnough(a.status, r.Method)) {
		return current{}, err
	}
	return s.getTag(ctx, q, r)
}

// headIsNotEnough: some registries know no HEAD, and some find by GET what they do not find by HEAD, a manifest for one platform made of
// a list. To a client that wants a GET the registry's own words matter as well, which a HEAD does not have.
func headIsNotEnough(status int, method string) bool {
	return status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented || status == http.StatusNotFound && method == http.MethodGet
}

// getTag gets the manifest by tag, and names it by what was received: its digest is of the bytes and of nothing that was said.
func (s *Server) getTag(ctx context.Context, q *request, r *http.Request) (current, error) {
	asked := s.now()
	resp, err := s.ask(ctx, q, r, s.question(q, r, http.MethodGet, kindManifest, q.ref))
	if err != nil {
		return current{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return current{}, &upstream.Error{Registry: q.registry, Host: resp.Request.URL.Host, Err: err}
	}
	t, err := judgeManifest(body, mediaType(resp), digestOf(resp))
	if err != nil {
		return current{}, &upstream.Error{Registry: q.registry, Host: resp.Request.URL.Host, Err: err}
	}
	d, err := s.cfg.Store.Put(body, t)
	if err != nil {
		s.log.Warn().Err(err).Msg("a manifest is not kept")
	}
	return current{cache.Tag{Digest: d, MediaType: t, Size: int64(len(body)), Seen: asked}, cacheMiss}, nil
}

// judgeManifest is what body is. It refuses what has been damaged on the way, since a manifest that is got by tag has nobody else to
// notice.
func judgeManifest(body []byte, mediaType string, said cache.Digest) (string, error) {
	m, err := parseManifest(body)
	if err != nil {
		return "", err
	}
	if is := cache.DigestOf(body); strings.HasPrefix(said.String(), "sha256:") && said != is {
		return "", fmt.Errorf("a manifest was said to be %s, and is %s: %w", said, is, cache.ErrMismatch)
	}
	return m.judge(mediaType)
}

// remember keeps t, and forgets the other variant if this client would have taken that too: upstream prefers t now.
func (s *Server) remember(q *request, r *http.Request, t cache.Tag) {
	now := variantOf(t.MediaType)
	accept := r.Header.Values("Accept")
	for _, v := range variants {
		if old, err := s.cfg.Store.Tag(q.key(v)); v != now && err == nil && admits(accept, old.MediaType) {
			s.cfg.Store.ForgetTag(q.key(v))
		}
	}
	if err := s.cfg.Store.SetTag(q.key(now), t); err != nil {
		s.log.Warn().Err(err).Msg("a tag is remembered in memory only")
	}
}

// forget drops what is remembered of the request's tag: it was pushed or deleted.
func (s *Server) forget(q *request) {
	for _, v := range variants {
		s.cfg.Store.ForgetTag(q.key(v))
	}
}

// admits tells whether Accept takes mediaType (RFC 9110, section 12.5.1). No Accept takes everything.
func admits(accept []string, mediaType string) bool {
	if len(accept) == 0 {
		return true
	}
	for _, field := range accept {
		for part := range strings.SplitSeq(field, ",") { // allocates nothing, as nothing in here does for the usual types
			t, params, _ := strings.Cut(strings.TrimSpace(part), ";")
			t = strings.ToLower(strings.TrimSpace(t))
			if (t == mediaType || t == "*/*" || t == "application/*") && !unwanted(params) {
				return true
			}
		}
	}
	return false
}

// unwanted tells whether the parameters of a type in Accept say that it is not wanted.
func unwanted(params string) bool {
	return params != "" && strings.Contains(strings.ReplaceAll(params, " ", "")+";", "q=0;")
}
