//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/entrepot/entrepot/testdata/world"
)

// approach is one of those by which a client asks for what a registry has.
type approach struct {
	name   string
	dial   func() net.Conn
	target func(path string) string // of a path below /v2/
	field  string                   // that all its requests have
}

// approaches are all of them to reg.corp.test. The field is for the proxy door, where it asks for something.
func (s *siege) approaches(f *fort, field string) []approach {
	const reg = "reg.corp.test"
	to := func(addr string) func() net.Conn { return func() net.Conn { return s.dial(addr) } }
	own, host := func(path string) string { return "/v2/" + path }, "Host: "+reg
	list := []approach{
		{"the mirror", to(f.mirror), func(path string) string { return "/v2/" + reg + "/" + path }, ""},
		{"?ns=", to(f.mirror), func(path string) string { return "/v2/" + path + "?ns=" + reg }, ""},
		{"the registry before v2", to(f.mirror), func(path string) string { return "/" + reg + "/v2/" + path }, ""},
		{"the proxy as a mirror", to(f.proxy), func(path string) string { return "/v2/" + reg + "/" + path }, ""},
		{"the proxy", to(f.proxy), func(path string) string { return "http://" + reg + "/v2/" + path }, ""},
		{"CONNECT", func() net.Conn { return s.tunnelledBy(f.proxy, reg, field) }, own, host},
	}
	if f.proxy == proxyAddr {
		list = append(list, approach{"the http door", to(httpAddr), own, host}, approach{"the tls door", func() net.Conn { return s.inside(reg) }, own, host})
	}
	return list
}

// named are those of the ways with these names.
func named(all []approach, names ...string) []approach {
	var out []approach
	for _, w := range all {
		for _, name := range names {
			if w.name == name {
				out = append(out, w)
			}
		}
	}
	return out
}

// itself is the program under siege itself.
func (s *siege) itself() *fort {
	return &fort{process: s.e.process, proxy: proxyAddr, mirror: mirrorAddr, admin: adminAddr, ca: s.e.ca}
}

// question is one way to put it.
type question struct{ method, path, field string }

// questions are all that can be asked about an image in a repository.
func questions(repo string, p world.Pushed) []question {
	blob := repo + "/blobs/" + p.Blobs[len(p.Blobs)-1]
	return []question{
		{"GET", repo + "/manifests/1", ""},
		{"HEAD", repo + "/manifests/1", ""},
		{"GET", repo + "/manifests/" + p.Digest, ""},
		{"HEAD", repo + "/manifests/" + p.Digest, ""},
		{"GET", repo + "/manifests/" + p.Digest, "If-None-Match: *"},
		{"GET", blob, ""},
		{"HEAD", blob, ""},
		{"GET", blob, "Range: bytes=0-9"},
		{"GET", blob, "If-None-Match: *"},
		{"GET", blob, "Cache-Control: only-if-cached"},
		{"GET", repo + "/tags/list", ""},
		{"GET", repo + "/referrers/" + p.Digest, ""},
	}
}

// all are the answers to them by one way.
func (s *siege) all(w approach, list []question, fields ...string) []answer {
	s.t.Helper()
	var out []answer
	for _, q := range list {
		resp, body := s.askOn(w.dial(), request(q.method, w.target(q.path), append(fields, w.field, q.field)...))
		out = append(out, answer{q, resp, body})
	}
	return out
}

// answer is what came to a question.
type answer struct {
	question
	resp *http.Response
	body string
}

// served tells whether there is anything of the content in it: a refusal is short, and says of no digest that it is here.
func (a answer) served() bool {
	h := a.resp.Header
	return a.resp.StatusCode < 400 || h.Get("Docker-Content-Digest") != "" || h.Get("Etag") != "" || strings.Contains(h.Get("Cache-Status"), "hit") || len(a.body) > 1000
}

func (a answer) String() string {
	return fmt.Sprintf("%s %s %s: %s %v %.80q", a.method, a.path, a.field, a.resp.Status, a.resp.Header, a.body)
}

// denied asks all of it by each of the ways and prints one line. Everything has to be refused.
func (s *siege) denied(what string, ways []approach, list []question, fields ...string) {
	s.t.Helper()
	codes, served := map[int]int{}, []string{}
	for _, w := range ways {
		for _, a := range s.all(w, list, fields...) {
			codes[a.resp.StatusCode]++
			if a.served() {
				served = append(served, "by "+w.name+" "+a.String())
			}
		}
	}
	s.try(what, fmt.Sprintf("%v by %d ways", codes, len(ways)), unless(len(served) == 0, "served: %.600v", served))
}

// granted asks all of it by each of the ways, for comparison: what can be had has to come.
func (s *siege) granted(what string, ways []approach, list []question, fields ...string) {
	s.t.Helper()
	codes, refused := map[int]int{}, []string{}
	for _, w := range ways {
		for _, a := range s.all(w, list, fields...) {
			codes[a.resp.StatusCode]++
			if a.resp.StatusCode >= 400 && a.method == "GET" && !strings.Contains(a.path, "/referrers/") {
				refused = append(refused, "by "+w.name+" "+a.String())
			}
		}
	}
	s.try("for comparison: "+what, fmt.Sprintf("%v by %d ways", codes, len(ways)), unless(len(refused) == 0, "refused: %.600v", refused))
}
