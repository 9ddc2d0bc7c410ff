package http2

import (
	"os"
	"time"

	"golang.org/x/net/http2"
)

// Flow control (RFC 9113, section 5.2), both ways.

// resize changes the windows of all streams (RFC 9113, section 6.9.2).
func (c *conn) resize(initial int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	more := initial - c.initial
	c.initial = initial
	for _, st := range c.streams {
		st.window += more
		if st.window > mostWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		st.wake()
	}
	return nil
}

// widen takes a WINDOW_UPDATE.
func (c *conn) widen(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	if f.StreamID == 0 {
		defer c.mu.Unlock()
		c.window += int64(f.Increment)
		if c.window > mostWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		for st := range c.waiting {
			st.wake()
		}
		return nil
	}
	st := c.streams[f.StreamID]
	if st == nil {
		defer c.mu.Unlock()
		return c.stray(f.StreamID, nil)
	}
	st.window += int64(f.Increment)
	wide := st.window > mostWindow
	c.mu.Unlock()
	if wide {
		return c.refuse(http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl})
	}
	st.wake()
	return nil
}

// claim waits until the client takes something of what the handler wants to send, and tells how much.
func (st *stream) claim(want int) (int, error) {
	var late <-chan time.Time
	for {
		n, err := st.grant(want)
		if n > 0 || err != nil {
			return n, err
		}
		if late == nil {
			t := time.NewTimer(st.conn.server.Patience)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-st.woken:
		case <-late:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// grant is what the client takes now. If that is nothing the stream is woken when it may be more.
func (st *stream) grant(want int) (int, error) {
	if err := st.failure(); err != nil {
		return 0, err
	}
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	n := min(int64(want), c.window, st.window)
	if n <= 0 {
		c.waiting[st] = true
		return 0, nil
	}
	c.window -= n
	st.window -= n
	delete(c.waiting, st)
	return int(n), nil
}

// giveBack returns what was granted and not sent.
func (c *conn) giveBack(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window += int64(n)
	for st := range c.waiting {
		st.wake()
	}
}

// credit says that the handlers have read so much of bodies, and gives it back to the client before it has to wait; and so much more for
// one stream.
func (c *conn) credit(read int, st *stream, more int) {
	if more > 0 {
		var room [frameHeader + 4]byte
		c.out.later(appendNumber(room[:0], http2.FrameWindowUpdate, st.id, uint32(more)), nil)
	}
	if read > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.owe(read)
	}
}

// owe gives back so much of the connection's window, at once if half of it is due or more than is left: of the rest some may lie in a body
// that nobody reads. What waits of these frames is bounded by the windows, so that no client can have us keep more. The caller holds mu.
func (c *conn) owe(read int) {
	if c.owed += read; c.owed > 0 && (c.owed >= connWindow/2 || c.owed > c.room) {
		var room [frameHeader + 4]byte
		c.out.later(appendNumber(room[:0], http2.FrameWindowUpdate, 0, uint32(c.owed)), nil)
		c.room += c.owed
		c.owed = 0
	}
}
