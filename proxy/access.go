package proxy

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/hosts"
)

// access remembers who may read what: the proofs that upstream gave, and which digests a repository is known to hold. It never
// holds a credential, only its keyed fingerprint. What everybody may read is remembered by the store too, so that an outage after a
// restart finds public images still public.
type access struct {
	macs   *macs
	store  *cache.Store
	life   time.Duration             // how long a credential's proof counts; none, and each request is a question
	proofs *lru.Cache[proof, proven] // by who gave what
	ours   *lru.Cache[hosts.Credential, fingerprint]
	holds  *lru.Cache[holding, int64]    // of what size, 0 where unknown
	noted  *lru.Cache[holding, struct{}] // manifests whose children are in holds: that an index lists one says nothing of those
	asked  *lru.Cache[proof, time.Time]  // when a repository was last probed anonymously
}

// proof says: this credential reads this repository. The zero fingerprint is everybody.
type proof struct {
	registry, repo string
	who            fingerprint
}

type fingerprint [16]byte

// proven is when upstream said yes to a credential, and when that says itself that it ends.
type proven struct {
	at   time.Time
	ends float64 // as endOf tells it
}

// holding says: this repository contains this digest.
type holding struct {
	registry, repo string
	digest         cache.Digest
}

func (q *request) holding(d cache.Digest) holding { return holding{q.registry, q.repo, d} }

// How long a proof counts, how long when upstream cannot be asked, and the bounds of the tables.
const (
	proofLife   = 5 * time.Minute  // where the configuration does not say
	publicLife  = time.Hour        // renewed behind a request's back
	publicRenew = 10 * time.Minute // from this age on
	probeEvery  = 5 * time.Minute
	staleAuth   = time.Hour // where the configuration does not say
	maxProofs   = 1 << 16
	maxOurs     = 1 << 10
	maxHoldings = 1 << 18
)

func newAccess(store *cache.Store, life time.Duration) *access {
	a := &access{macs: newMACs(), store: store, life: life}
	// New errs on a size below one only.
	a.proofs, _ = lru.New[proof, proven](maxProofs)
	a.ours, _ = lru.New[hosts.Credential, fingerprint](maxOurs)
	a.holds, _ = lru.New[holding, int64](maxHoldings)
	a.noted, _ = lru.New[holding, struct{}](maxProofs)
	a.asked, _ = lru.New[proof, time.Time](maxProofs)
	return a
}

// fingerprint is of the credential by which upstream is asked for the caller: his own, or ours if he may have what that reads.
func (a *access) fingerprint(q *request, r *http.Request) fingerprint {
	bears := bearsCredential(r)
	if !bears && !q.entitled {
		return fingerprint{}
	}
	if bears { // all of the fields, since all are sent on: a first one that is empty must not hide a second
		all := a.macs.of('\n', r.Header["Authorization"]...)
		return fingerprint(all[:])
	}
	who, known := a.ours.Get(q.own)
	if !known {
		all := a.macs.of('\n', fmt.Sprintf("\x00%q", q.own)) // no field can hold a zero byte: nobody can send what is taken for ours
		who = fingerprint(all[:])
		a.ours.Add(q.own, who)
	}
	return who
}

// public tells whether everybody reads the repository, by a proof of this process or of the one before.
func (a *access) public(q *request, now time.Time) bool {
	if a.since(q, fingerprint{}, publicLife, now) {
		return true
	}
	t, err := a.store.Tag(q.publicKey())
	if err != nil || now.Sub(t.Seen) >= publicLife {
		return false
	}
	a.proofs.Add(proof{q.registry, q.repo, fingerprint{}}, proven{t.Seen, neverEnds})
	return true
}

// proven tells whether this caller's right to the repository was proven a short time ago, by a credential that has not ended since.
// What a restart has left of whether everybody may read is looked for last: of a private repository that is a question to the disk.
func (a *access) proven(q *request, r *http.Request, now time.Time) bool {
	if a.since(q, fingerprint{}, publicLife, now) {
		return true
	}
	if who := a.fingerprint(q, r); who != (fingerprint{}) {
		p, ok := a.proofs.Get(proof{q.registry, q.repo, who})
		if ok && now.Sub(p.at) < a.life && float64(now.Unix()) < p.ends {
			return true
		}
	}
	return a.public(q, now)
}

// provenBefore is the same for the time in which upstream cannot be asked: a credential's proof counts for maxStaleAuth, what everybody
// could read for as long as stale tags are served.
func (a *access) provenBefore(q *request, r *http.Request, maxStale, maxStaleAuth time.Duration, now time.Time) bool {
	if a.proven(q, r, now) || a.since(q, fingerprint{}, maxStale, now) || a.since(q, a.fingerprint(q, r), maxStaleAuth, now) {
		return true
	}
	t, err := a.store.Tag(q.publicKey())
	return err == nil && now.Sub(t.Seen) < maxStale
}

func (a *access) since(q *request, who fingerprint, life time.Duration, now time.Time) bool {
	p, ok := a.proofs.Get(proof{q.registry, q.repo, who})
	return ok && now.Sub(p.at) < life
}

// publicKey is where the store remembers that everybody may read the repository. No tag is empty.
func (q *request) publicKey() cache.Key {
	return cache.Key{Registry: q.registry, Repo: q.repo, Variant: "public"}
}

// grant notes that upstream said yes to this caller.
func (a *access) grant(q *request, r *http.Request, now time.Time) {
	a.proofs.Add(proof{q.registry, q.repo, a.fingerprint(q, r)}, proven{now, endOf(r.Header)})
}

// publish remembers beyond a restart that everybody may read the repository, as a yes to r has shown that was without a credential.
func (a *access) publish(q *request, r *http.Request, d cache.Digest, now time.Time) error {
	if d.IsZero() || a.fingerprint(q, r) != (fingerprint{}) {
		return nil
	}
	if old, err := a.store.Tag(q.publicKey()); err == nil && now.Sub(old.Seen) < publicRenew {
		return nil
	}
	return a.store.SetTag(q.publicKey(), cache.Tag{Digest: d, Seen: now})
}

// revoke notes that upstream said no to this caller. To a request without a credential a no says nothing where getting a token is the
// client's business: it will come again with one.
func (a *access) revoke(q *request, r *http.Request) {
	who := a.fingerprint(q, r)
	if who == (fingerprint{}) && !q.anonymous {
		return
	}
	a.proofs.Remove(proof{q.registry, q.repo, who})
	if who == (fingerprint{}) {
		if _, err := a.store.Tag(q.publicKey()); err == nil {
			a.store.ForgetTag(q.publicKey())
		}
	}
}

// everPublic tells whether everybody could read the repository at a time that may still count in an outage.
func (a *access) everPublic(q *request) bool {
	if a.proofs.Contains(proof{q.registry, q.repo, fingerprint{}}) {
		return true
	}
	_, err := a.store.Tag(q.publicKey())
	return err == nil
}

// note remembers that the repository holds d.
func (a *access) note(q *request, d cache.Digest) {
	a.holds.ContainsOrAdd(holding{q.registry, q.repo, d}, 0)
}

// unhold forgets that the repository holds d, until a manifest that lists it is seen again or upstream says so.
func (a *access) unhold(q *request, d cache.Digest) {
	a.holds.Remove(q.holding(d))
	a.noted.Remove(q.holding(d))
}

// size is how long d is by a manifest of the repository, 0 where none was seen.
func (a *access) size(q *request, d cache.Digest) int64 {
	n, _ := a.holds.Get(holding{q.registry, q.repo, d})
	return n
}

// noteManifest remembers, beyond a restart, that the repository holds this manifest, and what it points to.
func (a *access) noteManifest(q *request, m *manifest, now time.Time) error {
	a.noted.Add(q.holding(m.digest), struct{}{})
	a.holds.Add(q.holding(m.digest), int64(len(m.body)))
	for _, c := range m.children {
		a.holds.Add(holding{q.registry, q.repo, c.digest}, c.size)
	}
	if _, err := a.store.Tag(q.manifestKey(m.digest)); err == nil {
		return nil
	}
	return a.store.SetTag(q.manifestKey(m.digest), cache.Tag{Digest: m.digest, MediaType: m.mediaType, Size: int64(len(m.body)), Seen: now})
}

// holdsVariant marks what is remembered of which repository holds which manifest.
const holdsVariant = "holds"

func (q *request) manifestKey(d cache.Digest) cache.Key {
	return cache.Key{Registry: q.registry, Repo: q.repo, Tag: d.String(), Variant: holdsVariant}
}

func (a *access) knows(q *request, d cache.Digest) bool {
	if a.holds.Contains(holding{q.registry, q.repo, d}) {
		return true
	}
	if q.kind != kindManifest {
		return false
	}
	_, err := a.store.Tag(q.manifestKey(d))
	return err == nil
}

// probeDue tells, once in a while, that it should be found out whether everybody may read the repository.
func (a *access) probeDue(q *request, now time.Time) bool {
	p := proof{registry: q.registry, repo: q.repo}
	if public, ok := a.proofs.Peek(p); ok && now.Sub(public.at) < publicRenew {
		return false
	}
	if last, ok := a.asked.Peek(p); ok && now.Sub(last) < probeEvery {
		return false
	}
	a.asked.Add(p, now)
	return true
}

// mayRead tells whether the request's content may go out from what is held: the caller's right to the repository is proven, and
// the repository is known to contain the digest. Where it is not known, upstream is asked with the caller's own credential; where
// upstream cannot be asked, what was known before counts.
func (s *Server) mayRead(q *request, r *http.Request) error {
	now := s.now()
	knows := s.access.knows(q, q.digest)
	if knows && s.access.proven(q, r, now) {
		return nil
	}
	err := s.prove(q, r)
	if err != nil && troubled(err) && s.couldRead(q, r, now) {
		return nil
	}
	return err
}

// couldRead tells whether the request's content may go out where upstream cannot be asked.
func (s *Server) couldRead(q *request, r *http.Request, now time.Time) bool {
	return s.access.knows(q, q.digest) && s.provenBefore(q, r, now)
}

func (s *Server) provenBefore(q *request, r *http.Request, now time.Time) bool {
	return s.access.provenBefore(q, r, s.cfg.MaxStale, s.cfg.MaxStaleAuth, now)
}

// prove asks upstream whether this caller gets this digest from this repository.
func (s *Server) prove(q *request, r *http.Request) error {
	_, err := s.describeOnce(q, r)
	return err
}

// describeOnce is describe, of which a yes is remembered. Callers with the same credential share a question.
func (s *Server) describeOnce(q *request, r *http.Request) (found, error) {
	who := s.access.fingerprint(q, r)
	key := strings.Join([]string{"prove", r.Method, q.registry, q.repo, q.kind, q.ref, string(who[:]), strconv.FormatBool(q.anonymous)}, "\n")
	done := s.lookups.DoChan(key, func() (any, error) {
		f, err := s.describe(s.ctx, q, r)
		if err == nil {
			s.access.note(q, q.digest)
		}
		return f, err
	})
	select {
	case res := <-done:
		return res.Val.(found), res.Err
	case <-r.Context().Done():
		return found{}, context.Cause(r.Context())
	}
}

// probe finds out behind the request's back whether everybody may read the repository, so that the next caller needs no proof.
func (s *Server) probe(q *request, ref string) {
	if s.cfg.Offline || !s.access.probeDue(q, q.began) {
		return
	}
	p := q.as(hosts.Credential{})
	p.kind, p.anonymous = kindManifest, true
	s.spawn(nil, func() {
		r := (&http.Request{Method: http.MethodHead, Header: http.Header{"Accept": {manifestTypes}}}).WithContext(s.ctx)
		s.head(s.ctx, p, r, ref) // a yes is a grant to everybody
	})
}
