package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/entrepot/entrepot/hosts"
)

// rule is what the operator said of one registry. It is laid over the default of that name, if there is
// one; what the rule does not say stays.
type rule struct {
	hosts.Registry
	said map[string]bool // the keys that were written
	from origin

	tagsFrom, credentialsFrom []origin // of each of these
}

// ruleField is a key that a registry in the file can have.
type ruleField struct {
	name string
	list bool
	set  func(r *rule, text string) error // of plain text
	copy func(to, from *hosts.Registry)
	item func(f fileReader, n *yaml.Node, r *rule) // of a mapping; nil where it cannot be one
}

func ruleFields() []ruleField {
	return []ruleField{
		{
			"name", false, func(r *rule, s string) error { r.Name = s; return nil },
			func(to, from *hosts.Registry) {}, nil,
		},
		{
			"hosts", true, func(r *rule, s string) error { r.Hosts = append(r.Hosts, s); return nil },
			func(to, from *hosts.Registry) { to.Hosts = from.Hosts }, nil,
		},
		{
			"upstream", false, func(r *rule, s string) error { r.Upstream = s; return nil },
			func(to, from *hosts.Registry) { to.Upstream = from.Upstream }, nil,
		},
		{
			"mode", false, setMode,
			func(to, from *hosts.Registry) { to.Mode = from.Mode }, nil,
		},
		{
			"realms", true, func(r *rule, s string) error { r.Realms = append(r.Realms, s); return nil },
			func(to, from *hosts.Registry) { to.Realms = from.Realms }, nil,
		},
		{
			"ca-file", false, func(r *rule, s string) error { return setPath(&r.CAFile, s) },
			func(to, from *hosts.Registry) { to.CAFile = from.CAFile }, nil,
		},
		{
			"manifest-ttl", false, func(r *rule, s string) error { return setPeriod(&r.ManifestTTL, s) },
			func(to, from *hosts.Registry) { to.ManifestTTL = from.ManifestTTL }, nil,
		},
		{
			"max-stale", false, func(r *rule, s string) error { return setPeriod(&r.MaxStale, s) },
			func(to, from *hosts.Registry) { to.MaxStale = from.MaxStale }, nil,
		},
		{
			"when-gone", false, func(r *rule, s string) error { return setGone(&r.WhenGone, s) },
			func(to, from *hosts.Registry) { to.WhenGone = from.WhenGone }, nil,
		},
		{
			"parallel", false, setParallel,
			func(to, from *hosts.Registry) { to.Parallel = from.Parallel }, nil,
		},
		{
			"tags", true, wantTagRule,
			func(to, from *hosts.Registry) { to.Tags = from.Tags }, readTagRule,
		},
		{
			"allow-net", true, addNet,
			func(to, from *hosts.Registry) { to.AllowNets = from.AllowNets }, nil,
		},
		{
			"credentials", true, wantCredential,
			func(to, from *hosts.Registry) { to.Credentials = from.Credentials }, readCredential,
		},
		{
			"share", true, addShare,
			func(to, from *hosts.Registry) { to.Share = from.Share }, nil,
		},
	}
}

func setMode(r *rule, text string) error {
	mode, err := hosts.ParseMode(text)
	if err != nil {
		return fault{"cache, tunnel or refuse", ""}
	}
	r.Mode = mode
	return nil
}

func setParallel(r *rule, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > hosts.MaxParallel {
		return fault{fmt.Sprintf("a number of connections from 1 to %d", hosts.MaxParallel), ""}
	}
	r.Parallel = n
	return nil
}

func addNet(r *rule, text string) error {
	p, err := parseNet(text)
	if err == nil {
		r.AllowNets = append(r.AllowNets, p)
	}
	return err
}

// addRule is the setter of `registry`: a name, or a mapping in the file.
func addRule(c *config, w word) error {
	r := rule{Registry: hosts.Registry{Name: w.text}, from: w.from}
	var bad problems
	if w.node != nil {
		fileReader{path: strings.TrimSuffix(w.from.place, fmt.Sprintf(":%d", w.node.Line)), bad: &bad}.rule(w.node, &r)
	}
	if len(bad) == 0 {
		r.judge(&bad)
	}
	c.Rules = append(c.Rules, r)
	return bad.orNil()
}

// rule reads what the file says of one registry.
func (f fileReader) rule(n *yaml.Node, r *rule) {
	r.said = map[string]bool{}
	var names []string
	for _, field := range ruleFields() {
		names = append(names, field.name)
	}
	f.pairs(n, "the rules of a registry", func(key, value *yaml.Node) {
		i := slices.Index(names, key.Value)
		if i < 0 {
			f.unknown(key, names)
			return
		}
		field := ruleFields()[i]
		r.said[field.name] = true
		shape := setting{name: "registry: " + field.name, list: field.list, mapping: field.item != nil}
		for _, w := range f.words(shape, key, value) {
			if w.node != nil {
				field.item(f, w.node, r)
			} else if err := field.set(r, w.text); err != nil {
				f.bad.addValue(w, err)
			}
		}
	})
	if !r.said["name"] {
		f.bad.add(f.at(n, "registry"), "has no name", "give it `name: registry.example.com`, as it stands in an image's name")
	}
}

// judge looks for what cannot be meant.
func (r rule) judge(bad *problems) {
	if _, err := hosts.New([]hosts.Registry{r.Registry}); err != nil {
		for _, e := range parts(err) {
			bad.add(r.place(e), e.Error(), "")
		}
	}
	if r.Mode == hosts.Cache {
		return
	}
	keys := []string{
		"upstream", "realms", "ca-file", "manifest-ttl", "max-stale", "when-gone", "parallel", "tags", "allow-net", "credentials", "share",
	}
	for _, key := range keys {
		if r.said[key] {
			bad.add(r.from, fmt.Sprintf("registry %q: %s has no effect with mode %s", r.Name, key, r.Mode), "remove one of the two")
		}
	}
}

// place is where what err complains of was written.
func (r rule) place(err error) origin {
	var of *hosts.TagRuleError
	if errors.As(err, &of) && of.Index < len(r.tagsFrom) {
		return r.tagsFrom[of.Index]
	}
	var secret *hosts.CredentialError
	if errors.As(err, &secret) && secret.Index < len(r.credentialsFrom) {
		return r.credentialsFrom[secret.Index]
	}
	return r.from
}

// parts takes what errors.Join joined apart again.
func parts(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, parts(e)...)
	}
	return all
}

// entry is one registry in force.
type entry struct {
	hosts.Registry
	from origin
}

// registries lays the rules over the defaults, in the order of the sources.
func (c config) registries() []entry {
	var list []entry
	for _, r := range hosts.Defaults() {
		list = append(list, entry{r, origin{setting: "registry"}})
	}
	for _, r := range c.Rules {
		i := slices.IndexFunc(list, func(e entry) bool { return e.answers(r) })
		switch {
		case i >= 0:
			list[i].obey(r)
		case !inFamily(list, r):
			added := r.Registry
			if r.Mode == hosts.Cache && !r.said["realms"] && !r.said["upstream"] {
				added.Realms = hosts.KnownRealms(strings.ToLower(r.Name))
			}
			list = append(list, entry{added, r.from})
		}
	}
	return list
}

// answers tells whether a rule is about this registry. A bare name may also be one of its hosts:
// `--registry registry-1.docker.io` asks for what is there already.
func (e entry) answers(r rule) bool {
	same := func(host string) bool { return strings.EqualFold(host, r.Name) }
	return same(e.Name) || r.said == nil && slices.ContainsFunc(e.Hosts, same)
}

// obey changes what the rule says. A bare name says: cache it.
func (e *entry) obey(r rule) {
	for _, field := range ruleFields() {
		if r.said[field.name] {
			field.copy(&e.Registry, &r.Registry)
			e.from = r.from
		}
	}
	if r.said == nil && e.Mode != hosts.Cache {
		e.Mode, e.from = hosts.Cache, r.from
	}
}

// inFamily tells whether a bare name asks for what a family of the list does already.
func inFamily(list []entry, r rule) bool {
	if r.said != nil {
		return false
	}
	table, err := hosts.New(registriesOf(list))
	if err != nil {
		return false
	}
	found, ok := table.Lookup(r.Name)
	return ok && found.Mode == hosts.Cache
}

func registriesOf(list []entry) []hosts.Registry {
	registries := make([]hosts.Registry, len(list))
	for i, e := range list {
		registries[i] = e.Registry
	}
	return registries
}

// table is the registries in force, ready to be asked.
func (c config) table() (*hosts.Table, error) {
	return hosts.New(c.withDockerConfig(registriesOf(c.registries())))
}
