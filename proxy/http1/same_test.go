package http1

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// seen is what a client and a handler saw.
type seen struct {
	Hints   []string
	Status  string
	Header  http.Header
	Length  int64
	Coding  []string
	Close   bool
	Body    string
	Err     string
	Alive   bool
	Notes   string
	Panics  bool
	Request string
}

// TestSame: neither a handler nor a client can tell this server from net/http's.
func TestSame(t *testing.T) {
	for _, rows := range []map[string]row{bodies(), fieldsOf(), lives(t)} {
		for way, secure := range ways {
			compare(t, way, secure, rows)
		}
	}
}

// TestFieldsByName: the fields of two answers come in the same order, so that they can be compared as text.
func TestFieldsByName(t *testing.T) {
	names := strings.Fields("A Age Cache-Control Content-Type Docker-Content-Digest Etag F G H I J K L M N O P Via X-Cache Z")
	d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range names {
			w.Header().Set(name, "1")
		}
	}))
	c := d.dial(t)
	defer c.Close()
	c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	c.in.ReadString('\n')
	for _, want := range names {
		if got, err := c.in.ReadString('\n'); got != want+": 1\r\n" {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

func compare(t *testing.T, way string, secure bool, rows map[string]row) {
	var notes served.Lines
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/alive" {
			return
		}
		_, served := r.Context().Value(http.ServerContextKey).(*http.Server)
		_, at := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		fmt.Fprintln(&notes, served, at, r.Method, r.URL, r.RequestURI, r.Proto, r.Host, r.Header, r.Close, r.ContentLength, r.TLS != nil, r.Body == http.NoBody)
		rows[r.Header.Get("Row")].handler(w, r, func(what ...any) { fmt.Fprintln(&notes, what...) })
	})
	ours, theirs := open(t, secure, h), openTheirs(t, secure, h)
	for name, r := range rows {
		t.Run(way+" "+name, func(t *testing.T) {
			var both [2]seen
			for i, d := range []*door{ours, theirs} {
				notes.Take()
				d.log.Take()
				both[i] = d.ask(t, name, r)
				both[i].Notes = notes.Take()
				both[i].Panics = strings.Contains(d.log.Take(), "http: panic serving 127.0.0.1:")
			}
			got, want := reflect.ValueOf(both[0]), reflect.ValueOf(both[1])
			for i := range got.NumField() {
				if g, w := got.Field(i).Interface(), want.Field(i).Interface(); !reflect.DeepEqual(g, w) {
					t.Errorf("%s: got %.300q (%d), want %.300q (%d)", got.Type().Field(i).Name, fmt.Sprint(g), len(fmt.Sprint(g)), fmt.Sprint(w), len(fmt.Sprint(w)))
				}
			}
		})
	}
}

// ask sends the row's request and one more, and takes down what comes.
func (d *door) ask(t *testing.T, name string, r row) (s seen) {
	c := d.dial(t)
	defer c.Close()
	method := r.method
	if method == "" {
		method = http.MethodGet
	}
	c.send(method + " /a%2fb?c HTTP/1.1\r\nHost: example.com\r\nRow: " + name + "\r\n" + r.fields + "\r\n")
	var resp *http.Response
	for {
		var err error
		resp, err = http.ReadResponse(c.in, &http.Request{Method: method})
		if err != nil {
			s.Err = err.Error()
			return s
		}
		if resp.StatusCode >= 200 || resp.StatusCode == 101 {
			break
		}
		s.Hints = append(s.Hints, fmt.Sprint(resp.Status, resp.Header))
	}
	if resp.StatusCode == http.StatusSwitchingProtocols { // which has a body for whoever reads it
		resp.Body = http.NoBody
	}
	body, err := io.ReadAll(resp.Body)
	s.Status, s.Header, s.Length, s.Coding, s.Close = resp.Status, resp.Header, resp.ContentLength, resp.TransferEncoding, resp.Close
	s.Body = string(body)
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil && time.Since(date) < time.Hour {
		s.Header.Set("Date", "now")
	}
	if _, word, found := strings.Cut(resp.Header.Get("Content-Type"), "boundary="); found { // between ranges, another one each time
		s.Body = strings.ReplaceAll(s.Body, word, "boundary")
		s.Header.Set("Content-Type", "ranges")
	}
	if err != nil {
		s.Err = err.Error()
		return s
	}
	io.WriteString(c, "GET /alive HTTP/1.1\r\nHost: example.com\r\n\r\n")
	_, err = http.ReadResponse(c.in, nil)
	s.Alive = err == nil
	return s
}
