package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// sniffTimeout is how long a client may take to say where it wants to go.
const sniffTimeout = 10 * time.Second

// errNotTLS is a connection to a TLS door that does not begin with a TLS handshake record.
var errNotTLS = errors.New("not a TLS client")

// sniff is the function of that name, cut short by Shutdown: a client that says nothing is not waited for.
func (s *Server) sniff(w *wire) (name string, err error) {
	stop := context.AfterFunc(s.ctx, func() { w.Close() })
	defer stop()
	return sniff(w)
}

// sniff reads the ClientHello of w and returns the name it asks for, "" if it names none. What was read is put back, in front of
// what there still is to replay. The hello is read by crypto/tls itself, from however many segments and of whatever size it comes:
// post-quantum key shares make it larger than the buffers that hand-written peeking likes to use.
func sniff(w *wire) (name string, err error) {
	seen, err := peek(w)
	defer func() {
		w.SetReadDeadline(time.Time{})
		w.putBack(seen)
	}()
	if err != nil {
		return "", err
	}
	if seen.Bytes()[0] != recordHandshake {
		return "", errNotTLS
	}
	errSeen := errors.New("hello seen")
	conn := listenOnly{w.Conn, io.MultiReader(bytes.NewReader(seen.Bytes()), io.TeeReader(w, seen))}
	err = tls.Server(conn, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name = hello.ServerName
			return nil, errSeen
		},
	}).HandshakeContext(context.Background())
	if !errors.Is(err, errSeen) {
		return "", fmt.Errorf("read the ClientHello: %w", err)
	}
	return name, nil
}

// peek reads what comes first, a hello in one piece if it comes so, and leaves a deadline behind for what follows. The caller puts it back.
func peek(w *wire) (*bytes.Buffer, error) {
	w.SetReadDeadline(time.Now().Add(sniffTimeout))
	b := make([]byte, firstRead)
	n, err := io.ReadAtLeast(w, b, 1)
	if err != nil {
		return &bytes.Buffer{}, fmt.Errorf("wait for a first byte: %w", err)
	}
	return bytes.NewBuffer(b[:n]), nil
}

// firstRead has room for a hello with a post-quantum key share.
const firstRead = 2 << 10

// recordHandshake is the type of a TLS record that carries a handshake (RFC 8446, section 5.1).
const recordHandshake = 22

// listenOnly lets a TLS server read a hello and says nothing back.
type listenOnly struct {
	net.Conn
	r io.Reader
}

func (l listenOnly) Read(p []byte) (int, error)       { return l.r.Read(p) }
func (l listenOnly) Write(p []byte) (int, error)      { return len(p), nil }
func (l listenOnly) Close() error                     { return nil }
func (l listenOnly) SetDeadline(time.Time) error      { return nil }
func (l listenOnly) SetReadDeadline(time.Time) error  { return nil }
func (l listenOnly) SetWriteDeadline(time.Time) error { return nil }

// alertUnrecognizedName is the fatal alert record unrecognized_name(112) (RFC 6066, section 3), which clients show to people.
var alertUnrecognizedName = []byte{21, 3, 1, 0, 2, 2, 112}
