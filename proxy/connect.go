package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/elazarl/goproxy"

	"github.com/entrepot/entrepot/hosts"
	"github.com/entrepot/entrepot/proxy/http1"
)

// newConnect makes goproxy the front for CONNECT. It parses and dispatches; every accepted connection is taken over by hijack and
// handed to the inbox or to a tunnel. Its own TLS interception is never used: it does not notice clients that leave, answers HEAD
// without a length, and has neither deadlines nor limits.
func (s *Server) newConnect() http.Handler {
	p := goproxy.NewProxyHttpServer()
	p.Logger = quiet{}
	p.Tr = &http.Transport{Proxy: nil, DialContext: refuseDial} // nothing goes out by goproxy itself
	p.ConnectDial = nil
	p.OnRequest().HandleConnectFunc(func(host string, ctx *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
		return &goproxy.ConnectAction{Action: goproxy.ConnectHijack, Hijack: func(r *http.Request, c net.Conn, _ *goproxy.ProxyCtx) {
			user, authority, no := s.judgeConnect(r)
			if no != nil {
				s.rejectConnect(r, c, no)
				return
			}
			s.enterByConnect(r, c, user, authority)
		}}, host
	})
	return p
}

// judgeConnect finds who a CONNECT is from and its target, or why it will not be served. A loop is recognised by our pseudonym in Via.
func (s *Server) judgeConnect(r *http.Request) (user, authority string, no *rejection) {
	authority, err := connectAuthority(r)
	switch {
	case err != nil:
		return "", "", &rejection{status: http.StatusBadRequest, code: codeUnsupported, message: err.Error()}
	case s.looped(r):
		return "", "", &rejection{status: http.StatusLoopDetected, code: codeDenied, message: loopMessage}
	}
	if s.locked() {
		var unknown *stranger
		if user, _, err = s.identify(r.Context(), r, toProxy); errors.As(err, &unknown) {
			return "", "", &rejection{unknown.status, unknown.code, unknown.message, unknown.header()}
		}
	}
	reg, known := s.table.Load().Lookup(authority)
	_, port, _ := net.SplitHostPort(authority) // connectAuthority has put them together
	switch {
	case known && reg.Mode == hosts.Refuse:
		return "", "", &rejection{status: http.StatusForbidden, code: codeDenied, message: reg.Name + " is refused by the configuration of this proxy"}
	case (!known || reg.Mode == hosts.Tunnel && port == "80") && !s.portAllowed(port, "443"):
		return "", "", &rejection{status: http.StatusForbidden, code: codeDenied, message: portMessage("tunnels lead to port 443 only, not to", authority, port)}
	}
	return user, authority, nil
}

// portAllowed tells whether a host that is no registry may be reached at this port: a proxy that goes anywhere is the way for spam and
// for attacks on what trusts the machine that it runs on. A registry at a port of its own is listed with it.
func (s *Server) portAllowed(port, usual string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == usual || err == nil && slices.Contains(s.cfg.TunnelPorts, uint16(n))
}

func portMessage(rule, authority, port string) string {
	return rule + " " + authority + ": --tunnel-port " + port + " permits it, --registry " + authority + " makes it a registry"
}

// rejection is why a CONNECT is not served.
type rejection struct {
	status        int
	code, message string
	header        http.Header // of the answer, beside what each one has
}

// rejectConnect answers and ends the connection: what follows a refused CONNECT is not for us to parse (RFC 9931). It owns c.
func (s *Server) rejectConnect(r *http.Request, c net.Conn, no *rejection) {
	q := &request{door: doorProxy, registry: withoutUser(r.Host), kind: kindTunnel, cache: cacheBypass, status: no.status, err: errors.New(no.message)}
	s.logLine(q, r, 0, 0)
	resp := refusal(r, no.status, no.code, no.message)
	for name, values := range no.header {
		resp.Header[name] = values
	}
	resp.Write(c)
	s.spawn(c, func() { hangUp(c) })
}

// connectAuthority judges the target of a CONNECT as it was written, since net/http is generous: it takes what stands before an @ or
// behind a slash for something else, and a Host field where there is no target. A port is part of it (RFC 9110, section 9.3.6);
// without one goproxy would go to 80. The result is in one spelling, so that no other one gets round a registry's rules.
func connectAuthority(r *http.Request) (string, error) {
	host, port, err := net.SplitHostPort(r.RequestURI)
	if err != nil || host == "" {
		return "", fmt.Errorf("CONNECT %.100q: want host:port", withoutUser(r.RequestURI))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("CONNECT %.100q: %.20q is not a port", withoutUser(r.RequestURI), withoutUser(port))
	}
	if !plausibleHost(host) {
		return "", fmt.Errorf("CONNECT %.100q: not a host name", withoutUser(r.RequestURI))
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// enterByConnect is called with a connection whose CONNECT was accepted. It owns c.
func (s *Server) enterByConnect(r *http.Request, c net.Conn, user, authority string) {
	w := c.(*wire) // as replayingHijacker made it
	w.door, w.user = doorProxy, user
	reg, known := s.table.Load().Lookup(authority)
	if !known || reg.Mode != 0 {
		s.spawn(w, func() { s.tunnel(r, w, authority) })
		return
	}
	w.authority = authority
	if _, err := io.WriteString(c, connectEstablished); err != nil {
		c.Close()
		return
	}
	if w.own {
		w.then = func() { s.enterRegistry(w) }
		return
	}
	s.spawn(w, func() { s.enterRegistry(w) })
}

const connectEstablished = "HTTP/1.1 200 Connection established\r\n\r\n"

// enterRegistry looks whether the client speaks TLS in its tunnel. Some send plain HTTP, to registries on port 80. The name in a hello is
// of no interest here: the tunnel has one, and to read the hello twice took a thirtieth of a connection's CPU time.
func (s *Server) enterRegistry(w *wire) {
	stop := context.AfterFunc(s.ctx, func() { w.Close() })
	seen, err := peek(w)
	stop()
	w.SetReadDeadline(time.Time{})
	if err != nil {
		s.log.Debug().Err(err).Str("door", w.door).Stringer("client", w.RemoteAddr()).Msg("nothing came after CONNECT")
		w.Close()
		return
	}
	w.putBack(seen)
	if seen.Bytes()[0] == recordHandshake {
		s.intercept(w)
	} else {
		s.pulls.Serve(s.connContext(s.ctx, w), w, nil)
	}
}

// serveConnect gives a CONNECT to goproxy, and mends that it drops what the client sent right behind it: the hijacked reader's
// bytes are read again. Only the proxy door is a proxy: neither the other doors nor an intercepted connection lead anywhere else.
func (s *Server) serveConnect(w http.ResponseWriter, r *http.Request) {
	if at := r.Context().Value(wireKey{}).(*wire); at.door != doorProxy || at.authority != "" {
		s.refuseNested(w, r, at)
		return
	}
	s.connect.ServeHTTP(&replayingHijacker{w}, r)
}

func (s *Server) refuseNested(rw http.ResponseWriter, r *http.Request, at *wire) {
	q := &request{door: at.door, registry: r.Host, kind: kindTunnel}
	w := &countingWriter{ResponseWriter: rw, watch: watch{patience: s.cfg.ReaderPatience}}
	defer s.finish(q, w, r, s.now())
	w.Header().Set("Allow", "GET, HEAD")
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	q.refuse(w, http.StatusMethodNotAllowed, codeUnsupported, "CONNECT is served at the proxy door only (--proxy-listen)")
}

type replayingHijacker struct{ http.ResponseWriter }

// Hijack implements http.Hijacker.
func (h *replayingHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	w, ok := c.(*wire)
	if !ok {
		w = &wire{Conn: c, patience: wireOf(c).patience}
	}
	w.putBack(bytes.NewBuffer(bytes.Clone(early)))
	w.framing = nil
	_, own := h.ResponseWriter.(*http1.Response)
	w.own = own && c == w // inside TLS of the door's own it is another wire
	return w, rw, nil
}

// refusal is an answer that ends the connection: what follows a refused CONNECT is not for us to parse (RFC 9931).
func refusal(r *http.Request, status int, code, message string) *http.Response {
	body := errorBody(code, message)
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Close: true,
		Header:        http.Header{"Content-Type": {"application/json"}},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
}

// hangUp closes a connection that was just told why. Bytes of the client that nobody read would make the kernel send a reset, which
// can overtake the answer and destroy it (RFC 9112, section 9.6): the client gets a moment to read and to stop. It owns c.
func hangUp(c net.Conn) {
	defer c.Close()
	endDirection(c)
	c.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, c, 1<<20)
}

const lingerTime = time.Second

func writeRaw(w io.Writer, status int, code, message string) {
	refusal(nil, status, code, message).Write(w)
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
