package http1

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// requestContext is a request's context: it ends with the request, or when the client leaves. Whether it does is watched from the moment
// on at which somebody wants to know, which for a small answer from the cache nobody does.
type requestContext struct {
	conn *conn

	mu     sync.Mutex
	inner  context.Context // nil while nobody has asked for Done
	cancel context.CancelFunc
	over   bool
}

// Deadline implements context.Context.
func (r *requestContext) Deadline() (time.Time, bool) { return r.conn.ctx.Deadline() }

// Done implements context.Context.
func (r *requestContext) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	return r.inner.Done()
}

// begin makes the inner context, and begins to watch. The caller holds mu.
func (r *requestContext) begin() {
	if r.inner == nil {
		r.inner, r.cancel = context.WithCancel(r.conn.ctx)
		if r.over {
			r.cancel()
		} else {
			r.conn.watch(r.cancel)
		}
	}
}

// Err implements context.Context. Who asks may do so again and again, and never for Done: he is to be told too.
func (r *requestContext) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	return r.inner.Err()
}

// Value implements context.Context. Package context itself asks the inner one who it is. Handlers ask for net/http's server to see whether
// they may panic by http.ErrAbortHandler: httputil.ReverseProxy ends an answer politely that was cut upstream, where there is none.
func (r *requestContext) Value(key any) any {
	switch key {
	case http.ServerContextKey:
		return &r.conn.server.standIn
	case http.LocalAddrContextKey:
		return r.conn.LocalAddr()
	}
	r.mu.Lock()
	from := r.inner
	r.mu.Unlock()
	if from == nil {
		from = r.conn.ctx
	}
	return from.Value(key)
}

// end ends it: the request is over, or its client gone.
func (r *requestContext) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	if r.cancel != nil {
		r.cancel()
	}
}

// watch has gone called when the client leaves. A byte of what it sends meanwhile is kept, and tells that it is still there.
func (c *conn) watch(gone func()) {
	if c.start == c.end {
		c.start, c.end = 0, 0
	}
	if c.end == len(c.buf) {
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
