package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// countedConn counts what the kernel is asked for, and breaks when it is told to.
type countedConn struct {
	net.Conn
	writes, largest atomic.Int64
	broken          atomic.Bool
}

var errBroken = errors.New("broken")

func (c *countedConn) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, errBroken
	}
	c.writes.Add(1)
	c.largest.Store(max(c.largest.Load(), int64(len(p))))
	return c.Conn.Write(p)
}

// openedPair is a connection with TLS on both sides, as net/http has it for HTTP/1, and the client's end.
func openedPair(t *testing.T) (*opened, *countedConn, *tls.Conn) {
	t.Helper()
	st := newSite(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	counted := &countedConn{Conn: near}
	below := &gathering{wire: &wire{Conn: counted, authority: "quay.io"}}
	o := &opened{Conn: tls.Server(below, st.server.tls), below: below}
	client := tls.Client(far, &tls.Config{ServerName: "quay.io", RootCAs: st.transport(doorTLS).TLSClientConfig.RootCAs})
	t.Cleanup(func() { o.Close(); client.Close() })
	go o.Handshake()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	return o, counted, client
}

// TestGathered: a large write is few writes to the kernel, and the client gets the same; a small one is not kept waiting.
func TestGathered(t *testing.T) {
	o, counted, client := openedPair(t)
	content := bytes.Repeat([]byte("0123456789abcde"), 1<<16)
	for _, n := range []int{1, 100, maxRecord, maxRecord + 1, 64 << 10, 256 << 10, len(content), 5} {
		before := counted.writes.Load()
		wrote := make(chan error, 1)
		go func() {
			_, err := o.Write(content[:n])
			wrote <- err
		}()
		got := make([]byte, n)
		if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, content[:n]) {
			t.Fatalf("%d bytes: got others, %v", n, err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		asked, want := counted.writes.Load()-before, int64(n/(3*maxRecord)+1) // the first records of a connection are smaller
		if n > 1<<19 && asked > want || n <= maxRecord && asked > 16 || counted.largest.Load() > gathered {
			t.Errorf("%d bytes: the kernel was asked %d times, for up to %d bytes", n, asked, counted.largest.Load())
		}
	}
}

// TestGatheredBreaks: what broke stays broken, since a client could make nothing of records with one missing; and nobody waits.
func TestGatheredBreaks(t *testing.T) {
	o, counted, _ := openedPair(t)
	counted.broken.Store(true)
	if _, err := o.Write(make([]byte, 40<<10)); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
	counted.broken.Store(false)
	before := counted.writes.Load()
	for _, n := range []int{10, 40 << 10} {
		if _, err := o.Write(make([]byte, n)); !errors.Is(err, errBroken) {
			t.Errorf("afterwards, %d bytes: got %v, want %v", n, err, errBroken)
		}
	}
	if counted.writes.Load() != before {
		t.Error("something was written behind what was lost")
	}
}

// TestGatheredStops: a client that takes nothing ends the write by its deadline, an alert of another goroutine included.
func TestGatheredStops(t *testing.T) {
	o, _, _ := openedPair(t)
	done := make(chan error, 1)
	go func() {
		for {
			if _, err := o.Write(make([]byte, 1<<20)); err != nil {
				done <- err
				return
			}
		}
	}()
	o.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if err := <-done; err == nil {
		t.Error("got nil, want the deadline")
	}
	o.CloseWrite()
}
