package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// The doors, by their place in config.Listen.
const (
	proxyDoor = iota
	mirrorDoor
	tlsDoor
	httpDoor
	adminDoor
	doorCount
)

// doorKind is what is fixed about a door.
type doorKind struct {
	name, preset, usage string
	use                 string // for the banner: who comes in here
}

func (d doorKind) flag() string { return d.name + "-listen" }

func doorKinds() [doorCount]doorKind {
	return [doorCount]doorKind{
		proxyDoor:  {"proxy", "127.0.0.1:3128", `the forward proxy: CONNECT and absolute-form http; "off" turns any door off`, "HTTPS_PROXY of docker, containerd, podman, CI"},
		mirrorDoor: {"mirror", "127.0.0.1:5000", "the registry API mirror", "registry-mirrors, hosts.toml, registries.conf"},
		tlsDoor:    {"tls", "off", "the transparent TLS door, registry chosen by SNI, for /etc/hosts or DNS overrides; usually :443", "/etc/hosts or DNS overrides"},
		httpDoor:   {"http", "off", "the transparent plain HTTP door, registry chosen by Host; usually :80", "the same, with insecure-registries"},
		adminDoor:  {"admin", "127.0.0.1:5001", "/healthz /readyz /metrics", "metrics and health"},
	}
}

// openDoors binds every door that is on. Either all are open afterwards or none is.
func openDoors(listen [doorCount]string) ([doorCount]net.Listener, error) {
	var open [doorCount]net.Listener
	for i, addr := range listen {
		if addr == "" {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			closeDoors(open)
			return open, cannotOpen(doorKinds()[i], addr, err)
		}
		open[i] = l
	}
	return open, nil
}

// tryHost binds a free port of the door's host and gives it back. The door's own port may be that of an entrepot which runs, and is left
// alone.
func tryHost(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	return l.Close()
}

func closeDoors(open [doorCount]net.Listener) {
	for _, l := range open {
		if l != nil {
			l.Close()
		}
	}
}

// cannotOpen says why a door stays shut, and what to do.
func cannotOpen(d doorKind, addr string, err error) error {
	env := setting{name: d.flag()}.env()
	other := fmt.Sprintf("choose another address with --%s (%s), or turn this door off with --%s off", d.flag(), env, d.flag())
	_, port, _ := net.SplitHostPort(addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return withHint(other+fmt.Sprintf("; `ss -ltnp 'sport = :%s'` shows who has it", port), "%s door: %s is already in use", d.name, addr)
	case errors.Is(err, syscall.EACCES):
		return withHint("ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; else "+other, "%s door: not allowed to listen on %s", d.name, addr)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return withHint(other, "%s door: %s is no address of this machine", d.name, addr)
	}
	return withHint(other, "%s door: %w", d.name, err)
}
