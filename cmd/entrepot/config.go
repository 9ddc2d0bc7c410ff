package main

import (
	"net/netip"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// config is what the operator wants, after flags, environment and file were laid over the defaults.
type config struct {
	DataDir                         string
	Listen                          [doorCount]string // "" is off
	CACert, CAKey, CAPassphraseFile string
	Rules                           []rule // in the order in which they overrule each other
	DockerConfig                    string
	Resolvers, UpstreamCAs          []string
	AllowNets                       []netip.Prefix
	Access                          access
	TLS                             doorTLS
	ACME                            acmeRules
	TunnelPorts                     []uint16
	ClientLimit                     int
	MaxSize, MinFree                size
	ManifestTTL, MaxStale, Grace    time.Duration
	AuthTTL, MaxStaleAuth           time.Duration
	Offline                         bool
	LogFormat, LogLevel             string

	said map[string][]word // what is in force, as it was written
	env  environment
}

// origin is where something was said.
type origin struct {
	rank    rank
	setting string
	place   string // "entrepot.yaml:3", "ENTREPOT_MAX_SIZE", "--max-size"
}

// rank orders the sources: a higher one beats a lower one.
type rank int

const (
	byDefault rank = iota
	byFile
	byEnv
	byFlag
)

// String is how an error begins.
func (o origin) String() string {
	switch {
	case o.rank == byFile && o.setting != "":
		return o.place + ": " + o.setting
	case o.rank == byDefault:
		return o.setting
	}
	return o.place
}

// comment is how the origin stands behind a value in `config show`.
func (o origin) comment() string {
	if o.rank == byDefault {
		return "default"
	}
	return o.place
}

// word is one value as the operator wrote it, and where.
type word struct {
	text string
	node *yaml.Node // only where a setting may be a mapping, and is one
	from origin
}

// from is where a setting in force was said, for errors about more than one setting.
func (c config) from(name string) origin {
	if words := c.said[name]; len(words) > 0 {
		return words[len(words)-1].from
	}
	return origin{setting: name}
}

// was is what was said for a setting, to tell whether a reload changes it.
func (c config) was(name string) string {
	var all []string
	for _, w := range c.said[name] {
		all = append(all, w.text)
	}
	return strings.Join(all, ",")
}
