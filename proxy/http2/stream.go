package http2

import (
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/entrepot/entrepot/proxy/serve"
)

// stream is a request and its answer.
type stream struct {
	conn *conn
	id   uint32

	// Guarded by conn.mu.
	window       int64 // what the client takes
	ours, theirs bool  // the side that has said its last word

	woken chan struct{} // has room for one: the window may have grown, or the stream is over

	mu       sync.Mutex
	err      error       // why it is over
	deadline time.Time   // of writing; zero: none
	alarm    *time.Timer // for it

	ctx      serve.Context
	body     body
	response Response
}

var (
	errReset = errors.New("the client has reset the stream")
	errOver  = errors.New("the request is over")
)

// end ends it: nothing is written or read any more.
func (st *stream) end(err error) {
	st.mu.Lock()
	if st.err == nil {
		st.err = err
	}
	st.mu.Unlock()
	st.ctx.End()
	st.body.end(err)
	st.wake()
}

func (st *stream) wake() {
	select {
	case st.woken <- struct{}{}:
	default:
	}
}

// failure is why nothing can be written, nil if something can.
func (st *stream) failure() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err == nil && !st.deadline.IsZero() && !time.Now().Before(st.deadline) {
		return os.ErrDeadlineExceeded
	}
	return st.err
}

// setDeadline sets when writing ends, by whom it is waited for too.
func (st *stream) setDeadline(at time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.deadline = at
	if st.alarm != nil {
		st.alarm.Stop()
		st.alarm = nil
	}
	if !at.IsZero() {
		st.alarm = time.AfterFunc(time.Until(at), st.wake)
	}
}

// run has the handler answer.
func (st *stream) run(r *http.Request) {
	done := false
	defer func() { // also of a handler that panics, or ends its goroutine
		st.conn.server.log().Panic(st.conn.remote, recover())
		st.leave(done)
	}()
	if st.response.tooLarge {
		st.response.refuse()
	} else {
		st.conn.server.Handler.ServeHTTP(&st.response, r)
	}
	done = st.response.finish()
}

// half notes that one side has said its last word. A stream in which both have is over, and the client may begin another in its place.
func (st *stream) half(ours bool) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	st.ours, st.theirs = st.ours || ours, st.theirs || !ours
	if st.ours && st.theirs && c.streams[st.id] == st {
		c.over(st.id, false)
	}
}

// leave ends a stream whose handler is through. What the client does not get whole is reset, and so is a body that it still sends.
func (st *stream) leave(done bool) {
	c := st.conn
	defer c.handlers.Done()
	unread := st.body.drop()
	st.end(errOver)
	st.setDeadline(time.Time{})
	c.mu.Lock()
	var err error
	if c.streams[st.id] == st {
		c.over(st.id, unread || !done)
		switch {
		case !done:
			err = c.out.reset(st.id, http2.ErrCodeInternal)
		case unread:
			err = c.out.reset(st.id, http2.ErrCodeNo) // RFC 9113, section 8.1
		}
	}
	delete(c.waiting, st)
	if !c.follow() {
		c.running--
	}
	if c.running == 0 {
		c.since = time.Now()
		if c.retiring {
			c.part()
		}
	}
	c.mu.Unlock()
	if err != nil {
		c.net.Close() // to a client that does not read
	}
}
