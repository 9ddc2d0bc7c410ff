package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

func TestTagRules(t *testing.T) {
	const day = 24 * time.Hour
	r := inForce(t, `
registry:
  - name: docker.io
    manifest-ttl: 5m
    max-stale: 30d
    when-gone: 7d
    tags:
      - repos: library/*
        tags: "[0-9]*"
        manifest-ttl: 24h
      - tags: latest
        manifest-ttl: 0s
        when-gone: keep
      - {repos: org/**, max-stale: 0s, when-gone: gone}
`, nil, nil, "index.docker.io")
	for _, c := range []struct {
		repo, tag string
		want      hosts.TagRule
	}{
		{"library/alpine", "3.20", hosts.TagRule{ManifestTTL: day, MaxStale: 30 * day, WhenGone: hosts.KeepFor(7 * day)}},
		{"library/alpine", "latest", hosts.TagRule{ManifestTTL: hosts.Never, MaxStale: 30 * day, WhenGone: hosts.Keep}},
		{"org/a/b", "1", hosts.TagRule{ManifestTTL: 5 * time.Minute, MaxStale: hosts.Never, WhenGone: hosts.Gone}},
		{"other/b", "1", hosts.TagRule{ManifestTTL: 5 * time.Minute, MaxStale: 30 * day, WhenGone: hosts.KeepFor(7 * day)}},
	} {
		got := r.TagRule(c.repo, c.tag)
		got.Repos, got.Tags = "", ""
		if got != c.want {
			t.Errorf("%s:%s: got %+v, want %+v", c.repo, c.tag, got, c.want)
		}
	}
	if r.Upstream != "https://registry-1.docker.io" {
		t.Errorf("got upstream %q, want what the rule does not say to stay", r.Upstream)
	}
}

func TestWhenGone(t *testing.T) {
	for text, want := range map[string]hosts.WhenGone{
		"gone": hosts.Gone, "keep": hosts.Keep, "7d": hosts.KeepFor(168 * time.Hour), "0s": hosts.Gone,
	} {
		if got := inForce(t, "registry: [{name: quay.io, when-gone: "+text+"}]\n", nil, nil, "quay.io").WhenGone; got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}

// TestReadAgain: a rule that a reload finds changed is another one in the table.
func TestReadAgain(t *testing.T) {
	path := file(t, "entrepot.yaml", "registry: [{name: quay.io, tags: [{tags: latest, manifest-ttl: 1h}]}]\n")
	s := sources{map[string][]string{"config": {path}}, environment{"HOME": "/home/u"}}
	ttl := func() time.Duration {
		t.Helper()
		c, err := s.load()
		if err != nil {
			t.Fatal(err)
		}
		table, err := c.table()
		if err != nil {
			t.Fatal(err)
		}
		r, _ := table.Lookup("quay.io")
		return r.TagRule("org/a", "latest").ManifestTTL
	}
	before := ttl()
	if err := os.WriteFile(path, []byte("registry: [{name: quay.io, tags: [{tags: latest, manifest-ttl: 0s}]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if after := ttl(); before != time.Hour || after != hosts.Never {
		t.Errorf("got %v and then %v, want 1h and then never", before, after)
	}
}

func TestTagRuleProblems(t *testing.T) {
	const head = "registry:\n  - name: docker.io\n    tags:\n      - repos: library/*\n" // the rule begins in line 4
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"unknown key", head + "        manifest-tl: 1h\n", []string{"F:5: manifest-tl: no such key", "did you mean manifest-ttl?"}},
		{"unlike any key", head + "        nonsense: 1h\n", []string{"known keys are repos, tags, manifest-ttl, max-stale, when-gone"}},
		{"key of a registry", "registry:\n  - name: docker.io\n    repos: library/*\n", []string{"F:3: repos: no such key"}},
		{"ttl", head + "        manifest-ttl: 5\n", []string{`F:5: registry: tags: manifest-ttl: got "5", want a duration`, "a number needs its unit: 5s"}},
		{"stale", head + "        max-stale: -1h\n", []string{"F:5: registry: tags: max-stale: got", "not negative"}},
		{"gone", head + "        when-gone: never\n", []string{`F:5: registry: tags: when-gone: got "never", want gone, keep, or a duration`, "deleted"}},
		{"gone without unit", head + "        when-gone: 7\n", []string{"want gone, keep, or", "a number needs its unit: 7s"}},
		{"gone of all", "registry:\n  - name: docker.io\n    when-gone: forget\n", []string{`F:3: registry: when-gone: got "forget", want gone, keep`}},
		{"said twice", head + "        repos: x/*\n", []string{"F:5: repos: said before in line 4"}},
		{"no value", head + "        tags:\n", []string{"F:5: registry: tags: tags: has no value"}},
		{"empty pattern", head + "        tags: ''\n", []string{"F:5: registry: tags: tags: got \"\", want a pattern"}},
		{"a list", head + "        tags: [0-9]\n", []string{"F:5: registry: tags: tags: got a list, want one value", "a value that begins with [ needs quotation marks"}},
		{"an alias", head + "        tags: *\n", []string{"entrepot.yaml: line 5: ", "hint: a value that begins with *"}},
		{"plain text", "registry:\n  - name: docker.io\n    tags: latest\n", []string{`F:3: registry: tags: got "latest", want a rule`, "hint: write `- tags: "}},
		{"a list of text", "registry:\n  - name: docker.io\n    tags: [latest]\n", []string{`F:3: registry: tags: got "latest", want a rule`}},
		{"pattern", head + "      - tags: v1\n      - tags: v[9-0]\n", []string{`F:6: registry: tags: registry "docker.io": tag rule 3: tags "v[9-0]": has the range 9-0`}},
		{
			"two patterns", head + "      - tags: .*\n      - repos: Library/*\n",
			[]string{`F:5: registry: tags: registry "docker.io": tag rule 2: tags ".*"`, `F:6: registry: tags: registry "docker.io": tag rule 3: repos "Library/*"`},
		},
		{"never reached", head + "      - {repos: library/*, tags: \"1\"}\n", []string{"F:5: registry: tags: ", "is never reached, tag rule 1 takes all"}},
		{"no effect", "registry:\n  - {name: a.example, mode: tunnel, tags: [{tags: a}], max-stale: 1h}\n", []string{"tags has no effect with mode tunnel", "max-stale has no effect"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := file(t, "entrepot.yaml", c.file)
			_, err := sources{map[string][]string{"config": {path}}, environment{"HOME": "/home/u"}}.load()
			expectReport(t, err, path, c.want)
		})
	}
}

// TestShowTagRules: patterns that YAML would read as something else stay text.
func TestShowTagRules(t *testing.T) {
	rules := []hosts.TagRule{{Tags: "1.10"}, {Tags: "null"}, {Tags: "yes"}, {Tags: "[0-9]*"}, {Tags: "*-rc?"}, {Repos: "**/x"}, {ManifestTTL: hosts.Never}}
	var shown bytes.Buffer
	p := program{stdout: &shown}
	s := sources{nil, environment{"HOME": "/home/u"}}
	c := loaded(t, s.env, nil)
	c.Rules = []rule{{Registry: hosts.Registry{Name: "quay.io", Tags: rules}, said: map[string]bool{"name": true, "tags": true}}}
	if err := p.configShow(s, c); err != nil {
		t.Fatal(err)
	}
	r := inForce(t, shown.String(), nil, nil, "quay.io")
	if len(r.Tags) != len(rules) {
		t.Fatalf("got %d rules, want %d:\n%s", len(r.Tags), len(rules), shown.String())
	}
	for i, want := range rules {
		if r.Tags[i] != want {
			t.Errorf("rule %d: got %+v, want %+v", i+1, r.Tags[i], want)
		}
	}
}
