package upstream

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/entrepot/entrepot/hosts"
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

// TestOneWayIsNotAnother: what fails for one caller, by plain HTTP or since he may not dial the host, keeps nobody else from it.
func TestOneWayIsNotAnother(t *testing.T) {
	dialled := map[string]int{}
	c := New(Config{Dial: func(_ context.Context, _, addr string) (net.Conn, error) {
		dialled[addr]++
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}})
	t.Cleanup(c.Close)
	meant := hosts.Registry{Name: "corp.test", AllowNets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, row := range []struct {
		by   hosts.Registry
		url  string
		want int // dials of port 443 so far
	}{
		{hosts.Registry{}, "http://store.test/x", 0},
		{hosts.Registry{Name: "evil.test"}, "https://store.test/x", 1},
		{hosts.Registry{Name: "other.test"}, "https://store.test/x", 1}, // by the same way, and it is down
		{meant, "https://store.test/x", 2},
		{hosts.Registry{Name: "third.test", CAFile: os.DevNull}, "https://store.test/x", 2}, // no roots, no dial
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, row.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Bare(Request{Registry: row.by, Base: req.URL}).RoundTrip(req); err == nil {
			t.Errorf("%s for %q: got an answer of nobody", row.url, row.by.Name)
		}
		if got := dialled["store.test:443"]; got != row.want {
			t.Errorf("%s for %q: got %d dials, want %d", row.url, row.by.Name, got, row.want)
		}
	}
}
