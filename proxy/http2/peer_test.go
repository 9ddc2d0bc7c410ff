package http2

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/entrepot/entrepot/testdata/world/served"
)

// peer is a client that makes its frames by hand.
type peer struct {
	t testing.TB
	net.Conn
	*http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	came    chan frame // what the server sends, closed at the end of it
}

// frame is one that came.
type frame struct {
	kind   http2.FrameType
	flags  http2.Flags
	id     uint32
	data   string
	fields []hpack.HeaderField
	number uint32 // an error code, or what a window is widened by
	last   uint32 // the stream that a GOAWAY names
}

// raw connects.
func (d *door) raw(t testing.TB) *peer {
	t.Helper()
	c, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, tls.Client(c, d.clients))
	p.SetDeadline(time.Now().Add(served.Patience))
	return p
}

// dial connects, and sends the client's preface with these settings.
func (d *door) dial(t testing.TB, settings ...http2.Setting) *peer {
	t.Helper()
	p := d.raw(t)
	p.greet(settings...)
	return p
}

func newPeer(t testing.TB, c net.Conn) *peer {
	p := &peer{t: t, Conn: c, Framer: http2.NewFramer(c, c), came: make(chan frame, 1<<10)}
	p.Framer.AllowIllegalWrites = true
	p.encoder = hpack.NewEncoder(&p.block)
	t.Cleanup(func() { c.Close() })
	return p
}

func (p *peer) greet(settings ...http2.Setting) {
	p.t.Helper()
	_, err := io.WriteString(p.Conn, http2.ClientPreface)
	p.must(err)
	p.must(p.WriteSettings(settings...))
}

func (p *peer) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// listen takes what the server sends, from now on, until it sends no more.
func (p *peer) listen() *peer {
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.SetMaxReadFrameSize(16 << 10) // which no server may exceed unless it is told
	go func() {
		defer close(p.came)
		for {
			f, err := p.ReadFrame()
			if err != nil {
				return
			}
			p.came <- copyOf(f)
		}
	}()
	return p
}

func copyOf(f http2.Frame) frame {
	h := f.Header()
	is := frame{kind: h.Type, flags: h.Flags, id: h.StreamID}
	switch f := f.(type) {
	case *http2.DataFrame:
		is.data = string(f.Data())
	case *http2.MetaHeadersFrame:
		is.fields = f.Fields
	case *http2.RSTStreamFrame:
		is.number = uint32(f.ErrCode)
	case *http2.GoAwayFrame:
		is.number, is.last = uint32(f.ErrCode), f.LastStreamID
	case *http2.WindowUpdateFrame:
		is.number = f.Increment
	case *http2.PingFrame:
		is.data = string(f.Data[:])
	}
	return is
}

// headers sends a header block as it is given: names and values in turn.
func (p *peer) headers(id uint32, end bool, fields ...string) {
	p.t.Helper()
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.must(p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	first := true
	for first || p.block.Len() > 0 {
		part := p.block.Next(16 << 10)
		if first {
			p.must(p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: part, EndStream: end, EndHeaders: p.block.Len() == 0}))
		} else {
			p.must(p.WriteContinuation(id, p.block.Len() == 0, part))
		}
		first = false
	}
}

// get sends a request without a body.
func (p *peer) get(id uint32, path string, fields ...string) {
	p.t.Helper()
	p.headers(id, true, append([]string{":method", "GET", ":scheme", "https", ":authority", "example.com", ":path", path}, fields...)...)
}

// post sends a request whose body follows.
func (p *peer) post(id uint32, path string, fields ...string) {
	p.t.Helper()
	p.headers(id, false, append([]string{":method", "POST", ":scheme", "https", ":authority", "example.com", ":path", path}, fields...)...)
}

// next is the next frame of one of these kinds.
func (p *peer) next(kinds ...http2.FrameType) frame {
	p.t.Helper()
	late := time.After(served.Patience)
	if p.inBubble() {
		late = nil
	}
	for {
		select {
		case f, ok := <-p.came:
			if !ok {
				p.t.Fatalf("no %v, but the end", kinds)
			}
			if slices.Contains(kinds, f.kind) {
				return f
			}
		case <-late:
			p.t.Fatalf("no %v", kinds)
		}
	}
}

func (p *peer) inBubble() bool {
	_, network := p.Conn.(*tls.Conn)
	return !network
}

// answer is what comes on a stream, to its end: status and body, or how it was reset.
func (p *peer) answer(id uint32) (status, body string) {
	p.t.Helper()
	var text strings.Builder
	for {
		f := p.next(http2.FrameHeaders, http2.FrameData, http2.FrameRSTStream, http2.FrameGoAway)
		switch {
		case f.kind == http2.FrameGoAway:
			return "goaway " + http2.ErrCode(f.number).String(), ""
		case f.id != id:
			continue
		case f.kind == http2.FrameRSTStream:
			return "reset " + http2.ErrCode(f.number).String(), text.String()
		case f.kind == http2.FrameHeaders:
			status += value(f.fields, ":status")
		}
		text.WriteString(f.data)
		if f.flags.Has(http2.FlagDataEndStream) { // the same bit in HEADERS
			return status, text.String()
		}
		if len(f.data) > 0 {
			p.widen(0, len(f.data))
			p.widen(id, len(f.data))
		}
	}
}

func value(fields []hpack.HeaderField, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

func (p *peer) widen(id uint32, by int) { p.WriteWindowUpdate(id, uint32(by)) } // errs at the end, which answers tell better

// want fails unless that comes on the stream.
func (p *peer) want(id uint32, status, body string) {
	p.t.Helper()
	if s, b := p.answer(id); s != status || b != body {
		p.t.Errorf("stream %d: got %s %.100q (%d bytes), want %s %.100q", id, s, b, len(b), status, body)
	}
}

// alive fails unless the server answers a ping, and nothing else comes before that but what is named.
func (p *peer) alive(but ...http2.FrameType) {
	p.t.Helper()
	p.must(p.WritePing(false, [8]byte{'a', 'l', 'i', 'v', 'e'}))
	for {
		f := p.next(http2.FrameHeaders, http2.FrameData, http2.FrameRSTStream, http2.FrameGoAway, http2.FramePing)
		if f.kind == http2.FramePing && f.flags.Has(http2.FlagPingAck) {
			return
		}
		if !slices.Contains(but, f.kind) {
			p.t.Errorf("got %v %v of stream %d", f.kind, http2.ErrCode(f.number), f.id)
			return
		}
	}
}

// ended fails unless the connection ends with a GOAWAY of this code.
func (p *peer) ended(code http2.ErrCode) {
	p.t.Helper()
	if f := p.next(http2.FrameGoAway); http2.ErrCode(f.number) != code {
		p.t.Errorf("got a GOAWAY of %v, want %v", http2.ErrCode(f.number), code)
	}
	began := time.Now()
	p.closed()
	if took := time.Since(began); took > goodbye/2 && !p.inBubble() {
		p.t.Errorf("the end comes %v behind it", took)
	}
}

// closed fails unless the connection ends by itself.
func (p *peer) closed() {
	p.t.Helper()
	late := time.After(served.Patience)
	if p.inBubble() {
		late = nil
	}
	for {
		select {
		case _, ok := <-p.came:
			if !ok {
				return
			}
		case <-late:
			p.t.Fatal("the connection does not end")
		}
	}
}
