package http1

import (
	"context"
	"net/http"
	"time"
)

// Base implements [serve.Conn].
func (c *conn) Base() context.Context { return c.ctx }

// Server implements [serve.Conn].
func (c *conn) Server() *http.Server { return &c.server.standIn }

// Watch implements [serve.Conn]. It has gone called when the client leaves. A byte of what it sends meanwhile is kept, and tells that it is
// still there.
func (c *conn) Watch(gone func()) {
	if c.start == c.end {
		c.start, c.end = 0, 0
	}
	if c.end == len(c.buf) || c.hijacked {
		return
	}
	c.deadline = time.Time{}
	c.SetReadDeadline(time.Time{})
	watching := make(chan struct{})
	c.watching = watching
	go func() {
		defer close(watching)
		n, err := c.Conn.Read(c.buf[c.end : c.end+1])
		c.end += n
		if n == 0 && err != nil {
			gone()
		}
	}()
}

// unwatch ends that. The request is over, so that nobody begins with it any more.
func (c *conn) unwatch() {
	if c.watching == nil {
		return
	}
	c.deadline = time.Unix(1, 0)
	c.SetReadDeadline(c.deadline)
	<-c.watching
	c.watching = nil
}
