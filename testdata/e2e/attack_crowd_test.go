//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// crowds: one client cannot take all the places, and does not hold up the others.
func (s *siege) crowds() {
	const limit = 4
	f := s.fort("crowded", 28000, "--client-limit", fmt.Sprint(limit))
	var tunnels []net.Conn
	for range limit {
		tunnels = append(tunnels, s.opened(f))
	}
	waiting := s.dialFrom("127.0.0.66", f.mirror)
	defer func() { _ = waiting.Close() }()
	_, _ = io.WriteString(waiting, request("GET", "/v2/"))
	_ = waiting.SetReadDeadline(time.Now().Add(time.Second))
	n, err := waiting.Read(make([]byte, 1))
	s.try(fmt.Sprintf("one request more than %d tunnels of a client", limit), fmt.Sprint(err), unless(n == 0 && err != nil, "it is answered at once"))
	resp, _ := s.askOn(s.dialFrom("127.0.0.67", f.mirror), request("GET", "/v2/"))
	s.try("for comparison: another client meanwhile", resp.Status, unless(resp.StatusCode == http.StatusOK, "want 200"))
	_ = tunnels[0].Close()
	_ = waiting.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err = http.ReadResponse(bufio.NewReader(waiting), nil)
	s.try("for comparison: when a tunnel has ended", fmt.Sprint(err), unless(err == nil && resp.StatusCode == http.StatusOK, "want its answer"))
	for _, c := range tunnels {
		_ = c.Close()
	}
}

// opened is a tunnel of a client that has only this one address.
func (s *siege) opened(f *fort) net.Conn {
	s.t.Helper()
	c := s.dialFrom("127.0.0.66", f.proxy)
	_, _ = io.WriteString(c, request("CONNECT", "unknown.example.org:443"))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("a tunnel: %v, %v", resp, err)
	}
	return c
}
