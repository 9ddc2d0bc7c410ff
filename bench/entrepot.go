package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// startEntrepot starts the program to measure with its defaults, and with what the others have as well: the origin behind its
// registry, a log line for each request, and tags that are fresh for a day, so that a scenario of fresh tags asks upstream nothing.
func startEntrepot(b *bed, s *server) error {
	config := filepath.Join(s.dir, "entrepot.yaml")
	rules := fmt.Sprintf("  - name: %s\n    hosts: [%[1]s, \"*.%[1]s\"]\n    upstream: https://%s\n    ca-file: %s\n"+
		"    allow-net: [127.0.0.0/8]\n    manifest-ttl: 24h\n",
		hostName, b.origin.addr, b.trust.rootFile)
	if s.name == "parallel" {
		rules += "    parallel: 4\n"
	}
	if err := os.WriteFile(config, []byte("allow-net: [127.0.0.0/8]\nregistry:\n"+rules), 0o644); err != nil {
		return err
	}
	a := freeAddrs(4)
	listen := slices.Clone(a)
	if s.name == "outside" {
		for i, addr := range a {
			listen[i] = strings.Replace(addr, "127.0.0.1", "0.0.0.0", 1)
		}
	}
	data := filepath.Join(s.dir, "data")
	program := b.options.entrepot
	if s.name == "other" {
		program = b.options.other
	}
	_, port, _ := net.SplitHostPort(b.origin.addr) // made by the kernel
	err := s.spawn(program, nil, "serve", "--config", config, "--data-dir", data, "--log-format", "json",
		"--tunnel-port", port, "--client-limit", "2000", // all clients of a run have one address
		"--proxy-listen", listen[0], "--mirror-listen", listen[1], "--tls-listen", listen[2], "--admin-listen", a[3])
	if err != nil {
		return err
	}
	s.control, s.tunnels = "http://"+a[3], a[0]
	if err := s.ready(); err != nil {
		return err
	}
	roots, err := poolOf(filepath.Join(data, "ca", "ca.crt"))
	if err != nil {
		return err
	}
	secure := "https://" + hostName + "/v2/"
	s.ways = map[string]way{
		wayPlain:   {addr: a[1], base: "http://" + a[1] + "/v2/" + hostName + "/"},
		wayH1:      {addr: a[2], base: secure, roots: roots},
		wayH2:      {addr: a[2], base: secure, roots: roots},
		wayConnect: {addr: a[0], base: secure, roots: roots},
	}
	if s.name == "outside" {
		s.ways = map[string]way{wayPlain: s.ways[wayPlain]} // of the others most is TLS's work
	}
	return nil
}

// isOurs tells whether s is entrepot, of whatever build.
func (s *server) isOurs() bool {
	return slices.Contains([]string{"entrepot", "other", "outside", "parallel"}, s.name)
}

// ready waits until entrepot says that it is.
func (s *server) ready() error {
	for deadline := time.Now().Add(startTimeout); ; {
		resp, err := http.Get(s.control + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("it says %s", resp.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("start %s: not ready after %v: %w; see the logs in %s", s.name, startTimeout, err, s.dir)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
