package upstream

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

// until waits for what happens behind the back of those who ask.
func (o *owner) until(what string, is func() bool) {
	o.t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); runtime.Gosched() {
		if time.Now().After(end) {
			o.t.Fatalf("never happened: %s\n%s", what, o.Story())
		}
	}
}

func (o *owner) tokens() int { return o.Host("auth.docker.io").Counts().Tokens }

// held is the token for acme/app by c.
func (o *owner) held(c hosts.Credential) string {
	o.t.Helper()
	q := o.question("docker.io", "acme/app", c)
	if !c.IsZero() {
		secret, err := o.client.secrets.Get(o.t.Context(), q.Registry, c, "acme/app")
		if err != nil {
			o.t.Fatal(err)
		}
		q.secret = secret
	}
	o.client.tokens.mu.Lock()
	defer o.client.tokens.mu.Unlock()
	return o.client.tokens.held[keyOf(q)].text
}

// due tells whether a token wants to be renewed.
func (o *owner) due() bool {
	o.client.tokens.mu.Lock()
	defer o.client.tokens.mu.Unlock()
	for _, t := range o.client.tokens.held {
		if !o.client.now().Before(t.renew) {
			return true
		}
	}
	return false
}

// TestTokenIsRenewed: a token that is in use is replaced behind the requests, which wait neither for that nor at the old one's end.
func TestTokenIsRenewed(t *testing.T) {
	for _, whose := range []string{"nobody's", "ours"} {
		o := newOwner(t)
		c := hosts.Credential{}
		if whose == "ours" {
			c = o.file()
		} else {
			o.Public("docker.io/acme/app")
		}
		want := func(when string, requests int) {
			t.Helper()
			before := o.Host("registry-1.docker.io").Counts().Requests
			status, err := o.get("docker.io", "acme/app", c)
			if got := o.Host("registry-1.docker.io").Counts().Requests - before; status != 200 || err != nil || got != requests {
				t.Errorf("%s, %s: got %d, %v by %d requests, want 200 by %d", whose, when, status, err, got, requests)
			}
		}
		want("first", 2)
		old := o.held(c)
		o.later(150 * time.Second)
		realm := o.Host("auth.docker.io").Fault(world.Fault{Kind: world.Delay})
		want("while the realm is slow", 1)
		<-realm.Hit()
		want("while it still is", 1)
		realm.Release()
		o.until("the token is replaced", func() bool { return o.held(c) != old })
		o.later(142 * time.Second) // the first has ended, the second is not half through
		want("behind the first one's end", 1)
		if o.tokens() != 2 {
			t.Errorf("%s: got %d tokens, want 2\n%s", whose, o.tokens(), o.Story())
		}
		o.NoLeaks(t)
	}
}

// TestTokenThatIsNotRenewed: a realm in trouble costs nothing while the old token is good, and is not asked by each request.
func TestTokenThatIsNotRenewed(t *testing.T) {
	o := newOwner(t)
	get := func(when string) {
		t.Helper()
		if status, err := o.get("docker.io", "acme/app", o.file()); status != 200 || err != nil {
			t.Errorf("%s: got %d, %v", when, status, err)
		}
	}
	get("first")
	o.later(150 * time.Second)
	realm := o.Host("auth.docker.io").Fault(world.Fault{Kind: world.Status, Status: 503, Times: -1})
	for i := range 4 {
		o.until("the realm is asked", func() bool {
			get("in trouble")
			return o.Host("auth.docker.io").Counts().Requests == i+2
		})
		o.until("the answer is noted", func() bool { return !o.due() })
		get("a moment after")
		o.later(renewPause + time.Second)
	}
	if asked := o.Host("auth.docker.io").Counts().Requests; asked != 5 {
		t.Errorf("the realm was asked %d times, want 5: once for each pause", asked)
	}
	realm.Clear()
	o.later(100 * time.Second)
	get("at its end")
}

// TestRenewalIsRefused: that a secret has ended is found out before its token has. A helper is asked for another one at once, and no
// request sees anything of it; with a password the token is used to its end.
func TestRenewalIsRefused(t *testing.T) {
	for _, helper := range []string{"x", ""} {
		o := newOwner(t)
		t.Setenv("PATH", o.dir+":/usr/bin:/bin")
		if err := os.WriteFile(o.dir+"/docker-credential-x", []byte("#!/bin/sh\ncat \"${0%/*}/answer\"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		say := func(password string) {
			t.Helper()
			if err := os.WriteFile(o.dir+"/answer", []byte(`{"Username":"ada","Secret":"`+password+`"}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c := o.file()
		if helper != "" {
			c = hosts.Credential{Helper: helper}
		}
		get := func(when string) {
			t.Helper()
			if status, err := o.get("docker.io", "acme/app", c); status != 200 || err != nil {
				t.Errorf("helper %q, %s: got %d, %v", helper, when, status, err)
			}
		}
		say("right")
		get("first")
		o.later(150 * time.Second)
		o.Account("docker.io", "ada", "another", "acme/*")
		say("another")
		get("when it has ended")
		o.until("the refusal is told", func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return len(o.warns) == 1
		})
		get("when that is known")
	}
}

// TestRegistryToken: what Docker calls a registry token goes to the registry itself and to no realm, as docker does it; when it has ended,
// it is not tried again and again, and another one in the file counts at once.
func TestRegistryToken(t *testing.T) {
	o := newOwner(t)
	path := o.dir + "/config.json"
	c := hosts.Credential{DockerConfig: path}
	issue := func() {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), "GET", "https://auth.docker.io/token?service=registry.docker.io&scope=repository:acme/app:pull", nil)
		req.SetBasicAuth("ada", "right")
		resp, err := o.Transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var got struct{ Token string }
		if text, err := io.ReadAll(resp.Body); err != nil || json.Unmarshal(text, &got) != nil {
			t.Fatalf("got %s, %v", text, err)
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, `{"auths":{"https://index.docker.io/v1/":{"auth":"YWRhOnJpZ2h0","registrytoken":%q}}}`, got.Token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	get := func(when string, status, requests int) {
		t.Helper()
		o.Reset()
		got, err := o.get("docker.io", "acme/app", c)
		if got != status || (status == 0) != IsOwnRefused(err) || len(o.Requests()) != requests || o.tokens() != 0 {
			t.Errorf("%s: got %d, %v by %d requests, want %d by %d\n%s", when, got, err, len(o.Requests()), status, requests, o.Story())
		}
	}
	issue()
	get("first", 200, 2)
	get("second", 200, 1)
	o.ExpireTokens()
	get("ended", 0, 1)
	get("ended a moment ago", 0, 0)
	if len(o.warns) != 1 || !strings.Contains(o.warns[0], "refuses the credential") {
		t.Errorf("warned %q, want once", o.warns)
	}
	issue()
	get("another", 200, 2)
	o.NoLeaks(t)
}
