package hosts

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestLookupAddresses(t *testing.T) {
	s := serveDNS(t, zone(
		t,
		"both.example. 60 A 192.0.2.1", "both.example. 60 A 192.0.2.2", "both.example. 60 AAAA 2001:db8::1",
		"four.example. 60 A 192.0.2.4",
		"six.example. 60 AAAA 2001:db8::6",
		"mapped.example. 60 AAAA ::ffff:127.0.0.1",
		"alias.example. 60 CNAME next.example.", "next.example. 60 CNAME Four.example.",
		"my_registry. 60 A 192.0.2.9",
	))
	r, _ := newResolver(t, s)
	wantAddrs(t, r, "both.example", "192.0.2.1", "192.0.2.2", "2001:db8::1")
	wantAddrs(t, r, "BOTH.example.", "192.0.2.1", "192.0.2.2", "2001:db8::1")
	wantAddrs(t, r, "four.example", "192.0.2.4")
	wantAddrs(t, r, "six.example", "2001:db8::6")
	wantAddrs(t, r, "mapped.example", "127.0.0.1")
	wantAddrs(t, r, "alias.example", "192.0.2.4")
	wantAddrs(t, r, "my_registry", "192.0.2.9")
	if got := s.count("both.example."); got != 2 {
		t.Errorf("questions for both.example: got %d, want 2", got)
	}
}

func TestLookupLiterals(t *testing.T) {
	s := serveDNS(t, silent)
	r, _ := newResolver(t, s)
	wantAddrs(t, r, "192.0.2.1", "192.0.2.1")
	wantAddrs(t, r, "::1", "::1")
	wantAddrs(t, r, "[::1]", "::1")
	wantAddrs(t, r, "::ffff:127.0.0.1", "127.0.0.1")
	if got := s.count(""); got != 0 {
		t.Errorf("questions: got %d, want 0", got)
	}
}

// TestLookupLocalhost: a registry on the operator's own machine
// (localhost:5443, or upstream: http://localhost:6000) has no server to ask for.
func TestLookupLocalhost(t *testing.T) {
	s := serveDNS(t, silent)
	r, _ := newResolver(t, s)
	for _, name := range []string{"localhost", "LOCALHOST.", "registry.localhost"} {
		wantAddrs(t, r, name, "127.0.0.1", "::1")
	}
	if got := s.count(""); got != 0 {
		t.Errorf("questions: got %d, want 0", got)
	}
}

func TestLookupRejectsNames(t *testing.T) {
	s := serveDNS(t, silent)
	r, _ := newResolver(t, s)
	for _, name := range []string{"", ".", "a b", "quay.io:443", "*.gcr.io", "a..b", "127.1", "qu\u00e4y.io", "-a.example", "[quay.io]"} {
		if got, err := r.Lookup(t.Context(), name); err == nil || !strings.Contains(err.Error(), "not a host name") {
			t.Errorf("Lookup(%q): got %v %v, want \"not a host name\"", name, got, err)
		}
	}
	if got := s.count(""); got != 0 {
		t.Errorf("questions: got %d, want 0", got)
	}
}

// The name of an override must not lead back to us.
func TestLookupPassesByEtcHosts(t *testing.T) {
	name := "localhost"
	text, _ := os.ReadFile("/etc/hosts") // none is a machine that has no other name for itself
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "127.0.0.1" && validName(words[1]) {
			name = words[1]
		}
	}
	r, _ := newResolver(t, serveDNS(t, zone(t, name+". 60 A 192.0.2.7")))
	wantAddrs(t, r, name, "192.0.2.7")
}

func TestLookupNotFound(t *testing.T) {
	empty := func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Authoritative = true
		return m
	}
	for what, answer := range map[string]func(*dns.Msg, bool) *dns.Msg{"NXDOMAIN": always(dns.RcodeNameError), "no address": empty} {
		first, second := serveDNS(t, answer), serveDNS(t, zone(t, "nope.example. 60 A 192.0.2.1"))
		r, clock := newResolver(t, first, second)
		_, err := r.Lookup(t.Context(), "nope.example")
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", what, err)
		}
		if want := "resolve nope.example: asked " + first.addr + ": no such host"; err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
		if got := second.count(""); got != 0 {
			t.Errorf("%s: questions to the second server: got %d, want 0", what, got)
		}
		clock.advance(4 * time.Second)
		_, _ = r.Lookup(t.Context(), "nope.example")
		if got := first.count(""); got != 2 {
			t.Errorf("%s: questions within the negative time: got %d, want 2", what, got)
		}
		clock.advance(2 * time.Second)
		_, _ = r.Lookup(t.Context(), "nope.example")
		if got := first.count(""); got != 4 {
			t.Errorf("%s: questions after the negative time: got %d, want 4", what, got)
		}
	}
}

// A negative answer holds as long as its SOA says, but never beyond 30 s.
func TestNegativeTimeIsBounded(t *testing.T) {
	s := serveDNS(t, func(q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
		start, _ := dns.NewRR("example. 7200 SOA ns.example. root.example. 1 1 1 1 3600")
		m.Ns = append(m.Ns, start)
		return m
	})
	r, clock := newResolver(t, s)
	for _, step := range []struct {
		advance time.Duration
		want    int
	}{{0, 2}, {29 * time.Second, 2}, {2 * time.Second, 4}} {
		clock.advance(step.advance)
		_, _ = r.Lookup(t.Context(), "nope.example")
		if got := s.count(""); got != step.want {
			t.Errorf("after %v more: got %d questions, want %d", step.advance, got, step.want)
		}
	}
}

func TestTimeToLiveIsClamped(t *testing.T) {
	s := serveDNS(t, zone(
		t,
		"zero.example. 0 A 192.0.2.1", "day.example. 86400 A 192.0.2.1", "minute.example. 60 A 192.0.2.1",
		"chain.example. 20 CNAME day.example.",
	))
	for name, want := range map[string]time.Duration{
		"zero.example": 5 * time.Second, "minute.example": time.Minute, "day.example": 5 * time.Minute, "chain.example": 20 * time.Second,
	} {
		r, clock := newResolver(t, s)
		before := s.count(name)
		wantAddrs(t, r, name, "192.0.2.1")
		clock.advance(want - time.Second)
		wantAddrs(t, r, name, "192.0.2.1")
		if got := s.count(name) - before; got != 2 {
			t.Errorf("%s: got %d questions within %v, want 2", name, got, want)
		}
		clock.advance(time.Second)
		wantAddrs(t, r, name, "192.0.2.1")
		if got := s.count(name) - before; got != 4 {
			t.Errorf("%s: got %d questions after %v, want 4", name, got, want)
		}
	}
}

func TestCNAMEIsAskedOn(t *testing.T) {
	whole := zone(
		t,
		"a.example. 60 CNAME b.example.", "b.example. 10 CNAME c.example.", "c.example. 60 A 192.0.2.3",
		"loop.example. 60 CNAME pool.example.", "pool.example. 60 CNAME loop.example.",
		"bad.example. 60 CNAME not\\ a\\ host.example.",
	)
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		m := whole(q, tcp)
		m.Answer = m.Answer[:min(1, len(m.Answer))] // never more than one step
		return m
	})
	r, clock := newResolver(t, s)
	wantAddrs(t, r, "a.example", "192.0.2.3")
	clock.advance(11 * time.Second)
	wantAddrs(t, r, "a.example", "192.0.2.3")
	if got := s.count("a.example. A "); got != 2 {
		t.Errorf("the shortest time of the chain has passed: got %d questions, want 2", got)
	}
	for name, want := range map[string]string{"loop.example": "more than 8 CNAMEs", "bad.example": "no host name"} {
		if _, err := r.Lookup(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Lookup(%q): got %v, want %q", name, err, want)
		}
	}
}

func TestCNAMELoopInOneAnswer(t *testing.T) {
	r, _ := newResolver(t, serveDNS(t, zone(t, "a.example. 60 CNAME b.example.", "b.example. 60 CNAME a.example.")))
	if got, err := r.Lookup(t.Context(), "a.example"); err == nil {
		t.Errorf("got %v, want an error", got)
	}
}

// Records of other names in an answer are not believed.
func TestForeignRecordsAreIgnored(t *testing.T) {
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		m := zone(t, "a.example. 60 A 192.0.2.1")(q, tcp)
		rr, _ := dns.NewRR("evil.example. 60 A 192.0.2.66")
		m.Answer = append([]dns.RR{rr}, m.Answer...)
		return m
	})
	r, _ := newResolver(t, s)
	wantAddrs(t, r, "a.example", "192.0.2.1")
}

func TestTruncatedAnswerIsAskedByTCP(t *testing.T) {
	whole := zone(t, "big.example. 60 A 192.0.2.1", "big.example. 60 A 192.0.2.2")
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		m := whole(q, tcp)
		if opt := q.IsEdns0(); opt == nil || opt.UDPSize() != 1232 {
			t.Errorf("EDNS0: got %v, want a size of 1232", opt)
		}
		if !tcp {
			m.Answer, m.Truncated = nil, true
		}
		return m
	})
	r, _ := newResolver(t, s)
	wantAddrs(t, r, "big.example", "192.0.2.1", "192.0.2.2")
}

func TestServerWithoutEDNS(t *testing.T) {
	whole := zone(t, "old.example. 60 A 192.0.2.1")
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		if q.IsEdns0() != nil {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeFormatError}}
		}
		return whole(q, tcp)
	})
	r, _ := newResolver(t, s)
	wantAddrs(t, r, "old.example", "192.0.2.1")
}

// An answer with another id or question is not ours; the true one still counts.
func TestForgedAnswersAreIgnored(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	right := zone(t, "a.example. 60 A 192.0.2.1", "b.example. 60 A 192.0.2.66")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2000)
		for {
			n, peer, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			otherID, otherName := q.Copy(), q.Copy()
			otherID.Id++
			otherName.Question[0].Name = "b.example."
			for _, m := range []*dns.Msg{right(otherID, false), right(otherName, false), q, right(q, false)} {
				raw, _ := m.Pack()
				_, _ = pc.WriteTo(raw, peer)
			}
		}
	}()
	t.Cleanup(func() {
		pc.Close()
		<-ended
	})
	r, _ := newResolver(t, &dnsServer{addr: pc.LocalAddr().String()})
	wantAddrs(t, r, "a.example", "192.0.2.1")
}

func TestOneQuestionForAll(t *testing.T) {
	gate := make(chan struct{})
	answer := zone(t, "crowd.example. 60 A 192.0.2.1", "crowd.example. 60 AAAA 2001:db8::1")
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		<-gate
		return answer(q, tcp)
	})
	r, _ := newResolver(t, s)
	var callers, ready sync.WaitGroup
	for range 200 {
		ready.Add(1)
		callers.Go(func() {
			ready.Done()
			wantAddrs(t, r, "crowd.example", "192.0.2.1", "2001:db8::1")
		})
	}
	ready.Wait()
	close(gate)
	callers.Wait()
	for _, qtype := range []string{"A", "AAAA"} {
		if got := s.count("crowd.example. " + qtype + " "); got != 1 {
			t.Errorf("questions for %s: got %d, want 1", qtype, got)
		}
	}
}

func TestOneCallersEndIsNotTheOthers(t *testing.T) {
	gate, asked := make(chan struct{}), make(chan struct{}, 2)
	answer := zone(t, "slow.example. 60 A 192.0.2.1")
	s := serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		asked <- struct{}{}
		<-gate
		return answer(q, tcp)
	})
	r, _ := newResolver(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := r.Lookup(ctx, "slow.example")
		gone <- err
	}()
	<-asked
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "resolve slow.example: ") {
		t.Errorf("got %v, want resolve slow.example: context canceled", err)
	}
	close(gate)
	wantAddrs(t, r, "slow.example", "192.0.2.1")
	if got := s.count("slow.example. A "); got != 1 {
		t.Errorf("questions: got %d, want 1", got)
	}
	if _, err := r.Lookup(ctx, "slow.example"); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: got %v, want context.Canceled", err)
	}
}

func TestResultsAreTheCallers(t *testing.T) {
	r, _ := newResolver(t, serveDNS(t, zone(t, "a.example. 60 A 192.0.2.1")))
	got, err := r.Lookup(t.Context(), "a.example")
	if err != nil {
		t.Fatal(err)
	}
	got[0] = netip.Addr{}
	wantAddrs(t, r, "a.example", "192.0.2.1")
}

func TestAnswerCacheIsBounded(t *testing.T) {
	c := newAnswerCache(2)
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	c.put("a", answer{addrs: addrs})
	c.put("b", answer{addrs: addrs})
	c.get("a")
	c.put("c", answer{addrs: addrs})
	c.put("c", answer{addrs: addrs})
	for name, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if got := c.get(name).addrs != nil; got != want {
			t.Errorf("%s: kept %v, want %v", name, got, want)
		}
	}
	if c.order.Len() != 2 || len(c.byKey) != 2 {
		t.Errorf("got %d and %d entries, want 2", c.order.Len(), len(c.byKey))
	}
}
