package hosts

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// editor changes a file that other programs read at any moment.
type editor struct {
	rename func(from, to string) error
	wait   time.Duration // for another editor to finish
}

func theEditor() editor { return editor{rename: os.Rename, wait: 10 * time.Second} }

// edit reads the file, changes its block and puts the new text in its place,
// with no second editor of ours in between. A symlink stays one: its target is
// edited.
func (e editor) edit(path string, dryRun bool, change func(*hostsText) []Conflict) (Change, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Change{}, err
	}
	f, info, err := e.open(target, !dryRun)
	if err != nil {
		return Change{}, err
	}
	defer f.Close() // and with it the lock
	old, err := io.ReadAll(f)
	if err != nil {
		return Change{}, err
	}
	h, err := parseHosts(old)
	if err != nil {
		return Change{}, fmt.Errorf("%s: %w", path, err)
	}
	c := Change{Conflicts: change(&h)}
	text := h.text()
	c.Diff = diff(path, old, text)
	if dryRun || c.Diff == "" {
		return c, nil
	}
	return c, e.replace(target, info, old, text)
}

// open opens a regular file and, if wanted, locks it against other editors. It looks again and again, since a lock that is waited for
// in the kernel cannot be given up, and the file may be another one meanwhile.
func (e editor) open(target string, locked bool) (*os.File, fs.FileInfo, error) {
	again, end := time.NewTicker(20*time.Millisecond), time.NewTimer(e.wait)
	defer again.Stop()
	defer end.Stop()
	for {
		f, err := os.Open(target)
		if err != nil {
			return nil, nil, err
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", target)
		}
		if err != nil || !locked {
			return closedUnless(err == nil, f), info, err
		}
		err = lock(f)
		if err == nil && stillAt(target, info) {
			return f, info, nil
		}
		f.Close() // busy, or an editor before us has put another file here
		if err == nil {
			continue
		}
		if !errors.Is(err, errBusy) {
			return nil, nil, fmt.Errorf("lock %s: %w", target, err)
		}
		select {
		case <-again.C:
		case <-end.C:
			return nil, nil, fmt.Errorf("lock %s: %w", target, err)
		}
	}
}

func closedUnless(ok bool, f *os.File) *os.File {
	if !ok {
		f.Close()
		return nil
	}
	return f
}

var errBusy = errors.New("another program is changing it, try again when it is done")

func stillAt(path string, info fs.FileInfo) bool {
	now, err := os.Stat(path)
	return err == nil && os.SameFile(now, info)
}

// replace swaps a new file in. Where the file cannot be swapped, as in a
// container, where /etc/hosts is a mount of its own, it is written in place.
func (e editor) replace(target string, info fs.FileInfo, old, text []byte) error {
	err := e.swap(target, info, text)
	if err == nil || !isBoundToPlace(err) {
		return err
	}
	return overwrite(target, old, text)
}

// isBoundToPlace tells errors of the directory or the mount from those that
// would also befall a write in place.
func isBoundToPlace(err error) bool {
	return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}

// swap writes a second file with the mode and the owner of the first and
// renames it over that, so that a reader sees either, whole.
func (e editor) swap(target string, info fs.FileInfo, text []byte) (err error) {
	dir := filepath.Dir(target)
	f, err := os.CreateTemp(dir, ".hosts-entrepot-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := fill(f, text, info); err != nil {
		return err
	}
	if err := e.rename(f.Name(), target); err != nil {
		return err
	}
	syncDir(dir)
	return nil
}

func fill(f *os.File, text []byte, info fs.FileInfo) error {
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := keepOwner(f, info); err != nil {
		return err
	}
	if err := f.Chmod(info.Mode()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// syncDir makes the rename last through a power cut. It has happened either
// way, so an error here is not one of the edit.
func syncDir(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	_ = d.Sync()
	d.Close()
}

// overwrite writes text over the old. A copy of the old lies beside the file
// meanwhile, and stays if neither the new nor the old could be written.
func overwrite(target string, old, text []byte) error {
	f, err := os.OpenFile(target, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: try it as root", err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	backup, err := keepCopy(target, old)
	if err != nil {
		return fmt.Errorf("keep a copy before writing in place: %w", err)
	}
	if err := rewrite(f, text); err != nil {
		if rewrite(f, old) != nil {
			return fmt.Errorf("%w: the file is damaged, its old content is in %s", err, backup)
		}
		os.Remove(backup)
		return err
	}
	return os.Remove(backup)
}

// keepCopy saves text beside the file, or where temporary files go if nothing
// can be made there.
func keepCopy(target string, text []byte) (string, error) {
	var errs []error
	for _, dir := range []string{filepath.Dir(target), os.TempDir()} {
		f, err := os.CreateTemp(dir, "hosts-before-entrepot-*")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = rewrite(f, text)
		f.Close()
		if err == nil {
			return f.Name(), nil
		}
		os.Remove(f.Name())
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// rewrite writes before it cuts, so that at no moment the file is empty.
func rewrite(f *os.File, text []byte) error {
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		return err
	}
	return f.Sync()
}
