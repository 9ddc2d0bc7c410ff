package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// VerifyOptions says how a check of the whole store is done; the zero value is at full speed and in silence.
type VerifyOptions struct {
	Rate     int64              // bytes a second, 0 for no limit
	Progress func(Verification) // told after each object, and after each 64 MiB of a large one
}

// Verification is how far a check has come.
type Verification struct {
	Objects, Bytes           int64 // looked at
	TotalObjects, TotalBytes int64 // at the beginning; it changes while the store is in use
	Damaged                  []Digest
}

const verifyStep = 64 << 20

// Verify reads everything that is held and drops what is not its digest any more or cannot be read; that is fetched again when it
// is asked for. It may run while the store is in use. The error is that of ctx, or of a directory that could not be read.
func (s *Store) Verify(ctx context.Context, opts VerifyOptions) (Verification, error) {
	select {
	case <-s.scanned:
	case <-ctx.Done():
		return Verification{}, context.Cause(ctx)
	}
	u := s.index.usage()
	v := &verifier{store: s, opts: opts, started: time.Now()}
	v.TotalObjects, v.TotalBytes = u.Objects, u.Bytes
	err := filepath.WalkDir(filepath.Join(s.dir.dir, "blobs"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		algorithm := filepath.Base(filepath.Dir(filepath.Dir(name)))
		d, err := ParseDigest(algorithm + ":" + e.Name())
		if err != nil {
			return nil // a meta file
		}
		return v.object(ctx, d)
	})
	return v.Verification, err
}

// Suspect has one object checked soon, because a client got less of it than there should be. At most one check runs at a time for
// a digest; Close ends it.
func (s *Store) Suspect(d Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suspects[d] || s.ctx.Err() != nil {
		return
	}
	s.suspects[d] = true
	s.work.Go(func() {
		v := &verifier{store: s}
		v.object(s.ctx, d)
		s.mu.Lock()
		delete(s.suspects, d)
		s.mu.Unlock()
	})
}

type verifier struct {
	Verification
	store   *Store
	opts    VerifyOptions
	started time.Time
}

// object checks d. Only the end of ctx is an error.
func (v *verifier) object(ctx context.Context, d Digest) error {
	f, err := os.Open(v.store.dir.blob(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // evicted meanwhile
	}
	if err == nil {
		defer f.Close()
		err = v.file(ctx, d, f)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		v.damaged(d, f, err)
	}
	v.Objects++
	v.tell()
	return nil
}

func (v *verifier) file(ctx context.Context, d Digest, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := v.store.checkSize(d, info.Size()); err != nil {
		return err
	}
	buf := v.store.piece()
	defer v.store.pieces.Put(buf)
	sum := d.hash()
	for since := 0; ; {
		n, err := f.Read(buf[:])
		sum.Write(buf[:n])
		v.Bytes += int64(n)
		if since += n; since >= verifyStep {
			since = 0
			v.tell()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := v.slow(ctx); err != nil {
			return err
		}
	}
	if !d.is(sum) {
		return fmt.Errorf("the file has another digest: %w", ErrMismatch)
	}
	v.store.trusted.Add(d, struct{}{})
	return nil
}

// slow keeps to the rate.
func (v *verifier) slow(ctx context.Context) error {
	if v.opts.Rate <= 0 {
		return ctx.Err()
	}
	due := time.Duration(float64(v.Bytes) / float64(v.opts.Rate) * float64(time.Second))
	if ahead := due - time.Since(v.started); ahead > 0 {
		return sleep(ctx, ahead)
	}
	return ctx.Err()
}

// damaged drops d, unless another file has taken its place meanwhile or it could only not be opened for want of descriptors.
func (v *verifier) damaged(d Digest, f *os.File, why error) {
	if f == nil {
		v.store.report("verify "+d.String(), why)
		return
	}
	was, err := f.Stat()
	if err != nil {
		return
	}
	is, err := os.Lstat(v.store.dir.blob(d))
	if err != nil || !os.SameFile(was, is) {
		return
	}
	v.store.drop(d, why)
	v.Damaged = append(v.Damaged, d)
}

func (v *verifier) tell() {
	if v.opts.Progress != nil {
		v.opts.Progress(v.Verification)
	}
}
