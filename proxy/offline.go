package proxy

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/entrepot/entrepot/hosts"
)

// offlineToken is what a client gets where its realm gives none. It is worth nothing: who brings it is nobody in particular.
const offlineToken = "entrepot-offline"

// withoutOfflineToken takes our own token out of a request, so that upstream, once it is back, is asked as by somebody without a
// credential and does not refuse a pull of what everybody may read.
func withoutOfflineToken(q *request, r *http.Request) {
	if r.Header.Get("Authorization") == "Bearer "+offlineToken {
		r.Header.Del("Authorization")
		q.anonymous = true
	}
}

// realmInTrouble tells, as an error, that a realm answers as a registry in trouble does, to a client that wants a token only for what
// everybody could read: a pull of what is held must not fail for want of a token that opens nothing more.
func (s *Server) realmInTrouble(q *request, resp *http.Response) error {
	a := &answered{registry: q.registry, status: resp.StatusCode}
	if q.kind != kindToken || !readOnly(resp.Request) || !troubled(a) || !s.publicScopes(q, resp.Request.URL.Query()["scope"]) {
		return nil
	}
	return a
}

// publicScopes tells whether scopes, such as repository:library/alpine:pull, are of repositories that everybody could read.
func (s *Server) publicScopes(q *request, scopes []string) bool {
	for _, scope := range scopes {
		repo, isRepo := strings.CutPrefix(scope, "repository:")
		repo, isPull := strings.CutSuffix(repo, ":pull")
		if !isRepo || !isPull || !s.access.everPublic(&request{registry: q.registry, repo: repo}) {
			return false
		}
	}
	return len(scopes) > 0
}

// passFailed answers for a registry that cannot be asked. A client that begins a pull with a ping or a token must not fail there when all
// it wants is held here: the ping gets a yes, unless it brings a password to be judged, and the token is one that proves nothing, so that
// what it opens is what everybody reads.
func (s *Server) passFailed(q *request, w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case q.brokenOff() && r.Context().Err() == nil:
		q.refuse(w, http.StatusBadRequest, codeSizeInvalid, errUnsent.Error())
	case q.reg.Mode != hosts.Cache || r.Context().Err() != nil:
		q.fail(w, r, err)
	case q.kind == kindPing && bearsPassword(r) && !s.provenBefore(q, r, s.now()):
		q.doubt(w, err)
	case q.kind == kindPing:
		q.err = err
		q.outcome(w, cacheStale)
		s.pings.ask(q, w.Header())
		s.servePing(w)
	case q.kind == kindToken:
		q.err = err
		s.serveToken(q, w)
	default:
		q.fail(w, r, err)
	}
}

// serveToken answers in a realm's place. The token is worth nothing: it lives for the shortest time that clients respect.
func (s *Server) serveToken(q *request, w http.ResponseWriter) {
	const body = `{"token":"` + offlineToken + `","access_token":"` + offlineToken + `","expires_in":60}`
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	q.outcome(w, cacheStale)
	io.WriteString(w, body)
}

// doubt answers a ping by which a client wants to know whether a password is right, as a login does, where nobody can say.
func (q *request) doubt(w http.ResponseWriter, err error) {
	again := soon
	var a *answered
	if errors.As(err, &a) && a.header.Get("Retry-After") != "" {
		again = a.header.Get("Retry-After")
	}
	w.Header().Set("Retry-After", again)
	q.refuse(w, http.StatusServiceUnavailable, codeUnavailable, err.Error()+": nobody can say now whether the password is right, try again later")
}

func bearsPassword(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Authorization"), isBasic)
}

func isBasic(field string) bool {
	scheme, _, _ := strings.Cut(strings.TrimSpace(field), " ")
	return strings.EqualFold(scheme, "basic")
}

// pings remembers which registries ask for a password with each request. skopeo and podman send one only to who has asked, and take a ping
// that was answered without for a login that has gone well: they are asked in the registry's place, by a challenge beside the yes, which
// other clients do not look at there.
type pings struct{ challenges *lru.Cache[string, []string] }

func newPings() pings {
	c, _ := lru.New[string, []string](maxChallenges) // errs on a size below one only
	return pings{c}
}

const maxChallenges = 1 << 10

// note takes in what a registry has asked for by its answer to a ping without a credential.
func (p pings) note(q *request, asked []string) {
	if len(asked) > 0 && !slices.ContainsFunc(asked, func(c string) bool { return !isBasic(c) }) {
		p.challenges.Add(q.registry, asked)
	} else {
		p.challenges.Remove(q.registry)
	}
}

func (p pings) ask(q *request, h http.Header) {
	if asked, ok := p.challenges.Get(q.registry); ok {
		h["Www-Authenticate"] = asked
	}
}

// judged takes in a registry's answer to a ping. What it says of a password counts for as long as its word on any credential.
func (s *Server) judged(q *request, r *http.Request, status int, h http.Header) {
	yes, no := status < 300, status == http.StatusUnauthorized || status == http.StatusForbidden
	switch {
	case !bearsCredential(r) && (yes || no):
		s.pings.note(q, h.Values("Www-Authenticate"))
	case bearsPassword(r) && yes:
		s.access.grant(q, r, s.now())
	case bearsPassword(r) && no:
		s.access.revoke(q, r)
	}
}
