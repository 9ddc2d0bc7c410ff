package cache

import (
	"iter"
	"os"
	"path/filepath"
	"time"
)

// Object is one entry of the store's account.
type Object struct {
	Digest  Digest
	Size    int64
	Used    time.Time // to the second; after a restart to the hour
	Readers int
	Stuck   bool // should be gone but could not be deleted yet
}

// Objects lists what is held, the last used first. It is a picture of the moment it was called.
func (s *Store) Objects() iter.Seq[Object] {
	all := s.index.entries()
	return func(yield func(Object) bool) {
		for _, e := range all {
			if !yield(Object{e.digest(), e.size, time.Unix(e.used, 0), int(e.pins), e.stuck}) {
				return
			}
		}
	}
}

// listed is an entry in a form that can leave the lock.
type listed struct {
	object
	pins  uint16
	stuck bool
}

func (x *index) entries() []listed {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]listed, 0, x.objects)
	for i := x.at(0).older; i != 0; i = x.at(i).older {
		out = append(out, listed{x.object(i), x.at(i).pins, x.at(i).stuck})
	}
	return out
}

// Tags lists the tags that are remembered on disk, in no order. Damaged entries are left out.
func (s *Store) Tags() iter.Seq2[Key, Tag] {
	return func(yield func(Key, Tag) bool) {
		root := filepath.Join(s.dir.dir, "tags")
		shards, _ := os.ReadDir(root)
		for _, shard := range shards {
			entries, _ := os.ReadDir(filepath.Join(root, shard.Name()))
			for _, e := range entries {
				k, t, err := readTag(filepath.Join(root, shard.Name(), e.Name()))
				if err == nil && !yield(k, t) {
					return
				}
			}
		}
	}
}
