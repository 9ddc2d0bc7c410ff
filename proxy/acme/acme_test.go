package acme

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/entrepot/entrepot/testdata/pebble"
)

// TestMain sees that a Keeper leaves nothing behind, but for what certmagic keeps for the life of the process: a rate limiter for each
// account, and a look at each lock file every five seconds.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		pebble.Endless())
}

// patience bounds what a test waits for; nothing that works comes near it.
const patience = 60 * time.Second

// asking is a configuration for the town's CA.
func asking(w *pebble.Town, dir string, log io.Writer, names ...string) Config {
	return Config{
		Dir: dir, Names: names, Email: "ada@example.com", Directory: w.Directory, Roots: w.Roots, Host: "127.0.0.1",
		Log: zerolog.New(log),
	}
}

// lines is a log whose reader can wait.
type lines struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	grown chan struct{}
}

func newLines() *lines { return &lines{grown: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.grown <- struct{}{}:
	default:
	}
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) until(t *testing.T, text string) {
	t.Helper()
	for late := time.After(patience); !strings.Contains(l.String(), text); {
		select {
		case <-l.grown:
		case <-late:
			t.Fatalf("no %q in the log:\n%s", text, l)
		}
	}
}

// inUse waits until there is a certificate for each of the names.
func (l *lines) inUse(t *testing.T, names []string) {
	t.Helper()
	for _, name := range names {
		l.until(t, fmt.Sprintf(`"names":[%q],"message":"a certificate by ACME is in use"`, name))
	}
}

// shown is the certificate that a client sees who asks for name, verified against what the town's CA has issued.
func shown(t *testing.T, w *pebble.Town, k *Keeper, name string) (*x509.Certificate, error) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tls.Server(server, &tls.Config{GetCertificate: k.Certificate}).HandshakeContext(t.Context())
		server.Close()
	}()
	c := tls.Client(client, &tls.Config{RootCAs: w.Issued, ServerName: name})
	err := c.HandshakeContext(t.Context())
	client.Close()
	<-done
	if err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// TestIssuance: a real ACME server hands out a certificate by each of the three challenges, and the next start finds it in its files.
func TestIssuance(t *testing.T) {
	for _, by := range []string{"HTTP-01", "TLS-ALPN-01", "DNS-01"} {
		t.Run(by, func(t *testing.T) {
			w, told, dir := pebble.New(t), newLines(), filepath.Join(t.TempDir(), "acme")
			cfg := asking(w, dir, told, "cache.example.test", "other.example.test")
			switch by {
			case "HTTP-01":
				cfg.HTTPPort = w.HTTPPort
			case "TLS-ALPN-01":
				cfg.TLSPort = w.TLSPort
			case "DNS-01":
				cfg.DNSHook = w.Hook(t, "")
			}
			k, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			told.inUse(t, cfg.Names)
			first := map[string]string{}
			for _, name := range cfg.Names {
				cert, err := shown(t, w, k, name)
				if err != nil {
					t.Fatalf("%s: %v\n%s", name, err, told)
				}
				first[name] = cert.SerialNumber.String()
			}
			if _, err := shown(t, w, k, "bank.example"); err == nil || !strings.HasSuffix(err.Error(), "unrecognized name") {
				t.Errorf("a name that is not ours: got %v, want the alert unrecognized_name", err)
			}
			k.Close()
			if by == "DNS-01" {
				records, _ := os.ReadFile(w.Records)
				if got := string(records); strings.Count(got, "present _acme-challenge.cache.example.test. ") != 1 || strings.Count(got, "cleanup _acme-challenge.cache.example.test. ") != 1 {
					t.Errorf("the hook was called with\n%s\nwant present and cleanup, once each for a name", got)
				}
			}

			again := newLines()
			cfg.Log = zerolog.New(again)
			if k, err = Open(cfg); err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			again.inUse(t, cfg.Names)
			for _, name := range cfg.Names {
				if cert, err := shown(t, w, k, name); err != nil || cert.SerialNumber.String() != first[name] {
					t.Errorf("%s after a restart: got %v, want the certificate from before\n%s", name, err, again)
				}
			}
			if strings.Contains(again.String(), "asking") {
				t.Errorf("the CA was asked again:\n%s", again)
			}
			private(t, dir)
		})
	}
}

// private: nobody else reads the keys.
func private(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, want it for its owner only", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestDoorsAnswer: where a door has the port at which the CA looks, the door answers.
func TestDoorsAnswer(t *testing.T) {
	for _, by := range []string{"HTTP-01", "TLS-ALPN-01"} {
		t.Run(by, func(t *testing.T) {
			w, told := pebble.New(t), newLines()
			cfg := asking(w, t.TempDir(), told, "cache.example.test")
			port := w.HTTPPort
			if cfg.HTTPPort = port; by == "TLS-ALPN-01" {
				cfg.HTTPPort, cfg.TLSPort, port = 0, w.TLSPort, w.TLSPort
			}
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			var keeper *Keeper
			ready := make(chan struct{})
			if by == "TLS-ALPN-01" {
				l = tls.NewListener(l, &tls.Config{NextProtos: []string{"http/1.1", "acme-tls/1"}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
					<-ready
					return keeper.Certificate(h)
				}})
			}
			door := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if <-ready; !keeper.Answer(rw, r) {
					http.NotFound(rw, r)
				}
			})}
			done := make(chan error, 1)
			go func() { done <- door.Serve(l) }()
			defer func() {
				door.Close()
				<-done
			}()
			if keeper, err = Open(cfg); err != nil {
				t.Fatal(err)
			}
			defer keeper.Close()
			close(ready)
			told.until(t, "got a certificate by ACME")
		})
	}
}

// TestFailureIsTold: a CA that does not find its answer is an error that says so, and the server lives.
func TestFailureIsTold(t *testing.T) {
	w, told := pebble.New(t), newLines()
	cfg := asking(w, t.TempDir(), told, "cache.example.test")
	cfg.DNSHook = w.Hook(t, "echo no such zone >&2; exit 3")
	k, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	told.until(t, "no such zone")
	if _, err := shown(t, w, k, "cache.example.test"); err == nil {
		t.Error("got a certificate, want none")
	}
	if !strings.Contains(told.String(), "exit status 3") || !strings.Contains(told.String(), "it is tried again") {
		t.Errorf("got\n%s\nwant what the program said, and what comes next", told)
	}
}

func TestNothingToAskFor(t *testing.T) {
	if _, err := Open(Config{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "--server-name") {
		t.Errorf("no names: got %v, want a hint", err)
	}
}
