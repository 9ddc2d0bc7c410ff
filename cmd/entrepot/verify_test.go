package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/entrepot/entrepot/cache"
	"github.com/entrepot/entrepot/testdata/world/mounts"
)

// TestVerify: a file that the disk has changed is found and dropped, the others stay.
func TestVerify(t *testing.T) {
	dir := t.TempDir()
	store, err := cache.Open(filepath.Join(dir, "cache"), cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var digests []cache.Digest
	for _, text := range []string{"first", "second", "third"} {
		d, err := store.Put([]byte(text), "")
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	store.Close()
	_, hex, _ := strings.Cut(digests[1].String(), ":")
	broken := filepath.Join(dir, "cache", "blobs", "sha256", hex[:2], hex)
	if err := os.WriteFile(broken, []byte("sec0nd"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := output(t, nil, "verify", "--rate", "100MiB", "--data-dir", dir)
	want := "damaged and dropped: " + digests[1].String() + "\n3 objects, 16 B: 1 damaged; they are fetched anew when they are asked for\n"
	if code != 2 || stdout != want || stderr != "" {
		t.Errorf("got %d, %q, %q, want 2 and %q", code, stdout, stderr, want)
	}
	if _, err := os.Stat(broken); !os.IsNotExist(err) {
		t.Errorf("the damaged file: got %v, want it gone", err)
	}
	stdout, _, code = output(t, nil, "verify", "--data-dir", dir)
	if want := "2 objects, 10 B: 0 damaged\n"; code != 0 || stdout != want {
		t.Errorf("again: got %d, %q, want %q", code, stdout, want)
	}
	if _, stderr, code := output(t, nil, "verify", "--rate", "fast", "--data-dir", dir); code != 1 || !strings.Contains(stderr, "want a size such as 100MiB") {
		t.Errorf("a bad rate: got %d, %q", code, stderr)
	}
}

// A directory that was mistyped was made, and said to be in order.
func TestVerifyWantsACache(t *testing.T) {
	dir := t.TempDir()
	typo := dir + "/typo"
	refused(t, []string{"entrepot: verify: there is no data directory " + typo + "\n", "hint: name the directory"}, "verify", "--data-dir", typo)
	refused(t, []string{"entrepot: verify: " + dir + " is no data directory of entrepot: ", "hint: name the directory"}, "verify", "--data-dir", dir)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("looking has made %v", left)
	}
}

// TestVerifyBesideAServer: the process that serves says where it is to be asked, whatever flags it was given.
func TestVerifyBesideAServer(t *testing.T) {
	dir := t.TempDir()
	s := serveIn(t, dir, nil, "--tls-listen", "127.0.0.1:0")
	for _, env := range []string{"ENTREPOT_OFFLINE=false", "ENTREPOT_ADMIN_LISTEN=127.0.0.1:1"} {
		stdout, stderr, code := output(t, []string{env}, "verify", "--data-dir", dir)
		if code != 0 || stdout != "0 objects, 0 B: 0 damaged\n" {
			t.Errorf("%s: got %d, %q, %q, want it to find the server", env, code, stdout, stderr)
		}
	}
	for _, door := range []string{"proxy", "mirror"} {
		addr := s.start[door].(string)
		refused(t, []string{
			"entrepot: verify: what answers at " + addr + " is not the admin door of the entrepot that serves from " + dir + " (got ",
			"hint: say where its admin door is with --admin-listen",
		}, "verify", "--data-dir", dir, "--admin-listen", addr)
	}
	s.Process.Signal(syscall.SIGTERM)
	if code := s.exit(); code != 0 {
		t.Fatalf("got exit code %d", code)
	}
	serveIn(t, dir, nil, "--admin-listen", "off")
	refused(t, []string{"is in use by an entrepot whose admin door is off"}, "verify", "--data-dir", dir)
}

// Who looks at a cache that is fuller than a cache would be by itself leaves it so.
func TestVerifyEvictsNothing(t *testing.T) {
	if !mounts.Own(t) {
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	store, err := cache.Open(filepath.Join(dir, "cache"), cache.Config{MaxSize: 1 << 20, MinFree: noFloor})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := store.Put([]byte(strings.Repeat("x", 300_000+i)), ""); err != nil {
			t.Fatal(err)
		}
	}
	store.Close()
	for range 2 {
		if stdout, stderr, code := output(t, nil, "verify", "--data-dir", dir); code != 0 || !strings.HasPrefix(stdout, "3 objects") {
			t.Errorf("got %d, %q, %q, want all 3 objects", code, stdout, stderr)
		}
	}
}
