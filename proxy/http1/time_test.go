package http1

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// strict remembers the deadlines that were set, and which of its methods were called by two at once.
type strict struct {
	net.Conn
	mu               sync.Mutex
	reading, writing time.Time
}

func (s *strict) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading, s.writing = t, t
	return s.Conn.SetDeadline(t)
}

func (s *strict) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = t
	return s.Conn.SetReadDeadline(t)
}

func (s *strict) SetWriteDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = t
	return s.Conn.SetWriteDeadline(t)
}

// pipe is a connection without a network below it.
func pipe(t testing.TB) (net.Conn, *client) {
	server, c := net.Pipe()
	return server, newClient(t, c)
}

// inTime runs a test whose time passes only when everybody waits.
func inTime(t *testing.T, h http.HandlerFunc, f func(t *testing.T, s *Server, c *client)) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{
			Handler: h, HeaderTimeout: 10 * time.Second, IdleTimeout: 3 * time.Minute, Patience: 5 * time.Minute,
			Other: func(c net.Conn, _ []byte) { c.Close() },
		}
		server, c := pipe(t)
		c.SetDeadline(time.Time{})
		var work sync.WaitGroup
		work.Go(func() { s.Serve(t.Context(), server, nil) })
		f(t, s, c)
		c.Close()
		work.Wait()
	})
}

// pass lets time go by, in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// lasts fails unless the connection ends by itself, about that long after since.
func (c *client) lasts(since time.Time, want time.Duration) {
	c.t.Helper()
	c.ended()
	defer c.work.Wait()
	if got := time.Since(since); got > want || got < want-want/8 {
		c.t.Errorf("it ended after %v, want %v or a little less", got, want)
	}
}

// TestHeaderTimeout: the first header has that long in all, another one from its first byte on. Who sends a byte now and then gains nothing.
func TestHeaderTimeout(t *testing.T) {
	const header = "GET / HTTP/1.1\r\nHost: example.com\r\nA: "
	drip := func(c *client) {
		for err := error(nil); err == nil; _, err = io.WriteString(c, "b") {
			pass(time.Second)
		}
	}
	t.Run("nothing", func(t *testing.T) {
		inTime(t, echo, func(_ *testing.T, _ *Server, c *client) { c.lasts(time.Now(), 10*time.Second) })
	})
	t.Run("first", func(t *testing.T) {
		inTime(t, echo, func(_ *testing.T, _ *Server, c *client) {
			began := time.Now()
			c.send(header)
			c.work.Go(func() { drip(c) })
			c.lasts(began, 10*time.Second)
		})
	})
	t.Run("second", func(t *testing.T) {
		inTime(t, echo, func(_ *testing.T, _ *Server, c *client) {
			c.get("/a", "/a")
			pass(2 * time.Minute)
			began := time.Now()
			c.send("G")
			c.send(header[1:])
			c.work.Go(func() { drip(c) })
			c.lasts(began, 10*time.Second)
		})
	})
	t.Run("behind another", func(t *testing.T) {
		inTime(t, echo, func(_ *testing.T, _ *Server, c *client) {
			began := time.Now()
			c.work.Go(func() {
				io.WriteString(c, "GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n"+header)
				drip(c)
			})
			c.read(http.MethodGet)
			c.lasts(began, 10*time.Second)
		})
	})
	t.Run("while the handler waits", func(t *testing.T) {
		inTime(t, waiting(time.Minute), func(_ *testing.T, _ *Server, c *client) {
			c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
			pass(time.Second)
			c.send("G") // which the watch reads
			c.read(http.MethodGet)
			c.lasts(time.Now(), 10*time.Second)
		})
	})
}

// waiting is a handler that waits, for the client to leave too.
func waiting(d time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	}
}

// TestIdleTimeout: between two requests, and however many there were.
func TestIdleTimeout(t *testing.T) {
	inTime(t, echo, func(_ *testing.T, _ *Server, c *client) {
		for range 5 {
			c.get("/a", "/a")
			pass(time.Minute + time.Second)
		}
		c.get("/a", "/a")
		c.lasts(time.Now(), 3*time.Minute)
	})
	t.Run("watched", func(t *testing.T) {
		inTime(t, waiting(time.Minute), func(_ *testing.T, _ *Server, c *client) {
			c.get("/", "done")
			c.lasts(time.Now(), 3*time.Minute)
		})
	})
}

// TestLongAnswer: neither how long a handler thinks nor how long its answer takes has to do with the deadlines of reading, and that of
// writing begins anew with each piece.
func TestLongAnswer(t *testing.T) {
	for name, watch := range map[string]bool{"watched": true, "not watched": false} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(w http.ResponseWriter, r *http.Request) {
				if watch {
					r.Context().Done()
				}
				pass(time.Hour)
				for range 10 {
					io.WriteString(w, kib50)
					pass(4 * time.Minute)
				}
			}, func(t *testing.T, _ *Server, c *client) {
				for range 2 {
					c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
					resp, err := http.ReadResponse(c.in, nil)
					if err != nil {
						t.Fatal(err)
					}
					n := 0
					for p := make([]byte, 4096); err == nil; pass(time.Second) {
						var more int
						more, err = resp.Body.Read(p)
						n += more
					}
					if n != 10*len(kib50) || err != io.EOF {
						t.Errorf("got %d bytes and %v", n, err)
					}
				}
			})
		})
	}
}

// TestPatience: who takes nothing is cut off, and not before.
func TestPatience(t *testing.T) {
	var waited time.Duration
	inTime(t, func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		_, err := io.WriteString(w, strings.Repeat("x", 1<<20))
		waited = time.Since(began)
		if err == nil || r.Context().Err() == nil {
			t.Errorf("got %v and %v", err, r.Context().Err())
		}
	}, func(_ *testing.T, _ *Server, c *client) {
		c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
		pass(time.Hour)
		c.ended()
	})
	if waited > 5*time.Minute || waited < 4*time.Minute {
		t.Errorf("it was waited for %v", waited)
	}
}

// TestWriteDeadline: a handler's own stands in for it, and counts for its answer alone.
func TestWriteDeadline(t *testing.T) {
	var s []string
	inTime(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/free" {
			pass(time.Minute)
			io.WriteString(w, "free")
			return
		}
		began := time.Now()
		if err := http.NewResponseController(w).SetWriteDeadline(began.Add(20 * time.Second)); err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/set" {
			io.WriteString(w, "set")
			return
		}
		_, err := io.WriteString(w, kib50)
		s = append(s, time.Since(began).String())
		if err == nil {
			t.Error("no error")
		}
	}, func(t *testing.T, _ *Server, c *client) {
		c.get("/set", "set")
		c.get("/free", "free")
		c.send("GET /late HTTP/1.1\r\nHost: example.com\r\n\r\n")
		pass(time.Minute)
		c.ended()
	})
	if len(s) != 1 || s[0] != "20s" {
		t.Errorf("got %q, want 20s", s)
	}
}
