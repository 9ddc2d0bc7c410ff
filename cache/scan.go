package cache

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// scanners is how many directories are read at once. Reading is mostly waiting for the disk: measured on a cold million of
// objects, eight take half the time of one.
const scanners = 8

// object is a file in blobs/. It is what an index entry says, in the form that the scan and eviction hand around.
type object struct {
	key  key
	name Digest // only where the key is not all
	size int64
	used int64 // seconds since 1970
}

func (o object) digest() Digest {
	if !o.name.IsZero() {
		return o.name
	}
	return Digest{"sha256:" + hex.EncodeToString(o.key[:])}
}

func (x *index) object(i uint32) object {
	e := x.at(i)
	return object{e.key, x.long[i], e.size, int64(e.used)}
}

// scan accounts for what an earlier process left, and prunes the partials. Nothing waits for it.
func (s *Store) scan() {
	defer close(s.scanned)
	defer collectMore()()
	var found []aged
	for _, algorithm := range []string{"sha256", "sha512"} {
		found = s.scanAlgorithm(algorithm, found)
	}
	s.index.inOrder(found)
	if len(found) > manyObjects {
		debug.FreeOSMemory()
	}
	s.scanPartials()
	s.scanTags()
	s.sweep()
}

// scanGarbage is how much garbage there may be meanwhile, in percent of what is in use: the names of a large cache are read once and
// not needed any more, and with as much of them as of all else a million objects took 170 MiB for a moment.
const scanGarbage = 30

// scanning is held by the one scan of the process that may change that and change it back.
var scanning sync.Mutex

// collectMore sees to that until release is called. Who has the collector run more often keeps his measure, and who has turned it off,
// which is -1, meant it.
func collectMore() (release func()) {
	scanning.Lock()
	before := debug.SetGCPercent(scanGarbage)
	debug.SetGCPercent(min(before, scanGarbage))
	return func() {
		debug.SetGCPercent(before)
		scanning.Unlock()
	}
}

// manyObjects is from when on reading the directories has left so much garbage that it is given back to the system at once.
const manyObjects = 100_000

// scanAlgorithm reads the shards with a few goroutines, waits for them and adds to found. Each shard goes into the account as soon as
// it is read: a list of all objects would take more memory than the account.
func (s *Store) scanAlgorithm(algorithm string, found []aged) []aged {
	root := filepath.Join(s.dir.dir, "blobs", algorithm)
	shards, err := os.ReadDir(root)
	if err != nil {
		return found // nothing of this kind was ever kept
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		todo = make(chan string)
	)
	for range scanners {
		wg.Go(func() {
			for dir := range todo {
				part := s.scanShard(algorithm, dir)
				mu.Lock()
				found = s.index.adopt(part, found)
				mu.Unlock()
			}
		})
	}
	for _, shard := range shards {
		if s.ctx.Err() == nil {
			todo <- filepath.Join(root, shard.Name())
		}
	}
	close(todo)
	wg.Wait()
	return found
}

// scanShard lists the content in dir, and removes what a kill in the middle of a write left. It asks for each file by the directory
// that is open and makes nothing of the answers but objects: a third less CPU than os.ReadDir and Info, and a tenth of the garbage.
func (s *Store) scanShard(algorithm, dir string) []object {
	d, err := os.Open(dir)
	if err != nil {
		s.report("scan the cache", err)
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		s.report("scan the cache", err) // and take what was read
	}
	slices.Sort(names)
	found := make([]object, 0, (len(names)+1)/2) // every other name is a meta file
	var owner string                             // the content seen last; its meta file sorts right behind it
	for _, name := range names {
		if content, isMeta := strings.CutSuffix(name, metaSuffix); isMeta {
			if content != owner {
				s.cleanOld(dir, name)
			}
			continue
		}
		if o, ok := s.judge(algorithm, d, name); ok {
			found = append(found, o)
			owner = name
		}
	}
	return found
}

// judge tells what a name in a directory is.
func (s *Store) judge(algorithm string, dir *os.File, name string) (object, bool) {
	if s.dir.isLitter(name) {
		s.clean(dir.Name(), name)
		return object{}, false
	}
	d, err := ParseDigest(algorithm + ":" + name)
	if err != nil {
		return object{}, false
	}
	var st unix.Stat_t
	err = unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return object{}, false
	}
	o := object{key: d.key(), size: st.Size, used: int64(st.Mtim.Sec)}
	if d.long() {
		o.name = d
	}
	return o, true
}

// cleanOld deletes what an earlier process did not finish, and leaves alone what this one is about to.
func (s *Store) cleanOld(dir, name string) {
	if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.ModTime().Before(s.opened) {
		s.clean(dir, name)
	}
}

func (s *Store) clean(dir, name string) {
	if err := s.disk.remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.counts.DeleteFailures.Add(1)
		s.report("clean up "+name, err)
	}
}

// scanPartials accounts for what broken transfers left. Without a note it is of no use, nor is a note without its partial.
func (s *Store) scanPartials() {
	dir := s.dir.ingest()
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.report("scan the partials", err)
		return
	}
	for _, e := range entries {
		if s.dir.isLitter(e.Name()) {
			s.clean(dir, e.Name())
			continue
		}
		name := strings.TrimSuffix(e.Name(), noteSuffix)
		if d, err := ParseDigest(strings.Replace(name, "-", ":", 1)); err == nil {
			s.scanPartial(d)
		}
	}
}

// scanPartial looks again, since the list of names may be old by now.
func (s *Store) scanPartial(d Digest) {
	s.ingest.Lock()
	defer s.ingest.Unlock()
	if s.filling(d) {
		return
	}
	info, err := os.Lstat(s.dir.partial(d))
	if _, noteErr := os.Lstat(s.dir.note(d)); err != nil || noteErr != nil {
		s.removePartial(d)
		return
	}
	s.index.foundPartial(d, leftover{info.Size(), info.ModTime()})
}

func (s *Store) filling(d Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.fills[d]
	return ok
}

// scanTags only cleans up: tags are read when they are asked for.
func (s *Store) scanTags() {
	root := filepath.Join(s.dir.dir, "tags")
	shards, _ := os.ReadDir(root)
	for _, shard := range shards {
		dir := filepath.Join(root, shard.Name())
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if s.dir.isLitter(e.Name()) {
				s.clean(dir, e.Name())
			}
		}
	}
}
