package world_test

import (
	"io"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/entrepot/entrepot/testdata/world"
	"github.com/entrepot/entrepot/testdata/world/leaks"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

// pull fetches all of an image the way crane does, checks every digest, and
// gives the image's own.
func pull(t *testing.T, w *world.World, ref string, options ...remote.Option) (v1.Hash, error) {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	options = append([]remote.Option{remote.WithTransport(w.Transport), remote.WithAuth(authn.Anonymous)}, options...)
	img, err := remote.Image(parsed, options...)
	if err != nil {
		return v1.Hash{}, err
	}
	if _, err := img.RawConfigFile(); err != nil {
		return v1.Hash{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return v1.Hash{}, err
	}
	for _, l := range layers {
		if err := drain(l); err != nil {
			return v1.Hash{}, err
		}
	}
	return img.Digest()
}

// drain reads a layer; ggcr checks size and digest while it does.
func drain(l v1.Layer) error {
	rc, err := l.Compressed()
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, rc); err != nil {
		return err
	}
	return rc.Close()
}

func mustPull(t *testing.T, w *world.World, ref, want string, options ...remote.Option) {
	t.Helper()
	got, err := pull(t, w, ref, options...)
	if err != nil {
		t.Fatalf("pull %s: %v\n%s", ref, err, w.Story())
	}
	if got.String() != want {
		t.Errorf("pull %s: got %s, want %s", ref, got, want)
	}
}

func TestEveryRegistryCanBePulledFrom(t *testing.T) {
	ecr := remote.WithAuth(&authn.Basic{Username: "AWS", Password: "world"})
	for _, c := range []struct {
		ref     string
		storage string // where the bytes must come from
		options []remote.Option
	}{
		{"docker.io/library/alpine:3.20", "production.cloudflare.docker.com", nil},
		{"quay.io/prometheus/node-exporter:v1", "cdn01.quay.io", nil},
		{"gcr.io/distroless/static:latest", "gcr.io", nil},
		{"europe-docker.pkg.dev/acme/prod/app:1", "europe-docker.pkg.dev", nil},
		{"registry.k8s.io/pause:3.10", "us-west1-docker.pkg.dev", nil},
		{"ghcr.io/acme/app:1", "pkg-containers.githubusercontent.com", nil},
		{"mcr.microsoft.com/dotnet/runtime:9.0", "westeurope.data.mcr.microsoft.com", nil},
		{"public.ecr.aws/nginx/nginx:1", "d5l0dvt14r5h8.cloudfront.net", nil},
		{world.ECR + "/app:1", "prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com", []remote.Option{ecr}},
		{"reg.corp.test/app:1", "reg.corp.test", nil},
	} {
		t.Run(c.storage, func(t *testing.T) {
			w := world.New(t, world.Options{})
			p := w.Push(t, c.ref, world.Image(t, 1, 1<<20, 5000))
			mustPull(t, w, c.ref, p.Digest, c.options...)
			if got := w.Host(c.storage).Counts().BlobBytes; got != p.Size {
				t.Errorf("blob bytes of %s: got %d, want %d\n%s", c.storage, got, p.Size, w.Story())
			}
			if got := w.BlobBytes(); got != p.Size {
				t.Errorf("blob bytes of all hosts: got %d, want %d", got, p.Size)
			}
			w.NoLeaks(t)
		})
	}
}
