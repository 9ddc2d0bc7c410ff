package world

import (
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// DNS is the world's name server. Names the world does not play do not exist.
type DNS struct {
	Addr string // host:port, UDP and TCP

	world   *World
	mu      sync.Mutex
	queries map[string]int
	more    map[string][]netip.Addr
	down    bool
}

// DNS starts a name server that ends with the world.
func (w *World) DNS() *DNS {
	w.t.Helper()
	return w.ServeDNS("127.0.0.1:0")
}

// ServeDNS starts one on addr.
func (w *World) ServeDNS(addr string) *DNS {
	w.t.Helper()
	tcp, udp, err := listenBoth(addr)
	if err != nil {
		w.t.Fatalf("world: listen for DNS: %v", err)
	}
	d := &DNS{Addr: tcp.Addr().String(), world: w, queries: map[string]int{}, more: map[string][]netip.Addr{}}
	for _, s := range []*dns.Server{{Listener: tcp, Handler: d}, {PacketConn: udp, Handler: d}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		w.serving.Go(func() { // Close waits for it
			if err := s.ActivateAndServe(); err != nil {
				w.complain("world: serve DNS: %v", err)
			}
		})
		<-started
		w.atClose(func() {
			if err := s.Shutdown(); err != nil {
				w.t.Logf("world: end DNS: %v", err)
			}
		})
	}
	return d
}

// listenBoth takes the same port for TCP and UDP. A port that the system
// chose for one may be taken for the other, so it tries a few.
func listenBoth(addr string) (tcp net.Listener, udp net.PacketConn, err error) {
	for range 10 {
		if tcp, err = net.Listen("tcp", addr); err != nil {
			return nil, nil, err
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			return tcp, udp, nil
		}
		_ = tcp.Close() // the other error is the one to tell
	}
	return nil, nil, err
}

// Answer makes a name answer with addrs, played or not: none for NXDOMAIN
// again. It is how tests try names that point where they must not.
func (d *DNS) Answer(name string, addrs ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.more[strings.ToLower(name)] = addrs
}

// Down makes the server answer SERVFAIL, or stop doing so.
func (d *DNS) Down(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

// Queries counts the questions for a name, of all types.
func (d *DNS) Queries(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries[strings.ToLower(name)]
}

// ServeDNS answers one question.
func (d *DNS) ServeDNS(rw dns.ResponseWriter, req *dns.Msg) {
	m := new(dns.Msg).SetReply(req)
	m.Authoritative = true
	if len(req.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
	} else {
		d.answer(m, req.Question[0])
	}
	_ = rw.WriteMsg(m) // who asks will ask again
}

func (d *DNS) answer(m *dns.Msg, q dns.Question) {
	addrs, ok, down := d.lookup(strings.ToLower(strings.TrimSuffix(q.Name, ".")))
	switch {
	case down:
		m.Rcode = dns.RcodeServerFailure
		return
	case !ok:
		m.Rcode = dns.RcodeNameError
		return
	}
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 60}
	for _, a := range addrs {
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: head, AAAA: a.AsSlice()})
		}
	}
}

func (d *DNS) lookup(name string) (addrs []netip.Addr, ok, down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queries[name]++
	if addrs, set := d.more[name]; set {
		return addrs, len(addrs) > 0, d.down
	}
	h := d.world.hosts[name]
	if h == nil {
		return nil, false, d.down
	}
	addrs = []netip.Addr{h.Addr}
	if d.world.opts.IPv6 {
		addrs = append(addrs, h.addr6)
	}
	return addrs, true, d.down
}
