package main

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// itemField is a key of a mapping that stands in a list below a registry: of a rule for tags, of a credential.
type itemField[T any] struct {
	name string
	set  func(item *T, text string) error
	text func(item T) string // as it is shown; "" when it is not said
}

// itemKind is such a mapping.
type itemKind[T any] struct {
	key     string // "registry: tags"
	what    string // for who wrote something else
	fields  []itemField[T]
	refused map[string]string // keys that one might expect, and why they are not taken
}

// item reads one mapping.
func (k itemKind[T]) item(f fileReader, n *yaml.Node) T {
	var item T
	var names []string
	for _, field := range k.fields {
		names = append(names, field.name)
	}
	f.pairs(n, k.what, func(key, value *yaml.Node) {
		i := slices.Index(names, key.Value)
		switch hint := k.refused[key.Value]; {
		case hint != "":
			f.bad.add(f.at(key, k.key+": "+key.Value), "is not taken", hint)
			return
		case i < 0:
			f.unknown(key, names)
			return
		}
		field := k.fields[i]
		for _, w := range f.words(setting{name: k.key + ": " + field.name}, key, value) {
			if err := field.set(&item, w.text); err != nil {
				f.bad.addValue(w, err)
			}
		}
	})
	return item
}

// nodes show the list as it can be read again.
func (k itemKind[T]) nodes(list []T) *yaml.Node {
	all := &yaml.Node{Kind: yaml.SequenceNode}
	for _, item := range list {
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, field := range k.fields {
			if text := field.text(item); text != "" {
				// As text, so that the tags 1.10 and null are not shown as a number and as nothing.
				n.Content = append(n.Content, plain(field.name), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text})
			}
		}
		all.Content = append(all.Content, n)
	}
	return all
}
