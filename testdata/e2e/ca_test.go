//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// rotating is the life of a CA that is limited to the registries, on Debian's
// own trust store: made, installed, followed by another while a client pulls at
// each step, and taken out again.
func rotating(t *testing.T, u *upstream) {
	dir := filepath.Join(scratch(t), "entrepot")
	ca := func(words ...string) string {
		t.Helper()
		return run(t, command(nil, entrepotBinary(), append(append([]string{"ca"}, words...), "--data-dir", dir)...))
	}
	ca("init", "--constrain", "--registry", "s3reg.corp.test", "--registry", "reg.corp.test")
	e := startEntrepotIn(t, u, dir)
	c := crane(t, proxied()...)
	distrustsCA(t, c)
	ca("install")
	t.Cleanup(func() { ca("install", "--remove") })
	e.pullTwice(t, c, "proxy", quayImage)

	first := e.givenOut(t)
	for _, step := range []struct {
		flags []string
		roots int
	}{{nil, 2}, {[]string{"--switch"}, 2}, {[]string{"--finish"}, 1}} {
		before := e.givenOut(t)
		ca(append([]string{"rotate"}, step.flags...)...)
		if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		e.until(t, func() error {
			if now := e.givenOut(t); now == before || strings.Count(now, "BEGIN") != step.roots {
				return fmt.Errorf("/ca.crt gives %q, want another %d roots", now, step.roots)
			}
			return nil
		})
		// Who trusts what was given out before this step is let in.
		e.pullTwice(t, c, "proxy", quayImage)
		ca("install")
		e.pullTwice(t, c, "proxy", quayImage)
	}
	if last := e.givenOut(t); strings.Contains(first, last) {
		t.Error("the root is the same as before the rotation")
	}
	ca("install", "--remove")
	distrustsCA(t, c)
}

func distrustsCA(t *testing.T, c tool) {
	t.Helper()
	if out, err := c.fetch(quayImage); err == nil || !strings.Contains(out, "x509: certificate signed by unknown authority") {
		t.Errorf("without the root in the store: got %v and %q, want x509's complaint", err, out)
	}
}

// givenOut is what /ca.crt gives.
func (e *entrepot) givenOut(t *testing.T) string {
	t.Helper()
	_, pem := get(t, "http://"+mirrorAddr+"/ca.crt")
	return pem
}
