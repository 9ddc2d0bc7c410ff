package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrepot/entrepot/hosts"
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
	framing   *framing      // of plain HTTP; nil while nobody parses what comes
	patience  time.Duration // with a client that takes nothing; zero has no end
	network   netip.Prefix  // the client's, as crowd counts; none where the address is not IP
	spared    bool          // see spare; of the connection's one request at a time
	last      atomic.Pointer[whose]
	own       bool   // http1 has read the CONNECT, in a goroutine of ours
	then      func() // what follows a CONNECT that http1 has read; nil: nothing, or nobody of http1's
}

// whose is what a table knows of a host. Nearly all requests of a connection are for one host.
type whose struct {
	table *hosts.Table
	host  string
	reg   hosts.Registry
	known bool
}

// lookup is t.Lookup(host).
func (w *wire) lookup(t *hosts.Table, host string) (hosts.Registry, bool) {
	f := w.last.Load()
	if f == nil || f.table != t || f.host != host {
		f = &whose{table: t, host: host}
		f.reg, f.known = t.Lookup(host)
		w.last.Store(f)
	}
	return f.reg, f.known
}

// Read gives first what was read too early: bytes behind CONNECT, a ClientHello.
func (w *wire) Read(p []byte) (int, error) {
	if w.framing != nil {
		return w.framing.read(p, w.raw)
	}
	return w.raw(p)
}

func (w *wire) raw(p []byte) (int, error) {
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
	to, ok := w.Conn.(io.ReaderFrom)
	if !ok || w.patience == 0 {
		return io.Copy(struct{ io.Writer }{w.Conn}, r)
	}
	defer w.SetWriteDeadline(time.Time{})
	if part, ok := r.(*io.LimitedReader); ok {
		if file, ok := part.R.(seekable); ok {
			return w.fromFile(to, part, file)
		}
	}
	return io.Copy(patient{w}, r)
}

// seekable is a file, or what stands for one.
type seekable interface {
	io.Seeker
	syscall.Conn
}

// fromFile copies for as long as the client takes something within patience. The kernel has the whole file and tells how far it came
// only when the deadline has passed; then the rest goes on from there, if that is where the file is.
func (w *wire) fromFile(to io.ReaderFrom, part io.Reader, file io.Seeker) (total int64, err error) {
	start, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	for {
		w.SetWriteDeadline(time.Now().Add(w.patience))
		n, err := to.ReadFrom(part)
		total += n
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return total, err
		}
		if at, seekErr := file.Seek(0, io.SeekCurrent); seekErr != nil || at != start+total {
			return total, err
		}
	}
}

// patient writes pieces of which the client must take each within patience.
type patient struct{ w *wire }

func (p patient) Write(b []byte) (int, error) {
	p.w.SetWriteDeadline(time.Now().Add(p.w.patience))
	return p.w.Conn.Write(b)
}

// unsent is how much of an answer waits in the kernel at most, for a client that may not want it.
const unsent = 128 << 10

// spare is for a client that asks for a part with an open end and will hang up when it has enough, as containerd does for each MiB: two
// thirds of what was sent to it were thrown away. The kernel now takes little more than the client's own buffer has room for, which is as
// fast over any distance, but takes more CPU time for each byte that is wanted. So a client that stays and asks for a whole gets the usual
// again, and so does one of whom it is known where it hangs up, since nothing is sent behind that: a tenth less CPU time for such a part
// by TLS, a third by plain HTTP. An error is of no interest: then it is as it was.
func (w *wire) spare(open bool) {
	c, ok := w.Conn.(syscall.Conn)
	if !ok || w.spared == open {
		return
	}
	w.spared = open
	limit := 0 // the system's
	if open {
		limit = unsent
	}
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, limit) })
	}
}

// CloseWrite ends one direction of a tunnel.
func (w *wire) CloseWrite() error {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return w.Conn.Close()
}

// opened is a client's connection inside its TLS. Of a *tls.Conn itself net/http would read without asking us.
type opened struct {
	*tls.Conn
	below   *gathering
	replay  *bytes.Reader // what was read too early
	framing *framing      // nil while nobody but us parses what comes
}

// Read implements net.Conn.
func (o *opened) Read(p []byte) (int, error) {
	if o.framing != nil {
		return o.framing.read(p, o.raw)
	}
	return o.raw(p)
}

func (o *opened) raw(p []byte) (int, error) {
	if o.replay != nil {
		if n, _ := o.replay.Read(p); n > 0 {
			return n, nil
		}
		o.replay = nil
	}
	return o.Conn.Read(p)
}

// Write implements net.Conn. net/http writes what is larger than its buffers at once.
func (o *opened) Write(p []byte) (int, error) {
	if len(p) <= maxRecord {
		return o.Conn.Write(p)
	}
	return o.below.collect(len(p), func() (int, error) { return o.Conn.Write(p) })
}

// maxRecord is how much one TLS record has at most (RFC 8446, section 5.1).
const maxRecord = 16 << 10

// framingOf is what watches a connection that net/http was given.
func framingOf(c net.Conn) *framing {
	switch v := c.(type) {
	case *wire:
		return v.framing
	case *opened:
		return v.framing
	}
	return nil
}

// wireOf finds the wire below a connection that net/http was given.
func wireOf(c net.Conn) *wire {
	for {
		switch v := c.(type) {
		case *wire:
			return v
		case *gathering:
			return v.wire
		case interface{ NetConn() net.Conn }:
			c = v.NetConn()
		default:
			return &wire{Conn: c}
		}
	}
}
