package proxy

import (
	"net/http"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// unplug makes every host of the world refuse connections.
func (st *site) unplug() {
	for _, name := range st.world.Names() {
		st.cutOff(name, nil)
	}
}

// TestUnplugged: with every registry and realm dead, also after a restart, a cached public image is pulled by every door, with
// --offline without a single packet (rpardini/docker-registry-proxy #72, harbor #12853, distribution #1435).
func TestUnplugged(t *testing.T) {
	for _, door := range []string{doorProxy, doorTLS, doorHTTP, doorMirror} {
		t.Run(door, func(t *testing.T) {
			st := newSite(t)
			refs := []string{"docker.io/library/alpine:3.20", "quay.io/org/tool:v1", "registry.k8s.io/pause:3.10"}
			for i, ref := range refs {
				p := st.world.Push(t, ref, world.Image(t, uint64(i), 200<<10))
				st.pull(door, ref)
				st.awaitPublic(ref, p.Digest)
			}
			st.unplug()
			for _, ref := range refs {
				st.pull(door, ref)
			}
			st.restart()
			for _, ref := range refs {
				st.pull(door, ref)
			}
			st.world.Heal()
			st.world.Reset()
			st.restart(func(c *Config) { c.Offline = true })
			for _, ref := range refs {
				st.pull(door, ref)
			}
			st.world.Silent(t)
		})
	}
}

// TestOfflineSaysSo: what is held is served STALE for a reason that does not deny it, and what is not held is a 503 that tells why.
func TestOfflineSaysSo(t *testing.T) {
	st := newSite(t)
	p := st.world.Push(t, "quay.io/org/tool:v1", world.Image(t, 1, 1000))
	st.pull(doorMirror, "quay.io/org/tool:v1")
	st.awaitPublic("quay.io/org/tool:v1", p.Digest)
	st.restart(func(c *Config) { c.Offline = true })
	st.clock().advance(time.Hour)
	st.log.reset()
	st.get(doorMirror, st.mirror("/v2/quay.io/org/tool/manifests/v1"))
	if l := st.log.await(t, kindManifest, 1)[0]; l.Cache != cacheStale || l.Error != "ask quay.io: entrepot runs with --offline" {
		t.Errorf("held: got %+v", l)
	}
	resp, body := st.get(doorMirror, st.mirror("/v2/quay.io/org/tool/manifests/v2"))
	refusedWith(t, "not held", resp, string(body), http.StatusServiceUnavailable, codeUnavailable, "--offline, and does not hold this")
}

// TestUnpluggedBlobsAfterTag: a dockerd that has kept the manifests of an image it removed asks for the tag and then for blobs. After
// a restart with upstream dead it gets them all the same.
func TestUnpluggedBlobsAfterTag(t *testing.T) {
	st := newSite(t)
	const ref = "quay.io/org/tool:v1"
	p := st.world.Push(t, ref, world.Index(t, 1, 64<<10))
	m, err := st.pull(doorProxy, ref).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	st.awaitPublic(ref, p.Digest)
	st.unplug()
	st.restart()
	url := "https://quay.io/v2/org/tool/"
	if resp, body := st.do(doorProxy, http.MethodHead, url+"manifests/v1", "Accept", manifestTypes); resp.StatusCode != http.StatusOK {
		t.Fatalf("tag: got %s: %s", resp.Status, body)
	}
	if resp, body := st.get(doorProxy, url+"blobs/"+m.Config.Digest.String()); resp.StatusCode != http.StatusOK {
		t.Errorf("config: got %s: %s", resp.Status, body)
	}
}

// TestUnpluggedSecondHome: the same image in two repositories, pulled one right after the other, is known to be in both after a restart.
func TestUnpluggedSecondHome(t *testing.T) {
	st := newSite(t)
	homes := []string{"registry.k8s.io/org/tool:v1", "quay.io/org/tool:v1"}
	for _, ref := range homes {
		p := st.world.Push(t, ref, world.Index(t, 1, 64<<10))
		st.pull(doorProxy, ref)
		st.pull(doorProxy, ref) // from memory
		st.awaitPublic(ref, p.Digest)
	}
	m, err := st.pull(doorProxy, homes[1]).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	st.unplug()
	st.restart()
	for _, url := range []string{"https://registry.k8s.io/v2/org/tool/", "https://quay.io/v2/org/tool/"} {
		for _, path := range []string{"manifests/v1", "blobs/" + m.Config.Digest.String()} {
			if resp, body := st.get(doorProxy, url+path, "Accept", manifestTypes); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: got %s: %s", url+path, resp.Status, body)
			}
		}
	}
}
