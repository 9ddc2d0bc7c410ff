package proxy

import (
	"net/http"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// written takes in that a registry has done what a push or a deletion asked for, before the client knows, who may leave with the header
// and ask for the tag at once.
func (s *Server) written(q *request, method string) {
	switch {
	case q.kind == kindManifest && q.byDigest():
		// Which tags pointed to a manifest that is no more, or point to one that has come, by the ?tag= of its PUT say, is the registry's
		// business: all of them are asked for again.
		s.writes.note(q, s.now())
		if method == http.MethodDelete {
			s.access.unhold(q, q.digest)
			s.cfg.Store.ForgetTag(q.manifestKey(q.digest))
		}
	case q.kind == kindManifest:
		s.forget(q)
	case q.kind == kindBlob && q.byDigest() && method == http.MethodDelete:
		s.access.unhold(q, q.digest)
	}
}

// writes remembers when the manifests of a repository were last changed through us by their digests. What was seen of its tags before is
// not fresh any more.
type writes struct {
	last *lru.Cache[repository, time.Time]
}

type repository struct{ registry, repo string }

// maxWrites is for how many repositories. Of one that is forgotten the tags get old as ever, after --manifest-ttl.
const maxWrites = 1 << 12

func newWrites() writes {
	last, _ := lru.New[repository, time.Time](maxWrites) // errs on a size below one only
	return writes{last}
}

func (w writes) note(q *request, now time.Time) {
	w.last.Add(repository{q.registry, q.repo}, now)
}

// outdated tells whether what was seen then of a tag of the request's repository was seen before the last change.
func (w writes) outdated(q *request, seen time.Time) bool {
	at, ok := w.last.Get(repository{q.registry, q.repo})
	return ok && !seen.After(at)
}
