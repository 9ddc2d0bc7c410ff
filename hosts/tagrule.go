package hosts

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Never is what a duration of a registry or of a tag rule says when it is to be
// none at all, since zero says nothing: a ManifestTTL of Never asks upstream
// each time, with a MaxStale of Never nothing stale is served. It is less than
// the age of anything, so it needs no special case where ages are compared.
const Never time.Duration = -1

// TagRule says how tags are kept. What is zero is not said.
type TagRule struct {
	// Repos and Tags are patterns of the tags that it is about; "" is all.
	//
	// "*" stands for any characters but "/", "?" for one, "[0-9a-f]" for one
	// of these, "[!0-9]" for any other one. "**" as an element of Repos stands
	// for any number of elements, also none: "library/*", "org/**".
	Repos, Tags string

	// ManifestTTL is how long a tag is served without asking.
	ManifestTTL time.Duration

	// MaxStale is how long after it was last seen at upstream a tag may be
	// served when upstream cannot be asked.
	MaxStale time.Duration

	// WhenGone says what becomes of a tag that upstream has no more.
	WhenGone WhenGone
}

// TagRule returns what is in force for a tag: the first rule that matches, with
// the registry's own word where the rule is silent. A duration that is still
// zero is the server's default; WhenGone is never zero. It costs no allocation.
func (r Registry) TagRule(repo, tag string) TagRule {
	var rule TagRule
	for i := range r.Tags {
		if r.Tags[i].matches(repo, tag) {
			rule = r.Tags[i]
			break
		}
	}
	rule.ManifestTTL = cmp.Or(rule.ManifestTTL, r.ManifestTTL)
	rule.MaxStale = cmp.Or(rule.MaxStale, r.MaxStale)
	rule.WhenGone = cmp.Or(rule.WhenGone, r.WhenGone, Gone)
	return rule
}

func (t *TagRule) matches(repo, tag string) bool {
	return (t.Tags == "" || matchGlob(t.Tags, tag)) && (t.Repos == "" || matchRepo(t.Repos, repo))
}

// TagRuleError is what is wrong with one rule of a registry, for who knows
// where that rule was written.
type TagRuleError struct {
	Index int // in Registry.Tags
	Err   error
}

func (e *TagRuleError) Error() string { return fmt.Sprintf("tag rule %d: %v", e.Index+1, e.Err) }
func (e *TagRuleError) Unwrap() error { return e.Err }

// checkTags judges the rules, one error each.
func (r Registry) checkTags() []error {
	var errs []error
	for i, t := range r.Tags {
		if err := cmp.Or(t.check(), r.checkReach(i)); err != nil {
			errs = append(errs, &TagRuleError{i, err})
		}
	}
	return errs
}

func (t TagRule) check() error {
	if t.Repos != "" {
		if err := checkRepo(t.Repos); err != nil {
			return fmt.Errorf("repos %q: %w", t.Repos, err)
		}
	}
	if t.Tags != "" {
		if err := checkGlob(t.Tags, tagKind()); err != nil {
			return fmt.Errorf("tags %q: %w", t.Tags, err)
		}
	}
	return checkFreshness(t.ManifestTTL, t.MaxStale, t.WhenGone)
}

// checkReach finds a rule that never acts, as far as that is easily told.
func (r Registry) checkReach(i int) error {
	t := r.Tags[i]
	first, _, nested := strings.Cut(t.Repos, "/")
	switch {
	case nested && strings.Contains(first, ".") && (strings.EqualFold(first, r.Name) || slices.Contains(r.Hosts, first)):
		return fmt.Errorf("repos %q begins with the registry: write %q", t.Repos, t.Repos[len(first)+1:])
	case strings.EqualFold(r.Name, "docker.io") && !nested && t.Repos != "" && t.Repos != "**":
		return fmt.Errorf("repos %q matches nothing at Docker Hub: write %q for official images, ** for all", t.Repos, "library/"+t.Repos)
	}
	before := slices.IndexFunc(r.Tags[:i], func(b TagRule) bool { return b.covers(t) })
	if before < 0 {
		return nil
	}
	return fmt.Errorf("is never reached, tag rule %d takes all that it matches: put it before that one", before+1)
}

// covers tells whether each tag that u is about is one that t is about too.
// False may also mean that it takes more than a look at both to tell.
func (t TagRule) covers(u TagRule) bool {
	repos := t.Repos == "" || t.Repos == "**" || t.Repos == u.Repos
	tags := t.Tags == "" || strings.Trim(t.Tags, "*") == "" || t.Tags == u.Tags
	return repos && tags
}

// checkFreshness judges what a registry and a rule can both say.
func checkFreshness(ttl, stale time.Duration, gone WhenGone) error {
	switch {
	case ttl < Never:
		return fmt.Errorf("manifest TTL %v is negative: write 0 for the default, Never to ask each time, or 1m", ttl)
	case stale < Never:
		return fmt.Errorf("max stale %v is negative: write 0 for the default, Never for nothing stale, or 168h", stale)
	case gone < Gone:
		return errors.New("when gone is negative: write Gone, Keep or KeepFor")
	}
	return nil
}
