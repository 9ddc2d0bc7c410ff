package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// udpSize is the answer size that passes every network unfragmented, by the
// agreement of DNS flag day 2020.
const udpSize = 1232

// query asks one server one question. It returns answers that settle the
// question, NOERROR and NXDOMAIN; any other is an error of this server.
func query(ctx context.Context, server netip.AddrPort, name string, qtype uint16, timeout time.Duration) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), qtype)
	q.SetEdns0(udpSize, false)
	reply, err := exchange(ctx, "udp", server, q, timeout)
	if err == nil && (reply.Rcode == dns.RcodeFormatError || reply.Rcode == dns.RcodeNotImplemented) {
		q.Extra = nil // a server from before EDNS0
		reply, err = exchange(ctx, "udp", server, q, timeout)
	}
	if err == nil && reply.Truncated {
		reply, err = exchange(ctx, "tcp", server, q, timeout)
	}
	switch {
	case err != nil:
		return nil, plain(err)
	case reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError:
		return nil, rcodeError(reply.Rcode)
	case lame(reply):
		return nil, serverWord("it does not serve this name")
	}
	return reply, nil
}

// serverWord is an answer that a server gave instead of the one we need.
type serverWord string

func (w serverWord) Error() string { return string(w) }

func rcodeError(rcode int) error {
	if word, ok := dns.RcodeToString[rcode]; ok {
		return serverWord(word)
	}
	return serverWord(fmt.Sprintf("DNS error %d", rcode))
}

// lame recognises a server that neither knows the name nor asks others: its
// empty answer is a referral, not a statement that there is nothing.
func lame(m *dns.Msg) bool {
	return m.Rcode == dns.RcodeSuccess && len(m.Answer) == 0 && !m.Authoritative && !m.RecursionAvailable && soa(m) == nil
}

// exchange sends q and waits for its answer over one connection. A fresh
// socket for each question gives a fresh source port, which makes forging hard.
func exchange(ctx context.Context, network string, server netip.AddrPort, q *dns.Msg, timeout time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	wire := &dns.Conn{Conn: c, UDPSize: udpSize}
	if err := wire.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		reply, err := wire.ReadMsg()
		switch {
		case err == nil && answers(reply, q):
			return reply, nil
		case err != nil && (reply == nil || reply.Id == q.Id):
			return nil, err
		}
		// Something else arrived at our port: late or forged. The real answer
		// may still come.
	}
}

// answers tells whether reply belongs to q.
func answers(reply, q *dns.Msg) bool {
	if reply.Id != q.Id || !reply.Response {
		return false
	}
	if len(reply.Question) == 0 {
		return reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError
	}
	got, want := reply.Question[0], q.Question[0]
	return len(reply.Question) == 1 && got.Qtype == want.Qtype && got.Qclass == want.Qclass && strings.EqualFold(got.Name, want.Name)
}

// plain takes the socket addresses out of an error; the message around it
// names the server already.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return err
}
