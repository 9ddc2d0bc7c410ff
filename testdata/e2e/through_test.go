//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"
)

// throughOthers is every other client by the way its users know.
func throughOthers(t *testing.T, u *upstream) {
	u.scenario(t, "containerd by hosts.toml", func(t *testing.T) { containerdByHosts(t, u) })
	u.scenario(t, "containerd in parallel", func(t *testing.T) { containerdInParallel(t, u) })
	u.scenario(t, "containerd by HTTPS_PROXY", func(t *testing.T) { containerdByProxy(t, u) })
	u.scenario(t, "podman by registries.conf", func(t *testing.T) { podmanByMirror(t, u) })
	u.scenario(t, "skopeo by HTTPS_PROXY", func(t *testing.T) {
		e := startEntrepot(t, u)
		e.pullTwice(t, skopeo(t, e.trusting()...), "proxy", quayImage, k8sImage)
	})
	u.scenario(t, "buildah by HTTPS_PROXY", func(t *testing.T) {
		e := startEntrepot(t, u)
		e.pullTwice(t, buildah(t, e.trusting()...), "proxy", hubImage)
	})
	u.scenario(t, "crane by HTTPS_PROXY", func(t *testing.T) {
		e := startEntrepot(t, u)
		e.pullTwice(t, crane(t, e.trusting()...), "proxy", hubImage, gcrImage, s3Image)
	})
	u.scenario(t, "regctl by HTTPS_PROXY", func(t *testing.T) {
		e := startEntrepot(t, u)
		e.pullTwice(t, regctl(t, e.trusting()...), "proxy", hubOCI, oldImage)
	})
}

// containerdByHosts has the files of the README: one for each registry that
// is to come by the mirror door, told apart there by ?ns=.
func containerdByHosts(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	dir := filepath.Join(scratch(t), "certs.d")
	for host, server := range map[string]string{
		"docker.io": "https://registry-1.docker.io", "quay.io": "https://quay.io", "registry.k8s.io": "https://registry.k8s.io",
	} {
		writeFile(t, filepath.Join(dir, host, "hosts.toml"), "server = \""+server+"\"\n\n"+
			"[host.\"http://"+mirrorAddr+"\"]\n  capabilities = [\"pull\", \"resolve\"]\n")
	}
	c := startContainerd(t, dir)
	e.pullTwice(t, c, "mirror", hubImage, quayImage, k8sImage)
	c.local = true
	e.pullTwice(t, c, "mirror", hubOCI)
}

// containerdInParallel asks for chunk after chunk by ranges with an open end, and reads no more: it hangs up, until it is sent no more.
func containerdInParallel(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	e.trustSystemWide(t)
	e.warm = true // the last chunks may be asked for when the layer is complete
	e.pullTwice(t, startContainerdWith(t, inParallel, "", proxied()...), "proxy", hubBig)
	chunks, cut, sent := 0, 0, int64(0)
	for _, one := range e.entries(t, 0) {
		if one.Status == 206 {
			chunks++
			sent += one.Bytes
			if one.Error != "" && chunks < 200 { // of the first pull: the second follows at once and looks like another client's
				cut++
			}
		}
	}
	wanted := int64(0)
	for _, size := range u.image(hubBig).native {
		wanted += 2 * size
	}
	t.Logf("%d bytes were sent in %d parts, of %d; of the first 200 it hung up behind %d", sent, chunks, wanted, cut)
	if chunks < 10 || sent > wanted/10*11 { // what is sent beyond a chunk is thrown away
		t.Errorf("containerd asked for %d parts and was sent %d bytes, want many parts and little more than %d", chunks, sent, wanted)
	}
	if cut > 50 {
		t.Errorf("containerd hung up behind %d of the first 200 parts, want it to keep its connections", cut)
	}
}

func containerdByProxy(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	e.trustSystemWide(t)
	c := startContainerd(t, "", proxied()...)
	e.pullTwice(t, c, "proxy", hubImage, gcrImage, s3Image)
	c.local = true
	e.pullTwice(t, c, "proxy", quayImage)
}

func podmanByMirror(t *testing.T, u *upstream) {
	e := startEntrepot(t, u)
	mirrorForPodman(t)
	e.pullTwice(t, podman(t), "mirror", hubImage, quayImage)
}

func mirrorForPodman(t *testing.T) {
	t.Helper()
	text := ""
	for _, host := range []string{"docker.io", "quay.io"} {
		text += "[[registry]]\nprefix = \"" + host + "\"\nlocation = \"" + host + "\"\n" +
			"[[registry.mirror]]\nlocation = \"" + mirrorAddr + "/" + host + "\"\ninsecure = true\n"
	}
	placeFile(t, "/etc/containers/registries.conf.d/50-cache.conf", text)
}
