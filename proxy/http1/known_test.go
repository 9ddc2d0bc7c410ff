package http1

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// TestKnown: what a connection's requests say again and again is the same to each handler, whatever the ones before have done to it; and
// what is said anew is new.
func TestKnown(t *testing.T) {
	got := make(chan http.Header, 1)
	d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := r.Header.Clone()
		seen["Host and path"] = []string{r.Host, r.URL.Path, r.Method}
		got <- seen
		r.Header.Del("Accept")
		r.Header.Set("User-Agent", "nobody")
		for name := range r.Header {
			r.Header.Add(name, "more")
		}
	}))
	c := d.dial(t)
	defer c.Close()
	const accept = "Accept: a\r\naccept: b\r\nAccept: c\r\n"
	for i, row := range []struct {
		method, path, fields string
		want                 http.Header
	}{
		{"GET", "/1", "Host: a\r\n" + accept, http.Header{"Accept": {"a", "b", "c"}}},
		{"GET", "/2", "Host: a\r\n" + accept, http.Header{"Accept": {"a", "b", "c"}}},
		{"HEAD", "/3", "Host: a\r\n" + accept, http.Header{"Accept": {"a", "b", "c"}}},
		{"GET", "/4", "Host: a\r\n" + accept, http.Header{"Accept": {"a", "b", "c"}}},
		{"GET", "/5", "Host: b\r\n" + accept, http.Header{"Accept": {"a", "b", "c"}}},
		{"GET", "/6", "Host: a\r\n" + accept, http.Header{"Accept": {"a", "b", "c"}}},
		{"GET", "/7", "Host: a\r\nUser-Agent: x\r\n", http.Header{"User-Agent": {"x"}}},
		{"GET", "/8", "Host: a\r\nUser-Agent: x\r\n", http.Header{"User-Agent": {"x"}}},
		{"GET", "/9", "Host: a\r\nUser-Agent: x\r\n", http.Header{"User-Agent": {"x"}}},
		{"GET", "/10", "Host: a\r\n", http.Header{}},
		{"GET", "/11", "Host: a\r\nUser-Agent: x\r\nConnection: close\r\n", http.Header{"User-Agent": {"x"}, "Connection": {"close"}}},
	} {
		c.send(row.method + " " + row.path + " HTTP/1.1\r\n" + row.fields + "\r\n")
		seen := served.Hear(t, "the handler", got)
		row.want["Host and path"] = []string{row.fields[6:7], row.path, row.method}
		if !maps.EqualFunc(seen, row.want, slices.Equal) {
			t.Errorf("request %d: got %v, want %v", i, seen, row.want)
		}
		resp, err := http.ReadResponse(c.in, &http.Request{Method: row.method})
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
	}
}
