//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/entrepot/entrepot/testdata/world"
)

// TestAttack tries from outside, with raw sockets against the running program, what docs/security.md says it withstands. It prints a
// line for each attack: what was tried and what became of it. `make attack` runs it alone.
func TestAttack(t *testing.T) {
	s := newSiege(t)
	// These take their time, in which the others have their turn.
	slow, scanned := s.slowClients(), s.scanners()
	t.Run("smuggling", func(t *testing.T) { s.in(t).smuggling() })
	t.Run("headers", func(t *testing.T) { s.in(t).headers() })
	t.Run("names", func(t *testing.T) { s.in(t).names() })
	t.Run("hosts", func(t *testing.T) { s.in(t).hosts() })
	t.Run("closed world", func(t *testing.T) { s.in(t).closedWorld() })
	t.Run("hostile registry", func(t *testing.T) { s.in(t).hostileRegistry() })
	t.Run("poison", func(t *testing.T) { s.in(t).poison() })
	t.Run("strangers", func(t *testing.T) { s.in(t).strangers() })
	t.Run("TLS", func(t *testing.T) { s.in(t).handshakes() })
	t.Run("scanners", func(t *testing.T) { scanned(s.in(t)) })
	t.Run("slow clients", func(t *testing.T) { slow(s.in(t)) })
	t.Run("traces", func(t *testing.T) { s.in(t).traces() })
	t.Run("everything allowed", func(t *testing.T) { s.in(t).everythingAllowed() })
}

// siege is the program under attack, in a world whose registries may turn hostile.
type siege struct {
	t     *testing.T
	e     *entrepot
	world *world.World
	dns   *world.DNS
	roots *x509.CertPool // with the CA of the program in it
	traps []*trap
}

func (s *siege) in(t *testing.T) *siege {
	c := *s
	c.t = t
	return &c
}

// The secrets of a run. None of them may turn up anywhere but where it belongs.
const (
	attackUser     = "ann"
	attackPassword = "correct-horse-battery-staple"
	attackPrivate  = "reg.corp.test/secret/app"
)

func newSiege(t *testing.T) *siege {
	u := &upstream{World: newWorld(t, world.Options{}), roots: filepath.Join(scratch(t), "public-roots.pem")}
	writeFile(t, u.roots, string(u.RootPEM))
	s := &siege{t: t, world: u.World, dns: u.ServeDNS(dnsAddr)}
	writeFile(t, "/etc/resolv.conf", "nameserver "+strings.TrimSuffix(dnsAddr, ":53")+"\n")
	writeFile(t, "/etc/hosts", "127.0.0.1 localhost\n"+lanAddr+" quay.io\n") // h2spec says by SNI what it dials
	u.Push(t, "docker.io/library/alpine:3.20", world.Image(t, 1, 100<<10))
	u.Push(t, "quay.io/org/tool:1", world.Image(t, 2, 100<<10))
	u.Push(t, "reg.corp.test/open/app:1", world.Image(t, 3, 100<<10))
	u.Push(t, attackPrivate+":1", world.Image(t, 4, 100<<10))
	u.Private(attackPrivate)
	u.Account("reg.corp.test", attackUser, attackPassword, "secret/*")
	s.setTraps()
	s.e = startEntrepotIn(t, u, filepath.Join(scratch(t), "entrepot"),
		"--registry", "reg.corp.test,bad.corp.test,old.corp.test,inside.corp.test", "--log-level", "debug")
	pem, err := os.ReadFile(s.e.ca)
	if err != nil {
		t.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(pem)
	return s
}

// trap is where nothing may ever connect.
type trap struct {
	addr string
	hits atomic.Int64
}

// setTraps listens at addresses that an attacker would like to have dialled: this machine's inside, a cloud's metadata, the office.
func (s *siege) setTraps() {
	s.t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = unix.Close(socket) }()
	for label, addr := range map[string]string{"lo:metadata": "169.254.169.254", "lo:office": "10.77.0.1", "lo:shared": "100.64.77.1"} {
		if err := addAddress(socket, label, netip.MustParseAddr(addr)); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, addr := range []string{
		"127.0.0.1:443", "127.0.0.1:80", "127.0.0.1:22", "169.254.169.254:80", "169.254.169.254:443", "10.77.0.1:443", "10.77.0.1:80", "100.64.77.1:443",
		"192.31.196.1:25",
	} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = l.Close() })
		caught := &trap{addr: addr}
		s.traps = append(s.traps, caught)
		go func() { // ends with the listener
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				caught.hits.Add(1)
				_ = c.Close()
			}
		}()
	}
}

// try prints the line of one attack. breach is empty where the program held.
func (s *siege) try(what, outcome, breach string) {
	s.t.Helper()
	for _, c := range s.traps {
		if n := c.hits.Swap(0); n > 0 {
			breach = fmt.Sprintf("%s was dialled %d times; %s", c.addr, n, breach)
		}
	}
	if breach == "" {
		fmt.Printf("held    %-70s %s\n", what, outcome)
		return
	}
	fmt.Printf("BREACH  %-70s %s: %s\n", what, outcome, breach)
	s.t.Errorf("%s: %s: %s", what, outcome, breach)
}

// reply is all that came back on a connection.
type reply struct {
	raw    string
	closed bool // by the program, at once
}

// statuses are those of all answers in it.
func (r reply) statuses() []string {
	var out []string
	for _, line := range strings.Split(r.raw, "\n") {
		if rest, ok := strings.CutPrefix(line, "HTTP/1."); ok && len(rest) > 5 {
			out = append(out, rest[2:5])
		}
	}
	return out
}

func (r reply) String() string {
	end := "stays open"
	if r.closed {
		end = "closed"
	}
	return strings.Join(append(r.statuses(), end), ", ")
}

// say sends text on c and hears the program out. An attack that holds ends the connection, so that nothing is waited for.
func (s *siege) say(c net.Conn, text string) reply {
	s.t.Helper()
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.WriteString(c, text) // it may have been cut off by then
	raw, err := io.ReadAll(c)
	timeout, ok := err.(net.Error)
	return reply{string(raw), !ok || !timeout.Timeout()}
}

// ask is say for one polite request, which is read to the end of its answer.
func (s *siege) ask(addr, text string) (*http.Response, string) {
	s.t.Helper()
	c := s.dial(addr)
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, text)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.t.Fatalf("%.100q: %v", text, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		body = append(body, " …broken off: "+err.Error()...)
	}
	return resp, string(body)
}

func (s *siege) dial(addr string) net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// inside is a connection inside the TLS of the tls door, in HTTP/1.
func (s *siege) inside(name string) net.Conn {
	return tls.Client(s.dial(tlsAddr), &tls.Config{RootCAs: s.roots, ServerName: name})
}

// tunnelled is the same through the proxy door.
func (s *siege) tunnelled(name string) net.Conn {
	s.t.Helper()
	c := s.dial(proxyAddr)
	_, _ = fmt.Fprintf(c, "CONNECT %s:443 HTTP/1.1\r\nHost: %s:443\r\n\r\n", name, name)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("CONNECT %s: %v, %v", name, resp, err)
	}
	return tls.Client(c, &tls.Config{RootCAs: s.roots, ServerName: name})
}

// unless is a breach in words where the condition does not hold.
func unless(ok bool, format string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(format, args...)
}
