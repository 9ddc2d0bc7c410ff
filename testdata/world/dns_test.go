package world_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/entrepot/entrepot/testdata/world"
)

func TestDNS(t *testing.T) {
	w := world.New(t, world.Options{IPv6: true})
	d := w.DNS()
	metadata := netip.MustParseAddr("169.254.169.254")
	d.Answer("rebind.test", metadata)
	for _, network := range []string{"udp", "tcp"} {
		c := &dns.Client{Net: network}
		look := func(name string, kind uint16) *dns.Msg {
			t.Helper()
			m, _, err := c.ExchangeContext(t.Context(), new(dns.Msg).SetQuestion(name, kind), d.Addr)
			if err != nil {
				t.Fatalf("%s query for %s: %v", network, name, err)
			}
			return m
		}
		if m := look("Quay.io.", dns.TypeA); len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != w.Host("quay.io").Addr.String() {
			t.Errorf("A of quay.io: got %v", m)
		}
		if m := look("quay.io.", dns.TypeAAAA); len(m.Answer) != 1 {
			t.Errorf("AAAA of quay.io: got %v", m)
		}
		if m := look("example.com.", dns.TypeA); m.Rcode != dns.RcodeNameError {
			t.Errorf("A of example.com: got %v", m)
		}
		if m := look("rebind.test.", dns.TypeA); len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != metadata.String() {
			t.Errorf("A of rebind.test: got %v", m)
		}
	}
	if got := d.Queries("quay.io"); got != 4 {
		t.Errorf("queries: got %d, want 4", got)
	}
	d.Down(true)
	m, err := dns.Exchange(new(dns.Msg).SetQuestion("quay.io.", dns.TypeA), d.Addr)
	if err != nil || m.Rcode != dns.RcodeServerFailure {
		t.Errorf("while down: got %v, %v", m, err)
	}
}

// An address that DNS gave leads to the same host as its name.
func TestDialByAddress(t *testing.T) {
	w := world.New(t, world.Options{Addresses: netip.MustParsePrefix("203.0.113.0/24")})
	h := w.Host("quay.io")
	c, err := w.Dial(t.Context(), "tcp", net.JoinHostPort(h.Addr.String(), "443"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
