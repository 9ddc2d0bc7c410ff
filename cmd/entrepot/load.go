package main

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// environment is the process environment by name.
type environment map[string]string

func newEnvironment(environ []string) environment {
	env := environment{}
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		env[name] = value
	}
	return env
}

// sources are the places where settings are said. They are kept for the life of the program, so that a
// reload reads the file again under the same flags.
type sources struct {
	flags map[string][]string
	env   environment
}

// load lays the sources over the defaults. All that is wrong comes back at once, as problems.
func (s sources) load() (config, error) {
	var bad problems
	table := settings(s.env)
	said := presets(table)
	env := s.environmentWords(table, &bad)
	flags := s.flagWords(table, &bad)
	for _, words := range []map[string][]word{readFile(configPath(env, flags), table, &bad), env, flags} {
		for _, set := range table {
			overlay(said, set, words[set.name])
		}
	}
	c := config{said: said, env: s.env}
	for _, set := range table {
		for _, w := range said[set.name] {
			apply(&c, set, w, &bad)
		}
	}
	c.check(&bad)
	return c, bad.orNil()
}

func presets(table []setting) map[string][]word {
	said := map[string][]word{}
	for _, set := range table {
		for _, p := range set.preset {
			said[set.name] = append(said[set.name], word{text: p, from: origin{setting: set.name}})
		}
	}
	return said
}

// overlay puts the words of a stronger source over those of the weaker ones.
func overlay(said map[string][]word, set setting, words []word) {
	switch {
	case len(words) == 0:
	case set.adds:
		said[set.name] = append(said[set.name], words...)
	default:
		said[set.name] = words
	}
}

// apply sets one word, or notes what is wrong with it.
func apply(c *config, set setting, w word, bad *problems) {
	err := error(nil)
	if set.path {
		err = wantPath(w.text)
	}
	if err == nil {
		err = set.set(c, w)
	}
	if err != nil {
		bad.addValue(w, err)
	}
}

// addValue notes what a parser says about a word.
func (ps *problems) addValue(w word, err error) {
	var f fault
	var several problems
	switch {
	case errors.As(err, &several):
		*ps = append(*ps, several...)
	case errors.As(err, &f):
		ps.add(w.from, fmt.Sprintf("got %q, want %s", masked(w.text), f.want), f.hint)
	default:
		ps.add(w.from, err.Error(), "")
	}
}

func configPath(env, flags map[string][]word) word {
	for _, source := range []map[string][]word{flags, env} {
		if words := source["config"]; len(words) > 0 {
			return words[0]
		}
	}
	return word{}
}

func (s sources) flagWords(table []setting, bad *problems) map[string][]word {
	words := map[string][]word{}
	for _, set := range table {
		from := origin{byFlag, set.name, "--" + set.name}
		values := s.flags[set.name]
		if !set.list && len(values) > 1 {
			bad.add(from, fmt.Sprintf("said %d times, want once", len(values)), "")
		}
		for _, value := range values {
			words[set.name] = append(words[set.name], split(set, value, from)...)
		}
	}
	return words
}

func (s sources) environmentWords(table []setting, bad *problems) map[string][]word {
	words := map[string][]word{}
	names := map[string]bool{}
	for _, set := range table {
		names[set.env()] = true
		from := origin{byEnv, set.name, set.env()}
		value := strings.TrimSpace(s.env[set.env()])
		if strings.ContainsAny(value, `"'`) {
			// `environment: - ENTREPOT_REGISTRY="quay.io"` in a compose file keeps the quotes, and they
			// would only show as a registry that is never hit.
			bad.add(from, fmt.Sprintf("got %q, want it without quotation marks", masked(value)),
				fmt.Sprintf("in a compose file or an env file write %s=value; quotes there become part of the value", set.env()))
			continue
		}
		// An empty variable is one that was not filled in (`${MAX_SIZE:-}`), not a wish.
		words[set.name] = split(set, value, from)
	}
	s.unknownVariables(names, bad)
	return words
}

// serviceLink matches what Kubernetes puts into every container for a Service called entrepot,
// entrepot-mirror and the like. These are not meant for us.
var serviceLink = regexp.MustCompile(`^ENTREPOT(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

func (s sources) unknownVariables(names map[string]bool, bad *problems) {
	for _, name := range slices.Sorted(maps.Keys(s.env)) {
		if !strings.HasPrefix(name, envPrefix) || names[name] || serviceLink.MatchString(name) {
			continue
		}
		hint := "`entrepot serve --help` lists all variables"
		if near := nearest(name, slices.Sorted(maps.Keys(names))); near != "" {
			hint = "did you mean " + near + "?"
		}
		bad.add(origin{byEnv, "", name}, "no such setting", hint)
	}
}

// split takes a value of the command line or the environment apart, where several may stand in one.
func split(set setting, value string, from origin) []word {
	parts := []string{value}
	switch {
	case value == "" && from.rank == byEnv:
		return nil
	case set.list && set.path:
		parts = strings.Split(value, ",")
	case set.list:
		parts = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
	}
	words := make([]word, 0, len(parts))
	for _, part := range parts {
		words = append(words, word{text: strings.TrimSpace(part), from: from})
	}
	return words
}
