package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
)

// TestBytesBehindConnect: what a client sends in one segment with its CONNECT, without waiting for the answer, is not lost
// (golang/go's http.Server has it in the hijacked reader; goproxy drops it).
func TestBytesBehindConnect(t *testing.T) {
	st := newSite(t)
	for _, size := range []int{0, 5 << 10, 40 << 10} {
		c := tls.Client(st.glued("quay.io:443"), bigHello(st.trust("quay.io"), size))
		resp, body := over(t, c, "quay.io", "/v2/")
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("a hello of %d bytes: got %d %s, want quay's 401", size, resp.StatusCode, body)
		}
	}
	roots := &tls.Config{RootCAs: st.world.Roots, ServerName: "unknown.example.org", NextProtos: []string{"http/1.1"}}
	resp, body := over(t, tls.Client(st.glued("unknown.example.org:443"), roots), "unknown.example.org", "/early")
	if resp.StatusCode != 200 || !strings.Contains(body, "/early") {
		t.Errorf("through a tunnel: got %d %s, want the echo", resp.StatusCode, body)
	}
	plain := st.glued("quay.io:80")
	if resp, _ := over(t, plain, "quay.io", "/v2/"); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("plain HTTP behind CONNECT: got %d, want quay's 401", resp.StatusCode)
	}
}

// TestEarlyBytesBeyondTheHello: a client with a session may send its request behind its hello (TLS 1.3 early data, or TLS 1.2 false
// start in one flight); whatever follows the hello in the buffer must follow it to the TLS server too.
func TestEarlyBytesBeyondTheHello(t *testing.T) {
	st := newSite(t)
	var hello bytes.Buffer
	tls.Client(recording{&hello}, st.trust("quay.io")).Handshake()
	w := &wire{Conn: recording{io.Discard}, replay: bytes.NewReader(append(hello.Bytes(), "and more"...))}
	name, err := sniff(w)
	got, _ := io.ReadAll(w.replay)
	if err != nil || name != "quay.io" || !bytes.Equal(got, append(hello.Bytes(), "and more"...)) {
		t.Errorf("got %q, %v and %d bytes to replay, want quay.io and %d", name, err, len(got), hello.Len()+8)
	}
}

// recording takes what is written and has nothing to read.
type recording struct{ io.Writer }

func (recording) Read([]byte) (int, error) { return 0, io.EOF }

func (recording) Close() error                     { return nil }
func (recording) LocalAddr() net.Addr              { return nil }
func (recording) RemoteAddr() net.Addr             { return nil }
func (recording) SetDeadline(time.Time) error      { return nil }
func (recording) SetReadDeadline(time.Time) error  { return nil }
func (recording) SetWriteDeadline(time.Time) error { return nil }

func TestTunnelIsUntouched(t *testing.T) {
	st := newSite(t)
	tr := st.transport(doorProxy)
	tr.TLSClientConfig = &tls.Config{RootCAs: st.world.Roots}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://unknown.example.org/x", nil)
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := resp.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: st.world.Roots}); err != nil || resp.ProtoMajor != 2 {
		t.Errorf("certificate: %v, HTTP/%d; want the target's own and its own HTTP/2", err, resp.ProtoMajor)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.Header.Get("Via") != "" || resp.Header.Get("Cache-Status") != "" || !strings.Contains(string(body), "echo GET /x") {
		t.Errorf("got %v %s, want an answer we have not touched", resp.Header, body)
	}
}

// TestTunnelHalfCloses: each direction of a tunnel ends by itself, and the other one goes on.
func TestTunnelHalfCloses(t *testing.T) {
	upload, download := noise(3<<20), noise(4<<20)
	got := make(chan []byte, 1)
	// The first target hears the client out before it says a word; the second is done speaking before the client begins.
	ways := map[string]string{}
	st := newSite(t, leading(ways), func(c *Config) { c.TunnelPorts = []uint16{7} })
	ways["listener.test:7"] = st.target(func(c *net.TCPConn) {
		defer c.Close()
		b, _ := io.ReadAll(c)
		got <- b
		c.Write(download)
	})
	ways["speaker.test:7"] = st.target(func(c *net.TCPConn) {
		defer c.Close()
		c.Write(download)
		c.CloseWrite()
		b, _ := io.ReadAll(c)
		got <- b
	})
	t.Run("client first", func(t *testing.T) {
		c := st.connected("listener.test:7")
		c.Write(upload)
		c.Conn.(*net.TCPConn).CloseWrite()
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		sameBytes(t, "download", b, download)
		sameBytes(t, "upload", <-got, upload)
	})
	t.Run("target first", func(t *testing.T) {
		c := st.connected("speaker.test:7")
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		sameBytes(t, "download", b, download)
		c.Write(upload)
		c.Conn.(*net.TCPConn).CloseWrite()
		sameBytes(t, "upload", <-got, upload)
	})
	lines := st.log.await(t, kindTunnel, 2)
	if l := lines[0]; l.Bytes != int64(len(download)) || l.Status != 200 || l.Registry != "listener.test:7" || l.Cache != cacheBypass || l.Method != "CONNECT" {
		t.Errorf("log of a tunnel: got %+v", l)
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	r.Read(b)
	return b
}

// TestConnectToNonsense: what cannot be a target gets a 400 in words, and nothing behind it is parsed as a second request (RFC 9931).
func TestConnectToNonsense(t *testing.T) {
	st := newSite(t)
	for _, target := range []string{
		"quay.io", "quay.io:", "quay.io:0", "quay.io:65536", "quay.io:x", "quay.io:+443", "quay.io:-1", ":443", "user@quay.io:443",
		"user:secret@quay.io:443", "quay.io:443/path", "quay.io:443?q", "/v2/", "https://quay.io:443", "qu\xc3\xa4y.io:443", "a,b:443", "*:443",
		"[::1%25eth0]:443", strings.Repeat("a", 300) + ".io:443",
	} {
		for _, host := range []string{target, "quay.io:443"} {
			resp, body, closed := st.say(doorProxy, "CONNECT "+target+" HTTP/1.1\r\nHost: "+host+"\r\n\r\nGET /ca.crt HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp.StatusCode != http.StatusBadRequest || !closed || strings.Contains(body, "CERTIFICATE") {
				t.Errorf("CONNECT %s: got %d %q, closed %v, want 400 and the end", target, resp.StatusCode, body, closed)
			}
		}
	}
	resp, body, _ := st.say(doorProxy, "CONNECT quay.io HTTP/1.1\r\nHost: quay.io\r\n\r\n")
	refusedWith(t, "without a port", resp, body, 400, codeUnsupported, "want host:port")
	st.world.Silent(t)
	st.healthy(doorProxy)
}

// TestConnectByAnotherSpelling: however a client spells a registry, the registry's rules hold.
func TestConnectByAnotherSpelling(t *testing.T) {
	st := newSite(t, func(c *Config) {
		table, err := hosts.New(append(hosts.Defaults(), hosts.Registry{Name: "refused.example.org", Mode: hosts.Refuse}))
		if err != nil {
			t.Fatal(err)
		}
		c.Table = table
	})
	for _, target := range []string{
		"refused.example.org:443", "REFUSED.example.org:443", "refused.example.org.:443", "refused.example.org:0443", "refused.example.org:80",
		"refused.example.org:00080",
	} {
		resp, body, closed := st.say(doorProxy, "CONNECT "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp.StatusCode == http.StatusBadRequest {
			continue // refused for its spelling
		}
		refusedWith(t, target, resp, body, 403, codeDenied, "refused by the configuration")
		if !closed {
			t.Errorf("CONNECT %s: the connection stays open", target)
		}
	}
	for _, target := range []string{"QUAY.IO:443", "quay.io.:443", "quay.io:443"} {
		c := tls.Client(st.connected(target), st.trust("quay.io"))
		if resp, body := over(t, c, "Quay.io", "/v2/"); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("by way of %s: got %d %s, want quay's 401", target, resp.StatusCode, body)
		}
	}
}

func TestConnectThatFails(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := closed.Addr().String()
	closed.Close()
	st := newSite(t, leading(map[string]string{"refuses.test:443": addr}))
	resp, body, ended := st.say(doorProxy, "CONNECT refuses.test:443 HTTP/1.1\r\nHost: refuses.test:443\r\n\r\n")
	refusedWith(t, "a target that refuses", resp, body, 502, codeUnavailable, "refuses.test:443")
	if !ended || !strings.Contains(body, "refused") {
		t.Errorf("got %q, closed %v, want the reason and the end", body, ended)
	}
	if l := st.log.await(t, kindTunnel, 1)[0]; l.Status != 502 || l.Error == "" {
		t.Errorf("log: got %+v, want 502 and the reason", l)
	}
	// The client's next words are on their way already when the refusal goes out. They must not destroy it.
	resp, _, _ = st.say(doorProxy, "CONNECT refuses.test:443 HTTP/1.1\r\nHost: x\r\n\r\n"+strings.Repeat("hello", 20<<10))
	if resp.StatusCode != 502 {
		t.Errorf("got %d, want 502", resp.StatusCode)
	}
	st.healthy(doorProxy)
}

// TestTunnelsAreGuarded: a tunnel is no way round the dial guard to what only this machine can reach.
func TestTunnelsAreGuarded(t *testing.T) {
	st := newSite(t, func(c *Config) { c.Dial = nil })
	for _, target := range []string{
		"169.254.169.254:443", "[::ffff:169.254.169.254]:443", "[64:ff9b::a9fe:a9fe]:443", "[fd00:ec2::254]:443", "10.0.0.1:443", "127.0.0.1:443",
		"localhost:443", "0.0.0.0:443", "[::]:443", "[::1]:443", "[2002:7f00:1::]:443", "168.63.129.16:443",
	} {
		resp, body, _ := st.say(doorProxy, "CONNECT "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp.StatusCode != 502 || !strings.Contains(body, "--allow-net") {
			t.Errorf("CONNECT %s: got %d %s, want 502 and how to permit it", target, resp.StatusCode, body)
		}
		plain := strings.Replace(target, ":443", "", 1)
		answer, text := st.get(doorProxy, "http://"+plain+"/latest/meta-data/")
		if answer.StatusCode < 500 || !strings.Contains(string(text), "--allow-net") {
			t.Errorf("http://%s by the proxy: got %d %s, want a refusal", plain, answer.StatusCode, text)
		}
	}
}

// TestTunnelPorts: tunnels lead to port 443, plain HTTP to 80, both to what is listed, and a registry's own ports are as they are listed.
func TestTunnelPorts(t *testing.T) {
	ways := map[string]string{}
	st := newSite(t, leading(ways), func(c *Config) {
		c.TunnelPorts = []uint16{8443}
		table, err := hosts.New([]hosts.Registry{
			{Name: "tunnelled.example.org", Mode: hosts.Tunnel}, {Name: "unknown.example.org:5000", Mode: hosts.Tunnel}, {Name: "reg.corp.test"},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Table = table
	})
	for _, port := range []string{"8443", "5000"} {
		ways["unknown.example.org:"+port] = st.target(func(c *net.TCPConn) { c.Close() })
	}
	for target, want := range map[string]bool{
		"unknown.example.org:443": true, "unknown.example.org:8443": true, "unknown.example.org:22": false, "unknown.example.org:25": false,
		"unknown.example.org:80": false, "unknown.example.org:0443": true, "unknown.example.org:4430": false, "unknown.example.org:5000": true,
		"tunnelled.example.org:80": false, "reg.corp.test:22": false, "reg.corp.test:80": true, "reg.corp.test:443": true,
	} {
		c := st.raw(doorProxy)
		io.WriteString(c, "CONNECT "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		var body []byte
		if resp.StatusCode != http.StatusOK { // which has no body, but a tunnel
			body, _ = io.ReadAll(resp.Body)
		}
		if refused := resp.StatusCode == 403 && resp.Close && strings.Contains(string(body), "--tunnel-port"); refused == want {
			t.Errorf("CONNECT %s: got %d %q, want it permitted: %v", target, resp.StatusCode, body, want)
		}
		c.Close()
	}
	for target, want := range map[string]bool{
		"unknown.example.org": true, "unknown.example.org:80": true, "unknown.example.org:8443": true, "unknown.example.org:25": false,
		"unknown.example.org:443": false, "unknown.example.org:6379": false,
	} {
		resp, body := st.get(doorProxy, "http://"+target+"/x")
		if refused := resp.StatusCode == 403 && strings.Contains(string(body), "--tunnel-port"); refused == want {
			t.Errorf("http://%s: got %d %q, want it permitted: %v", target, resp.StatusCode, body, want)
		}
	}
}

// TestNeverToOurselves: no door of ours is dialled, however it is spelled, whatever is allowed, by tunnel, plain HTTP or registry.
func TestNeverToOurselves(t *testing.T) {
	st := newSite(t, func(c *Config) {
		c.Dial, c.AllowNets = nil, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	})
	for door, addr := range st.doors {
		n, err := strconv.ParseUint(portOf(addr), 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		st.server.cfg.TunnelPorts = append(st.server.cfg.TunnelPorts, uint16(n))
		for _, host := range []string{"127.0.0.1", "localhost", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]"} {
			target := host + ":" + portOf(addr)
			resp, body, closed := st.say(doorProxy, "CONNECT "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
			if resp.StatusCode < 400 || !closed || !strings.Contains(body, "entrepot itself") && !strings.Contains(body, "not a host name") {
				t.Errorf("CONNECT %s (%s): got %d %s, want that it is entrepot itself", target, door, resp.StatusCode, body)
			}
			answer, text := st.get(doorProxy, "http://"+target+"/metrics")
			if answer.StatusCode < 400 || strings.Contains(string(text), "entrepot_requests") {
				t.Errorf("http://%s/metrics: got %d %s, want a refusal", target, answer.StatusCode, text)
			}
		}
		table, err := hosts.New([]hosts.Registry{{Name: "quay.io", Upstream: "http://" + addr}})
		if err != nil {
			t.Fatal(err)
		}
		st.server.SetTable(table)
		resp, body := st.get(doorMirror, st.mirror("/v2/quay.io/a/b/manifests/1"))
		refusedWith(t, "a registry at the "+door+" door", resp, string(body), 508, codeDenied, "--resolver")
	}
}

// TestWildcardDoors: a door on all addresses is behind each of this machine's.
func TestWildcardDoors(t *testing.T) {
	s := &Server{own: []netip.AddrPort{netip.MustParseAddrPort("[::]:3128"), netip.MustParseAddrPort("192.0.2.7:443")}}
	for to, want := range map[string]bool{
		"127.0.0.1:3128": true, "127.9.9.9:3128": true, "[::1]:3128": true, "0.0.0.0:3128": true, "[::]:3128": true, "127.0.0.1:3129": false,
		"8.8.8.8:3128": false, "192.0.2.7:443": true, "0.0.0.0:443": true, "127.0.0.1:443": false,
	} {
		if got := s.ownDoor(netip.MustParseAddrPort(to)); got != want {
			t.Errorf("%s: got %v, want %v", to, got, want)
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if to := netip.AddrPortFrom(netip.MustParsePrefix(a.String()).Addr(), 3128); !s.ownDoor(to) {
			t.Errorf("%v: this machine's own address is not known", to)
		}
	}
}

func portOf(addr string) string {
	ap := netip.MustParseAddrPort(addr)
	return ap.String()[len(ap.Addr().String())+1:]
}

// TestConnectBelongsToTheProxyDoor: the other doors are not forward proxies, and neither is the inside of an intercepted connection.
func TestConnectBelongsToTheProxyDoor(t *testing.T) {
	st := newSite(t)
	for _, door := range []string{doorMirror, doorHTTP} {
		resp, body, _ := st.say(door, "CONNECT unknown.example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n")
		refusedWith(t, door, resp, body, 405, codeUnsupported, "proxy")
	}
	for name, c := range map[string]net.Conn{"tls door": st.raw(doorTLS), "tunnel": st.connected("quay.io:443")} {
		secure := tls.Client(c, st.trust("quay.io"))
		io.WriteString(secure, "CONNECT unknown.example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, body, _ := hear(t, secure); resp.StatusCode != 405 {
			t.Errorf("CONNECT inside %s: got %d %s, want 405", name, resp.StatusCode, body)
		}
	}
	tr := onlyHTTP2(st.transport(doorTLS))
	resp, err := tr.RoundTrip(&http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: "quay.io", Path: "/"}, Host: "quay.io", Header: http.Header{}, Body: http.NoBody})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 405 || resp.ProtoMajor != 2 {
		t.Errorf("CONNECT by HTTP/%d: got %d, want 405", resp.ProtoMajor, resp.StatusCode)
	}
	st.world.Silent(t)
}
