package http2

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"golang.org/x/net/http2"
)

// body is that of a request: what the client has sent and the handler has not read, which the client's window bounds.
type body struct {
	stream *stream // nil: there is none
	length int64   // as announced, -1 for unknown

	mu     sync.Mutex
	come   sync.Cond
	expect bool // the client waits to be told to send it
	buf    bytes.Buffer
	got    int64
	room   int // what the client may send
	owed   int // what of it was read since it was last told
	err    error
	closed bool // the handler does not want it
}

// fewBytes is how much room a body keeps that is not filled.
const fewBytes = 64 << 10

func (b *body) begin(st *stream, length int64, expect bool) {
	b.stream, b.length, b.expect, b.room = st, length, expect, bodyWindow
	b.come.L = &b.mu
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	expect := b.expect && b.err == nil && !b.closed
	b.expect = false
	if expect {
		b.mu.Unlock()
		b.stream.response.goOn()
		b.mu.Lock()
	}
	for b.buf.Len() == 0 && b.err == nil && !b.closed {
		b.come.Wait()
	}
	n, err := 0, b.err
	switch {
	case b.closed:
		err = io.ErrClosedPipe
	case b.buf.Len() > 0:
		n, err = b.buf.Read(p)
	}
	if b.buf.Len() == 0 && b.buf.Cap() > fewBytes { // what a client has filled once for each of its streams
		b.buf = bytes.Buffer{}
	}
	more := b.owe(n)
	b.mu.Unlock()
	b.stream.conn.credit(n, b.stream, more)
	return n, err
}

// owe notes that so much was taken of the client's window, and is what to give back to it now. The caller holds mu.
func (b *body) owe(n int) (more int) {
	if b.owed += n; b.owed < bodyWindow/2 || b.err != nil {
		return 0
	}
	more, b.owed = b.owed, 0
	b.room += more
	return more
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.drop()
	return nil
}

// add takes a frame of the client's, which is of size bytes with its padding (RFC 9113, section 6.9.1). What of it nobody will read is
// spare, and more what to give back of the stream's window now.
func (b *body) add(p []byte, size int, last bool) (spare, more int, wrong http2.ErrCode) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got += int64(len(p))
	b.room -= size
	switch {
	case b.stream == nil || b.err != nil:
		return size, 0, http2.ErrCodeStreamClosed
	case b.length >= 0 && b.got > b.length:
		return size, 0, http2.ErrCodeProtocol
	case b.room < 0:
		return size, 0, http2.ErrCodeFlowControl
	}
	spare = size
	if !b.closed {
		b.buf.Write(p)
		spare -= len(p)
		b.come.Broadcast()
	}
	if last {
		b.finish()
	}
	return spare, b.owe(spare), http2.ErrCodeNo
}

// finish notes that there is no more. Who has announced more hears of it from the handler, in words. The caller holds mu.
func (b *body) finish() {
	if b.length >= 0 && b.got != b.length {
		b.fail(fmt.Errorf("a body of %d bytes was announced, %d have come: %w", b.length, b.got, io.ErrUnexpectedEOF))
		return
	}
	b.fail(io.EOF)
}

// end is the end of the stream. A body that has come whole can be read on.
func (b *body) end(err error) {
	if b.stream == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail(err)
}

// fail notes why there is no more. The caller holds mu.
func (b *body) fail(err error) {
	if b.err == nil {
		b.err = err
		b.come.Broadcast()
	}
}

// drop throws away what nobody will read, and tells whether the client may send more.
func (b *body) drop() (more bool) {
	left, more := b.empty()
	if left > 0 {
		b.stream.conn.credit(left, nil, 0)
	}
	return more
}

// empty is drop for who gives back to the client what was left.
func (b *body) empty() (left int, more bool) {
	if b.stream == nil {
		return 0, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	left = b.buf.Len()
	b.buf, b.closed = bytes.Buffer{}, true
	b.come.Broadcast()
	return left, b.err == nil
}

// over tells whether the client has said that there is no more.
func (b *body) over() bool {
	if b.stream == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err != nil
}
