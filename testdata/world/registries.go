package world

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// put stores manifest bytes in the backend.
func (r *registry) put(repo, tag, mediaType string, body []byte) error {
	answer, err := r.tell(http.MethodPut, repo, tag, mediaType, body)
	if err != nil {
		return err
	}
	if answer.status != http.StatusCreated {
		return fmt.Errorf("status %d: %s", answer.status, answer.body)
	}
	return nil
}

func mediaTypeOf(thing Pushable) (string, error) {
	typed, ok := thing.(interface {
		MediaType() (types.MediaType, error)
	})
	if !ok {
		return "", fmt.Errorf("%T has no media type", thing)
	}
	kind, err := typed.MediaType()
	return string(kind), err
}

// build plays all hosts.
func (w *World) build() {
	w.t.Helper()
	w.hub()
	w.quay()
	for _, name := range []string{"gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io", "mirror.gcr.io"} {
		w.google(name)
	}
	for _, name := range []string{"us-docker.pkg.dev", "europe-docker.pkg.dev", k8sRegion} {
		w.google(name)
	}
	w.kubernetes()
	w.github()
	w.microsoft()
	w.ecrPublic()
	w.ecrPrivate()
	w.corporate()
	w.unknown()
	for name, base := range w.opts.Forward {
		w.play(&Host{Name: name, storage: true, handler: w.remote(w.parse(base))})
	}
}

// register makes a registry with its backend.
func (w *World) register(name string) *registry {
	w.t.Helper()
	reg := &registry{world: w, name: name, rights: newRights()}
	if base := w.opts.Backends[name]; base != "" {
		reg.backend = w.remote(w.parse(base))
	} else {
		reg.memory = newMemory()
		reg.backend = reg.memory
	}
	w.registries[name] = reg
	return reg
}

func (w *World) parse(base string) *url.URL {
	w.t.Helper()
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		w.t.Fatalf("world: backend %q is no URL", base)
	}
	return u
}

// play opens a host.
func (w *World) play(h *Host) *Host {
	h.world = w
	w.hosts[h.Name] = h
	return h
}

// api plays a host that is (one of) the registry's API.
func (w *World) api(name string, reg *registry) *Host {
	h := &Host{Name: name, owner: reg.name}
	h.handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if realm := w.realmAt(name, req.URL.Path); realm != nil {
			realm.ServeHTTP(rw, req)
			return
		}
		reg.ServeHTTP(rw, req)
	})
	return w.play(h)
}

// store plays the host of a registry's storage.
func (w *World) store(reg *registry, s *storage) {
	reg.storage = s
	w.play(&Host{Name: s.host, storage: true, handler: s.handler(w)})
}

// hub is Docker Hub: token for everything, manifest GETs are counted and
// limited, HEADs are not, blobs are 307 to Cloudflare with a URL that is good
// for one method and a short time. The API was never seen to speak HTTP/2.
func (w *World) hub() {
	reg := w.register("docker.io")
	reg.auth = &bearer{
		world: w, owner: reg, host: "auth.docker.io", path: "/token", service: "registry.docker.io",
		said: 300 * time.Second, life: 300 * time.Second, both: true,
	}
	limit := &limit{left: w.opts.RateLimit, most: w.opts.RateLimit}
	w.limit = limit
	reg.quirk = limit.check
	reg.unfit = unfitDistribution(reg)
	reg.dress = func(h http.Header, rt route, status int) {
		if rt.kind == Manifest && status == http.StatusOK {
			h.Set("Etag", `"`+h.Get("Docker-Content-Digest")+`"`)
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
	}
	for _, name := range []string{"registry-1.docker.io", "index.docker.io", "docker.io", "auth.docker.io"} {
		w.api(name, reg).http1 = true
	}
	w.store(reg, &storage{
		host: "production.cloudflare.docker.com", style: cloudflare(), status: http.StatusTemporaryRedirect, heads: true,
		answer: func(h header) {
			h.Set("Cache-Control", "public, max-age=14400")
			h.Set("Vary", "Accept-Encoding")
			h.Set("Server", "cloudflare")
		},
	})
}

// quay: a token without an end, and a redirect that claims to be good for a
// year and bears the digest, though its URL lives ten minutes and for GET only.
func (w *World) quay() {
	reg := w.register("quay.io")
	reg.auth = &bearer{world: w, owner: reg, host: "quay.io", path: "/v2/auth", service: "quay.io", life: time.Hour}
	reg.unfit = unfitQuay
	w.api("quay.io", reg)
	w.store(reg, &storage{
		host: "cdn01.quay.io", status: http.StatusFound,
		style: amazon(10*time.Minute, func(g grant) string {
			return "/quayio-production-s3/sha256/" + hexOf(g.digest)[:2] + "/" + hexOf(g.digest)
		}),
		redirect: func(h header) {
			h.Set("Cache-Control", "max-age=31536000")
			h.Set("Docker-Content-Digest", h.digest)
			h.Set("Accept-Ranges", "bytes")
			h.Set("Content-Type", "text/html; charset=utf-8")
		},
	})
}
