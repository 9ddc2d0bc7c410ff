package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// patience bounds what a test waits for; nothing that works comes near it.
const patience = time.Minute

// clock is the server's time in tests: it moves when told to.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// clock gives the server a clock of the test's. It must come before the first request.
func (st *site) clock() *clock {
	c := &clock{}
	st.server.now = c.now
	return c
}

// raw is a plain connection to a door.
func (st *site) raw(door string) net.Conn {
	st.t.Helper()
	c, err := net.Dial("tcp", st.doors[door])
	if err != nil {
		st.t.Fatal(err)
	}
	st.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// say writes text to a door and returns the answer with its body, and whether the connection was closed behind it.
func (st *site) say(door, text string) (resp *http.Response, body string, closed bool) {
	st.t.Helper()
	c := st.raw(door)
	if _, err := io.WriteString(c, text); err != nil {
		st.t.Fatal(err)
	}
	return hear(st.t, c)
}

func hear(t testing.TB, c net.Conn) (resp *http.Response, body string, closed bool) {
	t.Helper()
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("read an answer: %v", err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read an answer's body: %v", err)
	}
	resp.Body.Close()
	if !resp.Close {
		return resp, string(b), false
	}
	_, err = r.ReadByte()
	return resp, string(b), err == io.EOF
}

// refusedWith checks status, code and words of an error of ours.
func refusedWith(t testing.TB, what string, resp *http.Response, body string, status int, code, words string) {
	t.Helper()
	var said struct {
		Errors []struct{ Code, Message string }
	}
	err := json.Unmarshal([]byte(body), &said)
	if resp.StatusCode != status || err != nil || len(said.Errors) != 1 || said.Errors[0].Code != code || !strings.Contains(said.Errors[0].Message, words) {
		t.Errorf("%s: got %d %s, want %d %s with %q", what, resp.StatusCode, body, status, code, words)
	}
}

// trust is a TLS client of ours for name.
func (st *site) trust(name string) *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(st.ca.RootPEM())
	return &tls.Config{RootCAs: roots, ServerName: name}
}

// glued is a client that sends the first bytes of its tunnel in one segment with its CONNECT, before it has an answer.
type glued struct {
	net.Conn
	connect string
	answer  *bufio.Reader
	status  string
}

func (st *site) glued(authority string) *glued {
	c := st.raw(doorProxy)
	return &glued{Conn: c, connect: "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n\r\n", answer: bufio.NewReader(c)}
}

func (g *glued) Write(p []byte) (int, error) {
	n := len(g.connect)
	k, err := g.Conn.Write(append([]byte(g.connect), p...))
	g.connect = ""
	return k - n, err
}

func (g *glued) Read(p []byte) (int, error) {
	for g.status == "" {
		head, err := g.answer.ReadString('\n')
		if err != nil {
			return 0, err
		}
		for line := head; line != "\r\n"; {
			if line, err = g.answer.ReadString('\n'); err != nil {
				return 0, err
			}
		}
		g.status = strings.TrimSpace(head)
	}
	return g.answer.Read(p)
}

// connected is a tunnel that was asked for politely: the bytes go in when the answer has come.
func (st *site) connected(authority string) *glued {
	st.t.Helper()
	g := st.glued(authority)
	if _, err := g.Write(nil); err != nil {
		st.t.Fatal(err)
	}
	if _, err := g.Read(nil); err != nil {
		st.t.Fatalf("CONNECT %s: %v", authority, err)
	}
	return g
}

// bigHello makes a ClientHello of more than size bytes.
func bigHello(cfg *tls.Config, size int) *tls.Config {
	cfg.NextProtos = nil
	for i := range size/200 + 1 {
		cfg.NextProtos = append(cfg.NextProtos, fmt.Sprintf("%0200d", i))
	}
	cfg.NextProtos = append(cfg.NextProtos, "http/1.1")
	return cfg
}

// over sends one request over a connection that is made already.
func over(t testing.TB, c net.Conn, host, path string) (*http.Response, string) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host); err != nil {
		t.Fatalf("ask %s%s: %v", host, path, err)
	}
	resp, body, _ := hear(t, c)
	return resp, body
}

// target is a TCP server that the sealed network knows as name.
func (st *site) target(handle func(*net.TCPConn)) string {
	st.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		st.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c.(*net.TCPConn))
		}
	}()
	st.t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// leading returns a change of the configuration by which dials to the given addresses lead elsewhere.
func leading(ways map[string]string) func(*Config) {
	return func(c *Config) {
		played := c.Dial
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if to, ok := ways[addr]; ok {
				var d net.Dialer
				return d.DialContext(ctx, network, to)
			}
			return played(ctx, network, addr)
		}
	}
}

// healthy pulls an image, to show that whatever was done before harmed nobody else.
func (st *site) healthy(door string) {
	st.t.Helper()
	st.world.Push(st.t, "quay.io/org/healthy:v1", world.Image(st.t, 424242, 200<<10))
	st.pull(door, "quay.io/org/healthy:v1")
}

func sameBytes(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %d bytes, want %d, or they differ", what, len(got), len(want))
	}
}

// way is how a client comes: by which door, and in which protocol.
type way struct {
	door string
	h1   bool
}

// ways are those that differ in what our code does for them.
var ways = []way{{doorMirror, true}, {doorProxy, true}, {doorProxy, false}}

func (w way) String() string {
	if w.h1 {
		return w.door + " HTTP/1"
	}
	return w.door + " HTTP/2"
}

// url is how a client that comes this way asks for a path below a registry's /v2/.
func (st *site) url(w way, registry, path string) string {
	switch w.door {
	case doorMirror:
		return st.mirror("/v2/" + registry + "/" + path)
	case doorHTTP:
		return "http://" + registry + "/v2/" + path
	}
	return "https://" + registry + "/v2/" + path
}

func (st *site) by(w way) *http.Transport {
	if w.h1 || w.door == doorMirror {
		return st.transport(w.door)
	}
	return onlyHTTP2(st.transport(w.door))
}

// onlyHTTP2 makes a client offer nothing else: one that has the choice is given HTTP/1.1.
func onlyHTTP2(tr *http.Transport) *http.Transport {
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP2(true)
	return tr
}

// answer is a response read to its end; err is of reading the body.
type answer struct {
	*http.Response
	body []byte
	err  error
}

// ask sends one request. A request that gets no answer at all is an error of the test.
func ask(t testing.TB, rt http.RoundTripper, method, url string, header ...string) answer {
	t.Helper()
	a, err := try(t.Context(), rt, method, url, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return a
}

func try(ctx context.Context, rt http.RoundTripper, method, url string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, body, err}, nil
}

// eventually waits for what happens in another goroutine and leaves no other trace.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !is(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// within counts the goroutines that are in a function.
func within(function string) int {
	var b bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&b, 2)
	return strings.Count(b.String(), "."+function+"(")
}

func contextOf(t testing.TB) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

// settled waits until what was pulled has been committed: the client has the last byte before the disk does.
func (st *site) settled() {
	st.t.Helper()
	eventually(st.t, "all fills are committed", func() bool { return st.store.Usage().Fills == 0 })
}
