package main

import (
	"errors"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/entrepot/entrepot/hosts"
)

// tagKind is how a rule for tags stands in the file.
func tagKind() itemKind[hosts.TagRule] {
	return itemKind[hosts.TagRule]{key: "registry: tags", what: "the rules of tags", fields: []itemField[hosts.TagRule]{
		{
			"repos", func(t *hosts.TagRule, s string) error { return setPattern(&t.Repos, s) },
			func(t hosts.TagRule) string { return t.Repos },
		},
		{
			"tags", func(t *hosts.TagRule, s string) error { return setPattern(&t.Tags, s) },
			func(t hosts.TagRule) string { return t.Tags },
		},
		{
			"manifest-ttl", func(t *hosts.TagRule, s string) error { return setPeriod(&t.ManifestTTL, s) },
			func(t hosts.TagRule) string { return periodText(t.ManifestTTL) },
		},
		{
			"max-stale", func(t *hosts.TagRule, s string) error { return setPeriod(&t.MaxStale, s) },
			func(t hosts.TagRule) string { return periodText(t.MaxStale) },
		},
		{
			"when-gone", func(t *hosts.TagRule, s string) error { return setGone(&t.WhenGone, s) },
			func(t hosts.TagRule) string { return t.WhenGone.String() },
		},
	}}
}

// setPattern wants text: an empty one is more likely a value that was not filled in than "all".
func setPattern(to *string, text string) error {
	if text == "" {
		return fault{"a pattern", "without the key, a rule is about all"}
	}
	*to = text
	return nil
}

// setPeriod reads a duration of a registry or a tag rule, where 0s is not the same as nothing.
func setPeriod(to *time.Duration, text string) error {
	d, err := parseDuration(text)
	*to = orNever(d)
	return err
}

// orNever keeps a zero that the operator wrote from being taken for "not said" by the other rooms.
func orNever(d time.Duration) time.Duration {
	if d == 0 {
		return hosts.Never
	}
	return d
}

// periodText is what setPeriod read.
func periodText(d time.Duration) string {
	switch d {
	case 0:
		return ""
	case hosts.Never:
		return "0s"
	}
	return d.String()
}

func setGone(to *hosts.WhenGone, text string) error {
	switch text {
	case hosts.Gone.String():
		*to = hosts.Gone
	case hosts.Keep.String():
		*to = hosts.Keep
	default:
		d, err := parseDuration(text)
		if err != nil {
			bad := fault{"gone, keep, or a duration such as 7d", "it says what becomes of a tag that upstream has deleted"}
			if f, ok := errors.AsType[fault](err); ok && f.hint != "" {
				bad.hint = f.hint
			}
			return bad
		}
		*to = hosts.KeepFor(d)
	}
	return nil
}

// wantTagRule is the answer to a tag rule that is no mapping.
func wantTagRule(*rule, string) error {
	return fault{"a rule", "write `- tags: \"1.*\"`, and below it what is said of these, such as `manifest-ttl: 24h`"}
}

func readTagRule(f fileReader, n *yaml.Node, r *rule) {
	r.Tags = append(r.Tags, tagKind().item(f, n))
	r.tagsFrom = append(r.tagsFrom, f.at(n, "registry: tags"))
}
