package upstream

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestWhatWeRanOutOfIsNoOutage: with no descriptor left here no registry can be asked, which says nothing about the registry: it is
// asked again with the next request and not some seconds later.
func TestWhatWeRanOutOfIsNoOutage(t *testing.T) {
	now := time.Now()
	for err, down := range map[error]bool{
		&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", syscall.EMFILE)}:         false,
		fmt.Errorf("resolve quay.io: %w", os.NewSyscallError("socket", syscall.ENFILE)):     false,
		&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}: false,
		&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}:  true,
	} {
		b := breaker{down: map[string]*outage{}}
		b.note(t.Context(), "quay.io", err, now)
		if got := b.admit("quay.io", now) != nil; got != down || b.open("quay.io") != down {
			t.Errorf("%v: got down %v, want %v", err, got, down)
		}
	}
}
