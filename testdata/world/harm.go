package world

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// play answers a request, by way of a fault if one is armed for it.
func (h *Host) play(rw http.ResponseWriter, req *http.Request, kind Kind) {
	a := h.take(req, kind)
	if a == nil {
		h.handler.ServeHTTP(rw, req)
		return
	}
	switch a.fault.Kind {
	case Status:
		a.struck()
		for key, value := range a.fault.Header {
			rw.Header().Set(key, value)
		}
		rw.WriteHeader(a.fault.Status)
		_, _ = io.WriteString(rw, a.fault.Body) // the client may have left
		return
	case HTML:
		a.struck()
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(rw, "<!DOCTYPE html><html><title>Sign in</title><form action=/login></form></html>\n")
		return
	case Delay:
		a.struck()
		a.wait(req, a.fault.Wait)
	case NoRange:
		a.struck()
		req = req.Clone(req.Context())
		req.Header.Del("Range")
	}
	harm := &harm{ResponseWriter: rw, req: req, armed: a}
	if a.fault.At < 0 {
		harm.strike()
	}
	h.handler.ServeHTTP(harm, req)
	harm.finish()
}

// wait stops until released, until d has passed if d is set, or until nobody
// waits for the answer.
func (a *Armed) wait(req *http.Request, d time.Duration) {
	var timeout <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-a.release:
	case <-timeout:
	case <-req.Context().Done():
		panic(http.ErrAbortHandler)
	case <-a.host.world.done:
		panic(http.ErrAbortHandler)
	}
}

// harm is the ResponseWriter of an answer that goes wrong.
type harm struct {
	http.ResponseWriter
	req   *http.Request
	armed *Armed
	sent  bool
	at    int64 // body bytes so far
	done  bool  // the fault has struck; the rest is as ever
	gzip  *gzip.Writer
}

func (h *harm) WriteHeader(status int) {
	if h.sent {
		return
	}
	if status >= 200 {
		h.sent = true
		h.header(status)
	}
	h.ResponseWriter.WriteHeader(status)
	if h.sent && h.due() {
		h.strike()
	}
}

// header does the harm that is done in the header.
func (h *harm) header(status int) {
	f, head := h.armed.fault, h.Header()
	switch f.Kind {
	case Truncate:
		if n, err := strconv.ParseInt(head.Get("Content-Length"), 10, 64); err != nil || n > f.At {
			head.Set("Content-Length", strconv.FormatInt(f.At, 10))
		}
	case WrongLength:
		head.Set("Content-Length", strconv.FormatInt(f.At, 10))
	case Chunked:
		head.Del("Content-Length")
	case WrongRange:
		if from, ok := strings.CutPrefix(head.Get("Content-Range"), "bytes "); ok {
			head.Set("Content-Range", shifted(from))
		}
	case ContentEncoding:
		if h.req.Method == http.MethodHead || status != http.StatusOK {
			return
		}
		head.Del("Content-Length")
		head.Set("Content-Encoding", "gzip")
		h.gzip = gzip.NewWriter(h.ResponseWriter)
	case Headers:
		for key, value := range f.Header {
			if value == "" {
				head.Del(key)
			} else {
				head.Set(key, value)
			}
		}
	default:
		return
	}
	h.armed.struck()
}

// shifted moves the place that a Content-Range tells by one byte.
func shifted(from string) string {
	var first, last, size int64
	if _, err := fmt.Sscanf(from, "%d-%d/%d", &first, &last, &size); err != nil {
		return "bytes " + from
	}
	return fmt.Sprintf("bytes %d-%d/%d", first+1, last+1, size+1)
}

// breaks reports whether the fault happens at a place in the body.
func (h *harm) breaks() bool {
	switch h.armed.fault.Kind {
	case Cut, Reset, Stall:
		return !h.done
	}
	return false
}

func (h *harm) due() bool { return h.breaks() && h.at >= h.armed.fault.At }

// strike breaks the answer where it is.
func (h *harm) strike() {
	h.done = true
	switch h.armed.fault.Kind {
	case Cut:
		h.flush()
		h.armed.struck()
		panic(http.ErrAbortHandler)
	case Reset:
		h.flush()
		h.armed.struck()
		if c, ok := h.req.Context().Value(connKey{}).(net.Conn); ok {
			reset(c)
		}
		panic(http.ErrAbortHandler)
	case Stall:
		h.flush()
		h.armed.struck()
		h.armed.wait(h.req, 0)
	}
}

// flush brings what was written to the client, so that it sees the fault
// behind exactly At bytes.
func (h *harm) flush() {
	if h.sent {
		_ = http.NewResponseController(h.ResponseWriter).Flush() // the client may have left
	}
}

func (h *harm) Write(p []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	total := len(p)
	for len(p) > 0 {
		n, err := h.part(p)
		h.at += int64(n)
		p = p[n:]
		if err != nil {
			return total - len(p), err
		}
		if h.due() {
			h.strike()
		}
	}
	return total, nil
}

// part writes as much of p as the fault leaves whole, at least one byte.
func (h *harm) part(p []byte) (int, error) {
	f := h.armed.fault
	if h.gzip != nil {
		return h.gzip.Write(p)
	}
	if left := f.At - h.at; h.breaks() && left < int64(len(p)) {
		p = p[:left]
	}
	switch f.Kind {
	case Corrupt:
		return h.corrupted(p)
	case Slow:
		return h.slowly(p)
	case Truncate, WrongLength:
		left := max(f.At-h.at, 0)
		if int64(len(p)) > left { // net/http would call it an error of ours
			_, err := h.ResponseWriter.Write(p[:left])
			return len(p), err
		}
	}
	return h.ResponseWriter.Write(p)
}

func (h *harm) corrupted(p []byte) (int, error) {
	i := h.armed.fault.At - h.at
	if i < 0 || i >= int64(len(p)) {
		return h.ResponseWriter.Write(p)
	}
	wrong := append([]byte(nil), p...)
	wrong[i] ^= 0x20
	h.armed.struck()
	return h.ResponseWriter.Write(wrong)
}

// slowly writes a twentieth of a second's bytes and waits as long.
func (h *harm) slowly(p []byte) (int, error) {
	f := h.armed.fault
	if h.at < f.At {
		p = p[:min(int64(len(p)), f.At-h.at)]
		return h.ResponseWriter.Write(p)
	}
	p = p[:min(int64(len(p)), max(f.Rate/20, 1))]
	n, err := h.ResponseWriter.Write(p)
	h.flush()
	h.armed.struck()
	h.armed.wait(h.req, time.Second*time.Duration(len(p))/time.Duration(max(f.Rate, 1)))
	return n, err
}

// finish ends what the answer left open.
func (h *harm) finish() {
	h.WriteHeader(http.StatusOK)
	if h.gzip != nil {
		_ = h.gzip.Close() // the client may have left
	}
}

// FlushError lets http.ResponseController flush through the layers.
func (h *harm) FlushError() error {
	h.WriteHeader(http.StatusOK)
	return http.NewResponseController(h.ResponseWriter).Flush()
}

// Flush is for those who ask for http.Flusher.
func (h *harm) Flush() { _ = h.FlushError() } // errors show at the next write
