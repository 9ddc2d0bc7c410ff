package hosts

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// dnsServer is a real DNS server on loopback, UDP and TCP on one port.
type dnsServer struct {
	addr   string
	answer func(q *dns.Msg, tcp bool) *dns.Msg // nil: silence

	mu    sync.Mutex
	asked []string // "name. TYPE udp"
}

func serveDNS(t testing.TB, answer func(q *dns.Msg, tcp bool) *dns.Msg) *dnsServer {
	t.Helper()
	s := &dnsServer{answer: answer}
	pc, l := listenBoth(t)
	s.addr = pc.LocalAddr().String()
	for _, server := range []*dns.Server{{PacketConn: pc, Handler: s}, {Listener: l, Handler: s}} {
		started, ended := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() {
			defer close(ended)
			_ = server.ActivateAndServe()
		}()
		<-started
		t.Cleanup(func() {
			_ = server.Shutdown()
			<-ended
		})
	}
	return s
}

// listenBoth finds a port that is free for UDP and for TCP.
func listenBoth(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l
		}
		pc.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (s *dnsServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	network := w.LocalAddr().Network()
	s.mu.Lock()
	s.asked = append(s.asked, q.Question[0].Name+" "+dns.TypeToString[q.Question[0].Qtype]+" "+network)
	s.mu.Unlock()
	if reply := s.answer(q, network == "tcp"); reply != nil {
		_ = w.WriteMsg(reply)
	}
}

// count tells how many questions began with prefix.
func (s *dnsServer) count(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, q := range s.asked {
		if strings.HasPrefix(q, prefix) {
			n++
		}
	}
	return n
}

// zone answers from a list of records in the text form of zone files. A CNAME
// is given with what the zone has of its target; what is not there is NXDOMAIN
// or, for another type, an empty answer.
func zone(t testing.TB, records ...string) func(*dns.Msg, bool) *dns.Msg {
	t.Helper()
	var all []dns.RR
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable = true
		name, exists := q.Question[0].Name, false
		for again := true; again; {
			again = false
			for _, rr := range all {
				if !strings.EqualFold(rr.Header().Name, name) {
					continue
				}
				exists = true
				c, isCNAME := rr.(*dns.CNAME)
				if isCNAME || rr.Header().Rrtype == q.Question[0].Qtype {
					m.Answer = append(m.Answer, rr)
				}
				if isCNAME && len(m.Answer) < 20 {
					name, again = c.Target, true
					break
				}
			}
		}
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
		return m
	}
}

// always answers every question in the same way.
func always(rcode int) func(*dns.Msg, bool) *dns.Msg {
	return func(q *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetRcode(q, rcode) }
}

// silent is a server that takes questions and never answers.
func silent(*dns.Msg, bool) *dns.Msg { return nil }

// clock is time that moves when told.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// newResolver asks the given servers, with a clock of its own.
func newResolver(t testing.TB, servers ...*dnsServer) (*Resolver, *clock) {
	t.Helper()
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.addr
	}
	r, err := NewResolver(addrs)
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	r.now = c.now
	return r, c
}

func wantAddrs(t testing.TB, r *Resolver, name string, want ...string) {
	t.Helper()
	got, err := r.Lookup(t.Context(), name)
	if err != nil {
		t.Errorf("Lookup(%q): got error %v, want %v", name, err, want)
		return
	}
	addrs := make([]netip.Addr, len(want))
	for i, s := range want {
		addrs[i] = netip.MustParseAddr(s)
	}
	if !slices.Equal(got, addrs) {
		t.Errorf("Lookup(%q): got %v, want %v", name, got, want)
	}
}
