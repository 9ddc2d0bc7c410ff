// Command world plays the public internet of container registries for real
// clients: each host on a loopback address of its own, ports 443 and 80, in
// front of real registries. Run it as root in a network namespace whose
// resolver is the one of -dns.
//
//	world -backend docker.io=http://127.0.0.1:5100 -ca-out ca.crt -dns 127.0.0.1:53 -control 127.0.0.1:9900
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/entrepot/entrepot/testdata/world"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "world:", err)
		os.Exit(1)
	}
}

// pairs is a flag that may stand many times: NAME=URL.
type pairs map[string]string

func (p pairs) String() string { return "" }

func (p pairs) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("want NAME=URL, got %q", s)
	}
	p[name] = value
	return nil
}

func run(args []string) error {
	opts := world.Options{RealPorts: true, Backends: map[string]string{}, Forward: map[string]string{}}
	flags := flag.NewFlagSet("world", flag.ContinueOnError)
	flags.Var(pairs(opts.Backends), "backend", "registry `NAME=URL` kept by a real registry; may be repeated")
	flags.Var(pairs(opts.Forward), "forward", "more hosts, `NAME=URL`, passed on with their name; may be repeated")
	flags.IntVar(&opts.RateLimit, "rate-limit", 100, "Docker Hub's limit of manifests, negative for none")
	caOut := flags.String("ca-out", "", "write the world's root certificate to `file`")
	dns := flags.String("dns", "", "`address` to answer DNS on")
	control := flags.String("control", "127.0.0.1:9900", "`address` of the control door")
	hostsOut := flags.String("hosts-out", "", "write the played names in the form of /etc/hosts to `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	run := &process{}
	defer run.end()
	w := world.New(run, opts)
	if *dns != "" {
		w.ServeDNS(*dns)
	}
	if err := writeOut(*caOut, w.RootPEM); err != nil {
		return err
	}
	if err := writeOut(*hostsOut, hostsFile(w)); err != nil {
		return err
	}
	l, err := net.Listen("tcp", *control)
	if err != nil {
		return err
	}
	return serveControl(ctx, l, w)
}

func hostsFile(w *world.World) []byte {
	var b strings.Builder
	for _, name := range w.Names() {
		fmt.Fprintln(&b, w.Host(name).Addr, name)
	}
	return []byte(b.String())
}

func writeOut(file string, content []byte) error {
	if file == "" {
		return nil
	}
	return os.WriteFile(file, content, 0o644)
}

// process is the world's T outside of tests.
type process struct{ cleanups []func() }

func (p *process) Helper()          {}
func (p *process) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

func (p *process) Fatalf(format string, args ...any) {
	p.Logf(format, args...)
	os.Exit(1)
}

func (p *process) Errorf(format string, args ...any) { p.Logf(format, args...) }

func (p *process) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (p *process) end() {
	for _, f := range slices.Backward(p.cleanups) {
		f()
	}
}
