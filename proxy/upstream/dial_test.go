package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/testdata/world"
)

func TestDialable(t *testing.T) {
	for addr, want := range map[string]bool{
		"44.205.64.79": true, "1.1.1.1": true, "2606:4700::6810:85e5": true, "::ffff:44.205.64.79": true, "172.15.255.255": true, "172.32.0.1": true,
		"192.167.1.1": true, "100.63.255.255": true, "100.128.0.1": true, "198.20.0.1": true,
		"127.0.0.1": false, "127.255.255.254": false, "::1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
		"10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "fd00::1": false, "fc00::1": false,
		"169.254.169.254": false, "169.254.1.1": false, "fe80::1": false, "fe80::1%eth0": false, "fd00:ec2::254": false,
		"100.64.0.1": false, "100.127.255.255": false, "224.0.0.1": false, "239.1.1.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false,
		"192.0.2.1": false, "198.51.100.1": false, "203.0.113.1": false, "198.18.0.1": false, "2001:db8::1": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false, "::ffff:0:127.0.0.1": false,
		"64:ff9b::2ccd:404f": false, "2002:2ccd:404f::": false, "168.63.129.16": false, "192.88.99.1": false, "4000::1": false, "3fff::1": false,
		"100::1": false, "5f00::1": false, "2001:2::1": false, "2001:20::1": false, "2400:cb00::1": true, "192.0.0.192": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2001:0:7f00:1::": false, "fec0::1": false,
	} {
		if got := dialable(netip.MustParseAddr(addr), nil); got != want {
			t.Errorf("%s: got %v, want %v", addr, got, want)
		}
	}
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd12::/32")}
	for addr, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "fd12::1": true, "fd13::1": false, "127.0.0.1": false} {
		if got := dialable(netip.MustParseAddr(addr), allow); got != want {
			t.Errorf("%s with %v: got %v, want %v", addr, allow, got, want)
		}
	}
}

// TestMetadataIsAllowedByItself: who allows a network does not mean the metadata service in it, nor what hides behind NAT64.
func TestMetadataIsAllowedByItself(t *testing.T) {
	wide := []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("64:ff9b::/96"),
	}
	for _, a := range append([]netip.Addr{
		netip.MustParseAddr("64:ff9b::a9fe:a9fe"), netip.MustParseAddr("2002:a9fe:a9fe::1"), netip.MustParseAddr("::ffff:169.254.169.254"),
		netip.MustParseAddr("64:ff9b::a83f:8110"),
	}, metadata...) {
		if dialable(a, wide) {
			t.Errorf("%v is dialled because of %v", a, wide)
		}
		own := append([]netip.Prefix{netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())}, wide...)
		if _, hidden := wrapped(a); !hidden && !dialable(a, own) {
			t.Errorf("%v is not dialled though allowed by itself", a)
		}
	}
	narrow := []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96")}
	for addr, want := range map[string]bool{"64:ff9b::2ccd:404f": true, "64:ff9b::a00:1": false, "64:ff9b::7f00:1": false, "64:ff9b::6440:1": false} {
		if got := dialable(netip.MustParseAddr(addr), narrow); got != want {
			t.Errorf("%s on a network of IPv6 only: got %v, want %v", addr, got, want)
		}
	}
}

// TestOwnDoors: where this program listens it never dials, by no spelling and no allowed network.
func TestOwnDoors(t *testing.T) {
	own := netip.MustParseAddrPort("127.0.0.1:3128")
	c := New(Config{
		AllowNets: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		OwnDoor:   func(to netip.AddrPort) bool { return to == own },
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("127.0.0.1")}, nil
		},
	})
	for _, addr := range []string{"127.0.0.1:3128", "[::ffff:127.0.0.1]:3128", "[::ffff:7f00:1]:3128", "evil.example.org:3128", "evil.example.org:03128"} {
		conn, err := c.Dial(t.Context(), hosts.Registry{}, addr)
		if !errors.Is(err, ErrOurselves) {
			t.Errorf("%s: got %v, want that it is ourselves", addr, err)
		}
		if conn != nil {
			conn.Close()
		}
	}
}

// TestRebinding: a name is judged by the address that is dialled, whatever it resolved to before, with a real resolver and server.
func TestRebinding(t *testing.T) {
	w := world.New(t, world.Options{})
	dns := w.DNS()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	dns.Answer("evil.example.org", netip.MustParseAddr("127.0.0.1"))
	dns.Answer("many.example.org", netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00:ec2::254"))
	dial := func(addr string, allow ...netip.Prefix) error {
		r, err := hosts.NewResolver([]string{dns.Addr}) // a new one has forgotten what it knew
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(Config{Resolve: r.Lookup, AllowNets: allow}).Dial(t.Context(), hosts.Registry{}, addr)
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, addr := range []string{"evil.example.org:" + port, "many.example.org:" + port, l.Addr().String(), "[::ffff:127.0.0.1]:" + port} {
		if err := dial(addr); err == nil || !strings.Contains(err.Error(), "--allow-net") {
			t.Errorf("%s: got %v, want a refusal that says how to permit it", addr, err)
		}
	}
	if err := dial("evil.example.org:"+port, netip.MustParsePrefix("127.0.0.0/8")); err != nil {
		t.Errorf("allowed: got %v", err)
	}
	if err := dial("nowhere.example.org:443"); err == nil {
		t.Error("a name that does not exist was dialled")
	}
}
