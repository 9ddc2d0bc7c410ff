package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/entrepot/entrepot/cache"
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

// notWritable is the error err about the data directory with what there is to be done about it.
func notWritable(dir string, err error) error {
	at := nearestThere(dir)
	switch info, statErr := os.Stat(at); {
	case statErr != nil || info.IsDir():
		return withHint(letWrite(), "data directory %s is not writable: %w%s", dir, err, whose(err))
	case at == dir:
		return withHint(anotherDir, "data directory %s is a file, want a directory", dir)
	}
	return withHint(anotherDir, "data directory %s cannot be made: %s is a file, want a directory", dir, at)
}

const anotherDir = "choose another directory with --data-dir DIR (ENTREPOT_DATA_DIR)"

func letWrite() string {
	return fmt.Sprintf("let user %d write there, or %s", os.Geteuid(), anotherDir)
}

// whose is said behind an error about rights: of what is in the way its owner and mode.
func whose(err error) string {
	var about *fs.PathError
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &about) {
		return ""
	}
	at := nearestThere(about.Path)
	info, statErr := os.Stat(at)
	if statErr != nil {
		return ""
	}
	owner, ok := ownerOf(info)
	if !ok {
		return ""
	}
	return fmt.Sprintf(" (%s belongs to user %d and has mode %04o)", at, owner, info.Mode().Perm())
}

// openStore opens the cache in a data directory.
func openStore(dataDir string, cfg cache.Config) (*cache.Store, error) {
	store, err := cache.Open(filepath.Join(dataDir, "cache"), cfg)
	switch {
	case err == nil:
		return store, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, withHint(letWrite(), "%w%s", err, whose(err))
	}
	return nil, withHint("the cache holds nothing that cannot be pulled again: with --data-dir another place can be tried", "%w", err)
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
