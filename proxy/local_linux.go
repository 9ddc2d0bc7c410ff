package proxy

import (
	"net"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// unpaced lets l, if only this machine can reach it, send as fast as clients read. BBR, which some machines have for the sake of the
// network, sends by a timer over the loopback too: a layer by plain HTTP takes two to five times the CPU time by it. A connection that
// was accepted could not be rid of it, therefore the listener. Who is not root may choose reno only, where cubic is not what the machine
// sends by: over the loopback, which loses nothing, they are the same. An error is of no interest: then it is as the machine has it.
func unpaced(l net.Listener) {
	tcp, ok := l.(*net.TCPListener)
	if !ok || !tcp.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		name, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		if err != nil || !strings.HasPrefix(name, "bbr") {
			return
		}
		for _, quick := range []string{"cubic", "reno"} {
			if syscall.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, quick) == nil {
				return
			}
		}
	})
}
