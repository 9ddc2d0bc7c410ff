//go:build e2e

package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// ownRegistry is one of the attacker's, with a certificate that the program trusts: it says what no decent registry says. What is below
// tok/ it gives to those whose token is good.
type ownRegistry struct {
	mu    sync.Mutex
	good  map[string]bool // values of Authorization
	asked []string
}

const (
	ownName  = "own.corp.test"
	ownStore = "store.corp.test" // where it may redirect to
	ownAddr  = "192.31.196.203"
)

// ownImage is what it has: a manifest, and the one blob that is in it.
func ownImage(seed string) (manifest, digest, blob, blobDigest string) {
	blob = strings.Repeat(seed, 5000)
	blobDigest = sum([]byte(blob))
	manifest = fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[]}`, ociManifest, blobDigest, len(blob))
	return manifest, sum([]byte(manifest)), blob, blobDigest
}

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

// serveOwn starts it until the test ends, and returns its certificate.
func (s *siege) serveOwn() (r *ownRegistry, pem string) {
	s.t.Helper()
	r = &ownRegistry{good: map[string]bool{}}
	cert := s.selfSigned(ownName, ownStore)
	s.dns.Answer(ownName, netip.MustParseAddr(ownAddr))
	s.dns.Answer(ownStore, netip.MustParseAddr(ownAddr))
	l, err := tls.Listen("tcp", ownAddr+":443", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: r, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(l) }() // ends with Close
	s.t.Cleanup(func() { _ = server.Close() })
	return r, pemOf(cert)
}

// let says whose token is good from now on.
func (r *ownRegistry) let(tokens ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.good)
	for _, t := range tokens {
		r.good[t] = true
	}
}

// since are the requests since the last call.
func (r *ownRegistry) since() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}

func (r *ownRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.asked = append(r.asked, req.Method+" "+req.URL.RequestURI())
	good := r.good["Authorization: "+req.Header.Get("Authorization")]
	r.mu.Unlock()
	repo, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/")
	switch {
	case repo == "tok" && !good:
		w.Header().Set("Www-Authenticate", `Bearer realm="https://own.corp.test/token",service="own"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
	case repo == "loop":
		http.Redirect(w, req, req.URL.Path+"?again="+fmt.Sprint(time.Now().UnixNano()), http.StatusTemporaryRedirect)
	case repo == "away":
		http.Redirect(w, req, "https://"+ownStore+"/v2/stored/app/manifests/1", http.StatusTemporaryRedirect)
	case repo == "busy":
		w.Header().Set("Retry-After", "3600")
		http.Error(w, `{"errors":[{"code":"TOOMANYREQUESTS"}]}`, http.StatusTooManyRequests)
	case strings.HasSuffix(req.URL.Path, "/tags/list"):
		endless(w, req)
	case repo == "liar":
		ownObject(w, req, map[string]string{http.MethodHead: "b", http.MethodGet: "c"}[req.Method])
	default:
		ownObject(w, req, "a")
	}
}

// ownObject answers with the manifest, or the blob.
func ownObject(w http.ResponseWriter, req *http.Request, seed string) {
	text, digest, blob, blobDigest := ownImage(seed)
	kind := ociManifest
	if strings.Contains(req.URL.Path, "/blobs/") {
		text, digest, kind = blob, blobDigest, "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeContent(w, req, "", time.Time{}, strings.NewReader(text))
}

// endless is a listing without an end, or the end of the client's patience.
func endless(w http.ResponseWriter, req *http.Request) {
	if strings.Contains(req.URL.RawQuery, "n=") {
		_, _ = io.WriteString(w, `{"name":"a/b","tags":[]}`)
		return
	}
	page := []byte(strings.Repeat(`"v1.2.3",`, 10_000))
	for range (80 << 20) / len(page) {
		if _, err := w.Write(page); err != nil {
			return
		}
	}
}

// tokenUntil is a token that says when it ends; its signature is nobody's business but the registry's.
func tokenUntil(name string, end time.Time) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return "Authorization: Bearer " + part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"sub":%q,"exp":%d}`, name, end.Unix())) + "." + part("signature")
}

// ownWords: a registry that says of one thing that it is two, leads in circles, or does not come to an end.
func (s *siege) ownWords() {
	at := func(path string) string { return "/v2/" + ownName + "/" + path }
	s.own.since()
	resp, _ := s.ask(mirrorAddr, request("GET", at("loop/app/manifests/1")))
	s.try("redirects in a circle", fmt.Sprintf("%s after %d requests", resp.Status, len(s.own.since())), unless(resp.StatusCode >= 500, "want an error"))
	for _, path := range []string{"liar/app/manifests/1", "liar/app/manifests/" + second(ownImage("b"))} {
		resp, body := s.ask(mirrorAddr, request("GET", at(path)))
		whole := resp.StatusCode < 400 && !strings.Contains(body, "broken off")
		s.try("a registry whose HEAD and GET differ: "+path[:20], resp.Status, unless(!whole || sum([]byte(body)) == resp.Header.Get("Docker-Content-Digest"), "%s is not its digest", body))
	}
	resp, _ = s.ask(proxyAddr, request("GET", "http://"+ownStore+"/")) // where nobody listens
	refused := resp.Status
	resp, _ = s.ask(mirrorAddr, request("GET", at("away/app/manifests/1")))
	s.try("a registry's storage, after a client failed to reach it by plain HTTP", refused+", then "+resp.Status, unless(resp.StatusCode == http.StatusOK, "the way is closed for all"))
	resp, body := s.ask(mirrorAddr, request("GET", at("a/b/tags/list")))
	s.try("a listing of 80 MiB", fmt.Sprintf("%s, cut off after %d MiB", resp.Status, len(body)>>20), unless(len(body) < 65<<20, "want its end at 64 MiB"))
	s.own.since()
	resp, _ = s.ask(mirrorAddr, request("GET", at("a/b/tags/list?n=2000000000")))
	asked := strings.Join(s.own.since(), " ")
	s.try("a listing with n=2000000000 (CVE-2023-2253)", asked, unless(resp.StatusCode == http.StatusOK && strings.Contains(asked, "n=1000") && !strings.Contains(asked, "2000"), "%s", resp.Status))
}

func second(_, b, _, _ string) string { return b }

// stillness: a client that lists or pushes until the registry sends him away does not keep tags from being checked for all.
func (s *siege) stillness() {
	f := s.fort("still", 32200, "--registry", ownName, "--manifest-ttl", "0s")
	tag := "/v2/" + ownName + "/free/app/manifests/1"
	s.ask(f.mirror, request("GET", tag))
	for _, text := range []string{
		request("GET", "http://"+ownName+"/v2/busy/app/tags/list"), request("PUT", "http://"+ownName+"/v2/busy/app/manifests/1", "Content-Length: 0"),
		request("GET", "/v2/"+ownName+"/busy/app/tags/list"), request("GET", "http://"+ownName+"/v2/busy/app/referrers/sha256:"+strings.Repeat("ab", 32)),
	} {
		sent, _ := s.ask(f.proxy, text)
		resp, _ := s.ask(f.mirror, request("GET", tag))
		word := resp.Header.Get("Cache-Status")
		s.try("a tag after a Retry-After to "+strings.Fields(text)[0]+" "+shortened(strings.Fields(text)[1]), sent.Status[:3]+", then "+word, unless(strings.Contains(word, "REVALIDATED"), "it is not checked any more"))
	}
}
