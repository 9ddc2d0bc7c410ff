package main

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
)

// TestCheckSaysWhatAStartWould: what serve refuses to start for, config check says before, in the same words.
func TestCheckSaysWhatAStartWould(t *testing.T) {
	dataWith := func(name, content string, mode os.FileMode) string {
		t.Helper()
		dir := t.TempDir()
		ran(t, "ca", "init", "--data-dir", dir)
		path := dir + "/ca/" + name
		if content != "" {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	notDir := file(t, "file", "")
	nowhere := t.TempDir() + "/link"
	if err := os.Symlink(notDir+".none", nowhere); err != nil {
		t.Fatal(err)
	}
	own := dataWith("ca.crt", "", 0o644) + "/ca/"
	rows := []struct {
		name string
		args []string
		want []string
	}{
		{"mode of the key", []string{"--data-dir", dataWith("ca.key", "", 0o644)}, []string{"ca.key: others than its owner may use it (got mode 0644, want 0600); run: chmod 600"}},
		{"junk for a certificate", []string{"--data-dir", dataWith("ca.crt", "junk", 0o644)}, []string{"ca.crt: no PEM certificate in it"}},
		{"junk for a key", []string{"--data-dir", dataWith("ca.key", "junk", 0o600)}, []string{"ca.key: no private key in it"}},
		{"an operator's CA of two", []string{"--data-dir", t.TempDir(), "--ca-cert", own + "ca.crt", "--ca-key", dataWith("ca.key", "", 0o600) + "/ca/ca.key"}, []string{"does not belong to"}},
		{"data below a file", []string{"--data-dir", notDir + "/data"}, []string{"data directory " + notDir + "/data cannot be made: " + notDir + " is a file, want a directory\nhint: choose another", "--data-dir DIR"}},
		{"a file for data", []string{"--data-dir", notDir}, []string{"data directory " + notDir + " is a file, want a directory\nhint: choose another"}},
		{"a link to nowhere", []string{"--data-dir", nowhere}, []string{"data directory " + nowhere + " is not writable: "}},
		{"another's address", []string{"--data-dir", t.TempDir(), "--mirror-listen", "192.0.2.1:5000"}, []string{"mirror door: 192.0.2.1:5000 is no address of this machine\nhint: choose another address with --mirror-listen"}},
		{"no such host", []string{"--data-dir", t.TempDir(), "--mirror-listen", "no..host:5000"}, []string{"mirror door: listen tcp: lookup no..host: no such host\nhint: choose another address with --mirror-listen"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			args := append([]string{"--proxy-listen", "127.0.0.1:0", "--admin-listen", "off"}, row.args...)
			if row.args[len(row.args)-2] != "--mirror-listen" {
				args = append(args, "--mirror-listen", "off")
			}
			refused(t, row.want, append([]string{"serve"}, args...)...)
			refused(t, row.want, append([]string{"config", "check"}, args...)...)
		})
	}
	// All of it at once, and what is wrong with the directory not twice.
	_, stderr, _ := output(t, nil, "config", "check", "--data-dir", notDir, "--mirror-listen", "192.0.2.1:5000", "--proxy-listen", "192.0.2.1:3128")
	if got := strings.Count(stderr, "entrepot: "); got != 3 {
		t.Errorf("got %q, want two doors and the directory", stderr)
	}
}

// TestCheckMakesNothing: no directory and no CA, and a server that runs on the same ports and directory is no fault.
func TestCheckMakesNothing(t *testing.T) {
	home := t.TempDir()
	stdout, _ := ran(t, "config", "check", "--data-dir", home+"/a/b")
	if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 || stdout != "ok\n" {
		t.Errorf("got %q and the files %v, %v, want ok and none", stdout, entries, err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	serveIn(t, dir, nil)
	ran(t, "config", "check", "--data-dir", dir, "--mirror-listen", taken.Addr().String())
}

// TestCanWrite: a directory that is there, or that could be made. Root may write anywhere, so that of another is nothing for it.
func TestCanWrite(t *testing.T) {
	dir := t.TempDir()
	locked := dir + "/locked"
	if err := errors.Join(os.Mkdir(locked, 0o500), os.Mkdir(dir+"/open", 0o700)); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	for path, want := range map[string]bool{"/open": true, "/open/a/b": true, "/locked": root, "/locked/a/b": root} {
		if err := canWrite(dir + path); (err == nil) != want {
			t.Errorf("%s: got %v, want one that can be written in %v", path, err, want)
		}
	}
}
