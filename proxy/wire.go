package proxy

import (
	"bytes"
	"io"
	"net"
)

// The doors, as they are called in the log.
const (
	doorProxy  = "proxy"
	doorTLS    = "tls"
	doorHTTP   = "http"
	doorMirror = "mirror"
)

// wire is a client's connection with what its door found out about it. It belongs to whoever it was handed to last.
type wire struct {
	net.Conn
	door      string
	authority string   // where the client wants to go: CONNECT's target or the SNI; empty where each request says so itself
	client    net.Addr // as a balancer announced it, nil where it is who it seems
	user      string   // who asked for it by CONNECT, where that is asked
	replay    *bytes.Reader
}

// Read gives first what was read too early: bytes behind CONNECT, a ClientHello.
func (w *wire) Read(p []byte) (int, error) {
	if w.replay != nil {
		if n, _ := w.replay.Read(p); n > 0 {
			return n, nil
		}
		w.replay = nil
	}
	return w.Conn.Read(p)
}

// RemoteAddr is the client's, whoever handed its connection on.
func (w *wire) RemoteAddr() net.Addr {
	if w.client != nil {
		return w.client
	}
	return w.Conn.RemoteAddr()
}

// putBack makes seen be read again, before what was to be replayed behind it.
func (w *wire) putBack(seen *bytes.Buffer) {
	if w.replay != nil {
		w.replay.WriteTo(seen)
	}
	w.replay = bytes.NewReader(seen.Bytes())
}

// ReadFrom hands a copy from a file to the kernel (sendfile): net/http looks for this method on the connection itself, and a
// wrapper without it would cost a third more CPU for each byte served in plain HTTP.
func (w *wire) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := w.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{w.Conn}, r)
}

// CloseWrite ends one direction of a tunnel.
func (w *wire) CloseWrite() error {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return w.Conn.Close()
}

// wireOf finds the wire below a connection that net/http was given.
func wireOf(c net.Conn) *wire {
	for {
		switch v := c.(type) {
		case *wire:
			return v
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		default:
			return &wire{Conn: c}
		}
	}
}
