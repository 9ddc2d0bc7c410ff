package proxy

import (
	"io"
	"net/http"
	"strconv"
	"strings"

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

// passFailed answers for a registry that cannot be asked. A client that begins a pull with a ping or a token must not fail there when
// all it wants is held here: the ping gets a yes, the token is one that proves nothing, so that what it opens is what everybody reads.
func (s *Server) passFailed(q *request, w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case q.brokenOff() && r.Context().Err() == nil:
		q.refuse(w, http.StatusBadRequest, codeSizeInvalid, errUnsent.Error())
	case q.reg.Mode != hosts.Cache || r.Context().Err() != nil:
		q.fail(w, r, err)
	case q.kind == kindPing:
		q.err = err
		q.outcome(w, cacheStale)
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
