package proxy

import (
	"context"
	"io"
	"net/http"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/hosts"
)

// origin is where content can be had: a repository that is known to hold it.
type origin struct{ registry, repo, kind string }

// repair fetches content anew that a check has dropped, as somebody without a credential, or with ours where the operator shares the
// repository. What only others may read comes again when one of those asks for it. It returns what is held again.
func (s *Server) repair(ctx context.Context, damaged []cache.Digest) []cache.Digest {
	var repaired []cache.Digest
	todo := map[cache.Digest]bool{}
	for _, d := range damaged {
		todo[d] = true
	}
	for again := !s.cfg.Offline; again && len(todo) > 0; { // a manifest that is there again tells where its layers are
		again = false
		for d, from := range s.originsOf(todo) {
			if ctx.Err() == nil && s.fetchAnew(ctx, d, from) {
				repaired, again = append(repaired, d), true
				delete(todo, d)
			}
		}
	}
	return repaired
}

// originsOf finds where content is to be had, by what is remembered on disk of which repository holds which manifest.
func (s *Server) originsOf(wanted map[cache.Digest]bool) map[cache.Digest]origin {
	found := map[cache.Digest]origin{}
	for k, t := range s.cfg.Store.Tags() {
		if k.Variant != holdsVariant {
			continue
		}
		if wanted[t.Digest] {
			found[t.Digest] = origin{k.Registry, k.Repo, kindManifest}
			continue
		}
		m, _, err := s.storedManifest(t.Digest, s.now())
		if err != nil {
			continue
		}
		kind := kindBlob
		if variantOf(m.mediaType) == "index" {
			kind = kindManifest
		}
		for _, c := range m.children {
			if wanted[c.digest] {
				found[c.digest] = origin{k.Registry, k.Repo, kind}
			}
		}
	}
	return found
}

// fetchAnew is a fill without a client. False means that it is still not held.
func (s *Server) fetchAnew(ctx context.Context, d cache.Digest, from origin) bool {
	reg, known := s.table.Load().Lookup(from.registry)
	if !known || reg.Mode != hosts.Cache {
		return false
	}
	q := &request{
		door: doorMirror, host: from.registry, reg: reg, registry: reg.Name, kind: from.kind, repo: from.repo, ref: d.String(), digest: d,
		anonymous: true,
	}
	r := (&http.Request{Method: http.MethodGet, Header: http.Header{"Accept": {manifestTypes}}}).WithContext(ctx)
	s.lend(q, r)
	b, err := s.cfg.Store.Blob(ctx, d, cache.Source{Fetch: s.fetch(q, r, q.kind, q.ref), Parallel: reg.Parallel})
	if err == nil {
		_, err = io.Copy(io.Discard, b)
		b.Close()
	}
	if err != nil {
		s.log.Warn().Err(err).Stringer("digest", d).Msg("verify: damaged content cannot be fetched anew now: it is when it is asked for")
	}
	return err == nil
}
