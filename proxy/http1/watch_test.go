package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// TestClientLeaves: the context ends when the client does, whether by closing the connection or one half of it.
func TestClientLeaves(t *testing.T) {
	for way, secure := range ways {
		for how, leave := range map[string]func(net.Conn){
			"closes":      func(c net.Conn) { c.Close() },
			"half closes": func(c net.Conn) { c.(interface{ CloseWrite() error }).CloseWrite() },
		} {
			for behind, more := range map[string]string{"": "", ", more sent": "GET /b"} {
				t.Run(way+" "+how+behind, func(t *testing.T) {
					waits, told := make(chan bool), make(chan error)
					d := open(t, secure, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						ctx, cancel := context.WithCancel(r.Context())
						defer cancel()
						waits <- true
						<-ctx.Done()
						told <- errors.Join(ctx.Err(), r.Context().Err(), context.Cause(r.Context()))
					}))
					c := d.dial(t)
					c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" + more)
					served.Hear(t, "the handler", waits)
					leave(c.Conn)
					if err := served.Hear(t, "its end", told); !errors.Is(err, context.Canceled) {
						t.Errorf("got %v", err)
					}
				})
			}
		}
	}
}

// TestErrTells: who asks Err again and again and never for Done is told too.
func TestErrTells(t *testing.T) {
	waits, told := make(chan bool), make(chan error)
	d := open(t, false, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		first := r.Context().Err()
		waits <- true
		for r.Context().Err() == nil {
			runtime.Gosched()
		}
		told <- first
	}))
	c := d.dial(t)
	c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	served.Hear(t, "the handler", waits)
	c.Close()
	if err := served.Hear(t, "its end", told); err != nil {
		t.Errorf("at first: got %v, want none", err)
	}
}

// TestWriteErrorEndsContext: a client that is gone is noticed by writing too, where it is not watched.
func TestWriteErrorEndsContext(t *testing.T) {
	told := make(chan error, 1)
	d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		for p := make([]byte, 1<<20); err == nil; {
			_, err = w.Write(p)
		}
		told <- r.Context().Err()
	}))
	c := d.dial(t)
	c.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	c.read1(t)
	c.Close()
	if err := served.Hear(t, "the handler's end", told); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

func (c *client) read1(t *testing.T) {
	t.Helper()
	if _, err := c.in.ReadByte(); err != nil {
		t.Fatal(err)
	}
}

// TestContextAfterRequest: what a handler keeps of a request says that it is over, and takes nothing from the next one.
func TestContextAfterRequest(t *testing.T) {
	for name, early := range map[string]func(context.Context){
		"asked before": func(ctx context.Context) { ctx.Done() },
		"asked for Err": func(ctx context.Context) {
			if err := ctx.Err(); err != nil {
				t.Errorf("too early: %v", err)
			}
		},
		"not asked before": func(context.Context) {},
	} {
		t.Run(name, func(t *testing.T) {
			kept := make(chan context.Context, 1)
			d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/keep" {
					early(r.Context())
					kept <- r.Context()
				}
				io.WriteString(w, r.URL.Path)
			}))
			c := d.dial(t)
			c.get("/keep", "/keep")
			c.get("/a", "/a") // now the first is over
			ctx := <-kept
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			served.Hear(t, "its end", child.Done())
			served.Hear(t, "its end", ctx.Done())
			if err := ctx.Err(); err != context.Canceled {
				t.Errorf("got %v", err)
			}
			c.get("/b", "/b")
			c.get("/c", "/c")
		})
	}
}

// TestContextChildren: contexts made of a request's cost no goroutine each, which they do where package context does not know the parent.
func TestContextChildren(t *testing.T) {
	type key struct{}
	more := make(chan int, 1)
	d := open(t, false, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		before := runtime.NumGoroutine()
		ctx := context.WithValue(r.Context(), key{}, 1)
		for range 10 {
			_, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			_, cancel = context.WithCancel(r.Context())
			defer cancel()
			defer context.AfterFunc(ctx, func() {})()
		}
		more <- runtime.NumGoroutine() - before
	}))
	c := d.dial(t)
	c.get("/", "")
	if got := <-more; got > 10 { // one that watches, and what other tests left to end meanwhile
		t.Errorf("for 30 children: got %d goroutines more, want one", got)
	}
}

// TestAskedAtOnce: several goroutines may ask, before, while and after the request ends. The race detector looks on.
func TestAskedAtOnce(t *testing.T) {
	d := open(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		for range 4 {
			go func() {
				ctx.Value(0)
				<-ctx.Done()
				ctx.Err()
			}()
		}
		io.WriteString(w, r.URL.Path)
	}))
	c := d.dial(t)
	for range 200 {
		c.get("/a", "/a")
	}
}
