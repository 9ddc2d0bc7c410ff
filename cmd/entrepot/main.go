// Command entrepot lands container images once and sends them on: a caching proxy and mirror for every
// registry.
//
// This room reads the operator's wishes (flags over environment over file), says everything that is
// wrong with them before a port opens, and ties the other rooms together. It knows no request and no
// byte of an image; hosts, ca, cache and proxy do not know that it exists.
package main

import (
	"errors"
	"io"
	"os"

	// The roots of a FROM scratch image; used only where the system has none of its own.
	_ "golang.org/x/crypto/x509roots/fallback"
)

// version is set by the linker (see the Makefile).
var version = "dev"

func main() {
	p := program{version: version, environ: os.Environ(), stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(os.Args))
}

// program is one run of the command and the world it may touch.
type program struct {
	version        string
	environ        []string
	stdout, stderr io.Writer
}

// run returns the exit code: 0, 1 after the reason was told on stderr, or 2 when all went well but verify has found damage.
func (p program) run(args []string) int {
	switch err := p.app().Run(args); {
	case errors.Is(err, errDamage):
		return 2
	case err != nil:
		report(p.stderr, err)
		return 1
	}
	return 0
}
