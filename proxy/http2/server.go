// Package http2 serves HTTP/2 (RFC 9113) to a handler of package net/http, on connections whose client has chosen it.
//
// net/http's own server takes each frame through three goroutines, which wake each other: a byte of a layer costs half as much again, a
// manifest up to twice as much. Here the handler's goroutine writes its frames itself, as many at once as the client's windows have room for.
// One goroutine reads, and does not wait for what is written: a client that writes before it reads gets on. Frames and header blocks are
// read by golang.org/x/net/http2, which bounds them, and blocks are written by its hpack.
//
// There are no pushes, no priorities (RFC 9113, section 5.3.2, deprecates them), and no trailers.
package http2

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/entrepot/entrepot/proxy/serve"
)

// Server serves connections. All fields but ErrorLog are required, and not changed once it serves.
type Server struct {
	Handler       http.Handler
	HeaderTimeout time.Duration // for what a connection begins with
	IdleTimeout   time.Duration // without a request
	Patience      time.Duration // with a client that takes nothing of what is written
	MaxStreams    uint32        // at once by one connection
	MaxHeader     uint32        // of a request, in bytes as RFC 9113, section 6.5.2, counts them
	ErrorLog      *log.Logger   // what handlers and clients do wrong; nil: the standard logger

	conns   serve.Conns[*conn]
	date    serve.Date
	standIn http.Server // what http.ServerContextKey is for handlers
}

// Serve serves the connection until it is closed. It owns it. Requests have ctx's values and t.
func (s *Server) Serve(ctx context.Context, nc net.Conn, t *tls.ConnectionState) {
	defer nc.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := newConn(s, ctx, nc, t)
	if !s.conns.Enter(c) {
		return
	}
	defer s.conns.Leave(c)
	c.serve()
	cancel()
	c.handlers.Wait()
}

func (s *Server) log() serve.Log { return serve.Log{Logger: s.ErrorLog} }

// Shutdown tells all clients to make no more requests here, lets answers under way end until ctx does, and closes what has none. The
// caller sees to it that no new connections come.
func (s *Server) Shutdown(ctx context.Context) error {
	gone := s.conns.End()
	s.conns.Each((*conn).retire)
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes all connections, whatever is under way.
func (s *Server) Close() {
	s.conns.End()
	s.conns.Each(func(c *conn) { c.net.Close() })
}
