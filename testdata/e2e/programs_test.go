//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// systemPath is the PATH of every process. dockerd finds its containerd on
// it, which must be Debian's 1.6 and not the containerd 2 of the tests.
const systemPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// fromDebian and fromGo are the programs that the install script brings.
func fromDebian() []string {
	return []string{
		"/usr/sbin/dockerd", "/usr/bin/docker", "/usr/bin/containerd", "/usr/sbin/runc",
		"/usr/bin/podman", "/usr/bin/skopeo", "/usr/bin/buildah", "/usr/sbin/update-ca-certificates",
		"/usr/sbin/iptables", "/usr/bin/curl", "/usr/bin/openssl", "/usr/bin/sslscan", "/usr/bin/testssl",
	}
}

func fromGo() []string {
	return []string{"crane", "regctl", "registry", "versitygw", "containerd", "ctr", "h2spec"}
}

// program is the path of a program that the install script built.
func program(name string) string {
	return filepath.Join(fromModule("E2E_BIN", "bin/tools"), name)
}

// entrepotBinary is the program under test.
func entrepotBinary() string { return fromModule("E2E_ENTREPOT", "bin/entrepot") }

// raceBinary is the same with Go's race detector in it.
func raceBinary() string { return fromModule("E2E_ENTREPOT_RACE", "bin/entrepot-race") }

// fromModule is the path that the variable names, or the default. A relative
// one counts from the module's root, whatever directory the tests run in.
func fromModule(variable, otherwise string) string {
	path := os.Getenv(variable)
	if path == "" {
		path = otherwise
	}
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(moduleRoot(), path)
}

// moduleRoot counts on `go test`, which runs a test in its own directory.
func moduleRoot() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Join(dir, "..", "..")
}

func checkPrograms() error {
	var missing []error
	look := func(path string) {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, fmt.Errorf("%w; run testdata/e2e/install", err))
		}
	}
	for _, path := range fromDebian() {
		look(path)
	}
	for _, path := range []string{entrepotBinary(), raceBinary()} {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, fmt.Errorf("%w; run make build build-race", err))
		}
	}
	for _, name := range fromGo() {
		look(program(name))
	}
	return errors.Join(missing...)
}
