package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The ways by which a client reaches a server.
const (
	wayPlain   = "plain"   // the registry API over plain HTTP, as to a mirror
	wayH1      = "h1"      // TLS in the registry's name, HTTP/1.1
	wayH2      = "h2"      // the same, HTTP/2
	wayConnect = "connect" // CONNECT to a proxy, then TLS and HTTP/1.1
)

// way is how a client gets there: it dials addr whatever the URL says, or asks the proxy that listens there.
type way struct {
	name  string
	addr  string
	base  string // of the API, up to where a repository's name begins
	roots *x509.CertPool

	exchange []tls.CurveID // the key exchanges that the client offers; nil for Go's usual
}

// server is a running program, or several that are one service.
type server struct {
	name      string
	contender contender
	dir       string // all that it writes
	commands  []*exec.Cmd
	ways      map[string]way
	control   string          // entrepot's admin door
	tunnels   string          // where a CONNECT to any host is served
	holds     map[string]bool // what was brought into its cache already
	image     *image          // pulled cold, to be pulled warm
	layer     *image          // the same for a layer in parts
}

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 10 * time.Second
)

// spawn starts a program in a process group of its own, with its output in the server's directory.
func (s *server) spawn(program string, env []string, args ...string) error {
	name := fmt.Sprintf("%s-%d.log", filepath.Base(program), len(s.commands))
	log, err := os.Create(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.commands = append(s.commands, cmd)
	return nil
}

// until waits for each way in to be open.
func (s *server) until() error {
	deadline := time.Now().Add(startTimeout)
	for _, w := range s.ways {
		for {
			c, err := net.Dial("tcp", w.addr)
			if err == nil {
				c.Close()
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("start %s: %s is not open after %v: %w; see the logs in %s", s.name, w.addr, startTimeout, err, s.dir)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return nil
}

// stop ends the processes and waits for them. What does not end by itself is killed, by its process group.
func (s *server) stop() {
	for _, cmd := range s.commands {
		gone := make(chan struct{})
		go func() { // ends with the process; stop waits for it
			defer close(gone)
			cmd.Wait()
		}()
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(stopTimeout):
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-gone
	}
	s.commands = nil
}

// clientTLS is the client's configuration for this way.
func (w way) clientTLS() *tls.Config {
	return &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12, ServerName: hostName, CurvePreferences: w.exchange}
}

// proxy is the proxy to ask, if this way has one.
func (w way) proxy() *url.URL {
	if w.name != wayConnect {
		return nil
	}
	return &url.URL{Scheme: "http", Host: w.addr}
}

// freeAddr is an address that nobody listens at.
func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

func freeAddrs(n int) []string {
	var all []string
	seen := map[string]bool{}
	for len(all) < n {
		if a := freeAddr(); !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	return all
}
