package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// bigSize is more than the kernel's buffers hold.
const bigSize = 24 << 20

// newHeld is a site of so much patience with its clients that holds a layer of bigSize.
func newHeld(t *testing.T, patience time.Duration) *cargo {
	c := newCargo(t, bigSize, func(c *Config) { c.ReaderPatience = patience })
	c.hold()
	return c
}

// hold has the cache keep the cargo.
func (c *cargo) hold() {
	c.pull(doorProxy, corp+"/app:v1")
	c.settled()
	c.log.await(c.t, kindBlob, 2) // a line may come after its answer
}

// TestReaders: who takes nothing for too long is cut off, by HTTP/1 from a file, by TLS and by HTTP/2 alike. Who takes a little at a
// time is served to the end.
func TestReaders(t *testing.T) {
	st := newHeld(t, time.Second)
	for _, w := range []way{{doorMirror, true}, {doorTLS, true}, {doorTLS, false}} {
		t.Run(w.String(), func(t *testing.T) {
			st.log.reset()
			tr := st.by(w)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, st.url(w, corp, st.path), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Fatalf("got %d", resp.StatusCode)
			}
			l := st.log.await(t, kindBlob, 1)[0] // ends though nobody reads
			if l.Bytes >= bigSize || l.Error == "" {
				t.Errorf("log: got %+v, want an end before %d bytes and the reason", l, bigSize)
			}
			if n, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Errorf("got %d bytes and no error, want a broken answer", n)
			}
		})
	}
	t.Run("slowly", func(t *testing.T) {
		c := st.raw(doorMirror)
		c.(*net.TCPConn).SetReadBuffer(64 << 10)
		fmt.Fprintf(c, "GET /v2/%s/%s HTTP/1.1\r\nHost: x\r\n\r\n", corp, st.path)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(40 * time.Millisecond)
		defer tick.Stop()
		total := int64(0)
		for err == nil && total < bigSize {
			<-tick.C
			var n int64
			n, err = io.CopyN(io.Discard, resp.Body, 256<<10)
			total += n
		}
		if total != bigSize {
			t.Errorf("got %d of %d bytes, %v", total, bigSize, err)
		}
	})
}

// TestTunnelOfOneWhoTakesNothing: a tunnel ends, both ways, when its client takes nothing for too long.
func TestTunnelOfOneWhoTakesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			c.SetDeadline(time.Now().Add(patience))
			for err == nil {
				_, err = c.Write(make([]byte, 1<<20))
			}
			c.Close()
			ended <- err
		}
	}()
	t.Cleanup(func() { l.Close() })
	impatient := func(c *Config) { c.ReaderPatience = 100 * time.Millisecond }
	ways := leading(map[string]string{"bank.example:443": l.Addr().String()})
	plain, safe := newSite(t, ways, impatient), secured(t, []string{"localhost"}, ways, impatient)
	for door, dial := range map[string]func() (*site, net.Conn){
		"plain": func() (*site, net.Conn) { return plain, plain.raw(doorProxy) },
		"TLS":   func() (*site, net.Conn) { return safe, tls.Client(safe.raw(doorProxy), safe.trust("localhost")) },
	} {
		t.Run(door, func(t *testing.T) {
			st, c := dial()
			io.WriteString(c, "CONNECT bank.example:443 HTTP/1.1\r\nHost: bank.example:443\r\n\r\n")
			if one := st.log.await(t, kindTunnel, 1)[0]; one.Status != 200 {
				t.Errorf("log: got %+v", one)
			}
			if err := <-ended; errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the target's end: %v", err)
			}
			c.Close()
		})
	}
}

// rawWay is a way to corp's images over a connection that is all the test's.
type rawWay struct {
	what, path string
	dial       func() net.Conn
}

func (st *site) rawWays() []rawWay {
	return []rawWay{
		{"plain", "/v2/" + corp + "/", func() net.Conn { return st.raw(doorMirror) }},
		{"TLS", "/v2/", func() net.Conn { return tls.Client(st.raw(doorTLS), st.trust(corp)) }},
		{"CONNECT", "/v2/", func() net.Conn { return tls.Client(st.connected(corp+":443"), st.trust(corp)) }},
	}
}

// TestOpenEnd: to a client that asks for a part with an open end, and may hang up, little more is sent than it has taken; to one that
// stays and then asks for a part with an end, as much as ever.
func TestOpenEnd(t *testing.T) {
	st := newHeld(t, 200*time.Millisecond)
	for _, way := range st.rawWays() {
		st.server.chunks = newChunks() // the same parts twice look like chunks
		var sent []int64
		ended, open, short := fmt.Sprint("bytes=5-", bigSize-1), "bytes=5-", fmt.Sprintf("bytes=%d-", bigSize-10)
		for _, parts := range [][]string{{ended}, {open}, {short, ended}} {
			st.log.reset()
			c := way.dial()
			for n, part := range parts {
				fmt.Fprintf(c, "GET %s%s HTTP/1.1\r\nHost: %s\r\nRange: %s\r\n\r\n", way.path, st.path, corp, part)
				l := st.log.await(t, kindBlob, n+1)[n] // ends though nobody reads
				if l.Status != 206 {
					t.Errorf("%s, %s: got %d, want 206", way.what, part, l.Status)
				}
				if n == len(parts)-1 {
					sent = append(sent, l.Bytes)
				}
			}
			c.Close()
		}
		if sent[1] > sent[0]/4 {
			t.Errorf("%s: %d bytes were sent of a part with an end and %d of one without, want far less", way.what, sent[0], sent[1])
		}
		if sent[2] < sent[0]/2 {
			t.Errorf("%s: %d bytes were sent after a part without an end and %d otherwise, want as much", way.what, sent[2], sent[0])
		}
	}
}

// TestBoundedQuery: CVE-2023-2253.
func TestBoundedQuery(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "n=10": "n=10", "n=1000": "n=1000", "n=0": "n=0", "last=n=5": "last=n=5", "n=-1": "n=-1", "n=x": "n=x", "n=": "n=",
		"n=1001": "n=1000", "n=1000000000000": "n=1000", "n=99999999999999999999999999": "n=1000", "last=a%2Fb&n=5000": "last=a%2Fb&n=1000",
		"n=00005000": "n=1000", "n=5&n=5000": "n=5&n=1000", "%6e=5000": "n=1000", "n=5000;x": "n=5000;x",
	} {
		if got := boundedQuery(query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// TestListingsEnd: what a registry lists has an end, by each way in which a list is passed on.
func TestListingsEnd(t *testing.T) {
	st := newSite(t)
	st.world.Push(t, "reg.corp.test/app:1", world.Image(t, 1, 10<<10))
	for _, row := range []struct{ door, url string }{
		{doorMirror, st.mirror("/v2/reg.corp.test/app/tags/list")}, {doorProxy, "https://reg.corp.test/v2/app/tags/list"},
	} {
		if resp, _ := st.get(row.door, row.url+"?n=100000"); resp.StatusCode != 200 {
			t.Errorf("%s: got %d", row.door, resp.StatusCode)
		}
		for _, r := range st.world.Requests() {
			if strings.Contains(r.Path, "n=100000") {
				t.Errorf("%s: upstream was asked for %s", row.door, r.Path)
			}
		}
		st.world.Host("reg.corp.test").Fault(world.Fault{Kind: world.Headers, On: world.Other, Header: map[string]string{"Content-Length": strconv.Itoa(maxListing + 1)}})
		resp, body := st.get(row.door, row.url)
		refusedWith(t, row.door+": a long list", resp, string(body), 503, codeUnavailable, "64 MiB")
	}
	long := &bounded{io.NopCloser(strings.NewReader("123456")), 5}
	if b, err := io.ReadAll(long); err != errListing || len(b) > 5 {
		t.Errorf("got %q, %v, want an end at 5 bytes", b, err)
	}
}

// TestTLSFloor: of clients and of registries alike, and encryption that authenticates.
func TestTLSFloor(t *testing.T) {
	st := newSite(t)
	for what, change := range map[string]func(*tls.Config){
		"TLS 1.1": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"CBC": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}
		},
	} {
		cfg := st.trust("quay.io")
		change(cfg)
		for door, c := range map[string]net.Conn{"tls": st.raw(doorTLS), "CONNECT": st.connected("quay.io:443")} {
			if err := tls.Client(c, cfg).Handshake(); err == nil {
				t.Errorf("a client of %s came in by %s", what, door)
			}
		}
	}
	key, err := st.ca.Certificate("quay.io") // any certificate will do: the version is settled first
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]string{}
	old := newSite(t, leading(ways))
	ways["quay.io:443"] = old.target(func(c *net.TCPConn) {
		tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*key}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake()
		c.Close()
	})
	resp, body := old.get(doorMirror, old.mirror("/v2/quay.io/org/app/manifests/1"))
	refusedWith(t, "a registry of TLS 1.1", resp, string(body), 503, codeUnavailable, "tls: protocol version not supported")
}

// TestFieldsBothWays: of a request for what is cached a registry sees what it needs; of its answer a client gets what we say.
func TestFieldsBothWays(t *testing.T) {
	st := newSite(t)
	p := st.world.Push(t, corp+"/app:1", world.Image(t, 1, 10<<10))
	for _, kind := range []world.Kind{world.Manifest, world.Blob} {
		st.world.Host(corp).Fault(world.Fault{Kind: world.Headers, On: kind, Times: -1, Header: map[string]string{
			"Set-Cookie": "a=b", "Server": "evil", "Alt-Svc": `h3=":443"`, "X-Evil": "1", "Refresh": "0", "Content-Disposition": "x", "Vary": "*",
		}})
	}
	for _, path := range []string{"manifests/1", "manifests/" + p.Digest, "blobs/" + p.Blobs[0]} {
		for range 2 {
			resp, _ := st.get(doorProxy, "https://"+corp+"/v2/app/"+path, "Accept", manifestTypes, "Cookie", "c=d", "X-Own", "1", "X-Forwarded-For", "1.2.3.4", "Accept-Encoding", "gzip")
			for _, name := range []string{"Set-Cookie", "Server", "Alt-Svc", "X-Evil", "Refresh", "Content-Disposition", "Vary"} {
				if resp.StatusCode != 200 || resp.Header.Get(name) != "" {
					t.Errorf("%s: got %d with %s: %s", path, resp.StatusCode, name, resp.Header.Get(name))
				}
			}
		}
	}
	for _, r := range st.world.Requests() {
		for _, name := range []string{"Cookie", "X-Own", "X-Forwarded-For", "Forwarded"} {
			if r.Header.Get(name) != "" {
				t.Errorf("%s: upstream saw %s: %s", r.Path, name, r.Header.Get(name))
			}
		}
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("%s: upstream saw Accept-Encoding %q, want identity", r.Path, got)
		}
	}
}

// byKernel is an answer of which the kernel sends a part, and then fails.
type byKernel struct {
	http.ResponseWriter
	err error
	bytes.Buffer
}

func (k *byKernel) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.CopyN(&k.Buffer, r, 3)
	return n, errors.Join(err, k.err)
}

func (k *byKernel) Write(p []byte) (int, error) { return k.Buffer.Write(p) }

// TestKernelFails: what the kernel cannot read of a file is left to the file's reader; a client that took nothing for too long is not
// waited for once more.
func TestKernelFails(t *testing.T) {
	for want, failure := range map[string]error{
		"0123456789": &net.OpError{Op: "readfrom", Err: os.NewSyscallError("sendfile", syscall.EIO)},
		"012":        &net.OpError{Op: "readfrom", Err: os.ErrDeadlineExceeded},
	} {
		k := &byKernel{err: failure}
		n, err := bigPieces{&countingWriter{ResponseWriter: k}}.ReadFrom(&io.LimitedReader{R: strings.NewReader("0123456789"), N: 10})
		if k.String() != want || n != int64(len(want)) || (err == nil) != (n == 10) {
			t.Errorf("%v: got %q, %d, %v, want %q", failure, k, n, err, want)
		}
	}
}
