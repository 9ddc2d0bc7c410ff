package proxy

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// What went wrong in systems like this one, by the advisories' names, each as a test that it does not here.

// TestAdvisoriesOnCredentials: a registry's answer chooses neither where requests go nor who gets a credential.
func TestAdvisoriesOnCredentials(t *testing.T) {
	manifest := "/v2/" + corp + "/app/manifests/1"
	untouched := func(t *testing.T, st *site, what string) {
		t.Helper()
		if n := st.world.Host("unknown.example.org").Counts().Requests; n > 0 || len(st.world.StrayDials()) > 0 {
			t.Errorf("%s: it was followed: %d requests, dials %v", what, n, st.world.StrayDials())
		}
		st.world.NoLeaks(t)
	}
	for id, realm := range map[string]string{
		"CVE-2026-33540 realm":                "https://unknown.example.org/token",
		"GHSA-78h6-3wp8-2542 realm":           "https://unknown.example.org/v2/token?account=x",
		"CVE-2026-33990 realm inside":         "http://169.254.169.254/latest/meta-data/",
		"GHSA-x2f5-332j-9xwq realm inside":    "https://127.0.0.1/token",
		"CVE-2026-12566 realm without scheme": "//unknown.example.org/token",
	} {
		t.Run(id, func(t *testing.T) {
			st := newSite(t)
			st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 401, Times: -1, Header: map[string]string{"WWW-Authenticate": `Bearer realm="` + realm + `",service="x"`}})
			if resp, body := st.get(doorMirror, st.mirror(manifest)); resp.StatusCode < 400 {
				t.Errorf("got %d %s, want an error", resp.StatusCode, body)
			}
			untouched(t, st, realm)
		})
	}
	t.Run("CVE-2026-5530 redirect, digest checked behind it", func(t *testing.T) {
		st := newSite(t)
		p := st.world.Push(t, corp+"/app:1", world.Image(t, 1, 50<<10))
		st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 307, On: world.Blob, Times: -1, Header: map[string]string{"Location": "https://unknown.example.org/evil"}})
		a, err := try(t.Context(), st.transport(doorMirror), "GET", st.mirror("/v2/"+corp+"/app/blobs/"+p.Blobs[0]))
		if err == nil && a.StatusCode == 200 && a.err == nil {
			t.Errorf("got %q as the blob", a.body)
		}
		st.world.Heal()
		if resp, _ := st.get(doorMirror, st.mirror("/v2/"+corp+"/app/blobs/"+p.Blobs[0])); resp.StatusCode != 200 {
			t.Errorf("afterwards: got %d, want the blob", resp.StatusCode)
		}
	})
	t.Run("CVE-2026-48978 credential stays behind on a redirect", func(t *testing.T) {
		st := newSite(t)
		seen := "nothing"
		st.world.Host("unknown.example.org").Fault(world.Fault{Kind: world.HTML, Match: func(r *http.Request) bool {
			seen = r.Header.Get("Authorization") + r.Header.Get("Cookie")
			return false
		}})
		st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 307, Header: map[string]string{"Location": "https://unknown.example.org/x"}})
		st.get(doorProxy, "https://"+corp+"/v2/app/manifests/1", "Authorization", basicAuth("ada", "right"), "Cookie", "a=b")
		if seen != "" {
			t.Errorf("the other host saw %q, want a request without a credential", seen)
		}
	})
	t.Run("GO-2026-4911 redirect inside", func(t *testing.T) {
		for _, to := range []string{"http://169.254.169.254/", "http://unknown.example.org/", "file:///etc/passwd"} {
			st := newSite(t)
			st.world.Host(corp).Fault(world.Fault{Kind: world.Status, Status: 302, Times: -1, Header: map[string]string{"Location": to}})
			if resp, body := st.get(doorMirror, st.mirror(manifest)); resp.StatusCode < 500 {
				t.Errorf("%s: got %d %s, want an error", to, resp.StatusCode, body)
			}
			untouched(t, st, to)
		}
	})
	t.Run("CVE-2026-49349 and CVE-2020-15157 urls of a layer", func(t *testing.T) {
		st := newSite(t)
		digest := "sha256:" + strings.Repeat("ab", 32)
		st.world.PutManifest(t, corp+"/app:1", typeOCIManifest, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x","digest":%q,"size":2},"layers":[{"mediaType":`+
			`"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":%q,"size":9,"urls":["https://unknown.example.org/l"]}]}`, typeOCIManifest, digest, digest))
		resp, _ := st.get(doorMirror, st.mirror(manifest), "Accept", manifestTypes)
		blob, _ := st.get(doorMirror, st.mirror("/v2/"+corp+"/app/blobs/"+digest))
		if resp.StatusCode != 200 || blob.StatusCode != 404 {
			t.Errorf("got %d and %d, want the manifest and a 404", resp.StatusCode, blob.StatusCode)
		}
		untouched(t, st, "urls")
	})
	t.Run("CVE-2026-32591 address judged when dialled", func(t *testing.T) { insideTheGuard(t, hosts.Registry{Name: corp}) })
	for _, id := range []string{"CVE-2022-27907", "CVE-2026-0600"} {
		t.Run(id+" URL in the configuration", func(t *testing.T) { insideTheGuard(t, hosts.Registry{Name: corp, Upstream: "http://169.254.169.254"}) })
	}
}

// inside shows that a registry whose address lies inside is not asked.
func insideTheGuard(t *testing.T, reg hosts.Registry) {
	st := newSite(t, func(c *Config) {
		table, err := hosts.New([]hosts.Registry{reg})
		if err != nil {
			t.Fatal(err)
		}
		c.Table, c.Dial = table, nil
	})
	dns := st.world.DNS()
	dns.Answer(corp, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("169.254.169.254"))
	resolver, err := hosts.NewResolver([]string{dns.Addr})
	if err != nil {
		t.Fatal(err)
	}
	st.restart(func(c *Config) {
		table, err := hosts.New([]hosts.Registry{reg})
		if err != nil {
			t.Fatal(err)
		}
		c.Table, c.Dial, c.Resolver = table, nil, resolver
	})
	resp, body := st.get(doorMirror, st.mirror("/v2/"+corp+"/app/manifests/1"))
	refusedWith(t, reg.Upstream, resp, string(body), 503, codeUnavailable, "--allow-net")
}

// TestAdvisoriesOnAccess: what is private is so on every path, and for every method.
func TestAdvisoriesOnAccess(t *testing.T) {
	v := newVault(t)
	auth := basicAuth("ada", "right")
	p := v.held[corp]
	for _, path := range v.paths(corp) {
		v.get(doorProxy, "https://"+corp+"/v2/"+path, "Authorization", auth, "Accept", manifestTypes)
	}
	denied := func(t *testing.T, method, path string, header ...string) {
		t.Helper()
		if resp, body := v.do(doorProxy, method, "https://"+corp+"/v2/"+path, header...); resp.StatusCode != 401 && resp.StatusCode != 403 && resp.StatusCode != 404 {
			t.Errorf("%s %s: got %d %.80q, want it denied", method, path, resp.StatusCode, body)
		}
	}
	t.Run("CVE-2026-27771 private on each endpoint", func(t *testing.T) {
		for _, path := range append(v.paths(corp), "acme/app/tags/list", "acme/app/referrers/"+p.Digest) {
			denied(t, "GET", path)
		}
	})
	for _, id := range []string{"GHSA-4j4m-fchf-gr9r", "GHSA-qxv7-p3mq-88fv"} {
		t.Run(id+" one policy before all methods", func(t *testing.T) {
			for _, path := range v.paths(corp) {
				denied(t, "HEAD", path)
				denied(t, "GET", path, "Range", "bytes=0-9")
				denied(t, "GET", path, "If-None-Match", `"`+p.Digest+`"`)
				denied(t, "GET", path, "If-None-Match", "*")
				denied(t, "GET", path, "Cache-Control", "only-if-cached")
			}
		})
	}
	for _, id := range []string{"CVE-2022-31670", "CVE-2022-46463"} {
		t.Run(id+" a right is to one repository", func(t *testing.T) {
			v.get(doorProxy, "https://"+corp+"/v2/eve/open/manifests/v1", "Authorization", basicAuth("eve", "pass"), "Accept", manifestTypes)
			denied(t, "GET", "acme/app/manifests/v1", "Authorization", basicAuth("eve", "pass"))
			denied(t, "GET", "eve/open/blobs/"+p.Blobs[0], "Authorization", basicAuth("eve", "pass"))
		})
	}
	t.Run("harbor 23681 a name is no identity", func(t *testing.T) {
		denied(t, "GET", "acme/app/manifests/v1", "Authorization", basicAuth("ada", ""))
		denied(t, "GET", "acme/app/manifests/v1", "Authorization", basicAuth("ada", "right "))
	})
	t.Run("CVE-2025-24976 a made-up token proves nothing", func(t *testing.T) {
		denied(t, "GET", "acme/app/manifests/v1", "Authorization", "Bearer eyJhbGciOiJub25lIiwiandrIjp7fX0.eyJhY2Nlc3MiOltdfQ.")
		denied(t, "GET", "acme/app/manifests/v1", "Authorization", "Bearer entrepot-offline")
	})
	t.Run("CVE-2026-45781 a registry in trouble says no", func(t *testing.T) {
		for _, status := range []int{429, 500, 503} {
			v.fails(corp, status)
			if resp, body := v.get(doorProxy, "https://"+corp+"/v2/acme/app/manifests/v1", "Authorization", basicAuth("eve", "pass")); resp.StatusCode < 400 {
				t.Errorf("%d: got %d %.80q", status, resp.StatusCode, body)
			}
			v.world.Heal()
		}
	})
	t.Run("CVE-2026-35172 what a repository does not have is not served by it", func(t *testing.T) {
		denied(t, "GET", "eve/open/blobs/"+p.Blobs[0])
		denied(t, "GET", "eve/open/manifests/"+p.Digest)
	})
}

// TestAdvisoriesOnContent: what comes in is what it says, and nothing comes in by the front.
func TestAdvisoriesOnContent(t *testing.T) {
	t.Run("CVE-2021-41190 and GHSA-qq97-vm5h-rrhg manifest and index in one", func(t *testing.T) {
		st := newSite(t)
		d := "sha256:" + strings.Repeat("ab", 32)
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":"x","digest":%q,"size":1}],"layers":[{"mediaType":"x","digest":%q,"size":1}]}`, typeOCIIndex, d, d)
		st.world.Host(corp).Fault(world.Fault{Kind: world.Status, On: world.Manifest, Status: 200, Times: -1, Body: body, Header: map[string]string{"Content-Type": typeOCIIndex}})
		if resp, got := st.get(doorMirror, st.mirror("/v2/"+corp+"/app/manifests/1"), "Accept", manifestTypes); resp.StatusCode < 400 {
			t.Errorf("got %d %s, want a refusal", resp.StatusCode, got)
		}
	})
	t.Run("CVE-2026-31801 and CVE-2026-50195 a tag is its registry's", func(t *testing.T) {
		st := newSite(t)
		one := st.world.Push(t, "quay.io/org/app:latest", world.Image(t, 1, 10<<10))
		two := st.world.Push(t, "ghcr.io/org/app:latest", world.Image(t, 2, 10<<10))
		for range 2 {
			for registry, want := range map[string]string{"quay.io": one.Digest, "ghcr.io": two.Digest} {
				if _, digest, _ := st.outcome("/v2/" + registry + "/org/app/manifests/latest"); digest != want {
					t.Errorf("%s: got %s, want %s", registry, digest, want)
				}
			}
		}
	})
	t.Run("CVE-2026-41888 read-only is every verb and path", func(t *testing.T) {
		st := newSite(t)
		for _, path := range []string{"/v2/library/alpine/manifests/1", "/v2/quay.io/a/b/manifests/1", "/v2/a/b/blobs/sha256:" + strings.Repeat("ab", 32), "/v2/a/b/tags/list", "/v2/"} {
			for _, method := range []string{"PUT", "POST", "PATCH", "DELETE"} {
				if resp, _ := st.do(doorMirror, method, st.mirror(path)); resp.StatusCode != 405 {
					t.Errorf("%s %s: got %d, want 405", method, path, resp.StatusCode)
				}
			}
		}
		st.world.Silent(t)
	})
	t.Run("CVE-2023-2253 n of a listing", func(t *testing.T) {
		st := newSite(t)
		st.get(doorMirror, st.mirror("/v2/"+corp+"/app/tags/list?n=2000000000"))
		for _, r := range st.world.Requests() {
			if strings.Contains(r.Path, "2000000000") {
				t.Errorf("upstream was asked for %s", r.Path)
			}
		}
	})
	t.Run("CVE-2024-4956 a path decoded twice", func(t *testing.T) {
		st := newSite(t)
		for _, path := range []string{"/v2/a%252f..%252f..%252fetc/manifests/1", "/%2F%2Fv2%2F..%2Fca.key", "/v2/..%2f..%2fca%2fca.key", "/ca.crt%2f..%2fca.key"} {
			resp, body, _ := st.say(doorMirror, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp.StatusCode != 400 && resp.StatusCode != 404 || strings.Contains(body, "PRIVATE") {
				t.Errorf("%s: got %d %s", path, resp.StatusCode, body)
			}
		}
		st.world.Silent(t)
	})
	t.Run("CVE-2025-22871 bare LF behind a chunk's size", func(t *testing.T) {
		st := newSite(t)
		_, body, closed := st.say(doorMirror, "GET /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\nabcde\r\n0\r\n\r\nGET /ca.crt HTTP/1.1\r\n\r\n")
		if !closed || strings.Contains(body, "CERTIFICATE") {
			t.Errorf("got %q, closed %v, want the end", body, closed)
		}
	})
	for _, id := range []string{"CVE-2026-3199", "GHSA-9rqp-mgmw-5879"} {
		t.Run(id+" the admin's is at the admin's door", func(t *testing.T) { adminApart(t) })
	}
}

func adminApart(t *testing.T) {
	st := newSite(t)
	for _, door := range []string{doorMirror, doorProxy, doorHTTP} {
		for _, path := range []string{"/metrics", "/healthz", "/readyz", "/api/verify"} {
			for _, method := range []string{"GET", "POST"} {
				resp, body, _ := st.say(door, method+" "+path+" HTTP/1.1\r\nHost: "+st.doors["admin"]+"\r\nContent-Length: 0\r\n\r\n")
				if resp.StatusCode < 400 || strings.Contains(body, "entrepot_") {
					t.Errorf("%s %s at the %s door: got %d %.80q", method, path, door, resp.StatusCode, body)
				}
			}
		}
	}
	resp, _, _ := st.say("admin", "POST /api/verify HTTP/1.1\r\nHost: "+st.doors["admin"]+"\r\nOrigin: https://evil.example.org\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n")
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site: got %d, want 403", resp.StatusCode)
	}
}
