package world

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// FaultKind is a way to do harm.
type FaultKind string

// What can go wrong. "At" counts bytes of the one answer's body. On HTTP/2 a
// Cut ends the stream only; a Reset ends the connection for all of them.
const (
	Cut             FaultKind = "cut"      // close the connection after At bytes
	Reset           FaultKind = "reset"    // the same with a TCP reset
	Corrupt         FaultKind = "corrupt"  // flip a bit of the byte at At
	Stall           FaultKind = "stall"    // stop after At bytes until released
	Slow            FaultKind = "slow"     // Rate bytes a second, from At on
	Truncate        FaultKind = "truncate" // a well-formed answer of At bytes only
	WrongLength     FaultKind = "length"   // Content-Length is At, the bytes as ever
	Chunked         FaultKind = "chunked"  // no Content-Length
	Refuse          FaultKind = "refuse"   // connections are refused
	Status          FaultKind = "status"   // answer Status with Body
	HTML            FaultKind = "html"     // 200 and a login page
	ContentEncoding FaultKind = "encoding" // gzip, asked for or not
	NoRange         FaultKind = "norange"  // 200 and everything to a Range
	WrongRange      FaultKind = "range"    // Content-Range tells another place
	Delay           FaultKind = "delay"    // wait before the header, for Wait or until released
	Headers         FaultKind = "headers"  // set Header, an empty value removes
)

// Fault is harm to be done. All set conditions must hold for it to strike.
type Fault struct {
	Kind   FaultKind                `json:"kind"`
	At     int64                    `json:"at,omitempty"`    // -1: Cut and Reset strike before the header
	Times  int                      `json:"times,omitempty"` // 0 is once, negative for ever
	On     Kind                     `json:"on,omitempty"`    // only requests of this kind
	Method string                   `json:"method,omitempty"`
	Match  func(*http.Request) bool `json:"-"`

	Status int               `json:"status,omitempty"` // for Status
	Body   string            `json:"body,omitempty"`   // for Status
	Header map[string]string `json:"header,omitempty"` // for Status and Headers
	Rate   int64             `json:"rate,omitempty"`   // for Slow
	Wait   time.Duration     `json:"wait,omitempty"`   // for Delay
}

// Check tells what is wrong with a fault that came from outside.
func (f Fault) Check() error {
	switch f.Kind {
	case Cut, Reset, Corrupt, Stall, Slow, Truncate, WrongLength, Chunked, Refuse, HTML,
		ContentEncoding, NoRange, WrongRange, Delay, Headers:
	case Status:
		if f.Status < 200 || f.Status > 599 {
			return fmt.Errorf("fault %s: want a status from 200 to 599, got %d", f.Kind, f.Status)
		}
	default:
		return fmt.Errorf("no fault of kind %q", f.Kind)
	}
	return nil
}

// Armed is a fault in its place.
type Armed struct {
	fault Fault
	host  *Host

	left    int // guarded by host.mu
	hits    int // guarded by host.mu
	once    sync.Once
	hit     chan struct{}
	free    sync.Once
	release chan struct{}
}

// Fault arms a fault. Those armed earlier strike first; one request meets one
// fault at most.
func (h *Host) Fault(f Fault) *Armed {
	h.world.t.Helper()
	if err := f.Check(); err != nil {
		h.world.t.Fatalf("world: %v", err)
	}
	a := &Armed{fault: f, host: h, left: f.Times, hit: make(chan struct{}), release: make(chan struct{})}
	if a.left == 0 {
		a.left = 1
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, a)
	return a
}

// Heal disarms all faults of the host, and lets stalled answers go on.
func (h *Host) Heal() {
	h.mu.Lock()
	faults := h.faults
	h.faults = nil
	h.mu.Unlock()
	for _, a := range faults {
		a.Release()
	}
}

// Heal disarms all faults of the world.
func (w *World) Heal() {
	for _, h := range w.hosts {
		h.Heal()
	}
}

// Hit is closed when the fault strikes for the first time.
func (a *Armed) Hit() <-chan struct{} { return a.hit }

// Hits is how many requests the fault has chosen so far.
func (a *Armed) Hits() int {
	a.host.mu.Lock()
	defer a.host.mu.Unlock()
	return a.hits
}

// Release lets stalled and delayed answers of this fault go on, now and later.
func (a *Armed) Release() { a.free.Do(func() { close(a.release) }) }

// Clear disarms this fault and releases it.
func (a *Armed) Clear() {
	a.host.mu.Lock()
	a.left = 0
	a.host.mu.Unlock()
	a.Release()
}

func (a *Armed) struck() { a.once.Do(func() { close(a.hit) }) }

// take finds the fault for a request and uses it up by one. A nil request is
// a connection to be made.
func (h *Host) take(req *http.Request, kind Kind) *Armed {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, a := range h.faults {
		if a.left == 0 || !a.fault.wants(req, kind) {
			continue
		}
		a.hits++
		if a.left > 0 {
			a.left--
		}
		if a.left == 0 {
			h.faults = append(h.faults[:i:i], h.faults[i+1:]...)
		}
		return a
	}
	return nil
}

func (f *Fault) wants(req *http.Request, kind Kind) bool {
	if req == nil || f.Kind == Refuse {
		return req == nil && f.Kind == Refuse
	}
	return (f.On == "" || f.On == kind) && (f.Method == "" || f.Method == req.Method) && (f.Match == nil || f.Match(req))
}

// refuses reports whether the next connection is to be refused.
func (h *Host) refuses() bool {
	a := h.take(nil, "")
	if a != nil {
		a.struck()
	}
	return a != nil
}
