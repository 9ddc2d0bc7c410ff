package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/ca"
)

// systemTree is a system with a trust store of some kind, whose program is never run there: fakeChroot stands for it.
func systemTree(t *testing.T, k anchorKind, tool string) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{k.dir, "usr/sbin", "etc/ssl/certs"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/sbin", tool), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

// onPath puts a program of shell lines before all others, and returns the file that it notes its words in.
func onPath(t *testing.T, name, script string) (env, words string) {
	t.Helper()
	dir := t.TempDir()
	words = filepath.Join(dir, "words")
	text := "#!/bin/sh\necho \"$@\" >>" + words + "\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + dir + ":/usr/sbin:/usr/bin:/sbin:/bin", words
}

// updateInTree does what matters of Debian's program; the end-to-end tests run that itself.
const updateInTree = `cat "$1"/usr/local/share/ca-certificates/*.crt >"$1/etc/ssl/certs/ca-certificates.crt"`

func ownFiles(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range found {
		found[i] = filepath.Base(f)
	}
	return found
}

// TestCAInstallOnDebian: the bundle that clients read has the roots of each step, and the store nothing of ours when they were removed.
func TestCAInstallOnDebian(t *testing.T) {
	data, kind := t.TempDir(), anchorKind{"usr/local/share/ca-certificates", "update-ca-certificates"}
	root := systemTree(t, kind, kind.tool)
	local := filepath.Join(root, kind.dir)
	path, words := onPath(t, "chroot", updateInTree)
	ran(t, "ca", "init", "--data-dir", data)
	byHand := page(t, data+"/ca/ca.crt")
	if err := errors.Join(
		os.WriteFile(filepath.Join(local, "entrepot.crt"), []byte(byHand), 0o644), // as the README says
		os.WriteFile(filepath.Join(local, "entrepot-of-another.crt"), []byte(byHand), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	install := func(args ...string) string {
		t.Helper()
		stdout, stderr, code := output(t, []string{path}, append([]string{"ca", "install", "--data-dir", data, "--root", root}, args...)...)
		if code != 0 {
			t.Fatalf("install %v: got %d: %s", args, code, stderr)
		}
		return stdout
	}
	for _, step := range []struct{ before, said []string }{
		{nil, []string{"placed " + local + "/entrepot-", "removed " + local + "/entrepot.crt", "ran update-ca-certificates", "restart"}},
		{nil, []string{"found " + local + "/entrepot-"}},
		{[]string{"ca", "rotate"}, []string{"found ", "placed "}},
		{[]string{"ca", "rotate", "--switch"}, []string{"found "}},
		{[]string{"ca", "rotate", "--finish"}, []string{"found ", "removed "}},
	} {
		if step.before != nil {
			ran(t, append(step.before, "--data-dir", data)...)
		}
		said := install()
		for _, want := range step.said {
			if !strings.Contains(said, want) {
				t.Errorf("after %v: got %q, want %q in it", step.before, said, want)
			}
		}
		want, _ := ran(t, "ca", "export", "--data-dir", data)
		for _, cert := range strings.SplitAfter(want, "-----END CERTIFICATE-----\n") {
			if bundle := page(t, root+"/etc/ssl/certs/ca-certificates.crt"); !strings.Contains(bundle, cert) {
				t.Errorf("after %v: the bundle lacks a root", step.before)
			}
		}
		if got, want := len(ownFiles(t, local)), strings.Count(want, "BEGIN")+1; got != want {
			t.Errorf("after %v: got the files %v, want %d and that of another", step.before, ownFiles(t, local), want-1)
		}
	}
	if err := os.RemoveAll(data); err != nil { // entrepot itself may be gone already
		t.Fatal(err)
	}
	first := install("--remove")
	for _, want := range []string{"removed " + local + "/entrepot-", "ran update-ca-certificates", "next: restart"} {
		if !strings.Contains(first, want) {
			t.Errorf("--remove: got %q, want %q in it", first, want)
		}
	}
	if got, want := install("--remove"), "found nothing to remove in "+local+"; ran update-ca-certificates in case an earlier run was cut off before it\n"; got != want {
		t.Errorf("--remove of nothing: got %q, want %q", got, want)
	}
	if got, want := ownFiles(t, local), []string{"entrepot-of-another.crt"}; !slices.Equal(got, want) {
		t.Errorf("after --remove: got the files %v, want %v", got, want)
	}
	runs := strings.Split(strings.TrimSpace(page(t, words)), "\n")
	if len(runs) != 7 { // at each call
		t.Errorf("the program ran %d times, want 7", len(runs))
	}
	for _, line := range runs {
		if want := root + " /usr/sbin/update-ca-certificates"; line != want {
			t.Errorf("chroot: got %q, want %q", line, want)
		}
	}
}

// TestCAInstallKinds: each kind of system by its directory and program, from a file that was exported.
func TestCAInstallKinds(t *testing.T) {
	data := t.TempDir()
	ran(t, "ca", "init", "--data-dir", data)
	for _, k := range anchorKinds() {
		root := systemTree(t, k, k.tool)
		path, words := onPath(t, "chroot", "")
		stdout, stderr, code := output(t, []string{path}, "ca", "install", "--from", data+"/ca/ca.crt", "--root", root, "--data-dir", t.TempDir())
		if code != 0 {
			t.Fatalf("%s: got %d: %s", k.dir, code, stderr)
		}
		files := ownFiles(t, filepath.Join(root, k.dir))
		if len(files) != 1 || page(t, filepath.Join(root, k.dir, files[0])) != page(t, data+"/ca/ca.crt") {
			t.Errorf("%s: got the files %v, want the root", k.dir, files)
		}
		if got, want := page(t, words), root+" /usr/sbin/"+k.tool+"\n"; got != want || !strings.Contains(stdout, "ran "+k.tool) {
			t.Errorf("%s: got %q and %q, want %q to be run", k.dir, got, stdout, want)
		}
	}
}

// TestCAInstallRefuses: what cannot be done is said, and no key gets into a store.
func TestCAInstallRefuses(t *testing.T) {
	data, k := t.TempDir(), anchorKinds()[0]
	ran(t, "ca", "init", "--data-dir", data)
	refused(t, []string{"no trust store of a known kind in " + data, "hint: on Debian and Alpine"}, "ca", "install", "--root", data, "--data-dir", data)
	root := systemTree(t, k, "another-program")
	refused(t, []string{"no trust store of a known kind", root + "/" + k.dir + " is there, but its program " + k.tool + " is not"}, "ca", "install", "--root", root, "--data-dir", data)
	root = systemTree(t, k, k.tool)
	refused(t, []string{"no PEM certificate"}, "ca", "install", "--from", data+"/ca/ca.key", "--root", root, "--data-dir", data)
	path, _ := onPath(t, "chroot", "echo no room left >&2; exit 3")
	_, stderr, code := output(t, []string{path}, "ca", "install", "--root", root, "--data-dir", data)
	if code != 1 || !strings.Contains(stderr, "exit status 3: no room left") {
		t.Errorf("a program that fails: got %d, %q, want what it says", code, stderr)
	}
	outside := t.TempDir()
	dir := filepath.Join(root, k.dir)
	if err := errors.Join(os.RemoveAll(dir), os.Symlink(outside, dir)); err != nil {
		t.Fatal(err)
	}
	refused(t, []string{"escapes"}, "ca", "install", "--root", root, "--data-dir", data)
	if got := ownFiles(t, outside); len(got) > 0 {
		t.Errorf("a link out of the tree: got %v outside, want nothing", got)
	}
}

// TestCAInstallOnMacOS: what is asked of its security program, one certificate at a time.
func TestCAInstallOnMacOS(t *testing.T) {
	data := t.TempDir()
	ran(t, "ca", "init", "--data-dir", data)
	ran(t, "ca", "rotate", "--data-dir", data)
	now, err := ca.Look(ca.Config{Dir: data + "/ca"})
	if err != nil {
		t.Fatal(err)
	}
	store, err := findStore("/", "darwin")
	if err != nil {
		t.Fatal(err)
	}
	hash := func(i int) string { return strings.ReplaceAll(now.Roots[i].Fingerprint(), ":", "") }
	path, words := onPath(t, "security", `case "$1" in
		add-trusted-cert) grep -q 'BEGIN CERTIFICATE' "${11}";;
		find-certificate) echo 'SHA-256 hash: `+hash(1)+`';;
	esac`)
	t.Setenv("PATH", strings.TrimPrefix(path, "PATH="))
	for _, step := range []struct {
		do   func(ca.Public) ([]string, error)
		said [2]string
	}{{store.install, [2]string{"trusted ", "trusted "}}, {store.remove, [2]string{"did not find ", "removed "}}} {
		done, err := step.do(now)
		if err != nil || len(done) != 2 || !strings.HasPrefix(done[0], step.said[0]) || !strings.HasPrefix(done[1], step.said[1]) {
			t.Errorf("got %q, %v, want %q", done, err, step.said)
		}
	}
	if _, err := store.remove(ca.Public{}); err == nil || !strings.Contains(err.Error(), "does not tell which was ours") {
		t.Errorf("without a CA: got %v", err)
	}
	var want []string
	const file = "/Library/Keychains/System.keychain"
	for _, r := range now.Roots {
		want = append(want, "add-trusted-cert -d -r trustRoot -p ssl -p basic -k "+file+" FILE/"+anchorName(r))
	}
	want = append(want, "find-certificate -a -Z "+file, "remove-trusted-cert -d FILE/"+anchorName(now.Roots[1]), fmt.Sprintf("delete-certificate -Z %s %s", hash(1), file))
	got := strings.Split(strings.TrimSpace(page(t, words)), "\n")
	for i, line := range got {
		fields := strings.Fields(line)
		if last := fields[len(fields)-1]; strings.HasPrefix(last, os.TempDir()) {
			got[i] = strings.TrimSuffix(line, last) + "FILE/" + filepath.Base(last)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("security: got\n%q, want\n%q", got, want)
	}
	if runtime.GOOS != "darwin" {
		if _, err := findStore(t.TempDir(), "darwin"); err == nil {
			t.Error("--root on macOS: got no error, want a tree to be judged by its files")
		}
	}
}
