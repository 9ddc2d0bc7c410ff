package upstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

// FuzzReadToken: a realm's answer is a token with an end, or an error.
func FuzzReadToken(f *testing.F) {
	for _, seed := range []string{`{"token":"a","expires_in":300}`, `{"access_token":"b","expires_in":-1}`, `{"token":"c","expires_in":9223372036854775807}`, `{}`, `[]`, ``} {
		f.Add(seed)
	}
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, body string) {
		got, err := readToken(strings.NewReader(body), now)
		if err != nil {
			return
		}
		if life := got.until.Sub(now); got.text == "" || life <= 0 || life > 24*time.Hour {
			t.Errorf("%q: got %q for %v", body, got.text, life)
		}
	})
}

// FuzzTarget: a redirect leads to a host by http or https, never from https down to http, and its error tells nothing of its query.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"https://cdn.quay.io/x?sig=1", "//cdn.quay.io/x", "/v2/a", "b", "http://quay.io/", "https://u:p@h/", "https://[::1", "", "javascript:x", "https:///x"} {
		f.Add(seed, "https")
		f.Add(seed, "http")
	}
	f.Fuzz(func(t *testing.T, location, scheme string) {
		if scheme != "https" && scheme != "http" {
			return
		}
		at := &url.URL{Scheme: scheme, Host: "quay.io", Path: "/v2/a/blobs/b"}
		next, err := target(at, &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {location}}})
		if err != nil {
			if _, query, found := strings.Cut(location, "?"); found && len(query) > 8 && strings.Contains(err.Error(), query) {
				t.Errorf("%q: the error tells %v", location, err)
			}
			return
		}
		if next.Host == "" || next.User != nil || next.Scheme != "https" && (next.Scheme != "http" || scheme == "https") {
			t.Errorf("%q from %s: leads to %v", location, scheme, next)
		}
	})
}

// FuzzRealm: a token is asked for at a realm that the registry is known to have, and nowhere else.
func FuzzRealm(f *testing.F) {
	for _, seed := range []string{"https://auth.docker.io/token", "https://registry-1.docker.io/t", "http://auth.docker.io/", "https://evil.example.org/", "https://auth.docker.io@evil.example.org/", "https://169.254.169.254/"} {
		f.Add(seed)
	}
	table, err := hosts.New(hosts.Defaults())
	if err != nil {
		f.Fatal(err)
	}
	hub, _ := table.Lookup("docker.io")
	c := New(Config{})
	f.Fuzz(func(t *testing.T, realm string) {
		u, err := c.realm(Request{Registry: hub, Base: hub.UpstreamURL("docker.io")}, realm)
		if err == nil && (u.Scheme != "https" || u.User != nil || !hub.IsRealm(u.Host) && u.Host != hub.UpstreamURL("docker.io").Host) {
			t.Errorf("%q: would ask %v", realm, u)
		}
	})
}
