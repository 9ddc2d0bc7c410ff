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

// KnownRealms returns the token servers of a registry that is no default and
// has them on a host of their own, so that it needs no more than its name to
// be added. A name that is not known has none. The slice is the caller's.
func KnownRealms(name string) []string {
	pairs := []struct{ registry, realm string }{
		{"docker.elastic.co", "docker-auth.elastic.co"},
		{"lscr.io", "ghcr.io"},
		{"registry.digitalocean.com", "api.digitalocean.com"},
		{"registry.freedesktop.org", "gitlab.freedesktop.org"},
		{"rg.fr-par.scw.cloud", "api.scaleway.com"},
		{"rg.nl-ams.scw.cloud", "api.scaleway.com"},
		{"rg.pl-waw.scw.cloud", "api.scaleway.com"},
	}
	for _, p := range pairs {
		if p.registry == name {
			return []string{p.realm}
		}
	}
	return nil
}
