package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// setting is one wish an operator can have. The flag, the environment variable and the key in the file
// all come from this table, so they cannot drift apart.
type setting struct {
	name     string   // "max-size": the flag and the key in the file
	usage    string   // with the word that stands for the value in backquotes
	preset   []string // the default, as one would write it; for show, and laid down first
	absent   string   // what an empty value means, when there is no preset
	list     bool     // may be said several times, or with commas in the environment
	adds     bool     // what is said adds to what weaker sources say, instead of replacing it
	isSwitch bool     // may be said without a value
	noKey    bool     // cannot stand in the file
	mapping  bool     // may be a mapping in the file, of which more is said
	path     bool     // names a file: spaces and commas belong to it
	set      func(*config, word) error
}

// env is the name of the setting's environment variable.
func (s setting) env() string {
	return envPrefix + strings.ReplaceAll(strings.ToUpper(s.name), "-", "_")
}

const envPrefix = "ENTREPOT_"

// settings is the table, in the order of the help text.
func settings(env environment) []setting {
	return slices.Concat(placeSettings(env), upstreamSettings(), accessSettings(), tlsSettings(), acmeSettings(), runSettings())
}

// placeSettings say where things are: the file, the data, the doors.
func placeSettings(env environment) []setting {
	table := []setting{
		{
			name: "config", usage: "YAML `FILE` with any of these settings", noKey: true, path: true,
			absent: "no file", set: func(*config, word) error { return nil },
		},
		{
			name: "data-dir", usage: "`DIR` of the cache (DIR/cache) and the CA (DIR/ca), made at first start", path: true,
			preset: defaultDataDir(env), set: text(func(c *config) *string { return &c.DataDir }),
		},
	}
	for i, d := range doorKinds() {
		table = append(table, setting{
			name: d.flag(), usage: "`ADDR` of " + d.usage, preset: []string{d.preset},
			set: parsed(func(c *config) *string { return &c.Listen[i] }, parseListen),
		})
	}
	return append(
		table,
		setting{
			name: "ca-cert", usage: "`FILE` with your own CA certificate (and chain) instead of DIR/ca; PEM", path: true,
			absent: "DIR/ca/ca.crt", set: text(func(c *config) *string { return &c.CACert }),
		},
		setting{
			name: "ca-key", usage: "`FILE` with its key; PEM", path: true,
			absent: "DIR/ca/ca.key", set: text(func(c *config) *string { return &c.CAKey }),
		},
		setting{
			name: "ca-passphrase-file", usage: "`FILE` with the passphrase of an encrypted key", path: true,
			absent: "the key is not encrypted", set: text(func(c *config) *string { return &c.CAPassphraseFile }),
		},
	)
}

// upstreamSettings say which registries there are and how they are reached.
func upstreamSettings() []setting {
	return []setting{
		{
			name: "registry", usage: "intercept and cache the registry `HOST` too; the file can say more of each",
			list: true, adds: true, mapping: true, set: addRule,
		},
		{
			name: "docker-config", usage: "`FILE` that docker login wrote: the mirror's own credentials for registries that have no other", path: true,
			absent: "no credentials but those of registries in the file", set: text(func(c *config) *string { return &c.DockerConfig }),
		},
		{
			name: "resolver", usage: "`ADDR` of a DNS server asked for upstream names; /etc/hosts is never asked", list: true,
			absent: "the nameservers of resolv.conf",
			set:    appended(func(c *config) *[]string { return &c.Resolvers }, func(s string) (string, error) { return s, parseResolver(s) }),
		},
		{
			name: "upstream-ca", usage: "`FILE` with more roots for upstream TLS, beside the system's; PEM", list: true, path: true,
			absent: "the system's roots only",
			set:    appended(func(c *config) *[]string { return &c.UpstreamCAs }, func(s string) (string, error) { return s, nil }),
		},
		{
			name: "allow-net", usage: "upstream addresses inside `CIDR` are allowed though private or loopback", list: true,
			absent: "public addresses only", set: appended(func(c *config) *[]netip.Prefix { return &c.AllowNets }, parseNet),
		},
		{
			name: "tunnel-port", usage: "tunnels, and plain HTTP to what is no registry, may lead to `PORT` too, beside 443 and 80",
			list: true, absent: "443 for tunnels, 80 for plain HTTP", set: appended(func(c *config) *[]uint16 { return &c.TunnelPorts }, parsePort),
		},
		{
			name: "client-limit", usage: "at most `NUMBER` requests and tunnels at a time from one client address (of IPv6: from one /64)",
			preset: []string{"1000"}, set: parsed(func(c *config) *int { return &c.ClientLimit }, parseCount),
		},
	}
}

// runSettings say how the cache behaves and how the program talks and ends.
func runSettings() []setting {
	return []setting{
		{
			name: "max-size", usage: "cache limit `SIZE`: 50GiB, 500MB, or a share of the volume", preset: []string{"80%"},
			set: parsed(func(c *config) *size { return &c.MaxSize }, parseSize),
		},
		{
			name: "min-free", usage: "`SIZE` of the volume, or share, kept free, within 10 seconds, whatever else fills it; 0 is no floor",
			absent: "1GiB, or 2% of a small volume", set: parsed(func(c *config) *size { return &c.MinFree }, parseFloor),
		},
		{
			name: "manifest-ttl", usage: "`DURATION` for which a tag is served without asking upstream", preset: []string{"1m"},
			set: parsed(func(c *config) *time.Duration { return &c.ManifestTTL }, parseDuration),
		},
		{
			name: "max-stale", usage: "`DURATION` for which a tag may be served when upstream cannot be asked", preset: []string{"168h"},
			set: parsed(func(c *config) *time.Duration { return &c.MaxStale }, parseDuration),
		},
		{
			name: "auth-ttl", usage: "`DURATION` for which a registry's yes to a caller's credential counts; 0s asks at each request", preset: []string{"5m"},
			set: parsed(func(c *config) *time.Duration { return &c.AuthTTL }, parseAuthTTL),
		},
		{
			name: "max-stale-auth", usage: "`DURATION` for which who could read a private image goes on when upstream cannot be asked", preset: []string{"1h"},
			set: parsed(func(c *config) *time.Duration { return &c.MaxStaleAuth }, parseDuration),
		},
		{
			name: "offline", usage: "never ask upstream", isSwitch: true, preset: []string{"false"},
			set: parsed(func(c *config) *bool { return &c.Offline }, parseBool),
		},
		{
			name: "grace", usage: "`DURATION` that running transfers have to end in after SIGTERM", preset: []string{"30s"},
			set: parsed(func(c *config) *time.Duration { return &c.Grace }, parseDuration),
		},
		{
			name: "log-format", usage: "`FORMAT` of the log on stdout: json or console", absent: "console on a terminal, json else",
			set: parsed(func(c *config) *string { return &c.LogFormat }, oneOf("json", "console")),
		},
		{
			name: "log-level", usage: "`LEVEL` of the log: trace, debug, info, warn or error", preset: []string{"info"},
			set: parsed(func(c *config) *string { return &c.LogLevel }, oneOf("trace", "debug", "info", "warn", "error")),
		},
	}
}

// defaultDataDir is empty when there is no home to put it in; that is said when the settings are checked.
func defaultDataDir(env environment) []string { return dataDirOf(os.Geteuid(), env) }

func dataDirOf(uid int, env environment) []string {
	switch {
	case uid == 0:
		return []string{"/var/lib/entrepot"}
	case env["XDG_DATA_HOME"] != "":
		return []string{filepath.Join(env["XDG_DATA_HOME"], "entrepot")}
	case env["HOME"] != "":
		return []string{filepath.Join(env["HOME"], ".local/share/entrepot")}
	}
	return nil
}

// text is the setter of a value that is taken as it is.
func text(field func(*config) *string) func(*config, word) error {
	return parsed(field, func(s string) (string, error) { return s, nil })
}

// parsed is the setter of a value that parse judges.
func parsed[T any](field func(*config) *T, parse func(string) (T, error)) func(*config, word) error {
	return func(c *config, w word) error {
		v, err := parse(w.text)
		if err == nil {
			*field(c) = v
		}
		return err
	}
}

// appended is the setter of a list.
func appended[T any](field func(*config) *[]T, parse func(string) (T, error)) func(*config, word) error {
	return func(c *config, w word) error {
		v, err := parse(w.text)
		if err == nil {
			*field(c) = append(*field(c), v)
		}
		return err
	}
}

func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) { return parseOneOf(s, words...) }
}
