package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world/leaks"
	"github.com/entrepot/entrepot/testdata/world/served"
)

func TestMain(m *testing.M) { leaks.VerifyTestMain(m) }

// door is a server on loopback, ours or net/http's.
type door struct {
	ours    *Server // nil: it is net/http's
	addr    string
	clients *tls.Config // nil: it speaks plain HTTP
	log     *served.Lines
	others  chan *handed // what was handed over
}

// handed is a connection that is left to the other server.
type handed struct {
	net.Conn
	seen []byte
}

// Read gives first what was read already.
func (h *handed) Read(p []byte) (int, error) {
	if len(h.seen) > 0 {
		n := copy(p, h.seen)
		h.seen = h.seen[n:]
		return n, nil
	}
	return h.Conn.Read(p)
}

// open makes a server of ours. What is not for it is closed, unless the test takes it from others.
func open(t testing.TB, secure bool, h http.Handler, options ...func(*Server)) *door {
	t.Helper()
	d := &door{log: &served.Lines{}, others: make(chan *handed, 1)}
	d.ours = &Server{
		Handler: h, HeaderTimeout: time.Minute, IdleTimeout: time.Minute, ErrorLog: log.New(d.log, "", 0), Patience: time.Minute,
		Other: func(c net.Conn, seen []byte) { d.others <- &handed{c, seen} },
	}
	for _, o := range options {
		o(d.ours)
	}
	var keys *tls.Config
	if secure {
		keys, d.clients = served.Certificate(t)
	}
	l := listen(t)
	d.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { d.serve(ctx, c, keys) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		d.ours.Close()
		work.Wait()
		select {
		case h := <-d.others:
			h.Close()
		default:
		}
	})
	return d
}

func (d *door) serve(ctx context.Context, c net.Conn, keys *tls.Config) {
	if keys == nil {
		d.ours.Serve(ctx, c, nil)
		return
	}
	inside := tls.Server(c, keys)
	if inside.HandshakeContext(ctx) != nil {
		c.Close()
		return
	}
	state := inside.ConnectionState()
	d.ours.Serve(ctx, inside, &state)
}

// openTheirs makes net/http's.
func openTheirs(t testing.TB, secure bool, h http.Handler) *door {
	t.Helper()
	d := &door{log: &served.Lines{}}
	d.addr, d.clients = served.NetHTTP(t, h, d.log, secure)
	return d
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// client is one connection of somebody who writes his requests by hand.
type client struct {
	t testing.TB
	net.Conn
	in   *bufio.Reader
	work sync.WaitGroup // of what writes beside
}

func (d *door) dial(t testing.TB) *client {
	t.Helper()
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	if d.clients != nil {
		c = tls.Client(c, d.clients)
	}
	return newClient(t, c)
}

func newClient(t testing.TB, c net.Conn) *client {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(served.Patience))
	return &client{t: t, Conn: c, in: bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// read reads an answer to a request by method, and its body.
func (c *client) read(method string) (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("read the body: %v after %d bytes", err, len(body))
	}
	return resp, string(body)
}

// get asks for a path and reads the body, of which it wants to be what is given.
func (c *client) get(path, want string) *http.Response {
	c.t.Helper()
	c.send("GET " + path + " HTTP/1.1\r\nHost: example.com\r\n\r\n")
	resp, body := c.read(http.MethodGet)
	if body != want {
		c.t.Errorf("%s: got %.100q, want %.100q", path, body, want)
	}
	return resp
}

// ended fails unless the server has closed the connection, and sent nothing more before.
func (c *client) ended() {
	c.t.Helper()
	if b, err := c.in.ReadByte(); err != io.EOF {
		c.t.Errorf("got %q and %v, want the end", b, err)
	}
}

// ways are the two kinds of connections.
var ways = map[string]bool{"plain": false, "TLS": true}

// echo answers with the path.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
