package http2

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// inTime runs a test whose time passes only when everybody waits. Its client has sent the preface alone.
func inTime(t *testing.T, h http.HandlerFunc, f func(t *testing.T, s *Server, p *peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &Server{
			Handler: h, HeaderTimeout: 10 * time.Second, IdleTimeout: 3 * time.Minute, Patience: 5 * time.Minute, MaxStreams: 100, MaxHeader: 64 << 10,
		}
		server, c := net.Pipe()
		var work sync.WaitGroup
		work.Go(func() { s.Serve(t.Context(), server, nil) })
		f(t, s, newPeer(t, c))
		c.Close()
		work.Wait()
	})
}

// pass lets time go by, in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// lasts fails unless the connection ends by itself, about that long after since.
func (p *peer) lasts(since time.Time, want time.Duration) {
	p.t.Helper()
	p.closed()
	if got := time.Since(since); got > want+goodbye || got < want {
		p.t.Errorf("it ended after %v, want %v", got, want)
	}
}

// TestHeaderTimeout: a connection begins at once, or ends.
func TestHeaderTimeout(t *testing.T) {
	for name, begin := range map[string]string{"nothing": "", "half": http2.ClientPreface[:9], "no settings": http2.ClientPreface, "half of them": http2.ClientPreface + "\x00\x00\x06\x04"} {
		t.Run(name, func(t *testing.T) {
			inTime(t, echo, func(t *testing.T, _ *Server, p *peer) {
				began := time.Now()
				p.listen()
				io.WriteString(p.Conn, begin)
				p.lasts(began, 10*time.Second)
			})
		})
	}
}

// TestIdleTimeout: it begins with the end of the last answer, is not prolonged by what is no request, and its end is told.
func TestIdleTimeout(t *testing.T) {
	inTime(t, func(http.ResponseWriter, *http.Request) { pass(10 * time.Minute) }, func(t *testing.T, _ *Server, p *peer) {
		p.listen().greet()
		for id := uint32(1); id < 9; id += 2 {
			p.get(id, "/")
			p.want(id, "200", "")
			pass(2*time.Minute + 59*time.Second)
		}
		p.get(9, "/")
		p.want(9, "200", "")
		began := time.Now()
		for range 2 {
			pass(time.Minute)
			p.alive()
		}
		p.lasts(began, 3*time.Minute)
	})
	t.Run("without a request", func(t *testing.T) {
		inTime(t, echo, func(t *testing.T, _ *Server, p *peer) {
			began := time.Now()
			p.listen().greet()
			if f := p.next(http2.FrameGoAway); http2.ErrCode(f.number) != http2.ErrCodeNo || time.Since(began) != 3*time.Minute {
				t.Errorf("got %v after %v", http2.ErrCode(f.number), time.Since(began))
			}
			p.get(1, "/") // which was on its way
			if f := p.next(http2.FrameRSTStream); http2.ErrCode(f.number) != http2.ErrCodeRefusedStream {
				t.Errorf("got %v", http2.ErrCode(f.number))
			}
			p.lasts(began, 3*time.Minute)
		})
	})
	t.Run("in the middle of a frame", func(t *testing.T) {
		inTime(t, echo, func(t *testing.T, _ *Server, p *peer) {
			began := time.Now()
			p.listen().greet()
			pass(time.Minute)
			io.WriteString(p.Conn, "\x00\x00\x05\x01")
			p.lasts(began, 3*time.Minute)
		})
	})
}

// TestNoWindow: a client that takes nothing of an answer has it reset, and keeps the connection for the others.
func TestNoWindow(t *testing.T) {
	inTime(t, func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		_, err := io.WriteString(w, "hello")
		if err == nil {
			err = http.NewResponseController(w).Flush()
		}
		if got := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || got != 5*time.Minute {
			t.Errorf("got %v after %v", err, got)
		}
	}, func(t *testing.T, _ *Server, p *peer) {
		p.listen().greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		p.get(1, "/")
		p.want(1, "reset INTERNAL_ERROR", "")
		p.alive()
	})
}

// TestPatience: a client that reads nothing is cut off, with all its streams.
func TestPatience(t *testing.T) {
	inTime(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/write" {
			began := time.Now()
			_, err := w.Write(make([]byte, 8<<10))
			if got := time.Since(began); err == nil || got > 5*time.Minute || got < 4*time.Minute {
				t.Errorf("got %v after %v", err, got)
			}
		}
		<-r.Context().Done()
	}, func(_ *testing.T, _ *Server, p *peer) {
		var work sync.WaitGroup
		work.Go(func() {
			io.ReadFull(p.Conn, make([]byte, 9+3*6+9+4+9)) // the server's preface and its answer to ours
		})
		p.greet()
		work.Wait()
		p.get(1, "/write")
		p.get(3, "/")
		pass(time.Hour)
	})
}

// TestWriteDeadline: it ends a write that waits for a window, whoever sets it and when, for its own stream alone.
func TestWriteDeadline(t *testing.T) {
	for name, wait := range map[string]time.Duration{"before": 0, "beside": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/free" {
					io.WriteString(w, "free")
					return
				}
				began := time.Now()
				set := func() { http.NewResponseController(w).SetWriteDeadline(began.Add(20 * time.Second)) }
				if wait == 0 {
					set()
				} else {
					time.AfterFunc(wait, set)
				}
				_, err := w.Write(make([]byte, 1<<20))
				if got := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || got != 20*time.Second {
					t.Errorf("got %v after %v", err, got)
				}
				if err := http.NewResponseController(w).Flush(); err == nil {
					t.Error("it can still be written")
				}
			}, func(t *testing.T, _ *Server, p *peer) {
				p.listen().greet()
				p.get(1, "/")
				p.next(http2.FrameRSTStream)
				p.widen(0, 100)
				p.get(3, "/free")
				p.want(3, "200", "free")
			})
		})
	}
}

// TestLongAnswer: how long a handler thinks, or a client, has to do with none of the deadlines.
func TestLongAnswer(t *testing.T) {
	inTime(t, func(w http.ResponseWriter, r *http.Request) {
		pass(time.Hour)
		for range 10 {
			w.Write(make([]byte, 50<<10))
			pass(4 * time.Minute)
		}
	}, func(t *testing.T, _ *Server, p *peer) {
		p.listen().greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		p.get(1, "/")
		p.next(http2.FrameHeaders)
		for n := 0; n < 500<<10; {
			pass(4 * time.Minute)
			p.widen(0, 16<<10)
			p.widen(1, 16<<10)
			n += len(p.next(http2.FrameData).data)
		}
		if f := p.next(http2.FrameData, http2.FrameRSTStream); f.kind != http2.FrameData || !f.flags.Has(http2.FlagDataEndStream) {
			t.Errorf("got %v", f.kind)
		}
	})
}

// TestShutdown: answers under way come whole, new requests are refused, and who has none is let go.
func TestShutdown(t *testing.T) {
	inTime(t, func(w http.ResponseWriter, r *http.Request) {
		pass(time.Minute)
		io.WriteString(w, "whole")
	}, func(t *testing.T, s *Server, p *peer) {
		p.listen().greet()
		p.get(1, "/")
		synctest.Wait()
		done := make(chan error, 2)
		began := time.Now()
		for range 2 {
			go func() { done <- s.Shutdown(t.Context()) }()
		}
		if f := p.next(http2.FrameGoAway); http2.ErrCode(f.number) != http2.ErrCodeNo || f.last != 1 {
			t.Errorf("got %v of %d", http2.ErrCode(f.number), f.last)
		}
		p.get(3, "/")
		p.want(3, "reset REFUSED_STREAM", "")
		p.want(1, "200", "whole")
		p.lasts(began, time.Minute)
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		server, c := net.Pipe()
		s.Serve(t.Context(), server, nil)
		newPeer(t, c).listen().closed()
	})
	t.Run("new", func(t *testing.T) {
		inTime(t, echo, func(t *testing.T, s *Server, p *peer) {
			synctest.Wait()
			began := time.Now()
			p.listen()
			if err := s.Shutdown(t.Context()); err != nil || time.Since(began) > goodbye {
				t.Errorf("got %v after %v", err, time.Since(began))
			}
			p.closed()
		})
	})
	t.Run("still read", func(t *testing.T) { // by a client that tells so
		inTime(t, echo, func(t *testing.T, s *Server, p *peer) {
			p.listen().greet()
			p.get(1, "/a")
			p.want(1, "200", "/a")
			go s.Shutdown(t.Context())
			p.next(http2.FrameGoAway)
			began := time.Now()
			for range 50 {
				pass(goodbye - time.Millisecond)
				p.widen(0, 1)
			}
			p.lasts(began, 50*goodbye-50*time.Millisecond+goodbye)
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
		inTime(t, echo, func(t *testing.T, s *Server, p *peer) {
			p.listen().greet()
			synctest.Wait()
			go s.Shutdown(t.Context())
			p.next(http2.FrameGoAway)
			began := time.Now()
			for range 1000 { // there is an end to that
				pass(goodbye / 2)
				p.widen(0, 1)
			}
			p.closed()
			if got := time.Since(began); got < 5*time.Minute {
				t.Errorf("it ended after %v", got)
			}
		})
	})
	t.Run("no end", func(t *testing.T) {
		var why error
		inTime(t, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			_, why = io.WriteString(w, "x")
			if why == nil {
				why = http.NewResponseController(w).Flush()
			}
		}, func(t *testing.T, s *Server, p *peer) {
			p.listen().greet()
			p.get(1, "/")
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			s.Close()
			p.closed()
		})
		if why == nil {
			t.Error("the handler's write did not fail")
		}
	})
}

// TestContext: it ends when the client takes its request back, when it leaves, and with the request.
func TestContext(t *testing.T) {
	for name, leave := range map[string]func(p *peer){
		"reset":  func(p *peer) { p.must(p.WriteRSTStream(1, http2.ErrCodeCancel)) },
		"closed": func(p *peer) { p.Conn.Close() },
		"wrong":  func(p *peer) { p.WriteWindowUpdate(1, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			var kept context.Context
			inTime(t, func(_ http.ResponseWriter, r *http.Request) {
				kept = r.Context()
				began := time.Now()
				<-r.Context().Done()
				if got := time.Since(began); got != time.Minute {
					t.Errorf("it ended after %v", got)
				}
				if n, err := r.Body.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
					t.Errorf("the body: got %d and %v", n, err)
				}
			}, func(t *testing.T, _ *Server, p *peer) {
				p.listen().greet()
				p.post(1, "/")
				pass(time.Minute)
				leave(p)
				synctest.Wait()
				if kept.Err() == nil {
					t.Error("it did not end")
				}
			})
		})
	}
	t.Run("answered", func(t *testing.T) {
		var kept context.Context
		inTime(t, func(_ http.ResponseWriter, r *http.Request) { kept = r.Context() }, func(t *testing.T, _ *Server, p *peer) {
			p.listen().greet()
			p.get(1, "/")
			p.want(1, "200", "")
			synctest.Wait()
			if kept.Err() == nil {
				t.Error("it did not end")
			}
		})
	})
}
