//go:build linux && !race

package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// sockets are the two ends of a connection, of which ours is as a door has it.
func sockets(t *testing.T) (ours net.Conn, theirs *net.TCPConn) {
	t.Helper()
	a, b := connected(t)
	ours = newSocket(a)
	if _, ok := ours.(*socket); !ok {
		t.Fatalf("got a %T", ours)
	}
	for _, c := range []net.Conn{a, b} {
		c.SetDeadline(time.Now().Add(patience))
	}
	return ours, b.(*net.TCPConn)
}

// TestSocketBytes: pieces of all sizes come through whole and in order, both ways at once, with a slow reader too.
func TestSocketBytes(t *testing.T) {
	ours, theirs := sockets(t)
	theirs.SetReadBuffer(16 << 10)
	content := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{}).Read(content)
	sizes := []int{1, 2, 100, 1 << 10, 16 << 10, smallCall - 1, smallCall, smallCall + 1, 200 << 10}
	send := func(c net.Conn, done chan<- error) {
		for at := 0; at < len(content); {
			n := min(sizes[rand.IntN(len(sizes))], len(content)-at)
			if m, err := c.Write(content[at : at+n]); m != n || err != nil {
				done <- err
				return
			}
			at += n
		}
		done <- nil
	}
	take := func(c net.Conn, done chan<- error) {
		got := make([]byte, 0, len(content))
		for len(got) < len(content) {
			n, err := c.Read(got[len(got):min(len(content), len(got)+sizes[rand.IntN(len(sizes))])])
			if n == 0 || err != nil {
				done <- err
				return
			}
			got = got[:len(got)+n]
		}
		if !bytes.Equal(got, content) {
			t.Error("got other bytes")
		}
		done <- nil
	}
	done := make(chan error, 4)
	go send(ours, done) // all are waited for below
	go send(theirs, done)
	go take(ours, done)
	go take(theirs, done)
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// unread is a file that only the kernel may read.
type unread struct {
	*os.File
	t *testing.T
}

func (u unread) Read(p []byte) (int, error) {
	u.t.Error("a file was read that the kernel could have sent")
	return u.File.Read(p)
}

// TestSocketSendfile: what goes from a file to a client is not read by us.
func TestSocketSendfile(t *testing.T) {
	ours, theirs := sockets(t)
	content := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{}).Read(content)
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(ours, io.LimitReader(unread{f, t}, int64(len(content))))
		done <- errors.Join(err, ours.Close())
	}()
	got, err := io.ReadAll(theirs)
	if err := errors.Join(err, <-done); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes and %v, want the %d of the file", len(got), err, len(content))
	}
}

// TestSocketManyWriters: a piece is not torn by another's.
func TestSocketManyWriters(t *testing.T) {
	ours, theirs := sockets(t)
	const writers, pieces, size = 8, 200, 3000
	for n := range writers {
		go func() { // ends with the last piece, which is read below
			for range pieces {
				ours.Write(bytes.Repeat([]byte{byte(n)}, size))
			}
		}()
	}
	piece := make([]byte, size)
	for range writers * pieces {
		if _, err := io.ReadFull(theirs, piece); err != nil || bytes.Count(piece, piece[:1]) != size {
			t.Fatalf("got %v, or a torn piece", err)
		}
	}
}

// TestSocketErrors: each end of a connection looks as it does on the usual way, in words and in kind.
func TestSocketErrors(t *testing.T) {
	past := time.Now().Add(-time.Second)
	buf := make([]byte, 100)
	read := func(c net.Conn) (int, error) { return c.Read(buf) }
	write := func(c net.Conn) (int, error) { return c.Write(buf) }
	flood := func(c net.Conn) (n int, err error) {
		for err == nil {
			_, err = c.Write(buf)
		}
		return 0, err
	}
	for _, row := range []struct {
		what  string
		spoil func(ours, theirs net.Conn)
		do    func(net.Conn) (int, error)
		is    error
	}{
		{"read nothing", func(_, _ net.Conn) {}, func(c net.Conn) (int, error) { return c.Read(nil) }, nil},
		{"write nothing", func(_, _ net.Conn) {}, func(c net.Conn) (int, error) { return c.Write(nil) }, nil},
		{"read to the end", func(_, theirs net.Conn) { theirs.Close() }, read, io.EOF},
		{"read too late", func(ours, _ net.Conn) { ours.SetReadDeadline(past) }, read, os.ErrDeadlineExceeded},
		{"read until it is too late", func(ours, _ net.Conn) { ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) }, read, os.ErrDeadlineExceeded},
		{"read when closed", func(ours, _ net.Conn) { ours.Close() }, read, net.ErrClosed},
		{"read until closed", func(ours, _ net.Conn) { time.AfterFunc(10*time.Millisecond, func() { ours.Close() }) }, read, net.ErrClosed},
		{"read from one who broke it off", func(_, theirs net.Conn) { breakOff(theirs) }, read, syscall.ECONNRESET},
		{"write too late", func(ours, _ net.Conn) { ours.SetWriteDeadline(past) }, write, os.ErrDeadlineExceeded},
		{"write until it is too late", func(ours, _ net.Conn) { ours.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)) }, flood, os.ErrDeadlineExceeded},
		{"write when closed", func(ours, _ net.Conn) { ours.Close() }, write, net.ErrClosed},
		{"write until closed", func(ours, _ net.Conn) { time.AfterFunc(50*time.Millisecond, func() { ours.Close() }) }, flood, net.ErrClosed},
		{"write to the end", func(ours, _ net.Conn) { ours.(interface{ CloseWrite() error }).CloseWrite() }, write, syscall.EPIPE},
	} {
		t.Run(row.what, func(t *testing.T) {
			var kinds, words [2]string
			for i := range 2 {
				ours, theirs := sockets(t)
				if i == 1 {
					ours = ours.(*socket).TCPConn
				}
				row.spoil(ours, theirs)
				n, err := row.do(ours)
				if n != 0 || !errors.Is(err, row.is) {
					t.Errorf("%T: got %d, %v, want %v", ours, n, err, row.is)
				}
				if e, ok := err.(*net.OpError); ok {
					words[i], kinds[i] = e.Op+" "+e.Err.Error(), e.Net
					if e.Source.String() != ours.LocalAddr().String() || e.Addr.String() != ours.RemoteAddr().String() {
						t.Errorf("%T: got the addresses %v and %v", ours, e.Source, e.Addr)
					}
				}
			}
			if kinds[0] != kinds[1] || words[0] != words[1] {
				t.Errorf("got %s %s, want %s %s", kinds[0], words[0], kinds[1], words[1])
			}
		})
	}
}

// breakOff ends a connection by a reset, and waits until it is under way.
func breakOff(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// TestSocketPartOfAWrite: a write that is cut short by its deadline tells how much of it was taken.
func TestSocketPartOfAWrite(t *testing.T) {
	ours, theirs := sockets(t)
	ours.(*socket).SetWriteBuffer(8 << 10)
	theirs.SetReadBuffer(8 << 10)
	ours.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	total := 0
	for {
		n, err := ours.Write(make([]byte, smallCall))
		total += n
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			break
		}
	}
	ours.Close()
	if got, err := io.Copy(io.Discard, theirs); got != int64(total) || err != nil {
		t.Errorf("%d bytes came, %v, of %d that were taken", got, err, total)
	}
}
