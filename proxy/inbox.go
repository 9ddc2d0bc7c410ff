package proxy

import (
	"net"
	"sync"
)

// inbox is the listener of net/http's server: whatever door a connection came in by, it is handed in here.
type inbox struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newInbox() *inbox { return &inbox{conns: make(chan net.Conn), done: make(chan struct{})} }

// push hands c in. The inbox owns it from now on, and closes it when it is closed itself. From here on it is read as HTTP.
func (i *inbox) push(c net.Conn) {
	switch v := c.(type) {
	case *wire:
		v.framing = &framing{}
	case *opened:
		v.framing = &framing{}
	}
	select {
	case i.conns <- c:
	case <-i.done:
		c.Close()
	}
}

// Accept implements net.Listener.
func (i *inbox) Accept() (net.Conn, error) {
	select {
	case c := <-i.conns:
		return c, nil
	case <-i.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (i *inbox) Close() error {
	i.once.Do(func() { close(i.done) })
	return nil
}

// Addr implements net.Listener.
func (i *inbox) Addr() net.Addr { return inboxAddr{} }

type inboxAddr struct{}

func (inboxAddr) Network() string { return "inbox" }
func (inboxAddr) String() string  { return "inbox" }
