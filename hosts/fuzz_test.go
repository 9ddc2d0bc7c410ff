package hosts

import (
	"testing"
	"time"

	"github.com/miekg/dns"
)

// FuzzReadAnswer: whatever a name server sends, what is read from it are addresses of the type that was asked for, or a name to ask on.
func FuzzReadAnswer(f *testing.F) {
	seed := new(dns.Msg).SetQuestion("quay.io.", dns.TypeA)
	seed.Response = true
	for _, text := range []string{"quay.io. 60 IN A 44.205.64.79", "quay.io. 60 IN CNAME quay.io.", "quay.io. 1 IN CNAME a.quay.io.", "a.quay.io. 5 IN AAAA ::1"} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		seed.Answer = append(seed.Answer, rr)
		packed, err := seed.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed, dns.TypeA)
		f.Add(packed, dns.TypeAAAA)
	}
	f.Fuzz(func(t *testing.T, packed []byte, qtype uint16) {
		m := new(dns.Msg)
		if m.Unpack(packed) != nil {
			return
		}
		q := new(dns.Msg).SetQuestion("quay.io.", qtype)
		answers(m, q)
		lame(m)
		p := readAnswer(m, "quay.io", qtype)
		if p.ttl < 0 || p.ttl > (1<<32-1)*time.Second || len(p.addrs) > 0 && p.next != "" {
			t.Errorf("%x: got %+v", packed, p)
		}
		for _, a := range p.addrs {
			if !a.IsValid() || a.Is4In6() || qtype == dns.TypeA && !a.Is4() || qtype != dns.TypeA && qtype != dns.TypeAAAA {
				t.Errorf("%x: got the address %v for type %d", packed, a, qtype)
			}
		}
	})
}
