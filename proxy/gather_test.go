package proxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// tally counts writes by their size, and breaks when it is told to.
type tally struct {
	net.Conn
	sizes  []int
	broken bool
}

func (c *tally) Write(p []byte) (int, error) {
	if c.broken {
		return 0, io.ErrClosedPipe
	}
	c.sizes = append(c.sizes, len(p))
	return c.Conn.Write(p)
}

// TestLargePieces: a large piece inside TLS is one write, by any version and suite, and its last byte is never waited for, whatever the
// size of its last record.
func TestLargePieces(t *testing.T) {
	sizes := []int{1, 100, smallPiece, smallPiece + 1, middlePiece, middlePiece + framesOfPiece, middlePiece + framesOfPiece + 1, largePiece - 1, largePiece}
	for over := range 40 { // a last record of each small size
		sizes = append(sizes, 15<<14+over)
	}
	for _, protocol := range []struct{ version, suite uint16 }{
		{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
		{tls.VersionTLS13, 0},
	} {
		t.Run(fmt.Sprintf("%s %s", tls.VersionName(protocol.version), tls.CipherSuiteName(protocol.suite)), func(t *testing.T) {
			counted := &tally{}
			server, client := shaken(t, counted, protocol.version, protocol.suite)
			all := make(chan error, 1)
			for _, size := range sizes {
				counted.sizes = nil
				piece := bytes.Repeat([]byte{byte(size), byte(size >> 8), 1}, size/3+1)[:size]
				go func() { // waited for below
					n, err := server.Write(piece)
					all <- err
					if n != size {
						t.Errorf("%d bytes: %d were taken", size, n)
					}
				}()
				got := make([]byte, size)
				if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, piece) {
					t.Fatalf("%d bytes: got %v, or other bytes", size, err)
				}
				if err := <-all; err != nil {
					t.Fatalf("%d bytes: got %v", size, err)
				}
				if size > smallPiece && (len(counted.sizes) > 2 || slices.Max(counted.sizes) < size-40) {
					t.Errorf("%d bytes: got writes of %v, want one, and one more at most where small records took more room", size, counted.sizes)
				}
			}
		})
	}
}

// shaken are the two ends of a connection inside TLS, with the handshake behind them. counted is below our end.
func shaken(t *testing.T, counted *tally, version, suite uint16) (*opened, *tls.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, pool := selfSigned(t, key.Public(), key, &x509.Certificate{DNSNames: []string{"cache.lan"}})
	ours, theirs := connected(t)
	counted.Conn = ours
	below := &gathering{wire: &wire{Conn: counted}}
	server := &opened{below: below, Conn: tls.Server(below, &tls.Config{
		Certificates: []tls.Certificate{cert}, MaxVersion: version, CipherSuites: []uint16{suite},
	})}
	client := tls.Client(theirs, &tls.Config{RootCAs: pool, ServerName: "cache.lan", MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }() // waited for in the next lines
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return server, client
}

// connected are the two ends of a connection.
func connected(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if theirs, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if ours, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
	})
	return ours, theirs
}

// TestLargePieceCut: a client that leaves under a large piece ends the write, and one that takes nothing does not hold up the close.
func TestLargePieceCut(t *testing.T) {
	for _, leave := range []string{"client", "server"} {
		server, client := shaken(t, &tally{}, tls.VersionTLS13, 0)
		ended := make(chan error, 1)
		go func() { // waited for below
			piece := make([]byte, largePiece)
			for {
				if _, err := server.Write(piece); err != nil {
					ended <- err
					return
				}
			}
		}()
		if _, err := io.ReadFull(client, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if leave == "client" {
			client.Close()
		} else {
			server.Close()
		}
		if err := <-ended; err == nil {
			t.Errorf("%s leaves: got no error", leave)
		}
	}
}

// TestLargePieceBroken: what broke stays broken, since a client could make nothing of records behind one that is missing.
func TestLargePieceBroken(t *testing.T) {
	counted := &tally{}
	server, _ := shaken(t, counted, tls.VersionTLS13, 0)
	counted.broken = true
	if _, err := server.Write(make([]byte, 40<<10)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want %v", err, io.ErrClosedPipe)
	}
	counted.broken = false
	before := len(counted.sizes)
	for _, n := range []int{10, 40 << 10} {
		if _, err := server.Write(make([]byte, n)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("afterwards, %d bytes: got %v, want %v", n, err, io.ErrClosedPipe)
		}
	}
	if len(counted.sizes) != before {
		t.Error("something was written behind what was lost")
	}
}

// TestLargePieceStops: a client that takes nothing ends the write by its deadline.
func TestLargePieceStops(t *testing.T) {
	server, _ := shaken(t, &tally{}, tls.VersionTLS13, 0)
	server.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for n := 0; ; n++ {
		if _, err := server.Write(make([]byte, 1<<20)); errors.Is(err, os.ErrDeadlineExceeded) {
			break
		} else if err != nil || n > 100 {
			t.Fatalf("got %v after %d MiB, want the deadline", err, n)
		}
	}
	server.CloseWrite() // an alert, which nobody takes either
}
