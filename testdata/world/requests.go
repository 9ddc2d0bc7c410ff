package world

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// logLimit bounds the log of requests, for soaks.
const logLimit = 20000

// Request is a line of the world's log. Credentials are not in it, only
// their scheme.
type Request struct {
	tally
	At            time.Time
	Method        string
	Host          string
	Path          string // with the query
	Kind          Kind
	Proto         string
	Range         string
	Accept        string
	Encoding      string // Accept-Encoding
	Authorization string // "", "Bearer" or "Basic"
	Header        http.Header
}

// Status is 0 while there is no answer yet.
func (r *Request) Status() int { return int(r.status.Load()) }

// Bytes is how much body was answered so far.
func (r *Request) Bytes() int64 { return r.bytes.Load() }

func (r *Request) String() string {
	path := r.Path
	if len(path) > 240 { // a signature; nobody reads it
		path = path[:240] + "…"
	}
	s := fmt.Sprintf("%s %s%s → %d, %d bytes", r.Method, r.Host, path, r.Status(), r.Bytes())
	if r.Range != "" {
		s += ", range " + r.Range
	}
	if r.Authorization != "" {
		s += ", " + r.Authorization
	}
	return s
}

// note enters a request into the log.
func (w *World) note(req *http.Request, kind Kind) *Request {
	scheme, _, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	header := req.Header.Clone()
	for _, key := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
		header.Del(key)
	}
	r := &Request{
		At: time.Now(), Method: req.Method, Host: req.Host, Path: req.URL.RequestURI(), Kind: kind, Proto: req.Proto,
		Range: req.Header.Get("Range"), Accept: strings.Join(req.Header.Values("Accept"), ", "),
		Encoding: req.Header.Get("Accept-Encoding"), Authorization: scheme, Header: header,
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.log) >= logLimit {
		w.log = append([]*Request(nil), w.log[logLimit/2:]...)
	}
	w.log = append(w.log, r)
	return r
}

// Requests is the log since the last Reset, oldest first.
func (w *World) Requests() []*Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*Request(nil), w.log...)
}

// Story is the log as text, for messages of failed tests.
func (w *World) Story() string {
	var b strings.Builder
	for _, r := range w.Requests() {
		fmt.Fprintln(&b, r)
	}
	return b.String()
}

// Reset forgets counters, log and leaks. Content, accounts, tokens and armed
// faults stay.
func (w *World) Reset() {
	for _, h := range w.hosts {
		h.reset()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log, w.leaks, w.tries = nil, nil, nil
}

// BlobBytes is what all hosts together answered to blob GETs since the last Reset.
func (w *World) BlobBytes() int64 {
	var sum int64
	for _, h := range w.hosts {
		sum += h.bytes.Load()
	}
	return sum
}

// Counts are the counters of the hosts that were asked anything.
func (w *World) Counts() map[string]Counts {
	all := map[string]Counts{}
	for name, h := range w.hosts {
		if c := h.Counts(); c != (Counts{}) {
			all[name] = c
		}
	}
	return all
}

// NoMoreBlobBytes fails t if blob bytes beyond before crossed the wire, and tells the story.
func (w *World) NoMoreBlobBytes(t T, before int64) {
	t.Helper()
	if got := w.BlobBytes(); got != before {
		t.Errorf("blob bytes from upstream: got %d, want %d; requests:\n%s", got, before, w.Story())
	}
}

// NoLeaks fails t if a credential came where it does not belong.
func (w *World) NoLeaks(t T) {
	t.Helper()
	if leaks := w.Leaks(); len(leaks) > 0 {
		t.Errorf("leaked credentials:\n%s", strings.Join(leaks, "\n"))
	}
}

// Silent fails t if any host was asked anything since the last Reset.
func (w *World) Silent(t T) {
	t.Helper()
	if story := w.Story(); story != "" {
		t.Errorf("upstream was asked, want silence:\n%s", story)
	}
}
