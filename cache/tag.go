package cache

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Key says which tag is meant. Variant tells apart what a registry answers under one tag to clients that accept different types.
type Key struct {
	Registry, Repo, Tag, Variant string
}

// text cannot be ambiguous: no part may hold a line feed, see valid.
func (k Key) text() string {
	return strings.Join([]string{k.Registry, k.Repo, k.Tag, k.Variant}, "\n")
}

func (k Key) valid() bool { return strings.Count(k.text(), "\n") == 3 }

// Tag is what a tag was when upstream was last asked. No expiry is stored, so that a changed rule acts at once.
type Tag struct {
	Digest    Digest
	MediaType string
	Size      int64
	Seen      time.Time
}

// tagFile is the form on disk; the key stands in it so that the folder can be read by people and tools.
type tagFile struct {
	Registry  string    `json:"registry"`
	Repo      string    `json:"repo"`
	Tag       string    `json:"tag"`
	Variant   string    `json:"variant,omitempty"`
	Digest    string    `json:"digest"`
	MediaType string    `json:"mediaType"`
	Size      int64     `json:"size"`
	Seen      time.Time `json:"seen"`
}

// tags are the tags used last, and the locks that keep memory and disk of one key in step.
type tags struct {
	recent *lru.Cache[Key, Tag]
	seed   maphash.Seed
	locks  *[64]sync.Mutex
}

const tagsInMemory = 1 << 14

func newTags() tags {
	recent, _ := lru.New[Key, Tag](tagsInMemory) // errs on a size below one only
	return tags{recent, maphash.MakeSeed(), new([64]sync.Mutex)}
}

// lock is held while the file of k is read or written: without it a slow reader could bring back a tag that was forgotten meanwhile.
func (t tags) lock(k Key) *sync.Mutex {
	m := &t.locks[maphash.Comparable(t.seed, k)%uint64(len(t.locks))]
	m.Lock()
	return m
}

// Tag tells what is remembered of k. A miss is fs.ErrNotExist, and so is a damaged entry, which is removed. Whether the content is
// still held is for the caller to ask, see [Store.Has].
func (s *Store) Tag(k Key) (Tag, error) {
	if t, ok := s.tags.recent.Get(k); ok {
		return t, t.found()
	}
	defer s.tags.lock(k).Unlock()
	if t, ok := s.tags.recent.Get(k); ok {
		return t, t.found()
	}
	name := s.dir.tag(k)
	is, t, err := readTag(name)
	if err == nil && is != k {
		err = fmt.Errorf("the file of %v speaks of %v", k, is)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.report("read a tag of "+k.Repo, err)
			s.disk.remove(name)
		}
		s.tags.recent.Add(k, Tag{})
		return Tag{}, fs.ErrNotExist
	}
	s.tags.recent.Add(k, t)
	return t, nil
}

// found is nil for a tag. What is not there is remembered too, as the zero Tag: most tags have one variant only, and looking for the
// other on disk would be a third of a hit's time.
func (t Tag) found() error {
	if t.Digest.IsZero() {
		return fs.ErrNotExist
	}
	return nil
}

func readTag(name string) (Key, Tag, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return Key{}, Tag{}, err
	}
	return parseTag(b)
}

func parseTag(b []byte) (Key, Tag, error) {
	var t tagFile
	if err := json.Unmarshal(b, &t); err != nil {
		return Key{}, Tag{}, err
	}
	d, err := ParseDigest(t.Digest)
	if err != nil {
		return Key{}, Tag{}, err
	}
	return Key{t.Registry, t.Repo, t.Tag, t.Variant}, Tag{Digest: d, MediaType: t.MediaType, Size: t.Size, Seen: t.Seen}, nil
}

// SetTag remembers t. When the disk does not take it, it is remembered until the process ends, and the error says so.
func (s *Store) SetTag(k Key, t Tag) error {
	if !k.valid() {
		return fmt.Errorf("tag key %q has a line feed", k.text())
	}
	b, err := json.Marshal(tagFile{k.Registry, k.Repo, k.Tag, k.Variant, t.Digest.String(), t.MediaType, t.Size, t.Seen})
	if err != nil {
		return err
	}
	defer s.tags.lock(k).Unlock()
	s.tags.recent.Add(k, t)
	if err := s.dir.writeFile(s.dir.tag(k), b, false); err != nil {
		return fmt.Errorf("remember %s of %s/%s: %w", cmp.Or(k.Tag, k.Variant), k.Registry, k.Repo, err)
	}
	return nil
}

// ForgetTag drops what is remembered of k, if anything.
func (s *Store) ForgetTag(k Key) {
	defer s.tags.lock(k).Unlock()
	s.tags.recent.Remove(k)
	if err := s.disk.remove(s.dir.tag(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.report("forget a tag of "+k.Repo, err)
	}
}
