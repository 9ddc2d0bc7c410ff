//go:build e2e

package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// hubLimit is Docker Hub's for those who do not log in: manifests in six hours.
const hubLimit = 100

// overLimit shows what the clients of a farm see that has spent Docker Hub's
// limit: what is held can be pulled as ever, which costs no manifest, although
// the tag is asked for each time; what is not held is refused in words that a
// person understands.
func overLimit(t *testing.T, u *upstream) {
	e := startEntrepot(t, u, "--manifest-ttl", "0s")
	e.trustSystemWide(t)
	d := startDocker(t, "", proxied()...)
	mirrorForPodman(t)
	pull(t, d, hubSmall)
	u.foundPublic(t, "/v2/library/nginx/")
	u.RateLimit(0)
	t.Cleanup(func() { u.RateLimit(hubLimit) })
	u.Reset()
	d.remove(t, hubSmall)
	for name, c := range map[string]client{
		"dockerd": d, "podman": podman(t), "containerd": startContainerd(t, "", proxied()...), "crane": crane(t, e.trusting()...),
	} {
		if out, err := c.pull(hubSmall); err != nil {
			t.Errorf("%s over the limit: pull of what is held: %v\n%s", name, err, out)
			continue
		}
		c.remove(t, hubSmall)
	}
	counted := func(r *world.Request) bool { return r.Method == http.MethodGet && r.Kind == world.Manifest }
	if slices.ContainsFunc(u.Requests(), counted) {
		t.Errorf("a manifest was asked for by GET, which Docker Hub counts:\n%s", u.Story())
	}
	if out, err := d.pull(hubImage); err == nil || !strings.Contains(out, "rate limit") {
		t.Errorf("over the limit: pull of what is not held: got %v and %q, want Docker Hub's words", err, out)
	}
}
