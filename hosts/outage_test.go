package hosts

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestNextServerIsAsked(t *testing.T) {
	refusing := serveDNS(t, always(dns.RcodeRefused))
	failing := serveDNS(t, always(dns.RcodeServerFailure))
	lame := serveDNS(t, always(dns.RcodeSuccess))
	right := serveDNS(t, zone(t, "a.example. 60 A 192.0.2.1"))
	r, _ := newResolver(t, refusing, failing, lame, right)
	wantAddrs(t, r, "a.example", "192.0.2.1")
}

func TestDeadFirstServer(t *testing.T) {
	dead, alive := serveDNS(t, silent), serveDNS(t, zone(t, "a.example. 60 A 192.0.2.1", "b.example. 60 A 192.0.2.2"))
	r, clock := newResolver(t, dead, alive)
	r.timeout = 100 * time.Millisecond
	wantAddrs(t, r, "a.example", "192.0.2.1")
	wantAddrs(t, r, "b.example", "192.0.2.2")
	if got := dead.count("b.example."); got != 0 {
		t.Errorf("questions to a server known to be dead: got %d, want 0", got)
	}
	clock.advance(2 * time.Minute)
	wantAddrs(t, r, "b.example", "192.0.2.2")
	if got := dead.count("b.example."); got == 0 {
		t.Error("a dead server is never tried again")
	}
}

func TestErrorNamesEveryServer(t *testing.T) {
	one, two := serveDNS(t, silent), serveDNS(t, silent)
	failing := serveDNS(t, always(dns.RcodeServerFailure))
	tests := []struct {
		servers []*dnsServer
		want    string
	}{
		{[]*dnsServer{one, two}, "resolve quay.io: asked " + one.addr + ", " + two.addr + ": i/o timeout"},
		{[]*dnsServer{one, failing}, "resolve quay.io: asked " + one.addr + ": i/o timeout, " + failing.addr + ": SERVFAIL"},
	}
	for _, test := range tests {
		r, _ := newResolver(t, test.servers...)
		r.timeout = 40 * time.Millisecond
		_, err := r.Lookup(t.Context(), "quay.io")
		if err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %v", err, test.want)
		}
		if errors.Is(err, ErrNotFound) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a timeout that is not ErrNotFound", err)
		}
	}
}

func TestRefusedConnectionIsSaidPlainly(t *testing.T) {
	pc, l := listenBoth(t)
	closed := &dnsServer{addr: pc.LocalAddr().String()}
	pc.Close()
	l.Close()
	r, _ := newResolver(t, closed)
	_, err := r.Lookup(t.Context(), "quay.io")
	if want := "resolve quay.io: asked " + closed.addr + ": connection refused"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

// switched answers as the first function until it is turned off.
func switched(on, off func(*dns.Msg, bool) *dns.Msg) (answer func(*dns.Msg, bool) *dns.Msg, turnOff *atomic.Bool) {
	turnOff = new(atomic.Bool)
	return func(q *dns.Msg, tcp bool) *dns.Msg {
		if turnOff.Load() {
			return off(q, tcp)
		}
		return on(q, tcp)
	}, turnOff
}

func TestStaleAnswerInAnOutage(t *testing.T) {
	answer, off := switched(zone(t, "a.example. 60 A 192.0.2.1"), always(dns.RcodeServerFailure))
	s := serveDNS(t, answer)
	r, clock := newResolver(t, s)
	wantAddrs(t, r, "a.example", "192.0.2.1")
	off.Store(true)
	clock.advance(2 * time.Minute)
	wantAddrs(t, r, "a.example", "192.0.2.1")
	before := s.count("")
	wantAddrs(t, r, "a.example", "192.0.2.1")
	if got := s.count("") - before; got != 0 {
		t.Errorf("questions right after a failure: got %d, want 0", got)
	}
	clock.advance(3 * time.Second)
	wantAddrs(t, r, "a.example", "192.0.2.1")
	if s.count("") == before {
		t.Error("after a failure nobody asks again")
	}
	off.Store(false)
	clock.advance(3 * time.Second)
	wantAddrs(t, r, "a.example", "192.0.2.1")
	off.Store(true)
	clock.advance(time.Minute + time.Hour)
	if got, err := r.Lookup(t.Context(), "a.example"); err == nil {
		t.Errorf("an hour beyond its time: got %v, want an error", got)
	}
}

// With old addresses at hand nobody waits for dead servers to the end.
func TestStaleAnswerIsNotWaitedFor(t *testing.T) {
	answer, off := switched(zone(t, "a.example. 60 A 192.0.2.1"), silent)
	r, clock := newResolver(t, serveDNS(t, answer))
	wantAddrs(t, r, "a.example", "192.0.2.1")
	off.Store(true)
	clock.advance(2 * time.Minute)
	r.patience, r.timeout = 10*time.Millisecond, 80*time.Millisecond
	wantAddrs(t, r, "a.example", "192.0.2.1")
	r.mu.Lock()
	f := r.flights["a.example"]
	r.mu.Unlock()
	if f == nil {
		t.Fatal("got no lookup under way behind the stale answer")
	}
	<-f.done
}

// "No such host" is an answer, not an outage: it ends the old one.
func TestNotFoundEndsTheOldAnswer(t *testing.T) {
	answer, off := switched(zone(t, "a.example. 60 A 192.0.2.1"), always(dns.RcodeNameError))
	r, clock := newResolver(t, serveDNS(t, answer))
	wantAddrs(t, r, "a.example", "192.0.2.1")
	off.Store(true)
	clock.advance(2 * time.Minute)
	if got, err := r.Lookup(t.Context(), "a.example"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v %v, want ErrNotFound", got, err)
	}
}

// A server that swallows AAAA must not hold up an address that is there, and
// half an answer is soon asked for again.
func TestHalfAnAnswer(t *testing.T) {
	both := zone(t, "a.example. 300 A 192.0.2.1", "a.example. 300 AAAA 2001:db8::1")
	answer, whole := switched(func(q *dns.Msg, tcp bool) *dns.Msg {
		if q.Question[0].Qtype == dns.TypeAAAA {
			return nil
		}
		return both(q, tcp)
	}, both)
	r, clock := newResolver(t, serveDNS(t, answer))
	r.grace = 20 * time.Millisecond
	wantAddrs(t, r, "a.example", "192.0.2.1")
	whole.Store(true)
	r.grace = time.Second
	clock.advance(6 * time.Second)
	wantAddrs(t, r, "a.example", "192.0.2.1", "2001:db8::1")
}

// One type empty and the other unknown is not "no such host".
func TestHalfANothing(t *testing.T) {
	nothing := zone(t, "a.example. 60 TXT x")
	r, _ := newResolver(t, serveDNS(t, func(q *dns.Msg, tcp bool) *dns.Msg {
		if q.Question[0].Qtype == dns.TypeAAAA {
			return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
		}
		return nothing(q, tcp)
	}))
	_, err := r.Lookup(t.Context(), "a.example")
	if err == nil || errors.Is(err, ErrNotFound) || !strings.HasSuffix(err.Error(), "SERVFAIL") {
		t.Errorf("got %v, want SERVFAIL", err)
	}
}

func TestLookupHasAnEnd(t *testing.T) {
	r, _ := newResolver(t, serveDNS(t, silent))
	r.total = 50 * time.Millisecond
	if _, err := r.Lookup(t.Context(), "a.example"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want a timeout", err)
	}
}
