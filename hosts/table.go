package hosts

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Table finds the registry of a host name. It never changes.
type Table struct {
	exact    map[string]Registry
	families []family // the most specific first
	list     []Registry
}

// family is a pattern and the registry that listed it.
type family struct {
	pattern
	registry Registry
}

// New makes a table. The error names every registry that is wrong, and what to
// write instead. The list is copied.
func New(list []Registry) (*Table, error) {
	t := &Table{exact: map[string]Registry{}}
	var errs []error
	owner := map[string]string{}
	for _, r := range list {
		r, err := r.canonical()
		if err == nil {
			err = claim(owner, r)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.add(r)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	slices.SortFunc(t.families, func(a, b family) int {
		return cmp.Or(cmp.Compare(len(b.text), len(a.text)), strings.Compare(a.text, b.text))
	})
	return t, nil
}

// claim books the hosts of r, and tells who already has one of them.
func claim(owner map[string]string, r Registry) error {
	for _, h := range r.Hosts {
		first, taken := owner[h]
		switch {
		case taken && first == r.Name && h == r.Name:
			return fmt.Errorf("registry %q is listed twice: write one entry that says everything", r.Name)
		case taken && first != r.Name:
			return fmt.Errorf("registry %q: host %q already belongs to registry %q: take it out of one of them", r.Name, h, first)
		}
	}
	for _, h := range r.Hosts {
		owner[h] = r.Name
	}
	return nil
}

func (t *Table) add(r Registry) {
	t.list = append(t.list, r)
	for _, h := range r.Hosts {
		switch {
		case strings.Contains(h, "*"):
			p, _ := parsePattern(h) // canonical has judged it
			t.families = append(t.families, family{p, r})
		case r.standsAlone(h):
			t.exact[h] = r.only(h)
		default:
			t.exact[h] = r
		}
	}
}

// Lookup finds the registry of an authority as a client writes it: "quay.io",
// "QUAY.IO.", "quay.io:443", "[::1]:5000". The ports 443 and 80 are dropped
// unless they are listed; any other port has to be listed. An exact host beats
// a pattern, a longer pattern a shorter one. What is no authority at all is
// not found. A canonical exact name costs no allocation.
func (t *Table) Lookup(authority string) (Registry, bool) {
	a, ok := parseAuthority(authority)
	if !ok {
		return Registry{}, false
	}
	if r, ok := t.exact[a.key]; ok {
		return r, true
	}
	if a.defaultPort() {
		if r, ok := t.exact[a.host]; ok {
			return r, true
		}
	}
	if r, ok := t.member(a.host, a.port, a.key); ok {
		return r, true
	}
	if a.defaultPort() {
		return t.member(a.host, "", a.host)
	}
	return Registry{}, false
}

// member finds the family of a host.
func (t *Table) member(host, port, key string) (Registry, bool) {
	for i := range t.families {
		f := &t.families[i]
		if !f.match(host, port) {
			continue
		}
		if f.registry.standsAlone(key) {
			return f.registry.only(key), true
		}
		return f.registry, true
	}
	return Registry{}, false
}

// Names returns the names of the registries, sorted, for messages.
func (t *Table) Names() []string {
	names := make([]string, len(t.list))
	for i, r := range t.list {
		names[i] = r.Name
	}
	slices.Sort(names)
	return names
}

// Registries returns the list in its order, a family once under its pattern.
// The copy is the caller's.
func (t *Table) Registries() []Registry {
	list := make([]Registry, len(t.list))
	for i, r := range t.list {
		list[i] = r.clone()
	}
	return list
}
