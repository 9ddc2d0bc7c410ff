//go:build e2e

package e2e

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// upstream is the internet of a run: the world's personalities under the
// public names, and behind them real registries with images in them.
type upstream struct {
	*world.World
	roots string // a PEM file with the root of the public hosts
	gallery
}

// The images of a run, by the names that people write.
const (
	hubImage  = "docker.io/library/alpine:3.20"
	hubOCI    = "docker.io/library/debian:12"
	hubBig    = "docker.io/library/big:1"
	quayImage = "quay.io/prometheus/busybox:latest"
	gcrImage  = "gcr.io/distroless/static:nonroot"
	k8sImage  = "registry.k8s.io/pause:3.10"
	oldImage  = "k8s.gcr.io/pause:3.10"
	s3Image   = "s3reg.corp.test/team/app:1"
	hubSmall  = "docker.io/library/nginx:1.27"
	quaySmall = "quay.io/prometheus/node-exporter:v1.8.2"
)

// backend is where the process of a registry listens.
func backends() map[string]string {
	return map[string]string{
		"docker.io":               "127.0.0.1:6001",
		"quay.io":                 "127.0.0.1:6002",
		"gcr.io":                  "127.0.0.1:6003",
		"us-west1-docker.pkg.dev": "127.0.0.1:6004", // registry.k8s.io sends there
		"s3reg.corp.test":         "127.0.0.1:6005",
		"reg.corp.test":           "127.0.0.1:6006",
	}
}

// startUpstream starts all of it and fills it.
func startUpstream(t *testing.T) *upstream {
	t.Helper()
	urls := map[string]string{}
	for name, addr := range backends() {
		urls[name] = "http://" + addr
	}
	u := &upstream{
		World: newWorld(t, world.Options{Backends: urls, Forward: map[string]string{s3Host: "http://" + s3Addr}}),
		roots: filepath.Join(scratch(t), "public-roots.pem"),
	}
	writeFile(t, u.roots, string(u.RootPEM))
	u.resolvable(t)
	startS3(t)
	for name, addr := range backends() {
		if name == "s3reg.corp.test" {
			startRegistryOnS3(t, name, addr)
			continue
		}
		startRegistry(t, name, addr)
	}
	u.gallery = makeGallery(t)
	u.fill(t, urls)
	return u
}

// newWorld is a world at the addresses of network_test.go.
func newWorld(t *testing.T, opts world.Options) *world.World {
	t.Helper()
	opts.RealPorts, opts.Addresses = true, netip.MustParsePrefix(worldNet)
	return world.New(t, opts)
}

// resolvable makes the world's name server this machine's.
func (u *upstream) resolvable(t *testing.T) {
	t.Helper()
	u.ServeDNS(dnsAddr)
	writeFile(t, "/etc/resolv.conf", "nameserver "+strings.TrimSuffix(dnsAddr, ":53")+"\n")
	writeFile(t, "/etc/hosts", "127.0.0.1 localhost\n")
}

func (u *upstream) fill(t *testing.T, urls map[string]string) {
	t.Helper()
	upload(t, urls["docker.io"], "library/alpine", "3.20", u.docker)
	upload(t, urls["docker.io"], "library/debian", "12", u.oci)
	upload(t, urls["docker.io"], "library/big", "1", u.big)
	upload(t, urls["docker.io"], "library/nginx", "1.27", u.small)
	upload(t, urls["quay.io"], "prometheus/node-exporter", "v1.8.2", u.small)
	upload(t, urls["quay.io"], "prometheus/busybox", "latest", u.oci)
	upload(t, urls["gcr.io"], "distroless/static", "nonroot", u.docker)
	upload(t, urls["us-west1-docker.pkg.dev"], "k8s-artifacts-prod/images/pause", "3.10", u.docker)
	upload(t, urls["s3reg.corp.test"], "team/app", "1", u.oci)
}

// image is what was filled in under a name.
func (u *upstream) image(ref string) image {
	switch ref {
	case hubBig:
		return u.big
	case hubSmall, quaySmall:
		return u.small
	case hubOCI, quayImage, s3Image:
		return u.oci
	default:
		return u.docker
	}
}

// scenario is t.Run with a fresh log of the world, so that a failure tells
// its own story, six hours later by Docker Hub's count of manifests, and a
// look for credentials where they do not belong.
func (u *upstream) scenario(t *testing.T, name string, test func(*testing.T)) {
	t.Run(name, func(t *testing.T) {
		u.Reset()
		u.RateLimit(hubLimit)
		test(t)
		u.NoLeaks(t)
	})
}
