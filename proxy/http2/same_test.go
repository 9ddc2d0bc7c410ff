package http2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// row is a request and a handler, which both servers are to make the same of.
type row struct {
	method  string // GET if it is empty
	header  http.Header
	body    []byte // none if it is nil
	length  int64  // as announced, if it is not zero
	panics  bool   // which is logged
	handler func(w http.ResponseWriter, r *http.Request, note func(...any))
}

// seen is what a client and a handler saw.
type seen struct {
	Hints  []string
	Status string
	Header http.Header
	Length int64
	Body   string
	Cut    bool
	Notes  string
	Panics bool
}

// written is a handler that writes these pieces.
func written(pieces ...string) func(http.ResponseWriter, *http.Request, func(...any)) {
	return func(w http.ResponseWriter, _ *http.Request, note func(...any)) {
		for _, p := range pieces {
			n, err := w.Write([]byte(p))
			note(n, err != nil)
		}
	}
}

// with is a handler that sets fields, name and value in turn, answers with the status and writes a body.
func with(status int, body string, fields ...string) func(http.ResponseWriter, *http.Request, func(...any)) {
	return func(w http.ResponseWriter, r *http.Request, note func(...any)) {
		for i := 0; i < len(fields); i += 2 {
			w.Header()[fields[i]] = append(w.Header()[fields[i]], fields[i+1])
		}
		if status != 0 {
			w.WriteHeader(status)
		}
		if body != "" {
			_, err := w.Write([]byte(body))
			note(err != nil)
		}
	}
}

// aborting is a handler that panics at its end.
func aborting(h func(http.ResponseWriter, *http.Request, func(...any)), why error) func(http.ResponseWriter, *http.Request, func(...any)) {
	return func(w http.ResponseWriter, r *http.Request, note func(...any)) {
		h(w, r, note)
		panic(why)
	}
}

// reads is a handler that reads the body and tells what came of it.
func reads(_ http.ResponseWriter, r *http.Request, note func(...any)) {
	body, err := io.ReadAll(r.Body)
	note(len(body), err)
	note(r.Body.Close())
}

func content(w http.ResponseWriter, r *http.Request, _ func(...any)) {
	w.Header().Set("Etag", `"x"`)
	http.ServeContent(w, r, "a.bin", time.Unix(1e9, 0), strings.NewReader(strings.Repeat(kib50, 20)))
}

var (
	kib5  = strings.Repeat("abcde", 1<<10)
	kib50 = strings.Repeat("0123456789", 5<<10)
)

func rows() map[string]row {
	only := func(fields ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(fields); i += 2 {
			h[fields[i]] = append(h[fields[i]], fields[i+1])
		}
		return h
	}
	return map[string]row{
		"nothing":              {handler: written()},
		"nothing, HEAD":        {method: "HEAD", handler: written()},
		"an empty write":       {handler: written("")},
		"short":                {handler: written("hello")},
		"short, HEAD":          {method: "HEAD", handler: written("hello")},
		"4096":                 {handler: written(kib5[:4096])},
		"4095 and 2":           {handler: written(kib5[:4095], "xx")},
		"long":                 {handler: written(kib50)},
		"long in pieces":       {handler: written(kib5, kib50, "x", kib5)},
		"long, HEAD":           {method: "HEAD", handler: written(kib50, "x")},
		"announced":            {handler: with(0, "hello", "Content-Length", "5")},
		"announced, HEAD":      {method: "HEAD", handler: with(0, "hello", "Content-Length", "5")},
		"announced only, HEAD": {method: "HEAD", handler: with(0, "", "Content-Length", "1099511627776")},
		"announced, long":      {handler: with(0, kib50, "Content-Length", "51200")},
		"announced, in two": {handler: func(w http.ResponseWriter, r *http.Request, note func(...any)) {
			w.Header().Set("Content-Length", "5120")
			written(kib5[:1000], kib5[1000:])(w, r, note)
		}},
		"sniffed in two":  {handler: written("<ht", "ml>"+kib5)},
		"announced, none": {handler: with(0, "", "Content-Length", "0")},
		"not a length":    {handler: with(0, "hello", "Content-Length", "x")},
		"204":             {handler: with(204, "x")},
		"304":             {handler: with(304, "x", "Etag", "x")},
		"304, HEAD":       {method: "HEAD", handler: with(304, "", "Etag", "x")},
		"404":             {handler: with(404, "no")},
		"999":             {handler: with(999, "no")},
		"a type":          {handler: with(0, "<html>", "Content-Type", "a/b")},
		"no type":         {handler: with(0, "<html>", "Content-Type", "")},
		"no type by nil": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "<html>")
		}},
		"sniffed":              {handler: with(0, "<html>")},
		"sniffed, HEAD":        {method: "HEAD", handler: with(0, "<html>")},
		"encoded":              {handler: with(0, "<html>", "Content-Encoding", "gzip")},
		"a date":               {handler: with(0, "", "Date", "yesterday")},
		"values":               {handler: with(0, "", "A", "1", "A", "2", "B", "", "C", "ä", "D", "a\tb")},
		"bad values":           {handler: with(0, "", "A", "1\r\nB: 2", "C", "a\x00", "D E", "1", "", "2")},
		"small names":          {handler: with(0, "", "lower", "1", "x-Mixed", "2")},
		"flushed":              {handler: flushes("")},
		"flushed, then a type": {handler: flushes("<html>")},
		"flushed, HEAD":        {method: "HEAD", handler: flushes("<html>")},
		"in two with a flush": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			io.WriteString(w, "<ht")
			w.(http.Flusher).Flush()
			io.WriteString(w, "ml>")
		}},
		"early hints":    {handler: hints},
		"not a status":   {panics: true, handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) { w.WriteHeader(99) }},
		"twice a status": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) { w.WriteHeader(201); w.WriteHeader(202) }},
		"fields behind": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.WriteHeader(201)
			w.Header().Set("Late", "1")
		}},
		"aborted":                 {handler: aborting(written(), http.ErrAbortHandler)},
		"aborted, flushed":        {handler: aborting(flushes("hello"), http.ErrAbortHandler)},
		"panic":                   {panics: true, handler: aborting(written(), errors.New("oh no"))},
		"content":                 {handler: content},
		"content, HEAD":           {method: "HEAD", handler: content},
		"content, a range":        {header: only("Range", "bytes=1000-600000"), handler: content},
		"content, two ranges":     {header: only("Range", "bytes=0-10,100000-700000"), handler: content},
		"content, outside":        {header: only("Range", "bytes=9999999-"), handler: content},
		"content, not newer":      {header: only("If-None-Match", `"x"`), handler: content},
		"fields":                  {header: only("A", "1", "A", "2", "X-Other", "", "Te", "trailers", "User-Agent", ""), handler: written()},
		"cookies":                 {header: only("Cookie", "a=1; b=2", "Cookie", "c=3"), handler: written()},
		"a host":                  {header: only("Host", "example.org"), handler: written()},
		"a body":                  {method: "POST", body: []byte(kib50), handler: reads},
		"a body, announced":       {method: "PUT", body: []byte(kib50), length: 50 << 10, handler: reads},
		"no body, PUT":            {method: "PUT", handler: reads},
		"an empty body":           {method: "POST", body: []byte(""), handler: reads},
		"a body with GET":         {body: []byte("x"), length: 1, handler: reads},
		"a body nobody reads":     {method: "POST", body: []byte("hello"), handler: written("no")},
		"a large one nobody does": {method: "POST", body: []byte(strings.Repeat(kib50, 100)), handler: written("no")},
		"expected":                {method: "POST", header: only("Expect", "100-continue"), body: []byte("hello"), length: 5, handler: reads},
		"a body, closed": {method: "POST", body: []byte("hello"), handler: func(w http.ResponseWriter, r *http.Request, note func(...any)) {
			r.Body.Close()
			_, err := r.Body.Read(make([]byte, 1))
			note(err != nil)
		}},
		"OPTIONS": {method: "OPTIONS", handler: written("x")},
		"DELETE":  {method: "DELETE", handler: with(202, "")},
		"odd":     {method: "M-SEARCH", handler: written("x")},
	}
}

func flushes(then string) func(http.ResponseWriter, *http.Request, func(...any)) {
	return func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
		w.(http.Flusher).Flush()
		io.WriteString(w, then)
	}
}

func hints(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
	w.Header().Set("Link", "x")
	w.Header().Set("Content-Length", "5")
	w.WriteHeader(103)
	w.WriteHeader(102)
	w.Header().Del("Link")
	io.WriteString(w, "hello")
}

// TestSame: neither a handler nor a client can tell this server from net/http's.
func TestSame(t *testing.T) {
	all := rows()
	var notes served.Lines
	done := make(chan bool, 1) // a client may have all of an answer before its handler ends
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { done <- true }()
		_, served := r.Context().Value(http.ServerContextKey).(*http.Server)
		_, at := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		fmt.Fprintln(&notes, served, at, r.Method, r.URL, r.RequestURI, r.Proto, r.ProtoMajor, r.ProtoMinor, r.Host, r.Header, r.Close,
			r.ContentLength, r.TLS != nil, r.Body != nil, r.TransferEncoding)
		all[r.Header.Get("Row")].handler(w, r, func(what ...any) { fmt.Fprintln(&notes, what...) })
	})
	ours, theirs := open(t, h), openTheirs(t, h)
	for name, r := range all {
		t.Run(name, func(t *testing.T) {
			var both [2]seen
			for i, d := range []*door{ours, theirs} {
				notes.Take()
				d.log.Take()
				both[i] = d.ask(t, name, r)
				served.Hear(t, "the handler's end", done)
				both[i].Notes = notes.Take()
				panicked := func() bool { return strings.Contains(d.log.String(), "panic serving 127.0.0.1:") }
				if r.panics { // some time behind the handler's end
					until(t, "the log", panicked)
				}
				both[i].Panics = panicked()
			}
			differ(t, both)
		})
	}
}

// differ fails where the two have.
func differ(t *testing.T, both [2]seen) {
	t.Helper()
	got, want := reflect.ValueOf(both[0]), reflect.ValueOf(both[1])
	for i := range got.NumField() {
		if g, w := got.Field(i).Interface(), want.Field(i).Interface(); !reflect.DeepEqual(g, w) {
			t.Errorf("%s: got %.300q (%d), want %.300q (%d)", got.Type().Field(i).Name, fmt.Sprint(g), len(fmt.Sprint(g)), fmt.Sprint(w), len(fmt.Sprint(w)))
		}
	}
}

// client is net/http's, by HTTP/2 alone.
func (d *door) client() *http.Transport {
	tr := &http.Transport{TLSClientConfig: d.clients.Clone(), Protocols: &http.Protocols{}, DisableCompression: true, ExpectContinueTimeout: served.Patience}
	tr.Protocols.SetHTTP2(true)
	return tr
}

// ask sends the row's request, and takes down what comes.
func (d *door) ask(t *testing.T, name string, r row) (s seen) {
	tr := d.client()
	defer tr.CloseIdleConnections()
	method := r.method
	if method == "" {
		method = http.MethodGet
	}
	var body io.Reader
	if r.body != nil { // a reader of its own: the transport may still read it when the answer is here
		body = struct{ io.Reader }{bytes.NewReader(r.body)} // so that nobody looks how long it is
	}
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		s.Hints = append(s.Hints, fmt.Sprint(code, header))
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), method, "https://"+d.addr+"/a%2fb?c", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = max(req.ContentLength, r.length)
	for field, v := range r.header {
		req.Header[field] = v
	}
	req.Header.Set("Row", name)
	req.Host = "example.com"
	resp, err := tr.RoundTrip(req)
	if err != nil {
		s.Cut = true
		return s
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	s.Status, s.Header, s.Length, s.Body, s.Cut = resp.Status, resp.Header, resp.ContentLength, string(text), err != nil
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && time.Since(date) < time.Hour {
		s.Header.Set("Date", "now")
	}
	if _, word, found := strings.Cut(resp.Header.Get("Content-Type"), "boundary="); found { // between ranges, another one each time
		s.Body = strings.ReplaceAll(s.Body, word, "boundary")
		s.Header.Set("Content-Type", "ranges")
	}
	return s
}
