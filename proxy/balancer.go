package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"
)

// receive lets a client in, or not. From a balancer it is found out first for whom the connection is. It owns w, and handle does from
// when it is called.
func (s *Server) receive(w *wire, handle func(*wire)) {
	if !inside(s.cfg.Balancers, w.RemoteAddr()) {
		s.judge(w, handle)
		return
	}
	s.spawn(w, func() {
		if err := s.hearFor(w); err != nil {
			s.log.Warn().Err(err).Str("door", w.door).Stringer("balancer", w.RemoteAddr()).
				Msg("connection refused: its address is in --proxy-protocol, and it does not say for whom it is")
			w.Close()
			return
		}
		s.judge(w, handle)
	})
}

func (s *Server) judge(w *wire, handle func(*wire)) {
	if !s.welcome(w) {
		w.Close()
		return
	}
	handle(w)
}

// hearFor reads the header of the PROXY protocol, version 1 or 2, that a balancer puts before what the client says, and puts back what
// came behind it. A balancer that speaks for itself (a health check) keeps its own address.
func (s *Server) hearFor(w *wire) error {
	stop := context.AfterFunc(s.ctx, func() { w.Close() })
	defer stop()
	w.SetReadDeadline(time.Now().Add(sniffTimeout))
	defer w.SetReadDeadline(time.Time{})
	r := bufio.NewReader(w)
	header, err := proxyproto.Read(r)
	if err != nil {
		return fmt.Errorf("read the PROXY header: %w", err)
	}
	early, _ := r.Peek(r.Buffered())
	w.putBack(bytes.NewBuffer(bytes.Clone(early)))
	if header.Command.IsLocal() || header.TransportProtocol == proxyproto.UNSPEC {
		return nil
	}
	client, _, ok := header.TCPAddrs()
	if !ok {
		return errors.New("read the PROXY header: it announces a client that is not of TCP")
	}
	w.client = client
	return nil
}

// inside tells whether an address lies in one of the networks.
func inside(nets []netip.Prefix, addr net.Addr) bool {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return false // a Unix socket
	}
	a := ap.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(a) })
}
