package serve

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// Conn is the connection that a request came by.
type Conn interface {
	Base() context.Context // has the values of all its requests
	Server() *http.Server  // what http.ServerContextKey is for handlers
	LocalAddr() net.Addr
	Watch(gone func()) // is called when somebody wants to know whether the client has left, once for each request at most
}

// Context is a request's context: it ends with the request, or when the client leaves. What that takes is made when somebody wants to
// know, which for a small answer from the cache nobody does.
type Context struct {
	Conn Conn // not changed once the context is in use

	mu     sync.Mutex
	inner  context.Context // nil while nobody has asked for Done
	cancel context.CancelFunc
	over   bool
}

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) { return c.Conn.Base().Deadline() }

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	return c.inner.Done()
}

// begin makes the inner context. The caller holds mu.
func (c *Context) begin() {
	if c.inner == nil {
		c.inner, c.cancel = context.WithCancel(c.Conn.Base())
		if c.over {
			c.cancel()
		} else {
			c.Conn.Watch(c.cancel)
		}
	}
}

// Err implements context.Context. Who asks may do so again and again, and never for Done: he is to be told too.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	return c.inner.Err()
}

// Value implements context.Context. Package context itself asks the inner one who it is. Handlers ask for net/http's server to see whether
// they may panic by http.ErrAbortHandler: httputil.ReverseProxy ends an answer politely that was cut upstream, where there is none.
func (c *Context) Value(key any) any {
	switch key {
	case http.ServerContextKey:
		return c.Conn.Server()
	case http.LocalAddrContextKey:
		return c.Conn.LocalAddr()
	}
	c.mu.Lock()
	from := c.inner
	c.mu.Unlock()
	if from == nil {
		from = c.Conn.Base()
	}
	return from.Value(key)
}

// End ends it: the request is over, or its client gone.
func (c *Context) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}
