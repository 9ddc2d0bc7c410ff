// Package serve has what the servers of HTTP/1.1 and of HTTP/2 have in common beside their protocols.
//
// That is which connections are open and how they end, the context of a request, and what would cost too much to make anew for each:
// the date, deadlines. It reads and writes nothing.
package serve

import (
	"sync"
	"sync/atomic"
)

// Conns are the connections of a server. The zero value has none, and takes some.
type Conns[C comparable] struct {
	mu      sync.Mutex
	open    map[C]bool
	closing atomic.Bool   // set under mu
	gone    chan struct{} // closed when End has been called and no connection is left; nil before
}

// Enter takes in a connection. False means that the server is closing: it is not taken.
func (s *Conns[C]) Enter(c C) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	if s.open == nil {
		s.open = map[C]bool{}
	}
	s.open[c] = true
	return true
}

// Leave says that a connection is closed, or somebody else's.
func (s *Conns[C]) Leave(c C) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	s.endGone()
}

// End lets nothing in any more, and returns what is closed when all have left.
func (s *Conns[C]) End() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	gone := s.gone
	if gone == nil {
		gone = make(chan struct{})
		s.gone = gone
	}
	s.endGone()
	return gone
}

// endGone tells that all have left. The caller holds mu.
func (s *Conns[C]) endGone() {
	if s.gone != nil && len(s.open) == 0 {
		close(s.gone)
		s.gone = nil
	}
}

// Ending tells whether End has been called.
func (s *Conns[C]) Ending() bool { return s.closing.Load() }

// Each calls f for each connection. None enters or leaves meanwhile.
func (s *Conns[C]) Each(f func(C)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		f(c)
	}
}
