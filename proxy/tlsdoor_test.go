package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestClientHelloOfAnySize: post-quantum key shares and long lists make hellos of more than one buffer, more than one segment, more
// than one TLS record.
func TestClientHelloOfAnySize(t *testing.T) {
	st := newSite(t)
	for _, size := range []int{0, 4 << 10, 17 << 10, 50 << 10} {
		for name, c := range map[string]net.Conn{"tls door": st.raw(doorTLS), "tunnel": st.connected("quay.io:443"), "in pieces": &dripping{st.raw(doorTLS)}} {
			resp, body := over(t, tls.Client(c, bigHello(st.trust("quay.io"), size)), "quay.io", "/v2/")
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s, a hello of %d bytes: got %d %s, want quay's 401", name, size, resp.StatusCode, body)
			}
		}
	}
}

// dripping is a client whose bytes come in segments of odd sizes, the first of one byte.
type dripping struct{ net.Conn }

func (d *dripping) Write(p []byte) (int, error) {
	for n, k := 0, 1; ; k = min(3*k, 1400) {
		m, err := d.Conn.Write(p[n:min(n+k, len(p))])
		if n += m; err != nil || n == len(p) {
			return n, err
		}
	}
}

// TestNamesTheTLSDoorRefuses: a name that an override leads here and that is no registry gets an alert that says so, and no
// certificate of ours.
func TestNamesTheTLSDoorRefuses(t *testing.T) {
	st := newSite(t)
	for _, name := range []string{"unknown.example.org", "quay.io.evil.test", "xquay.io", ""} {
		cfg := st.trust(name)
		if name == "" {
			cfg.InsecureSkipVerify = true
		}
		err := tls.Client(st.raw(doorTLS), cfg).Handshake()
		if err == nil || !strings.HasSuffix(err.Error(), "unrecognized name") {
			t.Errorf("SNI %q: got %v, want the alert unrecognized_name", name, err)
		}
	}
	st.world.Silent(t)
	st.healthy(doorTLS)
}

// TestNoTLSAtTheTLSDoor: whoever speaks HTTP is told what is wrong, in HTTP; whatever else comes is cut off. Nobody else notices.
func TestNoTLSAtTheTLSDoor(t *testing.T) {
	st := newSite(t)
	for _, method := range []string{"GET", "POST", "CONNECT"} {
		text := method + " /v2/ HTTP/1.1\r\nHost: quay.io\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000)
		resp, body, closed := st.say(doorTLS, text)
		refusedWith(t, method, resp, body, 400, codeUnsupported, "--http-listen")
		if !closed {
			t.Errorf("%s: the connection stays open", method)
		}
	}
	for what, text := range map[string]string{
		"SSH": "SSH-2.0-OpenSSH_9.6\r\n", "zeros": strings.Repeat("\x00", 2000), "TLS, then rubbish": "\x16\x03\x01\xff\xff" + strings.Repeat("\xfe", 70000),
		"a record without end": "\x16\x03\x01\x40\x00\x01", "an alert": "\x15\x03\x01\x00\x02\x02\x28", "SSL 2": "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
		"an empty record": "\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00",
	} {
		c := st.raw(doorTLS)
		io.WriteString(c, text)
		c.(*net.TCPConn).CloseWrite()
		if b, err := io.ReadAll(c); len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 400 ") && b[0] != 21 {
			t.Errorf("%s: got %q, %v, want nothing or an alert", what, b, err)
		}
	}
	st.world.Silent(t)
	st.healthy(doorTLS)
}

// TestSilentClients: a client that says nothing is let go after a while, at each place where a hello is waited for.
func TestSilentClients(t *testing.T) {
	for what, first := range map[string]string{"nothing": "", "half a hello": "\x16\x03\x01\x02\x00\x01\x00"} {
		synctest.Test(t, func(t *testing.T) {
			client, ours := net.Pipe()
			go io.WriteString(client, first)
			start := time.Now()
			_, err := sniff(&wire{Conn: ours})
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != sniffTimeout {
				t.Errorf("%s: got %v after %v, want a timeout after %v", what, err, time.Since(start), sniffTimeout)
			}
			client.Close()
			ours.Close()
		})
	}
}

// TestSilentClientsHoldUpNobody: neither other clients nor the end of the server wait for those who say nothing.
func TestSilentClientsHoldUpNobody(t *testing.T) {
	st := newSite(t)
	var silent []net.Conn
	for _, door := range []string{doorTLS, doorProxy, doorMirror, doorHTTP} {
		for range 20 {
			c := st.raw(door)
			if door != doorTLS {
				silent = append(silent, c) // net/http waits five seconds for those that are new; they are not ours to end
			}
		}
	}
	for range 5 {
		st.connected("quay.io:443") // until here, and silent in its tunnel
	}
	st.healthy(doorTLS)
	st.healthy(doorProxy)
	for _, drop := range st.client {
		drop()
	}
	for _, c := range silent {
		c.Close()
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := st.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > sniffTimeout/2 {
		t.Errorf("Shutdown took %v with nothing but silent clients", took)
	}
}

// TestMisdirected: a connection made for one host serves no other one, whether the client said so by CONNECT or by SNI.
func TestMisdirected(t *testing.T) {
	st := newSite(t)
	for _, row := range []struct {
		host string
		want int
	}{
		{"quay.io", 401},
		{"QUAY.IO", 401},
		{"quay.io:443", 401},
		{"quay.io.", 401},
		{"gcr.io", 421},
		{"quay.io:5000", 421},
		{"quay.io.evil.test", 421},
		{"unknown.example.org", 421},
		{"", 421},
	} {
		for name, c := range map[string]net.Conn{"SNI": st.raw(doorTLS), "CONNECT": st.connected("quay.io:443")} {
			resp, body := over(t, tls.Client(c, st.trust("quay.io")), row.host, "/v2/")
			if resp.StatusCode != row.want || row.want == 421 && !strings.Contains(body, "quay.io") {
				t.Errorf("%s quay.io, Host %q: got %d %s, want %d", name, row.host, resp.StatusCode, body, row.want)
			}
		}
	}
	// In absolute form it is the URL that counts (RFC 9112, section 3.2.2), and it does not lead elsewhere either.
	c := tls.Client(st.connected("quay.io:443"), st.trust("quay.io"))
	if resp, body := over(t, c, "quay.io", "http://gcr.io/v2/"); resp.StatusCode != 421 {
		t.Errorf("an absolute URL inside a tunnel: got %d %s, want 421", resp.StatusCode, body)
	}
	if n := st.world.Host("gcr.io").Counts().Requests; n != 0 {
		t.Errorf("gcr.io was asked %d times, want never", n)
	}
	for _, door := range []string{doorTLS, doorProxy} { // HTTP/2, where connections are shared between hosts of one certificate
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://quay.io/v2/", nil)
		req.Host = "gcr.io"
		resp, err := onlyHTTP2(st.transport(door)).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 421 || resp.ProtoMajor != 2 {
			t.Errorf("%s door: got %d by HTTP/%d, want 421 by HTTP/2", door, resp.StatusCode, resp.ProtoMajor)
		}
	}
}

// TestLoops: a request that comes back is refused with the reason, be it told by Via or be it a real one.
func TestLoops(t *testing.T) {
	ways := map[string]string{}
	st := newSite(t, leading(ways))
	ways["quay.io:443"] = st.doors[doorTLS] // the name service that clients were given is ours too
	if resp, body := st.get(doorTLS, "https://quay.io/v2/org/tool/manifests/v1", "Accept", manifestTypes); true {
		refusedWith(t, "where upstream's side does not trust our CA", resp, string(body), 508, codeDenied, "--resolver")
	}
	st.server.cfg.UpstreamRoots.AppendCertsFromPEM(st.ca.RootPEM())
	for _, door := range []string{doorProxy, doorTLS, doorHTTP, doorMirror} {
		url := "https://quay.io/v2/org/tool/manifests/v1"
		switch door {
		case doorHTTP:
			url = "http://quay.io/v2/org/tool/manifests/v1"
		case doorMirror:
			url = st.mirror("/v2/quay.io/org/tool/manifests/v1")
		}
		resp, body := st.get(door, url, "Accept", manifestTypes)
		refusedWith(t, door, resp, string(body), 508, codeDenied, "--resolver")
		resp, body = st.get(door, url, "Via", "1.0 somebody, 1.1 "+st.server.via+" (entrepot)")
		refusedWith(t, door+" with our Via", resp, string(body), 508, codeDenied, "--resolver")
		if resp, _ = st.get(door, strings.Replace(url, "quay.io", "reg.corp.test", 1), "Via", "1.1 entrepot-0123456789abcdef"); resp.StatusCode != 404 {
			t.Errorf("%s: behind another entrepot: got %d, want upstream's 404", door, resp.StatusCode)
		}
	}
	resp, body, closed := st.say(doorProxy, "CONNECT quay.io:443 HTTP/1.1\r\nHost: quay.io:443\r\nVia: 1.1 "+st.server.via+"\r\n\r\n")
	refusedWith(t, "CONNECT with our Via", resp, body, 508, codeDenied, "--resolver")
	if !closed {
		t.Error("CONNECT with our Via: the connection stays open")
	}
	st.world.NoLeaks(t)
}

func TestAllowClients(t *testing.T) {
	st := newSite(t, func(c *Config) { c.AllowClients = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	for _, door := range []string{doorProxy, doorTLS, doorHTTP, doorMirror} {
		c := st.raw(door)
		fmt.Fprint(c, "GET /v2/ HTTP/1.1\r\nHost: quay.io\r\n\r\n")
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%s door: got %q, want no answer", door, b)
		}
	}
	if got := strings.Count(st.log.String(), "--allow-client"); got != 4 {
		t.Errorf("got %d lines that say why, want 4\n%s", got, st.log)
	}
	for addr, want := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "[::ffff:10.1.2.3]:1": true, "192.168.1.1:1": true, "[fe80::1%eth0]:1": true,
		"100.64.0.1:1": true, "8.8.8.8:1": false, "[2001:4860::1]:1": false, "172.32.0.1:1": false, "[::ffff:8.8.8.8]:1": false,
	} {
		st.server.cfg.AllowClients = privateNets()
		if got := st.server.welcome(from{addr: addr}); got != want {
			t.Errorf("by default, %s: got %v, want %v", addr, got, want)
		}
	}
}

// from is a connection from anywhere.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.addr))
}
