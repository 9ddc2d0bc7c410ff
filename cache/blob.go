package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
)

// Outcome says where the bytes of a Blob come from.
type Outcome int

// The outcomes.
const (
	Hit       Outcome = iota // held, complete and verified
	Miss                     // a fill that this call started
	Collapsed                // a fill that somebody else started
	Uncached                 // straight from upstream: the disk does not take it
	Probed                   // straight from upstream: so few bytes that no fill was started, see [Store.Probe]
)

// Blob is content being read. Whether its file is finished or still growing is not the reader's business: Read waits for bytes
// that have not come yet, Seek is free, and a fill that fails shows as a read error, never as an early end.
//
// The embedded reader of a Hit has the SyscallConn of its file, so that a copy of it to a socket can be left to the kernel; that of a
// growing fill has SendTo for it.
type Blob struct {
	io.ReadSeekCloser
	Digest    Digest
	Size      int64  // -1 where upstream did not say; then Seek to the end fails
	MediaType string // as upstream sent it; empty for a Hit, see [Store.MediaType]
	Outcome   Outcome
}

// Err is why reading broke off, nil if it did not.
func (b *Blob) Err() error {
	if r, ok := b.ReadSeekCloser.(interface{ failure() error }); ok {
		return r.failure()
	}
	return nil
}

// growing reads a fill as it grows, for one client.
type growing struct {
	ctx    context.Context // the client's
	fill   *fill
	source *Source // the client's own way to upstream
	pos    int64
	view   view
	err    error
	last   *direct  // what goes on where the disk gave up
	own    *os.File // the fill's file once more, for SendTo
	closed atomic.Bool
}

func (r *growing) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.last == nil {
		n, err := r.fill.readAt(r, p)
		r.pos += int64(n)
		var disk *diskError
		if !errors.As(err, &disk) {
			if err != nil && err != io.EOF {
				r.err = err
			}
			return n, err
		}
		if r.closed.Load() { // net/http reads on for a moment behind a client that left in the middle of several ranges
			return n, fs.ErrClosed
		}
		r.last = r.fill.goOn(r)
	}
	n, err := r.last.Read(p)
	r.pos += int64(n)
	return n, err
}

func (r *growing) Seek(offset int64, whence int) (int64, error) {
	pos, err := seek(r.pos, r.fill.length(), offset, whence)
	if err != nil {
		return 0, err
	}
	if pos != r.pos {
		r.view = view{start: pos}
		if r.last != nil {
			r.last.Close()
			r.last = nil
		}
	}
	r.pos = pos
	return pos, nil
}

func (r *growing) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	if r.last != nil {
		r.last.Close()
	}
	if r.own != nil {
		r.own.Close()
	}
	r.fill.leave(r.source)
	return nil
}

func (r *growing) failure() error {
	if r.last != nil {
		return r.last.failure()
	}
	return r.err
}

func seek(pos, size, offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += pos
	case io.SeekEnd:
		if size < 0 {
			return 0, errors.New("seek: the size is not known yet")
		}
		offset += size
	default:
		return 0, fmt.Errorf("seek: whence %d is not known", whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d: before the start", offset)
	}
	return offset, nil
}
