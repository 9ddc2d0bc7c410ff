package http2

import (
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// TestUnreadFloods: who asks on and reads nothing of the answers is cut off (CVE-2019-9512, -9514, -9515), even while a write waits for it.
func TestUnreadFloods(t *testing.T) {
	for name, send := range map[string]func(p *peer, i uint32) error{
		"pings":    func(p *peer, _ uint32) error { return p.WritePing(false, [8]byte{}) },
		"settings": func(p *peer, _ uint32) error { return p.WriteSettings() },
		"resets": func(p *peer, i uint32) error {
			return p.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 3, BlockFragment: []byte{0x82}, EndHeaders: true}) // no path
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // crypto/tls waits for some seconds to say farewell to such a client
			d := open(t, writes(64<<20))
			p := d.dial(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
			p.widen(0, 1<<30)
			p.get(1, "/")
			var err error
			for i := uint32(0); err == nil; i++ {
				err = send(p, i)
			}
			if !strings.Contains(d.log.String(), "ENHANCE_YOUR_CALM") {
				t.Errorf("got %v and %q", err, d.log.String())
			}
		})
	}
}

// TestRapidResets: nor who takes back what he asks for and asks again, sooner than the handlers end (CVE-2023-44487).
func TestRapidResets(t *testing.T) {
	var running, most atomic.Int32
	end := make(chan bool)
	d := open(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		<-end // whatever the client does
	}))
	t.Cleanup(func() { close(end) })
	p := d.dial(t).listen()
	p.t = noWrites{t}
	for id := uint32(1); id < 2*(2*maxQueue+2)*100; id += 2 {
		p.get(id, "/")
		p.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	p.t = t
	p.ended(http2.ErrCodeEnhanceYourCalm)
	if got := most.Load(); got > 100 {
		t.Errorf("%d handlers at once", got)
	}
}

// TestQueue: a client that keeps to the limit is refused nothing, though handlers take longer than their answers; what it takes back
// meanwhile no handler sees.
func TestQueue(t *testing.T) {
	end := make(chan bool)
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/reset" {
			t.Error("the handler got it")
		}
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "hello")
		if r.URL.Path == "/slow" {
			<-end
		}
	}))
	p := d.dial(t).listen()
	id := uint32(1)
	for ; id < 200; id += 2 {
		p.get(id, "/slow")
		p.want(id, "200", "hello")
	}
	p.post(id, "/reset")
	p.must(p.WriteData(id, false, []byte("x")))
	p.must(p.WriteRSTStream(id, http2.ErrCodeCancel))
	for id += 2; id < 400; id += 2 {
		p.get(id, "/")
	}
	p.alive()
	close(end)
	for range 99 {
		if f := p.next(http2.FrameData, http2.FrameRSTStream); f.data != "hello" {
			t.Errorf("got %v of stream %d", f.kind, f.id)
		}
	}
}

// TestResetsOfAnswers: a client that has got what it wants of each answer may hang up as often as it likes, as containerd does at the end of
// each of its chunks.
func TestResetsOfAnswers(t *testing.T) {
	d := open(t, writes(100<<10))
	p := d.dial(t).listen()
	for id := uint32(1); id < 6000; id += 2 {
		p.SetDeadline(time.Now().Add(served.Patience)) // for each, not for all on a busy machine
		p.get(id, "/")
		p.next(http2.FrameHeaders)
		p.must(p.WriteRSTStream(id, http2.ErrCodeCancel))
		p.widen(0, 64<<10)
	}
	p.alive(http2.FrameData, http2.FrameHeaders, http2.FrameRSTStream)
}

// TestHandlersEnd: whatever a handler does, its stream ends, and the connection goes on.
func TestHandlersEnd(t *testing.T) {
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/goexit":
			runtime.Goexit()
		case "/panic":
			panic("oh no")
		case "/abort":
			io.WriteString(w, "x")
			panic(http.ErrAbortHandler)
		case "/less":
			w.Header().Set("Content-Length", "6")
			io.WriteString(w, "hello")
		case "/more":
			w.Header().Set("Content-Length", "4")
			if _, err := io.WriteString(w, "hello"); err != http.ErrContentLength {
				t.Errorf("got %v", err)
			}
		}
	}))
	p := d.dial(t).listen()
	id := uint32(1)
	for _, path := range []string{"/goexit", "/panic", "/abort", "/less", "/more"} {
		p.get(id, path)
		p.want(id, "reset INTERNAL_ERROR", "")
		id += 2
	}
	p.get(id, "/")
	p.want(id, "200", "")
	if log := d.log.String(); strings.Count(log, "panic serving") != 1 || !strings.Contains(log, "oh no") {
		t.Errorf("got %s", log)
	}
}

// TestContinue: a body that waits to be asked for is asked for when the handler reads it, and not when it does not.
func TestContinue(t *testing.T) {
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header["Expect"] != nil {
			t.Error("the handler is to know nothing of it")
		}
		if r.URL.Path == "/late" {
			http.NewResponseController(w).Flush()
		}
		if r.URL.Path != "/no" {
			io.Copy(w, r.Body)
		}
	}))
	p := d.dial(t).listen()
	p.post(1, "/", "expect", "100-continue")
	if f := p.next(http2.FrameHeaders); value(f.fields, ":status") != "100" {
		t.Errorf("got %v", f)
	}
	p.must(p.WriteData(1, true, []byte("hello")))
	p.want(1, "200", "hello")
	p.post(3, "/no", "expect", "100-continue")
	p.want(3, "200", "")
	p.post(5, "/late", "expect", "100-continue")
	if f := p.next(http2.FrameHeaders); value(f.fields, ":status") != "200" {
		t.Errorf("got %v", f)
	}
	p.must(p.WriteData(5, true, []byte("hello")))
	p.want(5, "", "hello")
}

// TestConnectionClose: a handler that wants no more of the client's requests gets no more of them on this connection.
func TestConnectionClose(t *testing.T) {
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	p := d.dial(t).listen()
	p.get(1, "/")
	if f := p.next(http2.FrameGoAway); http2.ErrCode(f.number) != http2.ErrCodeNo || f.last != 1 {
		t.Errorf("got %v of %d", http2.ErrCode(f.number), f.last)
	}
	p.closed()
}

// TestFieldsOfOthers: what belongs to a connection of HTTP/1.1 does not go out (RFC 9113, section 8.2.2), nor do trailers.
func TestFieldsOfOthers(t *testing.T) {
	d := open(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for name := range strings.SplitSeq("Connection Keep-Alive Proxy-Connection Transfer-Encoding Upgrade Trailer "+http.TrailerPrefix+"A B", " ") {
			w.Header().Set(name, "x")
		}
	}))
	p := d.dial(t).listen()
	p.get(1, "/")
	var names []string
	for _, f := range p.next(http2.FrameHeaders).fields {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != ":status b date content-length" {
		t.Errorf("got %s", got)
	}
}

// TestBodyBeside: who reads the body for the handler may do so longer than the request lasts, and gets an error.
func TestBodyBeside(t *testing.T) {
	end := make(chan error, 1)
	d := open(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		go func() {
			_, err := io.Copy(io.Discard, r.Body)
			end <- err
		}()
	}))
	p := d.dial(t).listen()
	p.post(1, "/", "expect", "100-continue")
	if err := served.Hear(t, "the body's end", end); err == nil {
		t.Error("no error")
	}
	p.get(3, "/")
	p.alive(http2.FrameHeaders, http2.FrameRSTStream)
}
