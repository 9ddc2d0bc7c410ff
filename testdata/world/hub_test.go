package world_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/testdata/world"
)

const (
	hub      = "https://registry-1.docker.io"
	hubRealm = "https://auth.docker.io/token?service=registry.docker.io&scope=repository:"
	anyType  = "Accept: */*"
)

func TestHubTokens(t *testing.T) {
	w := world.New(t, world.Options{})
	w.Push(t, "docker.io/library/alpine:3.20", world.Image(t, 1, 3000))
	w.Push(t, "docker.io/acme/secret:1", world.Image(t, 2, 3000))
	w.Private("docker.io/acme/secret")
	w.Account("docker.io", "ann", "pw", "acme/*")

	a := ask(t, w, "GET", hub+"/v2/library/alpine/manifests/3.20").want(t, http.StatusUnauthorized)
	a.header(t, "WWW-Authenticate",
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"`)
	if !strings.Contains(a.body, "UNAUTHORIZED") {
		t.Errorf("body of the challenge: got %q", a.body)
	}

	var body map[string]any
	if err := json.Unmarshal([]byte(ask(t, w, "GET", hubRealm+"library/alpine:pull").want(t, http.StatusOK).body), &body); err != nil {
		t.Fatal(err)
	}
	if body["token"] != body["access_token"] || body["expires_in"] != 300.0 {
		t.Errorf("token answer: got %v", body)
	}

	public := tokenFrom(t, w, hubRealm+"library/alpine:pull")
	secret := tokenFrom(t, w, hubRealm+"acme/secret:pull")
	// "ann:pw"
	anns := tokenFrom(t, w, hubRealm+"acme/secret:pull", "Authorization: Basic YW5uOnB3")
	for _, c := range []struct {
		token, path string
		want        int
	}{
		{public, "/v2/", 200},
		{public, "/v2/library/alpine/manifests/3.20", 200},
		{public, "/v2/acme/secret/manifests/1", 401},
		{secret, "/v2/acme/secret/manifests/1", 401},
		{anns, "/v2/acme/secret/manifests/1", 200},
		{"Authorization: Bearer nonsense", "/v2/", 401},
	} {
		ask(t, w, "GET", hub+c.path, c.token, anyType).want(t, c.want)
	}
	ask(t, w, "GET", hubRealm+"acme/secret:pull", "Authorization: Basic YW5uOm5v").want(t, 401)

	w.Advance(301 * time.Second)
	ask(t, w, "GET", hub+"/v2/library/alpine/manifests/3.20", public).want(t, 401).header(t, "WWW-Authenticate",
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull",error="invalid_token"`)
	fresh := tokenFrom(t, w, hubRealm+"library/alpine:pull")
	w.ExpireTokens()
	ask(t, w, "GET", hub+"/v2/", fresh).want(t, 401)
}

func TestHubCountsManifestGets(t *testing.T) {
	w := world.New(t, world.Options{RateLimit: 2})
	p := w.Push(t, "docker.io/library/alpine:3.20", world.Image(t, 1, 3000))
	token := tokenFrom(t, w, hubRealm+"library/alpine:pull")
	url := hub + "/v2/library/alpine/manifests/3.20"
	for _, c := range []struct {
		method string
		status int
		left   string
	}{
		{"HEAD", 200, "2;w=21600"},
		{"GET", 200, "1;w=21600"},
		{"HEAD", 200, "1;w=21600"},
		{"GET", 200, "0;w=21600"},
		{"HEAD", 200, "0;w=21600"},
		{"GET", 429, "0;w=21600"},
	} {
		a := ask(t, w, c.method, url, token, anyType).want(t, c.status)
		a.header(t, "Ratelimit-Remaining", c.left)
		a.header(t, "Ratelimit-Limit", "2;w=21600")
		if c.status == 200 {
			a.header(t, "Etag", `"`+p.Digest+`"`)
			a.header(t, "Docker-Content-Digest", p.Digest)
		} else if !strings.Contains(a.body, "TOOMANYREQUESTS") {
			t.Errorf("429: got body %q", a.body)
		}
	}
	got := w.Host("registry-1.docker.io").Counts()
	if got.ManifestGets != 3 || got.ManifestHeads != 3 || got.Requests != 6 || got.Connections != 1 {
		t.Errorf("counts: got %+v", got)
	}
	w.RateLimit(5)
	ask(t, w, "GET", url, token, anyType).want(t, 200).header(t, "Ratelimit-Remaining", "4;w=21600")
	w.RateLimit(-1)
	ask(t, w, "GET", url, token, anyType).want(t, 200).header(t, "Ratelimit-Remaining", "")
}

func TestHubSignedURLs(t *testing.T) {
	w := world.New(t, world.Options{URLLife: time.Minute})
	p := w.Push(t, "docker.io/library/alpine:3.20", world.Image(t, 1, 3000))
	token := tokenFrom(t, w, hubRealm+"library/alpine:pull")
	blob := hub + "/v2/library/alpine/blobs/" + p.Blobs[1]

	a := ask(t, w, "GET", blob, token).want(t, http.StatusTemporaryRedirect)
	a.header(t, "Content-Type", "application/octet-stream")
	signed := a.location(t)
	if a.body != "" || !strings.HasPrefix(signed, "https://production.cloudflare.docker.com/registry-v2/docker/registry/v2/blobs/sha256/") ||
		!strings.Contains(signed, "verify=") {
		t.Errorf("redirect: got %s and %q", signed, a.body)
	}
	full := ask(t, w, "GET", signed).want(t, 200)
	full.header(t, "Cache-Control", "public, max-age=14400")
	full.header(t, "Docker-Content-Digest", "")
	part := ask(t, w, "GET", signed, "Range: bytes=100-199").want(t, http.StatusPartialContent)
	part.header(t, "Content-Range", "bytes 100-199/3000")
	if part.body != full.body[100:200] {
		t.Errorf("range: got other bytes than in the whole")
	}
	ask(t, w, "GET", signed, "Range: bytes=100-199", "If-Range: \"other\"").want(t, 200)
	ask(t, w, "HEAD", signed).want(t, http.StatusForbidden)
	ask(t, w, "GET", signed[:len(signed)-1]+"x").want(t, http.StatusForbidden)

	heads := ask(t, w, "HEAD", blob, token).want(t, http.StatusTemporaryRedirect).location(t)
	if got := ask(t, w, "HEAD", heads).want(t, 200).ContentLength; got != 3000 {
		t.Errorf("HEAD at the storage: got length %d, want 3000", got)
	}
	w.ExpireURLs()
	ask(t, w, "GET", signed).want(t, http.StatusForbidden)
	fresh := ask(t, w, "GET", blob, token).location(t)
	ask(t, w, "GET", fresh).want(t, 200)
	w.Advance(2 * time.Minute)
	ask(t, w, "GET", fresh).want(t, http.StatusForbidden)
	ask(t, w, "GET", hub+"/v2/library/alpine/blobs/sha256:"+strings.Repeat("0", 64), tokenFrom(t, w, hubRealm+"library/alpine:pull")).want(t, 404)
}

func TestHubPush(t *testing.T) {
	w := world.New(t, world.Options{})
	w.Account("docker.io", "ann", "pw", "acme/*")
	tag, err := name.NewTag("docker.io/acme/app:1")
	if err != nil {
		t.Fatal(err)
	}
	img := world.DockerImage(t, 3, 4000)
	ann := remote.WithAuth(&authn.Basic{Username: "ann", Password: "pw"})
	if err := remote.Write(tag, img, ann, remote.WithTransport(w.Transport)); err != nil {
		t.Fatalf("push: %v\n%s", err, w.Story())
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	mustPull(t, w, "docker.io/acme/app:1", digest.String())
	if err := remote.Write(tag, world.DockerImage(t, 4, 4000), remote.WithTransport(w.Transport)); err == nil {
		t.Error("push without an account: got no error")
	}
	w.Remove(t, "docker.io/acme/app:1")
	if _, err := pull(t, w, "docker.io/acme/app:1"); err == nil {
		t.Error("pull after Remove: got no error")
	}
	w.NoLeaks(t)
}

// A Docker list is answered with the amd64 image to clients that know no lists.
func TestHubAccept(t *testing.T) {
	w := world.New(t, world.Options{})
	docker := w.Push(t, "docker.io/acme/docker:1", world.DockerList(t, 1, 3000))
	w.Push(t, "docker.io/acme/oci:1", world.Index(t, 1, 3000))
	token := tokenFrom(t, w, hubRealm+"acme/docker:pull&scope=repository:acme/oci:pull")
	const image = "Accept: application/vnd.docker.distribution.manifest.v2+json"
	ask(t, w, "GET", hub+"/v2/acme/docker/manifests/1", token, anyType).want(t, 200).header(t, "Docker-Content-Digest", docker.Digest)
	ask(t, w, "GET", hub+"/v2/acme/docker/manifests/1", token, image).want(t, 200).header(t, "Docker-Content-Digest", docker.Manifests[0])
	ask(t, w, "GET", hub+"/v2/acme/oci/manifests/1", token, image).want(t, 404)
}
