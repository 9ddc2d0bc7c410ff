//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/entrepot/entrepot/testdata/world"
)

// closedWorld: what a client names is not where the program goes. Behind every address that must not be dialled stands a trap.
func (s *siege) closedWorld() {
	s.dns.Answer("rebound.example.org", netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.77.0.1"))
	s.dns.Answer("mixed.example.org", netip.MustParseAddr("192.31.196.199"), netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("10.77.0.1"))
	for _, host := range []string{
		"mixed.example.org", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "localhost", "LOCALHOST.",
		"169.254.169.254", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "[fd00:ec2::254]", "10.77.0.1", "100.64.77.1", "rebound.example.org",
		lanAddr, "224.0.0.1", "255.255.255.255", "[fe80::1]", "[ff02::1]", "168.63.129.16",
	} {
		r := s.say(s.dial(proxyAddr), "CONNECT "+host+":443 HTTP/1.1\r\nHost: x\r\n\r\n")
		refused := r.closed && len(r.statuses()) == 1 && r.statuses()[0] >= "400"
		s.try("CONNECT "+host+":443", r.String(), unless(refused, "want a refusal and the end"))
		r = s.say(s.dial(proxyAddr), "GET http://"+host+"/latest/meta-data/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		refused = r.closed && len(r.statuses()) == 1 && r.statuses()[0] >= "400"
		s.try("GET http://"+host+"/", r.String(), unless(refused, "want a refusal"))
	}
	for _, target := range []string{"unknown.example.org:22", "unknown.example.org:25", "192.31.196.1:25", "unknown.example.org:80", adminAddr, mirrorAddr, proxyAddr, lanAddr + ":443"} {
		r := s.say(s.dial(proxyAddr), "CONNECT "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
		s.try("CONNECT "+target, r.String(), unless(r.closed && len(r.statuses()) == 1 && r.statuses()[0] >= "400", "want a refusal and the end"))
	}
	for _, target := range []string{adminAddr + "/metrics", mirrorAddr + "/v2/", "unknown.example.org:25/", "192.31.196.1:25/"} {
		resp, body := s.ask(proxyAddr, "GET http://"+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		s.try("GET http://"+target, resp.Status, unless(resp.StatusCode >= 400 && !strings.Contains(body, "entrepot_requests"), "got %.80q", body))
	}
	s.world.Reset()
	resp, _ := s.ask(proxyAddr, "GET http://unknown.example.org/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	s.try("for comparison: what is permitted works", resp.Status, unless(resp.StatusCode == 200, "want 200"))
}

// meant: a network that one registry is meant for is that registry's alone, and stays so behind its redirects.
func (s *siege) meant() {
	file := filepath.Join(scratch(s.t), "meant.yaml")
	writeFile(s.t, file, "registry:\n  - {name: inside.corp.test, allow-net: [10.77.0.0/24]}\n  - {name: reg.corp.test, allow-net: [169.254.0.0/16]}\n  - {name: bad.corp.test}\n")
	f := s.fort("meant", 29000, "--config", file)
	s.dns.Answer("inside.corp.test", netip.MustParseAddr("10.77.0.1"))
	s.dns.Answer("bad.corp.test", netip.MustParseAddr("10.77.0.1"))
	for what, text := range map[string]string{
		"a tunnel there":            request("CONNECT", "10.77.0.1:443"),
		"a tunnel by a name":        request("CONNECT", "mixed.example.org:443"),
		"plain HTTP there":          request("GET", "http://10.77.0.1/"),
		"another registry there":    request("GET", "http://bad.corp.test/v2/a/b/manifests/1"),
		"another registry's mirror": request("GET", "/v2/bad.corp.test/a/b/manifests/1"),
	} {
		r := s.say(s.dial(f.proxy), text)
		s.try("a network that one registry is meant for: "+what, r.String(), unless(r.refused(), "want a refusal"))
	}
	for _, location := range []string{"https://10.77.0.1/x", "https://169.254.169.254/latest", "https://127.0.0.1/x", "https://inside.corp.test/v2/a/b/manifests/1"} {
		s.world.Host("reg.corp.test").Fault(world.Fault{Kind: world.Status, Status: 307, Times: -1, Header: map[string]string{"Location": location}})
		resp, _ := s.ask(f.mirror, request("GET", "/v2/reg.corp.test/open/app/manifests/1"))
		s.world.Heal()
		s.try("the same behind another registry's redirect to "+location, resp.Status, unless(resp.StatusCode >= 500, "want an error"))
	}
	resp, _ := s.ask(f.mirror, request("GET", "/v2/inside.corp.test/a/b/manifests/1"))
	hits := int64(0)
	for _, c := range s.traps {
		hits += c.hits.Swap(0)
	}
	s.try("for comparison: the registry that it is meant for", resp.Status, unless(hits > 0, "it was not dialled"))
}

// hostileRegistry: a registry's answers are attacker's input too.
func (s *siege) hostileRegistry() {
	s.dns.Answer("inside.corp.test", netip.MustParseAddr("169.254.169.254"))
	pull := func(registry string) (*http.Response, string) {
		return s.ask(mirrorAddr, "GET /v2/"+registry+"/open/app/manifests/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: */*\r\n\r\n")
	}
	resp, _ := pull("inside.corp.test")
	s.try("a registry whose name leads to the metadata service", resp.Status, unless(resp.StatusCode >= 500, "want an error"))
	h := s.world.Host("reg.corp.test")
	for _, realm := range []string{
		"https://unknown.example.org/token", "http://unknown.example.org/token", "https://169.254.169.254/token", "http://169.254.169.254/latest", "https://127.0.0.1/token",
		"https://reg.corp.test.example.org/token", "https://user:pw@reg.corp.test/token", "//unknown.example.org/token", "https://rebound.example.org/token", "file:///etc/passwd",
	} {
		s.world.Reset()
		h.Fault(world.Fault{Kind: world.Status, Status: 401, Times: -1, Header: map[string]string{"WWW-Authenticate": `Bearer realm="` + realm + `",service="x"`}})
		resp, _ := pull("reg.corp.test")
		h.Heal()
		strays := s.world.Host("unknown.example.org").Counts().Requests
		s.try("a token realm at "+realm, resp.Status, unless(resp.StatusCode >= 400 && strays == 0, "it was asked %d times", strays))
	}
	for _, location := range []string{
		"http://unknown.example.org/x", "https://169.254.169.254/x", "http://127.0.0.1/x", "https://rebound.example.org/x", "https://" + adminAddr + "/metrics",
		"file:///etc/passwd", "gopher://127.0.0.1:22/", "https://user:pw@unknown.example.org/x", "https://[::ffff:169.254.169.254]/x", "/v2/open/app/manifests/1",
	} {
		s.world.Reset()
		h.Fault(world.Fault{Kind: world.Status, Status: 307, Times: -1, Header: map[string]string{"Location": location}})
		resp, body := pull("reg.corp.test")
		h.Heal()
		strays := s.world.Host("unknown.example.org").Counts().Requests
		s.try("a redirect to "+location, resp.Status, unless(resp.StatusCode >= 400 && strays == 0 && !strings.Contains(body, "pw@"), "got %.80q, asked %d times", body, strays))
	}
	s.world.Reset()
	h.Fault(world.Fault{Kind: world.Status, Status: 307, Header: map[string]string{"Location": "https://unknown.example.org/x"}})
	resp, _ = s.ask(proxyAddr, "GET http://reg.corp.test/v2/open/app/manifests/1 HTTP/1.1\r\nHost: reg.corp.test\r\nAuthorization: Basic c2VjcmV0\r\nConnection: close\r\n\r\n")
	leaked := ""
	for _, q := range s.world.Requests() {
		if q.Host == "unknown.example.org" {
			leaked += q.Header.Get("Authorization") + q.Header.Get("Cookie")
		}
	}
	s.try("a redirect to a foreign host, with a credential", resp.Status, unless(leaked == "", "it got %q", leaked))
	s.foreignLayers()
}

// foreignLayers: the urls of a manifest are for clients to use or not; the program never does.
func (s *siege) foreignLayers() {
	digest := "sha256:" + strings.Repeat("cd", 32)
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":2},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip","digest":"%s","size":9,"urls":["https://unknown.example.org/layer","http://169.254.169.254/"]}]}`, digest, digest)
	s.world.PutManifest(s.t, "reg.corp.test/open/app:urls", "application/vnd.oci.image.manifest.v1+json", []byte(body))
	s.world.Reset()
	resp, _ := s.ask(mirrorAddr, "GET /v2/reg.corp.test/open/app/manifests/urls HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: */*\r\n\r\n")
	blob, _ := s.ask(mirrorAddr, "GET /v2/reg.corp.test/open/app/blobs/"+digest+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	strays := s.world.Host("unknown.example.org").Counts().Requests
	s.try("a layer with urls in its manifest", resp.Status+", its blob "+blob.Status, unless(resp.StatusCode == 200 && blob.StatusCode == 404 && strays == 0, "asked %d times", strays))
}
