package proxy

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestMirrorAddressing: each way in which clients tell a mirror what they want, and what upstream is asked for it.
func TestMirrorAddressing(t *testing.T) {
	st := newSite(t)
	for _, row := range []struct{ path, want string }{
		{"/v2/library/alpine/manifests/1", "registry-1.docker.io/v2/library/alpine/manifests/1"},
		{"/v2/alpine/manifests/1", "registry-1.docker.io/v2/library/alpine/manifests/1"},
		{"/v2/docker.io/alpine/manifests/1", "registry-1.docker.io/v2/library/alpine/manifests/1"},
		{"/v2/docker.io/library/alpine/manifests/1", "registry-1.docker.io/v2/library/alpine/manifests/1"},
		{"/v2/registry-1.docker.io/org/app/manifests/1", "registry-1.docker.io/v2/org/app/manifests/1"},
		{"/v2/org/app/manifests/1", "registry-1.docker.io/v2/org/app/manifests/1"},
		{"/v2/alpine/manifests/1?ns=docker.io", "registry-1.docker.io/v2/library/alpine/manifests/1"},
		{"/v2/manifests/manifests/1", "registry-1.docker.io/v2/library/manifests/manifests/1"},
		{"/v2/quay.io/org/tool/manifests/1", "quay.io/v2/org/tool/manifests/1"},
		{"/v2/QUAY.IO/org/tool/manifests/1", "quay.io/v2/org/tool/manifests/1"},
		{"/v2/quay.io:443/org/tool/manifests/1", "quay.io/v2/org/tool/manifests/1"},
		{"/v2/quay.io/single/manifests/1", "quay.io/v2/single/manifests/1"},
		{"/v2/us.gcr.io/project/app/manifests/1", "us.gcr.io/v2/project/app/manifests/1"},
		{"/v2/gcr.io/example.com/project/app/manifests/1", "gcr.io/v2/example.com/project/app/manifests/1"}, // a domain-scoped project
		{"/v2/example.com/project/app/manifests/1?ns=gcr.io", "gcr.io/v2/example.com/project/app/manifests/1"},
		{"/gcr.io/v2/example.com/project/app/manifests/1", "gcr.io/v2/example.com/project/app/manifests/1"},
		{"/v2/org/tool/manifests/1?ns=quay.io", "quay.io/v2/org/tool/manifests/1"},
		{"/v2/org/tool/manifests/1?ns=QUAY.IO", "quay.io/v2/org/tool/manifests/1"},
		{"/v2/quay.io/org/tool/manifests/1?ns=quay.io", "quay.io/v2/org/tool/manifests/1"}, // BuildKit says both
		{"/v2/quay.io/org/tool/manifests/1?ns=ghcr.io", "ghcr.io/v2/quay.io/org/tool/manifests/1"},
		{"/v2/org/tool/manifests/1?ns=", "registry-1.docker.io/v2/org/tool/manifests/1"},
		{"/quay.io/v2/org/tool/manifests/1", "quay.io/v2/org/tool/manifests/1"},
		{"/quay.io/v2/org/tool/manifests/1?ns=quay.io", "quay.io/v2/org/tool/manifests/1"},
		{"/quay.io/v2/quay.io/org/tool/manifests/1", "quay.io/v2/org/tool/manifests/1"},
		{"/quay.io/v2/org/tool/manifests/1?ns=ghcr.io", "ghcr.io/v2/org/tool/manifests/1"},
		{"/docker.io/v2/alpine/manifests/1", "registry-1.docker.io/v2/library/alpine/manifests/1"},
		{"/v2/quay.io/org%2ftool/manifests/1", "quay.io/v2/org/tool/manifests/1"}, // decoded once
		{"/v2/quay.io/acme/manifests/app/tags/list", "quay.io/v2/acme/manifests/app/tags/list"},
		{"/v2/quay.io/acme/blobs/manifests/1", "quay.io/v2/acme/blobs/manifests/1"},
		{"/v2/quay.io/org/tool/tags/list?n=2&ns=quay.io&last=a%2Bb", "quay.io/v2/org/tool/tags/list?last=a%2Bb&n=2"},
	} {
		st.world.Reset()
		st.get(doorMirror, st.mirror(row.path), "Accept", manifestTypes)
		if got := askedFor(st.world); got != row.want {
			t.Errorf("%s: upstream was asked for %q, want %q", row.path, got, row.want)
		}
	}
}

// askedFor is what a registry was asked first.
func askedFor(w *world.World) string {
	for _, r := range w.Requests() {
		if r.Kind != world.Token {
			return r.Host + r.Path
		}
	}
	return ""
}

// TestMirrorRefusals: what a mirror does not serve is refused in words, and nobody upstream hears of it. A name from the network is a
// key into the table and never a host to dial (SECURITY: a closed world).
func TestMirrorRefusals(t *testing.T) {
	st := newSite(t)
	long := strings.Repeat("a", 256)
	const hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, row := range []struct {
		path, code, words string
		status            int
	}{
		{"/v2/org/app/manifests/1?ns=unknown.example.org", codeNameUnknown, "--registry unknown.example.org", 404},
		{"/v2/unknown.example.org/org/app/manifests/1", codeNameUnknown, "--registry unknown.example.org", 404},
		{"/unknown.example.org/v2/org/app/manifests/1", codeNameUnknown, "--registry unknown.example.org", 404},
		{"/a/quay.io/v2/org/app/manifests/1", codeNameUnknown, "a/quay.io", 404},
		{"/v2/../x", codeNameUnknown, "is not the name of a registry", 404},
		{"/v2/org/app/manifests/1?ns=quay.io/../y", codeNameUnknown, "is not the name of a registry", 404},
		{"//unknown.example.org/v2/org/app/manifests/1", codeNameUnknown, "is not the name of a registry", 404},
		{"//unknown.example.org/v2", codeNameUnknown, "is not the name of a registry", 404},
		{"//v2/library/alpine/manifests/1", codeUnsupported, "/v2/", 404},
		{"/v2/localhost:5000/app/manifests/1", codeNameUnknown, "localhost:5000", 404},
		{"/v2/169.254.169.254/latest/meta-data", codeNameUnknown, "169.254.169.254", 404},
		{"/v2/org/app/manifests/1?ns=169.254.169.254", codeNameUnknown, "169.254.169.254", 404},
		{"/v2/org/app/manifests/1?ns=quay.io:8443", codeNameUnknown, "quay.io:8443", 404},
		{"/v2/org/app/manifests/1?ns=quay.io@unknown.example.org", codeNameUnknown, "", 404},
		{"/v2/org/app/manifests/1?ns=quay.io/../x", codeNameUnknown, "", 404},
		{"/v2/org/app/manifests/1?ns=quay.io%00", codeNameUnknown, "", 404},
		{"/v2/org/app/manifests/1?ns=https://quay.io", codeNameUnknown, "", 404},
		{"/v2/org/app/manifests/1?ns=quay.io&ns=ghcr.io", codeUnsupported, "more than one ns", 400},
		{"/v2/org/app/manifests/1?ns=quay.io&ns=quay.io", codeUnsupported, "more than one ns", 400},
		{"/v2/org/app/manifests/1?ns=" + strings.Repeat("a.", 200), codeUnsupported, "too long", 400},
		{"/v2/library/%2e%2e/alpine/manifests/1", codeNameInvalid, "library/alpine", 400},
		{"/v2/library/../quay/manifests/1", codeNameInvalid, "", 400},
		{"/v2/library/alpine/manifests/%2e%2e", codeTagInvalid, "", 400},
		{"/v2/library/alpine/manifests/..%2f..%2fetc", codeTagInvalid, "", 400},
		{"/v2/library%00/alpine/manifests/1", codeNameInvalid, "", 400},
		{"/v2/library%5calpine/manifests/1", codeNameInvalid, "", 400},
		{"/v2/library%252falpine/manifests/1", codeNameInvalid, "", 400},
		{"/v2/library%0aalpine/manifests/1", codeNameInvalid, "", 400},
		{"/v2//library/alpine/manifests/1", codeNameInvalid, "", 400},
		{"/v2/library//alpine/manifests/1", codeNameInvalid, "", 400},
		{"/v2/library/alpine/manifests/a//b", codeTagInvalid, "", 400},
		{"/v2/Library/alpine/manifests/1", codeNameInvalid, "lower-case", 400},
		{"/v2/" + long + "/app/manifests/1", codeNameInvalid, "", 400},
		{"/v2/library/-alpine/manifests/1", codeNameInvalid, "", 400},
		{"/v2/library/alpine/manifests/", codeTagInvalid, "", 400},
		{"/v2/library/alpine/manifests/" + long[:129], codeTagInvalid, "128", 400},
		{"/v2/library/alpine/manifests/-x", codeTagInvalid, "", 400},
		{"/v2/library/alpine/manifests/sha256:" + hex[:63], codeDigestInvalid, "63 hex digits", 400},
		{"/v2/library/alpine/manifests/sha256:" + strings.ToUpper(hex), codeDigestInvalid, "lower-case", 400},
		{"/v2/library/alpine/manifests/md5:" + hex[:32], codeDigestInvalid, "sha256 or sha512", 400},
		{"/v2/library/alpine/blobs/" + hex, codeDigestInvalid, "algorithm", 400},
		{"/v2/library/alpine/blobs/sha256:" + hex + "/..", codeDigestInvalid, "", 400},
		{"/v2/library/alpine/blobs/sha256:../../../../etc/passwd", codeDigestInvalid, "", 400},
		{"/v2/library/alpine/referrers/sha256:x", codeDigestInvalid, "", 400},
		{"/v2/Library/alpine/tags/list", codeNameInvalid, "", 400},
	} {
		resp, body, _ := st.say(doorMirror, "GET "+row.path+" HTTP/1.1\r\nHost: mirror\r\n\r\n")
		refusedWith(t, row.path, resp, body, row.status, row.code, row.words)
	}
	st.world.Silent(t)
	if stray := st.world.StrayDials(); len(stray) > 0 {
		t.Errorf("dialled %q, want nothing", stray)
	}
	st.healthy(doorMirror)
}

// TestHTTPDoorWords: who comes to the http door by another name than a registry's is not told to add that as one, unless it could be.
func TestHTTPDoorWords(t *testing.T) {
	st := newSite(t)
	for _, row := range []struct{ host, path, words, not string }{
		{st.doors[doorHTTP], "/", "this is entrepot", "--registry"},
		{st.doors[doorHTTP], "/v2/", "is an address", "--registry"},
		{"127.0.0.1", "/v2/library/alpine/manifests/1", "127.0.0.1 is an address", "--registry"},
		{"-x.example.org", "/v2/", "is not the name of a registry", "--registry"},
		{"unknown.example.org", "/v2/", "add it with --registry unknown.example.org", "an address"},
		{"unknown.example.org:5000", "/v2/", "add it with --registry unknown.example.org:5000", "an address"},
	} {
		resp, body, _ := st.say(doorHTTP, "GET "+row.path+" HTTP/1.1\r\nHost: "+row.host+"\r\n\r\n")
		if resp.StatusCode != 404 || !strings.Contains(body, row.words) || strings.Contains(body, row.not) {
			t.Errorf("%s%s: got %d %s, want 404 with %q and without %q", row.host, row.path, resp.StatusCode, body, row.words, row.not)
		}
	}
	st.world.Silent(t)
}

func TestMirrorIsReadOnly(t *testing.T) {
	st := newSite(t)
	for _, method := range []string{"PUT", "POST", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
		for _, path := range []string{"/v2/library/alpine/manifests/1", "/v2/library/alpine/blobs/uploads/", "/v2/", "/v2/_catalog", "/quay.io/v2/a/manifests/1", "/v2/token"} {
			resp, body := st.do(doorMirror, method, st.mirror(path))
			refusedWith(t, method+" "+path, resp, string(body), 405, codeUnsupported, "read-only")
			if resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: got Allow %q", method, path, resp.Header.Get("Allow"))
			}
		}
	}
	st.world.Silent(t)
}

func TestMirrorPing(t *testing.T) {
	st := newSite(t)
	for _, path := range []string{"/v2/", "/v2", "/quay.io/v2/", "/quay.io/v2", "/v2/?ns=quay.io"} {
		for _, method := range []string{"GET", "HEAD"} {
			resp, body := st.do(doorMirror, method, st.mirror(path))
			if resp.StatusCode != 200 || resp.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" || resp.ContentLength != 2 ||
				resp.Header.Get("Www-Authenticate") != "" || method == "GET" && string(body) != "{}" {
				t.Errorf("%s %s: got %d %v %q, want a 200 of version 2.0", method, path, resp.StatusCode, resp.Header, body)
			}
		}
	}
	st.world.Silent(t)
}

// TestCertificateIsServed by each door that a client without it can use, and the key by none.
func TestCertificateIsServed(t *testing.T) {
	st := newSite(t)
	for _, door := range []string{doorProxy, doorMirror, doorHTTP} {
		for _, host := range []string{st.doors[door], "entrepot.lan", ""} {
			resp, body, _ := st.say(door, "GET /ca.crt HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
			if resp.StatusCode != 200 || body != string(st.ca.RootPEM()) || resp.Header.Get("Content-Type") != "application/x-pem-file" {
				t.Errorf("%s door, Host %q: got %d %q, want the certificate", door, host, resp.StatusCode, body)
			}
			for _, path := range []string{"/ca.key", "/ca/ca.key", "/ca.crt/../ca.key", "/%63a.key"} {
				if resp, body, _ := st.say(door, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); resp.StatusCode != 404 || strings.Contains(body, "KEY-----") {
					t.Errorf("%s door: %s: got %d %q, want 404", door, path, resp.StatusCode, body)
				}
			}
		}
	}
	resp, body := st.get(doorTLS, "https://quay.io/ca.crt")
	if strings.Contains(string(body), "CERTIFICATE") {
		t.Errorf("tls door: got %d and a certificate, want quay's answer", resp.StatusCode)
	}
}

// TestAbsoluteForm: a client with HTTP_PROXY set asks for plain http URLs.
func TestAbsoluteForm(t *testing.T) {
	st := newSite(t)
	p := st.world.Push(t, "reg.corp.test/team/app:v1", world.Image(t, 5, 100<<10))
	blob := "http://reg.corp.test/v2/team/app/blobs/" + p.Blobs[1]
	for _, want := range []string{cacheMiss, cacheHit} {
		st.log.reset()
		resp, _ := st.get(doorProxy, blob)
		if l := st.log.await(t, kindBlob, 1)[0]; resp.StatusCode != 200 || l.Cache != want || l.Registry != "reg.corp.test" || l.Door != doorProxy {
			t.Errorf("a registry's blob: got %d, %+v, want %s", resp.StatusCode, l, want)
		}
	}
	resp, body := st.get(doorProxy, "http://unknown.example.org/x?a=b;c&d=%2f", "Proxy-Authorization", "Basic c2VjcmV0", "X-Own", "1")
	if resp.StatusCode != 200 || !strings.Contains(string(body), "echo GET /x?a=b;c&d=%2f") {
		t.Errorf("an unknown host: got %d %s, want it passed on as it is", resp.StatusCode, body)
	}
	for _, r := range st.world.Requests() {
		if r.Host == "unknown.example.org" && (r.Header.Get("X-Own") != "1" || !strings.Contains(r.Header.Get("Via"), st.server.via)) {
			t.Errorf("the unknown host saw %v", r.Header)
		}
	}
	resp, text, _ := st.say(doorProxy, "GET ftp://unknown.example.org/x HTTP/1.1\r\nHost: x\r\n\r\n")
	refusedWith(t, "ftp", resp, text, 400, codeUnsupported, "CONNECT")
	resp, text, _ = st.say(doorProxy, "GET https://unknown.example.org/x HTTP/1.1\r\nHost: x\r\n\r\n")
	refusedWith(t, "https", resp, text, 400, codeUnsupported, "CONNECT")
	// The proxy's own port is a mirror too, for clients that were told one address only.
	if resp, body := st.get(doorMirror, "http://"+st.doors[doorProxy]+"/v2/reg.corp.test/team/app/manifests/v1"); resp.StatusCode != 200 {
		t.Errorf("the proxy's port as a mirror: got %d %s", resp.StatusCode, body)
	}
	st.world.NoLeaks(t)
}

// TestSearchGoesToTheIndex: docker search asks index.docker.io, whose v1 API the registry host does not have.
func TestSearchGoesToTheIndex(t *testing.T) {
	st := newSite(t)
	for _, door := range []string{doorProxy, doorTLS} {
		st.log.reset()
		st.get(door, "https://index.docker.io/v1/search?q=alpine&n=25")
		st.get(door, "https://index.docker.io/v2/library/alpine/tags/list")
		asked := st.world.Requests()
		if got := asked[0].Host + asked[0].Path; got != "index.docker.io/v1/search?q=alpine&n=25" {
			t.Errorf("%s door: the search went to %s", door, got)
		}
		if got := asked[1].Host; got != "registry-1.docker.io" {
			t.Errorf("%s door: the API went to %s", door, got)
		}
		if l := st.log.await(t, kindSearch, 1)[0]; l.Registry != "docker.io" || l.Cache != cacheBypass {
			t.Errorf("%s door: log: got %+v", door, l)
		}
		st.world.Reset()
	}
}

// TestOwnLink: the next page of a list leads through the mirror again, by the address that the client used.
func TestOwnLink(t *testing.T) {
	for _, row := range []struct{ link, asked, want string }{
		{`</v2/org/tool/tags/list?last=b&n=2>; rel="next"`, "/v2/quay.io/org/tool/tags/list?n=2", `</v2/quay.io/org/tool/tags/list?last=b&n=2>; rel="next"`},
		{`<https://quay.io/v2/org/tool/tags/list?last=b>; rel="next"`, "/v2/org/tool/tags/list?ns=quay.io", `</v2/org/tool/tags/list?last=b&ns=quay.io>; rel="next"`},
		{`</v2/a/tags/list?last=b>;rel=next`, "/quay.io/v2/a/tags/list", `</quay.io/v2/a/tags/list?last=b>;rel=next`},
		{`nonsense`, "/v2/a/tags/list", `nonsense`},
		{`<%zz>; rel="next"`, "/v2/a/tags/list", `<%zz>; rel="next"`},
	} {
		u, err := url.Parse(row.asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&request{}).ownLink(row.link, u); got != row.want {
			t.Errorf("%s asked by %s: got %s, want %s", row.link, row.asked, got, row.want)
		}
	}
}

// TestOversizedHeader: limits on the header are answered, not ignored.
func TestOversizedHeader(t *testing.T) {
	st := newSite(t)
	c := st.raw(doorMirror)
	go io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 2*maxHeaderBytes)+"\r\n\r\n")
	if resp, _, _ := hear(t, c); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d, want 431", resp.StatusCode)
	}
}
