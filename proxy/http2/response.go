package http2

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Response is how a handler answers: net/http's contract for a ResponseWriter, a Flusher and write deadlines.
//
// It differs where it may: trailers are left out, as RFC 9110, section 6.5.1, allows, an answer that is shorter than was announced is
// reset, and there is no read deadline. What is smaller than 4 KiB waits for more, or for Flush, as it does in net/http.
type Response struct {
	stream   *stream
	request  *http.Request
	header   http.Header
	status   int         // zero: not said yet
	length   int64       // as announced, -1 for unknown
	written  int64       // of the body, by the handler
	gone     int64       // of it, in frames
	untyped  bool        // nobody has said what the body is: its beginning has to
	begun    atomic.Bool // the header has gone out; set by who has the turn to write
	ended    bool        // and so has the end
	last     bool        // the connection ends with this answer
	tooLarge bool        // the request's header
	held     []byte      // of the body
	fields   []hpack.HeaderField
	few      [12]hpack.HeaderField
	err      error
}

const heldMost = 4 << 10

func (w *Response) begin(st *stream, r *http.Request, tooLarge bool) {
	w.stream, w.request, w.length, w.tooLarge = st, r, -1, tooLarge
}

// Header implements http.ResponseWriter.
func (w *Response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header, 8)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter. What the handler's header has now is what goes out.
func (w *Response) WriteHeader(status int) {
	c := w.stream.conn
	switch {
	case w.status != 0:
		c.server.log().Wrong("http: superfluous WriteHeader of %d after %d", status, w.status)
		return
	case status < 100 || status > 999:
		panic(fmt.Sprintf("http2: WriteHeader of %d", status))
	case status < 200:
		w.collect(status)
		w.open(false)
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
	w.last = strings.EqualFold(w.first("Connection"), "close")
	_, typed := w.header["Content-Type"]
	w.untyped = !typed && w.first("Content-Encoding") == ""
	w.collect(status)
	if _, dated := w.header["Date"]; !dated {
		w.add("date", c.server.date.Text())
	}
}

// hasBody tells whether this answer may have one (RFC 9110, section 6.4.1), which says nothing about its method.
func (w *Response) hasBody() bool {
	return w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

func (w *Response) first(name string) string {
	if v := w.header[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (w *Response) add(name, value string) {
	w.fields = append(w.fields, hpack.HeaderField{Name: name, Value: value})
}

// collect takes the header's fields, by name, so that answers can be compared.
func (w *Response) collect(status int) {
	w.fields = append(w.few[:0], hpack.HeaderField{Name: ":status", Value: statusText(status)})
	for name, values := range w.header {
		if !httpguts.ValidHeaderFieldName(name) || ours(name) || status < 200 && name == "Content-Length" { // RFC 9110, section 8.6
			continue
		}
		small := lowered(name)
		for _, v := range values {
			if httpguts.ValidHeaderFieldValue(v) {
				w.add(small, v)
			}
		}
	}
	slices.SortStableFunc(w.fields[1:], func(a, b hpack.HeaderField) int { return strings.Compare(a.Name, b.Name) })
}

// ours tells whether a field has no place in HTTP/2 (RFC 9113, section 8.2.2).
func ours(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Upgrade", "Transfer-Encoding", "Trailer":
		return true
	}
	return strings.HasPrefix(name, http.TrailerPrefix)
}

// statusText is the status as its pseudo-field has it.
func statusText(status int) string {
	switch status {
	case http.StatusOK:
		return "200"
	case http.StatusPartialContent:
		return "206"
	}
	return strconv.Itoa(status)
}

// Write implements http.ResponseWriter.
func (w *Response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case !w.hasBody():
		return 0, http.ErrBodyNotAllowed
	case len(p) == 0:
		return 0, w.err
	}
	w.written += int64(len(p)) // of too much too: the stream is reset after such an answer
	head := w.request.Method == http.MethodHead
	switch {
	case w.err != nil:
		return 0, w.err
	case w.length >= 0 && w.written > w.length:
		return 0, http.ErrContentLength
	case head && w.ended:
		return len(p), nil
	case len(w.held)+len(p) <= heldMost && (w.written != w.length || len(w.held) > 0 || head):
		w.held = append(w.held, p...)
		return len(p), nil
	}
	if head {
		w.describe(p)
		if err := w.open(true); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if !w.begun.Load() {
		w.describe(p)
	}
	if err := w.release(); err != nil {
		return 0, err
	}
	return w.send(p)
}

// release sends what is held.
func (w *Response) release() error {
	if len(w.held) == 0 {
		return w.err
	}
	held := w.held
	w.held = nil
	_, err := w.send(held)
	return err
}

// describe says in the header what the body is, which begins with what is held and goes on with next.
func (w *Response) describe(next []byte) {
	begin := next
	if len(w.held) > 0 {
		begin = append(w.held[:len(w.held):len(w.held)], next[:min(len(next), sniffed)]...)
	}
	if w.untyped && w.hasBody() && len(begin) > 0 {
		w.add("content-type", http.DetectContentType(begin))
	}
	w.untyped = false
}

// sniffed is how much of a body http.DetectContentType looks at.
const sniffed = 512

// send sends a part of the body, and the end with it where that is known.
func (w *Response) send(p []byte) (sent int, err error) {
	if !w.begun.Load() {
		w.describe(p)
	}
	for sent < len(p) && w.err == nil {
		n, err := w.stream.grant(min(len(p)-sent, largestSend))
		if n == 0 && err == nil {
			if !w.begun.Load() && w.open(false) != nil { // the client may wait for it before it takes more
				break
			}
			n, err = w.stream.claim(min(len(p)-sent, largestSend))
		}
		if err != nil {
			w.err = err
			break
		}
		if w.data(p[sent:sent+n], w.gone+int64(n) == w.length) == nil {
			w.gone += int64(n)
			sent += n
		}
	}
	return sent, w.err
}

// open sends the header.
func (w *Response) open(end bool) error {
	out := &w.stream.conn.out
	out.turn.Lock()
	defer out.turn.Unlock()
	if w.err = w.mine(); w.err == nil {
		w.encode(end)
		w.err = out.write(out.headers)
	}
	return w.err
}

// mine is asked by who has the turn: what goes ahead does, and then the stream must not have been reset by it.
func (w *Response) mine() error {
	if err := w.stream.conn.out.flushed(); err != nil {
		return err
	}
	return w.stream.failure()
}

// encode makes the frames of the header, for who has the turn.
func (w *Response) encode(end bool) {
	if w.status != 0 {
		w.begun.Store(true)
		if w.ended = end; end {
			w.stream.half(true)
		}
	}
	out := &w.stream.conn.out
	out.headers = out.headers[:0]
	out.encode(w.stream.id, w.fields, end)
}

// Frames of data, with their headers and that of the answer: what a piece of the cache takes. See newPiece of the handler's package.
// With new ones for each write a manifest took half as much CPU time again and a layer a fifth (BenchmarkRequest and BenchmarkLayer, both
// ends).
var (
	small = sync.Pool{New: func() any { return room(64 << 10) }}
	large = sync.Pool{New: func() any { return room(largestSend) }}
)

func room(n int) *[]byte {
	b := make([]byte, 0, n+n/defaultFrame*frameHeader+heldMost)
	return &b
}

const largestSend = 256 << 10

// data sends p, which the windows have been asked for, and the header if that has not been sent.
func (w *Response) data(p []byte, end bool) error {
	out := &w.stream.conn.out
	out.turn.Lock()
	defer out.turn.Unlock()
	if w.err = w.mine(); w.err != nil {
		w.stream.conn.giveBack(len(p))
		return w.err
	}
	pool := &small
	if len(p) > 64<<10 {
		pool = &large
	}
	buf := pool.Get().(*[]byte) // not before it has the turn: many may wait for it
	defer pool.Put(buf)
	b := (*buf)[:0]
	if !w.begun.Load() {
		w.encode(false)
		b = append(b, out.headers...)
	}
	for {
		n := min(len(p), defaultFrame)
		flags := http2.Flags(0)
		if end && n == len(p) {
			flags, w.ended = http2.FlagDataEndStream, true
		}
		b = append(appendFrameHeader(b, n, http2.FrameData, flags, w.stream.id), p[:n]...)
		if p = p[n:]; len(p) == 0 {
			break
		}
	}
	*buf = b
	if w.ended {
		w.stream.half(true)
	}
	w.err = out.write(b)
	return w.err
}

// finish ends the answer, false if it is not whole.
func (w *Response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.last {
		w.stream.conn.retire()
	}
	head := w.request.Method == http.MethodHead
	if !w.begun.Load() && w.length < 0 && w.hasBody() && (w.written > 0 || !head) {
		w.length = w.written
		w.add("content-length", strconv.FormatInt(w.length, 10))
	}
	switch {
	case w.err != nil || w.written != w.length && w.length >= 0 && w.hasBody() && !head:
		return false
	case w.ended:
		return true
	case head || len(w.held) == 0 && !w.begun.Load():
		w.describe(nil)
		return w.open(true) == nil
	case len(w.held) > 0:
		if w.release() != nil || w.ended {
			return w.err == nil
		}
	}
	return w.data(nil, true) == nil
}

// goOn tells the client to send its body. It may be called beside the handler, by who reads the body for it.
func (w *Response) goOn() {
	out := &w.stream.conn.out
	out.turn.Lock()
	defer out.turn.Unlock()
	if w.begun.Load() || w.mine() != nil {
		return
	}
	out.headers = out.headers[:0]
	out.encode(w.stream.id, []hpack.HeaderField{{Name: ":status", Value: "100"}}, false)
	out.write(out.headers)
}

// refuse answers a request whose header is too large.
func (w *Response) refuse() {
	http.Error(w, fmt.Sprintf("the header of the request has more than %d bytes: send fewer or shorter fields", w.stream.conn.server.MaxHeader),
		http.StatusRequestHeaderFieldsTooLarge)
}

// Flush implements http.Flusher.
func (w *Response) Flush() { w.FlushError() }

// FlushError is what http.ResponseController asks for.
func (w *Response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return w.err
	case w.request.Method == http.MethodHead:
		if w.ended {
			return nil
		}
		w.describe(nil)
		return w.open(true)
	case len(w.held) > 0:
		return w.release()
	case !w.begun.Load():
		w.describe(nil)
		return w.open(false)
	}
	return nil
}

// SetWriteDeadline is what http.ResponseController asks for. It may be set from beside, to end a write.
func (w *Response) SetWriteDeadline(at time.Time) error {
	w.stream.setDeadline(at)
	return nil
}
