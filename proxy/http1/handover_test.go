package http1

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// unusual is what the other server gets, at the beginning or behind other requests.
func unusual() map[string]string {
	const host = "Host: example.com\r\n"
	return map[string]string{
		"a body":           "POST /a HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nabcde",
		"a body of a GET":  "GET /a HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nabcde",
		"chunks":           "GET /a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
		"CONNECT, a body":  "CONNECT a:443 HTTP/1.1\r\n" + host + "Content-Length: 1\r\n\r\nx\x16\x03\x01",
		"a TLS hello":      "\x16\x03\x01\x00\x05hello",
		"HTTP/2":           "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/1.0":         "GET / HTTP/1.0\r\n\r\n",
		"absolute form":    "GET http://example.com/ HTTP/1.1\r\n" + host + "\r\n",
		"no Host":          "GET / HTTP/1.1\r\n\r\n",
		"two Hosts":        "GET / HTTP/1.1\r\n" + host + host + "\r\n",
		"bare line feeds":  "GET / HTTP/1.1\nHost: example.com\n\n",
		"a folded field":   "GET / HTTP/1.1\r\n" + host + "A: b\r\n c\r\n\r\n",
		"Expect":           "GET / HTTP/1.1\r\n" + host + "Expect: 100-continue\r\n\r\n",
		"Upgrade":          "GET / HTTP/1.1\r\n" + host + "Connection: upgrade\r\nUpgrade: x\r\n\r\nyz",
		"another behind":   "GET / HTTP/1.1\r\n" + host + "Pragma: x\r\n\r\nGET /b HTTP/1.1\r\n" + host + "\r\n",
		"a large header":   "GET / HTTP/1.1\r\n" + host + "A: " + strings.Repeat("b", 2*largeHeader) + "\r\n\r\n",
		"many fields":      "GET / HTTP/1.1\r\n" + host + strings.Repeat("A: b\r\n", maxFields) + "\r\n",
		"nothing usual":    "hello",
		"half of a header": "GET / HTTP/1.1\r\nHost: exam",
	}
}

// TestHandOver: the other server gets what the client sent from the beginning of its request on, and nothing else, however it came.
func TestHandOver(t *testing.T) {
	usual := "GET /" + strings.Repeat("x", 3000) + " HTTP/1.1\r\nHost: example.com\r\n\r\n"
	for way, secure := range ways {
		d := open(t, secure, echo)
		for name, sent := range unusual() {
			for _, before := range []int{0, 3} {
				for piece, cut := range map[string]func(io.Reader) io.Reader{"whole": whole, "by byte": iotest.OneByteReader} {
					t.Run(way+" "+name+" "+piece, func(t *testing.T) {
						c := d.dial(t)
						done := make(chan error, 1)
						go func() {
							_, err := io.Copy(struct{ io.Writer }{c}, cut(strings.NewReader(strings.Repeat(usual, before)+sent)))
							c.Conn.(interface{ CloseWrite() error }).CloseWrite()
							done <- err
						}()
						for range before {
							c.read(http.MethodGet)
						}
						h := served.Hear(t, "the connection", d.others)
						defer h.Close()
						h.SetDeadline(time.Now().Add(served.Patience))
						if err := served.Hear(t, "the end of writing", done); err != nil {
							t.Fatal(err)
						}
						got, err := io.ReadAll(h)
						if string(got) != sent || err != nil {
							t.Errorf("got %.200q and %v, want %.200q", got, err, sent)
						}
						io.WriteString(h, "its own answer")
						h.Close()
						if got, err := io.ReadAll(c.in); string(got) != "its own answer" || err != nil {
							t.Errorf("the client: got %q and %v", got, err)
						}
					})
				}
			}
		}
	}
}

// whole gives everything by one read.
func whole(r io.Reader) io.Reader {
	all, _ := io.ReadAll(r)
	return bytes.NewReader(all)
}

// TestHandOverWithoutDeadlines: what the other server makes of time is its own business.
func TestHandOverWithoutDeadlines(t *testing.T) {
	c := &strict{}
	d := open(t, false, echo)
	server, end := pipe(t)
	c.Conn = server
	go d.ours.Serve(t.Context(), c, nil)
	end.get("/a", "/a")
	end.send("POST /")
	h := served.Hear(t, "the connection", d.others)
	defer h.Close()
	if got := h.Conn.(*strict); !got.reading.IsZero() || !got.writing.IsZero() {
		t.Errorf("got deadlines %v and %v, want none", got.reading, got.writing)
	}
}

// TestKeepAlive: one connection serves one request after the other, in pieces or all at once.
func TestKeepAlive(t *testing.T) {
	for way, secure := range ways {
		t.Run(way, func(t *testing.T) {
			d := open(t, secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/b" {
					io.WriteString(w, strings.Repeat("b", 100<<10))
					return
				}
				if r.URL.Path == "/wait" {
					select {
					case <-r.Context().Done():
						t.Error("the context ended, though the client is there")
					case <-time.After(time.Millisecond):
					}
				}
				io.WriteString(w, r.URL.Path)
			}))
			c := d.dial(t)
			for range 3 {
				c.get("/a", "/a")
				c.get("/wait", "/wait")
				c.get("/b", strings.Repeat("b", 100<<10))
			}
			const fields = " HTTP/1.1\r\nHost: example.com\r\n\r\n"
			all := "HEAD /a" + fields + "GET /wait" + fields + "GET /b" + fields + "GET /wait" + fields + "GET /" + strings.Repeat("c", 6000) + fields
			for range 3 {
				go io.Copy(struct{ io.Writer }{c}, strings.NewReader(strings.Repeat(all, 3)))
				for range 3 {
					if resp, body := c.read(http.MethodHead); resp.ContentLength != 2 || body != "" {
						t.Errorf("HEAD: got %d and %q", resp.ContentLength, body)
					}
					for _, want := range []string{"/wait", strings.Repeat("b", 100<<10), "/wait", "/" + strings.Repeat("c", 6000)} {
						if _, body := c.read(http.MethodGet); body != want {
							t.Errorf("got %.20q, want %.20q", body, want)
						}
					}
				}
			}
		})
	}
}
