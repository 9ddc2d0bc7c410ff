package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// requests are what a server gets to read that has enemies, and whether http1 takes it.
func requests() map[string]bool {
	const host = "Host: a\r\n"
	all := map[string]bool{}
	for _, taken := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"HEAD /v2/a/manifests/1 HTTP/1.1\r\nHost: quay.io:443\r\nAccept: a/b, c/d\r\nAccept: e/f\r\nUser-Agent: x\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: [::1]:80\r\nAuthorization: Bearer x.y.z\r\n\r\nGET /b HTTP/1.1\r\n",
		"GET //x/y HTTP/1.1\r\n" + host + "\r\n",
		"GET /a:b//c HTTP/1.1\r\n" + host + "\r\n",
		"GET /a%2fb%20c?d=e%2ff&g;h#i HTTP/1.1\r\n" + host + "\r\n",
		"GET /a/../b/. HTTP/1.1\r\n" + host + "\r\n",
		"GET /? HTTP/1.1\r\n" + host + "\r\n",
		"GET /#? HTTP/1.1\r\n" + host + "\r\n",
		"GET /%e2%82%ac HTTP/1.1\r\n" + host + "\r\n",
		"GET /a@b\\c|d HTTP/1.1\r\n" + host + "\r\n",
		"GET / HTTP/1.1\r\n" + host + "Empty:\r\nSpaces:  \t \r\nInside: a \t b\t\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "a: 1\r\nA: 2\r\nb: 3\r\na: 4\r\n\r\n",
		"GET / HTTP/1.1\r\nhOST: a\r\nx-!#$%&'*+-.^_`|~: 1\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "connection: Keep-Alive\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Range: bytes=0-1,5-\r\nCache-Control: no-cache\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + strings.Repeat("A: b\r\n", maxFields-1) + "\r\n",
		"CONNECT a:443 HTTP/1.1\r\n" + host + "\r\n", "CONNECT a HTTP/1.1\r\n" + host + "\r\nGET / HTTP/1.1\r\n",
		"CONNECT [::1]:443 HTTP/1.1\r\nHost: b\r\nProxy-Authorization: Basic eDp5\r\n\r\n",
		"GET /" + strings.Repeat("a", 5000) + " HTTP/1.1\r\n" + host + "Long: " + strings.Repeat("b", 9000) + "\r\n\r\n",
	} {
		all[taken] = true
	}
	for _, left := range []string{
		"POST / HTTP/1.1\r\n" + host + "\r\n", "get / HTTP/1.1\r\n" + host + "\r\n", " GET / HTTP/1.1\r\n" + host + "\r\n",
		"GET  / HTTP/1.1\r\n" + host + "\r\n", "GET\t/ HTTP/1.1\r\n" + host + "\r\n", "GET /  HTTP/1.1\r\n" + host + "\r\n",
		"GET / HTTP/1.1 \r\n" + host + "\r\n", "GET / HTTP/1.0\r\n" + host + "\r\n", "GET / HTTP/1.2\r\n" + host + "\r\n",
		"GET / http/1.1\r\n" + host + "\r\n", "GET /\r\n" + host + "\r\n", "GET / \r\n" + host + "\r\n", "\r\nGET / HTTP/1.1\r\n" + host + "\r\n",
		"GET * HTTP/1.1\r\n" + host + "\r\n", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", "GET http://b/ HTTP/1.1\r\n" + host + "\r\n",
		"CONNECT / HTTP/1.1\r\n" + host + "\r\n", "CONNECT http://a/ HTTP/1.1\r\n" + host + "\r\n", "CONNECT u@a:443 HTTP/1.1\r\n" + host + "\r\n",
		"CONNECT  HTTP/1.1\r\n" + host + "\r\n", "CONNECT [::1 HTTP/1.1\r\n" + host + "\r\n", "CONNECT a:x HTTP/1.1\r\n" + host + "\r\n",
		"CONNECT a:443 HTTP/1.1\r\n\r\n", "CONNECT a:443 HTTP/1.1\r\n" + host + "Content-Length: 1\r\n\r\nx", "CONNECT a:443 HTTP/1.0\r\n" + host + "\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET x HTTP/1.1\r\n" + host + "\r\n",
		"GET /%zz HTTP/1.1\r\n" + host + "\r\n", "GET /\x00 HTTP/1.1\r\n" + host + "\r\n", "GET /\xe2\x82\xac HTTP/1.1\r\n" + host + "\r\n",
		"GET /\x7f HTTP/1.1\r\n" + host + "\r\n", "GET /a\tb HTTP/1.1\r\n" + host + "\r\n",
		"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nabcde",
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "transfer-encoding:\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding : chunked\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "Transfer\x0bEncoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X: y\r\n Content-Length: 5\r\n\r\nabcde", "GET / HTTP/1.1\r\n" + host + " folded\r\n\r\n",
		"GET / HTTP/1.1\r\n X: y\r\n" + host + "\r\n", "GET / HTTP/1.1\r\n" + host + "X: a\r\n\tb\r\n\r\n",
		"GET / HTTP/1.1\n" + host + "\r\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\r\nHost: a\n\nGET /b HTTP/1.1\r\n" + host + "\r\n",
		"GET / HTTP/1.1\r\nHost: a\n\n", "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\n" + host + "X: a\rContent-Length: 5\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X: a\nContent-Length: 5\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X: a\r\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "\r\r\n\r\n", "GET / HTTP/1.1\r\r\n" + host + "\r\n",
		"GET / HTTP/1.1\r\n" + host + "X: \xff\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "X: caf\xc3\xa9\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "\xc3\xa9: x\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + ": x\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "no colon\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "a b: c\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Connection: close, x\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "Connection: Upgrade\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Connection: keep-alive\r\nConnection: close\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "Connection:\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Connection: Host\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "Expect: 100-continue\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Upgrade: websocket\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "Trailer: X\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "TE: trailers\r\n\r\n", "GET / HTTP/1.1\r\n" + host + "Pragma: no-cache\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + strings.Repeat("A: b\r\n", maxFields) + "\r\n",
		"HEAD / HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nabcde", "HEAD", "GET / HTTP/1.1", "", "\r\n\r\n", "\n", "\x16\x03\x01",
	} {
		all[left] = false
	}
	return all
}

// TestParseHeader: what is taken, and what is left to the other server.
func TestParseHeader(t *testing.T) {
	for sent, want := range requests() {
		n, _ := headerEnd([]byte(sent))
		if got := n > 0 && parseHeader(new(http.Request), &url.URL{}, sent[:n-2]); got != want {
			t.Errorf("%.200q: got %v, want %v", sent, got, want)
		}
	}
}

// FuzzRequest: of what http1 takes, net/http understands the same, and reads on from the same place.
func FuzzRequest(f *testing.F) {
	for sent := range requests() {
		f.Add([]byte(sent))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		n, plain := headerEnd(sent)
		got, u := new(http.Request), &url.URL{}
		if n == 0 || !parseHeader(got, u, string(sent[:n-2])) {
			return
		}
		if !plain {
			t.Error("it is taken and left")
		}
		var k known
		for i := range 4 {
			again, at := new(http.Request), &url.URL{}
			if !k.parse(again, at, sent[:n-2]) || !reflect.DeepEqual(again, got) {
				t.Errorf("the time after %d: got %+v, want %+v", i, again, got)
			}
			for name, values := range again.Header { // as a handler may
				again.Header[name] = append(values, "more")
			}
			again.Header.Set("New", "x")
		}
		for i := range min(n, 512) {
			if n, plain := headerEnd(sent[:i]); n != 0 || !plain {
				t.Errorf("of its first %d bytes: got %d and %v", i, n, plain)
			}
		}
		whole := bufio.NewReader(bytes.NewReader(sent))
		want, err := http.ReadRequest(whole)
		if err != nil {
			t.Fatalf("net/http: %v", err)
		}
		if rest, _ := io.ReadAll(whole); len(rest) != len(sent)-n {
			t.Errorf("got a header of %d bytes, want %d", n, len(sent)-len(rest))
		}
		if want.Body != http.NoBody || want.ContentLength != 0 || want.TransferEncoding != nil || want.Trailer != nil {
			t.Error("net/http sees a body")
		}
		want.Body, got.Body = nil, nil
		if !reflect.DeepEqual(got.URL, want.URL) || got.URL.String() != want.URL.String() {
			t.Errorf("URL: got %#v, want %#v", got.URL, want.URL)
		}
		got.URL, want.URL = nil, nil
		if g, w := got.WithContext(t.Context()), want.WithContext(t.Context()); !reflect.DeepEqual(g, w) {
			t.Errorf("got %+v, want %+v", g, w)
		}
	})
}
