//go:build !linux

package proxy

import "net"

// unpaced does nothing: see local_linux.go.
func unpaced(net.Listener) {}
