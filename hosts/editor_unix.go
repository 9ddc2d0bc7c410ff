//go:build unix

package hosts

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// lock takes the file for us alone until it is closed.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK), errors.Is(err, syscall.EINTR):
		return errBusy
	case errors.Is(err, errors.ErrUnsupported):
		return nil // a file system without locks
	}
	return err
}

// keepOwner gives f the owner and group of another file, if it has others.
func keepOwner(f *os.File, info fs.FileInfo) error {
	own, err := f.Stat()
	if err != nil {
		return err
	}
	want, ok := info.Sys().(*syscall.Stat_t)
	have, same := own.Sys().(*syscall.Stat_t)
	if !ok || !same || have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}
