package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// TestShutdown: who waits for an answer gets it, and the end with it; who waits for nothing is closed at once.
func TestShutdown(t *testing.T) {
	for way, secure := range ways {
		t.Run(way, func(t *testing.T) {
			waits, goOn := make(chan bool), make(chan bool)
			d := open(t, secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/wait" {
					waits <- true
					<-goOn
				}
				io.WriteString(w, r.URL.Path)
			}))
			idle, busy := d.dial(t), d.dial(t)
			idle.get("/a", "/a")
			busy.send("GET /wait HTTP/1.1\r\nHost: example.com\r\n\r\n")
			served.Hear(t, "the handler", waits)
			done := make(chan error, 2)
			for range 2 { // two may ask for it
				go func() { done <- d.ours.Shutdown(t.Context()) }()
			}
			idle.ended()
			select {
			case <-done:
				t.Error("it did not wait for the answer")
			default:
			}
			close(goOn)
			if resp, body := busy.read(http.MethodGet); body != "/wait" || !resp.Close {
				t.Errorf("got %q, close %v", body, resp.Close)
			}
			busy.ended()
			for range 2 {
				if err := served.Hear(t, "Shutdown", done); err != nil {
					t.Error(err)
				}
			}
			if err := d.ours.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			server, c := pipe(t)
			d.ours.Serve(t.Context(), server, nil)
			c.ended()
		})
	}
}

// TestShutdownTime: a new connection may still send its request, for some seconds; and there is an end.
func TestShutdownTime(t *testing.T) {
	shutdown := func(s *Server) (done chan error) {
		done = make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		synctest.Wait()
		return done
	}
	t.Run("new", func(t *testing.T) {
		inTime(t, echo, func(t *testing.T, s *Server, c *client) {
			synctest.Wait()
			done, began := shutdown(s), time.Now()
			c.ended()
			if got := time.Since(began); got < graceOfNew || got > graceOfNew+time.Second {
				t.Errorf("it ended after %v", got)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("new, with a request", func(t *testing.T) {
		inTime(t, echo, func(t *testing.T, s *Server, c *client) {
			synctest.Wait()
			done := shutdown(s)
			pass(3 * time.Second)
			if resp := c.get("/a", "/a"); !resp.Close {
				t.Error("it goes on")
			}
			c.ended()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("no end", func(t *testing.T) {
		inTime(t, waiting(time.Hour), func(t *testing.T, s *Server, c *client) {
			c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
				t.Errorf("got %v after %v", err, time.Since(began))
			}
			s.Close() // which the handler hears of, since it waits for the client
			c.ended()
		})
	})
}

// TestShutdownAtOnce: requests, answers and the end at the same time. Whoever gets an answer gets all of it.
func TestShutdownAtOnce(t *testing.T) {
	for range 20 {
		d := open(t, false, echo)
		var work sync.WaitGroup
		for range 8 {
			c := d.dial(t)
			work.Go(func() {
				for {
					if _, err := io.WriteString(c, "GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n"); err != nil {
						return
					}
					resp, err := http.ReadResponse(c.in, nil)
					if err != nil {
						return
					}
					if body, err := io.ReadAll(resp.Body); string(body) != "/a" || err != nil {
						t.Errorf("got %q and %v", body, err)
					}
				}
			})
		}
		runtime.Gosched()
		if err := d.ours.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		work.Wait()
	}
}

// TestGoexit: a handler that ends its goroutine ends its connection, and nothing waits for it.
func TestGoexit(t *testing.T) {
	d := open(t, false, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() }))
	c := d.dial(t)
	c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	c.ended()
	if err := d.ours.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestBadLengths: what is no length does not go out as one.
func TestBadLengths(t *testing.T) {
	for _, lengths := range [][]string{{"x"}, {"-1"}, {""}, {"", "5"}, {"5", "6"}, {"5", "x"}, {"+5"}, {"0x5"}, {"5 "}} {
		d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Length"] = lengths
			w.Header()["Transfer-Encoding"] = []string{"identity"}
			io.WriteString(w, "hello")
		}))
		c := d.dial(t)
		resp := c.get("/", "hello")
		if resp.ContentLength != 5 || resp.TransferEncoding != nil || len(resp.Header["Content-Length"]) != 1 {
			t.Errorf("%q: got %v, %q", lengths, resp.TransferEncoding, resp.Header["Content-Length"])
		}
		c.get("/", "hello")
	}
}

// broken is a file that cannot be read to its end.
type broken struct {
	io.Reader
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

// TestReadFromBroken: an error of what is read from is told, with how much of it went out; the handler may go on from there.
func TestReadFromBroken(t *testing.T) {
	why := errors.New("bad disk")
	for _, mended := range []bool{true, false} {
		d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			w.Header().Set("Content-Type", "a/b")
			n, err := w.(io.ReaderFrom).ReadFrom(&broken{strings.NewReader(strings.Repeat("a", 60000)), why})
			if n != 60000 || !errors.Is(err, why) {
				t.Errorf("got %d and %v", n, err)
			}
			if mended {
				io.WriteString(w, strings.Repeat("b", 30000))
				n, err = io.Copy(w, strings.NewReader(strings.Repeat("c", 10000)))
				if n != 10000 || err != nil {
					t.Errorf("behind: got %d and %v", n, err)
				}
			}
		}))
		c := d.dial(t)
		if mended {
			c.get("/", strings.Repeat("a", 60000)+strings.Repeat("b", 30000)+strings.Repeat("c", 10000))
			c.get("/", strings.Repeat("a", 60000)+strings.Repeat("b", 30000)+strings.Repeat("c", 10000))
			continue
		}
		c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
		resp, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); len(body) != 60000 || err != io.ErrUnexpectedEOF {
			t.Errorf("got %d bytes and %v", len(body), err)
		}
	}
}

// TestReadFromMore: of a source that has more than was announced only that goes out, since the rest would be taken for another answer.
func TestReadFromMore(t *testing.T) {
	path := file(t, 100000)
	for _, count := range []int64{-1, 70000, 60000} {
		handler := copied(path, 60000, 0, count)
		d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler(w, r, func(...any) {})
		}))
		c := d.dial(t)
		for range 2 {
			c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
			if _, body := c.read(http.MethodGet); len(body) != 60000 {
				t.Errorf("got %d bytes", len(body))
			}
		}
	}
}

// TestCloseCutsAll: whatever is under way.
func TestCloseCutsAll(t *testing.T) {
	waits := make(chan bool)
	d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		waits <- true
		<-r.Context().Done()
	}))
	c := d.dial(t)
	c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	served.Hear(t, "the handler", waits)
	d.ours.Close()
	if _, err := io.ReadAll(c.in); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Log(err)
	}
	if err := d.ours.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestWriteDeadlineBeside: who watches over a write from another goroutine can end it.
func TestWriteDeadlineBeside(t *testing.T) {
	for way, secure := range ways {
		t.Run(way, func(t *testing.T) {
			ended := make(chan error, 1)
			d := open(t, secure, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				var beside sync.WaitGroup
				began := make(chan bool)
				beside.Go(func() {
					<-began
					http.NewResponseController(w).SetWriteDeadline(time.Now())
				})
				close(began)
				var err error
				for p := make([]byte, 256<<10); err == nil; {
					_, err = w.Write(p)
				}
				beside.Wait()
				ended <- err
			}))
			c := d.dial(t)
			c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
			if err := served.Hear(t, "the write's end", ended); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
}
