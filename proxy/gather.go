package proxy

import "sync"

// gathering is what is below a client's TLS. It collects the records of one large write, so that the kernel is asked once for several:
// package crypto/tls asks for each record of 16 KiB by itself. A byte of a warm layer costs a sixth less CPU that way, and goes out a
// quarter faster.
type gathering struct {
	*wire

	mu  sync.Mutex // an alert may come from another goroutine than the write
	buf []byte     // nil while nothing is collected
	err error      // of a write, after which the client could make nothing of what follows
}

// What is collected at most: a large piece, which only clients get that are quick, whole; else two full records, since each client that
// has stopped holds as much, and four by HTTP/2.
var (
	twoRecords  = sync.Pool{New: func() any { return newRecords(smallPiece) }}
	fewRecords  = sync.Pool{New: func() any { return newRecords(middlePiece) }}
	manyRecords = sync.Pool{New: func() any { return newRecords(largePiece) }}
)

// recordsOf has room for a write of size bytes.
func recordsOf(size int) *sync.Pool {
	switch {
	case size <= smallPiece:
		return &twoRecords
	case size <= middlePiece+framesOfPiece:
		return &fewRecords
	}
	return &manyRecords
}

// framesOfPiece is no less than what frames of HTTP/2 add to a piece, and less than newRecords has for it.
const framesOfPiece = 512

// newRecords has room for the records of a piece. Small ones, as a connection begins with, take a little more, and go out by two writes.
func newRecords(piece int) *[]byte {
	b := make([]byte, 0, piece+piece/64)
	return &b
}

// collect makes what write writes, which is of size bytes before it is in records, go out together.
func (g *gathering) collect(size int, write func() (int, error)) (int, error) {
	pool := recordsOf(size)
	buf := pool.Get().(*[]byte)
	defer pool.Put(buf)
	g.mu.Lock()
	g.buf = *buf
	g.mu.Unlock()
	n, err := write()
	g.mu.Lock()
	defer g.mu.Unlock()
	if flushErr := g.flush(); err == nil {
		err = flushErr
	}
	g.buf = nil
	return n, err
}

// Write implements net.Conn. A record is written as soon as no other is expected behind it.
func (g *gathering) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buf != nil && len(g.buf)+len(p) > cap(g.buf) {
		g.flush()
	}
	if g.err != nil {
		return 0, g.err
	}
	if g.buf == nil || len(p) > cap(g.buf) {
		return g.wire.Write(p)
	}
	g.buf = append(g.buf, p...)
	return len(p), nil
}

// flush writes what is collected. The caller holds mu.
func (g *gathering) flush() error {
	if g.err == nil && len(g.buf) > 0 {
		_, g.err = g.wire.Write(g.buf)
	}
	g.buf = g.buf[:0]
	return g.err
}
