package hosts

import (
	"path"
	"strings"
	"testing"
	"time"
)

func TestMatchRepo(t *testing.T) {
	for _, test := range []struct {
		pattern string
		yes, no []string
	}{
		{"library/*", []string{"library/alpine"}, []string{"library", "library/a/b", "xlibrary/alpine", "org/library/alpine"}},
		{"library/alpine", []string{"library/alpine"}, []string{"library/alpine2", "library/alpin"}},
		{"org/**", []string{"org", "org/a", "org/a/b/c"}, []string{"org2/a", "a/org/b"}},
		{"**", []string{"a", "a/b/c"}, nil},
		{"**/base", []string{"base", "a/base", "a/b/base", "base/base"}, []string{"base/a", "a/xbase"}},
		{"org/**/base-?", []string{"org/base-1", "org/a/b/base-1"}, []string{"org/base-", "org/base-12", "base-1"}},
		{"**/a/**/b/**", []string{"a/b", "x/a/y/b/z", "a/a/b", "b/a/b"}, []string{"b/a", "a/xb"}},
		{"**/a/*/b", []string{"a/x/b", "a/a/a/b", "a/b/a/x/b"}, []string{"a/b", "a/x/y/b"}},
		{"*", []string{"a"}, []string{"a/b"}},
		{"*/*", []string{"a/b"}, []string{"a", "a/b/c"}},
		{"team-[0-9]/*-prod", []string{"team-1/web-prod"}, []string{"team-x/web-prod", "team-1/web"}},
	} {
		for _, repo := range test.yes {
			if !matchRepo(test.pattern, repo) {
				t.Errorf("matchRepo(%q, %q): got false, want true", test.pattern, repo)
			}
		}
		for _, repo := range test.no {
			if matchRepo(test.pattern, repo) {
				t.Errorf("matchRepo(%q, %q): got true, want false", test.pattern, repo)
			}
		}
	}
}

func TestMatchTag(t *testing.T) {
	for _, test := range []struct {
		glob    string
		yes, no []string
	}{
		{"latest", []string{"latest"}, []string{"latest2", "Latest", "lates"}},
		{"v[0-9]*", []string{"v1", "v1.2.3"}, []string{"v", "va", "1", "V1"}},
		{"[!0-9v]*", []string{"latest"}, []string{"1.2", "v1"}},
		{"[^0-9]*", []string{"v1"}, []string{"1"}},
		{"*-rc?", []string{"1.2-rc1", "1-rc2-rc3"}, []string{"1.2-rc", "1.2-rc10"}},
		{"*.*.*", []string{"1.2.3", "1..2", "1.2.3.4"}, []string{"1.2"}},
		{"[-_]x[a-]", []string{"-xa", "_x-"}, []string{"ax-", "_xb"}},
		{"*a*b*c", []string{"abc", "xaxbxbxc", "aabbcc"}, []string{"acb", "abcx"}},
		{"?", []string{"1"}, []string{"12"}},
	} {
		for _, tag := range test.yes {
			if !matchGlob(test.glob, tag) {
				t.Errorf("matchGlob(%q, %q): got false, want true", test.glob, tag)
			}
		}
		for _, tag := range test.no {
			if matchGlob(test.glob, tag) {
				t.Errorf("matchGlob(%q, %q): got true, want false", test.glob, tag)
			}
		}
	}
}

// A pattern that makes a matcher which tries everything run for ages.
func TestMatchIsBounded(t *testing.T) {
	start := time.Now()
	matchGlob(strings.Repeat("*a", 60)+"b", strings.Repeat("a", 128))
	matchRepo(strings.Repeat("**/a/", 40)+"b", strings.Repeat("a/", 127)+"a")
	if took := time.Since(start); took > time.Second {
		t.Errorf("got an answer after %v, want it at once", took)
	}
}

// FuzzTagPattern: whatever stands in a rule and in a request, there is an answer;
// for what the check lets through it is the one of package path.
func FuzzTagPattern(f *testing.F) {
	for _, s := range [][3]string{
		{"library/*", "library/alpine", "v[0-9]*"},
		{"**/a/**", "b/a", "[!a-]?"},
		{"org/**/[", "org//", "[]"},
		{"", "", "*[^"},
		{"***/?", "a/\xff", "[z-a]-["},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, repos, repo, tags string) {
		r := Registry{Name: "quay.io", Tags: []TagRule{{Repos: repos, Tags: tags, ManifestTTL: 1}}}
		r.TagRule(repo, repo)
		r.TagRule("", "")
		if _, err := New([]Registry{r}); err != nil || strings.Trim(repo, "abc019._-") != "" {
			return
		}
		if tags != "" {
			want, err := path.Match(strings.ReplaceAll(forPath(tags), "[!", "[^"), repo)
			if got := matchGlob(tags, repo); err == nil && got != want {
				t.Errorf("matchGlob(%q, %q): got %v, want %v", tags, repo, got, want)
			}
		}
	})
}

// forPath makes "**" of a tag one star, which package path reads it as anyway.
func forPath(glob string) string { return strings.ReplaceAll(glob, "**", "*") }
