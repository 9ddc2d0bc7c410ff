package http2

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/entrepot/entrepot/proxy/serve"
)

// writer writes frames. Handlers take turns to write theirs; what nobody waits for goes out ahead of the next, or by itself.
type writer struct {
	net      net.Conn
	patience time.Duration

	ahead struct {
		sync.Mutex
		frames  []byte
		table   *tableSizes // of the client's HPACK table, from when these frames, which say so, are written; nil: as it is
		leaving bool        // flush is about to write them
	}

	turn     sync.Mutex // guards all below. The order in which header blocks are encoded is that in which they go out.
	err      error
	encoder  *hpack.Encoder
	block    bytes.Buffer // that the encoder writes
	headers  []byte       // frames of it
	taken    []byte       // from ahead
	deadline time.Time    // as it is set

	setting sync.Mutex // held while one is set
	hurried bool
}

const (
	frameHeader = 9 // RFC 9113, section 4.1
	// maxAhead is how much may wait that the client has asked for: answers to its pings and settings, and resets. One that asks on and
	// reads nothing would have us keep it all (CVE-2019-9512, -9514 and -9515).
	maxAhead = 64 << 10
)

// tableSizes are those that a table has had, of which only these two count for what is in it (RFC 7541, section 4.2).
type tableSizes struct{ least, last uint32 }

func (t *tableSizes) add(size uint32) *tableSizes {
	if t == nil {
		return &tableSizes{size, size}
	}
	return &tableSizes{min(t.least, size), size}
}

func (w *writer) begin(nc net.Conn, patience time.Duration) {
	w.net, w.patience = nc, patience
	w.encoder = hpack.NewEncoder(&w.block)
	w.encoder.SetMaxDynamicTableSizeLimit(tableSize)
}

// appendFrame appends a frame.
func appendFrame(b []byte, kind http2.FrameType, flags http2.Flags, id uint32, payload ...byte) []byte {
	return append(appendFrameHeader(b, len(payload), kind, flags, id), payload...)
}

func appendFrameHeader(b []byte, size int, kind http2.FrameType, flags http2.Flags, id uint32) []byte {
	return append(b, byte(size>>16), byte(size>>8), byte(size), byte(kind), byte(flags), byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// appendNumber appends a frame whose payload is one number.
func appendNumber(b []byte, kind http2.FrameType, id, number uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, kind, 0, id), number)
}

func (w *writer) reset(id uint32, code http2.ErrCode) error {
	var room [13]byte
	return w.later(appendNumber(room[:0], http2.FrameRSTStream, id, uint32(code)), nil)
}

func (w *writer) goAway(last uint32, code http2.ErrCode) {
	b := binary.BigEndian.AppendUint32(appendFrameHeader(nil, 8, http2.FrameGoAway, 0, 0), last)
	w.later(binary.BigEndian.AppendUint32(b, uint32(code)), nil)
}

// later has frames written without waiting for it, and from then on the client's HPACK table be as it says, if it does. It errs when too
// much waits; that is still written if the connection lasts.
func (w *writer) later(frames []byte, table *tableSizes) error {
	w.ahead.Lock()
	defer w.ahead.Unlock()
	w.ahead.frames = append(w.ahead.frames, frames...)
	if table != nil {
		w.ahead.table = w.ahead.table.add(table.least).add(table.last)
	}
	if !w.ahead.leaving {
		w.ahead.leaving = true
		go w.flush() // until it has its turn, which the end of the connection gives everybody
	}
	if len(w.ahead.frames) > maxAhead {
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	}
	return nil
}

// flush writes what is to go ahead.
func (w *writer) flush() error {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.ahead.Lock()
	w.ahead.leaving = false
	w.ahead.Unlock()
	return w.flushed()
}

// flushed is flush for who has the turn.
func (w *writer) flushed() error {
	w.ahead.Lock()
	w.taken, w.ahead.frames = w.ahead.frames, w.taken[:0]
	if t := w.ahead.table; t != nil {
		w.encoder.SetMaxDynamicTableSize(t.least)
		w.encoder.SetMaxDynamicTableSize(t.last)
		w.ahead.table = nil
	}
	w.ahead.Unlock()
	return w.write(w.taken)
}

// write writes frames, for who has the turn. After an error the client could make nothing of what follows.
func (w *writer) write(frames []byte) error {
	if w.err != nil || len(frames) == 0 {
		return w.err
	}
	if at, due := serve.Within(w.patience, w.deadline); due {
		w.writeWithin(at)
	}
	if _, w.err = w.net.Write(frames); w.err != nil {
		w.net.Close()
	}
	return w.err
}

func (w *writer) writeWithin(at time.Time) {
	w.setting.Lock()
	defer w.setting.Unlock()
	if !w.hurried {
		w.deadline = at
		w.net.SetWriteDeadline(at)
	}
}

// hurry gives what is being written, and all that follows, until then.
func (w *writer) hurry(at time.Time) {
	w.setting.Lock()
	defer w.setting.Unlock()
	w.hurried = true
	w.net.SetWriteDeadline(at)
}

// encode appends a header block to headers, in as many frames as it takes, for who has the turn.
func (w *writer) encode(id uint32, fields []hpack.HeaderField, end bool) {
	w.block.Reset()
	for _, f := range fields {
		w.encoder.WriteField(f) // errs where its writer does, and this one does not
	}
	kind, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		part := w.block.Next(defaultFrame)
		if w.block.Len() == 0 {
			flags |= http2.FlagHeadersEndHeaders // the same bit in a CONTINUATION
		}
		w.headers = append(appendFrameHeader(w.headers, len(part), kind, flags, id), part...)
		if w.block.Len() == 0 {
			return
		}
		kind, flags = http2.FrameContinuation, 0
	}
}
