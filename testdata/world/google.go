package world

import (
	"net/http"
	"strings"
	"time"
)

// k8sRegion is where registry.k8s.io sends everybody here.
const k8sRegion = "us-west1-docker.pkg.dev"

// k8sPrefix is the repository there.
const k8sPrefix = "k8s-artifacts-prod/images/"

// google is gcr.io or an Artifact Registry: the blob is on the same host
// behind a relative redirect of more than a kilobyte that needs no token. The
// repositories of Kubernetes are public in truth without any token: that is
// how registry.k8s.io can send people there.
func (w *World) google(name string) {
	reg := w.register(name)
	auth := &bearer{world: w, owner: reg, host: name, path: "/v2/token", service: name, said: 3600 * time.Second, life: time.Hour, both: true}
	reg.auth = openTo{prefix: k8sPrefix, next: auth}
	s := &storage{
		style: opaque(), status: http.StatusFound,
		redirect: func(h header) { h.Set("Alt-Svc", `h3=":443"; ma=2592000,h3-29=":443"; ma=2592000`) },
	}
	reg.storage = s
	api := w.api(name, reg)
	plain, blobs := api.handler, s.handler(w)
	api.handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, downloads) {
			blobs.ServeHTTP(rw, req)
			return
		}
		plain.ServeHTTP(rw, req)
	})
}

// openTo admits reading below a prefix without asking.
type openTo struct {
	prefix string
	next   *bearer
}

func (o openTo) admit(rw http.ResponseWriter, req *http.Request, rt route) bool {
	if strings.HasPrefix(rt.repo, o.prefix) && action(req.Method) == "pull" && req.Header.Get("Authorization") == "" {
		return true
	}
	return o.next.admit(rw, req, rt)
}

func (o openTo) realm() *bearer { return o.next }

// kubernetes is registry.k8s.io: no login, nothing but redirects, tags and
// manifests too, to an Artifact Registry; k8s.gcr.io sends people to it.
func (w *World) kubernetes() {
	region := w.registries[k8sRegion]
	reg := &registry{
		world: w, name: "registry.k8s.io", backend: region.backend, memory: region.memory,
		prefix: k8sPrefix, rights: newRights(),
	}
	w.registries[reg.name] = reg
	reg.quirk = func(rw http.ResponseWriter, req *http.Request, rt route) bool {
		h := rw.Header()
		switch {
		case action(req.Method) != "pull":
			http.Error(rw, "Only GET and HEAD are allowed.", http.StatusMethodNotAllowed)
		case rt.kind == Ping:
			h.Set("Content-Type", "application/json")
			h.Set("Content-Length", "2")
			_, _ = rw.Write([]byte("{}")) // the client may have left
		case rt.repo == "":
			http.NotFound(rw, req)
		default:
			h.Del("Docker-Distribution-Api-Version")
			path := "/v2/" + k8sPrefix + strings.TrimPrefix(req.URL.Path, "/v2/")
			http.Redirect(rw, req, "https://"+k8sRegion+path, http.StatusTemporaryRedirect)
		}
		return true
	}
	w.api(reg.name, reg)
	w.play(&Host{Name: "k8s.gcr.io", owner: reg.name, handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		http.Redirect(rw, req, "https://registry.k8s.io"+req.URL.RequestURI(), http.StatusFound)
	})})
}
