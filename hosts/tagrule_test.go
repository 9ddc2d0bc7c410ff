package hosts

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTagRule(t *testing.T) {
	table := mustTable(
		t,
		Registry{
			Name: "docker.io", ManifestTTL: 5 * time.Minute, MaxStale: 720 * time.Hour, WhenGone: KeepFor(time.Hour),
			Tags: []TagRule{
				{Repos: "library/*", Tags: "[0-9]*", ManifestTTL: 24 * time.Hour},
				{Tags: "latest", ManifestTTL: Never, MaxStale: Never},
				{Repos: "org/**", WhenGone: Gone},
				{Repos: "library/*", Tags: "stable"}, // an exception from the next
				{Repos: "library/*", WhenGone: Keep},
			},
		},
		Registry{Name: "*.corp", Tags: []TagRule{{Repos: "kept/*", WhenGone: Keep}}},
	)
	for _, test := range []struct {
		registry, repo, tag string
		ttl, stale          time.Duration
		gone                WhenGone
	}{
		{"docker.io", "library/alpine", "3.20", 24 * time.Hour, 720 * time.Hour, KeepFor(time.Hour)},
		{"docker.io", "library/alpine", "latest", Never, Never, KeepFor(time.Hour)},
		{"docker.io", "org/a/b", "latest", Never, Never, KeepFor(time.Hour)},
		{"docker.io", "org/a/b", "1", 5 * time.Minute, 720 * time.Hour, Gone},
		{"docker.io", "library/alpine", "stable", 5 * time.Minute, 720 * time.Hour, KeepFor(time.Hour)},
		{"docker.io", "library/alpine", "edge", 5 * time.Minute, 720 * time.Hour, Keep},
		{"docker.io", "other/image", "1", 5 * time.Minute, 720 * time.Hour, KeepFor(time.Hour)},
		{"a.corp", "kept/image", "1", 0, 0, Keep},
		{"a.corp", "other/image", "1", 0, 0, Gone},
	} {
		r, _ := table.Lookup(test.registry)
		got := r.TagRule(test.repo, test.tag)
		if got.ManifestTTL != test.ttl || got.MaxStale != test.stale || got.WhenGone != test.gone {
			t.Errorf("%s/%s:%s: got %v, %v, %v, want %v, %v, %v", test.registry, test.repo, test.tag,
				got.ManifestTTL, got.MaxStale, got.WhenGone, test.ttl, test.stale, test.gone)
		}
	}
}

func TestWhenGone(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		gone  WhenGone
		text  string
		ago   time.Duration
		keeps bool
	}{
		{0, "", 0, false},
		{Gone, "gone", 0, false},
		{Gone, "gone", -time.Hour, false}, // the clock was set back
		{KeepFor(0), "gone", 0, false},
		{KeepFor(-1), "gone", 0, false},
		{KeepFor(7 * day), "168h0m0s", 7*day - 1, true},
		{KeepFor(7 * day), "168h0m0s", 7 * day, false},
		{KeepFor(7 * day), "168h0m0s", -time.Hour, true},
		{Keep, "keep", 1<<63 - 1, true},
		{-2, "WhenGone(-2)", 0, false},
	} {
		if got := test.gone.Keeps(test.ago); got != test.keeps {
			t.Errorf("%v after %v: got %v, want %v", test.gone, test.ago, got, test.keeps)
		}
		if got := test.gone.String(); got != test.text {
			t.Errorf("got %q, want %q", got, test.text)
		}
	}
}

func TestTagRulesRejected(t *testing.T) {
	for _, test := range []struct {
		rule TagRule
		want string // after the registry and the number of the rule
	}{
		{TagRule{Repos: "Library/*"}, `repos "Library/*": matches nothing, names of repositories are lower case: write "library/*"`},
		{TagRule{Repos: "/library//*/"}, `has an empty element: write "library/*"`},
		{TagRule{Repos: "org**"}, `has "**" inside "org**"`},
		{TagRule{Repos: "org/a:latest"}, "holds a tag or a port"},
		{TagRule{Repos: "org/[a-"}, `has no class in "[a-"`},
		{TagRule{Repos: "org/.*"}, `an element of a repository's name does not begin with '.'`},
		{TagRule{Repos: "org/a,org/b"}, `',' cannot be in an element of a repository's name: a rule has one pattern`},
		{TagRule{Repos: "quay.io/org/*"}, `begins with the registry: write "org/*"`},
		{TagRule{Repos: "cdn.quay.io/org/*"}, `begins with the registry: write "org/*"`},
		{TagRule{Tags: ".*"}, "a pattern is no regular expression"},
		{TagRule{Tags: "^v1"}, "'^' cannot be in a tag"},
		{TagRule{Tags: `v\d`}, `'\\' cannot be in a tag`},
		{TagRule{Tags: "{latest,stable}"}, "'{' cannot be in a tag"},
		{TagRule{Tags: "1.2 "}, "' ' cannot be in a tag"},
		{TagRule{Tags: "v[]"}, `has no class in "[]"`},
		{TagRule{Tags: "v[!]"}, `has no class in "[!]"`},
		{TagRule{Tags: "v[9-0]"}, "has the range 9-0, which is empty: write 0-9"},
		{TagRule{Tags: "v[0-/]"}, "'/' cannot be in a tag"},
		{TagRule{Tags: "[/]"}, "'/' cannot be in a tag"},
		{TagRule{ManifestTTL: -2}, "manifest TTL -2ns is negative"},
		{TagRule{MaxStale: -time.Hour}, "max stale -1h0m0s is negative"},
		{TagRule{WhenGone: -2}, "when gone is negative"},
		{TagRule{Repos: "first", Tags: "1*"}, "is never reached, tag rule 1 takes all that it matches"},
	} {
		_, err := New([]Registry{{Name: "quay.io", Hosts: []string{"cdn.quay.io"}, Tags: []TagRule{{Repos: "first"}, test.rule}}})
		if err == nil {
			t.Errorf("%+v: got no error, want %q", test.rule, test.want)
			continue
		}
		var at *TagRuleError
		if !errors.As(err, &at) || at.Index != 1 {
			t.Errorf("%+v: got %v, want it to tell the rule by its index 1", test.rule, err)
		}
		if got := err.Error(); !strings.HasPrefix(got, `registry "quay.io": tag rule 2: `) || !strings.Contains(got, test.want) {
			t.Errorf("%+v: got %q, want in it %q", test.rule, got, test.want)
		}
	}
}

func TestTagRulesThatNeverAct(t *testing.T) {
	for _, rules := range [][]TagRule{
		{{}, {Tags: "latest"}},
		{{Repos: "**", Tags: "*"}, {}},
		{{Tags: "latest"}, {Repos: "org/*", Tags: "latest"}},
		{{Repos: "org/*"}, {Repos: "org/*", ManifestTTL: 1}},
		{{Repos: "alpine"}},
		{{Repos: "*"}},
	} {
		if _, err := New([]Registry{{Name: "Docker.io", Tags: rules}}); err == nil {
			t.Errorf("%+v: got no error", rules)
		}
	}
	for _, rules := range [][]TagRule{
		{{Tags: "latest"}, {}},
		{{Repos: "**", Tags: "latest"}, {Repos: "org/*"}},
		{{Repos: "org/*", Tags: "1*"}, {Repos: "org/*", Tags: "2*"}},
	} {
		if _, err := New([]Registry{{Name: "docker.io", Tags: rules}}); err != nil {
			t.Errorf("%+v: got %v", rules, err)
		}
	}
}

func TestNeverIsAllowed(t *testing.T) {
	mustTable(t, Registry{Name: "quay.io", ManifestTTL: Never, MaxStale: Never, Tags: []TagRule{{ManifestTTL: Never, MaxStale: Never}}})
}

func TestNewCopiesTagRules(t *testing.T) {
	mine := []TagRule{{Tags: "latest", ManifestTTL: 1}}
	table := mustTable(t, Registry{Name: "quay.io", Tags: mine})
	mine[0].ManifestTTL = 2
	table.Registries()[0].Tags[0].ManifestTTL = 3
	r, _ := table.Lookup("quay.io")
	if got := r.TagRule("a", "latest").ManifestTTL; got != 1 {
		t.Errorf("got TTL %d, want 1", got)
	}
}

func TestTagRuleDoesNotAllocate(t *testing.T) {
	r := manyRules()
	if got := testing.AllocsPerRun(100, func() { r.TagRule("library/alpine", "3.20") }); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

func manyRules() Registry {
	return Registry{Name: "docker.io", Tags: []TagRule{
		{Repos: "org/**/base"},
		{Repos: "team-[a-z]/*", Tags: "*-rc?"},
		{Tags: "latest"},
		{Repos: "**/alpine", Tags: "v[0-9]*"},
		{Repos: "library/*", Tags: "[0-9]*.[0-9]*"},
	}}
}

func BenchmarkTagRule(b *testing.B) {
	r := manyRules()
	b.ReportAllocs()
	for b.Loop() {
		r.TagRule("library/alpine", "3.20")
	}
}
