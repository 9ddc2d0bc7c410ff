package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readFile returns what the file says, setting by setting. It walks the YAML nodes by the table instead
// of decoding into a struct, because a node knows its line and an error should too; anything the table
// does not know is a problem. path.text is "" when no file was named.
func readFile(path word, table []setting, bad *problems) map[string][]word {
	if path.text == "" {
		return nil
	}
	content, err := os.ReadFile(path.text)
	if err != nil {
		bad.add(path.from, err.Error(), "check the path, or leave it out: every setting has a default")
		return nil
	}
	root, err := parseYAML(content)
	if err != nil {
		bad.add(origin{rank: byFile, place: path.text}, err.Error(), hintYAML(content, err))
		return nil
	}
	if root == nil {
		return nil // an empty file, or comments only
	}
	f := fileReader{path.text, table, bad}
	return f.settings(root)
}

var errDocuments = errors.New("has more than one document, want one")

// hintYAML says what most often makes a file no YAML.
func hintYAML(content []byte, err error) string {
	for i, line := range strings.Split(string(content), "\n") {
		if strings.HasPrefix(strings.TrimLeft(line, " "), "\t") {
			return fmt.Sprintf("line %d is indented by a tab: YAML wants spaces", i+1)
		}
	}
	if errors.Is(err, errDocuments) {
		return "a line of --- begins another document: leave it out"
	}
	return "a value that begins with *, [ or another sign of YAML needs quotation marks"
}

// parseYAML returns the one document of the file; nil when there is nothing in it.
func parseYAML(content []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, errDocuments
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil, nil
	}
	return doc.Content[0], nil
}

// fileReader walks one file.
type fileReader struct {
	path  string
	table []setting
	bad   *problems
}

func (f fileReader) at(n *yaml.Node, key string) origin {
	return origin{byFile, key, fmt.Sprintf("%s:%d", f.path, n.Line)}
}

func (f fileReader) settings(root *yaml.Node) map[string][]word {
	words := map[string][]word{}
	f.pairs(root, "settings", func(key, value *yaml.Node) {
		for _, set := range f.table {
			if set.name == key.Value && !set.noKey {
				words[set.name] = f.words(set, key, value)
				return
			}
		}
		f.unknown(key, f.keys())
	})
	return words
}

func (f fileReader) keys() []string {
	var keys []string
	for _, set := range f.table {
		if !set.noKey {
			keys = append(keys, set.name)
		}
	}
	return keys
}

// pairs calls each for the keys of a mapping, each key once.
func (f fileReader) pairs(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		f.bad.add(f.at(n, ""), "want "+what+", each as `name: value`", "")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if line, twice := seen[key.Value]; twice {
			f.bad.add(f.at(key, key.Value), fmt.Sprintf("said before in line %d, want once", line), "")
			continue
		}
		seen[key.Value] = key.Line
		each(key, follow(n.Content[i+1]))
	}
}

func (f fileReader) unknown(key *yaml.Node, known []string) {
	hint := "known keys are " + strings.Join(known, ", ")
	if near := nearest(key.Value, known); near != "" {
		hint = "did you mean " + near + "?"
	}
	f.bad.add(f.at(key, key.Value), "no such key", hint)
}

// words reads the value of one setting: a scalar, or a list where the setting is one.
func (f fileReader) words(set setting, key, value *yaml.Node) []word {
	if value.Kind != yaml.SequenceNode {
		return f.word(set, key, value)
	}
	if !set.list {
		f.bad.add(f.at(value, set.name), "got a list, want one value", "a value that begins with [ needs quotation marks")
		return nil
	}
	var words []word
	for _, item := range value.Content {
		words = append(words, f.word(set, key, follow(item))...)
	}
	return words
}

func (f fileReader) word(set setting, key, value *yaml.Node) []word {
	w := word{text: value.Value, from: f.at(value, set.name)}
	switch {
	case isNull(value):
		f.bad.add(f.at(key, set.name), "has no value", "give it one, or remove the line for the default")
		return nil
	case value.Kind == yaml.MappingNode && set.mapping:
		w.node = value
	case value.Kind != yaml.ScalarNode:
		f.bad.add(w.from, "got a structure, want a plain value", "")
		return nil
	}
	return []word{w}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// follow resolves an alias (`*name`), which needs no more than one step: YAML has no alias of an alias.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}
