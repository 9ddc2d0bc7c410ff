package http1

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"time"
)

// Hijack implements http.Hijacker. What follows a CONNECT is not HTTP, and who serves it owns the connection. What was read of it is in
// the reader's buffer.
func (w *Response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c := w.conn
	if c.hijacked {
		return nil, nil, http.ErrHijacked
	}
	if w.request.Method != http.MethodConnect || w.status != 0 {
		return nil, nil, http.ErrNotSupported
	}
	c.unwatch()
	c.writeErr = http.ErrHijacked
	c.setting.Lock()
	c.hijacked = true
	c.setting.Unlock()
	c.SetDeadline(time.Time{})
	early := c.buf[c.start:c.end]
	in := bufio.NewReaderSize(c.Conn, len(early))
	if len(early) > 0 {
		in.Reset(io.MultiReader(bytes.NewReader(early), c.Conn))
		in.Peek(len(early))
	}
	c.buf, c.start, c.end = nil, 0, 0 // a tunnel has its request, and so c, for hours
	return c.Conn, bufio.NewReadWriter(in, bufio.NewWriterSize(c.Conn, 1)), nil
}
