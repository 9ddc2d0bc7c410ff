package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// meta stands beside content and is written before it: the size that it must have, so that a file that was cut short is known
// without hashing it, and the type it came with.
type meta struct {
	Size      int64  `json:"size"`
	MediaType string `json:"mediaType,omitempty"`
}

func readMeta(name string) (meta, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return meta{}, err
	}
	m := meta{Size: -1}
	if err := json.Unmarshal(b, &m); err != nil {
		return meta{}, err
	}
	if m.Size < 0 {
		return meta{}, errors.New("a size is missing")
	}
	return m, nil
}

// writeMeta makes m safe: the content that is committed next relies on it.
func (s *Store) writeMeta(d Digest, m meta) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return s.dir.writeFile(s.dir.meta(d), b, true)
}

// checkSize tells whether a file of size bytes can be d. Where nobody remembers the size, the file is believed.
func (s *Store) checkSize(d Digest, size int64) error {
	want, sure := s.index.known(d)
	if !sure {
		m, err := readMeta(s.dir.meta(d))
		if err != nil {
			return nil
		}
		want = m.Size
	}
	if size != want {
		return fmt.Errorf("the file has %d bytes, want %d: %w", size, want, ErrMismatch)
	}
	return nil
}

// Has tells whether d is held with the size it must have, without opening it.
func (s *Store) Has(d Digest) bool {
	info, err := os.Lstat(s.dir.blob(d))
	return err == nil && info.Mode().IsRegular() && s.checkSize(d, info.Size()) == nil
}

// MediaType is the type that d was stored with, "" when none is known.
func (s *Store) MediaType(d Digest) string {
	m, err := readMeta(s.dir.meta(d))
	if err != nil {
		return ""
	}
	return m.MediaType
}

// SetMediaType notes the type of content that is held. Content that is not held has none: fs.ErrNotExist.
func (s *Store) SetMediaType(d Digest, mediaType string) error {
	if mediaType == "" || s.MediaType(d) == mediaType {
		return nil
	}
	info, err := os.Lstat(s.dir.blob(d))
	if err != nil {
		return fmt.Errorf("note the type of %s: %w", d, err)
	}
	if err := s.checkSize(d, info.Size()); err != nil {
		return fmt.Errorf("note the type of %s: %w", d, errors.Join(err, fs.ErrNotExist))
	}
	return s.writeMeta(d, meta{info.Size(), mediaType})
}
