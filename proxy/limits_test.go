package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestClientLimit: one client address has so many requests and tunnels under way at a time, and no more; others are not concerned.
func TestClientLimit(t *testing.T) {
	ways := map[string]string{}
	st := newSite(t, leading(ways), func(c *Config) { c.ClientLimit, c.TunnelPorts = 2, []uint16{7} })
	ways["speaker.test:7"] = st.target(func(c *net.TCPConn) {
		io.Copy(io.Discard, c)
		c.Close()
	})
	one, two := st.connected("speaker.test:7"), st.connected("speaker.test:7")
	resp, body, closed := st.say(doorProxy, "CONNECT speaker.test:7 HTTP/1.1\r\nHost: x\r\n\r\n")
	refusedWith(t, "a third tunnel", resp, body, 429, codeTooMany, "--client-limit")
	if !closed {
		t.Error("the refused tunnel stays open")
	}
	resp, body, _ = st.say(doorMirror, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
	refusedWith(t, "a request", resp, body, 429, codeTooMany, "--client-limit")
	if resp.Header.Get("Retry-After") != "1" {
		t.Errorf("got Retry-After %q, want 1", resp.Header.Get("Retry-After"))
	}
	one.Close()
	two.Close()
	eventually(t, "the client has room again", func() bool {
		resp, _, _ := st.say(doorMirror, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
		return resp.StatusCode == 200
	})
}

func TestCrowd(t *testing.T) {
	c := newCrowd(2)
	for _, step := range []struct {
		remote string
		want   bool
	}{
		{"10.0.0.1:1", true}, {"[::ffff:10.0.0.1]:2", true}, {"10.0.0.1:3", false}, {"10.0.0.2:1", true},
		{"[2001:db8::1]:1", true}, {"[2001:db8::ffff]:1", true}, {"[2001:db8::2]:1", false}, {"[2001:db8:0:1::2]:1", true},
		{"[fe80::1%eth0]:1", true}, {"[fe80::2%eth1]:1", true}, {"[fe80::3]:1", false}, {"@", true}, {"@", true}, {"@", true},
	} {
		if _, got := c.enter(step.remote); got != step.want {
			t.Errorf("%s: got %v, want %v", step.remote, got, step.want)
		}
	}
	full := newCrowd(1)
	at, _ := full.enter("10.0.0.1:1")
	full.leave(at)
	full.leave(place{})
	if _, again := full.enter("10.0.0.1:1"); !again || len(full.of) != 1 {
		t.Errorf("after leaving: got %v with %d clients, want room and one", again, len(full.of))
	}
}

// TestReaders: who takes nothing for too long is cut off, by HTTP/1 from a file, by TLS and by HTTP/2 alike. Who takes a little at a
// time is served to the end.
func TestReaders(t *testing.T) {
	const size = 24 << 20 // more than the kernel's buffers hold
	st := newSite(t, func(c *Config) { c.ReaderPatience = time.Second })
	p := st.world.Push(t, "quay.io/org/big:v1", world.Image(t, 3, size))
	st.pull(doorProxy, "quay.io/org/big:v1")
	st.settled()
	blob := p.Blobs[1]
	for _, w := range []way{{doorMirror, true}, {doorTLS, true}, {doorTLS, false}} {
		t.Run(w.String(), func(t *testing.T) {
			st.log.reset()
			tr := st.by(w)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, st.url(w, "quay.io", "org/big/blobs/"+blob), nil)
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
			if l.Bytes >= size || l.Error == "" {
				t.Errorf("log: got %+v, want an end before %d bytes and the reason", l, size)
			}
			if n, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Errorf("got %d bytes and no error, want a broken answer", n)
			}
		})
	}
	t.Run("slowly", func(t *testing.T) {
		c := st.raw(doorMirror)
		c.(*net.TCPConn).SetReadBuffer(64 << 10)
		fmt.Fprintf(c, "GET /v2/quay.io/org/big/blobs/%s HTTP/1.1\r\nHost: x\r\n\r\n", blob)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(40 * time.Millisecond)
		defer tick.Stop()
		total := int64(0)
		for err == nil && total < size {
			<-tick.C
			var n int64
			n, err = io.CopyN(io.Discard, resp.Body, 256<<10)
			total += n
		}
		if total != size {
			t.Errorf("got %d of %d bytes, %v", total, size, err)
		}
	})
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
