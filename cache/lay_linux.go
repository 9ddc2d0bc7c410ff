package cache

import (
	"os"

	"golang.org/x/sys/unix"
)

// lay has the file system find room for n bytes at pos, which are not there yet and do not count in the file's size. An error says that
// this file system does not do that, or has no room.
func lay(f file, pos, n int64) error {
	real, ok := f.(*os.File)
	if !ok {
		return unix.EOPNOTSUPP
	}
	raw, err := real.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) { err = unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, pos, n) })
	if failed != nil {
		return failed
	}
	return err
}
