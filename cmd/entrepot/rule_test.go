package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

// inForce is the registry that a host leads to.
func inForce(t *testing.T, content string, env environment, flags map[string][]string, host string) hosts.Registry {
	t.Helper()
	if env == nil {
		env = environment{}
	}
	env["HOME"] = "/home/u"
	if content != "" {
		env["ENTREPOT_CONFIG"] = file(t, "entrepot.yaml", content)
	}
	table, err := loaded(t, env, flags).table()
	if err != nil {
		t.Fatal(err)
	}
	r, ok := table.Lookup(host)
	if !ok {
		t.Fatalf("%s is not in the table: %v", host, table.Names())
	}
	return r
}

func TestRegistryByName(t *testing.T) {
	flags := map[string][]string{"registry": {"reg.corp.example:5000"}}
	env := environment{"ENTREPOT_REGISTRY": "a.example, b.example c.example"}
	for _, host := range []string{"reg.corp.example:5000", "a.example", "b.example", "c.example", "f.example", "quay.io"} {
		if got := inForce(t, "registry: f.example\n", env, flags, host); got.Name != host || got.Mode != hosts.Cache {
			t.Errorf("%s: got %+v, want it cached", host, got)
		}
	}
}

// TestKnownRealms: a registry whose token server is known needs no more than its name, and what is said of it counts.
func TestKnownRealms(t *testing.T) {
	for text, want := range map[string]string{
		"registry: docker.elastic.co\n":                                                    "docker-auth.elastic.co",
		"registry:\n  - name: Docker.Elastic.co\n    manifest-ttl: 1h\n":                   "docker-auth.elastic.co",
		"registry:\n  - name: docker.elastic.co\n    realms: [auth.corp.example]\n":        "auth.corp.example",
		"registry:\n  - name: docker.elastic.co\n    upstream: https://reg.corp.example\n": "",
	} {
		got := inForce(t, text, nil, nil, "docker.elastic.co")
		if strings.Join(got.Realms, ",") != want {
			t.Errorf("%s: got realms %q, want %q", text, got.Realms, want)
		}
	}
	if got := inForce(t, "registry: f.example\n", nil, nil, "f.example"); got.Realms != nil {
		t.Errorf("got realms %q of a registry that nobody knows", got.Realms)
	}
}

// TestKnownName: asking for what is there already changes nothing, by whatever name.
func TestKnownName(t *testing.T) {
	for _, name := range []string{"docker.io", "Docker.io", "registry-1.docker.io", "quay.io", "us.gcr.io", "1.dkr.ecr.eu-west-1.amazonaws.com"} {
		c := loaded(t, environment{"HOME": "/home/u"}, map[string][]string{"registry": {name}})
		if got, want := len(c.registries()), len(hosts.Defaults()); got != want {
			t.Errorf("--registry %s: got %d registries, want %d", name, got, want)
		}
	}
}

func TestRegistryInFull(t *testing.T) {
	got := inForce(t, `
registry:
  - plain.example
  - name: corp
    hosts: [reg.corp.example, "*.reg.corp.example"]
    upstream: http://10.0.0.7:5000
    realms: [auth.corp.example]
    manifest-ttl: 10m
    parallel: 4
    allow-net: [10.0.0.0/8]
`, nil, nil, "reg.corp.example")
	want := hosts.Registry{Name: "corp", Upstream: "http://10.0.0.7:5000", Mode: hosts.Cache, ManifestTTL: 10 * time.Minute, Parallel: 4}
	if got.Name != want.Name || got.Upstream != want.Upstream || got.Mode != want.Mode || got.ManifestTTL != want.ManifestTTL || got.Parallel != want.Parallel {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !slices.Equal(got.Realms, []string{"auth.corp.example"}) || len(got.AllowNets) != 1 || len(got.Hosts) != 3 {
		t.Errorf("got realms %v, networks %v, hosts %v", got.Realms, got.AllowNets, got.Hosts)
	}
}

// TestRuleOverDefault: what a rule does not say stays as it was.
func TestRuleOverDefault(t *testing.T) {
	got := inForce(t, "registry: [{name: docker.io, manifest-ttl: 1h}]\n", nil, nil, "index.docker.io")
	if got.ManifestTTL != time.Hour || got.Upstream != "https://registry-1.docker.io" || len(got.Realms) != 1 {
		t.Errorf("got %+v, want the default with another ttl", got)
	}
	if got := inForce(t, "registry: [{name: quay.io, mode: tunnel}]\n", nil, nil, "quay.io"); got.Mode != hosts.Tunnel {
		t.Errorf("got mode %v, want tunnel", got.Mode)
	}
	if got := inForce(t, "registry: [{name: quay.io, manifest-ttl: 0s}]\n", nil, nil, "quay.io"); got.ManifestTTL != hosts.Never {
		t.Errorf("got ttl %v, want never, and not zero, which is the default", got.ManifestTTL)
	}
}

// TestFlagBeatsMode: a flag says "cache this", and a flag beats the file.
func TestFlagBeatsMode(t *testing.T) {
	flags := map[string][]string{"registry": {"quay.io", "us.gcr.io"}}
	content := "registry: [{name: quay.io, mode: tunnel}, {name: \"*.gcr.io\", mode: refuse}]\n"
	for host, want := range map[string]hosts.Mode{"quay.io": hosts.Cache, "us.gcr.io": hosts.Cache, "eu.gcr.io": hosts.Refuse} {
		if got := inForce(t, content, nil, flags, host).Mode; got != want {
			t.Errorf("%s: got mode %v, want %v", host, got, want)
		}
	}
}

func TestRuleProblems(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"unknown key", "registry:\n  - name: a.example\n    upstrem: x\n", []string{"F:3: upstrem: no such key", "did you mean upstream?"}},
		{"no name", "registry:\n  - upstream: https://a.example\n", []string{"F:2: registry: has no name"}},
		{"bad mode", "registry:\n  - name: a.example\n    mode: on\n", []string{`F:3: registry: mode: got "on", want cache, tunnel or refuse`}},
		{"parallel", "registry:\n  - name: a.example\n    parallel: 17\n", []string{`F:3: registry: parallel: got "17", want a number of connections from 1 to 16`}},
		{"bad net and ttl", "registry:\n  - name: a.example\n    allow-net: [10.0.0.1/8]\n    manifest-ttl: 5\n", []string{"F:3: registry: allow-net: got", "F:4: registry: manifest-ttl: got", "a number needs its unit"}},
		{"password", "registry:\n  - name: a.example\n    upstream: https://u:secret@a.example\n", []string{"F:2: registry: ", "holds credentials"}},
		{"no effect", "registry:\n  - {name: a.example, mode: tunnel, upstream: \"https://b.example\"}\n", []string{"F:2: registry: ", "upstream has no effect with mode tunnel"}},
		{"twice", "registry:\n  - {name: a.example, mode: tunnel}\n  - {name: A.example, mode: refuse}\n", []string{`F:3: registry: registry "A.example" is said before at F`}},
		{"taken host", "registry:\n  - {name: a.example, hosts: [quay.io]}\n", []string{"F:2: registry: ", `host "quay.io" already belongs to registry`}},
		{"roots that are none", "registry:\n  - {name: a.example, ca-file: /nowhere.pem}\n", []string{"F:2: registry: ", "/nowhere.pem: no such file"}},
		{"a list in a list", "registry:\n  - [a.example]\n", []string{"F:2: registry: got a structure"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := file(t, "entrepot.yaml", c.file)
			_, err := sources{map[string][]string{"config": {path}}, environment{"HOME": "/home/u"}}.load()
			for i, w := range c.want {
				if before, ok := strings.CutSuffix(w, "at F"); ok {
					c.want[i] = before + "at " + path + ":2"
				}
			}
			expectReport(t, err, path, c.want)
		})
	}
}
