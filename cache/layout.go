package cache

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// layout is the directory and the names below it. Every name comes from a Digest or a hash, so that no text from the network
// reaches the file system.
//
//	blobs/<algorithm>/<2 hex>/<hex>        content, complete and verified
//	blobs/<algorithm>/<2 hex>/<hex>.meta   its size and media type
//	tags/<2 hex>/<hex>                     what a tag was, by the hash of its key
//	ingest/<algorithm>-<hex>               a partial, resumable
//	ingest/<algorithm>-<hex>.note          how far it can be relied on
type layout struct {
	dir  string
	mark string // in the names of files that this process has not finished yet
}

func newLayout(dir string) layout {
	return layout{dir, strconv.FormatUint(rand.Uint64(), 36)}
}

// temp is a name for a file on its way to its final one. Those of another process are what a kill left: their time would not tell,
// since a process may follow another within one tick of the clock that stamps files.
func (l layout) temp() string { return tempPrefix + l.mark + "-*" }

func (l layout) isLitter(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && !strings.HasPrefix(name, tempPrefix+l.mark)
}

// make makes the directories and returns the time by the clock that files are stamped with, which may be some milliseconds behind
// ours: no file that is made from now on is older.
func (l layout) make() (time.Time, error) {
	for _, sub := range []string{"blobs", "tags", "ingest"} {
		if err := os.MkdirAll(filepath.Join(l.dir, sub), 0o700); err != nil {
			return time.Time{}, err
		}
	}
	probe, err := os.CreateTemp(l.ingest(), l.temp())
	if err != nil {
		return time.Time{}, fmt.Errorf("directory is not writable: %w", err)
	}
	defer probe.Close()
	info, err := probe.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), os.Remove(probe.Name())
}

func (l layout) ingest() string { return filepath.Join(l.dir, "ingest") }

func (l layout) blob(d Digest) string {
	algorithm, encoded := d.split()
	return filepath.Join(l.dir, "blobs", algorithm, encoded[:2], encoded)
}

func (l layout) meta(d Digest) string { return l.blob(d) + metaSuffix }

func (l layout) partial(d Digest) string {
	algorithm, encoded := d.split()
	return filepath.Join(l.ingest(), algorithm+"-"+encoded)
}

func (l layout) note(d Digest) string { return l.partial(d) + noteSuffix }

func (l layout) tag(k Key) string {
	_, encoded := DigestOf([]byte(k.text())).split()
	return filepath.Join(l.dir, "tags", encoded[:2], encoded)
}

// What a name ends or begins with when it is not content itself.
const (
	metaSuffix = ".meta"
	noteSuffix = ".note"
	tempPrefix = ".new-"
)

// disk is what a store does to its content: the real thing, or in tests one that gives up.
type disk struct {
	open   func(name string) (file, error) // for reading and writing, made if need be
	rename func(from, to string) error
	remove func(name string) error
	free   func(dir string) (int64, error) // bytes that may still be written
}

// file is an open partial.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Stat() (os.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

func realDisk() disk {
	return disk{
		open:   func(name string) (file, error) { return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) },
		rename: os.Rename,
		remove: os.Remove,
		free:   volumeFree,
	}
}

// volumeSize is the size in bytes of the file system that holds dir; where the system does not say, a modest 10 GiB.
func volumeSize(dir string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Blocks == 0 {
		return 10 << 30
	}
	return int64(st.Blocks) * int64(st.Bsize)
}

func volumeFree(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// writeFile puts a small file under its final name in one step. Unless it is synced, a loss of power may leave it empty or broken,
// which its reader must take for a miss.
func (l layout) writeFile(name string, content []byte, sync bool) error {
	f, err := l.createTemp(filepath.Dir(name))
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// createTemp makes the directory only when it is missing, which is once in its life.
func (l layout) createTemp(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, l.temp())
	if !os.IsNotExist(err) {
		return f, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.CreateTemp(dir, l.temp())
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
