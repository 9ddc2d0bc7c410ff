package http1

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// row is a request and a handler, which both servers are to make the same of.
type row struct {
	method  string // GET if it is empty
	fields  string // of the request
	handler func(w http.ResponseWriter, r *http.Request, note func(...any))
}

// written is a handler that writes these pieces.
func written(pieces ...string) func(http.ResponseWriter, *http.Request, func(...any)) {
	return func(w http.ResponseWriter, _ *http.Request, note func(...any)) {
		for _, p := range pieces {
			note(w.Write([]byte(p)))
		}
	}
}

// announced is a handler that says how long its body is and writes these pieces.
func announced(length int, pieces ...string) func(http.ResponseWriter, *http.Request, func(...any)) {
	return func(w http.ResponseWriter, r *http.Request, note func(...any)) {
		w.Header().Set("Content-Length", strconv.Itoa(length))
		w.Header().Set("Content-Type", "a/b")
		written(pieces...)(w, r, note)
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
			written(body)(w, r, note)
		}
	}
}

// file is one of some size, filled with what tells its places apart.
func file(t testing.TB, size int) string {
	t.Helper()
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i ^ i>>8 ^ i>>16)
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// copied is a handler that copies from a file, of which the answer announces that length.
func copied(path string, announce, from, count int64) func(http.ResponseWriter, *http.Request, func(...any)) {
	return func(w http.ResponseWriter, _ *http.Request, note func(...any)) {
		f, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		f.Seek(from, io.SeekStart)
		if announce >= 0 {
			w.Header().Set("Content-Length", strconv.FormatInt(announce, 10))
			w.Header().Set("Content-Type", "a/b")
			w.WriteHeader(http.StatusOK)
		}
		if count < 0 {
			note(io.Copy(w, f))
			return
		}
		note(io.CopyN(w, f, count))
	}
}

func content(path string) func(http.ResponseWriter, *http.Request, func(...any)) {
	return func(w http.ResponseWriter, r *http.Request, _ func(...any)) {
		f, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		defer f.Close()
		w.Header().Set("Etag", `"x"`)
		http.ServeContent(w, r, "a.bin", time.Unix(1e9, 0), f)
	}
}

var (
	kib5  = strings.Repeat("abcde", 1<<10)
	kib50 = strings.Repeat("0123456789", 5<<10)
)

// bodies are rows about how a body is framed.
func bodies() map[string]row {
	return map[string]row{
		"nothing":                      {handler: written()},
		"nothing, HEAD":                {method: "HEAD", handler: written()},
		"an empty write":               {handler: written("")},
		"short":                        {handler: written("hello")},
		"short, HEAD":                  {method: "HEAD", handler: written("hello")},
		"2048":                         {handler: written(kib5[:2048])},
		"2049":                         {handler: written(kib5[:2049])},
		"2048 in two":                  {handler: written(kib5[:2047], "x")},
		"2049 in two":                  {handler: written(kib5[:2048], "x")},
		"long":                         {handler: written(kib50)},
		"long in pieces":               {handler: written(kib5, kib50, "x", kib5)},
		"long, HEAD":                   {method: "HEAD", handler: written(kib50, "x")},
		"announced":                    {handler: announced(5, "he", "llo")},
		"announced, HEAD":              {method: "HEAD", handler: announced(5, "hello")},
		"announced only, HEAD":         {method: "HEAD", handler: announced(1 << 40)},
		"announced, long":              {handler: announced(len(kib50), kib50)},
		"announced, none":              {handler: announced(0)},
		"announced, less":              {handler: announced(6, "hello")},
		"announced, less, long":        {handler: announced(len(kib50)+1, kib50)},
		"announced, less, HEAD":        {method: "HEAD", handler: announced(6, "hello")},
		"announced, more":              {handler: announced(4, "hello")},
		"announced, more behind":       {handler: announced(5, "hello", "x")},
		"announced, more, HEAD":        {method: "HEAD", handler: announced(4, "hello")},
		"announced, one, then nothing": {handler: announced(1, "a", "", "b")},
		"announced, untyped":           {handler: with(0, "<html>", "Content-Length", "6")},
		"announced, untyped, status":   {handler: with(200, "<html>", "Content-Length", "6")},
		"announced, untyped, less":     {handler: with(200, "<html>", "Content-Length", "7")},
		"announced, untyped, long":     {handler: with(200, kib50, "Content-Length", strconv.Itoa(len(kib50)))},
		"announced, untyped, none":     {handler: with(200, "", "Content-Length", "0")},
		"announced, untyped, no body":  {handler: with(200, "", "Content-Length", "1")},
		"204":                          {handler: with(204, "")},
		"204 with a body":              {handler: with(204, "x", "Content-Type", "a/b")},
		"204 with a length":            {handler: with(204, "", "Content-Length", "5")},
		"204 with a length and body":   {handler: with(204, "abcde", "Content-Length", "5")},
		"304":                          {handler: with(304, "", "Etag", `"x"`)},
		"304 with a body":              {handler: with(304, "x")},
		"304 with fields of a body":    {handler: with(304, "", "Content-Length", "5", "Content-Type", "a/b", "Transfer-Encoding", "chunked")},
		"304, HEAD":                    {method: "HEAD", handler: with(304, "", "Content-Length", "5")},
		"404 without a body":           {handler: with(404, "")},
		"404 without a body, HEAD":     {method: "HEAD", handler: with(404, "")},
		"500":                          {handler: with(500, "oh")},
		"599":                          {handler: with(599, "oh")},
		"999":                          {handler: with(999, "oh")},
	}
}

// fieldsOf are rows about the header.
func fieldsOf() map[string]row {
	return map[string]row{
		"a broken line":          {handler: with(200, "x", "A", "b\r\nSet-Cookie: c", "B", "c\nd\re", "C", "\r\n")},
		"an odd name":            {handler: with(200, "x", "A b", "c", "", "d", "E:", "f", "G\r\nH", "i", "\xc3\xa9", "j")},
		"a name as it was given": {handler: with(200, "x", "x-LOWER", "c")},
		"several values":         {handler: with(200, "x", "A", "b", "A", "", "A", "c")},
		"spaces around":          {handler: with(200, "x", "A", "  b\t ")},
		"not ASCII":              {handler: with(200, "x", "A", "\xc3\xa9\xff")},
		"sniffed":                {handler: written("<!DOCTYPE html>")},
		"sniffed in pieces":      {handler: written("<!DOC", "TYPE html>")},
		"sniffed, long":          {handler: written("<!DOC", "TYPE html>"+kib50)},
		"sniffed, HEAD":          {method: "HEAD", handler: written("\x89PNG\r\n\x1a\n")},
		"sniffed, long, HEAD":    {method: "HEAD", handler: written("\x89PNG\r\n\x1a\n" + kib50)},
		"sniffed behind status":  {handler: with(404, "GIF89a")},
		"encoded":                {handler: with(0, "<html>", "Content-Encoding", "gzip")},
		"encoded by nothing":     {handler: with(0, "<html>", "Content-Encoding", "")},
		"typed by nothing":       {handler: with(0, "<html>", "Content-Type", "")},
		"untyped by will": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "<html>")
		}},
		"a date": {handler: with(200, "x", "Date", "Sun, 09 Sep 2001 01:46:40 GMT")},
		"no date": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.Header()["Date"] = nil
		}},
		"late fields": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			h := w.Header()
			h.Set("A", "b")
			w.WriteHeader(200)
			h.Set("A", "c")
			w.Header().Set("Late", "x")
			io.WriteString(w, "hello")
			w.Header().Set("Later", "x")
		}},
		"late fields, none before": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			io.WriteString(w, "hello")
			w.Header().Set("Later", "x")
			w.Header().Set("Content-Length", "3")
		}},
		"seen after": {handler: func(w http.ResponseWriter, _ *http.Request, note func(...any)) {
			w.Header().Set("Content-Length", "5")
			w.Header().Set("Connection", "close")
			w.WriteHeader(304)
			note(w.Header())
		}},
		"close by client":             {fields: "Connection: close\r\n", handler: written("hello")},
		"close by client, long":       {fields: "Connection: close\r\n", handler: written(kib50)},
		"close by client, HEAD":       {method: "HEAD", fields: "Connection: close\r\n", handler: written("hello")},
		"close by client, 304":        {fields: "Connection: close\r\n", handler: with(304, "")},
		"close by client, taken back": {fields: "Connection: close\r\n", handler: func(_ http.ResponseWriter, r *http.Request, _ func(...any)) { r.Close = false }},
		"keep-alive by client":        {fields: "Connection: keep-alive\r\n", handler: written("hello")},
		"close by handler":            {handler: with(200, "x", "Connection", "close")},
		"close by handler, long":      {handler: with(200, kib50, "Connection", "close")},
		"close by handler, 304":       {handler: with(304, "", "Connection", "close")},
		"close by handler, late": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.WriteHeader(200)
			w.Header().Set("Connection", "close")
		}},
		"the coding said, too": {handler: with(200, kib5, "Transfer-Encoding", "chunked", "Content-Type", "a/b")},
		"no length, said":      {handler: with(200, kib5, "Content-Length", "")},
		"twice the status": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.WriteHeader(404)
			w.WriteHeader(200)
		}},
	}
}

// lives are rows about how an answer goes on, or ends.
func lives(t *testing.T) map[string]row {
	big := file(t, 3<<20)
	small := file(t, 10)
	backend := httptestBackend(t)
	return map[string]row{
		"flushed": {handler: func(w http.ResponseWriter, _ *http.Request, note func(...any)) {
			io.WriteString(w, "a")
			note(http.NewResponseController(w).Flush())
			io.WriteString(w, "b")
		}},
		"flushed at once":       {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) { w.(http.Flusher).Flush() }},
		"flushed at once, HEAD": {method: "HEAD", handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) { w.(http.Flusher).Flush() }},
		"flushed, then a type": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			io.WriteString(w, "<html>")
		}},
		"flushed, announced": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.Header().Set("Content-Length", "6")
			w.(http.Flusher).Flush()
			io.WriteString(w, "<html>")
		}},
		"early hints": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.Header().Set("Link", "x")
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(103)
			w.WriteHeader(102)
			w.Header().Del("Link")
			io.WriteString(w, "hello")
		}},
		"101": {handler: with(101, "x")},
		"not a status": {handler: func(w http.ResponseWriter, _ *http.Request, _ func(...any)) {
			w.WriteHeader(99)
		}},
		"aborted":                 {handler: func(http.ResponseWriter, *http.Request, func(...any)) { panic(http.ErrAbortHandler) }},
		"aborted, short":          {handler: aborting(with(200, "hello"), http.ErrAbortHandler)},
		"aborted, announced":      {handler: aborting(announced(5, "hello"), http.ErrAbortHandler)},
		"aborted, less":           {handler: aborting(announced(6, "hello"), http.ErrAbortHandler)},
		"aborted, long":           {handler: aborting(announced(len(kib50)+1, kib50), http.ErrAbortHandler)},
		"aborted, 5 KiB":          {handler: aborting(announced(len(kib5)+1, kib5), http.ErrAbortHandler)},
		"aborted, chunked":        {handler: aborting(written(kib50), http.ErrAbortHandler)},
		"aborted, 5 KiB more":     {handler: aborting(written(kib5), http.ErrAbortHandler)},
		"panic":                   {handler: aborting(written(), errors.New("oh no"))},
		"panic, chunked":          {handler: aborting(written(kib50), errors.New("oh no"))},
		"content":                 {handler: content(big)},
		"content, HEAD":           {method: "HEAD", handler: content(big)},
		"content, a range":        {fields: "Range: bytes=1000-2000000\r\n", handler: content(big)},
		"content, the last":       {fields: "Range: bytes=-1\r\n", handler: content(big)},
		"content, two ranges":     {fields: "Range: bytes=0-10,100000-1000000\r\n", handler: content(big)},
		"content, outside":        {fields: "Range: bytes=9999999-\r\n", handler: content(big)},
		"content, not newer":      {fields: "If-None-Match: \"x\"\r\n", handler: content(big)},
		"content, another":        {fields: "If-Match: \"y\"\r\n", handler: content(big)},
		"file":                    {handler: copied(big, 3<<20, 0, 3<<20)},
		"file, whole":             {handler: copied(big, 3<<20, 0, -1)},
		"file, HEAD":              {method: "HEAD", handler: copied(big, 3<<20, 0, 3<<20)},
		"file, from":              {handler: copied(big, 1<<20, 1<<20, 1<<20)},
		"file, not announced":     {handler: copied(big, -1, 0, -1)},
		"file, less":              {handler: copied(big, 4<<20, 0, -1)},
		"file, less, counted":     {handler: copied(big, 4<<20, 0, 4<<20)},
		"file, small":             {handler: copied(small, 10, 0, 10)},
		"file, small, unsaid":     {handler: copied(small, -1, 0, 10)},
		"file, none of it":        {handler: copied(small, 5, 10, 5)},
		"passed on":               {handler: through(backend, "/long")},
		"passed on, short":        {handler: through(backend, "/short")},
		"passed on, HEAD":         {method: "HEAD", handler: through(backend, "/short")},
		"passed on, trailers":     {handler: through(backend, "/trailers")},
		"passed on, cut":          {handler: through(backend, "/cut")},
		"passed on, cut, chunked": {handler: through(backend, "/cut-chunked")},
		"passed on, hints":        {handler: through(backend, "/hints")},
		"passed on, 304":          {handler: through(backend, "/304")},
	}
}

func aborting(h func(http.ResponseWriter, *http.Request, func(...any)), why error) func(http.ResponseWriter, *http.Request, func(...any)) {
	return func(w http.ResponseWriter, r *http.Request, note func(...any)) {
		h(w, r, note)
		panic(why)
	}
}

func httptestBackend(t *testing.T) *url.URL {
	t.Helper()
	d := openTheirs(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			io.WriteString(w, kib50)
		case "/short":
			io.WriteString(w, "hello")
		case "/trailers":
			w.Header().Set("Trailer", "Sum")
			io.WriteString(w, "hello")
			w.Header().Set("Sum", "1")
		case "/cut":
			w.Header().Set("Content-Length", strconv.Itoa(len(kib50)+1))
			io.WriteString(w, kib50)
		case "/cut-chunked":
			io.WriteString(w, kib50)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/hints":
			w.Header().Set("Link", "x")
			w.WriteHeader(103)
		case "/304":
			w.WriteHeader(304)
		}
	}))
	return &url.URL{Scheme: "http", Host: d.addr}
}

// through is httputil's proxy to a path of the backend.
func through(to *url.URL, path string) func(http.ResponseWriter, *http.Request, func(...any)) {
	transport := &http.Transport{DisableKeepAlives: true}
	var once sync.Once
	var p *httputil.ReverseProxy
	return func(w http.ResponseWriter, r *http.Request, _ func(...any)) {
		once.Do(func() {
			p = &httputil.ReverseProxy{Transport: transport, ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(pr *httputil.ProxyRequest) {
				pr.SetURL(to)
				pr.Out.URL.Path, pr.Out.URL.RawPath = path, ""
			}}
		})
		p.ServeHTTP(w, r)
	}
}
