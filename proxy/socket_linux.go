//go:build linux && !race

package proxy

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// socket is a client's connection of which small pieces are read and written without Go's scheduler being told of a system call. They
// take it a few microseconds and never block, and being told it often takes the processor away and starts another thread meanwhile: a
// request that is a hit costs a twentieth to a tenth less CPU. Large pieces, which may take long, go the usual way.
//
// The race detector learns from the usual way what comes before what, so that it is the only one there.
type socket struct {
	*net.TCPConn
	raw      syscall.RawConn
	in, out  sync.Mutex // a connection may be used by many at once
	reading  unfinished
	writing  unfinished
	readSome func(fd uintptr) bool // of reading, made once
	writeAll func(fd uintptr) bool
}

// unfinished is a read or a write under way.
type unfinished struct {
	p     []byte // what is left of it
	n     int
	fault syscall.Errno
}

// smallCall is the most that goes without the scheduler: a TLS record of full size, and an HTTP header before it.
const smallCall = 32 << 10

// newSocket takes over c, if it is one of TCP.
func newSocket(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	s := &socket{TCPConn: tcp, raw: raw}
	s.readSome, s.writeAll = s.reading.readSome, s.writing.writeAll
	return s
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 || len(p) > smallCall {
		return s.TCPConn.Read(p)
	}
	s.in.Lock()
	defer s.in.Unlock()
	s.reading = unfinished{p: p}
	err := s.raw.Read(s.readSome)
	n, fault := s.reading.n, s.reading.fault
	s.reading.p = nil
	if err == nil && fault == 0 && n == 0 {
		return 0, io.EOF
	}
	return n, s.inWordsOf("read", err, fault)
}

// Write implements net.Conn.
func (s *socket) Write(p []byte) (int, error) {
	if len(p) == 0 || len(p) > smallCall {
		return s.TCPConn.Write(p)
	}
	s.out.Lock()
	defer s.out.Unlock()
	s.writing = unfinished{p: p}
	err := s.raw.Write(s.writeAll)
	n, fault := s.writing.n, s.writing.fault
	s.writing.p = nil
	return n, s.inWordsOf("write", err, fault)
}

// inWordsOf makes an error such as package net has for op: net/http knows a client that has left by them.
func (s *socket) inWordsOf(op string, err error, fault syscall.Errno) error {
	if e, ok := err.(*net.OpError); ok {
		e.Op = op
		return e
	}
	if err != nil || fault == 0 {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError(op, fault)}
}

// readSome reads what is there. False is for nothing yet.
func (e *unfinished) readSome(fd uintptr) bool {
	n, fault := call(syscall.SYS_READ, fd, e.p)
	if fault == syscall.EAGAIN {
		return false
	}
	e.n, e.fault = n, fault
	return true
}

// writeAll writes as much as is taken. False is for something left.
func (e *unfinished) writeAll(fd uintptr) bool {
	for len(e.p) > 0 {
		n, fault := call(syscall.SYS_WRITE, fd, e.p)
		if fault == syscall.EAGAIN {
			return false
		}
		if fault != 0 {
			e.fault = fault
			return true
		}
		e.n += n
		e.p = e.p[n:]
	}
	return true
}

// call reads or writes p, which is not empty.
func call(what, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, fault := syscall.RawSyscall(what, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch fault {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, fault
		}
	}
}
