package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrepot/entrepot/cache"
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
	if code != 0 || stdout != want || stderr != "" {
		t.Errorf("got %d, %q, %q, want 0 and %q", code, stdout, stderr, want)
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
