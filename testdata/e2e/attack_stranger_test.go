//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// strangers ask for what another may read and the program holds, by all ways, with all that is no right.
func (s *siege) strangers() {
	const repo = "secret/app"
	pushed := s.world.Push(s.t, attackPrivate+":1", world.Image(s.t, 4, 100<<10))
	ways, list := s.approaches(s.itself(), ""), questions(repo, pushed)
	right := basicAs("Authorization", attackUser, attackPassword)
	s.granted("who may read it does", ways, list, right)
	resp, _ := s.ask(proxyAddr, request("GET", "http://reg.corp.test/v2/"+list[5].path, right))
	s.try("for comparison: it is held", resp.Header.Get("Cache-Status"), unless(strings.Contains(resp.Header.Get("Cache-Status"), "hit"), "want a hit"))
	wrong := basicAs("Authorization", attackUser, "wrong")
	for _, row := range []credential{
		{"nobody", nil},
		{"a wrong password", []string{wrong}},
		{"an empty password", []string{basicAs("Authorization", attackUser, "")}},
		{"another account", []string{basicAs("Authorization", "bot", lentPassword)}},
		{"a made-up token", []string{"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJhY2Nlc3MiOltdfQ."}},
		{"a token of an outage", []string{"Authorization: Bearer entrepot-offline"}},
		{"a cut-off credential", []string{right[:len(right)-5]}},
		{"the credential as a token", []string{strings.Replace(right, "Basic", "Bearer", 1)}},
		{"an empty credential before a wrong one", []string{"Authorization: ", wrong}},
		{"the right one in a field for proxies", []string{strings.Replace(right, "Authorization", "X-Authorization", 1)}},
	} {
		s.denied("a private image that is held, for "+row.what, ways, list, row.fields...)
	}
	for _, path := range []string{"reg.corp.test/open/app/manifests/1", "library/alpine/manifests/3.20"} {
		resp, _ := s.ask(mirrorAddr, request("GET", "/v2/"+path))
		s.try("for comparison: everybody reads "+path, resp.Status, unless(resp.StatusCode == 200, "want 200"))
	}
	absent := "sha256:" + strings.Repeat("0", 64)
	for _, row := range []struct{ what, where string }{{"the mirror", "reg.corp.test/" + repo}, {"another, public repository", "reg.corp.test/open/app"}, {"another registry", "library/alpine"}} {
		for _, kind := range []string{"blobs/", "manifests/"} {
			held := map[string]string{"blobs/": pushed.Blobs[0], "manifests/": pushed.Digest}[kind]
			a, heldBody := s.ask(mirrorAddr, request("GET", "/v2/"+row.where+"/"+kind+held))
			b, otherBody := s.ask(mirrorAddr, request("GET", "/v2/"+row.where+"/"+kind+absent))
			for _, name := range []string{"Date", "Ratelimit-Remaining"} { // of the registry's counting
				a.Header.Del(name)
				b.Header.Del(name)
			}
			one, other := fmt.Sprint(a.Status, a.Header, strings.ReplaceAll(heldBody, held, absent)), fmt.Sprint(b.Status, b.Header, otherBody)
			s.try("a private digest that is held, as "+kind+" by "+row.what, a.Status+", one that is not: "+b.Status, unless(a.StatusCode >= 400 && one == other, "the answers differ: %s, %s", one, other))
		}
	}
}

// quiet: what a stranger hears is the same, whether the program holds a private image or not, to the last field.
func (s *siege) quiet() {
	pushed := s.private("reg.corp.test/secret/quiet", 61)
	list := questions("secret/quiet", pushed)
	ways := s.approaches(s.itself(), "")
	hear := func(field string) map[string]string {
		heard := map[string]string{}
		for _, w := range ways {
			for _, a := range s.all(w, list, field) {
				a.resp.Header.Del("Date")
				heard[w.name+", "+a.method+" "+a.path+" "+a.field] = fmt.Sprintln(a.resp.Status, a.resp.Header, a.body)
			}
		}
		return heard
	}
	wrong := basicAs("Authorization", attackUser, "wrong")
	before := map[string]map[string]string{"nobody": hear(""), "who has a wrong password": hear(wrong)}
	right := basicAs("Authorization", attackUser, attackPassword)
	s.granted("who may read it fills the cache", named(ways, "the proxy"), list, right)
	resp, _ := s.ask(proxyAddr, request("GET", "http://reg.corp.test/v2/"+list[5].path, right))
	s.try("for comparison: it is held", resp.Header.Get("Cache-Status"), unless(strings.Contains(resp.Header.Get("Cache-Status"), "hit"), "want a hit"))
	for who, field := range map[string]string{"nobody": "", "who has a wrong password": wrong} {
		var other []string
		for what, now := range hear(field) {
			if now != before[who][what] {
				other = append(other, fmt.Sprintf("%s: %s and then %s", what, before[who][what], now))
			}
		}
		s.try("whole answers before and after somebody pulled, for "+who, fmt.Sprintf("%d the same", len(before[who])), unless(len(other) == 0, "%.800v", other))
	}
	s.headsAndBodies(ways, list, right)
}

// headsAndBodies: a HEAD is answered as the GET would be, and by the same rule.
func (s *siege) headsAndBodies(ways []approach, list []question, field string) {
	var other []string
	for _, w := range ways {
		answers := s.all(w, list[:4], field)
		for i := 0; i < 4; i += 2 {
			for _, name := range []string{"Content-Type", "Content-Length", "Docker-Content-Digest", "Etag"} {
				if g, h := answers[i].resp, answers[i+1].resp; g.StatusCode != h.StatusCode || g.Header.Get(name) != h.Header.Get(name) {
					other = append(other, fmt.Sprintf("by %s: %v, %v", w.name, answers[i], answers[i+1]))
				}
			}
		}
	}
	s.try("HEAD and GET of a manifest", fmt.Sprintf("the same by %d ways", len(ways)), unless(len(other) == 0, "%.600v", other))
}

// joiners: while an entitled caller's transfer is under way there is nothing to be had by joining it.
func (s *siege) joiners() {
	pushed := s.private("reg.corp.test/secret/slow", 62)
	blob := "secret/slow/blobs/" + s.layer("reg.corp.test/secret/slow", pushed, basicAs("Authorization", attackUser, attackPassword))
	stalled := s.world.Host("reg.corp.test").Fault(world.Fault{Kind: world.Stall, At: 50 << 10, On: world.Blob, Method: "GET"})
	c := s.dial(proxyAddr)
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, request("GET", "http://reg.corp.test/v2/"+blob, basicAs("Authorization", attackUser, attackPassword)))
	select {
	case <-stalled.Hit():
	case <-time.After(10 * time.Second):
		s.t.Fatal("the transfer does not begin")
	}
	list := []question{{"GET", blob, ""}, {"HEAD", blob, ""}, {"GET", blob, "Range: bytes=0-9"}, {"GET", blob, "Range: bytes=0-"}}
	for what, field := range map[string]string{"nobody": "", "a wrong password": basicAs("Authorization", attackUser, "wrong")} {
		s.denied("a transfer that is under way, for "+what, s.approaches(s.itself(), ""), list, field)
	}
	stalled.Release()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	n, err := io.Copy(io.Discard, c)
	s.try("for comparison: who began it gets all of it", fmt.Sprintf("%d bytes", n), unless(err == nil && n > 100<<10, "%v", err))
}

// layer is the largest blob of an image in a repository, as who may read it finds.
func (s *siege) layer(repo string, p world.Pushed, field string) string {
	s.t.Helper()
	reg, path, _ := strings.Cut(repo, "/")
	best, size := "", int64(-1)
	for _, d := range p.Blobs {
		resp, _ := s.ask(proxyAddr, request("HEAD", "http://"+reg+"/v2/"+path+"/blobs/"+d, field))
		if resp.ContentLength > size {
			best, size = d, resp.ContentLength
		}
	}
	return best
}

// outage: while the registry cannot be asked, who could read goes on, and nobody else begins to.
func (s *siege) outage() {
	const reg = "s3reg.corp.test"
	s.world.Account(reg, attackUser, attackPassword, "secret/*")
	pushed := s.private(reg+"/secret/app", 63)
	list := questions("secret/app", pushed)[:8]
	w := []approach{{"the proxy", named(s.approaches(s.itself(), ""), "the proxy")[0].dial, func(path string) string { return "http://" + reg + "/v2/" + path }, ""}}
	right := basicAs("Authorization", attackUser, attackPassword)
	s.granted("who may read it", w, list, right)
	for what, fault := range map[string]world.Fault{
		"says 429": {Kind: world.Status, Status: 429, Times: -1}, "says 503": {Kind: world.Status, Status: 503, Times: -1}, "says 500": {Kind: world.Status, Status: 500, Times: -1},
		"hangs up": {Kind: world.Cut, At: -1, Times: -1},
	} {
		s.world.Host(reg).Fault(fault)
		s.granted("who may read it, while the registry "+what, w, list[:3], right)
		for who, field := range map[string]string{"nobody": "", "a wrong password": basicAs("Authorization", attackUser, "wrong"), "a made-up token": "Authorization: Bearer x", "a token of an outage": "Authorization: Bearer entrepot-offline"} {
			s.denied("while the registry "+what+": "+who, w, list, field)
		}
		s.world.Heal()
	}
}

// lapsed: in an outage that lasts longer than --max-stale-auth nobody's old proof counts.
func (s *siege) lapsed() {
	const limit = time.Second
	f := s.fort("lapsed", 30000, "--registry", "reg.corp.test", "--auth-ttl", limit.String(), "--max-stale-auth", limit.String())
	s = s.beside(f)
	ways, list := named(s.approaches(f, ""), "the proxy"), questions("secret/app", s.private(attackPrivate, 4))
	right := basicAs("Authorization", attackUser, attackPassword)
	s.granted("who may read it", ways, list, right)
	s.world.Host("reg.corp.test").Fault(world.Fault{Kind: world.Status, Status: 503, Times: -1})
	<-time.After(limit + limit/4)
	s.denied("an outage that lasts longer than --max-stale-auth", ways, list[:10], right)
	s.world.Heal()
}
