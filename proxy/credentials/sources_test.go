package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/entrepot/entrepot/hosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "hunter2-s3cr3t"

// desk is Sources with a directory of files, a PATH of helpers and a clock of the test's.
type desk struct {
	*Sources
	t     *testing.T
	dir   string
	mu    sync.Mutex
	ahead time.Duration
	warns []string
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, dir: t.TempDir()}
	start := time.Now()
	d.Sources = New(func() time.Time {
		d.mu.Lock()
		defer d.mu.Unlock()
		return start.Add(d.ahead)
	}, func(registry string, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.warns = append(d.warns, registry+": "+err.Error())
	})
	t.Setenv("PATH", d.dir+":/usr/bin:/bin")
	t.Cleanup(d.Close)
	return d
}

func (d *desk) later(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ahead += by
}

func (d *desk) write(name, text string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// helper puts a program on the PATH that notes what it was asked in NAME.asked and then does what script says. What it answers with
// should be in a file beside it: a program that was just written cannot always be run at once.
func (d *desk) helper(name, script string) {
	d.t.Helper()
	path := d.write(program(name), "#!/bin/sh\n[ \"$1\" = get ] || exit 9\n{ cat; echo; } >> \"$0.asked\"\n"+script+"\n")
	if err := os.Chmod(path, 0o700); err != nil {
		d.t.Fatal(err)
	}
}

// asked are the servers that a helper was asked for, in order.
func (d *desk) asked(name string) []string {
	text, _ := os.ReadFile(filepath.Join(d.dir, program(name)+".asked")) // none if it was never run
	return strings.Fields(string(text))
}

func (d *desk) registry(name string) hosts.Registry {
	d.t.Helper()
	table, err := hosts.New(append(hosts.Defaults(), hosts.Registry{Name: "reg.corp.test", Hosts: []string{"alias.corp.test"}, Upstream: "http://reg.corp.test:5000"}))
	if err != nil {
		d.t.Fatal(err)
	}
	r, ok := table.Lookup(name)
	if !ok {
		d.t.Fatalf("no registry %s", name)
	}
	return r
}

func (d *desk) get(c hosts.Credential, registry, repo string) (Secret, error) {
	d.t.Helper()
	return d.Get(d.t.Context(), d.registry(registry), c, repo)
}

// want checks username and password.
func (d *desk) want(what string, c hosts.Credential, registry, repo, user, password string) {
	d.t.Helper()
	got, err := d.get(c, registry, repo)
	if want := (Secret{username: user, password: password}); err != nil || got != want {
		d.t.Errorf("%s: got %q, %q, %v, want %q, %q", what, got.username, got.password, err, user, password)
	}
}

// TestFileAndEnvironment: a file that is changed counts at once (PAINS: static secrets, SIGHUP or not), a JSON key has lines of its own
// (rpardini/docker-registry-proxy #2), and what is missing is said by its name.
func TestFileAndEnvironment(t *testing.T) {
	d := newDesk(t)
	c := hosts.Credential{Username: "bot", PasswordFile: d.write("p", "one\n")}
	d.want("first", c, "ghcr.io", "a/b", "bot", "one")
	d.write("p", "two\r\n")
	d.want("changed", c, "ghcr.io", "a/b", "bot", "two")
	key := "{\n  \"type\": \"service_account\"\n}"
	d.want("a JSON key", hosts.Credential{Username: "_json_key", PasswordFile: d.write("k", key+"\n")}, "gcr.io", "a", "_json_key", key)
	t.Setenv("TEAM_TOKEN", "three")
	d.want("environment", hosts.Credential{Username: "x", PasswordEnv: "TEAM_TOKEN"}, "ghcr.io", "a", "x", "three")
	for words, c := range map[string]hosts.Credential{
		"is empty": {Username: "u", PasswordFile: d.write("e", "\n")}, "no such file": {Username: "u", PasswordFile: d.dir + "/none"},
		"NOT_THERE is not set": {Username: "u", PasswordEnv: "NOT_THERE"}, "more than 65536 bytes": {Username: "u", PasswordFile: d.write("big", strings.Repeat("x", 70<<10))},
	} {
		if _, err := d.get(c, "ghcr.io", "a"); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %q", err, words)
		}
	}
}

const dockerConfig = `{
  "auths": {
    "https://index.docker.io/v1/": {"auth": "aHViOmh1YnB3"},
    "ghcr.io": {"auth": "YWxsOmFsbHB3"},
    "ghcr.io/org/team": {"username": "team", "password": "teampw"},
    "https://reg.corp.test:5000": {"auth": "Y29ycDpjb3JwcHc="},
    "corp.azurecr.io": {"auth": "MDAwMDAwMDAtMDAwMDo=", "identitytoken": "refresh"},
    "token.azurecr.io": {"auth": "MDAwMDAwMDAtMDAwMDo=", "identitytoken": "refresh", "registrytoken": "bearer"},
    "quay.io": {},
    "broken.gcr.io": {"auth": "?"}
  },
  "credHelpers": {"123456789012.dkr.ecr.us-east-1.amazonaws.com": "ecr-login", "ghcr.io/org/team/app": "app", "bad.gcr.io": "../x"},
  "credsStore": "store"
}`

// TestDockerConfig: what docker login and podman login write is read as they mean it: Docker Hub under its old name, longest prefix
// first, a helper before the file, the store for what is nowhere else.
func TestDockerConfig(t *testing.T) {
	d := newDesk(t)
	answer := func(user string) string { return `echo '{"ServerURL":"x","Username":"` + user + `","Secret":"pw"}'` }
	d.helper("ecr-login", answer("AWS"))
	d.helper("app", answer("app"))
	d.helper("store", `grep -q quay "$0.asked" && `+answer("store")+` && exit; echo "credentials not found in native keychain"; exit 1`)
	c := hosts.Credential{DockerConfig: d.write("config.json", dockerConfig)}
	for _, row := range []struct{ registry, repo, user, password string }{
		{"docker.io", "library/alpine", "hub", "hubpw"},
		{"ghcr.io", "org/other", "all", "allpw"},
		{"ghcr.io", "org/team", "team", "teampw"},
		{"ghcr.io", "org/team/x", "team", "teampw"},
		{"ghcr.io", "org/teams", "all", "allpw"},
		{"ghcr.io", "org/team/app/x", "app", "pw"},
		{"alias.corp.test", "a", "corp", "corppw"},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com", "a", "AWS", "pw"},
	} {
		d.want(row.registry+"/"+row.repo, c, row.registry, row.repo, row.user, row.password)
	}
	if got, err := d.get(c, "corp.azurecr.io", "a"); err != nil || got.Identity() != "refresh" || got.Basic() != "" {
		t.Errorf("identity token: got %q, %q, %v", got.identity, got.Basic(), err)
	}
	if got, err := d.get(c, "token.azurecr.io", "a"); err != nil || got.Bearer() != "Bearer bearer" || got.Identity() != "" || got.Basic() != "" {
		t.Errorf("registry token: got %q, %q, %q, %v", got.Bearer(), got.Identity(), got.Basic(), err)
	}
	for _, registry := range []string{"gcr.io", "evil.azurecr.io", "broken.gcr.io"} {
		if got, err := d.get(c, registry, "a"); !errors.Is(err, ErrNone) {
			t.Errorf("%s: got %q, %v, want none", registry, got.username, err)
		}
	}
	d.want("the store", c, "quay.io", "a", "store", "pw")
	if _, err := d.get(c, "bad.gcr.io", "a"); err == nil || !strings.Contains(err.Error(), "not the end of a program's name") {
		t.Errorf("a path for a helper: got %v", err)
	}
	if got := d.asked("store"); strings.Join(got, " ") != "gcr.io evil.azurecr.io broken.gcr.io quay.io" {
		t.Errorf("the store was asked for %q", got)
	}
	d.write("config.json", `{"auths":{"ghcr.io":{"auth":"bmV3Om5ld3B3"}}}`)
	d.want("after another docker login", c, "ghcr.io", "org/team", "new", "newpw")
}

// TestHelper: a helper is run once for all who ask, again after ten minutes, sooner when its secret was refused, and not at each
// request while it fails. (That it is run sooner for what is in use: TestHelperIsRenewed.)
func TestHelper(t *testing.T) {
	d := newDesk(t)
	d.helper("x", `cat "${0%/*}/answer" && exit 0; exit 3`)
	c := hosts.Credential{Helper: "x"}
	say := func(text string) { d.write("answer", text) }
	runs := func(what string, want int) {
		t.Helper()
		if got := len(d.asked("x")); got != want {
			t.Errorf("%s: got %d runs, want %d", what, got, want)
		}
	}
	say(`{"ServerURL":"docker.io","Username":"u","Secret":"one"}`)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { d.get(c, "docker.io", "a") })
	}
	wg.Wait()
	d.want("first", c, "docker.io", "b", "u", "one")
	runs("together", 1)
	if got := d.asked("x")[0]; got != dockerHub {
		t.Errorf("asked for %q, want Docker Hub's old name", got)
	}
	say(`{"Username":"u","Secret":"two"}`)
	d.later(4 * time.Minute)
	d.want("within its life", c, "docker.io", "b", "u", "one")
	d.Refused(Secret{username: "u", password: "another"})
	runs("another was refused", 1)
	d.Refused(Secret{username: "u", password: "one"})
	d.want("refused", c, "docker.io", "b", "u", "two")
	runs("refused", 2)
	d.Refused(Secret{username: "u", password: "two"})
	d.want("refused a moment after", c, "docker.io", "b", "u", "two")
	runs("refused a moment after", 2)
	d.later(31 * time.Second)
	d.get(c, "docker.io", "b")
	runs("refused half a minute ago", 3)
	d.later(11 * time.Minute)
	d.get(c, "docker.io", "b")
	runs("at the end of its life", 4)
	d.later(11 * time.Minute)
	if err := os.Remove(d.dir + "/answer"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := d.get(c, "docker.io", "b"); err == nil || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("a failure: got %v", err)
		}
	}
	runs("failing", 5)
}

// TestHelperAnswers: whatever a helper prints, on whichever stream, is not in an error.
func TestHelperAnswers(t *testing.T) {
	for script, words := range map[string]string{
		`echo '{"Username":"<token>","Secret":"` + secret + `"}'`: "",
		`echo ` + secret + `; echo ` + secret + ` >&2; exit 1`:    "failed (exit status 1)",
		`echo '{"Username":"u","Secret":["` + secret + `"]}'`:     "did not answer in JSON",
		`echo ` + secret:                                          "did not answer in JSON",
		`echo '{"Username":"u","Secret":""}'`:                     ErrNone.Error(),
		`echo "credentials not found in native keychain"; exit 1`: ErrNone.Error(),
		`kill -9 $$`: "signal: killed",
	} {
		d := newDesk(t)
		d.helper("x", script)
		got, err := d.get(hosts.Credential{Helper: "x"}, "quay.io", "a")
		if words == "" && (err != nil || got.Identity() != secret) || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
			t.Errorf("%s: got %q, %v, want %q", script, got.identity, err, words)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error has the secret: %v", script, err)
		}
	}
	d := newDesk(t)
	if _, err := d.get(hosts.Credential{Helper: "missing"}, "quay.io", "a"); err == nil || !strings.Contains(err.Error(), "docker-credential-missing is not a program on the PATH") {
		t.Errorf("no such helper: got %v", err)
	}
}

// TestHelperThatHangs: nobody waits longer for a helper than he likes, and Close ends it.
func TestHelperThatHangs(t *testing.T) {
	d := newDesk(t)
	d.helper("x", `exec tail -f /dev/null`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := d.Get(ctx, d.registry("quay.io"), hosts.Credential{Helper: "x"}, "a")
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the caller's own end", err)
	}
	d.Close()
	if _, err := d.get(hosts.Credential{Helper: "x"}, "ghcr.io", "a"); !errors.Is(err, errClosed) {
		t.Errorf("after Close: got %v, want %v", err, errClosed)
	}
}

// TestSecretSaysNothing: printed in any way, a secret is not to be seen, nor is one that is part of something else.
func TestSecretSaysNothing(t *testing.T) {
	s := Secret{username: secret, password: secret, identity: secret, bearer: secret}
	all := struct {
		S  Secret
		P  *Secret
		M  map[string]Secret
		In []any
	}{s, &s, map[string]Secret{"a": s}, []any{s}}
	var text strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&text, verb+verb+verb, s, &s, all)
	}
	j, err := json.Marshal(all)
	func() {
		defer func() { fmt.Fprint(&text, recover()) }()
		panic(fmt.Sprint(all))
	}()
	if got := text.String() + string(j); err != nil || strings.Contains(got, secret) || strings.Contains(got, fmt.Sprintf("%x", secret)) || !strings.Contains(got, hidden) {
		t.Errorf("got %s, %v", got, err)
	}
	d := newDesk(t)
	path := d.write("config.json", `{"auths":{"a":{"auth":123456789}},"x":"`+secret+`"}`)
	if err := Check(hosts.Credential{DockerConfig: path}); err == nil || strings.Contains(err.Error(), "123456789") || strings.Contains(err.Error(), secret) {
		t.Errorf("a broken file: got %v", err)
	}
}
