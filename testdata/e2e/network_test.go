//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The addresses of a run. dockerd never verifies a registry whose name leads
// to 127.0.0.0/8, so neither the world nor what names are overridden with may
// be there, or nothing would be shown of certificates.
//
// The world lives in the AS112 block (RFC 7535): public by the registry of
// special addresses, so that entrepot's rule for upstream addresses lets it
// pass as it does Docker Hub's, without --allow-net; and in the real internet
// there is nothing but sinks for stray DNS questions. entrepot has an address
// of the kind that it has in an office.
const (
	worldNet = "192.31.196.0/24"
	lanAddr  = "192.168.77.1"
	dnsAddr  = "192.31.196.2:53" // the first few are not given to hosts of the world
)

// network brings loopback up with the world's and the office's addresses.
func network() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	world := netip.MustParsePrefix(worldNet).Addr().Next()
	for label, addr := range map[string]netip.Addr{"lo:world": world, "lo:lan": netip.MustParseAddr(lanAddr)} {
		if err := addAddress(s, label, addr); err != nil {
			return fmt.Errorf("give loopback the address %s: %w", addr, err)
		}
	}
	return nil
}

// addAddress gives loopback one more address. Its whole /24 becomes local, as
// 127.0.0.0/8 is: whoever likes may listen on any address of it.
func addAddress(socket int, label string, addr netip.Addr) error {
	for _, step := range []struct {
		request uint
		addr    [4]byte
	}{{unix.SIOCSIFADDR, addr.As4()}, {unix.SIOCSIFNETMASK, [4]byte{255, 255, 255, 0}}} {
		ifr, err := unix.NewIfreq(label)
		if err != nil {
			return err
		}
		if err := ifr.SetInet4Addr(step.addr[:]); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(socket, step.request, ifr); err != nil {
			return err
		}
	}
	return nil
}
