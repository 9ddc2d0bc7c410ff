package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"
)

// balanced is a site that hears for whom connections from 127.0.0.1 are, and lets in 192.0.2.0/24 only.
func balanced(t *testing.T, change ...func(*Config)) *site {
	t.Helper()
	return newSite(t, append([]func(*Config){func(c *Config) {
		c.Balancers = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		c.AllowClients = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	}}, change...)...)
}

// announcing is a header of the given version.
func announcing(t *testing.T, version byte, client string) string {
	t.Helper()
	from, to := netip.MustParseAddrPort(client), netip.MustParseAddrPort("192.0.2.254:443")
	if from.Addr().Is6() {
		to = netip.MustParseAddrPort("[2001:db8::254]:443")
	}
	var b bytes.Buffer
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to))
	if _, err := h.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPROXYProtocol: the announced client is who is judged, and whom the log names, at each door and by each version.
func TestPROXYProtocol(t *testing.T) {
	st := balanced(t)
	for _, version := range []byte{1, 2} {
		for _, client := range []string{"192.0.2.7:40000", "[2001:db8::7]:40000"} {
			host := netip.MustParseAddrPort(client).Addr().String()
			for _, door := range []string{doorMirror, doorProxy, doorHTTP} {
				st.log.reset()
				resp, body, _ := st.say(door, announcing(t, version, client)+"GET /ca.crt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				if resp.StatusCode != 200 {
					t.Errorf("version %d, %s door: got %d %s, want 200", version, door, resp.StatusCode, body)
				}
				if l := st.log.await(t, "", 1)[0]; l.Client != host {
					t.Errorf("version %d, %s door: the log names %q, want %q", version, door, l.Client, host)
				}
			}
			for _, what := range []string{"tls door", "tunnel"} {
				st.log.reset()
				c, before := st.raw(doorTLS), ""
				if what == "tunnel" {
					c, before = st.raw(doorProxy), "CONNECT quay.io:443 HTTP/1.1\r\nHost: x\r\n\r\n"
				}
				io.WriteString(c, announcing(t, version, client)+before)
				inner := net.Conn(c)
				if before != "" {
					inner = &afterConnect{Conn: c}
				}
				if resp, body := over(t, tls.Client(inner, st.trust("quay.io")), "quay.io", "/v2/"); resp.StatusCode != 401 {
					t.Errorf("version %d, %s: got %d %s, want quay's 401", version, what, resp.StatusCode, body)
				}
				if l := st.log.await(t, kindPing, 1)[0]; l.Client != host {
					t.Errorf("version %d, %s: the log names %q, want %q", version, what, l.Client, host)
				}
			}
		}
	}
}

// TestPROXYProtocolRefusals: an announced stranger is one, a balancer that announces nobody is let in only as itself, and whoever else
// sends a header is believed nothing.
func TestPROXYProtocolRefusals(t *testing.T) {
	const request = "GET /ca.crt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	st := balanced(t)
	for what, text := range map[string]string{
		"a client of another network": announcing(t, 1, "198.51.100.7:40000"), "the same by version 2": announcing(t, 2, "198.51.100.7:40000"),
		"no header": "", "half a header": "PROXY TCP4 192.0.2.7\r\n", "a header of three": "PROXY TCP4 192.0.2.7 192.0.2.8 1 2 3\r\n",
		"no address": "PROXY TCP4 localhost 192.0.2.8 1 2\r\n", "endless": "PROXY TCP4 " + strings.Repeat("1", 4096),
		"version 3": "\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + strings.Repeat("\x00", 12), "a Unix client": "\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("a", 216),
		"the balancer itself": "PROXY UNKNOWN\r\n", "the balancer itself by version 2": "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
	} {
		st.log.reset()
		c := st.raw(doorMirror)
		io.WriteString(c, text+request)
		if b, err := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%s: got %q, %v, want no answer", what, b, err)
		}
		if !strings.Contains(st.log.String(), "refused") {
			t.Errorf("%s: the log does not say why:\n%s", what, st.log)
		}
	}
	st.server.cfg.AllowClients = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if resp, _, _ := st.say(doorMirror, "PROXY UNKNOWN\r\n"+request); resp.StatusCode != 200 {
		t.Errorf("a balancer that asks for itself: got %d, want 200", resp.StatusCode)
	}

	plain := newSite(t)
	resp, body, _ := plain.say(doorMirror, announcing(t, 1, "192.0.2.7:40000")+request)
	if resp.StatusCode != 400 || strings.Contains(plain.log.String(), "192.0.2.7") {
		t.Errorf("a header from who is no balancer: got %d %s, want 400", resp.StatusCode, body)
	}
}

// TestPROXYProtocolOverTLS: the header stands before the handshake of a door that speaks TLS.
func TestPROXYProtocolOverTLS(t *testing.T) {
	st := balanced(t, func(c *Config) { c.MirrorTLS = OwnNames(c.CA, []string{"localhost"}) })
	c := st.raw(doorMirror)
	io.WriteString(c, announcing(t, 2, "192.0.2.7:40000"))
	if resp, body := over(t, tls.Client(c, st.trust("localhost")), "localhost", "/ca.crt"); resp.StatusCode != 200 {
		t.Errorf("got %d %s, want 200", resp.StatusCode, body)
	}
	if l := st.log.await(t, "", 1)[0]; l.Client != "192.0.2.7" {
		t.Errorf("the log names %q, want the announced client", l.Client)
	}
}

// TestSilentBalancer: a header is waited for as long as a hello.
func TestSilentBalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, ours := net.Pipe()
		start := time.Now()
		err := (&Server{ctx: t.Context()}).hearFor(&wire{Conn: ours})
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != sniffTimeout {
			t.Errorf("got %v after %v, want a timeout after %v", err, time.Since(start), sniffTimeout)
		}
		client.Close()
		ours.Close()
	})
}
