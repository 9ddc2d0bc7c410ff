// Package http1 serves the requests that pulls are made of, GET, HEAD and CONNECT by HTTP/1.1 without a body, to a handler of package
// net/http. A small answer costs it half of what it costs net/http's own server, whose reading in the background, contexts and deadlines
// are made for every request and needed by few.
//
// It judges nothing: whatever is in any way unusual, a body, an odd field, a line that two readers could understand in two ways, is left
// to net/http's server, with the connection and every byte that was read of it.
package http1

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrepot/entrepot/proxy/serve"
)

// Server serves connections. All fields but ErrorLog are required, and not changed once it serves.
type Server struct {
	Handler       http.Handler
	Other         func(net.Conn, []byte) // takes over a connection whose next request, which begins with these bytes, is for another server
	HeaderTimeout time.Duration          // for the first header, and for each from its first byte on
	IdleTimeout   time.Duration          // between two requests
	Patience      time.Duration          // with a client that takes nothing of what is written
	ErrorLog      *log.Logger            // what a handler did wrong; nil: the standard logger

	conns   serve.Conns[*conn]
	date    serve.Date
	standIn http.Server // what http.ServerContextKey is for handlers
}

// conn is one client's connection. It is its goroutine's alone but for state, and for what watching says.
type conn struct {
	server *Server
	net.Conn
	ctx    context.Context
	tls    *tls.ConnectionState
	remote string
	since  time.Time
	state  atomic.Int32
	asked  atomic.Bool // a request at least

	hijacked   bool   // it is the handler's
	buf        []byte // what was read and belongs to no request yet is buf[start:end]
	start, end int
	known      known
	deadline   time.Time // of reading, as it is set; zero: there is none, or another one

	watching      chan struct{} // closed when nobody reads any more; nil while nobody does
	out           []byte        // what is to be written
	writeDeadline time.Time     // as deadline
	hurried       atomic.Bool   // the handler has set a deadline of writing
	setting       sync.Mutex    // held while one is set
	writeErr      error         // after which the client could make nothing of what follows
}

// The states of a connection. From idle either its own goroutine goes on to busy, or Shutdown closes it.
const (
	idle int32 = iota
	busy
	closed
)

// Sizes. A header of a pull with a token of some kilobytes fits in the larger one; what does not is for net/http.
const (
	smallHeader = 4 << 10
	largeHeader = 16 << 10
	outSize     = 8 << 10
)

// outs are what answers are put together in. With a new one for each a manifest took a sixth more CPU time (BenchmarkRequest, both ends).
var outs = sync.Pool{New: func() any {
	b := make([]byte, 0, outSize)
	return &b
}}

// Serve serves the connection until it is closed or taken over. It owns it. Requests have ctx's values, and t if it is inside TLS.
func (s *Server) Serve(ctx context.Context, nc net.Conn, t *tls.ConnectionState) {
	c := &conn{server: s, Conn: nc, ctx: ctx, tls: t, remote: nc.RemoteAddr().String(), since: time.Now()}
	if !s.conns.Enter(c) {
		nc.Close()
		return
	}
	other := false
	defer func() {
		s.log().Panic(c.remote, recover())
		s.conns.Leave(c)
		if other {
			nc.SetDeadline(time.Time{})
			s.Other(nc, c.buf[c.start:c.end])
			return
		}
		if !c.hijacked {
			nc.Close()
		}
	}()
	other = c.serve()
}

// serve serves one request after the other, and tells whether the connection is left to the other server.
func (c *conn) serve() (other bool) {
	c.buf = make([]byte, smallHeader)
	for {
		n, err := c.header()
		if err != nil {
			return false
		}
		x := &exchange{}
		if n == 0 || !c.parse(x, n) {
			return true
		}
		if !c.state.CompareAndSwap(idle, busy) {
			return false
		}
		c.start += n
		if !c.asked.Load() {
			c.asked.Store(true)
		}
		if !c.answer(x) || c.server.conns.Ending() || !c.state.CompareAndSwap(busy, idle) {
			return false
		}
	}
}

// answer has the handler answer x. False means that the connection cannot be used any more.
func (c *conn) answer(x *exchange) (ok bool) {
	out := outs.Get().(*[]byte)
	c.out = (*out)[:0]
	done := false
	defer func() { // also of a handler that panics, or ends its goroutine
		if !done {
			x.response.cut()
		}
		x.ctx.End()
		c.unwatch()
		if c.hurried.Swap(false) && !c.hijacked {
			c.writeWithin(time.Time{})
		}
		*out, c.out = c.out[:0], nil
		outs.Put(out)
	}()
	c.server.Handler.ServeHTTP(&x.response, x.request)
	if c.hijacked {
		return false
	}
	ok = x.response.finish()
	done = true
	return ok
}

func (s *Server) log() serve.Log { return serve.Log{Logger: s.ErrorLog} }

// graceOfNew is how long a connection without a request is taken for one whose first is on its way (net/http's own measure).
const graceOfNew = 5 * time.Second

// Shutdown lets answers under way end until ctx does, and closes the connections that wait for a request. The caller sees to it that
// no new ones come.
func (s *Server) Shutdown(ctx context.Context) error {
	gone := s.conns.End()
	for pause := time.Millisecond; ; pause = min(2*pause, time.Second/2) {
		s.closeIdle(time.Now().Add(-graceOfNew))
		t := time.NewTimer(pause)
		select {
		case <-gone:
			t.Stop()
			return nil
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// closeIdle closes the connections that wait for a request, and those that have waited for their first since before that.
func (s *Server) closeIdle(before time.Time) {
	s.conns.Each(func(c *conn) {
		if c.state.Load() == idle && (c.asked.Load() || c.since.Before(before)) && c.state.CompareAndSwap(idle, closed) {
			c.Conn.Close()
		}
	})
}

// Close closes all connections, whatever is under way.
func (s *Server) Close() {
	s.conns.End()
	s.conns.Each(func(c *conn) { c.Conn.Close() })
}
