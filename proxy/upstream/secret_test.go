package upstream

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy/credentials"
	"github.com/entrepot/entrepot/testdata/world"
)

// TestOwnCredentialStaysWhereItBelongs: no realm that is not the registry's, no host that it redirects to and no answer of it makes us
// send the password elsewhere (CVE-2026-33540, CVE-2026-48978, GHSA-78h6-3wp8-2542, CVE-2026-33990, CVE-2026-12566).
func TestOwnCredentialStaysWhereItBelongs(t *testing.T) {
	for _, challenge := range []string{
		`Bearer realm="https://unknown.example.org/token"`, `Bearer realm="https://quay.io/v2/auth"`, `Bearer realm="http://auth.docker.io/token"`,
		`Bearer realm="https://169.254.169.254/latest"`, `Basic realm="x", Bearer realm="https://unknown.example.org/token"`,
	} {
		o := newOwner(t)
		o.Host("registry-1.docker.io").Fault(world.Fault{Kind: world.Status, Status: 401, Header: map[string]string{"WWW-Authenticate": challenge}})
		if status, err := o.get("docker.io", "acme/app", o.file()); err == nil || IsOwnRefused(err) {
			t.Errorf("%s: got %d, %v, want it refused by us", challenge, status, err)
		}
		if len(o.Requests()) != 1 || o.tries() != 0 {
			t.Errorf("%s: somebody was told:\n%s", challenge, o.Story())
		}
	}
	for _, to := range []string{"unknown.example.org", "quay.io", corp + ":5001"} {
		for _, on := range []string{"registry-1.docker.io", "auth.docker.io"} {
			o := newOwner(t)
			var seen []string
			o.Host(strings.TrimSuffix(to, ":5001")).Fault(world.Fault{
				Kind: world.Status, Status: 401, Times: -1, Header: map[string]string{"WWW-Authenticate": `Basic realm="x"`},
				Match: func(r *http.Request) bool { seen = append(seen, r.Host+" "+r.Header.Get("Authorization")); return true },
			})
			o.Host(on).Fault(world.Fault{Kind: world.Status, Status: 307, Times: -1, Header: map[string]string{"Location": "https://" + to + "/v2/acme/app/manifests/v1"}})
			status, err := o.get("docker.io", "acme/app", o.file())
			if on == "registry-1.docker.io" && (status != 401 || err != nil || o.tries() != 0) {
				t.Errorf("%s redirects to %s: got %d, %v, and the password was sent %d times", on, to, status, err, o.tries())
			}
			for _, s := range seen {
				if s != to+" " {
					t.Errorf("%s redirects to %s, which saw %q", on, to, s)
				}
			}
			o.NoLeaks(t)
		}
	}
}

// TestNoSecret: a credential that cannot be got is told to the operator, once a minute, and to the caller only that it is so; none at
// all is no fault.
func TestNoSecret(t *testing.T) {
	o := newOwner(t)
	missing := hosts.Credential{Username: "ada", PasswordFile: o.dir + "/missing"}
	for range 3 {
		_, err := o.get("docker.io", "acme/app", missing)
		var own *Error
		if !IsUnknown(err) || !errors.As(err, &own) || strings.Contains(err.Error(), o.dir) || IsRefused(err) {
			t.Errorf("got %v, want that it cannot be got, without the path", err)
		}
	}
	if len(o.warns) != 1 || !strings.Contains(o.warns[0], o.dir+"/missing: no such file") {
		t.Errorf("warned %q, want once with the path", o.warns)
	}
	if err := os.WriteFile(o.dir+"/config.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := o.get(corp, "acme/app", hosts.Credential{DockerConfig: o.dir + "/config.json"}); !errors.Is(err, credentials.ErrNone) || len(o.warns) != 1 {
		t.Errorf("none: got %v, warnings %q", err, o.warns)
	}
	if len(o.Requests()) != 0 {
		t.Errorf("somebody was asked:\n%s", o.Story())
	}
}

// TestErrorsHaveNoSecret: whatever goes wrong, no error repeats a password, a token or what a realm said.
func TestErrorsHaveNoSecret(t *testing.T) {
	const secret = "hunter2-s3cr3t"
	for _, fault := range []world.Fault{
		{Kind: world.Status, Status: 401, Body: secret},
		{Kind: world.Status, Status: 403, Body: secret},
		{Kind: world.Status, Status: 500, Body: secret},
		{Kind: world.Status, Status: 200, Body: `{"token":["` + secret + `"]}`},
		{Kind: world.Status, Status: 200, Body: `{"token":"` + secret + `\r\nx: y"}`},
		{Kind: world.Status, Status: 200, Body: secret},
		{Kind: world.Cut, At: -1},
		{Kind: world.Status, Status: 302, Header: map[string]string{"Location": "https://x/" + secret}},
	} {
		o := newOwner(t)
		o.say(secret)
		o.Account("docker.io", "ada", secret, "acme/*")
		o.Host("auth.docker.io").Fault(fault)
		_, err := o.get("docker.io", "acme/app", o.file())
		text := fmt.Sprintf("%v %+v %#v %q", err, err, o.client.logins, o.warns)
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte("ada:" + secret))} {
			if err == nil || strings.Contains(text, form) {
				t.Errorf("%+v: got %s", fault, text)
			}
		}
	}
}
