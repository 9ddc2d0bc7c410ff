package hosts

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNewResolverServers(t *testing.T) {
	tests := []struct{ server, want string }{
		{"1.1.1.1", "1.1.1.1:53"},
		{"1.1.1.1:5353", "1.1.1.1:5353"},
		{"::1", "[::1]:53"},
		{"[::1]", "[::1]:53"},
		{"[::1]:5353", "[::1]:5353"},
		{"fe80::1%eth0", "[fe80::1%eth0]:53"},
		{"[fe80::1%eth0]:5353", "[fe80::1%eth0]:5353"},
	}
	for _, test := range tests {
		r, err := NewResolver([]string{test.server, test.server})
		if err != nil {
			t.Errorf("%s: %v", test.server, err)
			continue
		}
		if len(r.fixed) != 1 || r.fixed[0].String() != test.want {
			t.Errorf("%s: got %v, want %v", test.server, r.fixed, test.want)
		}
	}
	for _, server := range []string{"", "dns.google", "dns.google:53", "1.1.1.1:0", "1.1.1.1:x", "[1.1.1.1", "https://1.1.1.1"} {
		if _, err := NewResolver([]string{server}); err == nil || !strings.Contains(err.Error(), "write it as 1.1.1.1") {
			t.Errorf("%q: got %v, want an error that says what to write", server, err)
		}
	}
}

func TestParseResolvConf(t *testing.T) {
	tests := []struct {
		what, text string
		want       []string
	}{
		{"empty", "", nil},
		{
			"all of them", "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
			[]string{"10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53", "10.0.0.4:53"},
		},
		{"bare IPv6 and zone", "nameserver fd00::53\nnameserver fe80::1%eth0", []string{"[fd00::53]:53", "[fe80::1%eth0]:53"}},
		{"comments", "# nameserver 10.0.0.9\n;nameserver 10.0.0.9\nnameserver 10.0.0.1 # mine\nnameserver 10.0.0.2;\n", []string{"10.0.0.1:53", "10.0.0.2:53"}},
		{"blanks and CRLF", "\r\n \tnameserver\t 10.0.0.1 \r\n", []string{"10.0.0.1:53"}},
		{"the rest", "search corp.example\noptions ndots:5\nnameserver\nnameserver dns.corp\nnameservers 10.0.0.9\nnameserver 10.0.0.1", []string{"10.0.0.1:53"}},
		{"twice", "nameserver 10.0.0.1\nnameserver 10.0.0.1\n", []string{"10.0.0.1:53"}},
		{"NUL", "nameserver \x00\nnameserver 10.0.0.1", []string{"10.0.0.1:53"}},
	}
	for _, test := range tests {
		var got []string
		for _, ap := range parseResolvConf(test.text) {
			got = append(got, ap.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.what, got, test.want)
		}
	}
}

// confOf is a resolver that follows a resolv.conf in a directory of its own.
func confOf(t *testing.T, text string) *resolvConf {
	t.Helper()
	dir := t.TempDir()
	c := &resolvConf{path: filepath.Join(dir, "resolv.conf"), real: filepath.Join(dir, "real.conf"), every: 5 * time.Second}
	write(t, c.path, text)
	return c
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (c *resolvConf) want(t *testing.T, now time.Time, want ...string) {
	t.Helper()
	got, err := c.nameservers(now)
	if err != nil {
		t.Errorf("got error %v, want %v", err, want)
		return
	}
	var servers []netip.AddrPort
	for _, s := range want {
		servers = append(servers, netip.MustParseAddrPort(s))
	}
	if !slices.Equal(got, servers) {
		t.Errorf("got %v, want %v", got, servers)
	}
}

func TestResolvConfIsFollowed(t *testing.T) {
	now := time.Now()
	c := confOf(t, "nameserver 10.0.0.1\n")
	c.want(t, now, "10.0.0.1:53")
	write(t, c.path, "nameserver 10.0.0.2\n")
	c.want(t, now.Add(4*time.Second), "10.0.0.1:53")
	c.want(t, now.Add(6*time.Second), "10.0.0.2:53")
	write(t, c.path, "")
	c.want(t, now.Add(12*time.Second), "10.0.0.2:53")
	if err := os.Remove(c.path); err != nil {
		t.Fatal(err)
	}
	c.want(t, now.Add(18*time.Second), "10.0.0.2:53")
	write(t, c.path, "nameserver 10.0.0.3\n")
	c.want(t, now.Add(24*time.Second), "10.0.0.3:53")
}

func TestSystemdStubIsPassedBy(t *testing.T) {
	now := time.Now()
	c := confOf(t, "nameserver 127.0.0.53\noptions edns0\n")
	c.want(t, now, "127.0.0.53:53")
	write(t, c.real, "# nothing yet\n")
	c.want(t, now.Add(6*time.Second), "127.0.0.53:53")
	write(t, c.real, "nameserver 192.168.1.1\nnameserver fd00::1\n")
	c.want(t, now.Add(12*time.Second), "192.168.1.1:53", "[fd00::1]:53")
	write(t, c.path, "nameserver 10.0.0.1\nnameserver 127.0.0.53\n")
	c.want(t, now.Add(18*time.Second), "10.0.0.1:53", "127.0.0.53:53")
}

func TestResolvConfErrors(t *testing.T) {
	r, err := NewResolver(nil)
	if err != nil {
		t.Fatal(err)
	}
	r.conf = confOf(t, "search corp.example\n")
	_, err = r.Lookup(t.Context(), "quay.io")
	if want := "resolve quay.io: " + r.conf.path + " has no nameserver"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %v", err, want)
	}
	r.conf.path += ".missing"
	_, err = r.Lookup(t.Context(), "ghcr.io")
	if err == nil || !strings.Contains(err.Error(), "resolv.conf.missing") || !strings.Contains(err.Error(), "name a DNS server") {
		t.Errorf("got %v, want the path and what to do", err)
	}
}

func TestLookupByResolvConf(t *testing.T) {
	s := serveDNS(t, zone(t, "a.example. 60 A 192.0.2.1"))
	r, _ := newResolver(t)
	r.conf = confOf(t, "nameserver "+s.addr+"\n")
	wantAddrs(t, r, "a.example", "192.0.2.1")
}

func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 10.0.0.1\nnameserver fe80::1%eth0\n# x\nsearch a b\n")
	f.Add("nameserver [::1]:53;\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, ap := range parseResolvConf(text) {
			if !ap.IsValid() || ap.Port() == 0 {
				t.Errorf("got %v out of %q", ap, text)
			}
			if again, err := parseServer(ap.String()); err != nil || again != ap {
				t.Errorf("%v: got %v %v when read again", ap, again, err)
			}
		}
	})
}
