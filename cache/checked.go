package cache

import (
	"fmt"
	"hash"
	"io"
)

// checked reads a finished file that this process has not yet seen to be its digest, because an earlier one wrote it: it is hashed on
// the way, and the last piece is withheld until the digest agrees, as in a fill. So bytes that the disk has changed meanwhile are
// never served whole as good. That costs the kernel's way to the socket once for each object and process, and no more.
//
// A reader of parts cannot judge; when it has read a good share, the file is checked behind it.
type checked struct {
	held   *held
	pos    int64
	read   int64
	sum    hash.Hash
	summed int64 // how far from the start
	judged bool
}

// trustedInMemory bounds what is remembered of files that were seen to be their digest.
const trustedInMemory = 1 << 16

// shareToCheck is how much of a file must be read in parts to be worth a check, in percent.
const shareToCheck = 10

func (c *checked) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	end := c.held.size
	if tail := max(0, c.held.size-withheld); c.pos < tail {
		end = tail
	} else if err := c.judge(); err != nil {
		return 0, err
	}
	if c.pos >= end {
		return 0, io.EOF
	}
	n, err := c.held.file.ReadAt(p[:min(int64(len(p)), end-c.pos)], c.pos)
	if n == 0 {
		return 0, c.fail(fmt.Errorf("read byte %d of %d: %w", c.pos, c.held.size, err))
	}
	if c.pos == c.summed && !c.judged {
		c.sum.Write(p[:n])
		c.summed += int64(n)
	}
	c.pos += int64(n)
	c.read += int64(n)
	return n, nil
}

// judge is called before a byte of the last piece is given out. Who has not read all that comes before it gets no judgement.
func (c *checked) judge() error {
	tail := max(0, c.held.size-withheld)
	if c.judged || c.summed != tail {
		return nil
	}
	if _, err := io.Copy(c.sum, io.NewSectionReader(c.held.file, tail, c.held.size-tail)); err != nil {
		return c.fail(err)
	}
	if !c.held.digest.is(c.sum) {
		return c.fail(fmt.Errorf("the file has another digest: %w", ErrMismatch))
	}
	c.judged = true
	c.held.store.trusted.Add(c.held.digest, struct{}{})
	return nil
}

func (c *checked) fail(err error) error {
	if c.held.err == nil && !c.held.closed.Load() {
		c.held.store.drop(c.held.digest, err)
	}
	c.held.err = err
	return err
}

func (c *checked) Seek(offset int64, whence int) (int64, error) {
	pos, err := seek(c.pos, c.held.size, offset, whence)
	if err == nil {
		c.pos = pos
	}
	return pos, err
}

func (c *checked) Close() error {
	if !c.judged && c.held.err == nil && c.read > c.held.size/100*shareToCheck {
		c.held.store.Suspect(c.held.digest)
	}
	return c.held.Close()
}

func (c *checked) failure() error { return c.held.err }
