package proxy

import (
	"net"
	"sync"
	"time"
)

// pair spares HTTP/2 every other write. A frame with 16 KiB of data, as large as clients take, is nine bytes longer than what a TLS
// record holds, so that it comes in two records, and TLS writes each by itself. A full record waits here for the next one, which follows
// at once, and goes out with it: a tenth less CPU for each byte. If none follows, since a frame had just that length, it goes alone after
// a moment.
type pair struct {
	net.Conn
	mu    sync.Mutex
	held  *[]byte // a full record; nil for none
	late  *time.Timer
	fault error // of a record that went alone
}

const (
	fullRecord = maxRecord + 5 + 16 // a header and a tag: what TLS adds at least
	pairTime   = time.Millisecond
)

var pairs = sync.Pool{New: func() any {
	b := make([]byte, 0, fullRecord+1<<10)
	return &b
}}

// Write takes a whole record, as TLS does.
func (p *pair) Write(record []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.fault != nil:
		return 0, p.fault
	case p.held == nil && len(record) < fullRecord:
		return p.Conn.Write(record)
	case p.held == nil:
		p.held = pairs.Get().(*[]byte)
		*p.held = append(*p.held, record...)
		if p.late == nil {
			p.late = time.AfterFunc(pairTime, p.alone)
		} else {
			p.late.Reset(pairTime)
		}
		return len(record), nil
	}
	p.late.Stop() // too late is no harm: there is nothing held any more
	*p.held = append(*p.held, record...)
	if err := p.send(); err != nil {
		return 0, err
	}
	return len(record), nil
}

func (p *pair) alone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		p.fault = p.send()
	}
}

// send writes what is held. The caller holds mu.
func (p *pair) send() error {
	_, err := p.Conn.Write(*p.held)
	*p.held = (*p.held)[:0]
	pairs.Put(p.held)
	p.held = nil
	return err
}
