//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// smuggling hides a request in another. One answer at most, a refusal, and the end of the connection.
func (s *siege) smuggling() {
	const hidden = "GET /ca.crt HTTP/1.1\r\nHost: quay.io\r\n\r\n"
	head := func(extra string) string { return "POST /v2/ HTTP/1.1\r\nHost: quay.io\r\n" + extra }
	ways := []struct {
		name string
		dial func() net.Conn
	}{
		{"mirror", func() net.Conn { return s.dial(mirrorAddr) }},
		{"proxy", func() net.Conn { return s.dial(proxyAddr) }},
		{"http", func() net.Conn { return s.dial(httpAddr) }},
		{"tls", func() net.Conn { return s.inside("quay.io") }},
		{"CONNECT", func() net.Conn { return s.tunnelled("quay.io") }},
	}
	for _, a := range []attack{
		{"Content-Length and Transfer-Encoding", head("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"), false},
		{"Transfer-Encoding and Content-Length", head("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"), false},
		{"Transfer-Encoding in HTTP/1.0", "POST /v2/ HTTP/1.0\r\nHost: quay.io\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false},
		{"Transfer-Encoding: identity, chunked", head("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"), false},
		{"Transfer-Encoding twice", head("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"), false},
		{"Transfer-Encoding with a vertical tab", head("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"), false},
		{"two Content-Lengths", head("Content-Length: 0\r\nContent-Length: 40\r\n\r\n"), false},
		{"a signed Content-Length", head("Content-Length: +0\r\n\r\n"), false},
		{"a space before the colon", head("Content-Length : 40\r\n\r\n"), false},
		{"a folded line", head("X: a\r\n Content-Length: 40\r\n\r\n"), false},
		{"a folded Transfer-Encoding", head("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"), false},
		{"bare line feeds", "GET /v2/ HTTP/1.1\nHost: quay.io\n\n", false},
		{"a bare line feed in a chunk's size", head("Transfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n"), true},
		{"a bare carriage return", head("X: a\rContent-Length: 40\r\n\r\n"), false},
		{"a NUL in a field", head("X: a\x00b\r\n\r\n"), false},
		{"a chunk of 2^64 bytes", head("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n"), true},
		{"two Host fields", "GET /v2/ HTTP/1.1\r\nHost: quay.io\r\nHost: evil.example.org\r\n\r\n", false},
		{"no Host field", "GET /v2/ HTTP/1.1\r\n\r\n", false},
		{"a preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false},
		{"a version of 1.2 and a half", "GET /v2/ HTTP/1.25\r\nHost: quay.io\r\n\r\n", false},
	} {
		var outcomes, breaches []string
		for _, way := range ways {
			r := s.say(way.dial(), a.text+hidden)
			got := r.statuses()
			outcomes = append(outcomes, strings.Join(got, "+"))
			served := len(got) == 1 && got[0] < "400" && !a.inBody // by then a handler may have answered
			silent := len(got) == 0 && a.inBody                    // the end of a push that nobody can read is answer enough
			if !r.closed || len(got) != 1 && !silent || served || strings.Contains(r.raw, "CERTIFICATE") {
				breaches = append(breaches, fmt.Sprintf("by way of %s: %v", way.name, r))
			}
		}
		s.try(a.what+", by 5 ways", strings.Join(outcomes, " ")+" closed", strings.Join(breaches, "; "))
	}
	for _, target := range []string{"quay.io", "user@quay.io:443", "quay.io:0", "unknown.example.org:22", "127.0.0.1:443"} {
		r := s.say(s.dial(proxyAddr), "CONNECT "+target+" HTTP/1.1\r\nHost: x\r\n\r\n"+hidden)
		s.try("a request behind a refused CONNECT "+target, r.String(), unless(r.closed && len(r.statuses()) == 1 && r.statuses()[0] >= "400", "not ended"))
	}
}

// attack is one hidden request.
type attack struct {
	what, text string
	inBody     bool // the fault comes when the header has been judged
}

// headers that are too large, that name others, or that are not ours to pass on.
func (s *siege) headers() {
	r := s.say(s.dial(mirrorAddr), "GET /v2/ HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 200<<10)+"\r\n\r\n")
	s.try("200 KB of header", r.String(), unless(r.closed && slices.Equal(r.statuses(), []string{"431"}), "want 431 and the end"))
	r = s.say(s.dial(mirrorAddr), "GET /v2/ HTTP/1.1\r\nHost: x\r\n"+strings.Repeat("X: y\r\n", 50_000)+"\r\n")
	s.try("50000 header fields", r.String(), unless(r.closed && slices.Equal(r.statuses(), []string{"431"}), "want 431 and the end"))

	s.world.Reset()
	resp, _ := s.ask(proxyAddr, "GET http://unknown.example.org/x HTTP/1.1\r\nHost: unknown.example.org\r\nConnection: X-Named, close\r\nX-Named: 1\r\n"+
		"Proxy-Authorization: Basic c2VjcmV0\r\nX-Forwarded-For: 1.2.3.4\r\nUpgrade: h2c\r\nTE: trailers\r\nKeep-Alive: 5\r\n\r\n")
	var passed []string
	for _, q := range s.world.Requests() {
		if q.Host != "unknown.example.org" {
			continue
		}
		for _, name := range []string{"X-Named", "Proxy-Authorization", "X-Forwarded-For", "Upgrade", "Keep-Alive", "Connection"} {
			if q.Header.Get(name) != "" {
				passed = append(passed, name)
			}
		}
	}
	s.try("hop-by-hop fields of a request", resp.Status, unless(len(passed) == 0 && resp.StatusCode == 200, "upstream got %v", passed))

	s.world.Push(s.t, "reg.corp.test/open/fields:1", world.Image(s.t, 7, 1<<10))
	s.world.Reset()
	resp, _ = s.ask(mirrorAddr, request("GET", "/v2/reg.corp.test/open/fields/manifests/1", "Cookie: a=b", "X-Secret: 1", "Referer: http://intranet/", "Origin: http://intranet", "X-Forwarded-For: 10.0.0.1",
		"Forwarded: for=10.0.0.1", "X-Amz-Security-Token: 1", "Accept-Encoding: gzip", "Expect: 100-continue", "Upgrade: h2c", "Cache-Control: no-cache", "If-None-Match: x", "Max-Forwards: 0"))
	passed = nil
	for _, q := range s.world.Requests() {
		for name := range q.Header {
			if q.Host == "reg.corp.test" && !slices.Contains([]string{"Accept", "Accept-Encoding", "User-Agent", "Via"}, name) {
				passed = append(passed, name)
			}
		}
	}
	s.try("fields of a request for what is cached", resp.Status, unless(len(passed) == 0 && resp.StatusCode == 200, "upstream got %v", passed))

	s.world.Host("registry-1.docker.io").Fault(world.Fault{Kind: world.Headers, On: world.Manifest, Method: "GET", Header: map[string]string{
		"Set-Cookie": "a=b", "Connection": "X-Up", "X-Up": "1", "Alt-Svc": `h3=":443"`, "Server": "evil", "Www-Authenticate": "Basic realm=x", "Refresh": "0",
	}})
	resp, _ = s.ask(mirrorAddr, "GET /v2/library/alpine/manifests/3.20 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nConnection: close\r\n\r\n")
	passed = nil
	for _, name := range []string{"Set-Cookie", "X-Up", "Alt-Svc", "Server", "Www-Authenticate", "Refresh"} {
		if resp.Header.Get(name) != "" {
			passed = append(passed, name)
		}
	}
	s.try("fields of an answer that is cached", resp.Status, unless(len(passed) == 0 && resp.StatusCode == 200, "the client got %v", passed))
}

// names and paths that are none. Nothing of it reaches upstream.
func (s *siege) names() {
	hex := strings.Repeat("ab", 32)
	for _, path := range []string{
		"/v2/library/../alpine/manifests/1", "/v2/library/%2e%2e/alpine/manifests/1", "/v2/library%2f..%2f..%2fetc/manifests/1",
		"/v2/library/alpine/manifests/..%2f..%2f..%2fetc%2fpasswd", "/v2/library/alpine/blobs/sha256:..%2f..%2f..%2fca%2fca.key",
		"/v2/library%00/alpine/manifests/1", "/v2/library%5c..%5calpine/manifests/1", `/v2/library\..\alpine/manifests/1`, "/v2//library/alpine/manifests/1",
		"/v2/library//alpine/manifests/1", "/v2/library/alpine/manifests//1", "/v2/library%252f..%252fetc/manifests/1", "/v2/library%0d%0aX: y/manifests/1",
		"/v2/library/alpine/blobs/sha256:" + strings.ToUpper(hex), "/v2/library/alpine/blobs/sha256:" + hex[:63], "/v2/library/alpine/blobs/sha256:" + hex + "0",
		"/v2/library/alpine/blobs/md5:" + hex[:32], "/v2/library/alpine/manifests/" + strings.Repeat("a", 129), "/v2/" + strings.Repeat("a/", 150) + "a/manifests/1",
		"/v2/library/alpine/manifests/1?ns=quay.io&ns=ghcr.io", "/v2/library/alpine/manifests/1?ns=" + strings.Repeat("a", 10<<10),
		"/v2/library/alpine/manifests/1?ns=169.254.169.254", "/v2/library/alpine/manifests/1?ns=127.0.0.1:443", "/v2/library/alpine/manifests/1?ns=quay.io@unknown.example.org",
		"/v2/library/alpine/manifests/1?ns=https://unknown.example.org", "/v2/library/alpine/manifests/1?ns=unknown.example.org",
		"/ada:pw@quay.io/v2/a/b/manifests/1", "/v2/ada:pw@quay.io/a/b/manifests/1", "/v2/a/b/manifests/1?ns=ada:pw@quay.io",
		"/v2/unknown.example.org/app/manifests/1", "/unknown.example.org/v2/app/manifests/1", "//unknown.example.org/v2/app/manifests/1",
		"/ca.key", "/ca/ca.key", "/ca.crt/../ca.key", "/%63a.key", "/metrics", "/api/verify", "/healthz", "/debug/pprof/",
	} {
		s.world.Reset()
		resp, body := s.ask(mirrorAddr, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		asked := 0
		for _, q := range s.world.Requests() {
			if q.Path != "/v2/" { // that is h2spec at work
				asked++
			}
		}
		bad := resp.StatusCode < 400 || resp.StatusCode >= 500 || asked > 0 || strings.Contains(body, "KEY") || strings.Contains(body, "entrepot_requests")
		s.try("GET "+shortened(path), resp.Status, unless(!bad, "%d requests upstream, body %.100q", asked, body))
	}
	for _, method := range []string{"PUT", "POST", "PATCH", "DELETE"} {
		resp, _ := s.ask(mirrorAddr, method+" /v2/library/alpine/manifests/3.20 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		s.try(method+" at the mirror", resp.Status, unless(resp.StatusCode == http.StatusMethodNotAllowed, "want 405"))
	}
}

func shortened(s string) string {
	if len(s) > 60 {
		return fmt.Sprintf("%s… (%d bytes, sha256 %x)", s[:40], len(s), sha256.Sum256([]byte(s)))[:64]
	}
	return s
}

// hosts: a connection that was made for one name is asked for another.
func (s *siege) hosts() {
	for way, c := range map[string]net.Conn{"SNI quay.io": s.inside("quay.io"), "CONNECT quay.io:443": s.tunnelled("quay.io")} {
		r := s.say(c, "GET /v2/ HTTP/1.1\r\nHost: ghcr.io\r\nConnection: close\r\n\r\n")
		s.try("Host: ghcr.io behind "+way, r.String(), unless(slices.Equal(r.statuses(), []string{"421"}), "want 421"))
	}
	r := s.say(s.inside("quay.io"), "GET https://ghcr.io/v2/ HTTP/1.1\r\nHost: quay.io\r\nConnection: close\r\n\r\n")
	s.try("an absolute URL of ghcr.io behind SNI quay.io", r.String(), unless(len(r.statuses()) == 1 && r.statuses()[0] >= "400", "want a refusal"))
	for _, name := range []string{"unknown.example.org", "quay.io.evil.example.org", "evilquay.io"} {
		c := s.inside(name)
		_ = c.SetDeadline(time.Now().Add(3 * time.Second))
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
		s.try("SNI "+name, fmt.Sprint(err), unless(err != nil, "a certificate was made for it"))
		_ = c.Close()
	}
	for _, target := range []string{"http://unknown.example.org/", "http://169.254.169.254/latest", "http://" + adminAddr + "/metrics", "https://quay.io.example.org/v2/", "*"} {
		r = s.say(s.dial(httpAddr), request("GET", target, "Host: quay.io"))
		s.try("GET "+target+" of the http door as quay.io", r.String(), unless(r.refused() && !strings.Contains(r.raw, "echo"), "want a refusal"))
	}
	for what, req := range map[string]*http.Request{
		"another host in HTTP/2":       {Method: http.MethodGet, Host: "ghcr.io", URL: &url.URL{Scheme: "https", Host: "quay.io", Path: "/v2/"}},
		"a CONNECT in HTTP/2":          {Method: http.MethodConnect, Host: "unknown.example.org:443", URL: &url.URL{Scheme: "https", Host: "quay.io"}},
		"a CONNECT to itself, HTTP/2":  {Method: http.MethodConnect, Host: "quay.io:443", URL: &url.URL{Scheme: "https", Host: "quay.io"}},
		"an address as host in HTTP/2": {Method: http.MethodGet, Host: adminAddr, URL: &url.URL{Scheme: "https", Host: "quay.io", Path: "/metrics"}},
	} {
		req.Header = http.Header{}
		resp, err := s.h2("quay.io").RoundTrip(req)
		if err != nil {
			s.t.Fatal(what, err)
		}
		_ = resp.Body.Close()
		s.try(what+" behind SNI quay.io", resp.Proto+" "+resp.Status, unless(resp.ProtoMajor == 2 && resp.StatusCode >= 400, "want a refusal"))
	}
	r = s.say(s.inside("quay.io"), "CONNECT unknown.example.org:443 HTTP/1.1\r\nHost: quay.io\r\n\r\n")
	s.try("CONNECT inside an intercepted connection", r.String(), unless(slices.Equal(r.statuses(), []string{"405"}) && r.closed, "want 405 and the end"))
}

// h2 speaks HTTP/2 with the tls door, as a name.
func (s *siege) h2(name string) *http.Transport {
	only := new(http.Protocols)
	only.SetHTTP2(true)
	return &http.Transport{
		Protocols: only, DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: s.roots, ServerName: name},
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("tcp", tlsAddr) },
	}
}

// slowClients begin and do not go on. What is returned waits for their end and prints what became of them.
func (s *siege) slowClients() func(*siege) {
	const most = readHeaderLimit + 5*time.Second
	type end struct {
		what string
		took time.Duration
		err  error
	}
	begun := map[string]struct{ from, addr, text, drip string }{
		"a byte of header a second":    {"127.0.0.1", mirrorAddr, "GET /v2/ HTTP/1.1\r\nX: ", "x"},
		"half a ClientHello":           {lanAddr, tlsAddr, "\x16\x03\x01\x02\x00\x01", "x"},
		"nothing behind CONNECT":       {"127.0.0.1", proxyAddr, "CONNECT quay.io:443 HTTP/1.1\r\nHost: quay.io:443\r\n\r\n", "x"},
		"half a PROXY header":          {balancerAddr, mirrorAddr, "PROXY TCP4 ", "1"},
		"one of 60 KB, by version 2":   {balancerAddr, mirrorAddr, v2Header(0x21, 0x11, strings.Repeat("x", 60000))[:16], "x"},
		"a balancer that says nothing": {balancerAddr, mirrorAddr, "", ""},
	}
	ends := make(chan end, len(begun))
	for what, begin := range begun {
		c := s.dialFrom(begin.from, begin.addr)
		go func() { // ends with the connection; the result has room in ends
			defer func() { _ = c.Close() }()
			start := time.Now()
			_ = c.SetDeadline(start.Add(most))
			_, _ = io.WriteString(c, begin.text)
			gone := make(chan error, 1)
			go func() { _, err := io.Copy(io.Discard, c); gone <- err }()
			for {
				select {
				case err := <-gone:
					ends <- end{what, time.Since(start), err}
					return
				case <-time.After(time.Second):
					_, _ = io.WriteString(c, begin.drip)
				}
			}
		}()
	}
	return func(s *siege) {
		for range len(begun) {
			e := <-ends
			s.try(e.what, fmt.Sprintf("cut off after %v", e.took.Round(time.Second)), unless(e.took < most-time.Second, "it may stay: %v", e.err))
		}
	}
}

// readHeaderLimit is what docs/security.md says.
const readHeaderLimit = 10 * time.Second
