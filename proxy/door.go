package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

// ServeProxy serves the forward proxy on l: CONNECT, and plain HTTP with an absolute URL. Like every Serve it owns l, and returns
// nil after Shutdown.
func (s *Server) ServeProxy(l net.Listener) error {
	return s.serve(l, doorProxy, s.entry(doorProxy, s.cfg.ProxyTLS, "http/1.1"))
}

// ServeMirror serves the registry API on l, as mirrors do.
func (s *Server) ServeMirror(l net.Listener) error {
	return s.serve(l, doorMirror, s.entry(doorMirror, s.cfg.MirrorTLS, "http/1.1", "h2"))
}

// ServePlain serves plain HTTP on l to clients whose name service leads registries here; the Host field says which one is meant.
func (s *Server) ServePlain(l net.Listener) error {
	return s.serve(l, doorHTTP, s.enterPlain)
}

// ServeTLS serves TLS on l to clients whose name service leads registries here; the SNI says which one is meant.
func (s *Server) ServeTLS(l net.Listener) error {
	return s.serve(l, doorTLS, func(w *wire) {
		s.spawn(w, func() { s.enterBySNI(w) })
	})
}

// serve accepts until Shutdown. handle owns each connection.
func (s *Server) serve(l net.Listener, door string, handle func(*wire)) error {
	unpaced(l)
	if !s.open(l) {
		return l.Close()
	}
	for pause := time.Millisecond; ; {
		c, err := l.Accept()
		switch {
		case err == nil:
			s.receive(&wire{Conn: newSocket(c), door: door}, handle)
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
	addr := c.RemoteAddr()
	if _, err := netip.ParseAddrPort(addr.String()); err != nil || inside(s.cfg.AllowClients, addr) {
		return true // not IP is a Unix socket, whose file has its own rights
	}
	s.log.Warn().Str("client", hostOf(addr.String())).Msg("client refused: its network is not in --allow-client")
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

// intercept ends TLS here, in the name of w.authority, and hands the connection in.
func (s *Server) intercept(w *wire) {
	s.handshake(w, s.tls)
}

// handshake ends TLS and hands the connection to the server of the protocol that it has agreed on. It owns w.
func (s *Server) handshake(w *wire, cfg *tls.Config) {
	below := &gathering{wire: w}
	c := tls.Server(below, cfg)
	stop := context.AfterFunc(s.ctx, func() { w.Close() }) // a context for the handshake would cost a goroutine and a timer
	w.SetDeadline(time.Now().Add(handshakeTimeout))
	err := c.Handshake()
	stop()
	w.SetDeadline(time.Time{})
	if err != nil {
		s.endHandshake(w, err)
		return
	}
	state, ctx, o := c.ConnectionState(), s.connContext(s.ctx, w), &opened{Conn: c, below: below}
	if state.NegotiatedProtocol == "h2" {
		s.streams.Serve(ctx, o, &state)
		return
	}
	s.pulls.Serve(ctx, o, &state)
}

// enterPlain takes in a connection without TLS. What follows a CONNECT goes on in the goroutine that has read it, whose stack has grown.
func (s *Server) enterPlain(w *wire) {
	s.spawn(w, func() {
		s.pulls.Serve(s.connContext(s.ctx, w), w, nil)
		if w.then != nil {
			w.then()
		}
	})
}

// otherwise hands on what is no pull, and begins with seen.
func (s *Server) otherwise(c net.Conn, seen []byte) {
	switch v := c.(type) {
	case *wire:
		v.putBack(bytes.NewBuffer(seen))
	case *opened:
		v.replay = bytes.NewReader(seen)
	}
	s.inbox.push(c)
}

// endHandshake tells a client that does not speak TLS so, if it speaks HTTP; all others have got an alert. It owns w.
func (s *Server) endHandshake(w *wire, err error) {
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && plain.RecordHeader[0] >= 'A' && plain.RecordHeader[0] <= 'Z' {
		s.mismatch(w, "connection ended: the client speaks plain HTTP, this door TLS")
		writeRaw(w, http.StatusBadRequest, codeUnsupported, "this door of entrepot is an HTTPS server, and the request came by plain HTTP")
		hangUp(w)
		return
	}
	s.http.ErrorLog.Printf("http: TLS handshake error from %s: %v", w.RemoteAddr(), err) // in net/http's words: see serverNoise
	w.Close()
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
