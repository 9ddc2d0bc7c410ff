package hosts

// Defaults returns the registries that are cached without being asked for. The
// slice is the caller's to change and extend.
//
// Realms are the token servers that stand on a host of their own. Blob hosts
// are not listed: they change, and a redirect is followed wherever it leads.
func Defaults() []Registry {
	return []Registry{
		{
			Name: "docker.io",
			// The realm is intercepted too, so that anonymous tokens can be
			// answered when Docker Hub is out of reach.
			Hosts:    []string{"docker.io", "registry-1.docker.io", "index.docker.io", "auth.docker.io"},
			Upstream: "https://registry-1.docker.io",
			Realms:   []string{"auth.docker.io"},
		},
		{Name: "quay.io"},
		{Name: "gcr.io"},
		{Name: "*.gcr.io"},
		// It redirects to registry.k8s.io, but its names and digests are its
		// own, so it is not an alias.
		{Name: "k8s.gcr.io"},
		{Name: "registry.k8s.io"},
		{Name: "ghcr.io"},
		{Name: "*.pkg.dev"},
		{Name: "mcr.microsoft.com"},
		{Name: "public.ecr.aws"},
		{Name: "*.dkr.ecr.*.amazonaws.com"},
		// A client whose token has expired is sent to the second realm.
		{Name: "nvcr.io", Realms: []string{"authn.nvidia.com"}},
		// The token server is the whole GitLab, which is not ours to open.
		{Name: "registry.gitlab.com", Realms: []string{"gitlab.com"}},
		{Name: "*.azurecr.io"},
	}
}
