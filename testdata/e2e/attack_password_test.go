//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/entrepot/entrepot/testdata/world"
)

const lockedRepo = "org/locked"

// passwords tries to get in without one, where the mirror and proxy doors and the admin door ask for it.
func (s *siege) passwords() {
	f := s.fort("locked", 21000, "--registry", "reg.corp.test",
		"--htpasswd", s.htpasswd("users", bcrypt.MinCost, "ada", adaPassword, "eve", evePassword), "--admin-htpasswd", s.htpasswd("admins", bcrypt.MinCost, "root", rootPassword))
	s = s.beside(f)
	p := s.world.Push(s.t, "reg.corp.test/"+lockedRepo+":1", world.Image(s.t, 31, 100<<10))
	list := questions(lockedRepo, p)
	proxyAda := basicAs("Proxy-Authorization", "ada", adaPassword)
	mirrors := named(s.approaches(f, proxyAda), "the mirror", "?ns=", "the registry before v2", "the proxy as a mirror")
	heard := s.overhear("swordfish", strings.TrimPrefix(proxyAda, "Proxy-Authorization: Basic "))
	s.granted("the right password at the mirror", mirrors, list, basicAs("Authorization", "ada", adaPassword))
	s.granted("the right password at the proxy", named(s.approaches(f, proxyAda), "the proxy"), list, proxyAda)
	s.granted("the right password at a CONNECT", named(s.approaches(f, proxyAda), "CONNECT"), list)
	s.try("the password of a door at a registry", heard(), unless(heard() == "", "it got there"))
	s.world.Heal()
	s.world.Reset()
	for _, row := range wrongCredentials("Authorization", "Proxy-Authorization") {
		s.denied("at the mirror: "+row.what, mirrors, []question{list[0], list[3], list[5], list[7], {"GET", "", ""}}, row.fields...)
	}
	for _, row := range wrongCredentials("Proxy-Authorization", "Authorization") {
		s.lockedProxy(f, row.what, row.fields)
	}
	s.passwordInAddress(f, list)
	s.try("requests upstream for those who did not get in", fmt.Sprint(len(s.asked())), unless(len(s.asked()) == 0, "%v", s.asked()))
	s.onlyHere(f)
	s.adminPassword(f)
	s.guesses()
	s.discloses(f, basicAs("Authorization", "root", rootPassword))
}

// asked are the requests that reached the registries, but for those of scanners.
func (s *siege) asked() []string {
	var out []string
	for _, q := range s.world.Requests() {
		if q.Path != "/v2/" {
			out = append(out, q.String())
		}
	}
	return out
}

// credential is fields that are to open a door.
type credential struct {
	what   string
	fields []string
}

// wrongCredentials open nothing. Each is for the field that counts, other is the one that does not.
func wrongCredentials(field, other string) []credential {
	right := basicAs(field, "ada", adaPassword)
	_, encoded, _ := strings.Cut(right, "Basic ")
	raw := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	return []credential{
		{"nobody", nil},
		{"an empty field", []string{field + ": "}},
		{"a scheme and no more", []string{field + ": Basic"}},
		{"a wrong password", []string{basicAs(field, "ada", "wrong")}},
		{"an empty password", []string{basicAs(field, "ada", "")}},
		{"an empty name", []string{basicAs(field, "", adaPassword)}},
		{"another user's password", []string{basicAs(field, "ada", evePassword)}},
		{"an unknown user's", []string{basicAs(field, "mallory", adaPassword)}},
		{"the administrator's", []string{basicAs(field, "root", rootPassword)}},
		{"the name in capitals", []string{basicAs(field, "ADA", adaPassword)}},
		{"a longer password", []string{basicAs(field, "ada", adaPassword+"x")}},
		{"a password with a NUL", []string{basicAs(field, "ada", adaPassword+"\x00")}},
		{"a name with a NUL", []string{basicAs(field, "ada\x00", adaPassword)}},
		{"a password of 4 KB", []string{basicAs(field, "ada", strings.Repeat("x", 4<<10))}},
		{"no colon", []string{field + ": Basic " + raw("ada"+adaPassword)}},
		{"half of base64", []string{field + ": Basic " + encoded[:len(encoded)-3]}},
		{"base64 with more behind it", []string{right + " x"}},
		{"not encoded", []string{field + ": Basic ada:" + adaPassword}},
		{"the right one as a token", []string{field + ": Bearer " + encoded}},
		{"a token of an outage", []string{field + ": Bearer entrepot-offline"}},
		{"the hash in place of the password", []string{basicAs(field, "ada", "$2a$04$")}},
		{"two fields, a wrong one first", []string{basicAs(field, "ada", "wrong"), right}},
		{"two fields, the right one first", []string{right, basicAs(field, "ada", "wrong")}},
		{"a registry's own credential", []string{basicAs(field, attackUser, attackPassword)}},
		{"the right one in the field for another", []string{basicAs(other, "ada", adaPassword)}},
		{"fields that balancers set", []string{"X-Forwarded-User: ada", "X-Remote-User: ada", "Remote-User: ada", "X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"}},
		{"the field named by Connection", []string{"Connection: " + field, basicAs(field, "ada", "wrong")}},
	}
}

// lockedProxy asks the proxy door by a CONNECT to a registry, one to a tunnel's end, and a plain URL.
func (s *siege) lockedProxy(f *fort, what string, fields []string) {
	var got, bad []string
	for _, text := range []string{
		request("CONNECT", "reg.corp.test:443", fields...), request("CONNECT", "unknown.example.org:443", fields...),
		request("GET", "http://unknown.example.org/", fields...), request("GET", "http://reg.corp.test/v2/"+lockedRepo+"/manifests/1", fields...),
		request("GET", "http://"+f.admin+"/metrics", fields...),
	} {
		r := s.say(s.dial(f.proxy), text)
		got = append(got, r.statuses()...)
		if !r.refused() || r.statuses()[0] != "407" || !strings.Contains(r.raw, "Proxy-Authenticate: Basic ") {
			bad = append(bad, fmt.Sprintf("%.60q: %v", text, r))
		}
	}
	s.try("at the proxy: "+what, strings.Join(got, " ")+" closed", unless(len(bad) == 0, "want 407, got %v", bad))
}

// passwordInAddress puts the right one where no server looks for it, or where it would stay in logs.
func (s *siege) passwordInAddress(f *fort, list []question) {
	for what, target := range map[string]string{
		"in an absolute URL": "http://ada:" + adaPassword + "@" + f.mirror + "/v2/",
		"in the query":       "/v2/?username=ada&password=" + adaPassword + "&access_token=" + adaPassword,
		"in the path":        "/ada:" + adaPassword + "@reg.corp.test/v2/" + lockedRepo + "/manifests/1",
	} {
		resp, _ := s.ask(f.mirror, request("GET", target))
		s.try("at the mirror: the password "+what, resp.Status, unless(resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("Www-Authenticate") != "", "want 401"))
	}
	r := s.say(s.dial(f.proxy), request("CONNECT", "ada:"+adaPassword+"@reg.corp.test:443"))
	s.try("at the proxy: the password in the target of a CONNECT", r.String(), unless(r.refused(), "want a refusal"))
	r = s.say(s.dial(f.proxy), request("GET", "http://ada:"+adaPassword+"@reg.corp.test/v2/"+list[0].path))
	s.try("at the proxy: the password in the URL", r.String(), unless(r.refused(), "want a refusal"))
	c := s.tunnelledBy(f.proxy, "reg.corp.test", basicAs("Proxy-Authorization", "ada", adaPassword))
	r = s.say(c, request("CONNECT", "unknown.example.org:443", basicAs("Proxy-Authorization", "ada", adaPassword)))
	s.try("at the proxy: another CONNECT inside one that was let in", r.String(), unless(r.refused(), "want a refusal"))
}

// onlyHere: what was said to a door stays there, and what is for the registry goes there alone. A registry that asks for a login of
// its own at the mirror door would be sent the mirror's password by the client.
func (s *siege) onlyHere(f *fort) {
	ada := basicAs("Proxy-Authorization", "ada", adaPassword)
	heard := s.overhear("swordfish", strings.TrimPrefix(ada, "Proxy-Authorization: Basic "))
	resp, _ := s.ask(f.proxy, request("GET", "http://unknown.example.org/", ada))
	s.try("Proxy-Authorization to a plain server", resp.Status, unless(resp.StatusCode == 200 && heard() == "", "it was passed on"))
	resp, _ = s.ask(f.proxy, request("GET", "http://unknown.example.org/", ada, "Connection: Proxy-Authorization", "Trailer: Proxy-Authorization"))
	s.try("the same, named by Connection and Trailer", resp.Status, unless(heard() == "", "it was passed on"))
	resp, _ = s.askOn(s.tunnelledBy(f.proxy, "reg.corp.test", ada), request("GET", "/v2/"+lockedRepo+"/manifests/1", ada))
	s.try("Proxy-Authorization inside an intercepted connection", resp.Status, unless(heard() == "", "it was passed on"))
	path := strings.TrimPrefix(attackPrivate, "reg.corp.test/")
	for _, target := range []string{
		"/v2/reg.corp.test/" + path + "/manifests/1", "/v2/reg.corp.test/" + path + "/tags/list", "/v2/reg.corp.test/" + path + "/referrers/sha256:" + strings.Repeat("ab", 32),
		"/v2/lent/app/token", "/v2/lent/app/auth", "/v2/search?q=x", "/v2/oauth2/token",
	} {
		resp, _ = s.ask(f.mirror, request("GET", target, basicAs("Authorization", "ada", adaPassword)))
		challenge := resp.Header.Get("Www-Authenticate")
		s.try("a registry's own challenge at the mirror, "+shortened(target), resp.Status, unless(resp.StatusCode >= 403 && challenge == "" && heard() == "", "challenge %q, overheard %q", challenge, heard()))
	}
	s.world.Heal()
}

// adminPassword: the admin door's passwords are its own.
func (s *siege) adminPassword(f *fort) {
	for _, row := range append(wrongCredentials("Authorization", "Proxy-Authorization"),
		credential{"a client's password", []string{basicAs("Authorization", "ada", adaPassword)}}, credential{"a made-up token", []string{"Authorization: Bearer " + strings.Repeat("a", 43)}},
		credential{"an empty token", []string{"Authorization: Bearer "}}) {
		if row.what == "the administrator's" {
			continue // here it is the right one
		}
		var got []string
		for _, q := range [][2]string{{"GET", "/metrics"}, {"POST", "/api/verify"}, {"GET", "/"}, {"GET", "/healthz/../metrics"}, {"POST", "/readyz/../api/verify"}, {"GET", "//metrics"}} {
			resp, _ := s.ask(f.admin, request(q[0], q[1], append(row.fields, "Content-Length: 0")...))
			got = append(got, resp.Status[:3])
		}
		s.try("at the admin door: "+row.what, strings.Join(got, " "), unless(!slices.ContainsFunc(got, func(code string) bool { return code != "401" }), "want 401"))
	}
	resp, body := s.ask(f.admin, request("GET", "/metrics", basicAs("Authorization", "root", rootPassword)))
	s.try("for comparison: the administrator's password at the admin door", resp.Status, unless(resp.StatusCode == 200 && strings.Contains(body, "entrepot_"), "want the metrics"))
}

// guesses: who tries passwords is no quicker for it, holds up nobody else, and does not learn who is known.
func (s *siege) guesses() {
	f := s.fort("guessed", 22000, "--htpasswd", s.htpasswd("slow", 10, "ada", adaPassword))
	var all sync.WaitGroup
	codes := make(chan int, 24)
	for i := range cap(codes) {
		c := s.dial(f.mirror)
		all.Go(func() { codes <- s.guess(c, "ada", fmt.Sprint("guess", i)) })
	}
	resp, _ := s.askOn(s.dialFrom("127.0.0.77", f.mirror), request("GET", "/v2/", basicAs("Authorization", "ada", adaPassword)))
	all.Wait()
	close(codes)
	count := map[int]int{}
	for code := range codes {
		count[code]++
	}
	s.try("24 guesses at once", fmt.Sprint(count), unless(count[401]+count[503] == cap(codes) && count[503] > 0, "want few judged, the others turned away by 503"))
	s.try("for comparison: somebody else meanwhile", resp.Status, unless(resp.StatusCode == 200, "want 200"))
	known, unknown := time.Hour, time.Hour
	for i := range 4 {
		known = min(known, s.timed(f, "ada", fmt.Sprint("other", i)))
		unknown = min(unknown, s.timed(f, fmt.Sprint("nobody", i), "other"))
	}
	s.try("the time that an unknown name takes", fmt.Sprintf("%v, a known one %v", unknown.Round(time.Millisecond), known.Round(time.Millisecond)), unless(unknown > known/4, "it tells who is known"))
}

// guess is the status that a guess got.
func (s *siege) guess(c net.Conn, user, password string) int {
	defer func() { _ = c.Close() }()
	status, _ := statusOn(c, request("GET", "/v2/", basicAs("Authorization", user, password)))
	return status
}

// timed is how long one takes.
func (s *siege) timed(f *fort, user, password string) time.Duration {
	c := s.dial(f.mirror)
	start := time.Now()
	s.guess(c, user, password)
	return time.Since(start)
}
