package hosts

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustTable(t testing.TB, list ...Registry) *Table {
	t.Helper()
	table, err := New(list)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestLookupDefaults(t *testing.T) {
	table := mustTable(t, Defaults()...)
	tests := []struct {
		authority string
		want      string // name, "" for not found
		upstream  string
	}{
		{"docker.io", "docker.io", "https://registry-1.docker.io"},
		{"registry-1.docker.io", "docker.io", "https://registry-1.docker.io"},
		{"index.docker.io:443", "docker.io", "https://registry-1.docker.io"},
		{"auth.docker.io", "docker.io", "https://auth.docker.io"},
		{"AUTH.docker.io.:443", "docker.io", "https://auth.docker.io"},
		{"quay.io", "quay.io", "https://quay.io"},
		{"QUAY.IO.", "quay.io", "https://quay.io"},
		{"quay.io:443", "quay.io", "https://quay.io"},
		{"quay.io:80", "quay.io", "https://quay.io"},
		{"Quay.io.:80", "quay.io", "https://quay.io"},
		{"quay.io:", "quay.io", "https://quay.io"},
		{"quay.io:5000", "", ""},
		{"gcr.io", "gcr.io", "https://gcr.io"},
		{"us.gcr.io", "us.gcr.io", "https://us.gcr.io"},
		{"EU.GCR.IO:443", "eu.gcr.io", "https://eu.gcr.io"},
		{"us.gcr.io:5000", "", ""},
		{"k8s.gcr.io", "k8s.gcr.io", "https://k8s.gcr.io"},
		{"registry.k8s.io", "registry.k8s.io", "https://registry.k8s.io"},
		{"ghcr.io", "ghcr.io", "https://ghcr.io"},
		{"us-west1-docker.pkg.dev", "us-west1-docker.pkg.dev", "https://us-west1-docker.pkg.dev"},
		{"pkg.dev", "", ""},
		{"mcr.microsoft.com", "mcr.microsoft.com", "https://mcr.microsoft.com"},
		{"public.ecr.aws", "public.ecr.aws", "https://public.ecr.aws"},
		{"123.dkr.ecr.eu-west-1.amazonaws.com", "123.dkr.ecr.eu-west-1.amazonaws.com", "https://123.dkr.ecr.eu-west-1.amazonaws.com"},
		{"123.dkr.ecr.eu.west.amazonaws.com", "", ""},
		{"dkr.ecr.eu-west-1.amazonaws.com", "", ""},
		{"s3.amazonaws.com", "", ""},
		{"nvcr.io", "nvcr.io", "https://nvcr.io"},
		{"authn.nvidia.com", "", ""},
		{"registry.gitlab.com", "registry.gitlab.com", "https://registry.gitlab.com"},
		{"gitlab.com", "", ""},
		{"team.azurecr.io", "team.azurecr.io", "https://team.azurecr.io"},
		{"notgcr.io", "", ""},
		{"gcr.io.evil.example", "", ""},
	}
	for _, test := range tests {
		r, ok := table.Lookup(test.authority)
		if ok != (test.want != "") || r.Name != test.want {
			t.Errorf("Lookup(%q): got %q %v, want %q", test.authority, r.Name, ok, test.want)
			continue
		}
		if !ok {
			continue
		}
		if got := r.UpstreamURL(test.authority).String(); got != test.upstream {
			t.Errorf("UpstreamURL(%q): got %v, want %v", test.authority, got, test.upstream)
		}
	}
}

func TestLookupGarbage(t *testing.T) {
	table := mustTable(t, Defaults()...)
	for _, s := range []string{
		"", ".", "..", ":", ":443", "*", "*.gcr.io", "[", "]", "[]", "[]:443", "[quay.io]", "[::1", "::1]", "[::1]x",
		"[fe80::1%eth0]:443", "quay.io..", ".quay.io", "quay..io", "-quay.io", "quay.io-", "quay.io:0", "quay.io:0443",
		"quay.io:+443", "quay.io:65536", "quay.io:https", "quay.io:443:443", "quay.io/v2", "user@quay.io",
		"https://quay.io", "quay.io\x00", "quay.io\n", " quay.io", "qu\u00e4y.io", "quay.\u212ao", "127.1",
		strings.Repeat("a", 64) + ".gcr.io", strings.Repeat("a.", 130) + "gcr.io",
	} {
		if r, ok := table.Lookup(s); ok {
			t.Errorf("Lookup(%q): got %q, want nothing", s, r.Name)
		}
	}
}

func TestLookupPortsAndPrecedence(t *testing.T) {
	table := mustTable(
		t,
		Registry{Name: "localhost:5000"},
		Registry{Name: "[0:0::1]:5000"},
		Registry{Name: "fd00::2"},
		Registry{Name: "10.0.0.1:5000"},
		Registry{Name: "reg.corp:443"},
		Registry{Name: "plain.corp:80", Upstream: "http://plain.corp"},
		Registry{Name: "plain.corp"},
		Registry{Name: "*.corp"},
		Registry{Name: "*.eu.corp"},
		Registry{Name: "reg.*.corp"},
		Registry{Name: "*.corp:5001"},
		Registry{Name: "exact.eu.corp"},
		Registry{Name: "my_registry:5000"},
	)
	tests := []struct{ authority, want, upstream string }{
		{"localhost:5000", "localhost:5000", "https://localhost:5000"},
		{"localhost", "", ""},
		{"localhost:443", "", ""},
		{"[::1]:5000", "[::1]:5000", "https://[::1]:5000"},
		{"[::1]", "", ""},
		{"[FD00::2]:443", "[fd00::2]", "https://[fd00::2]"},
		{"fd00:0::2", "[fd00::2]", "https://[fd00::2]"},
		{"10.0.0.1:5000", "10.0.0.1:5000", "https://10.0.0.1:5000"},
		{"reg.corp", "reg.corp", "https://reg.corp"},
		{"reg.corp:443", "reg.corp", "https://reg.corp"},
		{"plain.corp:80", "plain.corp:80", "http://plain.corp"},
		{"plain.corp", "plain.corp", "https://plain.corp"},
		{"plain.corp:443", "plain.corp", "https://plain.corp"},
		{"a.b.corp:80", "a.b.corp", "https://a.b.corp"},
		{"a.corp:5001", "a.corp:5001", "https://a.corp:5001"},
		{"a.corp:5002", "", ""},
		{"corp", "", ""},
		{"exact.eu.corp:443", "exact.eu.corp", "https://exact.eu.corp"},
		{"MY_registry:5000", "my_registry:5000", "https://my_registry:5000"},
	}
	for _, test := range tests {
		r, ok := table.Lookup(test.authority)
		if ok != (test.want != "") || r.Name != test.want {
			t.Errorf("Lookup(%q): got %q %v, want %q", test.authority, r.Name, ok, test.want)
		} else if ok && r.UpstreamURL(test.authority).String() != test.upstream {
			t.Errorf("UpstreamURL(%q): got %v, want %v", test.authority, r.UpstreamURL(test.authority), test.upstream)
		}
	}
}

// The longer of two patterns wins, told apart here by their manifest TTL.
func TestLookupLongerPatternWins(t *testing.T) {
	table := mustTable(
		t,
		Registry{Name: "*.corp", ManifestTTL: 1},
		Registry{Name: "*.eu.corp", ManifestTTL: 2},
		Registry{Name: "reg.*.corp", ManifestTTL: 3},
		Registry{Name: "*.reg.*.corp", ManifestTTL: 4},
	)
	for host, want := range map[string]time.Duration{
		"a.corp": 1, "a.b.corp": 1, "a.eu.corp": 2, "reg.us.corp": 3, "reg.eu.corp": 3, "x.y.reg.us.corp": 4,
	} {
		if r, _ := table.Lookup(host); r.ManifestTTL != want {
			t.Errorf("Lookup(%q): got rule %d, want %d", host, r.ManifestTTL, want)
		}
	}
}

// Hosts without a common upstream must not share a name, since it is the cache
// key; with one they are aliases.
func TestHostsWithoutUpstreamAreNotAliases(t *testing.T) {
	table := mustTable(
		t,
		Registry{Name: "a.example", Hosts: []string{"b.example", "*.c.example", "auth.example"}, Realms: []string{"auth.example"}},
		Registry{Name: "x.example", Hosts: []string{"y.example", "*.z.example"}, Upstream: "https://x.example"},
	)
	for host, want := range map[string]string{
		"a.example": "a.example", "b.example": "b.example", "d.c.example": "d.c.example", "auth.example": "a.example",
		"x.example": "x.example", "y.example": "x.example", "d.z.example": "x.example",
	} {
		if r, _ := table.Lookup(host); r.Name != want {
			t.Errorf("Lookup(%q): got %q, want %q", host, r.Name, want)
		}
	}
	b, _ := table.Lookup("b.example")
	if got, want := b.Hosts, []string{"b.example", "auth.example"}; !slices.Equal(got, want) {
		t.Errorf("hosts of b.example: got %v, want %v", got, want)
	}
	if got := b.UpstreamURL("auth.example").String(); got != "https://auth.example" {
		t.Errorf("UpstreamURL of the realm: got %v, want https://auth.example", got)
	}
}

func TestIsRealm(t *testing.T) {
	list := append(Defaults(),
		Registry{Name: "mirror.corp", Upstream: "https://hub.corp:8443", Realms: []string{"*.sso.corp", "Auth.corp:5001"}})
	table := mustTable(t, list...)
	tests := []struct {
		registry, host string
		want           bool
	}{
		{"docker.io", "auth.docker.io", true},
		{"docker.io", "AUTH.docker.io.:443", true},
		{"docker.io", "registry-1.docker.io", true},
		{"docker.io", "auth.docker.io:8443", false},
		{"docker.io", "auth.docker.io.evil.example", false},
		{"quay.io", "quay.io", true},
		{"quay.io", "auth.docker.io", false},
		{"quay.io", "", false},
		{"us.gcr.io", "us.gcr.io:443", true},
		{"us.gcr.io", "eu.gcr.io", false},
		{"us.gcr.io", "gcr.io", false},
		{"mine.azurecr.io", "evil.azurecr.io", false},
		{"registry.gitlab.com", "gitlab.com", true},
		{"nvcr.io", "authn.nvidia.com", true},
		{"mirror.corp", "hub.corp:8443", true},
		{"mirror.corp", "hub.corp", false},
		{"mirror.corp", "eu.sso.corp", true},
		{"mirror.corp", "sso.corp", false},
		{"mirror.corp", "auth.corp:5001", true},
	}
	for _, test := range tests {
		r, ok := table.Lookup(test.registry)
		if !ok {
			t.Fatalf("Lookup(%q): not found", test.registry)
		}
		if got := r.IsRealm(test.host); got != test.want {
			t.Errorf("%s: IsRealm(%q): got %v, want %v", test.registry, test.host, got, test.want)
		}
	}
}

// Text that is no host must not become part of a URL.
func TestUpstreamURLOfGarbage(t *testing.T) {
	r := Registry{Name: "quay.io"}
	if got := r.UpstreamURL("evil.example/../x").String(); got != "https://quay.io" {
		t.Errorf("got %v, want https://quay.io", got)
	}
}

func TestNewRejects(t *testing.T) {
	tests := []struct {
		what string
		list []Registry
		want []string // parts of the message
	}{
		{"no name", []Registry{{}}, []string{`registry ""`, "name", "write it as"}},
		{"scheme in name", []Registry{{Name: "https://quay.io/v2"}}, []string{`"https://quay.io/v2"`, `write "quay.io"`}},
		{"path in host", []Registry{{Name: "quay.io", Hosts: []string{"quay.io/v2"}}}, []string{`registry "quay.io": host`, `write "quay.io", without the path`}},
		{"umlaut", []Registry{{Name: "qu\u00e4y.io"}}, []string{"xn--"}},
		{"bad realm", []Registry{{Name: "quay.io", Realms: []string{"a b"}}}, []string{`realm "a b"`}},
		{"star inside a label", []Registry{{Name: "*-docker.pkg.dev"}}, []string{"*.corp.example"}},
		{"star at the end", []Registry{{Name: "quay.*"}}, []string{"fixed ending"}},
		{"star alone", []Registry{{Name: "*"}}, []string{"fixed ending"}},
		{"star in an address", []Registry{{Name: "10.*.0.1"}}, []string{"not a pattern"}},
		{"star with a bad port", []Registry{{Name: "*.corp:0"}}, []string{"not a pattern"}},
		{"mode", []Registry{{Name: "quay.io", Mode: 7}}, []string{`registry "quay.io"`, "mode 7", "cache, tunnel or refuse"}},
		{"TTL", []Registry{{Name: "quay.io", ManifestTTL: -2}}, []string{"negative", "1m"}},
		{"network", []Registry{{Name: "quay.io", AllowNets: []netip.Prefix{{}}}}, []string{"10.0.0.0/8"}},
		{"no scheme", []Registry{{Name: "quay.io", Upstream: "quay.io:5000"}}, []string{`write "https://quay.io:5000"`}},
		{"odd scheme", []Registry{{Name: "quay.io", Upstream: "ftp://quay.io"}}, []string{`"ftp"`, `write "https://quay.io"`}},
		{"path", []Registry{{Name: "quay.io", Upstream: "https://quay.io/v2/"}}, []string{"path", `write "https://quay.io"`}},
		{"query", []Registry{{Name: "quay.io", Upstream: "https://quay.io?a=b"}}, []string{"query", `write "https://quay.io"`}},
		{"fragment", []Registry{{Name: "quay.io", Upstream: "https://quay.io#"}}, []string{"fragment"}},
		{"no host", []Registry{{Name: "quay.io", Upstream: "https://:443"}}, []string{"host name"}},
		{"not a URL", []Registry{{Name: "quay.io", Upstream: "%zz"}}, []string{"not a URL"}},
		{"twice", []Registry{{Name: "quay.io"}, {Name: "QUAY.io:443"}}, []string{`"quay.io" is listed twice`}},
		{
			"claimed",
			[]Registry{{Name: "a.example", Hosts: []string{"c.example"}}, {Name: "b.example", Hosts: []string{"c.example"}}},
			[]string{`registry "b.example"`, `host "c.example"`, `registry "a.example"`},
		},
		{"pattern claimed", []Registry{{Name: "*.example"}, {Name: "b.example", Hosts: []string{"*.EXAMPLE"}}}, []string{`host "*.example"`}},
		{"two errors", []Registry{{Name: "a b"}, {Name: "quay.io", Mode: -1}}, []string{`"a b"`, "mode -1"}},
	}
	for _, test := range tests {
		_, err := New(test.list)
		if err == nil {
			t.Errorf("%s: got no error", test.what)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, want it to contain %q", test.what, err, want)
			}
		}
	}
}

func TestErrorsHidePasswords(t *testing.T) {
	for _, upstream := range []string{"https://joe:s3cret@quay.io", "joe:s3cret@quay.io", "https://joe:s3cret@quay.io/%zz"} {
		_, err := New([]Registry{{Name: "quay.io", Upstream: upstream}})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("New with upstream %q: got %v, want an error without the password", upstream, err)
		}
	}
}

func TestNewCopiesTheList(t *testing.T) {
	mine := []Registry{{Name: "a.example", Hosts: []string{"A.example", "b.example"}}}
	table := mustTable(t, mine...)
	mine[0].Hosts[1] = "evil.example"
	table.Registries()[0].Hosts[0] = "evil.example"
	if got, want := table.Registries()[0].Hosts, []string{"a.example", "b.example"}; !slices.Equal(got, want) {
		t.Errorf("hosts: got %v, want %v", got, want)
	}
	if mine[0].Hosts[0] != "A.example" {
		t.Errorf("the caller's list was changed to %v", mine[0].Hosts)
	}
}

func TestNames(t *testing.T) {
	table := mustTable(t, Registry{Name: "b.example"}, Registry{Name: "*.a.example"})
	if got, want := table.Names(), []string{"*.a.example", "b.example"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseMode(t *testing.T) {
	for _, want := range []Mode{Cache, Tunnel, Refuse} {
		if got, err := ParseMode(strings.ToUpper(want.String())); got != want || err != nil {
			t.Errorf("ParseMode(%v): got %v %v", want, got, err)
		}
	}
	if _, err := ParseMode("proxy"); err == nil || !strings.Contains(err.Error(), "cache, tunnel or refuse") {
		t.Errorf("ParseMode(proxy): got %v, want the three words", err)
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := mustTable(t, append(Defaults(), Registry{Name: "localhost:5000"})...)
	for _, authority := range []string{"docker.io", "quay.io:443", "localhost:5000", "unknown.example"} {
		if got := testing.AllocsPerRun(100, func() { table.Lookup(authority) }); got != 0 {
			t.Errorf("Lookup(%q): got %v allocations, want 0", authority, got)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	table := mustTable(b, Defaults()...)
	for _, authority := range []string{"registry-1.docker.io", "us.gcr.io:443", "unknown.example:443"} {
		b.Run(authority, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Lookup(authority)
			}
		})
	}
}

func FuzzLookup(f *testing.F) {
	for _, s := range []string{"quay.io", "QUAY.IO.:443", "[::1]:5000", "us.gcr.io", "1.dkr.ecr.x.amazonaws.com", "::", "a:b:c", "[", "\u212a"} {
		f.Add(s)
	}
	table := mustTable(f, append(Defaults(), Registry{Name: "[::1]:5000"})...)
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := table.Lookup(s)
		if !ok {
			return
		}
		again, ok := table.Lookup(r.Name)
		if !ok || again.Name != r.Name {
			t.Errorf("Lookup(%q) is %q, but that name finds %q", s, r.Name, again.Name)
		}
		u := r.UpstreamURL(s)
		if a, ok := parseAuthority(u.Host); !ok || a.key != u.Host || u.Path != "" || !r.IsRealm(u.Host) {
			t.Errorf("UpstreamURL(%q): got %v, which is not a plain base URL of its own", s, u)
		}
	})
}
