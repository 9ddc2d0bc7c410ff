package proxy

import (
	"net"
	"sync"
	"time"
)

// frames spares HTTP/2 most of its writes. A frame with 16 KiB of data, as large as clients take, is nine bytes longer than what a TLS
// record holds, so that it comes in two records, and TLS writes each by itself. A full record waits here for the rest of its frame, and
// the frame for up to three more, while frames follow each other at once: a tenth less CPU for each byte. If nothing follows, what is
// held goes after a moment. That costs time where a client's window is small, so it is then a while before several are waited for again,
// and each time longer.
type frames struct {
	net.Conn
	mu    sync.Mutex
	held  *[]byte // full records and the rests of their frames; nil for none
	rest  int     // the size of a record with no more than the rest of a frame
	calm  int     // frames since one was waited for in vain
	after int     // so many calm ones before several are waited for; 0 for fewCalm
	late  *time.Timer
	fault error // of what went late
}

const (
	fullRecord  = maxRecord + 5 + 16 // a header and a tag: what TLS adds at least
	frameHeader = 9                  // RFC 9113, section 4.1
	oneFrame    = fullRecord + 1<<10 // in records, and more than that
	frameTime   = time.Millisecond
	fewCalm     = 16
	mostCalm    = 4096
)

var (
	singles = sync.Pool{New: func() any { return newFrames(1) }}
	several = sync.Pool{New: func() any { return newFrames(4) }}
)

func newFrames(n int) *[]byte {
	b := make([]byte, 0, n*oneFrame)
	return &b
}

// Write takes a whole record, as TLS does.
func (f *frames) Write(record []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	full := len(record) >= fullRecord
	switch {
	case f.fault != nil:
		return 0, f.fault
	case f.held == nil && !full:
		return f.Conn.Write(record)
	case f.held != nil && len(*f.held)+len(record) > cap(*f.held): // a frame of more than 16 KiB
		if err := f.send(); err != nil {
			return 0, err
		}
	}
	if f.held == nil {
		f.hold()
	}
	*f.held = append(*f.held, record...)
	if full {
		f.rest = len(record) - maxRecord + frameHeader
		return len(record), nil
	}
	f.calm++
	if len(record) == f.rest && len(*f.held)+oneFrame <= cap(*f.held) {
		return len(record), nil
	}
	if err := f.send(); err != nil {
		return 0, err
	}
	return len(record), nil
}

// hold begins to hold.
func (f *frames) hold() {
	pool := &singles
	if f.calm >= max(f.after, fewCalm) {
		pool = &several
	}
	f.held = pool.Get().(*[]byte)
	if f.late == nil {
		f.late = time.AfterFunc(frameTime, f.alone)
	} else {
		f.late.Reset(frameTime)
	}
}

func (f *frames) alone() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		return
	}
	if cap(*f.held) > oneFrame {
		f.calm, f.after = 0, min(mostCalm, 2*max(f.after, fewCalm))
	}
	f.fault = f.send()
}

// send writes what is held. The caller holds mu.
func (f *frames) send() error {
	f.late.Stop() // too late is no harm: there is nothing held any more, or what is goes a moment early
	_, err := f.Conn.Write(*f.held)
	pool := &singles
	if cap(*f.held) > oneFrame {
		pool = &several
	}
	*f.held = (*f.held)[:0]
	pool.Put(f.held)
	f.held = nil
	return err
}
