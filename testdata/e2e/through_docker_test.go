//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// throughDocker is dockerd by every door there is.
func throughDocker(t *testing.T, u *upstream) {
	u.scenario(t, "HTTPS_PROXY", func(t *testing.T) { dockerByProxy(t, u) })
	u.scenario(t, "build by HTTPS_PROXY", func(t *testing.T) { dockerBuild(t, u) })
	u.scenario(t, "hosts and certs.d", func(t *testing.T) { dockerByCerts(t, u) })
	u.scenario(t, "hosts and system store", func(t *testing.T) { dockerBySystemStore(t, u) })
	u.scenario(t, "hosts and insecure-registries over TLS", func(t *testing.T) { dockerInsecure(t, u, "tls") })
	u.scenario(t, "hosts and insecure-registries over HTTP", func(t *testing.T) {
		dockerInsecure(t, u, "http", "--tls-listen", "off")
	})
	u.scenario(t, "HTTPS_PROXY and certs.d", func(t *testing.T) { dockerByProxyAndCerts(t, u) })
	u.scenario(t, "HTTPS_PROXY and insecure-registries", func(t *testing.T) { dockerByInsecureProxy(t, u) })
	u.scenario(t, "hosts on loopback", func(t *testing.T) { dockerOnLoopback(t, u) })
	u.scenario(t, "registry-mirrors", func(t *testing.T) { dockerByMirror(t, u) })
	u.scenario(t, "localhost:5000", func(t *testing.T) { dockerByName(t, u) })
}

func dockerByProxy(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	t.Run("no trust", func(t *testing.T) {
		distrusts(t, startDocker(t, "", proxied()...), quayImage, hubImage)
	})
	e.trustSystemWide(t)
	d := startDocker(t, "", proxied()...)
	e.pullTwice(t, d, "proxy", hubBig, hubImage, quayImage, gcrImage, k8sImage, oldImage, s3Image)
}

// distrusts shows that without the CA there is no pull, and why: the proof
// that a pull with it shows anything.
func distrusts(t *testing.T, d *docker, refs ...string) {
	t.Helper()
	for _, ref := range refs {
		if out, err := d.pull(ref); err == nil || !strings.Contains(out, "x509: certificate signed by unknown authority") {
			t.Errorf("pull of %s without trust: got %v and %q, want x509's complaint", ref, err, out)
		}
	}
}

// dockerByProxyAndCerts needs neither the system's store nor a restart:
// dockerd reads certs.d at each pull.
func dockerByProxyAndCerts(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	d := startDocker(t, "", proxied()...)
	distrusts(t, d, quayImage)
	e.trustForDocker(t, "quay.io")
	e.pullTwice(t, d, "proxy", quaySmall)
}

func dockerByInsecureProxy(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	d := startDocker(t, `{"insecure-registries": ["quay.io"]}`, proxied()...)
	e.pullTwice(t, d, "proxy", quaySmall)
	distrusts(t, d, gcrImage)
}

// dockerOnLoopback trusts nothing and says so nowhere: dockerd does not look
// at the certificate of a registry whose name leads to 127.0.0.0/8, which is
// what `entrepot hosts add` writes if not told otherwise. But Docker Hub's.
func dockerOnLoopback(t *testing.T, u *upstream) {
	e := startEntrepot(t, u, "--tls-listen", "127.0.0.1:443")
	overrideTo(t, "127.0.0.1", "quay.io", "docker.io")
	d := startDocker(t, "")
	distrusts(t, d, hubImage)
	e.pullTwice(t, d, "tls", quaySmall)
}

// dockerBuild pulls the base image by both builders. BuildKit lets the docker
// command fetch the token, so that needs proxy and trust like the daemon.
func dockerBuild(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	e.trustSystemWide(t)
	d := startDocker(t, "", proxied()...)
	e.pullTwice(t, builder{d, t, false}, "proxy", hubImage)
	e.pullTwice(t, builder{d, t, true}, "proxy", hubSmall)
}

// dockerByCerts trusts the CA for two registries only, in Docker's own place.
func dockerByCerts(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	e.override(t, "quay.io", "gcr.io", "k8s.gcr.io")
	d := startDocker(t, "")
	distrusts(t, d, quayImage, gcrImage)
	e.trustForDocker(t, "quay.io", "gcr.io")
	e.pullTwice(t, d, "tls", quayImage, gcrImage)
	distrusts(t, d, oldImage)
}

// trustForDocker puts the CA where dockerd looks for one registry's.
func (e *entrepot) trustForDocker(t *testing.T, hosts ...string) {
	t.Helper()
	pem, err := os.ReadFile(e.ca)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts {
		placeFile(t, filepath.Join("/etc/docker/certs.d", host, "ca.crt"), string(pem))
	}
}

// dockerBySystemStore is the only way for Docker Hub, for which dockerd reads
// no certs.d and knows no insecurity.
func dockerBySystemStore(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	e.override(t, "docker.io", "quay.io")
	t.Run("no trust", func(t *testing.T) {
		e.trustForDocker(t, "docker.io", "registry-1.docker.io")
		distrusts(t, startDocker(t, `{"insecure-registries": ["docker.io", "registry-1.docker.io"]}`), hubImage, quayImage)
	})
	e.trustSystemWide(t)
	d := startDocker(t, "")
	e.pullTwice(t, d, "tls", hubImage, quaySmall)
}

// dockerInsecure trusts nothing. dockerd first tries TLS without a look at the
// certificate and then plain HTTP, so the open door decides.
func dockerInsecure(t *testing.T, u *upstream, door string, flags ...string) {
	e := startEntrepot(t, u, flags...)
	e.override(t, "quay.io", "gcr.io", "k8s.gcr.io")
	d := startDocker(t, `{"insecure-registries": ["quay.io", "gcr.io", "k8s.gcr.io"]}`)
	e.pullTwice(t, d, door, quaySmall, gcrImage, oldImage)
}

func dockerByMirror(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	d := startDocker(t, `{"registry-mirrors": ["http://`+mirrorAddr+`"]}`)
	e.pullTwice(t, d, "mirror", hubSmall, hubOCI)
}

// dockerByName asks the mirror for what it is: a registry on this machine.
func dockerByName(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	d := startDocker(t, "")
	e.pullAs(t, d, "localhost:5000/library/alpine:3.20", hubImage, "mirror")
	e.pullAs(t, d, "localhost:5000/quay.io/prometheus/busybox:latest", quayImage, "mirror")
}
