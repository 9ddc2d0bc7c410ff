package main

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// announce says that the doors are open: to a person as a banner, to a machine as one line of the log.
// The addresses are those that were bound, so a port 0 can be found out.
func (p program) announce(c config, h *house, doors [doorCount]net.Listener, log zerolog.Logger) {
	signs := h.authority.Public().Roots[0]
	cert := root{signs.Fingerprint(), signs.Cert.NotAfter}
	if p.logFormat(c) == "console" {
		fmt.Fprint(p.stdout, p.banner(c, cert, doors))
		return
	}
	line := log.Info().Str("version", p.release()).Str("data_dir", c.DataDir).Str("ca", c.certPath()).
		Str("ca_sha256", cert.fingerprint).Time("ca_not_after", cert.end)
	for i, l := range doors {
		line = line.Str(doorKinds()[i].name, address(l))
	}
	line.Msg("serving")
}

// root is what people compare and wait for in a CA certificate.
type root struct {
	fingerprint string
	end         time.Time
}

// banner is what stands on a terminal at the start: where to go in, whom to trust, what to try.
func (p program) banner(c config, cert root, doors [doorCount]net.Listener) string {
	var b strings.Builder
	fmt.Fprintf(&b, "entrepot %s\n\n", p.release())
	for i, l := range doors {
		fmt.Fprintf(&b, "  %-7s %-22s %s\n", doorKinds()[i].name, address(l), doorKinds()[i].use)
	}
	fmt.Fprintf(&b, "\n  %-7s %s (cache of at most %s)\n", "data", c.DataDir, c.MaxSize)
	fmt.Fprintf(&b, "  %-7s %s, until %s\n", "ca", c.certPath(), cert.end.Format("2006-01-02"))
	fmt.Fprintf(&b, "  %-7s sha256 %s\n", "", cert.fingerprint)
	if try := tries(c, doors); len(try) > 0 {
		fmt.Fprintf(&b, "\n  %-7s %s\n", "try", strings.Join(try, "\n          "))
	}
	return b.String() + "\n"
}

// tries are commands that show at once that it works.
func tries(c config, doors [doorCount]net.Listener) []string {
	var try []string
	if l := doors[mirrorDoor]; l != nil {
		try = append(try, fmt.Sprintf("docker pull %s/library/alpine", reachable(l)))
	}
	if l := doors[proxyDoor]; l != nil {
		try = append(try, tryProxy(c, reachable(l)))
	}
	return try
}

// tryProxy is a request by the proxy door, which needs trust in its certificate too where it speaks TLS by our CA.
func tryProxy(c config, addr string) string {
	scheme, trust := "http", ""
	if c.TLS.Proxy != tlsOff {
		scheme = "https"
	}
	if c.TLS.Proxy == tlsCA {
		trust = " --proxy-cacert " + shellWord(c.certPath())
	}
	return fmt.Sprintf("curl --proxy %s://%s%s --cacert %s https://quay.io/v2/", scheme, addr, trust, shellWord(c.certPath()))
}

// shellWord is a path as it can be pasted into a command.
func shellWord(path string) string {
	if !strings.ContainsAny(path, " \t\"'\\$&|;<>()*?[]#~`") {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func address(l net.Listener) string {
	if l == nil {
		return "off"
	}
	return l.Addr().String()
}

// reachable is how a client on this machine says the address. docker takes plain HTTP from localhost
// without being told, and from 127.0.0.0/8.
func reachable(l net.Listener) string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.Addr().String()
	}
	if ip := net.ParseIP(host); anyAddress(host) || ip != nil && ip.IsLoopback() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
