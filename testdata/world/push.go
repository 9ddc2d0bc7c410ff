package world

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
)

// Pushable is a v1.Image or a v1.ImageIndex.
type Pushable interface {
	RawManifest() ([]byte, error)
	Digest() (v1.Hash, error)
}

// Pushed tells what Push put where.
type Pushed struct {
	Digest    string   // what the tag points to
	Manifests []string // that and, of an index, its children
	Blobs     []string // configurations and layers
	Size      int64    // of all blobs together
	Layers    int64    // of the layers alone
}

// Push puts an image or an index into the registry that ref names
// ("docker.io/library/alpine:3.20", "reg.corp.test/app@sha256:…"). It passes
// by the personalities, so nothing is counted and nobody asks who pushes.
func (w *World) Push(t T, ref string, thing Pushable) Pushed {
	t.Helper()
	reg, repo, tag := w.reference(ref)
	var p Pushed
	if err := w.pushTo(reg, repo, tag, thing, &p); err != nil {
		t.Fatalf("world: push %s: %v", ref, err)
	}
	p.Digest = p.Manifests[len(p.Manifests)-1]
	return p
}

// pushTo walks depth first, since a registry wants the children before the index.
func (w *World) pushTo(reg *registry, repo, tag string, thing Pushable, p *Pushed) error {
	digest, err := thing.Digest()
	if err != nil {
		return err
	}
	if tag == "" {
		tag = digest.String()
	}
	switch thing := thing.(type) {
	case v1.Image:
		err = w.pushBlobs(reg, repo, thing, p)
	case v1.ImageIndex:
		err = w.pushChildren(reg, repo, thing, p)
	}
	if err != nil {
		return err
	}
	p.Manifests = append(p.Manifests, digest.String())
	return reg.putManifest(repo, tag, thing)
}

func (w *World) pushChildren(reg *registry, repo string, idx v1.ImageIndex, p *Pushed) error {
	list, err := idx.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range list.Manifests {
		var child Pushable
		if d.MediaType.IsIndex() {
			child, err = idx.ImageIndex(d.Digest)
		} else {
			child, err = idx.Image(d.Digest)
		}
		if err != nil {
			return err
		}
		if err := w.pushTo(reg, repo, "", child, p); err != nil {
			return err
		}
	}
	return nil
}

func (w *World) pushBlobs(reg *registry, repo string, img v1.Image, p *Pushed) error {
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return err
	}
	p.Blobs = append(p.Blobs, manifest.Config.Digest.String())
	p.Size += manifest.Config.Size
	for _, d := range manifest.Layers {
		p.Blobs = append(p.Blobs, d.Digest.String())
		p.Size += d.Size
		p.Layers += d.Size
	}
	if reg.memory == nil {
		return reg.upload(repo, img)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	reg.memory.put(reg.stored(repo), manifest.Config.Digest.String(), fromBytes(config))
	for i, l := range layers {
		src, err := sourceOf(l)
		if err != nil {
			return err
		}
		reg.memory.put(reg.stored(repo), manifest.Layers[i].Digest.String(), src)
	}
	return nil
}

// sourceOf keeps one of our layers as the rule that makes it, any other as bytes.
func sourceOf(l v1.Layer) (source, error) {
	digest, err := l.Digest()
	if err != nil {
		return source{}, err
	}
	if own, ok := ours(l); ok && own.digest == digest {
		return source{own.size, own.reader}, nil
	}
	rc, err := l.Compressed()
	if err != nil {
		return source{}, err
	}
	b, err := io.ReadAll(rc)
	if err != nil {
		return source{}, err
	}
	return fromBytes(b), rc.Close()
}

func ours(l v1.Layer) (*layer, bool) {
	own, ok := l.(*layer)
	return own, ok
}

// PutManifest stores any bytes as a manifest, also such as no registry should have.
func (w *World) PutManifest(t T, ref, mediaType string, body []byte) {
	t.Helper()
	reg, repo, tag := w.reference(ref)
	if err := reg.put(repo, tag, mediaType, body); err != nil {
		t.Fatalf("world: put manifest %s: %v", ref, err)
	}
}

// PutBlob stores bytes as the blob that digest names, also if it is not
// theirs. It needs a registry in memory.
func (w *World) PutBlob(t T, repo, digest string, body []byte) {
	t.Helper()
	reg, path := w.repository(repo)
	if reg.memory == nil {
		t.Fatalf("world: put blob %s: %s is not in memory", repo, reg.name)
	}
	reg.memory.put(reg.stored(path), digest, fromBytes(body))
}

// Remove deletes a tag or a digest at the registry.
func (w *World) Remove(t T, ref string) {
	t.Helper()
	reg, repo, tag := w.reference(ref)
	answer, err := reg.tell(http.MethodDelete, repo, tag, "", nil)
	if err != nil || answer.status >= 300 {
		t.Fatalf("world: remove %s: status %d, %v", ref, answer.status, err)
	}
}

// reference takes "docker.io/library/alpine:3.20" apart.
func (w *World) reference(ref string) (reg *registry, repo, tag string) {
	w.t.Helper()
	base, digest, byDigest := strings.Cut(ref, "@")
	if byDigest {
		reg, repo = w.repository(base)
		return reg, repo, digest
	}
	if i := strings.LastIndex(base, ":"); i > strings.LastIndex(base, "/") {
		base, tag = base[:i], base[i+1:]
	} else {
		tag = "latest"
	}
	reg, repo = w.repository(base)
	return reg, repo, tag
}

// repository takes "docker.io/library/alpine" apart. Host names of a registry
// are as good as its own.
func (w *World) repository(full string) (*registry, string) {
	w.t.Helper()
	host, repo, ok := strings.Cut(full, "/")
	host, _ = split(host)
	reg := w.registries[host]
	if reg == nil {
		if h := w.hosts[host]; h != nil {
			reg = w.registries[h.owner]
		}
	}
	if !ok || reg == nil {
		w.t.Fatalf("world: %q names no repository of this world", full)
	}
	return reg, repo
}

// Knows reports whether a name's registry is of this world.
func (w *World) Knows(full string) bool {
	host, _, ok := strings.Cut(full, "/")
	host, _ = split(host)
	h := w.hosts[host]
	return ok && (w.registries[host] != nil || h != nil && w.registries[h.owner] != nil)
}

// handlerTransport lets a client talk to a handler without a network.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	answer := hold()
	if req.Body == nil {
		req.Body = http.NoBody
	}
	req.Host = req.URL.Host
	h.ServeHTTP(answer, req)
	return &http.Response{
		StatusCode: answer.status, Header: answer.header, Request: req, ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(answer.body)), ContentLength: int64(len(answer.body)),
	}, nil
}

// upload pushes to a real registry, the ordinary way.
func (r *registry) upload(repo string, img v1.Image) error {
	to, err := name.NewRepository("backend.test/"+r.stored(repo), name.Insecure)
	if err != nil {
		return err
	}
	return ggcr.Write(to.Tag("world-upload"), img, ggcr.WithTransport(handlerTransport{r.backend}))
}

func (r *registry) putManifest(repo, tag string, thing Pushable) error {
	raw, err := thing.RawManifest()
	if err != nil {
		return err
	}
	kind, err := mediaTypeOf(thing)
	if err != nil {
		return err
	}
	return r.put(repo, tag, kind, raw)
}

// tell sends one manifest request to the backend.
func (r *registry) tell(method, repo, tag, mediaType string, body []byte) (*held, error) {
	req, err := http.NewRequest(method, "http://backend.test", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.URL = &url.URL{Path: "/v2/" + r.stored(repo) + "/manifests/" + tag}
	req.RequestURI = req.URL.Path
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	answer := hold()
	r.backend.ServeHTTP(answer, req)
	return answer, nil
}
