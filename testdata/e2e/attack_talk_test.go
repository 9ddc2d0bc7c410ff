//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// reply is all that came back on a connection.
type reply struct {
	raw    string
	closed bool // by the program, at once
}

// statuses are those of all answers in it.
func (r reply) statuses() []string {
	var out []string
	for _, line := range strings.Split(r.raw, "\n") {
		if rest, ok := strings.CutPrefix(line, "HTTP/1."); ok && len(rest) > 5 {
			out = append(out, rest[2:5])
		}
	}
	return out
}

// refused tells whether there was one answer, a refusal, and then the end.
func (r reply) refused() bool {
	return r.closed && len(r.statuses()) == 1 && r.statuses()[0] >= "400"
}

func (r reply) String() string {
	end := "stays open"
	if r.closed {
		end = "closed"
	}
	return strings.Join(append(r.statuses(), end), ", ")
}

// say sends text on c and hears the program out. An attack that holds ends the connection, so that nothing is waited for.
func (s *siege) say(c net.Conn, text string) reply {
	s.t.Helper()
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.WriteString(c, text) // it may have been cut off by then
	raw, err := io.ReadAll(c)
	s.heard.WriteString(string(raw[:min(len(raw), 4<<10)]))
	timeout, ok := err.(net.Error)
	return reply{string(raw), !ok || !timeout.Timeout()}
}

// ask is say for one polite request, which is read to the end of its answer.
func (s *siege) ask(addr, text string) (*http.Response, string) {
	s.t.Helper()
	return s.askOn(s.dial(addr), text)
}

func (s *siege) askOn(c net.Conn, text string) (*http.Response, string) {
	s.t.Helper()
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(c, text)
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("%.100q: %v", text, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		body = append(body, " …broken off: "+err.Error()...)
	}
	if resp.StatusCode >= 400 {
		fmt.Fprintln(s.heard, resp.Status, resp.Header, string(body))
	}
	return resp, string(body)
}

// request is the text of one that ends its connection, with more fields in its header. Host is x where they do not say another one.
func request(method, target string, fields ...string) string {
	host, more := "Host: x\r\n", ""
	for _, f := range fields {
		switch {
		case strings.HasPrefix(f, "Host:"):
			host = f + "\r\n"
		case f != "":
			more += f + "\r\n"
		}
	}
	return method + " " + target + " HTTP/1.1\r\n" + host + "Connection: close\r\nAccept: */*\r\n" + more + "\r\n"
}

// basicAs is the field that says a name and a password.
func basicAs(field, user, password string) string {
	return field + ": Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func (s *siege) dial(addr string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// dialFrom dials from an address of this machine that plays another one.
func (s *siege) dialFrom(from, addr string) net.Conn {
	s.t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// inside is a connection inside the TLS of the tls door, in HTTP/1.
func (s *siege) inside(name string) net.Conn {
	return tls.Client(s.dial(tlsAddr), &tls.Config{RootCAs: s.roots, ServerName: name})
}

// tunnelled is the same through the proxy door.
func (s *siege) tunnelled(name string) net.Conn {
	s.t.Helper()
	return s.tunnelledBy(proxyAddr, name, "")
}

// tunnelledBy is the same through the proxy door at addr, with one more field in the CONNECT.
func (s *siege) tunnelledBy(addr, name, field string) net.Conn {
	s.t.Helper()
	c := s.dial(addr)
	_, _ = io.WriteString(c, request("CONNECT", name+":443", field))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("CONNECT %s: %v, %v", name, resp, err)
	}
	return tls.Client(c, &tls.Config{RootCAs: s.roots, ServerName: name})
}

// statusOn is the status of the answer to text, which may not come.
func statusOn(c net.Conn, text string) (int, error) {
	if _, err := io.WriteString(c, text); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}
