package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy/credentials"
	"github.com/entrepot/entrepot/proxy/upstream"
)

// Two things are kept apart: by whose credential upstream is asked, and whose right that proves. A caller who may have what our
// credential reads, since he has logged in to us or the operator shares the repository, is asked for with it, and what it proves is
// his and that of others like him. For everybody else it is found out without a credential, by HEAD, whether everybody may read the
// repository; only then our credential fetches for them, so that the pull counts to the account and not to our address.

// lend finds the credential of ours for the request, and whether this caller may have what it reads. It is for the mirror door, where
// clients bring none of their own, and for what names a repository in so many words: with a path that a registry might read in another
// way no password is sent.
func (s *Server) lend(q *request, r *http.Request) {
	if q.door != doorMirror || q.repo == "" || bearsCredential(r) {
		return
	}
	if q.kind == kindTags && q.ref != "" {
		return
	}
	if c, ok := q.reg.Credential(q.repo); ok {
		q.own, q.entitled = c, q.user != "" || q.reg.Shares(q.repo)
	}
}

func bearsCredential(r *http.Request) bool {
	return strings.Join(r.Header.Values("Authorization"), "") != ""
}

// as is a request for the same thing by somebody else: nobody, or by our credential. Not a copy of all of q: its own goroutine may be
// writing down how the request ended.
func (q *request) as(own hosts.Credential) *request {
	return &request{
		door: q.door, host: q.host, reg: q.reg, registry: q.registry, kind: q.kind, repo: q.repo, ref: q.ref, digest: q.digest,
		anonymous: q.anonymous, own: own, entitled: !own.IsZero(),
	}
}

// ask sends a question and keeps account of what the answer proves. Anything but 200 and 206 is an error. With a credential of ours it
// falls back on what everybody gets: a broken credential must not keep public images from anybody.
func (s *Server) ask(ctx context.Context, q *request, r *http.Request, u upstream.Request) (*http.Response, error) {
	if q.own.IsZero() {
		return s.askAs(ctx, q, r, u)
	}
	if !q.entitled && !s.mayPay(ctx, q, r, u) {
		return s.askAs(ctx, q, r, u)
	}
	resp, err := s.askAs(ctx, q.as(q.own), r, u)
	if err == nil || !useless(err) {
		return resp, err
	}
	resp, plain := s.askAs(ctx, q.as(hosts.Credential{}), r, u)
	return resp, s.worse(q, err, plain)
}

// mayPay tells whether our credential may fetch for a caller who is nobody in particular: what everybody reads, as was seen a short
// time ago or is asked now. Only content counts to an account, and only content is fetched so.
func (s *Server) mayPay(ctx context.Context, q *request, r *http.Request, u upstream.Request) bool {
	if u.Method != http.MethodGet || u.Kind != kindManifest && u.Kind != kindBlob {
		return false
	}
	if s.access.since(q, fingerprint{}, s.access.life, s.now()) {
		return true
	}
	if u.Kind != kindManifest {
		return false // what was known for longer is enough for a blob, which registries do not count
	}
	h := u
	h.Method = http.MethodHead
	resp, err := s.askAs(ctx, q, r, h)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// useless tells whether a question by our credential ended in a way that may be the credential's fault.
func useless(err error) bool {
	return upstream.IsUnknown(err) || personal(err)
}

// personal tells whether upstream said no to this caller, rather than that there is nothing or that it cannot say.
func personal(err error) bool {
	var p interface{ Personal() bool }
	return errors.As(err, &p) && p.Personal()
}

// worse is what a caller is told who got nothing by our credential (own) and nothing as anybody (plain). That a credential cannot be
// got is trouble, in which what was proven before still counts; a no is a no; and that nobody in particular finds anything, which some
// registries say of what is private, does not mean that it is gone.
func (s *Server) worse(q *request, own, plain error) error {
	switch {
	case plain == nil || troubled(plain) || !q.entitled || errors.Is(own, credentials.ErrNone):
		return plain
	case upstream.IsUnknown(own):
		return own
	case personal(plain) && q.user == "":
		return plain // with the registry's challenge, which the client may know to answer
	}
	return own
}

// look asks for a listing, of which nothing is kept, by our credential for those who may have what it reads.
func (s *Server) look(ctx context.Context, q *request, u upstream.Request) (*http.Response, error) {
	if !q.entitled {
		return s.upstream.Do(ctx, u)
	}
	own := u
	own.Credential, own.Repo = q.own, q.repo
	resp, err := s.upstream.Do(ctx, own)
	switch {
	case err != nil && !useless(err):
		return nil, err
	case err == nil && resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden:
		return resp, nil
	case err == nil:
		io.CopyN(io.Discard, resp.Body, maxErrorBody)
		resp.Body.Close()
	}
	return s.upstream.Do(ctx, u)
}
