package proxy

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/testdata/world"
)

// TestVerifyByTheAdminDoor: the check runs while the server serves, and a page of somebody else's cannot start it.
func TestVerifyByTheAdminDoor(t *testing.T) {
	st := newSite(t)
	st.world.Push(t, "quay.io/org/tool:v1", world.Image(t, 1, 100<<10))
	st.pull(doorMirror, "quay.io/org/tool:v1")
	eventually(t, "everything is committed", func() bool { return st.store.Usage().Fills == 0 })
	url := "http://" + st.doors["admin"] + "/api/verify"
	resp, body := st.do("admin", http.MethodPost, url)
	lines := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	var last Progress
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || resp.StatusCode != 200 || !last.Done || last.Objects != 3 || len(last.Damaged) != 0 {
		t.Errorf("got %d %s (%v), want 3 objects and no damage", resp.StatusCode, body, err)
	}
	if resp, _ := st.do("admin", http.MethodPost, url, "Sec-Fetch-Site", "cross-site"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: got %d, want 403", resp.StatusCode)
	}
	if resp, _ := st.do("admin", http.MethodPost, url+"?rate=fast"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a bad rate: got %d, want 400", resp.StatusCode)
	}
}

// TestDamagedManifest: a manifest that the disk has changed is found when it is read, and fetched again (rpardini #156, #183).
func TestDamagedManifest(t *testing.T) {
	st := newSite(t)
	p := st.world.Push(t, "quay.io/org/tool:v1", world.Image(t, 1, 1000))
	st.outcome("/v2/quay.io/org/tool/manifests/v1")
	st.settled()
	st.damage(p.Digest)
	for _, path := range []string{"v1", p.Digest} {
		resp, body := st.get(doorMirror, st.mirror("/v2/quay.io/org/tool/manifests/"+path), "Accept", manifestTypes)
		if resp.StatusCode != 200 || cache.DigestOf(body).String() != p.Digest {
			t.Errorf("%s: got %d and %s, want what was pushed", path, resp.StatusCode, cache.DigestOf(body))
		}
	}
}

// damage changes what is held on disk, as a bad disk does.
func (st *site) damage(digest string) {
	st.t.Helper()
	_, hex, _ := strings.Cut(digest, ":")
	name := st.dir + "/cache/blobs/sha256/" + hex[:2] + "/" + hex
	content, err := os.ReadFile(name)
	if err != nil {
		st.t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(name, content, 0o600); err != nil {
		st.t.Fatal(err)
	}
}

// TestVerifyRepairs: what a check has dropped is fetched anew where everybody may read it, a manifest and a layer below it too; what only
// some may read is not.
func TestVerifyRepairs(t *testing.T) {
	v := newVault(t)
	p := v.world.Push(t, "quay.io/org/tool:v1", world.Image(t, 1, 100<<10))
	v.pull(doorMirror, "quay.io/org/tool:v1")
	for _, path := range v.paths(corp) {
		ask(t, v.by(way{doorProxy, true}), "GET", v.url(way{doorProxy, true}, corp, path), bearing(v.ada(corp), accepting...)...)
	}
	v.settled()
	v.restart() // what is remembered in memory of where things are is gone
	private := v.held[corp].Blobs[1]
	for _, d := range []string{p.Digest, p.Blobs[1], private} {
		v.damage(d)
	}
	_, body := v.do("admin", http.MethodPost, "http://"+v.doors["admin"]+"/api/verify")
	lines := bytes.Split(bytes.TrimSpace(body), []byte("\n"))
	var last Progress
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil || len(last.Damaged) != 3 {
		t.Fatalf("got %s (%v), want three damaged", body, err)
	}
	if len(last.Repaired) != 2 || !slices.Contains(last.Repaired, p.Digest) || !slices.Contains(last.Repaired, p.Blobs[1]) {
		t.Errorf("got %v repaired, want %s and %s", last.Repaired, p.Digest, p.Blobs[1])
	}
	v.settled()
	for d, want := range map[string]bool{p.Digest: true, p.Blobs[1]: true, private: false} {
		digest, _ := cache.ParseDigest(d)
		if got := v.store.Has(digest); got != want {
			t.Errorf("%s: held %v, want %v", d, got, want)
		}
	}
}

func TestSingleRange(t *testing.T) {
	for field, want := range map[string][3]int64{
		"bytes=0-9": {0, 10, 1}, "bytes=5-": {5, -1, 1}, "bytes=-5": {-5, -1, 1}, "bytes=7-7": {7, 8, 1},
		"": {}, "bytes=": {}, "bytes=-": {}, "bytes=-0": {}, "bytes=9-1": {}, "bytes=0-1,3-4": {}, "bytes=a-b": {}, "items=0-1": {}, "bytes=--1": {},
		"bytes=99999999999999999999-": {},
	} {
		from, to, ok := singleRange(field)
		if ok != (want[2] == 1) || ok && (from != want[0] || to != want[1]) {
			t.Errorf("%q: got %d %d %v, want %v", field, from, to, ok, want)
		}
	}
}
