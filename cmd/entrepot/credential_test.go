package main

import (
	"os"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/hosts"
)

// TestCredentials: what the file says of credentials, laid over what is known of the registry; the one for all is for those that have
// no other.
func TestCredentials(t *testing.T) {
	docker := file(t, "config.json", `{"auths":{}}`)
	password := file(t, "password", "x\n")
	content := "docker-config: " + docker + `
registry:
  - name: docker.io
    credentials:
      - {username: bot, password-file: ` + password + `}
      - {prefix: org/team, username: x, password-env: TEAM_TOKEN}
    share: ["library/*"]
  - name: ghcr.io
    credentials: [{prefix: org, username: y, password-env: TEAM_TOKEN}]
  - {name: nvcr.io, mode: tunnel}
`
	for host, want := range map[string][]hosts.Credential{
		"docker.io":                         {{Username: "bot", PasswordFile: password}, {Prefix: "org/team", Username: "x", PasswordEnv: "TEAM_TOKEN"}},
		"ghcr.io":                           {{Prefix: "org", Username: "y", PasswordEnv: "TEAM_TOKEN"}, {DockerConfig: docker}},
		"quay.io":                           {{DockerConfig: docker}},
		"nvcr.io":                           nil,
		"1.dkr.ecr.eu-west-1.amazonaws.com": {{DockerConfig: docker}},
	} {
		r := inForce(t, content, environment{"TEAM_TOKEN": "z"}, nil, host)
		if len(r.Credentials) != len(want) {
			t.Errorf("%s: got %v, want %v", host, r.Credentials, want)
			continue
		}
		for i := range want {
			if r.Credentials[i] != want[i] {
				t.Errorf("%s: got %v, want %v", host, r.Credentials[i], want[i])
			}
		}
		if got := r.Shares("library/alpine"); got != (host == "docker.io") || len(r.Hosts) < 1 {
			t.Errorf("%s: shares library/alpine: got %v", host, got)
		}
	}
}

// TestCredentialFaults: each says where and what next, and none repeats a secret that was written in the wrong place.
func TestCredentialFaults(t *testing.T) {
	const secret = "hunter2-s3cr3t"
	broken := file(t, "config.json", `{"auths": "`+secret+`"}`)
	for content, words := range map[string]string{
		"{username: u, password: " + secret + "}":                       "password-file",
		"{username: u, token: " + secret + "}":                          "password-env",
		secret:                                                          "want `- username: NAME`",
		"{username: u, pasword-file: /x}":                               "did you mean password-file?",
		"{username: u}":                                                 "says no place",
		"{username: u, password-file: /not/there}":                      "/not/there: no such file",
		"{username: u, password-env: NOT_SET}":                          "NOT_SET is not set",
		"{helper: not-there}":                                           "docker-credential-not-there is not a program on the PATH",
		"{docker-config: " + broken + "}":                               "is not JSON as docker login writes it",
		"{helper: ''}":                                                  "want a value",
		"{prefix: 'a/*', username: u, password-env: HOME}":              `write "a"`,
		"{username: u, password-env: HOME, password-file: /etc/passwd}": "more than one place",
	} {
		path := file(t, "entrepot.yaml", "registry:\n  - name: ghcr.io\n    credentials:\n      - "+content+"\n")
		_, stderr, code := output(t, []string{"HOME=/home/u"}, "config", "check", "--config", path)
		if code == 0 || !strings.Contains(stderr, words) || !strings.Contains(stderr, path+":4") || strings.Contains(stderr, secret) {
			t.Errorf("%s: got exit code %d, want %q in line 4 and no secret\n%s", content, code, words, stderr)
		}
	}
	for content, words := range map[string]string{
		"docker-config: " + broken + "\n": "is not JSON as docker login writes it",
		"registry:\n  - {name: '*.azurecr.io', credentials: [{username: u, password-env: HOME}]}\n": "by its own name",
		"registry:\n  - {name: a.example, mode: tunnel, share: ['**']}\n":                           "share has no effect with mode tunnel",
		"registry:\n  - {name: a.example, share: ['A/*']}\n":                                        "lower case",
	} {
		path := file(t, "entrepot.yaml", content)
		if _, stderr, code := output(t, []string{"HOME=/home/u"}, "config", "check", "--config", path); code == 0 || !strings.Contains(stderr, words) || strings.Contains(stderr, secret) {
			t.Errorf("%s: got exit code %d, want %q\n%s", content, code, words, stderr)
		}
	}
}

// TestShowHasNoSecret: where credentials come from is shown, what they are is not.
func TestShowHasNoSecret(t *testing.T) {
	out, stderr, code := output(t, nil, "config", "show", "--config", "testdata/entrepot.yaml", "--data-dir", "/srv/entrepot")
	if code != 0 || !strings.Contains(out, "password-file: testdata/password") || !strings.Contains(out, "docker-config: testdata/docker.json") {
		t.Errorf("got exit code %d\n%s%s", code, out, stderr)
	}
	for _, file := range []string{"testdata/password", "testdata/docker.json"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range strings.FieldsFunc(string(content), func(r rune) bool { return strings.ContainsRune("\" \n", r) }) {
			if len(word) > 16 && strings.Contains(out, word) {
				t.Errorf("%s is shown: %s", file, word)
			}
		}
	}
}
