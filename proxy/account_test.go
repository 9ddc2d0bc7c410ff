package proxy

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy/upstream"
	"github.com/entrepot/entrepot/testdata/world"
)

// seen notes the credential of each request to a host, and the method.
func (l *lender) seen(host string) func() []string {
	var mu sync.Mutex
	var all []string
	l.world.Host(host).Fault(world.Fault{Kind: world.HTML, Times: -1, Match: func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		return false
	}})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// TestPublicPullsCountToTheAccount: everybody's pull of a public image is paid by our credential, after it was found to be public
// without; and what was found by our credential is no proof that it is public.
func TestPublicPullsCountToTheAccount(t *testing.T) {
	for _, first := range []string{"v1", "digest"} {
		l := newLender(t)
		p := l.world.Push(t, "docker.io/library/app:v1", world.Image(t, 5, 1000))
		if first == "digest" {
			first = p.Digest
		}
		seen := l.seen("registry-1.docker.io")
		realm := l.seen("auth.docker.io")
		if a := l.want("docker.io", "library/app/manifests/"+first, ""); a.StatusCode != 200 {
			t.Fatalf("got %d %s", a.StatusCode, a.body)
		}
		tokens := map[string]map[string]bool{}
		for _, line := range seen() {
			f := strings.SplitN(line, " ", 3)
			if f[2] != "" {
				if tokens[f[0]] == nil {
					tokens[f[0]] = map[string]bool{}
				}
				tokens[f[0]][f[2]] = true
			}
		}
		paid := 0
		for _, line := range realm() {
			if strings.Contains(line, basicAuth("ada", "right")) {
				paid++
			}
		}
		for token := range tokens["GET"] {
			if tokens["HEAD"][token] {
				t.Errorf("%s: HEAD and GET by one token, want HEAD by nobody's and GET by ours\n%s", first, l.world.Story())
			}
		}
		if paid != 1 || len(tokens["GET"]) != 1 || len(tokens["HEAD"]) != 1 {
			t.Errorf("%s: got %d tokens by password, GET by %d tokens, HEAD by %d, want one each\n%s", first, paid, len(tokens["GET"]), len(tokens["HEAD"]), l.world.Story())
		}
	}
}

// TestMadePrivateWithOurs: a repository that is closed is closed to strangers when its proof ends, what is new in it after five minutes,
// though our credential reads on: what that fetches renews nobody's proof.
func TestMadePrivateWithOurs(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		l := newLender(t)
		l.world.Public(reg + "/acme/app")
		l.everywhere("while public", reg, "", true)
		l.settled()
		eventually(t, "probes have ended", func() bool { return within("(*Server).probe.func1") == 0 })
		l.world.Private(reg + "/acme/app")
		l.world.ExpireTokens()
		var fresh [3]world.Pushed
		for i := range fresh {
			fresh[i] = l.world.Push(t, fmt.Sprintf("%s/acme/app:new%d", reg, i), world.Image(t, uint64(i+90), 1000))
		}
		l.clock.advance(proofLife - time.Minute)
		l.want(reg, "acme/app/manifests/"+fresh[0].Digest, "") // may still be had
		l.clock.advance(2 * time.Minute)
		for _, path := range []string{"manifests/" + fresh[1].Digest, "manifests/new2", "manifests/" + fresh[2].Digest, "blobs/" + fresh[0].Blobs[0], "blobs/" + fresh[1].Blobs[1]} {
			if a := l.want(reg, "acme/app/"+path, ""); !refused(a) {
				t.Errorf("%s: what is new: %s: got %d %v", reg, path, a.StatusCode, a.Header)
			}
		}
		l.clock.advance(publicLife)
		l.everywhere("closed", reg, "", false)
		l.everywhere("closed, a user", reg, "bob", true)
		l.everywhere("closed, after the user", reg, "", false)
	}
}

// TestBrokenCredential: a credential that is refused, or cannot be got, costs one try and nobody a public image; and when it is mended,
// that counts at once.
func TestBrokenCredential(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		t.Run(reg, func(t *testing.T) {
			l := newLender(t)
			l.say("wrong-s3cr3t")
			for i := range 20 {
				l.world.Private(fmt.Sprintf("%s/acme/app%d", reg, i))
			}
			counted := l.seen(map[string]string{"docker.io": "auth.docker.io", corp: corp}[reg])
			var wg sync.WaitGroup
			w := way{doorMirror, true}
			rt, login := l.by(w), l.as("bob")
			for i := range 20 {
				path, open := fmt.Sprintf("acme/app%d/manifests/v1", i), i%2 == 0
				if open {
					path = "eve/open/manifests/v1"
				}
				to := l.url(w, reg, path)
				wg.Go(func() {
					a, err := try(t.Context(), rt, "GET", to, slices.Concat(login, accepting)...)
					if err != nil || open != (a.StatusCode == 200) {
						t.Errorf("%s: got %v, %v", path, a.Response, err)
					}
				})
			}
			wg.Wait()
			tries := 0
			for _, line := range counted() {
				if strings.Contains(line, basicAuth("ada", "wrong-s3cr3t")) {
					tries++
				}
			}
			if tries != 1 {
				t.Errorf("the password was tried %d times, want once\n%s", tries, l.world.Story())
			}
			l.log.until(t, "the mirror's own credential is of no use")
			if a := l.want(reg, "acme/app/manifests/v1", "bob"); a.StatusCode != 403 || a.Header.Get("Www-Authenticate") != "" || !strings.Contains(string(a.body), "refuses the credential of this proxy") {
				t.Errorf("a user: got %d %v %s, want a 403 that says why and asks for no password", a.StatusCode, a.Header, a.body)
			}
			l.say("right")
			l.everywhere("mended", reg, "bob", true)
			if err := os.Remove(l.file); err != nil {
				t.Fatal(err)
			}
			l.clock.advance(2 * proofLife)
			if a := l.want(reg, "acme/app/manifests/v1", "bob"); a.StatusCode != 200 || !strings.Contains(a.Header.Get("Cache-Status"), "STALE") {
				t.Errorf("without the file: got %d %v, want what is held, stale", a.StatusCode, a.Header)
			}
			if a := l.want(reg, "eve/open/manifests/v1", "bob"); a.StatusCode != 200 {
				t.Errorf("a public image without the file: got %d", a.StatusCode)
			}
			if a := l.want(reg, "acme/app0/manifests/v1", "bob"); a.StatusCode != 503 || strings.Contains(string(a.body), l.file) {
				t.Errorf("what was never held, without the file: got %d %s, want a 503 without the file's name", a.StatusCode, a.body)
			}
		})
	}
}

// TestRevokedOwn: who loses our account's right loses what is held with it.
func TestRevokedOwn(t *testing.T) {
	for _, reg := range []string{"docker.io", corp} {
		l := newLender(t)
		l.everywhere("a user", reg, "bob", true)
		l.settled()
		l.world.Account(reg, "ada", "right", "nothing/*")
		l.world.ExpireTokens()
		l.clock.advance(proofLife + time.Second)
		l.everywhere("without the right", reg, "bob", false)
		l.unplug()
		if a := l.want(reg, "acme/app/manifests/v1", "bob"); a.StatusCode < 400 {
			t.Errorf("%s: without upstream: got %d", reg, a.StatusCode)
		}
	}
}

// TestHiddenIsNotGone: a registry that says 404 to nobody in particular does not make us forget a tag that our credential read, while
// that cannot be got.
func TestHiddenIsNotGone(t *testing.T) {
	l := newLender(t)
	l.want(corp, "acme/app/manifests/v1", "bob")
	l.world.Host(corp).Fault(world.Fault{
		Kind: world.Status, Status: 404, Times: -1, On: world.Manifest,
		Match: func(r *http.Request) bool { return r.Header.Get("Authorization") == "" },
	})
	l.clock.advance(2 * proofLife)
	if err := os.Remove(l.file); err != nil {
		t.Fatal(err)
	}
	if a := l.want(corp, "acme/app/manifests/v1", "bob"); a.StatusCode != 200 || a.Header.Get("Cache-Status") != cacheStatus[cacheStale] {
		t.Errorf("without the file: got %d %v, want what is held, stale", a.StatusCode, a.Header)
	}
	if a := l.want(corp, "acme/app/manifests/v1", ""); a.StatusCode != 404 {
		t.Errorf("a stranger: got %d, want the registry's 404", a.StatusCode)
	}
	if _, err := l.store.Tag((&request{registry: corp, repo: "acme/app", ref: "v1"}).key("manifest")); err != nil {
		t.Errorf("the tag is forgotten: %v", err)
	}
}

// TestReloadTriesAgain: who reloads has mended something, at the registry perhaps.
func TestReloadTriesAgain(t *testing.T) {
	l := newLender(t)
	l.world.Account(corp, "ada", "locked", "acme/*")
	for range 3 {
		if a := l.want(corp, "acme/app/manifests/v1", "bob"); a.StatusCode != 403 {
			t.Errorf("locked: got %d", a.StatusCode)
		}
	}
	l.world.Account(corp, "ada", "right", "acme/*")
	if a := l.want(corp, "acme/app/manifests/v1", "bob"); a.StatusCode != 403 {
		t.Errorf("resting: got %d", a.StatusCode)
	}
	l.server.SetTable(l.server.table.Load())
	if a := l.want(corp, "acme/app/manifests/v1", "bob"); a.StatusCode != 200 {
		t.Errorf("reloaded: got %d %s", a.StatusCode, a.body)
	}
}

// TestOwnLimitIsTheAccounts: what Docker Hub says of the limit of our address does not hide what is left to the account.
func TestOwnLimitIsTheAccounts(t *testing.T) {
	st := newSite(t)
	clock := st.clock()
	b := &st.server.budgets
	reg, _ := st.server.table.Load().Lookup("docker.io")
	say := func(own bool, left string) {
		u := upstream.Request{Registry: reg, Base: reg.UpstreamURL("docker.io"), Kind: kindManifest}
		if own {
			u.Credential = hosts.Credential{Helper: "x"}
		}
		st.server.observe(u, &http.Response{
			StatusCode: 200, Header: http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {left}}, Request: &http.Request{Method: http.MethodGet, URL: u.Base},
		}, nil)
	}
	for i, step := range []struct {
		own    bool
		left   string
		scarce bool
	}{{false, "3", true}, {true, "90", false}, {false, "3", false}, {true, "2", true}, {false, "80", true}} {
		say(step.own, step.left)
		if got := b.scarce("docker.io"); got != step.scarce {
			t.Errorf("step %d: got %v, want %v", i, got, step.scarce)
		}
	}
	clock.advance(accountCounts)
	if say(false, "80"); b.scarce("docker.io") {
		t.Error("what was said to an account that is used no more counts for ever")
	}
}

// TestSecretsAreNowhere: in no log line, metric, answer, error or crash is there a password, in any form, whatever goes wrong.
func TestSecretsAreNowhere(t *testing.T) {
	const secret = "hunter2-s3cr3t"
	l := newLender(t)
	l.say(secret)
	l.world.Account("docker.io", "ada", secret, "acme/*")
	l.world.Account(corp, "ada", secret, "acme/*")
	var said strings.Builder
	for _, reg := range []string{"docker.io", corp} {
		for _, fault := range []*world.Fault{nil, {Kind: world.Status, Status: 401, Body: secret}, {Kind: world.Status, Status: 500}, {Kind: world.Cut, At: -1}} {
			for _, host := range []string{"auth.docker.io", "registry-1.docker.io", corp} {
				if fault != nil {
					l.world.Host(host).Fault(*fault)
				}
			}
			l.world.ExpireTokens()
			l.clock.advance(2 * proofLife)
			for _, path := range l.paths(reg) {
				a := l.want(reg, path, "bob")
				fmt.Fprintf(&said, "%v", a.Header)
			}
		}
	}
	resp, body := l.get("admin", "http://"+l.doors["admin"]+"/metrics")
	var stacks strings.Builder
	pprof.Lookup("goroutine").WriteTo(&stacks, 2) // as a crash would print them
	all := said.String() + stacks.String() + l.log.String() + fmt.Sprint(resp.Header) + string(body) + fmt.Sprintf("%+v %#v", l.server.access, l.server.table.Load())
	for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte("ada:" + secret)), "Basic ", "Bearer world"} {
		if i := strings.Index(all, form); i >= 0 {
			t.Errorf("%q is in what was said: …%s", form, all[max(0, i-200):i])
		}
	}
}

// TestHelperAtTheMirror: a registry that wants a password with each request and has it from a helper, as Amazon's; its storage is not
// told (it answers 400 to who brings it along).
func TestHelperAtTheMirror(t *testing.T) {
	l := newLender(t)
	dir := t.TempDir()
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	script := "#!/bin/sh\ncat >> \"$0.asked\"; echo >> \"$0.asked\"\necho '{\"Username\":\"AWS\",\"Secret\":\"world\"}'\n"
	if err := os.WriteFile(dir+"/docker-credential-ecr-login", []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	table, err := hosts.New([]hosts.Registry{{Name: "*.dkr.ecr.*.amazonaws.com", Credentials: []hosts.Credential{{Helper: "ecr-login"}}}})
	if err != nil {
		t.Fatal(err)
	}
	l.server.SetTable(table)
	p := l.world.Push(t, world.ECR+"/team/app:v1", world.Image(t, 5, 100<<10))
	for _, path := range []string{"manifests/v1", "manifests/" + p.Digest, "blobs/" + p.Blobs[0], "blobs/" + p.Blobs[1], "tags/list"} {
		if a := l.want(world.ECR, "team/app/"+path, ""); !refused(a) {
			t.Errorf("a stranger, %s: got %d", path, a.StatusCode)
		}
		if a := l.want(world.ECR, "team/app/"+path, "bob"); a.StatusCode != 200 {
			t.Errorf("a user, %s: got %d %s", path, a.StatusCode, a.body)
		}
		if a := l.want(world.ECR, "team/app/"+path, ""); !refused(a) {
			t.Errorf("a stranger afterwards, %s: got %d", path, a.StatusCode)
		}
	}
	if asked, _ := os.ReadFile(dir + "/docker-credential-ecr-login.asked"); string(asked) != world.ECR+"\n" {
		t.Errorf("the helper was asked for %q, want %s once", asked, world.ECR)
	}
	l.world.NoLeaks(t)
}
