//go:build e2e

package e2e

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

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
	t.Run("meant", func(t *testing.T) { s.in(t).meant() })
	t.Run("hostile registry", func(t *testing.T) { s.in(t).hostileRegistry() })
	t.Run("poison", func(t *testing.T) { s.in(t).poison() })
	t.Run("strangers", func(t *testing.T) { s.in(t).strangers() })
	var later func(*siege)
	t.Run("revoked", func(t *testing.T) { later = s.in(t).revoked() })
	t.Run("quiet", func(t *testing.T) { s.in(t).quiet() })
	t.Run("joiners", func(t *testing.T) { s.in(t).joiners() })
	t.Run("own words", func(t *testing.T) { s.in(t).ownWords() })
	t.Run("stillness", func(t *testing.T) { s.in(t).stillness() })
	t.Run("outage", func(t *testing.T) { s.in(t).outage() })
	t.Run("lapsed", func(t *testing.T) { s.in(t).lapsed() })
	t.Run("who comes in", func(t *testing.T) { s.in(t).whoComesIn() })
	t.Run("passwords", func(t *testing.T) { s.in(t).passwords() })
	t.Run("the mirror's credentials", func(t *testing.T) { s.in(t).credentials() })
	t.Run("admin door", func(t *testing.T) { s.in(t).adminDoor() })
	t.Run("client certificates", func(t *testing.T) { s.in(t).certificates() })
	t.Run("crowds", func(t *testing.T) { s.in(t).crowds() })
	t.Run("logs", func(t *testing.T) { s.in(t).logs() })
	t.Run("CA", func(t *testing.T) { s.in(t).theCA() })
	t.Run("impostors", func(t *testing.T) { s.in(t).impostors() })
	t.Run("TLS", func(t *testing.T) { s.in(t).handshakes() })
	t.Run("scanners", func(t *testing.T) { scanned(s.in(t)) })
	t.Run("slow clients", func(t *testing.T) { slow(s.in(t)) })
	t.Run("ended", func(t *testing.T) { later(s.in(t)) })
	t.Run("traces", func(t *testing.T) { s.in(t).traces() })
}

// siege is a program under attack, in a world whose registries may turn hostile.
type siege struct {
	t     *testing.T
	e     *entrepot
	up    *upstream
	world *world.World
	dns   *world.DNS
	roots *x509.CertPool // with the CA of the program in it
	traps []*trap
	own   *ownRegistry
	heard *strings.Builder // all the refusals that its doors gave
}

func (s *siege) in(t *testing.T) *siege {
	c := *s
	c.t = t
	return &c
}

// The account of somebody who may read what is private, at its registry. His password may turn up nowhere else.
const (
	attackUser     = "ann"
	attackPassword = "correct-horse-battery-staple"
	attackPrivate  = "reg.corp.test/secret/app"
)

func newSiege(t *testing.T) *siege {
	u := &upstream{World: newWorld(t, world.Options{}), roots: filepath.Join(scratch(t), "public-roots.pem")}
	s := &siege{t: t, up: u, world: u.World, dns: u.ServeDNS(dnsAddr), heard: &strings.Builder{}}
	own, pem := s.serveOwn()
	s.own = own
	writeFile(t, u.roots, string(u.RootPEM)+pem)
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
		"--registry", "reg.corp.test,bad.corp.test,old.corp.test,inside.corp.test,s3reg.corp.test,"+ownName,
		"--proxy-protocol", balancerAddr, "--auth-ttl", proofLifetime.String(), "--log-level", "debug")
	s.roots = rootsIn(t, s.e.ca)
	return s
}

// rootsIn are the certificates of a file.
func rootsIn(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
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
	for _, leak := range s.world.Leaks() {
		breach = leak + "; " + breach
	}
	if breach == "" {
		fmt.Printf("held    %-70s %s\n", what, outcome)
		return
	}
	fmt.Printf("BREACH  %-70s %s: %s\n", what, outcome, breach)
	s.t.Errorf("%s: %s: %s", what, outcome, breach)
}

// unless is a breach in words where the condition does not hold.
func unless(ok bool, format string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(format, args...)
}
