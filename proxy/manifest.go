package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrepot/entrepot/cache"
)

// maxManifest is the largest manifest we take; registries limit theirs to 4 MiB.
const maxManifest = 8 << 20

// The manifest types in use (OCI image-spec; Docker's of the distribution project). The first is what a client without Accept means.
const (
	typeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	typeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	typeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerSchema1  = "application/vnd.docker.distribution.manifest.v1+" // prettyjws or json

	manifestTypes = typeOCIIndex + ", " + typeDockerList + ", " + typeOCIManifest + ", " + typeDockerManifest
)

// manifest is one as it stands: never changed, never trimmed. Requests share it.
type manifest struct {
	digest    cache.Digest
	mediaType string
	body      []byte
	outcome   cache.Outcome
	children  []child // what it points to in its own repository
	fields    fields
	length    []string // Content-Length
}

// serveManifest answers GET and HEAD of a manifest by digest, which never gets old.
func (s *Server) serveManifest(q *request, w *countingWriter, r *http.Request) {
	if s.access.knows(q, q.digest) && s.access.proven(q, r, q.began) { // nobody has to be asked, so there is no wait to limit
		if m, anew, err := s.storedManifest(q.digest, q.began); err == nil {
			s.noteHeld(q, m, anew)
			s.probe(q, q.ref)
			q.outcome(w, cacheHit)
			sendManifest(w, r, m, m.mediaType)
			return
		}
	}
	r, _, done := limit(r, s.waits.whole)
	defer done()
	m, err := s.heldManifest(q, r)
	if err == nil && m == nil && r.Method == http.MethodHead {
		s.headManifest(q, w, r)
		return
	}
	if err == nil && m == nil {
		m, err = s.manifest(r.Context(), q, r, q.digest)
	}
	if err != nil {
		q.fail(w, r, err)
		return
	}
	q.outcome(w, outcomes[m.outcome])
	sendManifest(w, r, m, m.mediaType)
}

// heldManifest is the manifest if we hold it and this caller may have it; nil if we do not hold it.
func (s *Server) heldManifest(q *request, r *http.Request) (*manifest, error) {
	m, anew, err := s.storedManifest(q.digest, s.now())
	if err != nil {
		return nil, nil
	}
	if err := s.mayRead(q, r); err != nil {
		return nil, err
	}
	s.noteHeld(q, m, anew)
	s.probe(q, q.ref)
	return m, nil
}

// noteHeld is noteManifest for one that was held: once for each repository, and from time to time so that what is in use stays
// remembered, since a manifest of fifty layers makes it the dearest part of a hit.
func (s *Server) noteHeld(q *request, m *manifest, anew bool) {
	if anew || !s.access.noted.Contains(q.holding(m.digest)) {
		s.noteManifest(q, m)
	}
}

// noteManifest remembers that the repository holds m. What the manifests in an index point to is remembered with it, once: a dockerd
// that still has them asks for the tag and then for blobs, and after a restart only the manifests are known to be the repository's.
func (s *Server) noteManifest(q *request, m *manifest) {
	if !s.access.noted.Contains(q.holding(m.digest)) && variantOf(m.mediaType) == "index" {
		for _, c := range m.children {
			if _, err := s.cfg.Store.Tag(q.manifestKey(c.digest)); err != nil {
				continue
			}
			if held, _, err := s.storedManifest(c.digest, s.now()); err == nil {
				s.noteManifest(q, held)
			}
		}
	}
	if err := s.access.noteManifest(q, m, s.now()); err != nil {
		s.log.Warn().Err(err).Msg("where a manifest belongs is remembered in memory only")
	}
}

// headManifest passes on what upstream says of a manifest that is not held.
func (s *Server) headManifest(q *request, w *countingWriter, r *http.Request) {
	f, err := s.head(r.Context(), q, r, q.ref)
	if err != nil {
		q.fail(w, r, err)
		return
	}
	s.access.note(q, q.digest)
	s.probe(q, q.ref)
	q.cache = cacheMiss
	w.Header().Set("Cache-Status", "entrepot; fwd=uri-miss")
	describe(w, q.digest, f.mediaType)
	if f.size >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(f.size, 10))
	}
}

// manifest gets one by digest, from the cache or by a fill like any content's. That the caller may have it is for who calls to know,
// or for upstream to say where it is asked.
func (s *Server) manifest(ctx context.Context, q *request, r *http.Request, d cache.Digest) (*manifest, error) {
	opening, opened, end := limit(r.WithContext(ctx), s.waits.opening(q))
	defer end()
	b, err := s.cfg.Store.Blob(opening.Context(), d, cache.Source{Fetch: s.fetch(q, r, kindManifest, d.String())})
	if err != nil {
		return nil, err
	}
	opened()
	if b.Outcome != cache.Miss && !(s.access.proven(q, r, s.now()) && s.access.knows(q, d)) {
		// Somebody else brought it: this caller proves for himself, before a word is said of what it is.
		p := *q
		p.kind, p.ref, p.digest = kindManifest, d.String(), d
		if err := s.prove(&p, r); err != nil {
			b.Close()
			return nil, err
		}
	}
	m, err := s.readManifest(b)
	if err != nil {
		return nil, fmt.Errorf("manifest %s of %s/%s: %w", d, q.registry, q.repo, err)
	}
	s.noteManifest(q, m)
	s.probe(q, d.String())
	return m, nil
}

// storedManifest is one that is held, from memory or read from the store; anew tells that the store was asked.
func (s *Server) storedManifest(d cache.Digest, now time.Time) (m *manifest, anew bool, err error) {
	m, due := s.recent.get(d, now)
	if m != nil && !due {
		return m, false, nil
	}
	b, err := s.cfg.Store.Lookup(d)
	if err != nil {
		s.recent.drop(d)
		return nil, true, err
	}
	if m != nil {
		err = b.Close()
	} else {
		m, err = s.readManifest(b)
	}
	if err != nil {
		s.recent.drop(d)
		return nil, true, err
	}
	s.recent.put(m, now)
	return m, true, nil
}

var (
	errNoManifest = errors.New("the content is not a manifest")
	// errSchema1 is Docker's manifest of before 2016, which some registries still make for clients that accept nothing newer. Its
	// digest is not that of its bytes, so that it cannot be kept by digest: it is passed on.
	errSchema1 = errors.New("a schema 1 manifest is not kept")
)

// readManifest reads and closes b, and judges what it is.
func (s *Server) readManifest(b *cache.Blob) (*manifest, error) {
	defer b.Close()
	body, err := io.ReadAll(io.LimitReader(b, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxManifest {
		return nil, fmt.Errorf("%w: more than %d bytes", errNoManifest, maxManifest)
	}
	if !b.Digest.Matches(body) { // a disk that changes bytes: found here for what is small, by verify for the rest
		s.log.Warn().Stringer("digest", b.Digest).Msg("cache: a manifest is damaged on disk: it is dropped and fetched again")
		return nil, errors.Join(fmt.Errorf("%w any more", errNoManifest), s.cfg.Store.Remove(b.Digest))
	}
	is, err := parseManifest(body)
	if err != nil {
		return nil, err
	}
	t := is.MediaType // the bytes are the digest's: they know better than a header that came with them once
	if t == "" {
		t = b.MediaType
	}
	if t == "" {
		t = s.cfg.Store.MediaType(b.Digest)
	}
	if t, err = is.judge(t); err != nil {
		return nil, err
	}
	return &manifest{
		digest: b.Digest, mediaType: t, body: body, outcome: b.Outcome, children: is.children(),
		fields: describing(b.Digest, t), length: []string{strconv.Itoa(len(body))},
	}, nil
}

// shape is as much of a manifest as is needed to tell what it is and what it points to.
type shape struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config"`
	Layers        []descriptor `json:"layers"`
	Manifests     []descriptor `json:"manifests"`
}

type descriptor struct {
	MediaType string   `json:"mediaType"`
	Digest    string   `json:"digest"`
	Size      int64    `json:"size"`
	URLs      []string `json:"urls"`
}

// foreign tells whether registries take a manifest that points to d without having d: that a manifest names it then says nothing
// about what its repository holds.
func (d *descriptor) foreign() bool {
	return len(d.URLs) > 0 || strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".foreign.")
}

// child is what a manifest points to.
type child struct {
	digest cache.Digest
	size   int64
}

// parseManifest reads body, whatever it turns out to be.
func parseManifest(body []byte) (*shape, error) {
	if len(body) > maxManifest {
		return nil, fmt.Errorf("%w: more than %d bytes", errNoManifest, maxManifest)
	}
	m := &shape{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoManifest, err)
	}
	return m, nil
}

// judge checks that m is a manifest and returns its type: what upstream said, unless that is no manifest's type, as when the content
// came by way of a blob or from a server that calls everything octet-stream.
func (m *shape) judge(said string) (string, error) {
	if len(m.Manifests) > 0 && (len(m.Layers) > 0 || m.Config != nil) {
		return "", fmt.Errorf("%w: it has both layers and manifests, which clients read differently (CVE-2021-41190)", errNoManifest)
	}
	is := m.mediaType()
	switch {
	case m.SchemaVersion == 1 || strings.HasPrefix(said, typeDockerSchema1):
		return "", errSchema1
	case !isManifestType(is):
		return "", errNoManifest
	case m.MediaType != "" && isManifestType(said) && m.MediaType != said:
		return "", fmt.Errorf("%w: it says it is %.80q, its header says %.80q", errNoManifest, m.MediaType, said)
	case isManifestType(said):
		return said, nil
	}
	return is, nil
}

func isManifestType(t string) bool {
	return strings.HasPrefix(t, "application/vnd.oci.image.") || strings.HasPrefix(t, "application/vnd.docker.distribution.manifest.") ||
		strings.HasPrefix(t, "application/vnd.oci.artifact.manifest.")
}

func (m *shape) mediaType() string {
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.SchemaVersion != 2: // an image's configuration has a member config too
		return ""
	case m.Manifests != nil:
		return typeOCIIndex
	case m.Config != nil:
		return typeOCIManifest
	}
	return ""
}

// children are what m points to in its own repository.
func (m *shape) children() []child {
	all := slices.Concat(m.Layers, m.Manifests)
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	var out []child
	for _, c := range all {
		if d, err := cache.ParseDigest(c.Digest); err == nil && !c.foreign() {
			out = append(out, child{d, max(0, c.Size)})
		}
	}
	return out
}

// sendManifest writes m with the fields that clients depend on: digest, exact type, exact length.
func sendManifest(w http.ResponseWriter, r *http.Request, m *manifest, mediaType string) {
	m.fields.set(w.Header())
	if mediaType != m.mediaType {
		w.Header().Set("Content-Type", mediaType)
	}
	if matches(r.Header.Get("If-None-Match"), m.digest) {
		w.Header().Del("Content-Type")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header()["Content-Length"] = m.length
	if r.Method == http.MethodGet {
		w.Write(m.body)
	}
}

// matches reads If-None-Match (RFC 9110, section 13.1.2).
func matches(field string, d cache.Digest) bool {
	for tag := range strings.SplitSeq(field, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || strings.Trim(tag, `"`) == d.String() {
			return true
		}
	}
	return false
}
