package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
)

// held reads a finished file, for one client. It pins the object until it is closed.
type held struct {
	file   *os.File
	store  *Store
	digest Digest
	size   int64
	ctx    context.Context // the client's
	source *Source         // the client's way to upstream, for what the disk does not give back; nil for who has none
	rest   *Blob           // what goes on where the disk gave up
	closed atomic.Bool
	err    error
}

func (h *held) Read(p []byte) (int, error) {
	if h.rest != nil {
		return h.rest.Read(p)
	}
	n, err := h.file.Read(p)
	if err == nil || n > 0 || len(p) == 0 {
		return n, nil
	}
	pos, seekErr := h.file.Seek(0, io.SeekCurrent)
	if err == io.EOF {
		if seekErr != nil || pos >= h.size {
			return 0, io.EOF
		}
		err = fmt.Errorf("the file ends at byte %d of %d: %w", pos, h.size, io.ErrUnexpectedEOF)
	}
	sum := h.digest.hash()
	if _, again := io.Copy(sum, io.NewSectionReader(h.file, 0, pos)); again != nil {
		err = errors.Join(err, again)
	}
	if err := h.goOn(pos, pos, sum.Sum(nil), err); err != nil {
		return 0, err
	}
	return h.rest.Read(p)
}

// goOn drops what the disk does not give back and joins whoever fetches it again, for a pull that is under way must not fail of our
// disk. The client stands at pos. sum is the digest of the first n bytes as the file has them: those that come again must be the same,
// since a disk that loses the end of a file may have changed its start, which the client has.
func (h *held) goOn(pos, n int64, sum []byte, why error) error {
	h.err = why
	if h.closed.Load() || errors.Is(why, fs.ErrClosed) { // net/http reads on for a moment behind a client that left in the middle of several ranges
		return h.err
	}
	h.drop(why)
	if h.source == nil {
		return h.err
	}
	b, err := h.store.bring(h.ctx, h.digest, *h.source)
	if err == nil {
		if err = h.agrees(b, n, sum); err == nil {
			_, err = b.Seek(pos, io.SeekStart)
		}
		if err != nil {
			b.Close()
		}
	}
	if err != nil {
		h.err = fmt.Errorf("%w; fetched again: %w", why, err)
		return h.err
	}
	h.rest, h.err = b, nil
	return nil
}

func (h *held) agrees(b *Blob, n int64, sum []byte) error {
	if b.Size >= 0 && b.Size != h.size {
		return fmt.Errorf("it has %d bytes, had %d: %w", b.Size, h.size, ErrMismatch)
	}
	if n == 0 {
		return nil
	}
	again := h.digest.hash()
	if _, err := io.CopyN(again, b, n); err != nil {
		return err
	}
	if !bytes.Equal(again.Sum(nil), sum) {
		return fmt.Errorf("what was sent of the file was damaged: %w", ErrMismatch)
	}
	return nil
}

// drop drops the object unless another reader of the file has done so: what has its name now is another one.
func (h *held) drop(why error) {
	if info, err := h.file.Stat(); err == nil && unlinked(info) {
		return
	}
	h.store.drop(h.digest, why)
}

func (h *held) Seek(offset int64, whence int) (int64, error) {
	if h.rest != nil {
		return h.rest.Seek(offset, whence)
	}
	return h.file.Seek(offset, whence)
}

// SyscallConn lets package net send the file by sendfile(2).
func (h *held) SyscallConn() (syscall.RawConn, error) { return h.file.SyscallConn() }

func (h *held) Close() error {
	if h.closed.Swap(true) {
		return nil
	}
	if h.rest != nil {
		h.rest.Close()
	}
	h.store.unpin(h.digest)
	if info, err := h.file.Stat(); err == nil && unlinked(info) && !h.store.onDisk(h.digest) {
		h.store.index.remove(h.digest) // evicted between our opening it and our pin, which put it back into the account
	}
	return h.file.Close()
}

func (h *held) failure() error {
	if h.rest != nil {
		return h.rest.Err()
	}
	return h.err
}

// unpin notes that a reader of d has left, which may have held up an eviction.
func (s *Store) unpin(d Digest) {
	if s.index.unpin(d) {
		s.sweep()
	}
}

func unlinked(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}
