//go:build unix

package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// leftovers are files beside the edited one, of which there must be none.
func leftovers(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != filepath.Base(path) {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestEditKeepsModeAndOwner(t *testing.T) {
	path := hostsFile(t, usual)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 1234, 2345); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := os.Stat(path)
	mustAdd(t, path, both, "quay.io")
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(before, after) {
		t.Error("the file was written in place, want it swapped")
	}
	was, is := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t)
	if after.Mode() != before.Mode() || is.Uid != was.Uid || is.Gid != was.Gid {
		t.Errorf("got %v %d:%d, want %v %d:%d", after.Mode(), is.Uid, is.Gid, before.Mode(), was.Uid, was.Gid)
	}
	if got := leftovers(t, path); got != nil {
		t.Errorf("left behind: %v", got)
	}
}

func TestEditFollowsSymlinks(t *testing.T) {
	path := hostsFile(t, usual)
	dir := t.TempDir()
	link := filepath.Join(dir, "hosts")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, link, both, "quay.io")
	if to, err := os.Readlink(link); err != nil || to != path {
		t.Errorf("the link: got %v %v, want %v", to, err, path)
	}
	if got := read(t, path); !strings.Contains(got, "quay.io") {
		t.Errorf("the target: got %q, want quay.io in it", got)
	}
}

// In a container /etc/hosts is a mount of its own and cannot be swapped.
func TestEditInPlace(t *testing.T) {
	for _, cause := range []error{syscall.EBUSY, syscall.EROFS, syscall.EXDEV, syscall.EPERM} {
		path := hostsFile(t, usual)
		before, _ := os.Stat(path)
		e := theEditor()
		e.rename = func(from, to string) error { return &os.LinkError{Op: "rename", Old: from, New: to, Err: cause} }
		for _, names := range [][]string{{"quay.io", "ghcr.io"}, {"quay.io"}, nil} {
			_, err := e.edit(path, false, func(h *hostsText) []Conflict {
				h.remove(nil)
				h.add(both, names)
				return nil
			})
			if err != nil {
				t.Fatalf("%v: %v", cause, err)
			}
			if got, err := Overrides(path); err != nil || len(got) != len(names) {
				t.Errorf("%v: got %v %v, want %v", cause, got, err, names)
			}
		}
		if got := read(t, path); got != usual {
			t.Errorf("%v: got %q, want %q", cause, got, usual)
		}
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%v: the file is another one: %v", cause, err)
		}
		if got := leftovers(t, path); got != nil {
			t.Errorf("%v: left behind: %v", cause, got)
		}
	}
}

func TestEditThatCannotSwapOrWrite(t *testing.T) {
	path := hostsFile(t, usual)
	e := theEditor()
	e.rename = func(string, string) error { return syscall.ENOSPC }
	_, err := e.edit(path, false, func(h *hostsText) []Conflict {
		h.add(both, []string{"quay.io"})
		return nil
	})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	if got := read(t, path); got != usual {
		t.Errorf("the file was changed to %q", got)
	}
	if got := leftovers(t, path); got != nil {
		t.Errorf("left behind: %v", got)
	}
}

// A copy of the old file must be made before a byte of it is overwritten.
func TestOverwriteNeedsACopy(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", filepath.Join(dir, "missing"))
	path := hostsFile(t, usual)
	gone := filepath.Join(filepath.Dir(path), "gone", "hosts")
	if _, err := keepCopy(gone, []byte(usual)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error for both directories", err)
	}
	t.Setenv("TMPDIR", dir)
	backup, err := keepCopy(gone, []byte(usual))
	if err != nil || filepath.Dir(backup) != dir || read(t, backup) != usual {
		t.Errorf("got %v %v, want a copy in %v", backup, err, dir)
	}
}

func TestEditErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := AddOverrides(filepath.Join(dir, "missing"), both, []string{"quay.io"}, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: got %v, want fs.ErrNotExist", err)
	}
	if _, err := AddOverrides(dir, both, []string{"quay.io"}, true); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: got %v, want \"not a regular file\"", err)
	}
}

func TestEditWaitsForTheLock(t *testing.T) {
	path := hostsFile(t, usual)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := lock(f); err != nil {
		t.Fatal(err)
	}
	e := theEditor()
	e.wait = time.Millisecond
	add := func(h *hostsText) []Conflict {
		h.add(both, []string{"quay.io"})
		return nil
	}
	if _, err := e.edit(path, false, add); !errors.Is(err, errBusy) {
		t.Errorf("got %v, want %v", err, errBusy)
	}
	if _, err := e.edit(path, true, add); err != nil {
		t.Errorf("a dry run: got %v, want no wait and no error", err)
	}
	done := make(chan error)
	go func() {
		_, err := theEditor().edit(path, false, add)
		done <- err
	}()
	f.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestManyEditorsLoseNothing(t *testing.T) {
	path := hostsFile(t, usual)
	var editors sync.WaitGroup
	var want []string
	for i := range 20 {
		name := fmt.Sprintf("r%02d.example", i)
		want = append(want, name)
		editors.Go(func() {
			if _, err := AddOverrides(path, both, []string{name}, false); err != nil {
				t.Error(err)
			}
		})
	}
	editors.Wait()
	if got, err := Overrides(path); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v %v, want %v", got, err, want)
	}
	mustRemove(t, path)
	if got := read(t, path); got != usual {
		t.Errorf("got %q, want %q", got, usual)
	}
	if got := leftovers(t, path); got != nil {
		t.Errorf("left behind: %v", got)
	}
}
