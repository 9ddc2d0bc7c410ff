package http1

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Response is how a handler answers: net/http's contract for a ResponseWriter, a Flusher, an io.ReaderFrom and write deadlines.
// Trailers are left out, as RFC 9110, section 6.5.1, allows.
type Response struct {
	conn    *conn
	ctx     *requestContext
	request *http.Request
	header  http.Header
	status  int   // zero: not said yet
	length  int64 // as announced, -1 for unknown
	written int64 // of the body
	sent    bool  // the header is in conn.out, or further
	chunked bool
	close   bool   // the connection ends with this answer
	held    []byte // a body of unknown length that may yet turn out to be a short one
}

// shortBody is what a body is held back to, to see whether it has an end, before it is sent in chunks (net/http's own measure).
const shortBody = 2 << 10

// Header implements http.ResponseWriter.
func (w *Response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header, 8)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *Response) WriteHeader(status int) {
	switch {
	case w.status != 0:
		w.conn.server.logf("http: superfluous WriteHeader of %d after %d", status, w.status)
		return
	case status < 100 || status > 999:
		panic(fmt.Sprintf("http1: WriteHeader of %d", status))
	case status < 200:
		w.statusLine(status)
		w.fields()
		w.conn.out = append(w.conn.out, "\r\n"...)
		w.conn.flush()
		return
	}
	w.status = status
	if text := w.first("Content-Length"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			w.conn.server.logf("http: invalid Content-Length of %q", text)
			delete(w.header, "Content-Length")
		} else {
			w.length = n
		}
	}
	if w.length >= 0 || !w.hasBody() {
		w.send()
	}
}

// hasBody tells whether this answer may have one (RFC 9110, section 6.4.1), which says nothing about its method.
func (w *Response) hasBody() bool {
	return w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

func (w *Response) first(name string) string {
	if v := w.header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// send puts the header before what follows. A body whose length nobody knows goes in chunks.
func (w *Response) send() {
	w.sent = true
	w.close = w.request.Close || strings.EqualFold(w.first("Connection"), "close") || w.conn.server.stopping()
	w.statusLine(w.status)
	if !w.hasBody() {
		delete(w.header, "Content-Length")
		delete(w.header, "Transfer-Encoding")
	}
	delete(w.header, "Connection")
	w.fields()
	c := w.conn
	if w.header["Date"] == nil {
		c.out = append(c.out, c.server.dateLine()...)
	}
	if w.close {
		c.out = append(c.out, "Connection: close\r\n"...)
	}
	if w.hasBody() && w.length < 0 && w.request.Method != http.MethodHead {
		w.chunked = true
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
}

func (w *Response) statusLine(status int) {
	c := w.conn
	if status == http.StatusOK {
		c.out = append(c.out, "HTTP/1.1 200 OK\r\n"...)
		return
	}
	c.out = append(c.out, "HTTP/1.1 "...)
	c.out = strconv.AppendInt(c.out, int64(status), 10)
	c.out = append(c.out, ' ')
	c.out = append(c.out, http.StatusText(status)...)
	c.out = append(c.out, "\r\n"...)
}

// fields writes the header's. Nothing in a value can end its line.
func (w *Response) fields() {
	out := w.conn.out
	for name, values := range w.header {
		if name == "" || !all(name, isToken) {
			continue
		}
		for _, v := range values {
			out = append(out, name...)
			out = append(out, ": "...)
			at := len(out)
			out = append(out, v...)
			if strings.IndexByte(v, '\n') >= 0 || strings.IndexByte(v, '\r') >= 0 {
				blank(out[at:])
			}
			out = append(out, "\r\n"...)
		}
	}
	w.conn.out = out
}

func blank(value []byte) {
	for i, b := range value {
		if b == '\n' || b == '\r' {
			value[i] = ' '
		}
	}
}

// Write implements http.ResponseWriter.
func (w *Response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.sniff(p)
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case len(p) == 0:
		return 0, w.conn.writeErr
	case !w.hasBody():
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	switch {
	case w.request.Method == http.MethodHead && w.sent:
		return len(p), nil
	case !w.sent && len(w.held)+len(p) <= shortBody:
		w.held = append(w.held, p...)
		return len(p), nil
	case !w.sent:
		w.release()
	}
	if w.request.Method != http.MethodHead {
		w.body(p)
	}
	if err := w.conn.writeErr; err != nil {
		w.ctx.end()
		return 0, err
	}
	return len(p), nil
}

// sniff says what a body is that nobody has described.
func (w *Response) sniff(p []byte) {
	h := w.Header()
	if h["Content-Type"] == nil && h["Content-Encoding"] == nil && len(p) > 0 {
		h.Set("Content-Type", http.DetectContentType(p))
	}
}

// release sends the header and what was held back.
func (w *Response) release() {
	w.send()
	if w.request.Method != http.MethodHead && len(w.held) > 0 {
		w.body(w.held)
	}
	w.held = nil
}

// body puts p out, framed.
func (w *Response) body(p []byte) {
	c := w.conn
	if !w.chunked {
		c.write(p)
		return
	}
	c.out = strconv.AppendInt(c.out, int64(len(p)), 16)
	c.out = append(c.out, "\r\n"...)
	c.write(p)
	c.out = append(c.out, "\r\n"...)
}

// ReadFrom implements io.ReaderFrom: a file goes to a connection without TLS by the kernel.
func (w *Response) ReadFrom(r io.Reader) (int64, error) {
	to, ok := w.conn.Conn.(io.ReaderFrom)
	if w.status == 0 && w.first("Content-Length") != "" && w.first("Content-Type") != "" {
		w.WriteHeader(http.StatusOK)
	}
	if !ok || w.conn.tls != nil || w.length < 0 || !w.hasBody() || w.request.Method == http.MethodHead {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	if err := w.FlushError(); err != nil {
		return 0, err
	}
	w.ctx.Done() // so that who left is told from a file that cannot be read
	if part, ok := r.(*io.LimitedReader); !ok || part.N > w.length-w.written {
		r = io.LimitReader(r, w.length-w.written)
	}
	n, err := to.ReadFrom(r)
	w.conn.writeDeadline = time.Time{} // the kernel's copy has its own
	w.written += n
	return n, err
}

// Flush implements http.Flusher.
func (w *Response) Flush() { w.FlushError() }

// FlushError is what http.ResponseController asks for.
func (w *Response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent {
		w.release()
	}
	w.conn.flush()
	if w.conn.writeErr != nil {
		w.ctx.end()
	}
	return w.conn.writeErr
}

// SetWriteDeadline is what http.ResponseController asks for.
func (w *Response) SetWriteDeadline(t time.Time) error {
	w.conn.writeDeadline = time.Time{}
	return w.conn.SetWriteDeadline(t)
}

// finish ends the answer, and tells whether another may follow on the connection.
func (w *Response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent {
		w.length = int64(len(w.held))
		if w.request.Method != http.MethodHead || w.length > 0 {
			w.Header()["Content-Length"] = []string{strconv.Itoa(len(w.held))}
		}
		w.release()
	}
	c := w.conn
	if w.chunked {
		c.out = append(c.out, "0\r\n\r\n"...)
	}
	c.flush()
	short := w.length > w.written && w.hasBody() && w.request.Method != http.MethodHead
	return !short && !w.close && c.writeErr == nil
}

// write puts p out, at once where it is large.
func (c *conn) write(p []byte) {
	if len(c.out)+len(p) <= outSize {
		c.out = append(c.out, p...)
		return
	}
	c.flush()
	if len(p) <= outSize/2 {
		c.out = append(c.out, p...)
		return
	}
	c.put(p)
}

func (c *conn) flush() {
	c.put(c.out)
	c.out = c.out[:0]
}

func (c *conn) put(p []byte) {
	if c.writeErr != nil || len(p) == 0 {
		return
	}
	if at, due := within(c.server.Patience, c.writeDeadline); due {
		c.writeDeadline = at
		c.Conn.SetWriteDeadline(at)
	}
	_, c.writeErr = c.Conn.Write(p)
}

// dateField is a second's Date, made once for all answers.
type dateField struct {
	second int64
	line   string
}

func (s *Server) dateLine() string {
	now := time.Now()
	if d := s.date.Load(); d != nil && d.second == now.Unix() {
		return d.line
	}
	d := &dateField{now.Unix(), "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
	s.date.Store(d)
	return d.line
}
