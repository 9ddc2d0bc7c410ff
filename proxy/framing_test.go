package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestFraming: what may reach net/http and what may not, in whatever pieces it comes.
func TestFraming(t *testing.T) {
	const get = "GET /v2/ HTTP/1.1\r\nHost: x\r\n"
	const post = "POST /v2/ HTTP/1.1\r\nHost: x\r\n"
	for _, row := range []struct {
		what, text string
		want       error
		through    int // bytes, where not all; of a fault: up to where
	}{
		{"a request", get + "\r\n", nil, 0},
		{"two requests", get + "\r\n" + get + "\r\n", nil, 0},
		{"a body", post + "Content-Length: 5\r\n\r\na\nb\x00\n" + get + "\r\n", nil, 0},
		{"chunks", post + "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\na\nb\x00\n\r\n0\r\nTrailer: x\r\n\r\n" + get + "\r\n", nil, 0},
		{"a coding in capitals", post + "transfer-encoding:\tCHUNKED \r\n\r\n0\r\n\r\n" + get + "\r\n", nil, 0},
		{"a long line", "GET /" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nX: " + strings.Repeat("y", 9000) + "\r\n\r\n", nil, 0},
		{"anything behind CONNECT", "CONNECT quay.io:443 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01\n\n\x00", nil, 0},
		{"a coding that net/http refuses", post + "Transfer-Encoding: gzip\r\n\r\n\n\n", nil, 0},
		{"two codings, which net/http refuses", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n\n\n", nil, 0},

		{"both lengths", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", errBothLength, -1},
		{"both lengths, the other way round", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", errBothLength, -1},
		{"both lengths, the second in other letters", post + "Content-length: 5\r\ntRANSFER-eNCODING: x\r\n\r\n", errBothLength, -1},
		{"both lengths in a GET", get + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", errBothLength, -1},
		{"both lengths in a CONNECT", "CONNECT a:443 HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", errBothLength, -1},
		{"both lengths behind a body", post + "Content-Length: 2\r\n\r\nab" + post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", errBothLength, -1},
		{"both lengths behind chunks", post + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", errBothLength, -1},
		{"a coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", errOldCoding, -1},
		{"two lengths", post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", errTwoLengths, -1},
		{"the same length twice", post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", errTwoLengths, -1},
		{"a list of lengths", post + "Content-Length: 5, 5\r\n\r\n", errLength, 0},
		{"a signed length", post + "Content-Length: +5\r\n\r\n", errLength, 0},
		{"a hexadecimal length", post + "Content-Length: 0x5\r\n\r\n", errLength, 0},
		{"no length", post + "Content-Length:\r\n\r\n", errLength, 0},
		{"a length without an end", post + "Content-Length: 5" + strings.Repeat(" ", 300) + "\r\n\r\n", errLength, 0},
		{"a space before the colon", post + "Content-Length : 5\r\n\r\n", errSpacedName, 0},
		{"a tab before the colon", post + "Transfer-Encoding\t: chunked\r\n\r\n", errSpacedName, 0},
		{"a folded line", get + "X: a\r\n b\r\n\r\n", errFolded, len(get + "X: a\r\n")},
		{"a folded length", post + "Content-Length:\r\n\t5\r\n\r\n", errLength, 0},
		{"a folded first field", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", errFolded, len("GET / HTTP/1.1\r\n")},
		{"a bare line feed", "GET / HTTP/1.1\nHost: x\r\n\r\n", errBareLine, len("GET / HTTP/1.1")},
		{"a bare line feed at the end", get + "\n", errBareLine, len(get)},
		{"a carriage return in a field", get + "X: a\rb\r\n\r\n", errBareLine, len(get + "X: a\r")},
		{"a TLS handshake", "\x16\x03\x01\x02\x00\x01", errSpeaksTLS, 0},
		{"a TLS handshake behind a request", get + "\r\n\x16\x03\x01\x02\x00\x01", errSpeaksTLS, len(get + "\r\n")},
		{"a NUL in a field", get + "X: a\x00b\r\n\r\n", errBareLine, len(get + "X: a")},
		{"a bare line feed behind a chunk's size", post + "Transfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n", errBareLine, 0},
		{"a chunk without a size", post + "Transfer-Encoding: chunked\r\n\r\n\r\n", errChunk, 0},
		{"a negative chunk", post + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", errChunk, 0},
		{"a chunk beyond numbers", post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", errChunk, 0},
		{"a chunk longer than it says", post + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", errChunk, 0},
		{"a folded trailer", post + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n b\r\n\r\n", errFolded, 0},
	} {
		for _, size := range []int{1, 3, 1 << 20} {
			got, err := io.ReadAll(&framed{r: &parcels{row.text, size}})
			want := row.text
			switch {
			case row.through > 0:
				want = row.text[:row.through]
			case row.through < 0:
				want = row.text[:len(row.text)-1]
			case row.want != nil:
				want = string(got) // somewhere before the end
			}
			if !errors.Is(err, row.want) || string(got) != want || row.want != nil && len(got) >= len(row.text) {
				t.Errorf("%s, by %d: got %q, %v, want %q, %v", row.what, size, got, err, want, row.want)
			}
		}
	}
}

// framed is a reader behind a framing.
type framed struct {
	f framing
	r io.Reader
}

func (f *framed) Read(p []byte) (int, error) { return f.f.read(p, f.r.Read) }

// parcels is text that comes in pieces of a size.
type parcels struct {
	text string
	size int
}

func (p *parcels) Read(b []byte) (int, error) {
	n := copy(b, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// FuzzFraming: what it lets through net/http reads in the same way: as many requests as there are, each with the end it has.
func FuzzFraming(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n"), 7)
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a\r\nabc\r\n0\r\nT: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"), 1)
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"), 100)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		w := &framed{r: &parcels{string(text), max(1, size%512)}}
		r := bufio.NewReader(w)
		for {
			req, err := http.ReadRequest(r)
			if err != nil || req.Method == http.MethodConnect {
				return
			}
			if _, both := req.Header["Content-Length"]; both && len(req.TransferEncoding) > 0 {
				t.Fatalf("%q has two lengths", text)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			if r.Buffered() == 0 && w.f.fault == nil && (w.f.part != partRequestLine || w.f.left > 0 || len(w.f.line) > 0 || w.f.cr) {
				t.Fatalf("%q: the framing is at part %d with %d left where net/http is at the end of a request", text, w.f.part, w.f.left)
			}
		}
	})
}

// TestSmuggling: on the wire, at every door that reads HTTP/1: an answer of 400, the end of the connection, and nothing of what was
// hidden behind is answered or sent on.
func TestSmuggling(t *testing.T) {
	st := newSite(t)
	const hidden = "GET /ca.crt HTTP/1.1\r\nHost: quay.io\r\n\r\n"
	attacks := map[string]string{
		"CL.TE":            "GET /v2/ HTTP/1.1\r\nHost: quay.io\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"TE.CL":            "GET /v2/ HTTP/1.1\r\nHost: quay.io\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n" + hidden,
		"TE in HTTP/1.0":   "GET /v2/ HTTP/1.0\r\nHost: quay.io\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"folded":           "GET /v2/ HTTP/1.1\r\nHost: quay.io\r\nX: a\r\n b\r\n\r\n" + hidden,
		"bare line feeds":  "GET /v2/ HTTP/1.1\nHost: quay.io\n\n" + hidden,
		"behind a request": "GET /v2/ HTTP/1.1\r\nHost: quay.io\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: quay.io\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
	}
	ways := map[string]func() net.Conn{
		"mirror": func() net.Conn { return st.raw(doorMirror) },
		"proxy":  func() net.Conn { return st.raw(doorProxy) },
		"http":   func() net.Conn { return st.raw(doorHTTP) },
		"tls":    func() net.Conn { return tls.Client(st.raw(doorTLS), st.trust("quay.io")) },
		"tunnel": func() net.Conn { return tls.Client(st.connected("quay.io:443"), st.trust("quay.io")) },
	}
	for way, dial := range ways {
		for name, text := range attacks {
			c := dial()
			io.WriteString(c, text)
			all, _ := io.ReadAll(c)
			n := bytes.Count(all, []byte("HTTP/1.1 400 "))
			if n == 0 && name == "behind a request" {
				n = 1 // the end may overtake the answer to the request before
			}
			if n != 1 || bytes.Contains(all, []byte("CERTIFICATE")) {
				t.Errorf("%s by way of %s: got %q, want one 400 and the end", name, way, all)
			}
			c.Close()
		}
	}
	st.log.until(t, "both Content-Length and Transfer-Encoding")
	st.healthy(doorProxy)
}

// TestTLSAtAPlainDoor: a client that tries TLS first is told to go on by HTTP in the words that clients know, and is not taken for an
// attack. The log says it where everybody reads it once, since most clients do so at every pull, and then for who looks for it.
func TestTLSAtAPlainDoor(t *testing.T) {
	st := newSite(t, talkative)
	for _, door := range []string{doorMirror, doorProxy, doorHTTP} {
		st.saidOnce(door, "the client speaks TLS, this door plain HTTP", func() {
			_, err := http.Get("https://" + st.doors[door] + "/v2/")
			if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
				t.Errorf("%s: got %v", door, err)
			}
		})
	}
	st.healthy(doorProxy)
}

// TestKeepAlive: what is in order may share a connection, bodies and all, in plain HTTP and inside TLS.
func TestKeepAlive(t *testing.T) {
	st := newSite(t)
	for name, c := range map[string]net.Conn{"mirror": st.raw(doorMirror), "tls": tls.Client(st.raw(doorTLS), st.trust("quay.io"))} {
		r := bufio.NewReader(c)
		for i, text := range []string{
			"GET /v2/ HTTP/1.1\r\nHost: quay.io\r\n\r\n",
			"GET /v2/ HTTP/1.1\r\nHost: quay.io\r\nContent-Length: 3\r\n\r\nabc",
			"GET /v2/ HTTP/1.1\r\nHost: quay.io\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			"GET /v2/ HTTP/1.1\r\nHost: quay.io\r\n\r\n",
		} {
			io.WriteString(c, text)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("%s: request %d: %v", name, i, err)
			}
			io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != 200 && resp.StatusCode != 401 || resp.Close {
				t.Errorf("%s: request %d: got %d, closed %v", name, i, resp.StatusCode, resp.Close)
			}
		}
		c.Close()
	}
}

func BenchmarkFraming(b *testing.B) {
	text := []byte("GET /v2/library/alpine/manifests/sha256:" + strings.Repeat("0", 64) + " HTTP/1.1\r\nHost: registry-1.docker.io\r\nUser-Agent: docker/29\r\n" +
		"Accept: application/vnd.oci.image.index.v1+json\r\nAuthorization: Bearer " + strings.Repeat("x", 300) + "\r\nAccept-Encoding: gzip\r\n\r\n")
	var f framing
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if f.admit(text) != len(text) {
			b.Fatal(f.fault)
		}
	}
}
