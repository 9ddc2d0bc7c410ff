package http1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// TestHijack: the connection of a CONNECT is the handler's, with every byte that follows the header, however many came with it, and for
// as long as it likes; nobody waits for it.
func TestHijack(t *testing.T) {
	for way, secure := range ways {
		for name, watch := range map[string]bool{"watched": true, "not watched": false} {
			t.Run(way+" "+name, func(t *testing.T) {
				taken := make(chan *handed, 1)
				d := open(t, secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodConnect || r.Host != "a:443" || r.URL.Host != "a:443" || r.URL.Path != "" {
						t.Errorf("got %s %s %v", r.Method, r.Host, r.URL)
					}
					if watch {
						r.Context().Done()
					}
					c, rw, err := w.(http.Hijacker).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrHijacked) {
						t.Errorf("a second time: got %v", err)
					}
					r.Context().Done() // has nobody read the connection any more
					early, _ := rw.Reader.Peek(rw.Reader.Buffered())
					taken <- &handed{c, append([]byte(nil), early...)}
				}))
				for _, size := range []int{0, 1, 3000, 100000} {
					c := d.dial(t)
					follows := strings.Repeat("\x16\x03\x01", size)
					c.work.Go(func() {
						io.WriteString(c, "CONNECT a:443 HTTP/1.1\r\nHost: b\r\n\r\n"+follows)
						c.Conn.(interface{ CloseWrite() error }).CloseWrite()
					})
					h := served.Hear(t, "the connection", taken)
					got, err := io.ReadAll(h)
					if string(got) != follows || err != nil {
						t.Errorf("got %d bytes and %v, want %d", len(got), err, len(follows))
					}
					c.work.Wait()
					io.WriteString(h, "its own answer")
					h.Close()
					if got, err := io.ReadAll(c.in); string(got) != "its own answer" || err != nil {
						t.Errorf("the client: got %q and %v", got, err)
					}
				}
			})
		}
	}
}

// TestHijackedIsNotWaitedFor: nor closed, by the end of the server, nor by a handler that panics.
func TestHijackedIsNotWaitedFor(t *testing.T) {
	taken := make(chan net.Conn, 1)
	d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := w.(http.Hijacker).Hijack()
		taken <- c
		panic("oh no")
	}))
	c := d.dial(t)
	c.send("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")
	h := served.Hear(t, "the connection", taken)
	defer h.Close()
	if err := d.ours.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	d.ours.Close()
	c.send("x")
	if _, err := io.ReadFull(h, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// TestHijackedIsTheHandlers: neither a deadline that was set before nor anything that the handler does with the answer afterwards gets in
// its way, and the room for headers is given back.
func TestHijackedIsTheHandlers(t *testing.T) {
	c := &strict{}
	own := time.Now().Add(served.Patience)
	taken := make(chan net.Conn, 1)
	d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			echo.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		control.SetWriteDeadline(own.Add(-time.Second))
		h, _, err := control.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if !c.reading.IsZero() || !c.writing.IsZero() || w.(*Response).conn.buf != nil {
			t.Errorf("got deadlines %v and %v and a buffer of %d, want none", c.reading, c.writing, len(w.(*Response).conn.buf))
		}
		h.SetDeadline(own)
		w.WriteHeader(http.StatusInternalServerError)
		if _, err := io.WriteString(w, "late"); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("a write: got %v", err)
		}
		if err := control.Flush(); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("a flush: got %v", err)
		}
		if err := control.SetWriteDeadline(time.Time{}); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("a deadline: got %v", err)
		}
		taken <- h
	}))
	server, end := pipe(t)
	c.Conn = server
	left := make(chan struct{})
	go func() {
		defer close(left)
		d.ours.Serve(t.Context(), c, nil)
	}()
	end.get("/a", "/a")
	end.send("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")
	h := served.Hear(t, "the connection", taken)
	<-left
	if !c.reading.Equal(own) || !c.writing.Equal(own) {
		t.Errorf("got deadlines %v and %v, want %v", c.reading, c.writing, own)
	}
	go func() { // ends with what is read below
		io.WriteString(h, "its own answer")
		h.Close()
	}()
	if got, err := io.ReadAll(end.in); string(got) != "its own answer" || err != nil {
		t.Errorf("the client: got %q and %v", got, err)
	}
}

// TestNoTunnel: a CONNECT that nobody answers has not succeeded.
func TestNoTunnel(t *testing.T) {
	d := open(t, false, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	c := d.dial(t)
	c.send("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := c.read(http.MethodConnect); resp.StatusCode != http.StatusNotImplemented {
		t.Errorf("got %d", resp.StatusCode)
	}
	c.ended()
}

// TestHijackRefused: of no other request, nor behind an answer.
func TestHijackRefused(t *testing.T) {
	d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusForbidden)
		}
		if _, _, err := w.(http.Hijacker).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s: got %v", r.Method, err)
		}
	}))
	c := d.dial(t)
	c.get("/", "")
	c.send("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") // which is no request any more
	if resp, _ := c.read(http.MethodConnect); resp.StatusCode != http.StatusForbidden || !resp.Close {
		t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
	}
	c.ended()
}
