package acme

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/entrepot/entrepot/testdata/pebble"
)

// detour is where the CA looks, which is not where the answer is: whoever comes there waits until the test lets him through to addr.
// What the first one says comes out of first.
func detour(t *testing.T, port int, addr string) (first chan string, through func()) {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	first, let := make(chan string, 1), make(chan struct{})
	through = sync.OnceFunc(func() { close(let) })
	var work sync.WaitGroup
	work.Go(func() { // ends with the listener
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			work.Go(func() {
				defer c.Close()
				said := make([]byte, 4<<10)
				n, _ := c.Read(said) // an error shows in what comes of it
				select {
				case first <- string(said[:n]):
				default:
				}
				<-let
				answer, err := net.Dial("tcp", addr)
				if err != nil {
					return // the CA has seen enough
				}
				answer.Write(said[:n])
				work.Go(func() {
					io.Copy(answer, c)
					answer.Close()
				})
				io.Copy(c, answer)
			})
		}
	})
	t.Cleanup(func() {
		through()
		l.Close()
		work.Wait()
	})
	return first, through
}

// spare is an address that nobody has just now.
func spare(t *testing.T) (addr string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String(), l.Addr().(*net.TCPAddr).Port
}

// get begins to get a certificate.
func get(t *testing.T, cfg Config) {
	t.Helper()
	k, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
}

// TestOpenHTTPPort: the port that is opened for HTTP-01 is open to everybody, and answers nothing but the CA's question.
func TestOpenHTTPPort(t *testing.T) {
	w, told := pebble.New(t), newLines()
	cfg := asking(w, t.TempDir(), told, "cache.example.test")
	var addr string
	addr, cfg.HTTPPort = spare(t)
	first, through := detour(t, w.HTTPPort, addr)
	get(t, cfg)
	question, err := http.ReadRequest(bufio.NewReader(strings.NewReader(<-first)))
	if err != nil {
		t.Fatal(err)
	}
	say := func(method, target, host string) (*http.Response, string) {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", method, target, host)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	token := question.URL.Path[strings.LastIndex(question.URL.Path, "/")+1:]
	for _, row := range []struct{ method, target, host string }{
		{"GET", "/", question.Host},
		{"GET", "/v2/", question.Host},
		{"GET", "/ca.crt", question.Host},
		{"GET", "/metrics", question.Host},
		{"POST", "/api/verify", question.Host},
		{"CONNECT", "quay.io:443", "quay.io:443"},
		{"GET", "http://quay.io/v2/", "quay.io"},
		{"GET", question.URL.Path + "x", question.Host},
		{"GET", question.URL.Path, "other.example.test"},
		{"GET", "/.well-known/acme-challenge/../../etc/passwd", question.Host},
		{"POST", question.URL.Path, question.Host},
		{"GET", "/.well-known/acme-challenge/", question.Host},
	} {
		if resp, body := say(row.method, row.target, row.host); resp.StatusCode < 300 || strings.Contains(body, token+".") {
			t.Errorf("%s %s for %s: got %d %q, want nothing", row.method, row.target, row.host, resp.StatusCode, body)
		}
	}
	resp, body := say("GET", question.URL.Path, question.Host)
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(body, token+".") {
		t.Errorf("the CA's question: got %d %q, want its token", resp.StatusCode, body)
	}
	through()
	told.until(t, "got a certificate by ACME")
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("the port is open when the CA has looked")
	}
}

// TestOpenTLSPort: the port that is opened for TLS-ALPN-01 ends each connection at the end of its handshake.
func TestOpenTLSPort(t *testing.T) {
	w, told := pebble.New(t), newLines()
	cfg := asking(w, t.TempDir(), told, "cache.example.test")
	var addr string
	addr, cfg.TLSPort = spare(t)
	first, through := detour(t, w.TLSPort, addr)
	get(t, cfg)
	<-first
	for _, protocols := range [][]string{nil, {"http/1.1"}, {"h2"}, {"acme-tls/1"}} {
		for _, name := range []string{"cache.example.test", "quay.io"} {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			client := tls.Client(c, &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true}) //nolint:gosec // what is shown does not matter
			fmt.Fprint(client, "GET /v2/ HTTP/1.1\r\nHost: quay.io\r\n\r\n")
			if said, _ := io.ReadAll(client); len(said) > 0 {
				t.Errorf("%q for %s: got %q, want nothing", protocols, name, said)
			}
			client.Close()
		}
	}
	through()
	told.until(t, "got a certificate by ACME")
}
