package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// readingTurn is a turn whose way leads to h by plain HTTP.
func readingTurn(t *testing.T, h http.HandlerFunc) *turn {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	addr := srv.Listener.Addr().String()
	return &turn{bed: &bed{ctx: t.Context()}, way: way{name: wayPlain, addr: addr, base: "http://" + addr + "/"}}
}

// TestSlowReadersRead: memory is looked at while all of them read, and their leaving is no error.
func TestSlowReadersRead(t *testing.T) {
	var reading atomic.Int32
	turn := readingTurn(t, func(w http.ResponseWriter, r *http.Request) {
		reading.Add(1)
		w.Write(make([]byte, 64<<10))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	looked := int32(0)
	err := turn.whileReading(3, 1, "layer", func(context.Context) error {
		looked = reading.Load()
		return nil
	})
	if err != nil || looked != 3 {
		t.Errorf("got %v, and %d who read, want 3", err, looked)
	}
}

// TestSlowReaderRefused: one of several who is refused had no memory of the server's, and must not count as one who has.
func TestSlowReaderRefused(t *testing.T) {
	var asked atomic.Int32
	turn := readingTurn(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 3 {
			http.Error(w, "too many", http.StatusTooManyRequests)
			return
		}
		w.Write(make([]byte, 64<<10))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	err := turn.whileReading(3, 1, "layer", func(context.Context) error {
		t.Error("memory was looked at")
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("got %v, want the refusal", err)
	}
}

// TestSlowReaderCutOff: one whose transfer ends while memory is measured fails the turn too.
func TestSlowReaderCutOff(t *testing.T) {
	looking := make(chan struct{})
	turn := readingTurn(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write(make([]byte, 64<<10))
		w.(http.Flusher).Flush()
		<-looking
		panic(http.ErrAbortHandler)
	})
	err := turn.whileReading(2, 1, "layer", func(ctx context.Context) error {
		close(looking)
		<-ctx.Done() // the next piece, which does not come
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
		t.Errorf("got %v, want that the transfer was cut off", err)
	}
}

// TestInUse: a program that has ended, and a server without any, have no memory that a table could show.
func TestInUse(t *testing.T) {
	s := &server{name: "nginx", dir: t.TempDir()}
	if _, err := s.inUse(); err == nil || !strings.Contains(err.Error(), "no memory in use") {
		t.Errorf("got %v, want that there is nothing to measure", err)
	}
	if err := s.spawn("/bin/cat", nil, "/dev/null"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	if err := unix.Waitid(unix.P_PID, s.commands[0].Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.inUse(); err == nil || !strings.Contains(err.Error(), "/bin/cat has ended") {
		t.Errorf("got %v, want that the program has ended", err)
	}
}

// TestConnectionsStillOpen: one that the server has closed is not taken for one that it keeps, read or not.
func TestConnectionsStillOpen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	open := &openConns{}
	defer open.close()
	var ends []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open.add(c)
		end, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer end.Close()
		ends = append(ends, end)
	}
	if err := open.still(2); err != nil {
		t.Error(err)
	}
	ends[0].Write([]byte("unread"))
	ends[0].Close()
	if err := open.still(2); err == nil || !strings.Contains(err.Error(), "got 1 ") {
		t.Errorf("got %v, want that one is not open any more", err)
	}
}
