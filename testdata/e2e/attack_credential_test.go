//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"github.com/entrepot/entrepot/testdata/world"
)

// lending is the configuration of a mirror with credentials of its own. One of a pair of registries refuses it, by Basic and by a
// token realm.
const lending = `registry:
  - name: reg.corp.test
    credentials:
      - {username: bot, password-file: %[1]s/password}
    share: ["org/app", "team/*"]
  - name: docker.io
    credentials:
      - {username: robot, password-env: LENT}
  - name: s3reg.corp.test
    credentials:
      - {username: bot, password-file: %[1]s/old-password}
    share: ["**"]
  - name: quay.io
    credentials:
      - {username: robot, password-file: %[1]s/old-password}
    share: ["**"]
`

// credentials tries to get at what the mirror's own credentials read, and at those themselves: first where a user has been let in, then,
// with all of it in the cache, where nobody is asked.
func (s *siege) credentials() {
	dir := scratch(s.t)
	file := filepath.Join(dir, "lending.yaml")
	writeFile(s.t, file, fmt.Sprintf(lending, dir))
	writeFile(s.t, filepath.Join(dir, "password"), lentPassword+"\n")
	writeFile(s.t, filepath.Join(dir, "old-password"), lentPassword+"-of-last-year\n")
	s.world.Account("reg.corp.test", "bot", lentPassword, "lent/*", "org/*", "team/*")
	s.world.Account("docker.io", "robot", lentToken, "lent/*")
	s.world.Account("s3reg.corp.test", "bot", lentPassword, "*")
	s.world.Account("quay.io", "robot", lentToken, "*")
	lent := s.private("reg.corp.test/lent/app", 41)
	hub := s.private("docker.io/lent/app", 42)
	users := s.htpasswd("users", bcrypt.MinCost, "ada", adaPassword)

	f := s.fort("lending", 25000, "--config", file, "--htpasswd", users)
	in := s.beside(f)
	ada := basicAs("Authorization", "ada", adaPassword)
	in.granted("a user gets what the mirror's credential reads", named(in.approaches(f, ""), "the mirror", "?ns="), questions("lent/app", lent), ada)
	in.granted("and by its token", []approach{in.atHub(f)}, questions("lent/app", hub), ada)
	in.denied("with the cache full: nobody", append(in.mirrorWays(f), in.atHub(f)), append(questions("lent/app", lent), questions("lent/app", hub)...))
	f.stop(s.t)

	f = s.fort("lending", 25000, "--config", file, "--manifest-ttl", "0s")
	in = s.beside(f)
	in.strangersToLent(f, lent, hub)
	in.sharing(f, lent)
	in.hostileToLent(f)
	in.backOff(f, dir)
	in.discloses(f, "")
}

// private pushes an image that only accounts may read.
func (s *siege) private(repo string, seed uint64) world.Pushed {
	s.t.Helper()
	s.world.Private(repo)
	return s.world.Push(s.t, repo+":1", world.Image(s.t, seed, 100<<10))
}

func (s *siege) mirrorWays(f *fort) []approach {
	return named(s.approaches(f, ""), "the mirror", "?ns=", "the registry before v2", "the proxy as a mirror")
}

// atHub is the mirror door's way to Docker Hub.
func (s *siege) atHub(f *fort) approach {
	w := named(s.approaches(f, ""), "the mirror")[0]
	w.name, w.target = "the mirror, Docker Hub", func(path string) string { return "/v2/" + path }
	return w
}

// strangersToLent have no login, and what they say instead is their own affair at the registry.
func (s *siege) strangersToLent(f *fort, lent, hub world.Pushed) {
	for _, row := range []credential{
		{"nobody", nil},
		{"a made-up token", []string{"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJhY2Nlc3MiOltdfQ."}},
		{"a token of an outage", []string{"Authorization: Bearer entrepot-offline"}},
		{"the account's name, a wrong password", []string{basicAs("Authorization", "bot", "wrong")}},
		{"the account's name, no password", []string{basicAs("Authorization", "bot", "")}},
		{"a user's login that is not asked for", []string{basicAs("Authorization", "ada", adaPassword)}},
		{"an account of another registry", []string{basicAs("Authorization", "robot", "wrong")}},
		{"an empty field", []string{"Authorization: "}},
		{"a cached page", []string{"Cache-Control: max-stale", "Pragma: no-cache"}},
	} {
		s.world.Reset()
		ways := s.approaches(f, "")
		s.denied("what only the mirror's credential reads, for "+row.what, ways, questions("lent/app", lent), row.fields...)
		s.denied("the same at a registry with tokens", []approach{s.atHub(f)}, questions("lent/app", hub), row.fields...)
		if len(row.fields) == 0 {
			s.notLent("nobody")
		}
	}
	for _, path := range []string{"_catalog", "lent/_catalog", "lent/app/tags/list?n=1&last=0", "lent/app/tags/list/../../../_catalog", "lent/app/manifests/../tags/list"} {
		s.world.Reset()
		s.ask(f.mirror, request("GET", "/v2/reg.corp.test/"+path))
		s.notLent("GET " + path)
	}
}

// notLent looks whether a registry was asked by a password since the world was reset.
func (s *siege) notLent(who string) {
	var with []string
	for _, q := range s.world.Requests() {
		if q.Authorization == "Basic" {
			with = append(with, q.String())
		}
	}
	s.try("the mirror's password on behalf of "+who, fmt.Sprintf("not used in %d requests", len(s.world.Requests())), unless(len(with) == 0, "%v", with))
}

// sharing: what is shared is, and nothing beside it.
func (s *siege) sharing(f *fort, lent world.Pushed) {
	shared := s.private("reg.corp.test/org/app", 43)
	s.granted("what the operator shares", s.mirrorWays(f), questions("org/app", shared))
	for i, repo := range []string{"org/app2", "org/ap", "org/app/sub", "org/secret", "team/deep/app", "team", "teams/app"} {
		beside := s.private("reg.corp.test/"+repo, uint64(50+i))
		s.denied("beside what is shared: "+repo, s.mirrorWays(f), questions(repo, beside))
	}
	for _, path := range []string{
		"org/app/../secret/manifests/1", "org/app/%2e%2e/secret/manifests/1", "org/app%2f..%2fsecret/manifests/1", "org/app/./../secret/manifests/1", "org/app//../secret/manifests/1",
		"org/app/manifests/../../secret/manifests/1", "org/app/tags/list/../../../secret/tags/list", "org/app/blobs/../../secret/manifests/1", "org/app%00/../secret/manifests/1",
		"org%5capp%5c..%5csecret/manifests/1", "ORG/APP/manifests/1", "org/app/manifests/1%3f/../../secret/manifests/1", "org/app;/../secret/manifests/1", "org/app/manifests/1/../../../secret/manifests/1",
	} {
		resp, body := s.ask(f.mirror, request("GET", "/v2/reg.corp.test/"+path))
		s.try("round what is shared: "+path, resp.Status, unless(resp.StatusCode >= 400 && len(body) < 1000, "got %.80q", body))
	}
	for _, path := range []string{"manifests/" + lent.Digest, "blobs/" + lent.Blobs[0], "referrers/" + lent.Digest} {
		resp, body := s.ask(f.mirror, request("GET", "/v2/reg.corp.test/org/app/"+path))
		s.try("what another repository holds, through what is shared: "+path[:9], resp.Status, unless(resp.StatusCode >= 400 || strings.HasPrefix(path, "ref") && !strings.Contains(body, "digest\""), "got %.80q", body))
	}
	resp, _ := s.ask(f.proxy, request("GET", "http://reg.corp.test/v2/org/app/manifests/1"))
	s.try("what is shared at the mirror door, by the proxy door", resp.Status, unless(resp.StatusCode == 401, "want the registry's 401"))
}

// hostileToLent: a registry that wants the mirror's password sent elsewhere. Everybody is as good as logged in to what is shared.
func (s *siege) hostileToLent(f *fort) {
	at := func(host string) *world.Host { return s.world.Host(host) }
	for i, challenge := range []string{
		`Bearer realm="https://unknown.example.org/token",service="x"`, `Bearer realm="http://reg.corp.test/token",service="x"`, `Bearer realm="https://auth.docker.io/token",service="x"`,
		`Bearer realm="https://reg.corp.test@unknown.example.org/token"`, `Bearer realm="https://169.254.169.254/token"`, `Bearer realm="//unknown.example.org/token"`,
		`Bearer realm="https://reg.corp.test.unknown.example.org/"`, `Bearer realm="https://reg.corp.test:8443/token"`, `Bearer realm="https://user:pw@reg.corp.test/token"`,
		`Basic realm="x", Bearer realm="https://unknown.example.org/token"`, `Digest realm="x", nonce="y"`, `Negotiate`,
	} {
		s.world.Reset()
		at("reg.corp.test").Fault(world.Fault{Kind: world.Status, Status: 401, Times: -1, Header: map[string]string{"WWW-Authenticate": challenge}})
		resp, _ := s.ask(f.mirror, request("GET", fmt.Sprintf("/v2/reg.corp.test/team/app%d/manifests/1", i)))
		s.world.Heal()
		strays := at("unknown.example.org").Counts().Requests + at("auth.docker.io").Counts().Requests
		s.try("the mirror's password for "+challenge, resp.Status, unless(resp.StatusCode >= 400 && strays == 0 && s.plainly() == "", "asked %d times, %s", strays, s.plainly()))
	}
	for what, location := range map[string]string{
		"another host": "https://unknown.example.org/x", "plain HTTP": "http://reg.corp.test/v2/org/app/manifests/1", "another port": "https://reg.corp.test:5000/v2/org/app/manifests/1", "another registry": "https://ghcr.io/v2/org/app/manifests/1",
	} {
		s.world.Reset()
		heard := s.overhear(strings.TrimPrefix(basicAs("", "bot", lentPassword), ": Basic "))
		led := at("reg.corp.test").Fault(world.Fault{Kind: world.Status, Status: 307, Times: 1, On: world.Manifest, Match: bearing, Header: map[string]string{"Location": location}})
		at("unknown.example.org").Fault(world.Fault{Kind: world.Status, Status: 401, Times: -1, Header: map[string]string{"WWW-Authenticate": `Basic realm="x"`}})
		resp, _ := s.ask(f.mirror, request("GET", "/v2/reg.corp.test/org/app/manifests/1", "Cache-Control: no-cache"))
		s.world.Heal()
		got := strings.ReplaceAll(heard(), "reg.corp.test got it in Authorization", "")
		s.try("the mirror's password behind a redirect to "+what, resp.Status, unless(led.Hits() > 0 && strings.Trim(got, "; ") == "" && s.plainly() == "", "led there %d times, %s %s", led.Hits(), got, s.plainly()))
	}
}

// bearing tells whether a request brings a credential.
func bearing(r *http.Request) bool { return r.Header.Get("Authorization") != "" }

// plainly are the requests with a credential that went over plain HTTP or to another port.
func (s *siege) plainly() string {
	var out []string
	for _, q := range s.world.Requests() {
		if q.Authorization != "" && strings.Contains(q.Host, ":") {
			out = append(out, q.String())
		}
	}
	return strings.Join(out, "; ")
}

// backOff: a credential that is refused is not tried until its account is locked, however many ask.
func (s *siege) backOff(f *fort, dir string) {
	for registry, realm := range map[string]string{"s3reg.corp.test": "s3reg.corp.test", "quay.io": "quay.io"} {
		s.world.Private(registry + "/locked/app")
		p := s.world.Push(s.t, registry+"/locked/app:1", world.Image(s.t, 71, 10<<10))
		s.world.Reset()
		var all sync.WaitGroup
		for i := range 30 {
			c := s.dial(f.mirror)
			all.Go(func() {
				_, _ = s.pingOn(c, request("GET", fmt.Sprintf("/v2/%s/locked/app/manifests/%d", registry, 1+i%3)))
			})
		}
		all.Wait()
		s.denied("with a credential that "+registry+" refuses", []approach{{"the mirror", func() net.Conn { return s.dial(f.mirror) }, func(path string) string { return "/v2/" + registry + "/" + path }, ""}}, questions("locked/app", p))
		tries := 0
		for _, q := range s.world.Requests() {
			if q.Host == realm && q.Authorization == "Basic" {
				tries++
			}
		}
		s.try("how often it was tried for 42 requests", fmt.Sprint(tries), unless(tries == 1, "want once"))
	}
	if err := os.WriteFile(filepath.Join(dir, "old-password"), []byte(lentPassword), 0o644); err != nil {
		s.t.Fatal(err)
	}
	resp, _ := s.ask(f.mirror, request("GET", "/v2/s3reg.corp.test/locked/app/manifests/1"))
	s.try("for comparison: with the right password in its file", resp.Status, unless(resp.StatusCode == 200, "want 200"))
}
