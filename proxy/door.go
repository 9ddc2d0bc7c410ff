package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

// ServeProxy serves the forward proxy on l: CONNECT, and plain HTTP with an absolute URL. Like every Serve it owns l, and returns
// nil after Shutdown.
func (s *Server) ServeProxy(l net.Listener) error {
	return s.serve(l, func(c net.Conn) { s.inbox.push(&wire{Conn: c, door: doorProxy}) })
}

// ServeMirror serves the registry API on l, as mirrors do.
func (s *Server) ServeMirror(l net.Listener) error {
	return s.serve(l, func(c net.Conn) { s.inbox.push(&wire{Conn: c, door: doorMirror}) })
}

// ServePlain serves plain HTTP on l to clients whose name service leads registries here; the Host field says which one is meant.
func (s *Server) ServePlain(l net.Listener) error {
	return s.serve(l, func(c net.Conn) { s.inbox.push(&wire{Conn: c, door: doorHTTP}) })
}

// ServeTLS serves TLS on l to clients whose name service leads registries here; the SNI says which one is meant.
func (s *Server) ServeTLS(l net.Listener) error {
	return s.serve(l, func(c net.Conn) {
		s.spawn(c, func() { s.enterBySNI(&wire{Conn: c, door: doorTLS}) })
	})
}

// serve accepts until Shutdown. handle owns each connection.
func (s *Server) serve(l net.Listener, handle func(net.Conn)) error {
	if !s.open(l) {
		return l.Close()
	}
	for pause := time.Millisecond; ; {
		c, err := l.Accept()
		switch {
		case err == nil && s.welcome(c):
			handle(c)
		case err == nil:
			c.Close()
		case s.isClosing() || errors.Is(err, net.ErrClosed):
			return nil
		default: // out of descriptors, mostly: it passes
			s.log.Warn().Err(err).Msg("accept a connection")
			s.wait(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
	}
}

func (s *Server) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

func (s *Server) open(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.listeners[l] = true
		s.claim(l)
	}
	return !s.closing
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// welcome tells whether the client's network may use the doors.
func (s *Server) welcome(c net.Conn) bool {
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return true // not IP: a Unix socket, whose file has its own rights
	}
	a := ap.Addr().Unmap().WithZone("")
	if slices.ContainsFunc(s.cfg.AllowClients, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return true
	}
	s.log.Warn().Stringer("client", a).Msg("client refused: its network is not in --allow-client")
	return false
}

// enterBySNI finds out which registry a client of the tls door means, and refuses all others: a name that an override leads here
// and that is no registry is a mistake, and a tunnel to it would come straight back.
func (s *Server) enterBySNI(w *wire) {
	name, err := s.sniff(w)
	if errors.Is(err, errNotTLS) {
		s.refuseNotTLS(w)
		return
	}
	if err != nil {
		s.log.Debug().Err(err).Str("door", w.door).Stringer("client", w.RemoteAddr()).Msg("no usable ClientHello")
		w.Close()
		return
	}
	reg, known := s.table.Load().Lookup(name)
	if !known {
		s.log.Warn().Str("door", w.door).Stringer("client", w.RemoteAddr()).Str("name", name).
			Msg("TLS name refused: no registry of this name is configured; add it with --registry")
		w.Write(alertUnrecognizedName)
		w.Close()
		return
	}
	if reg.Mode == hosts.Tunnel {
		r := &http.Request{RemoteAddr: w.RemoteAddr().String()}
		s.tunnel(r.WithContext(s.ctx), w, net.JoinHostPort(name, "443"))
		return
	}
	w.authority = name
	s.intercept(w)
}

// intercept ends TLS here, in the name of w.authority, and hands the connection in. The handshake is made before, since what follows
// it decides who reads: net/http itself speaks HTTP/2 on a *tls.Conn, HTTP/1 is watched.
func (s *Server) intercept(w *wire) {
	c := tls.Server(w, s.tls)
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTimeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		s.http.ErrorLog.Printf("http: TLS handshake error from %s: %v", w.RemoteAddr(), err) // in net/http's words: see serverNoise
		w.Close()
		return
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		s.inbox.push(c)
	} else {
		s.inbox.push(&opened{Conn: c})
	}
}

// refuseNotTLS answers what came to a TLS door without TLS: in HTTP if it looks like HTTP, else not at all.
func (s *Server) refuseNotTLS(w *wire) {
	defer hangUp(w)
	s.log.Warn().Str("door", w.door).Stringer("client", w.RemoteAddr()).Msg("connection refused: it does not speak TLS")
	first, err := w.replay.ReadByte()
	if err != nil || first < 'A' || first > 'Z' {
		return
	}
	writeRaw(w, 400, codeUnsupported, "this door of entrepot speaks TLS only; plain HTTP is served at --http-listen")
}
