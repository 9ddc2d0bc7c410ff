package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/entrepot/entrepot/ca"
)

// trustStore is where a system keeps the roots that all its programs trust. Both calls return what was
// done, in lines for people that begin with removed where a root went, and may be repeated.
type trustStore interface {
	install(ca.Public) ([]string, error)
	remove(ca.Public) ([]string, error)
}

const removed = "removed"

// anchorKind is a way of Linux systems to have roots added: a file in a directory, then a program.
type anchorKind struct{ dir, tool string }

// anchorKinds has the rarer directories first, since SUSE has the program of Debian.
func anchorKinds() []anchorKind {
	return []anchorKind{
		{"etc/pki/ca-trust/source/anchors", "update-ca-trust"},          // RHEL, Fedora
		{"etc/pki/trust/anchors", "update-ca-certificates"},             // SUSE
		{"etc/ca-certificates/trust-source/anchors", "update-ca-trust"}, // Arch
		{"usr/local/share/ca-certificates", "update-ca-certificates"},   // Debian, Ubuntu, Alpine
	}
}

// findStore finds the store of the system in root. What is known by its files is taken by its files, so
// the tree of an image will do.
func findStore(root, goos string) (trustStore, error) {
	if goos == "darwin" && root == "/" {
		return keychain{"/Library/Keychains/System.keychain"}, nil
	}
	lacks := ""
	for _, k := range anchorKinds() {
		if info, err := os.Stat(filepath.Join(root, k.dir)); err != nil || !info.IsDir() {
			continue
		}
		for _, bin := range []string{"usr/sbin", "usr/bin", "sbin", "bin"} {
			if _, err := os.Stat(filepath.Join(root, bin, k.tool)); err == nil {
				return anchorDir{root, k.dir, path.Join("/", bin, k.tool)}, nil
			}
		}
		lacks = fmt.Sprintf("; %s is there, but its program %s is not", filepath.Join(root, k.dir), k.tool)
	}
	return nil, withHint("on Debian and Alpine it comes with the package ca-certificates; elsewhere put what `entrepot ca export` prints where this system wants it",
		"ca install: no trust store of a known kind in %s (want that of Debian, Alpine, RHEL, Fedora, SUSE, Arch or macOS)%s", root, lacks)
}

// anchorDir is the directory of a Linux system.
type anchorDir struct{ root, dir, tool string }

// ownAnchor matches the files that are ours: those we place, and the one that the README says to place.
var ownAnchor = regexp.MustCompile(`^entrepot(-[0-9a-f]{16})?\.crt$`)

// anchorName has the fingerprint in it: the tools look at names to see what is new.
func anchorName(r ca.Root) string {
	return "entrepot-" + strings.ToLower(strings.ReplaceAll(r.Fingerprint(), ":", ""))[:16] + ".crt"
}

// install leaves exactly these roots there, so that one from before a change-over goes.
func (a anchorDir) install(now ca.Public) ([]string, error) { return a.keep(now.Roots) }

func (a anchorDir) remove(ca.Public) ([]string, error) {
	done, err := a.keep(nil)
	if err == nil && !anyRemoved(done) {
		done = []string{fmt.Sprintf("found nothing to remove in %s; ran %s in case an earlier run was cut off before it", filepath.Join(a.root, a.dir), path.Base(a.tool))}
	}
	return done, err
}

func anyRemoved(done []string) bool {
	return slices.ContainsFunc(done, func(line string) bool { return strings.HasPrefix(line, removed+" ") })
}

// keep places the roots, removes what else is ours, and runs the program whether or not something was to
// be done: an earlier run may have died before that. Paths cannot lead out of the root, whatever links
// the tree of an image has in it.
func (a anchorDir) keep(roots []ca.Root) (done []string, err error) {
	tree, err := os.OpenRoot(a.root)
	if err != nil {
		return nil, err
	}
	defer tree.Close()
	var names []string
	for _, r := range roots {
		name := path.Join(a.dir, anchorName(r))
		names = append(names, name)
		line, err := place(tree, name, r.PEM())
		if err != nil {
			return done, err
		}
		done = append(done, line+" "+filepath.Join(a.root, name))
	}
	entries, err := fs.ReadDir(tree.FS(), a.dir)
	if err != nil {
		return done, err
	}
	for _, e := range entries {
		name := path.Join(a.dir, e.Name())
		if !ownAnchor.MatchString(e.Name()) || slices.Contains(names, name) {
			continue
		}
		if err := tree.Remove(name); err != nil {
			return done, err
		}
		done = append(done, removed+" "+filepath.Join(a.root, name))
	}
	if err := a.update(); err != nil {
		return done, err
	}
	return append(done, "ran "+path.Base(a.tool)), nil
}

// place writes a file that appears complete. A name says what is in it, but for a hand that changed it.
func place(tree *os.Root, name string, content []byte) (did string, err error) {
	if old, err := tree.ReadFile(name); err == nil && bytes.Equal(old, content) {
		return "found", nil
	}
	partial := name + ".new" // not .crt, so nobody takes it for a root
	if err := tree.WriteFile(partial, content, 0o644); err != nil {
		return "", err
	}
	return "placed", tree.Rename(partial, name)
}

// update runs the program: in the tree, if that is not the system we run on.
func (a anchorDir) update() error {
	if a.root == "/" {
		return runQuietly(a.tool)
	}
	return runQuietly("chroot", a.root, a.tool)
}

// keychain is that of macOS, for all users. It is asked by the program that comes with it.
type keychain struct{ file string }

// install trusts the roots for TLS servers only: as one for everything, which is the default, a root is good for mail and code too.
func (k keychain) install(now ca.Public) ([]string, error) {
	return k.each(now, func(_ ca.Root, file string) (string, error) {
		return "trusted", runQuietly("security", "add-trusted-cert", "-d", "-r", "trustRoot", "-p", "ssl", "-p", "basic", "-k", k.file, file)
	})
}

// remove takes out what is there: the program takes a certificate that is not for a failure.
func (k keychain) remove(now ca.Public) ([]string, error) {
	if len(now.Roots) == 0 {
		return nil, withHint("name it with --from FILE", "there is no CA in the data directory, and the keychain does not tell which was ours")
	}
	held, err := run("security", "find-certificate", "-a", "-Z", k.file)
	if err != nil {
		return nil, err
	}
	return k.each(now, func(r ca.Root, file string) (string, error) {
		hash := strings.ReplaceAll(r.Fingerprint(), ":", "")
		if !strings.Contains(held, hash) {
			return "did not find", nil
		}
		return removed, errors.Join(
			runQuietly("security", "remove-trusted-cert", "-d", file),
			runQuietly("security", "delete-certificate", "-Z", hash, k.file),
		)
	})
}

func (k keychain) each(now ca.Public, do func(r ca.Root, file string) (did string, err error)) (done []string, err error) {
	dir, err := os.MkdirTemp("", "entrepot-ca-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for _, r := range now.Roots {
		file := filepath.Join(dir, anchorName(r))
		if err := os.WriteFile(file, r.PEM(), 0o600); err != nil {
			return done, err
		}
		did, err := do(r, file)
		if err != nil {
			return done, err
		}
		done = append(done, fmt.Sprintf("%s %s in %s", did, r.Cert.Subject.CommonName, k.file))
	}
	return done, nil
}

// runQuietly runs a program whose output matters only when it fails.
func runQuietly(name string, args ...string) error {
	_, err := run(name, args...)
	return err
}

func run(name string, args ...string) (out string, err error) {
	text, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(append([]string{name}, args...), " "), err, strings.Join(strings.Fields(string(text)), " "))
	}
	return string(text), err
}
