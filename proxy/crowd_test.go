package proxy

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestClientLimit: one client address has so many requests and tunnels under way at a time, and no more; others are not concerned.
func TestClientLimit(t *testing.T) {
	ways := map[string]string{}
	st := newSite(t, leading(ways), func(c *Config) { c.ClientLimit, c.TunnelPorts = 2, []uint16{7} })
	ways["speaker.test:7"] = st.target(func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Close()
	})
	st.server.crowd.patience = time.Millisecond
	one, two := st.connected("speaker.test:7"), st.connected("speaker.test:7")
	resp, body, closed := st.say(doorProxy, "CONNECT speaker.test:7 HTTP/1.1\r\nHost: x\r\n\r\n")
	refusedWith(t, "a third tunnel", resp, body, 503, codeUnavailable, "--client-limit")
	if !closed {
		t.Error("the refused tunnel stays open")
	}
	resp, body, _ = st.say(doorMirror, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
	refusedWith(t, "a request", resp, body, 503, codeUnavailable, "--client-limit")
	if resp.Header.Get("Retry-After") != "1" {
		t.Errorf("got Retry-After %q, want 1", resp.Header.Get("Retry-After"))
	}
	one.Close()
	two.Close()
	eventually(t, "the client has room again", func() bool {
		resp, _, _ := st.say(doorMirror, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
		return resp.StatusCode == 200
	})
}

// address is a connection's, as text.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

func TestCrowd(t *testing.T) {
	c := newCrowd(2, 0)
	for _, step := range []struct {
		remote string
		want   bool
	}{
		{"10.0.0.1:1", true},
		{"[::ffff:10.0.0.1]:2", true},
		{"10.0.0.1:3", false},
		{"10.0.0.2:1", true},
		{"[2001:db8::1]:1", true},
		{"[2001:db8::ffff]:1", true},
		{"[2001:db8::2]:1", false},
		{"[2001:db8:0:1::2]:1", true},
		{"[fe80::1%eth0]:1", true},
		{"[fe80::2%eth1]:1", true},
		{"[fe80::3]:1", false},
		{"@", true},
		{"@", true},
		{"@", true},
	} {
		if _, got := c.enter(t.Context(), network(address(step.remote))); got != step.want {
			t.Errorf("%s: got %v, want %v", step.remote, got, step.want)
		}
	}
	full := newCrowd(1, time.Minute)
	at, _ := full.enter(t.Context(), network(address("10.0.0.1:1")))
	waited := make(chan place)
	go func() {
		next, _ := full.enter(t.Context(), network(address("10.0.0.1:2")))
		waited <- next
	}()
	eventually(t, "one waits", func() bool {
		full.mu.Lock()
		defer full.mu.Unlock()
		return at.guest.here == 2
	})
	if _, ok := full.enter(t.Context(), network(address("10.0.0.1:3"))); ok {
		t.Error("a third came in, where one may be in and one may wait")
	}
	full.leave(at)
	full.leave(<-waited)
	full.leave(place{})
	if _, again := full.enter(t.Context(), network(address("10.0.0.1:1"))); !again || len(full.of) != 1 {
		t.Errorf("after leaving: got %v with %d clients, want room and one", again, len(full.of))
	}
}

// TestCrowdForgets: of clients that come by turns, none is counted by what another has here, and who has gone is forgotten, but for the
// last.
func TestCrowdForgets(t *testing.T) {
	c := newCrowd(1, time.Millisecond)
	client := func(i int) netip.Prefix { return network(address(fmt.Sprintf("10.0.%d.%d:1", i>>8, i&255))) }
	stays, _ := c.enter(t.Context(), client(0))
	for i := range 1000 {
		at, ok := c.enter(t.Context(), client(1+i%300))
		if !ok {
			t.Fatalf("client %d: there is no room", 1+i%300)
		}
		if _, ok := c.enter(t.Context(), client(0)); ok {
			t.Fatalf("client 0 came in twice beside client %d", 1+i%300)
		}
		c.leave(at)
	}
	c.leave(stays)
	if at, ok := c.enter(t.Context(), client(0)); !ok || len(c.of) != 1 || len(c.free) > maxFree {
		t.Errorf("got %v, %v with %d clients and %d free, want one that comes in", at, ok, len(c.of), len(c.free))
	}
}
