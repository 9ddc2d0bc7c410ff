//go:build e2e

package e2e

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// unpluggedBound is how long a pull of a small image may take with every
// upstream dead, real clients' own work included.
const unpluggedBound = 30 * time.Second

// way is a client on its way to entrepot.
type way struct {
	name   string
	client client
	door   string
	refs   []string
}

// unplugged shows that what dockerd has pulled once by the proxy, every
// client pulls by every door when the world is gone, also from an entrepot
// that was started after that; and that --offline asks nobody anything.
func unplugged(t *testing.T, u *upstream) {
	dir := filepath.Join(scratch(t), "data")
	// A tag is to be asked for at each pull: one that is fresh proves nothing.
	serve := func(t *testing.T, flags ...string) *entrepot {
		return startEntrepotIn(t, u, dir, append(flags, "--manifest-ttl", "0s")...)
	}
	t.Run("before", func(t *testing.T) {
		e := serve(t)
		e.trustSystemWide(t)
		d := startDocker(t, "", proxied()...)
		for _, ref := range []string{hubSmall, quaySmall} {
			pull(t, d, ref)
		}
		u.foundPublic(t, "/v2/library/nginx/", "/v2/prometheus/node-exporter/")
	})
	e := serve(t)
	e.trustSystemWide(t)
	e.override(t, "docker.io", "quay.io")
	ways := allWays(t)
	e.stop(t)
	// Before packets are lost: the kernel sends them again when it can, also for
	// processes that are gone, and the world would take them for questions.
	t.Run("offline", func(t *testing.T) {
		out := counted()
		out.pull(t)
		u.Reset()
		serve(t, "--offline").pullStale(t, ways)
		u.Silent(t)
		if got := out.packets(t); got != "0" {
			t.Errorf("%s connections to upstream were tried, want 0", got)
		}
	})
	for _, out := range []unplug{refused(), dropped()} {
		t.Run(out.name, func(t *testing.T) {
			e := serve(t)
			e.askUpstream(t)
			out.pull(t)
			// Each waits for a silent upstream; one registry for each is enough.
			once := slices.Clone(ways)
			for i := range once {
				once[i].refs = []string{once[i].refs[i%len(once[i].refs)]}
			}
			e.pullStale(t, once)
		})
		t.Run(out.name+" before the start", func(t *testing.T) {
			out.pull(t)
			serve(t).pullStale(t, ways)
		})
	}
}

// allWays are clients that have pulled nothing yet. A registry's name leads to
// the tls door, so a mirror that fails shows as the wrong door.
func allWays(t *testing.T) []way {
	t.Helper()
	both := []string{hubSmall, quaySmall}
	certs := filepath.Join(scratch(t), "certs.d")
	writeFile(t, filepath.Join(certs, "_default", "hosts.toml"),
		"[host.\"http://"+mirrorAddr+"\"]\n  capabilities = [\"pull\", \"resolve\"]\n")
	mirrorForPodman(t)
	return []way{
		{"dockerd by HTTPS_PROXY", startDocker(t, "", proxied()...), "proxy", both},
		{"dockerd by hosts", startDocker(t, ""), "tls", both},
		{"dockerd by registry-mirrors", startDocker(t, `{"registry-mirrors": ["http://`+mirrorAddr+`"]}`), "mirror", []string{hubSmall}},
		{"containerd by hosts.toml", startContainerd(t, certs), "mirror", both},
		{"containerd by HTTPS_PROXY", startContainerd(t, "", proxied()...), "proxy", both},
		{"podman by registries.conf", podman(t), "mirror", both},
	}
}

// pullStale pulls all there is by all ways, each within the bound.
func (e *entrepot) pullStale(t *testing.T, ways []way) {
	t.Helper()
	for _, w := range ways {
		for _, ref := range w.refs {
			start, begin := e.mark(t), time.Now()
			out, err := w.client.pull(ref)
			took := time.Since(begin)
			t.Logf("%s pulled %s in %.1f s", w.name, ref, took.Seconds())
			if err != nil {
				t.Errorf("%s: pull %s: %v\n%s", w.name, ref, err, out)
				continue
			}
			if took > unpluggedBound {
				t.Errorf("%s: pull %s took %v, want at most %v", w.name, ref, took, unpluggedBound)
			}
			e.blobs(t, start, e.up.image(ref).native, w.door, "HIT")
			w.client.remove(t, ref)
		}
	}
	stale := func(one entry) bool { return one.Kind == "manifest" && one.Cache == "STALE" }
	if log := e.entries(t, 0); !slices.ContainsFunc(log, stale) {
		t.Errorf("no tag was STALE: was upstream asked after all? The log: %v", log)
	}
}

// foundPublic waits until entrepot itself has asked, without a credential of
// a client's, for manifests below these paths and got them. Only what is
// known to be public is given out when nobody can be asked.
func (u *upstream) foundPublic(t *testing.T, paths ...string) {
	t.Helper()
	found := func() bool {
		return !slices.ContainsFunc(paths, func(path string) bool { return !slices.ContainsFunc(u.Requests(), probes(path)) })
	}
	late, again := time.After(startTimeout), time.NewTicker(10*time.Millisecond)
	defer again.Stop()
	for !found() {
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("entrepot did not find out what is public:\n%s", u.Story())
		}
	}
}

// probes tells the requests that entrepot makes on its own.
func probes(path string) func(*world.Request) bool {
	return func(r *world.Request) bool {
		own := strings.HasPrefix(r.Header.Get("User-Agent"), "entrepot")
		return own && r.Method == http.MethodHead && strings.HasPrefix(r.Path, path) && r.Status() == http.StatusOK
	}
}

// askUpstream leaves entrepot with connections to the registries that are
// open when the cable is cut.
func (e *entrepot) askUpstream(t *testing.T) {
	t.Helper()
	for _, path := range []string{"library/nginx/manifests/1.27", "quay.io/prometheus/node-exporter/manifests/v1.8.2"} {
		before := len(e.up.Requests())
		if resp, body := get(t, "http://"+mirrorAddr+"/v2/"+path); resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s: %s", path, resp.Status, body)
		}
		if len(e.up.Requests()) == before {
			t.Fatalf("%s: upstream was not asked", path)
		}
	}
}
