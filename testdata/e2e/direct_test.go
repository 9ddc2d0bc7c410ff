//go:build e2e

package e2e

import "testing"

// directly shows that the clients, the registries and the names work without
// entrepot between them.
func directly(t *testing.T, u *upstream) {
	trust := "SSL_CERT_FILE=" + u.roots
	t.Run("dockerd", func(t *testing.T) {
		d := startDocker(t, "", trust)
		u.pullDirectly(t, d, quaySmall, oldImage)
		u.pullDirectly(t, builder{d, t, false}, hubSmall)
		u.pullDirectly(t, builder{d, t, true}, hubSmall)
	})
	t.Run("containerd", func(t *testing.T) {
		c := startContainerd(t, "", trust)
		u.pullDirectly(t, c, hubImage)
		c.local = true
		u.pullDirectly(t, c, quayImage)
	})
	t.Run("podman", func(t *testing.T) { u.pullDirectly(t, podman(t, trust), gcrImage) })
	t.Run("buildah", func(t *testing.T) { u.pullDirectly(t, buildah(t, trust), hubImage) })
	t.Run("skopeo", func(t *testing.T) { u.pullDirectly(t, skopeo(t, trust), quayImage, s3Image) })
	t.Run("crane", func(t *testing.T) { u.pullDirectly(t, crane(t, trust), k8sImage, s3Image) })
	t.Run("regctl", func(t *testing.T) { u.pullDirectly(t, regctl(t, trust), hubOCI, k8sImage) })
}
