package ca

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestConcurrentOpenEndsWithOneCA(t *testing.T) {
	for range 20 {
		dir := filepath.Join(t.TempDir(), "ca")
		prints := make([]string, 8)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range prints {
			wg.Go(func() {
				<-start
				a, err := Open(Config{Dir: dir})
				if err != nil {
					t.Errorf("open: got error %v", err)
					return
				}
				prints[i] = a.Fingerprint()
			})
		}
		close(start)
		wg.Wait()
		want := mustOpen(t, Config{Dir: dir}).Fingerprint()
		for i, got := range prints {
			if got != want {
				t.Errorf("opener %d: got %v, want %v", i, got, want)
			}
		}
	}
}

// TestDeathDuringFirstStart kills the making of a CA behind each of its steps:
// the next start ends with the CA that was begun.
func TestDeathDuringFirstStart(t *testing.T) {
	key, cert, err := newRoot(Limits{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	both := append(bytes.Clone(key), cert...)
	tests := []struct {
		name  string
		files map[string][]byte
	}{
		{"after ca.new", map[string][]byte{newName: both}},
		{"after ca.key", map[string][]byte{newName: both, keyName: key}},
		{"after ca.crt", map[string][]byte{newName: both, keyName: key, certName: cert}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, data := range tt.files {
				write(t, filepath.Join(dir, name), data, 0o600)
			}
			a := mustOpen(t, Config{Dir: dir})
			if got := a.RootPEM(); !bytes.Equal(got, cert) {
				t.Errorf("root: got %s, want the one begun: %s", got, cert)
			}
			if _, err := os.Stat(filepath.Join(dir, newName)); !os.IsNotExist(err) {
				t.Errorf("ca.new afterwards: got %v, want none", err)
			}
		})
	}
}

func TestHalfAPair(t *testing.T) {
	for _, gone := range []string{keyName, certName} {
		t.Run("without "+gone, func(t *testing.T) {
			dir := t.TempDir()
			mustOpen(t, Config{Dir: dir})
			if err := os.Remove(filepath.Join(dir, gone)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Config{Dir: dir})
			wantError(t, err, filepath.Join(dir, keyName), filepath.Join(dir, certName), "put "+filepath.Join(dir, gone)+" back")
			if _, err := os.Stat(filepath.Join(dir, gone)); !os.IsNotExist(err) {
				t.Errorf("%s after the error: got %v, want none", gone, err)
			}
		})
	}
}

// TestForeignKeyBesideNew sees that ca.new never overwrites a key.
func TestForeignKeyBesideNew(t *testing.T) {
	dir := t.TempDir()
	key, cert, err := newRoot(Limits{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign := keyPEM(t, newKey(t, "ecdsa"))
	write(t, filepath.Join(dir, newName), append(key, cert...), 0o600)
	file := write(t, filepath.Join(dir, keyName), foreign, 0o600)
	_, err = Open(Config{Dir: dir})
	wantError(t, err, keyName, certName)
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, foreign) {
		t.Errorf("ca.key: got %s, want it untouched", got)
	}
}

func TestDamagedNew(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, newName), []byte("nonsense"), 0o600)
	_, err := Open(Config{Dir: dir})
	wantError(t, err, newName, "damaged")
}

func TestLeftOverFilesGo(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, Config{Dir: dir})
	old := write(t, filepath.Join(dir, ".ca.key-123"), nil, 0o600)
	young := write(t, filepath.Join(dir, ".ca.key-456"), nil, 0o600)
	past := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Config{Dir: dir})
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("old file: got %v, want none", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("young file: got %v, want it there", err)
	}
}

func TestDirectoryThatWillNotDo(t *testing.T) {
	base := t.TempDir()
	file := write(t, filepath.Join(base, "file"), nil, 0o600)
	public := filepath.Join(base, "public")
	if err := os.Mkdir(public, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(public, 0o777); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, dir string
		want      []string
	}{
		{"a file", file, []string{file}},
		{"below a file", filepath.Join(file, "ca"), []string{file}},
		{"everybody writes", public, []string{"0777", "chmod 700 " + public}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open(Config{Dir: tt.dir})
			wantError(t, err, tt.want...)
		})
	}
}
