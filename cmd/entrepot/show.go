package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/entrepot/entrepot/ca"
	"github.com/entrepot/entrepot/hosts"
)

func (p program) configCheck(_ sources, c config) error {
	p.warn(c.volumeCautions())
	// No CA, or one that only the server may look at, is no fault of the configuration.
	if now, err := ca.Look(c.caConfig()); err == nil {
		table, err := c.table()
		if err != nil {
			return err
		}
		p.warn(cautions(now, table, time.Now()))
	}
	_, err := fmt.Fprintln(p.stdout, "ok")
	return err
}

// configShow prints what is in force as a file that says the same, with the origin of each value behind
// it.
func (p program) configShow(s sources, c config) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, set := range settings(s.env) {
		switch {
		case set.noKey:
		case set.name == "registry":
			root.Content = append(root.Content, plain(set.name), c.registryNodes())
		default:
			appendSetting(root, set, c.said[set.name])
		}
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(root), encoder.Close()); err != nil {
		return err
	}
	// The encoder forgets the end of the last line when it has a comment.
	_, err := fmt.Fprintf(p.stdout, "%s\n", bytes.TrimRight(out.Bytes(), "\n"))
	return err
}

func appendSetting(root *yaml.Node, set setting, words []word) {
	key := plain(set.name)
	if len(words) == 0 {
		// No value in YAML means this; as a comment, so that the output can be used as a file.
		note(root, fmt.Sprintf("%s: not set (%s)", set.name, set.absent))
		return
	}
	var values []*yaml.Node
	for _, w := range words {
		n := plain(masked(w.text))
		n.LineComment = w.from.comment()
		values = append(values, n)
	}
	if set.list {
		values = []*yaml.Node{{Kind: yaml.SequenceNode, Content: values}}
	}
	root.Content = append(root.Content, key, values[0])
}

// note leaves a comment below the last key.
func note(root *yaml.Node, text string) {
	if len(root.Content) == 0 {
		return
	}
	key := root.Content[len(root.Content)-2]
	if key.FootComment != "" {
		text = key.FootComment + "\n" + text
	}
	key.FootComment = text
}

func plain(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// registryNodes are the registries in force, defaults too.
func (c config) registryNodes() *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, e := range c.registries() {
		list.Content = append(list.Content, registryNode(e.Registry, e.from))
	}
	return list
}

func registryNode(r hosts.Registry, from origin) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	say := func(key string, texts ...string) {
		value := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, t := range texts {
			value.Content = append(value.Content, plain(masked(t)))
		}
		if len(texts) > 0 && texts[0] != "" {
			n.Content = append(n.Content, plain(key), value)
		}
	}
	scalar := func(key, text string) {
		if text != "" {
			n.Content = append(n.Content, plain(key), plain(masked(text)))
		}
	}
	scalar("name", r.Name)
	n.Content[1].LineComment = from.comment()
	say("hosts", r.Hosts...)
	scalar("upstream", r.Upstream)
	if r.Mode != hosts.Cache {
		scalar("mode", r.Mode.String())
	}
	say("realms", r.Realms...)
	scalar("ca-file", r.CAFile)
	scalar("manifest-ttl", periodText(r.ManifestTTL))
	scalar("max-stale", periodText(r.MaxStale))
	scalar("when-gone", r.WhenGone.String())
	if r.Parallel > 0 {
		scalar("parallel", strconv.Itoa(r.Parallel))
	}
	if len(r.Tags) > 0 {
		n.Content = append(n.Content, plain("tags"), tagKind().nodes(r.Tags))
	}
	var nets []string
	for _, p := range r.AllowNets {
		nets = append(nets, p.String())
	}
	say("allow-net", nets...)
	if len(r.Credentials) > 0 {
		n.Content = append(n.Content, plain("credentials"), credentialKind().nodes(r.Credentials))
	}
	say("share", r.Share...)
	return n
}
