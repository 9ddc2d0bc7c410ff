package world

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// downloads is where Google's registries serve blobs on their own host.
const downloads = "/artifacts-downloads/"

// grant is what a signed URL allows.
type grant struct {
	method string
	host   string
	path   string
	from   *registry
	repo   string
	digest string
	until  time.Time
	gone   bool
}

// grants are all signed URLs handed out, by their signature.
type grants struct {
	world *World
	mu    sync.Mutex
	all   map[string]*grant
}

func newGrants(w *World) *grants { return &grants{world: w, all: map[string]*grant{}} }

// ExpireURLs ends all signed URLs handed out so far: only a fresh redirect helps.
func (w *World) ExpireURLs() {
	w.grants.mu.Lock()
	defer w.grants.mu.Unlock()
	for _, g := range w.grants.all {
		g.gone = true
	}
}

// style is how one kind of storage writes a signed URL.
type style struct {
	life  time.Duration
	path  func(g grant) string
	query func(w *World, sig string, until time.Time, life time.Duration) url.Values
	sig   func(u *url.URL) string
}

// sign makes a URL on host for g, which lacks host, path and time.
func (s *grants) sign(st style, g grant) *url.URL {
	life := st.life
	if s.world.opts.URLLife != 0 {
		life = s.world.opts.URLLife
	}
	g.until = s.world.Now().Add(life)
	g.path = st.path(g)
	sig := strconv.FormatInt(g.until.Unix(), 10) + "-" + rand.Text()
	u := &url.URL{Scheme: "https", Host: g.host, Path: g.path, RawQuery: st.query(s.world, sig, g.until, life).Encode()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[st.sig(u)] = &g
	return u
}

// check finds the grant of a request, or tells why there is none.
func (s *grants) check(st style, host string, req *http.Request) (grant, string) {
	now := s.world.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.all[st.sig(req.URL)]
	switch {
	case g == nil, g.host != host, g.path != req.URL.Path:
		return grant{}, "SignatureDoesNotMatch"
	case g.method != req.Method:
		return grant{}, "SignatureDoesNotMatch"
	case g.gone, now.After(g.until):
		return grant{}, "Request has expired"
	}
	return *g, ""
}

// hexOf is the digest without its algorithm.
func hexOf(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex
}

// dataPath is where a distribution registry keeps a blob.
func dataPath(prefix, digest string) string {
	hex := hexOf(digest)
	return prefix + "/docker/registry/v2/blobs/sha256/" + hex[:2] + "/" + hex + "/data"
}

func queryKey(key string) func(*url.URL) string {
	return func(u *url.URL) string { return u.Query().Get(key) }
}

// cloudflare is Docker Hub's: verify=<unix>-<mac>.
func cloudflare() style {
	return style{
		life: 10 * time.Minute,
		path: func(g grant) string { return dataPath("/registry-v2", g.digest) },
		query: func(_ *World, sig string, _ time.Time, _ time.Duration) url.Values {
			return url.Values{"verify": {sig}}
		},
		sig: queryKey("verify"),
	}
}

// amazon is S3's signature version 4.
func amazon(life time.Duration, path func(g grant) string) style {
	return style{
		life: life, path: path,
		query: func(w *World, sig string, _ time.Time, life time.Duration) url.Values {
			return url.Values{
				"X-Amz-Algorithm":     {"AWS4-HMAC-SHA256"},
				"X-Amz-Credential":    {"WORLDKEY/" + w.Now().UTC().Format("20060102") + "/us-east-1/s3/aws4_request"},
				"X-Amz-Date":          {w.Now().UTC().Format("20060102T150405Z")},
				"X-Amz-Expires":       {strconv.Itoa(int(life.Seconds()))},
				"X-Amz-SignedHeaders": {"host"},
				"X-Amz-Signature":     {sig},
			}
		},
		sig: queryKey("X-Amz-Signature"),
	}
}

// azure is a shared access signature.
func azure(life time.Duration, path func(g grant) string) style {
	return style{
		life: life, path: path,
		query: func(_ *World, sig string, until time.Time, _ time.Duration) url.Values {
			return url.Values{
				"se": {until.UTC().Format(time.RFC3339)}, "sig": {sig}, "sp": {"r"},
				"spr": {"https"}, "sr": {"b"}, "sv": {"2019-12-12"},
			}
		},
		sig: queryKey("sig"),
	}
}

// opaque is Google's: everything is in a long path.
func opaque() style {
	return style{
		life: 20 * time.Minute,
		path: func(g grant) string {
			return downloads + "namespaces/world/repositories/" + strings.ReplaceAll(g.repo, "/", "-") +
				"/downloads/" + rand.Text() + strings.Repeat("AF4dLs9_", 150)
		},
		query: func(*World, string, time.Time, time.Duration) url.Values { return nil },
		sig:   func(u *url.URL) string { return u.Path },
	}
}
