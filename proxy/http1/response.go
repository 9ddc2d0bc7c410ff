package http1

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrepot/entrepot/proxy/serve"
)

// Response is how a handler answers: net/http's contract for a ResponseWriter, a Flusher, an io.ReaderFrom and write deadlines.
//
// It differs where it may. Trailers are left out, as RFC 9110, section 6.5.1, allows. How a body is framed is no handler's to say but by
// its Content-Length: a Transfer-Encoding and whatever else it has in Connection than "close" are left out. What is larger than 2 KiB
// waits for up to 8 KiB more, or for Flush. ReadFrom takes no more than was announced. Only a CONNECT can be hijacked, and there is no
// read deadline.
type Response struct {
	conn    *conn
	ctx     *serve.Context
	request *http.Request
	header  http.Header
	status  int   // zero: not said yet
	length  int64 // as announced, -1 for unknown
	written int64 // of the body
	untyped bool  // nobody has said what the body is: its beginning has to
	sent    bool  // the header is in conn.out, or further, to its end
	chunked bool
	close   bool   // the connection ends with this answer
	held    []byte // the beginning of a body whose length or type is not known yet
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

// WriteHeader implements http.ResponseWriter. What the handler's header has now is what goes out.
func (w *Response) WriteHeader(status int) {
	c := w.conn
	switch {
	case c.hijacked:
		c.server.log().Wrong("http: WriteHeader of %d on a connection that was hijacked", status)
		return
	case w.status != 0:
		c.server.log().Wrong("http: superfluous WriteHeader of %d after %d", status, w.status)
		return
	case status < 100 || status > 999:
		panic(fmt.Sprintf("http1: WriteHeader of %d", status))
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.statusLine(status)
		w.fields()
		c.out = append(c.out, "\r\n"...)
		c.flush()
		return
	}
	w.status = status
	if text := w.first("Content-Length"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			c.server.log().Wrong("http: invalid Content-Length of %q", text)
			delete(w.header, "Content-Length")
		} else {
			w.length = n
		}
	}
	w.close = w.close || strings.EqualFold(w.first("Connection"), "close")
	_, typed := w.header["Content-Type"]
	w.untyped = !typed && w.first("Content-Encoding") == ""
	w.statusLine(status)
	w.fields()
	if _, dated := w.header["Date"]; !dated {
		c.out = append(c.out, "Date: "...)
		c.out = append(c.out, c.server.date.Text()...)
		c.out = append(c.out, "\r\n"...)
	}
	if w.length >= 0 && !w.untyped || !w.hasBody() {
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

// send ends the header. A body whose length nobody knows goes in chunks.
func (w *Response) send() {
	c := w.conn
	w.sent = true
	w.close = w.close || c.server.conns.Ending()
	if w.close {
		c.out = append(c.out, "Connection: close\r\n"...)
	}
	switch {
	case !w.hasBody():
	case w.length >= 0:
		c.out = append(c.out, "Content-Length: "...)
		c.out = strconv.AppendInt(c.out, w.length, 10)
		c.out = append(c.out, "\r\n"...)
	case w.request.Method != http.MethodHead:
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
	if text := http.StatusText(status); text != "" {
		c.out = append(c.out, text...)
	} else {
		c.out = append(c.out, "status code "...)
		c.out = strconv.AppendInt(c.out, int64(status), 10)
	}
	c.out = append(c.out, "\r\n"...)
}

// fields writes the header's, but for those that are ours to say, by name, so that answers can be compared. Nothing in a value can end
// its line.
func (w *Response) fields() {
	type field struct {
		name   string
		values []string
	}
	var few [12]field
	fields := few[:0]
	for name, values := range w.header {
		if name != "" && all(name, isToken) && !w.ours(name) {
			fields = append(fields, field{name, values})
		}
	}
	if len(fields) > len(few) {
		slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	}
	for i := 1; i < len(fields); i++ { // a dozen are in order in a third of that one's time
		f, at := fields[i], i
		for ; at > 0 && fields[at-1].name > f.name; at-- {
			fields[at] = fields[at-1]
		}
		fields[at] = f
	}
	out := w.conn.out
	for _, f := range fields {
		for _, v := range f.values {
			out = append(out, f.name...)
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

// ours tells whether a field says how the answer is framed, which send does, or describes a body that is not there.
func (w *Response) ours(name string) bool {
	switch name {
	case "Content-Length", "Transfer-Encoding", "Connection", "Trailer":
		return true
	case "Content-Type":
		return w.status == http.StatusNotModified
	}
	return false
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
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.conn.hijacked:
		return 0, http.ErrHijacked
	case len(p) == 0:
		return 0, nil
	case !w.hasBody():
		return 0, http.ErrBodyNotAllowed
	}
	w.written += int64(len(p)) // of too much too: the connection ends with such an answer
	switch {
	case w.length >= 0 && w.written > w.length:
		return 0, http.ErrContentLength
	case w.request.Method == http.MethodHead && w.sent:
		return len(p), nil
	case !w.sent && len(w.held)+len(p) <= shortBody:
		w.held = append(w.held, p...)
		return len(p), nil
	case !w.sent:
		w.release(p)
	}
	if w.request.Method != http.MethodHead {
		w.body(p)
	}
	if err := w.conn.writeErr; err != nil {
		w.ctx.End()
		return 0, err
	}
	return len(p), nil
}

// sniffed is how much of a body http.DetectContentType looks at.
const sniffed = 512

// release sends the header and what was held back. The body goes on with next.
func (w *Response) release(next []byte) {
	c := w.conn
	if w.untyped && len(w.held)+len(next) > 0 {
		begin := next
		if len(w.held) > 0 {
			begin = append(w.held[:len(w.held):len(w.held)], next[:min(len(next), sniffed)]...)
		}
		c.out = append(c.out, "Content-Type: "...)
		c.out = append(c.out, http.DetectContentType(begin)...)
		c.out = append(c.out, "\r\n"...)
	}
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
	if !ok || w.conn.tls != nil || !w.sent || w.length < 0 || !w.hasBody() || w.request.Method == http.MethodHead {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	if err := w.FlushError(); err != nil {
		return 0, err
	}
	w.ctx.Done()                    // so that who left is told from a file that cannot be read
	w.conn.writeWithin(time.Time{}) // what follows has its own, or none
	if part, ok := r.(*io.LimitedReader); !ok || part.N > w.length-w.written {
		r = io.LimitReader(r, w.length-w.written)
	}
	n, err := to.ReadFrom(r)
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
		w.release(nil)
	}
	w.conn.flush()
	if w.conn.writeErr != nil {
		w.ctx.End()
	}
	return w.conn.writeErr
}

// SetWriteDeadline is what http.ResponseController asks for. It stands in for our patience, and ends with the answer.
func (w *Response) SetWriteDeadline(t time.Time) error {
	c := w.conn
	c.setting.Lock() // some set it from beside, to end a write
	defer c.setting.Unlock()
	if c.hijacked {
		return http.ErrHijacked
	}
	c.hurried.Store(true)
	return c.SetWriteDeadline(t)
}

// finish ends the answer, and tells whether another may follow on the connection.
func (w *Response) finish() bool {
	switch {
	case w.status != 0:
	case w.request.Method == http.MethodConnect: // OK would be a tunnel
		w.WriteHeader(http.StatusNotImplemented)
	default:
		w.WriteHeader(http.StatusOK)
	}
	if !w.sent {
		if w.length < 0 && (w.request.Method != http.MethodHead || len(w.held) > 0) {
			w.length = int64(len(w.held))
		}
		w.release(nil)
	}
	c := w.conn
	if w.chunked {
		c.out = append(c.out, "0\r\n\r\n"...)
	}
	c.flush()
	wrong := w.length >= 0 && w.length != w.written && w.hasBody() && w.request.Method != http.MethodHead
	return !wrong && !w.close && c.writeErr == nil
}

// cut is how an answer ends that its handler has given up. What net/http would have sent by then goes out, so that the client sees an
// answer that was cut and not a request that was lost, which some would send again; but what looks like a whole answer does not.
func (w *Response) cut() {
	if w.sent && w.written > shortBody && w.written != w.length && w.request.Method != http.MethodHead {
		w.conn.flush()
	}
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
	if at, due := serve.Within(c.server.Patience, c.writeDeadline); due {
		c.writeWithin(at)
	}
	_, c.writeErr = c.Conn.Write(p)
}

// writeWithin sets the deadline of writing, unless the handler has set his.
func (c *conn) writeWithin(at time.Time) {
	c.setting.Lock()
	defer c.setting.Unlock()
	if !c.hurried.Load() {
		c.writeDeadline = at
		c.SetWriteDeadline(at)
	}
}
