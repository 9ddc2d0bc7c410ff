package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// countingWriter counts what goes to the client, and keeps the way to sendfile open.
type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
	muted  bool // what is written more is somebody else's words for what was said already
	gone   bool // the client took no more
	chunk  bool // the client is known to take a chunk of this and no more, see chunks

	ranged bool  // a 416 is net/http's, and not upstream's
	secure bool  // inside TLS
	watch  watch // over a client that takes nothing

	age [1]string // the field, which is then no garbage of its own
}

// WriteHeader implements http.ResponseWriter.
func (w *countingWriter) WriteHeader(status int) {
	if status == http.StatusRequestedRangeNotSatisfiable && w.status == 0 && w.ranged {
		w.refuseRange()
		return
	}
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.muted {
		return len(p), nil
	}
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.watch.begin(w.ResponseWriter)
	n, err := w.ResponseWriter.Write(p)
	w.watch.end()
	w.bytes += int64(n)
	w.gone = w.gone || err != nil
	return n, err
}

// refuseRange puts the OCI error body in the place of net/http's plain text.
func (w *countingWriter) refuseRange() {
	message := "the range lies outside the blob: Content-Range tells its size"
	if w.Header().Get("Content-Range") == "" {
		message = "the range is malformed: want one such as bytes=0-99, bytes=100- or bytes=-100"
	}
	body := errorBody(codeRangeInvalid, message)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.status = http.StatusRequestedRangeNotSatisfiable
	w.ResponseWriter.WriteHeader(w.status)
	w.Write(body)
	w.muted = true
}

// ReadFrom implements io.ReaderFrom: net/http's own ReadFrom is what reaches the kernel.
func (w *countingWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	var op *net.OpError // of the client's connection, unless it is a read of upstream's
	w.gone = w.gone || errors.As(err, &op) && op.Op != "read"
	return n, err
}

// Unwrap lets http.ResponseController through.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// plain tells whether a copy from a file can be left to the kernel: HTTP/1 without TLS.
func (w *countingWriter) plain() bool { return w.http1() && !w.secure }

// http1 tells whether the client speaks HTTP/1: by HTTP/2 nothing is read from a file for it.
func (w *countingWriter) http1() bool {
	_, ok := w.ResponseWriter.(io.ReaderFrom)
	return ok
}

// short tells whether less was written than was announced.
func (w *countingWriter) short(method string) bool {
	if method == http.MethodHead || w.status == http.StatusNotModified {
		return false
	}
	announced, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64)
	return err == nil && w.bytes < announced
}

// finish writes the log line of a request and counts it. It is deferred, so that it also sees the end of a transfer that was cut.
func (s *Server) finish(q *request, w *countingWriter, r *http.Request, start time.Time) {
	cut := recover()
	if cut != nil && cut != http.ErrAbortHandler { // a fault of ours, which net/http tells at a level that nobody reads
		q.err = fmt.Errorf("panic: %v", cut)
	}
	if q.status == 0 {
		q.status = w.status
	}
	if q.status == 0 {
		q.status = http.StatusOK
	}
	if q.err == nil && (cut != nil || w.short(r.Method)) {
		q.err = errShort
		if w.gone || r.Context().Err() != nil { // the context learns of it later than the writer
			q.err = errClientGone
		}
	}
	if s.ctx.Err() != nil && (cut == http.ErrAbortHandler || errors.Is(q.err, errClientGone)) {
		q.err = errClosing // which cuts the client off: he did not go
	}
	if r.Method == http.MethodHead {
		w.bytes = 0 // what was written is left out by who sends it
	}
	s.logLine(q, r, w.bytes, s.now().Sub(start))
	if cut != nil {
		panic(cut)
	}
}

var (
	errClientGone = errors.New("the client went away")
	errClosing    = errors.New("entrepot is closing: its --grace was over before this had ended")
)

// logLine is the one line a request has in the log (CONTRACT: the fields and their names). No header and no query is ever in it.
func (s *Server) logLine(q *request, r *http.Request, bytes int64, took time.Duration) {
	if q.cache == "" {
		q.cache = cacheBypass
	}
	s.metrics.request(q, bytes)
	e := s.log.Info().Str("door", q.door).Str("client", clientOf(r)).Str("method", r.Method).
		Str("registry", q.registry).Str("repo", q.repo).Str("kind", q.kind).Str("ref", q.ref).
		Str("cache", q.cache).Int("status", q.status).Int64("bytes", bytes).
		Float64("duration_ms", float64(took.Microseconds())/1000).Str("ua", r.UserAgent())
	if q.user != "" {
		e = e.Str("user", q.user)
	}
	if q.err != nil {
		e = e.Str("error", q.err.Error())
	}
	e.Send()
}

func clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
