package upstream

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// owner is a port with accounts and private images at a registry with tokens and at two with passwords, and a file with a password.
type owner struct {
	*port
	dir   string
	ahead atomic.Int64
	warns []string
	mu    sync.Mutex
}

const corp = "reg.corp.test"

func newOwner(t *testing.T) *owner {
	o := &owner{port: newPort(t), dir: t.TempDir()}
	o.client.now = func() time.Time { return time.Now().Add(time.Duration(o.ahead.Load())) }
	o.client.cfg.Warn = func(registry string, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.warns = append(o.warns, registry+": "+err.Error())
	}
	for i, reg := range []string{"docker.io", corp, world.ECR} {
		o.Account(reg, "ada", "right", "acme/*")
		o.Push(t, reg+"/acme/app:v1", world.Image(t, uint64(i+1), 10<<10))
		o.Push(t, reg+"/free/app:v1", world.Image(t, uint64(i+11), 10<<10))
		o.Private(reg + "/acme/app")
	}
	o.say("right")
	return o
}

// say writes the password that the credential stands for.
func (o *owner) say(password string) {
	o.t.Helper()
	if err := os.WriteFile(o.dir+"/password", []byte(password+"\n"), 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o *owner) later(d time.Duration) {
	o.ahead.Add(int64(d))
	o.Advance(d)
}

// file is ada's credential in a file.
func (o *owner) file() hosts.Credential {
	return hosts.Credential{Username: "ada", PasswordFile: o.dir + "/password"}
}

func (o *owner) question(registry, repo string, c hosts.Credential) Request {
	o.t.Helper()
	reg, ok := o.table.Lookup(registry)
	if !ok {
		o.t.Fatalf("no registry %s", registry)
	}
	return Request{
		Registry: reg, Base: reg.UpstreamURL(registry), Method: "GET", Path: "/v2/" + repo + "/manifests/v1", Kind: "manifest",
		Header: http.Header{"Accept": {"*/*"}}, Scope: "repository:" + repo + ":pull", Credential: c, Repo: repo,
	}
}

// get is the status by a credential; 0 for an error.
func (o *owner) get(registry, repo string, c hosts.Credential) (int, error) {
	o.t.Helper()
	resp, err := o.client.Do(o.t.Context(), o.question(registry, repo, c))
	if err != nil {
		return 0, err
	}
	drain(resp)
	return resp.StatusCode, nil
}

// tries counts how often a password was sent since the last Reset.
func (o *owner) tries() int {
	n := 0
	for _, r := range o.Requests() {
		if r.Authorization == "Basic" || r.Method == http.MethodPost {
			n++
		}
	}
	return n
}

// TestOwnCredential: tokens by password, a password with each request, and no token or password for who asks without.
func TestOwnCredential(t *testing.T) {
	for registry, tries := range map[string]int{"docker.io": 1, corp: 3} {
		o := newOwner(t)
		for range 3 {
			if status, err := o.get(registry, "acme/app", o.file()); status != 200 || err != nil {
				t.Errorf("%s: got %d, %v", registry, status, err)
			}
		}
		if got := o.tries(); got != tries {
			t.Errorf("%s: the password was sent %d times, want %d\n%s", registry, got, tries, o.Story())
		}
		if status, err := o.get(registry, "acme/app", hosts.Credential{}); status != 401 || err != nil {
			t.Errorf("%s without a credential: got %d, %v, want the registry's 401", registry, status, err)
		}
		if status, err := o.get(registry, "free/app", o.file()); status != 200 || err != nil {
			t.Errorf("%s, an open repository: got %d, %v", registry, status, err)
		}
		o.NoLeaks(t)
	}
}

// TestIdentityToken: what docker login leaves in place of a password goes to the realm by POST, in the body.
func TestIdentityToken(t *testing.T) {
	o := newOwner(t)
	path := filepath.Join(o.dir, "config.json")
	if err := os.WriteFile(path, []byte(`{"auths":{"https://index.docker.io/v1/":{"identitytoken":"ada:right"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	status, err := o.get("docker.io", "acme/app", hosts.Credential{DockerConfig: path})
	if status != 200 || err != nil || strings.Contains(o.Story(), "ada") {
		t.Errorf("got %d, %v\n%s", status, err, o.Story())
	}
	o.NoLeaks(t)
}

// TestNoLockOut: a password that is refused is tried once, whatever the crowd, then ever less often, until there is another one
// (Artifactory and Active Directory lock accounts, Docker Hub addresses).
func TestNoLockOut(t *testing.T) {
	for _, registry := range []string{"docker.io", corp} {
		o := newOwner(t)
		for i := range 20 {
			o.Private(fmt.Sprintf("%s/acme/app%d", registry, i))
		}
		o.say("wrong")
		crowd := func() {
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					status, err := o.get(registry, fmt.Sprintf("acme/app%d", i), o.file())
					if !IsOwnRefused(err) || !IsRefused(err) {
						t.Errorf("%s: got %d, %v, want the refusal", registry, status, err)
					}
				})
			}
			wg.Wait()
		}
		want := 0
		for _, pause := range []time.Duration{0, time.Minute, 4 * time.Minute, 16 * time.Minute, time.Hour, time.Hour} {
			o.later(max(0, pause-time.Second))
			if pause > 0 {
				crowd()
			}
			if got := o.tries(); got != want {
				t.Errorf("%s, %v less a second: got %d tries, want %d", registry, pause, got, want)
			}
			o.later(2 * time.Second)
			crowd()
			if want++; o.tries() != want {
				t.Errorf("%s, after %v: got %d tries, want %d\n%s", registry, pause, o.tries(), want, o.Story())
			}
		}
		if len(o.warns) != want || !strings.Contains(o.warns[0], "refuses the credential of this proxy: it is not tried again before") {
			t.Errorf("%s: warned %d times, want %d: %q", registry, len(o.warns), want, o.warns)
		}
		o.say("right")
		if status, err := o.get(registry, "acme/app", o.file()); status != 200 || err != nil {
			t.Errorf("%s, with another password: got %d, %v", registry, status, err)
		}
		o.NoLeaks(t)
	}
}

// TestPasswordEnds: a password that was good and is changed at the registry costs what was under way, and no more.
func TestPasswordEnds(t *testing.T) {
	for _, registry := range []string{"docker.io", corp} {
		o := newOwner(t)
		o.get(registry, "acme/app", o.file())
		o.Account(registry, "ada", "changed", "acme/*")
		o.ExpireTokens()
		o.Reset()
		for range 5 {
			if _, err := o.get(registry, "acme/app", o.file()); !IsOwnRefused(err) {
				t.Errorf("%s: got %v, want the refusal", registry, err)
			}
		}
		if got := o.tries(); got != 1 {
			t.Errorf("%s: got %d tries, want 1\n%s", registry, got, o.Story())
		}
		o.say("changed")
		if status, err := o.get(registry, "acme/app", o.file()); status != 200 || err != nil {
			t.Errorf("%s, when we know it: got %d, %v", registry, status, err)
		}
	}
}

// TestManyUnderWay: that many requests were under way when a password ended is one refusal, not as many.
func TestManyUnderWay(t *testing.T) {
	o := newOwner(t)
	o.get(corp, "acme/app", o.file())
	o.Account(corp, "ada", "changed", "acme/*")
	o.Reset()
	held := o.Host(corp).Fault(world.Fault{Kind: world.Delay, Times: -1})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { o.get(corp, "acme/app", o.file()) })
	}
	for o.Host(corp).Counts().Requests < 8 {
		runtime.Gosched()
	}
	held.Clear()
	held.Release()
	wg.Wait()
	if len(o.warns) != 1 {
		t.Errorf("got %d warnings, want 1: %q", len(o.warns), o.warns)
	}
	o.later(time.Minute + time.Second)
	before := o.tries()
	if o.get(corp, "acme/app", o.file()); o.tries() != before+1 {
		t.Errorf("after a minute: got %d tries, want 1", o.tries()-before)
	}
}

// TestForbiddenScope: a realm that says 403 to one repository of a good credential (ghcr.io) does not cost the others, and is not asked
// again and again.
func TestForbiddenScope(t *testing.T) {
	o := newOwner(t)
	o.Account("ghcr.io", "ada", "right", "acme/*")
	for _, repo := range []string{"acme/app", "other/app", "acme/more"} {
		o.Push(t, "ghcr.io/"+repo+":v1", world.Image(t, 1, 1000))
		o.Private("ghcr.io/" + repo)
	}
	for _, step := range []struct {
		repo   string
		status int
		tries  int
	}{{"acme/app", 200, 1}, {"other/app", 0, 2}, {"other/app", 0, 2}, {"acme/more", 200, 3}, {"other/app", 0, 3}} {
		status, err := o.get("ghcr.io", step.repo, o.file())
		if status != step.status || (status == 0) != IsOwnRefused(err) || o.tries() != step.tries {
			t.Errorf("%s: got %d, %v, %d tries, want %d, %d tries", step.repo, status, err, o.tries(), step.status, step.tries)
		}
	}
	o.Account("ghcr.io", "ada", "right", "acme/*", "other/*")
	o.later(time.Minute + time.Second)
	if status, err := o.get("ghcr.io", "other/app", o.file()); status != 200 || err != nil {
		t.Errorf("allowed meanwhile: got %d, %v", status, err)
	}
}

// TestForbiddenAtFirst: the same when the first that is asked for is what the account may not read; whereas a secret that is none rests
// though its realm says 403 to that (ghcr.io).
func TestForbiddenAtFirst(t *testing.T) {
	o := newOwner(t)
	o.Account("ghcr.io", "ada", "right", "acme/*")
	o.Push(t, "ghcr.io/acme/app:v1", world.Image(t, 1, 1000))
	for i := range 5 {
		o.Private(fmt.Sprintf("ghcr.io/other/app%d", i))
	}
	o.Private("ghcr.io/acme/app")
	for i := range 5 {
		if _, err := o.get("ghcr.io", fmt.Sprintf("other/app%d", i), o.file()); !IsOwnRefused(err) || o.tries() != i+2 {
			t.Errorf("forbidden: got %v, %d tries, want %d", err, o.tries(), i+2)
		}
	}
	if status, err := o.get("ghcr.io", "acme/app", o.file()); status != 200 || err != nil || len(o.warns) != 0 {
		t.Errorf("allowed: got %d, %v, warnings %q", status, err, o.warns)
	}
	o.say("wrong")
	o.Host("ghcr.io").Fault(world.Fault{Kind: world.Status, Status: 403, On: world.Token, Times: -1})
	o.Reset()
	for i := range 5 {
		o.get("ghcr.io", fmt.Sprintf("other/app%d", i), o.file())
	}
	if o.tries() != 2 || len(o.warns) != 1 {
		t.Errorf("wrong: got %d tries, want 2; warnings %q", o.tries(), o.warns)
	}
}

// TestHelperIsAskedAgain: a secret that ended before we thought, as Amazon's after twelve hours, is got anew and the caller sees nothing
// of it; both ways in which registries say so.
func TestHelperIsAskedAgain(t *testing.T) {
	o := newOwner(t)
	t.Setenv("PATH", o.dir+":/usr/bin:/bin")
	if err := os.WriteFile(o.dir+"/docker-credential-ecr", []byte("#!/bin/sh\ncat \"${0%/*}/answer\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	say := func(password string) {
		if err := os.WriteFile(o.dir+"/answer", []byte(`{"Username":"AWS","Secret":"`+password+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		o.Account(world.ECR, "AWS", password, "*")
	}
	for _, how := range []string{"", "403"} {
		for i := range 3 {
			say(fmt.Sprintf("token%s%d", how, i))
			if how != "" {
				o.Host(world.ECR).Fault(world.Fault{Kind: world.Status, Status: 403, Match: func(r *http.Request) bool {
					_, password, given := r.BasicAuth()
					return given && password != fmt.Sprintf("token%s%d", how, i)
				}})
			}
			if status, err := o.get(world.ECR, "acme/app", hosts.Credential{Helper: "ecr"}); status != 200 || err != nil {
				t.Errorf("%s, token %d: got %d, %v", how, i, status, err)
			}
			o.later(5 * time.Minute) // less than a helper's answer is kept for
		}
	}
	o.NoLeaks(t)
}
