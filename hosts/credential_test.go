package hosts

import (
	"errors"
	"strings"
	"testing"
)

// TestLongestPrefix: of several credentials the one of the longest prefix counts, and a prefix ends where an element of a name ends
// (rpardini/docker-registry-proxy #43: several accounts at one registry).
func TestLongestPrefix(t *testing.T) {
	table, err := New([]Registry{{Name: "ghcr.io", Credentials: []Credential{
		{Prefix: "org", Helper: "org"}, {Prefix: "org/team/app", Helper: "app"}, {Helper: "all"}, {Prefix: "org/team", Helper: "team"},
	}}, {Name: "quay.io", Credentials: []Credential{{Prefix: "org/team", Helper: "team"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ghcr.io org": "org", "ghcr.io org/x": "org", "ghcr.io organisation/x": "all", "ghcr.io a": "all", "ghcr.io org/team": "team",
		"ghcr.io org/team/app": "app", "ghcr.io org/team/app/x": "app", "ghcr.io org/team/apps": "team", "ghcr.io org/teams": "org",
		"quay.io org/team/x": "team", "quay.io org": "", "quay.io org/teams": "", "quay.io x/org/team": "",
	} {
		host, repo, _ := strings.Cut(name, " ")
		r, _ := table.Lookup(host)
		if got, ok := r.Credential(repo); got.Helper != want || ok != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, got.Helper, ok, want)
		}
	}
}

// TestFamilyGetsNoPassword: whoever registers a name in a family of hosts is not told the password of another one there.
func TestFamilyGetsNoPassword(t *testing.T) {
	password := Credential{Username: "bot", PasswordFile: "/p"}
	if _, err := New([]Registry{{Name: "*.azurecr.io", Credentials: []Credential{password}}}); err == nil || !strings.Contains(err.Error(), "by its own name") {
		t.Errorf("a password for a family: got %v, want it refused with the next step", err)
	}
	table, err := New([]Registry{
		{Name: "corp.azurecr.io", Hosts: []string{"corp.azurecr.io", "two.azurecr.io", "*.azurecr.io"}, Credentials: []Credential{password, {Prefix: "a", Helper: "acr"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{"corp.azurecr.io": 2, "two.azurecr.io": 2, "evil.azurecr.io": 1} {
		if r, ok := table.Lookup(host); !ok || len(r.Credentials) != want || want == 1 && r.Credentials[0].Helper != "acr" {
			t.Errorf("%s: got %v, %v, want %d", host, r.Credentials, ok, want)
		}
	}
}

func TestShares(t *testing.T) {
	r := Registry{Name: "ghcr.io", Share: []string{"org/public/*", "base/**"}}
	for repo, want := range map[string]bool{
		"org/public/a": true, "base/a/b": true, "base": true, "org/public": false, "org/public/a/b": false, "org/private": false, "x/org/public/a": false, "": false,
	} {
		if got := r.Shares(repo); got != want {
			t.Errorf("%s: got %v, want %v", repo, got, want)
		}
	}
	if (Registry{}).Shares("a") {
		t.Error("a registry that says nothing shares")
	}
}

func TestCredentialIsJudged(t *testing.T) {
	for _, row := range []struct {
		c     Credential
		words string
	}{
		{Credential{}, "says no place"},
		{Credential{Username: "u"}, "says no place"},
		{Credential{PasswordFile: "/p", Helper: "x", Username: "u"}, "more than one place"},
		{Credential{PasswordEnv: "P"}, "no username"},
		{Credential{Helper: "x", Username: "u"}, "leave it out"},
		{Credential{Username: "a:b", PasswordEnv: "P"}, "colon"},
		{Credential{Helper: "../x"}, "docker-credential-ecr-login"},
		{Credential{Helper: "-x"}, "docker-credential-ecr-login"},
		{Credential{Helper: "x y"}, "docker-credential-ecr-login"},
		{Credential{Helper: "\x11"}, "docker-credential-ecr-login"},
		{Credential{Helper: "x", Prefix: "org/*"}, `write "org"`},
		{Credential{Helper: "x", Prefix: "Org"}, "lower case"},
		{Credential{Helper: "x", Prefix: "org/"}, `write "org"`},
		{Credential{Helper: "ecr-login", Prefix: "org/team"}, ""},
		{Credential{Username: "_json_key", PasswordFile: "/p"}, ""},
		{Credential{DockerConfig: "/root/.docker/config.json"}, ""},
	} {
		_, err := New([]Registry{{Name: "ghcr.io", Credentials: []Credential{row.c}}})
		var of *CredentialError
		if (err == nil) != (row.words == "") || err != nil && (!strings.Contains(err.Error(), row.words) || !errors.As(err, &of)) {
			t.Errorf("%+v: got %v, want %q", row.c, err, row.words)
		}
	}
	twice := Registry{Name: "ghcr.io", Credentials: []Credential{{Helper: "x"}, {Helper: "y"}}}
	if _, err := New([]Registry{twice}); err == nil || !strings.Contains(err.Error(), "credential 2: there is another one") {
		t.Errorf("the same prefix twice: got %v", err)
	}
	for _, pattern := range []string{"", "A", "a:1", "a//b"} {
		if _, err := New([]Registry{{Name: "ghcr.io", Share: []string{pattern}}}); err == nil || !strings.Contains(err.Error(), "share") {
			t.Errorf("share %q: got %v, want it refused", pattern, err)
		}
	}
}
