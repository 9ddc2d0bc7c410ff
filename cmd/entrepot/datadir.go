package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// openDataDir makes the directory, tries to write in it, since every later error about it would come
// from the middle of something, and takes it for this process: two stores on one directory would evict
// each other's files. The lock ends with the process, however that ends. The caller closes the file.
func openDataDir(dir string) (*os.File, error) {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = tryWrite(dir)
	}
	if err != nil {
		return nil, notWritable(dir, err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		lock.Close()
		return nil, withHint("stop the other one, or give this one a directory of its own with --data-dir DIR", "data directory %s %w", dir, errInUse)
	}
	// Any other error is a file system without locks, which is no reason to refuse.
	return lock, nil
}

func notWritable(dir string, err error) error {
	hint := fmt.Sprintf("let user %d write there, or choose another directory with --data-dir DIR (ENTREPOT_DATA_DIR)", os.Geteuid())
	if info, statErr := os.Stat(dir); statErr == nil {
		if owner, ok := ownerOf(info); ok && owner != os.Geteuid() {
			hint = fmt.Sprintf("it belongs to user %d: run this as that user, or %s", owner, hint)
		}
	}
	return withHint(hint, "data directory %s is not writable: %w", dir, err)
}

var errInUse = errors.New("is used by another entrepot")

func tryWrite(dir string) error {
	probe, err := os.CreateTemp(dir, ".writable-")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// canWrite tells what openDataDir would find wrong with the directory, or with the one that it would be made in, and makes nothing.
func canWrite(dir string) error {
	info, err := os.Stat(dir)
	if _, linkErr := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) && linkErr != nil && filepath.Dir(dir) != dir {
		return canWrite(filepath.Dir(dir)) // it is not there, and no link that leads nowhere either
	}
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return err
	}
	const write, enter = 2, 1
	if err := syscall.Access(dir, write|enter); err != nil {
		return &fs.PathError{Op: "write in", Path: dir, Err: err}
	}
	return nil
}
