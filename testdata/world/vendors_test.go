package world_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

func TestQuay(t *testing.T) {
	w := world.New(t, world.Options{})
	p := w.Push(t, "quay.io/acme/app:1", world.Image(t, 1, 3000))
	realm := "https://quay.io/v2/auth?service=quay.io&scope=repository:acme/app:pull"
	if got := ask(t, w, "GET", realm).want(t, 200).body; strings.Contains(got, "expires_in") || strings.Contains(got, "access_token") {
		t.Errorf("token answer: got %s", got)
	}
	token := tokenFrom(t, w, realm)
	blob := "https://quay.io/v2/acme/app/blobs/" + p.Blobs[1]
	a := ask(t, w, "GET", blob, token).want(t, http.StatusFound)
	a.header(t, "Cache-Control", "max-age=31536000")
	a.header(t, "Docker-Content-Digest", p.Blobs[1])
	signed := a.location(t)
	if !strings.HasPrefix(signed, "https://cdn01.quay.io/") || !strings.Contains(signed, "X-Amz-Expires=600") {
		t.Errorf("redirect: got %s", signed)
	}
	ask(t, w, "GET", signed).want(t, 200)
	ask(t, w, "HEAD", signed).want(t, http.StatusForbidden)
	if got := ask(t, w, "HEAD", blob, token).want(t, 200).ContentLength; got != 3000 {
		t.Errorf("HEAD at the API: got length %d, want 3000", got)
	}
	old := ask(t, w, "GET", "https://quay.io/v2/acme/app/manifests/1", token).want(t, 200)
	old.header(t, "Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
	ask(t, w, "GET", "https://quay.io/v2/acme/app/manifests/1", token, anyType).want(t, 200).header(t, "Docker-Content-Digest", p.Digest)
}

func TestGoogleRedirectsRelatively(t *testing.T) {
	w := world.New(t, world.Options{})
	p := w.Push(t, "gcr.io/distroless/static:1", world.Image(t, 1, 3000))
	blob := "https://gcr.io/v2/distroless/static/blobs/" + p.Blobs[1]
	ask(t, w, "GET", blob).want(t, 401)
	a := ask(t, w, "GET", blob, tokenFrom(t, w, "https://gcr.io/v2/token?scope=repository:distroless/static:pull")).want(t, http.StatusFound)
	if got := a.Header.Get("Location"); !strings.HasPrefix(got, "/artifacts-downloads/") || len(got) < 1000 {
		t.Errorf("location: got %q", got)
	}
	ask(t, w, "GET", a.location(t)).want(t, 200)
}

func TestKubernetesHops(t *testing.T) {
	w := world.New(t, world.Options{})
	p := w.Push(t, "registry.k8s.io/pause:3.10", world.Image(t, 1, 3000))
	ask(t, w, "GET", "https://registry.k8s.io/v2/").want(t, 200)
	ask(t, w, "PUT", "https://registry.k8s.io/v2/pause/manifests/1").want(t, 405)
	ask(t, w, "GET", "https://registry.k8s.io/v2/_catalog").want(t, 404)
	a := ask(t, w, "HEAD", "https://registry.k8s.io/v2/pause/manifests/3.10").want(t, http.StatusTemporaryRedirect)
	ask(t, w, "HEAD", a.location(t)).want(t, 200).header(t, "Docker-Content-Digest", p.Digest)
	first := ask(t, w, "GET", "https://registry.k8s.io/v2/pause/blobs/"+p.Blobs[1]).want(t, http.StatusTemporaryRedirect)
	second := ask(t, w, "GET", first.location(t)).want(t, http.StatusFound)
	ask(t, w, "GET", second.location(t)).want(t, 200)
	old := ask(t, w, "GET", "https://k8s.gcr.io/v2/pause/manifests/3.10").want(t, http.StatusFound)
	if got, want := old.location(t), "https://registry.k8s.io/v2/pause/manifests/3.10"; got != want {
		t.Errorf("k8s.gcr.io: got %s, want %s", got, want)
	}
}

func TestGitHub(t *testing.T) {
	w := world.New(t, world.Options{})
	p := w.Push(t, "ghcr.io/acme/app:1", world.Image(t, 1, 3000))
	w.Private("ghcr.io/acme/secret")
	token := tokenFrom(t, w, "https://ghcr.io/token?scope=repository:acme/app:pull")
	ask(t, w, "GET", "https://ghcr.io/token?scope=repository:acme/secret:pull").want(t, 403)
	ask(t, w, "GET", "https://ghcr.io/v2/acme/app/manifests/1", token, "Accept: application/vnd.docker.distribution.manifest.v2+json").want(t, 404)
	signed := ask(t, w, "GET", "https://ghcr.io/v2/acme/app/blobs/"+p.Blobs[1], token).want(t, 307).location(t)
	if !strings.HasPrefix(signed, "https://pkg-containers.githubusercontent.com/ghcr1/blobs/sha256:") || !strings.Contains(signed, "sig=") {
		t.Errorf("redirect: got %s", signed)
	}
	ask(t, w, "GET", signed, "Range: bytes=0-9").want(t, 206)
	ask(t, w, "GET", signed, "Range: bytes=0-9,20-29").want(t, 501)
}

func TestAmazon(t *testing.T) {
	w := world.New(t, world.Options{})
	public := w.Push(t, "public.ecr.aws/nginx/nginx:1", world.Image(t, 1, 3000))
	token := tokenFrom(t, w, "https://public.ecr.aws/token/?service=public.ecr.aws&scope=aws")
	blob := "https://public.ecr.aws/v2/nginx/nginx/blobs/" + public.Blobs[1]
	ask(t, w, "HEAD", blob, token).want(t, 401)
	ask(t, w, "GET", ask(t, w, "GET", blob, token).want(t, 307).location(t)).want(t, 200)

	private := w.Push(t, world.ECR+"/app:1", world.Image(t, 2, 3000))
	blob = "https://" + world.ECR + "/v2/app/blobs/" + private.Blobs[1]
	ask(t, w, "GET", "https://"+world.ECR+"/v2/").want(t, 401).header(t, "WWW-Authenticate", `Basic realm="https://`+world.ECR+`/"`)
	const basic = "Authorization: Basic QVdTOndvcmxk" // AWS:world
	signed := ask(t, w, "GET", blob, basic).want(t, 307).location(t)
	w.NoLeaks(t)
	if a := ask(t, w, "GET", signed, basic).want(t, 400); !strings.Contains(a.body, "Only one auth mechanism allowed") {
		t.Errorf("two ways of authentication: got %q", a.body)
	}
	if got := w.Leaks(); len(got) != 1 {
		t.Errorf("leaks: got %q, want one", got)
	}
	if got := len(ask(t, w, "GET", signed, "Range: bytes=0-9,20-29").want(t, 200).body); got != 3000 {
		t.Errorf("many ranges: got %d bytes, want all 3000", got)
	}
}

func TestMicrosoft(t *testing.T) {
	w := world.New(t, world.Options{})
	p := w.Push(t, "mcr.microsoft.com/dotnet/runtime:9.0", world.Image(t, 1, 3000))
	a := ask(t, w, "GET", "https://mcr.microsoft.com/v2/dotnet/runtime/blobs/"+p.Blobs[1]).want(t, 307)
	if got := a.location(t); !strings.HasPrefix(got, "https://westeurope.data.mcr.microsoft.com/") || !strings.Contains(got, "/docker/registry/v2/blobs/sha256/") {
		t.Errorf("redirect: got %s", got)
	}
}

func TestCorporate(t *testing.T) {
	w := world.New(t, world.Options{})
	p := w.Push(t, "reg.corp.test/app:1", world.Image(t, 1, 3000))
	for _, base := range []string{"https://reg.corp.test", "http://reg.corp.test", "http://reg.corp.test:5000", "https://reg.corp.test:5001"} {
		ask(t, w, "GET", base+"/v2/app/blobs/"+p.Blobs[1], "Range: bytes=0-9").want(t, 206)
	}
	w.Account("reg.corp.test", "ann", "pw", "app")
	w.Private("reg.corp.test/app")
	url := "https://reg.corp.test/v2/app/manifests/1"
	ask(t, w, "GET", url).want(t, 401).header(t, "WWW-Authenticate", `Basic realm="Registry Realm"`)
	ask(t, w, "GET", url, "Authorization: Basic YW5uOnB3").want(t, 200)
	ask(t, w, "GET", url, "Authorization: Basic YW5uOm5v").want(t, 401)
}

func TestCredentialsOfAnotherRegistryAreLeaks(t *testing.T) {
	w := world.New(t, world.Options{})
	w.Account("reg.corp.test", "ann", "pw", "app")
	hubs := tokenFrom(t, w, hubRealm+"library/alpine:pull")
	ask(t, w, "GET", "https://quay.io/v2/", hubs).want(t, 401)
	ask(t, w, "GET", "https://quay.io/v2/", "Authorization: Basic YW5uOnB3").want(t, 401)
	ask(t, w, "GET", "https://quay.io/v2/", "Authorization: Bearer unknown").want(t, 401)
	ask(t, w, "GET", "https://cdn01.quay.io/x", "Cookie: a=b", "Proxy-Authorization: Basic eA==").want(t, 403)
	got := strings.Join(w.Leaks(), "\n")
	want := `GET quay.io/v2/ saw a credential of docker.io
GET quay.io/v2/ saw a credential of reg.corp.test
GET cdn01.quay.io/x saw Proxy-Authorization
GET cdn01.quay.io/x saw Cookie`
	if got != want {
		t.Errorf("leaks: got\n%s\nwant\n%s", got, want)
	}
}

func TestUnknownHostEchoes(t *testing.T) {
	w := world.New(t, world.Options{})
	if got, want := ask(t, w, "GET", "https://unknown.example.org/x?y=z").want(t, 200).body, "echo GET /x?y=z from unknown.example.org\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	ask(t, w, "GET", "http://quay.io/v2/").want(t, 301).header(t, "Location", "https://quay.io/v2/")
}
