package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestContract holds the table against what users' scripts rely on: these names, with these defaults.
func TestContract(t *testing.T) {
	contract := map[string]string{
		"config": "", "data-dir": "/data/entrepot", "proxy-listen": "127.0.0.1:3128", "mirror-listen": "127.0.0.1:5000",
		"tls-listen": "off", "http-listen": "off", "admin-listen": "127.0.0.1:5001", "registry": "", "resolver": "",
		"upstream-ca": "", "allow-net": "", "allow-client": "", "max-size": "80%", "manifest-ttl": "1m", "max-stale": "168h",
		"offline": "false", "log-format": "", "log-level": "info",
		// Added since.
		"ca-cert": "", "ca-key": "", "ca-passphrase-file": "", "grace": "30s", "min-free": "", "tunnel-port": "", "client-limit": "1000",
		"proxy-protocol": "", "htpasswd": "", "admin-htpasswd": "", "mirror-tls": "off", "proxy-tls": "off", "server-name": "", "server-cert": "", "server-key": "", "client-ca": "",
		"acme-email": "", "acme-directory": "", "acme-ca": "", "acme-http-port": "80", "acme-tls-port": "443", "acme-dns-hook": "",
		"docker-config": "", "auth-ttl": "5m", "max-stale-auth": "1h",
	}
	for _, set := range settings(environment{"XDG_DATA_HOME": "/data"}) {
		want, known := contract[set.name]
		if set.name == "data-dir" && len(defaultDataDir(environment{})) > 0 {
			want = "/var/lib/entrepot" // as root
		}
		if got := strings.Join(set.preset, ","); !known || got != want {
			t.Errorf("%s: got default %q, want %q (in the contract: %v)", set.name, got, want, known)
		}
		delete(contract, set.name)
		if !strings.Contains(set.usage, "`") != set.isSwitch {
			t.Errorf("%s: usage %q must name its value, unless it is a switch", set.name, set.usage)
		}
	}
	for name := range contract {
		t.Errorf("%s is in the contract and not in the table", name)
	}
}

// samples are two values for each setting: one for the file, one for the environment.
func samples() map[string][2]string {
	return map[string][2]string{
		"data-dir": {"/a", "/b"}, "proxy-listen": {":1", ":2"}, "mirror-listen": {":3", ":4"}, "tls-listen": {":5", ":6"},
		"http-listen": {":7", ":8"}, "admin-listen": {":9", ":10"}, "resolver": {"1.1.1.1", "8.8.8.8"},
		"allow-net": {"10.0.0.0/8", "fd00::/8"}, "allow-client": {"10.0.0.0/8", "fd00::/8"}, "max-size": {"1GiB", "2GiB"},
		"manifest-ttl": {"1m", "2m"}, "max-stale": {"1h", "2h"}, "offline": {"true", "false"}, "log-format": {"json", "console"},
		"log-level": {"warn", "error"}, "min-free": {"1GiB", "2GiB"}, "grace": {"1s", "2s"},
		"proxy-protocol": {"10.0.0.0/8", "fd00::/8"}, "mirror-tls": {"ca", "off"}, "proxy-tls": {"ca", "off"},
		"docker-config": {"testdata/docker.json", "./testdata/docker.json"}, "auth-ttl": {"1m", "0s"}, "max-stale-auth": {"1h", "2h"},
		"tunnel-port": {"8443", "8080"}, "client-limit": {"100", "200"},
	}
}

// TestPrecedence goes through the whole table: a flag beats the environment, which beats the file.
func TestPrecedence(t *testing.T) {
	files := map[string]bool{"config": true, "ca-cert": true, "ca-key": true, "ca-passphrase-file": true, "upstream-ca": true, "registry": true}
	for _, name := range []string{"htpasswd", "admin-htpasswd", "server-cert", "server-key", "client-ca", "server-name", "acme-email", "acme-directory", "acme-ca", "acme-http-port", "acme-tls-port", "acme-dns-hook"} { // mean something together: access_test.go
		files[name] = true
	}
	for _, set := range settings(environment{}) {
		sample, ok := samples()[set.name]
		if !ok {
			if !files[set.name] {
				t.Errorf("%s has no sample: add one", set.name)
			}
			continue
		}
		t.Run(set.name, func(t *testing.T) {
			path := file(t, "entrepot.yaml", fmt.Sprintf("%s: %q\n", set.name, sample[0]))
			env := environment{"HOME": "/home/u", "ENTREPOT_CONFIG": path}
			expect(t, loaded(t, env, nil), set.name, sample[0], path+":1")
			env[set.env()] = sample[1]
			expect(t, loaded(t, env, nil), set.name, sample[1], set.env())
			expect(t, loaded(t, env, map[string][]string{set.name: {sample[0]}}), set.name, sample[0], "--"+set.name)
		})
	}
}

func expect(t *testing.T, c config, name, value, origin string) {
	t.Helper()
	if got := c.was(name); got != value {
		t.Errorf("%s: got %q, want %q", name, got, value)
	}
	if got := c.from(name).comment(); got != origin {
		t.Errorf("%s: got it from %q, want %q", name, got, origin)
	}
}

func TestValuesArrive(t *testing.T) {
	c := loaded(t, environment{"HOME": "/home/u", "ENTREPOT_RESOLVER": "1.1.1.1, 8.8.8.8:53"}, map[string][]string{
		"max-stale": {"7d"}, "offline": {"true"}, "allow-net": {"10.0.0.0/8,fd00::/8", "127.0.0.1"}, "tls-listen": {":443"}, "mirror-listen": {"off"},
	})
	if c.MaxStale != 7*24*time.Hour || !c.Offline || len(c.AllowNets) != 3 || len(c.Resolvers) != 2 {
		t.Errorf("got %+v", c)
	}
	if c.Listen[tlsDoor] != ":443" || c.Listen[mirrorDoor] != "" || c.Listen[proxyDoor] != "127.0.0.1:3128" {
		t.Errorf("got doors %q", c.Listen)
	}
}

// TestProblems is what people get wrong. Each case says the lines that must come, all at once.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, file string
		env        environment
		flags      map[string][]string
		want       []string // "where: part of the text"
	}{
		{
			name: "unknown key", file: "max_size: 1GiB\nnonsense: 1\n",
			want: []string{"F:1: max_size: no such key", "did you mean max-size?", "F:2: nonsense: no such key", "known keys are data-dir"},
		},
		{
			name: "bad values everywhere", file: "manifest-ttl: 60\nlog-level: loud\n",
			env: environment{"ENTREPOT_MAX_SIZE": "big"}, flags: map[string][]string{"proxy-listen": {"3128"}},
			want: []string{
				`F:1: manifest-ttl: got "60", want a duration`, "a number needs its unit: 60s", `F:2: log-level: got "loud", want trace, debug`,
				`ENTREPOT_MAX_SIZE: got "big", want a size such as 50GiB`, `--proxy-listen: got "3128", want an address`,
			},
		},
		{
			name: "a proof that lasts", file: "auth-ttl: 48h\n", flags: map[string][]string{"max-stale-auth": {"-1m"}},
			want: []string{`F:1: auth-ttl: got "48h", want at most 24h`, "hint: for so long somebody reads on", `--max-stale-auth: got "-1m", want a duration that is not negative`},
		},
		{
			name: "quotes of docker compose", env: environment{"ENTREPOT_REGISTRY": `"quay.io"`},
			want: []string{`ENTREPOT_REGISTRY: got "\"quay.io\"", want it without quotation marks`, "write ENTREPOT_REGISTRY=value"},
		},
		{name: "unknown variable", env: environment{"ENTREPOT_MAXSIZE": "1GiB"}, want: []string{"ENTREPOT_MAXSIZE: no such setting", "did you mean ENTREPOT_MAX_SIZE?"}},
		{name: "no file", flags: map[string][]string{"config": {"/nowhere/e.yaml"}}, want: []string{"--config: open /nowhere/e.yaml: no such file"}},
		{name: "tab", file: "registry:\n  - name: a.example\n\tmode: tunnel\n", want: []string{"F: ", "line 3 is indented by a tab: YAML wants spaces"}},
		{name: "no YAML", file: "offline: true\na: b: c\n", want: []string{"F: ", "line 2", "mapping values are not allowed"}},
		{name: "not settings", file: "- quay.io\n", want: []string{"F:1: want settings, each as `name: value`"}},
		{name: "two documents", file: "offline: true\n---\noffline: false\n", want: []string{"F: has more than one document, want one", "a line of --- begins another"}},
		{name: "twice in the file", file: "offline: true\noffline: false\n", want: []string{"F:2: offline: said before in line 1"}},
		{name: "twice on the line", flags: map[string][]string{"max-size": {"1GiB", "2GiB"}}, want: []string{"--max-size: said 2 times, want once"}},
		{name: "no value", file: "max-size:\n", want: []string{"F:1: max-size: has no value"}},
		{name: "list for one", file: "max-size: [1GiB]\n", want: []string{"F:1: max-size: got a list, want one value"}},
		{name: "structure", file: "max-size: {a: b}\n", want: []string{"F:1: max-size: got a structure, want a plain value"}},
		{name: "config in the file", file: "config: other.yaml\n", want: []string{"F:1: config: no such key"}},
		{
			name: "one address for two doors", file: "mirror-listen: 127.0.0.1:3128\n", env: environment{"ENTREPOT_TLS_LISTEN": ":5001"},
			want: []string{
				"F:1: mirror-listen: 127.0.0.1:3128 is also the address of the proxy door (proxy-listen)",
				"admin-listen: 127.0.0.1:5001 is also the address of the tls door (ENTREPOT_TLS_LISTEN)",
			},
		},
		{
			name: "all doors off", flags: map[string][]string{"proxy-listen": {"off"}, "mirror-listen": {"off"}},
			want: []string{"--proxy-listen: every door for clients is off"},
		},
		{name: "half a CA", flags: map[string][]string{"ca-cert": {"go.mod"}}, want: []string{"--ca-cert: is given without ca-key"}},
		{name: "passphrase of nothing", flags: map[string][]string{"ca-passphrase-file": {"x"}}, want: []string{"--ca-passphrase-file: is given without ca-key"}},
		{name: "roots that are none", flags: map[string][]string{"upstream-ca": {"main.go"}}, want: []string{"--upstream-ca: main.go: has no certificate in it"}},
		{
			name: "a shell's tilde", file: "data-dir: ~/cache\nregistry: [{name: a.example, ca-file: ~/ca.pem, credentials: [{username: a, password-file: ~/p}]}]\n",
			env: environment{"ENTREPOT_HTPASSWD": "~/htpasswd"}, flags: map[string][]string{"upstream-ca": {"~"}},
			want: []string{
				`F:1: data-dir: got "~/cache", want a path from / on`, "what is really called so is ./~/cache", `F:2: registry: ca-file: got "~/ca.pem"`,
				`F:2: registry: credentials: password-file: got "~/p"`, `ENTREPOT_HTPASSWD: got "~/htpasswd"`, `--upstream-ca: got "~"`,
			},
		},
		{name: "a URL for a registry", flags: map[string][]string{"registry": {"https://quay.io/v2"}}, want: []string{"--registry: ", `write "quay.io", without scheme and path`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := environment{"HOME": "/home/u"}
			for k, v := range c.env {
				env[k] = v
			}
			path := ""
			if c.file != "" {
				path = file(t, "entrepot.yaml", c.file)
				env["ENTREPOT_CONFIG"] = path
			}
			_, err := sources{c.flags, env}.load()
			expectReport(t, err, path, c.want)
		})
	}
}

// TestDefaultDataDir: where data lies when nobody says it, and what a user without a home is told.
func TestDefaultDataDir(t *testing.T) {
	for _, row := range []struct {
		uid  int
		env  environment
		want string
	}{
		{0, environment{"HOME": "/root"}, "/var/lib/entrepot"},
		{0, environment{}, "/var/lib/entrepot"},
		{1000, environment{"HOME": "/home/u"}, "/home/u/.local/share/entrepot"},
		{1000, environment{"HOME": "/home/u", "XDG_DATA_HOME": "/data"}, "/data/entrepot"},
		{1000, environment{}, ""},
	} {
		if got := strings.Join(dataDirOf(row.uid, row.env), ","); got != row.want {
			t.Errorf("user %d with %v: got %q, want %q", row.uid, row.env, got, row.want)
		}
	}
	c := loaded(t, environment{"HOME": "/home/u"}, nil)
	c.DataDir, c.said["data-dir"] = "", nil
	var bad problems
	c.check(&bad)
	expectReport(t, bad.orNil(), "", []string{"data-dir: there is no home directory", "name a directory with --data-dir DIR"})
}

// expectReport looks for each text in what a person would read; F stands for the file.
func expectReport(t *testing.T, err error, path string, want []string) {
	t.Helper()
	if err == nil {
		t.Fatal("got no problem")
	}
	var told strings.Builder
	report(&told, err)
	for _, w := range want {
		if rest, ok := strings.CutPrefix(w, "F:"); ok {
			w = path + ":" + rest
		}
		if !strings.Contains(told.String(), w) {
			t.Errorf("got\n%s\nwant in it %q", told.String(), w)
		}
	}
}

// TestServiceLinks: Kubernetes describes every Service of the namespace in every container, and a Service
// called entrepot is likely.
func TestServiceLinks(t *testing.T) {
	loaded(t, environment{
		"HOME": "/home/u", "ENTREPOT_SERVICE_HOST": "10.0.0.1", "ENTREPOT_SERVICE_PORT": "3128", "ENTREPOT_SERVICE_PORT_MIRROR": "5000",
		"ENTREPOT_PORT": "tcp://10.0.0.1:3128", "ENTREPOT_PORT_3128_TCP": "x", "ENTREPOT_PORT_3128_TCP_PROTO": "tcp", "ENTREPOT_MIRROR_SERVICE_HOST": "x",
		"ENTREPOT_MAX_SIZE": "", // `${MAX_SIZE:-}`
	}, nil)
}

func TestEmptyFile(t *testing.T) {
	for _, content := range []string{"", "# nothing yet\n", "---\n", "{}\n"} {
		loaded(t, environment{"HOME": "/home/u"}, map[string][]string{"config": {file(t, "entrepot.yaml", content)}})
	}
}

// FuzzFile: whatever a file holds, it is read or refused.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{"max-size: 1GiB\n", "registry: [a.example, {name: b.example, hosts: [c.example]}]\n", "a: &a [*a]\n", "registry: [{name: a.example, when-gone: 7d, tags: [{repos: a/**, tags: \"[0-9]*\"}, {tags: []}]}]\n", "? {}\n: x\n", "<<: {a: b}\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		_, err := sources{map[string][]string{"config": {file(t, "e.yaml", string(content))}}, environment{"HOME": "/"}}.load()
		if err != nil {
			report(&strings.Builder{}, err)
		}
	})
}
