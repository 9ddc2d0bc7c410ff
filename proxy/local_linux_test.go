package proxy

import (
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnpaced: a door for this machine alone does not send by the timer of BBR; all else sends as the machine does.
func TestUnpaced(t *testing.T) {
	st := newSite(t)
	l := listenAt(t, "127.0.0.1:0")
	probe := listenAt(t, "127.0.0.1:0")
	paced, local := "bbr", "cubic"
	if congestion(t, probe, local) != local { // only root may choose it here
		local = "reno"
	}
	probe.Close()
	if congestion(t, l, paced) != paced { // this kernel has none, and all has to be left as it is
		paced = congestion(t, l, "")
		local = paced
	}
	done := make(chan error, 1)
	go func() { done <- st.server.ServeMirror(l) }()
	defer func() {
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	resp, err := http.Get("http://" + l.Addr().String() + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if got := congestion(t, l, ""); got != local {
		t.Errorf("a door on loopback sends by %s, want %s", got, local)
	}
	for _, row := range []struct{ addr, was string }{{"0.0.0.0:0", paced}, {"127.0.0.1:0", "reno"}} {
		l := listenAt(t, row.addr)
		congestion(t, l, row.was)
		unpaced(l)
		if got := congestion(t, l, ""); got != row.was {
			t.Errorf("%s, which sent by %s, sends by %s", row.addr, row.was, got)
		}
		l.Close()
	}
}

func listenAt(t *testing.T, addr string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l.(*net.TCPListener)
}

// congestion sets what c sends by, if the kernel has that, and tells what it is.
func congestion(t *testing.T, c syscall.Conn, set string) (name string) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if set != "" {
			err = os.NewSyscallError("setsockopt", syscall.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, set))
		}
		if err == nil {
			name, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		}
	})
	if err != nil {
		t.Log(err)
	}
	return strings.TrimRight(name, "\x00")
}
