package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// commit makes the verified bytes of d that stand in the partial file visible. The order is what makes a kill at any moment
// harmless: the size is compared; the meta file is made safe, since the content's name is what makes both count; then the bytes;
// then the name; then the directory that holds the name.
func (s *Store) commit(d Digest, partial file, m meta) error {
	info, err := partial.Stat()
	if err != nil {
		return err
	}
	if info.Size() != m.Size {
		return fmt.Errorf("the partial has %d bytes, want %d: %w", info.Size(), m.Size, ErrMismatch)
	}
	if err := s.writeMeta(d, m); err != nil {
		return err
	}
	if err := partial.Sync(); err != nil {
		return err
	}
	name := s.dir.blob(d)
	if err := s.disk.rename(partial.Name(), name); err != nil {
		return err
	}
	s.trusted.Add(d, struct{}{})
	os.Remove(s.dir.note(d))
	return syncDir(filepath.Dir(name))
}

// Put keeps content that is already in memory, such as a manifest that could be asked for by tag only, and returns its digest.
func (s *Store) Put(content []byte, mediaType string) (Digest, error) {
	d := DigestOf(content)
	if s.Has(d) {
		return d, s.SetMediaType(d, mediaType)
	}
	if err := s.put(d, content, mediaType); err != nil {
		return d, fmt.Errorf("keep %s: %w", d, err)
	}
	s.sweep()
	return d, nil
}

func (s *Store) put(d Digest, content []byte, mediaType string) error {
	size := int64(len(content))
	if err := s.admit(size); err != nil {
		return err
	}
	err := s.putFile(d, content, mediaType)
	if err != nil {
		s.index.release(size, size)
		return err
	}
	s.index.settle(d, size, size, size)
	s.index.unpin(d)
	return nil
}

func (s *Store) putFile(d Digest, content []byte, mediaType string) error {
	f, err := os.CreateTemp(s.dir.ingest(), s.dir.temp())
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(content)
	if err == nil {
		err = s.commit(d, f, meta{int64(len(content)), mediaType})
	}
	if err != nil {
		return errors.Join(err, s.disk.remove(f.Name()))
	}
	return nil
}
