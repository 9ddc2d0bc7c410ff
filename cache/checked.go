package cache

import (
	"cmp"
	"fmt"
	"hash"
	"io"
)

// checked reads a finished file that this process has not yet seen to be its digest, because an earlier one wrote it: it is hashed on
// the way, and the last piece is withheld until the digest agrees, as in a fill. So bytes that the disk has changed meanwhile are
// never served whole as good: they are fetched again, and whoever was sent none of the wrong ones goes on with those. That costs the kernel's way to the socket once for each object and process, and no more.
//
// A reader of parts cannot judge; when it has read a good share, the file is checked behind it.
type checked struct {
	held   *held
	pos    int64
	read   int64
	sum    hash.Hash
	summed int64  // how far from the start
	before []byte // sum there, once sum has gone on
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
	if c.held.rest != nil {
		return c.held.rest.Read(p)
	}
	if c.held.err != nil {
		return 0, c.held.err
	}
	end := c.held.size
	if tail := max(0, c.held.size-withheld); c.pos < tail {
		end = tail
	} else if err := c.judge(); err != nil {
		return c.goOn(p, err)
	}
	if c.pos >= end {
		return 0, io.EOF
	}
	n, err := c.held.file.ReadAt(p[:min(int64(len(p)), end-c.pos)], c.pos)
	if n == 0 {
		return c.goOn(p, fmt.Errorf("read byte %d of %d: %w", c.pos, c.held.size, err))
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
	last, err := io.ReadAll(io.NewSectionReader(c.held.file, tail, c.held.size-tail))
	if err != nil || int64(len(last)) < c.held.size-tail {
		return fmt.Errorf("read the last %d bytes of %d: got %d, %w", c.held.size-tail, c.held.size, len(last), cmp.Or(err, io.ErrUnexpectedEOF))
	}
	c.before = c.sum.Sum(nil)
	c.sum.Write(last)
	if !c.held.digest.is(c.sum) {
		return fmt.Errorf("the file has another digest: %w", ErrMismatch)
	}
	c.judged = true
	c.held.store.trusted.Add(c.held.digest, struct{}{})
	return nil
}

// goOn is for what cannot be read, or is not what it was.
func (c *checked) goOn(p []byte, why error) (int, error) {
	if c.before == nil {
		c.before = c.sum.Sum(nil)
	}
	if err := c.held.goOn(c.pos, c.summed, c.before, why); err != nil {
		return 0, err
	}
	return c.held.rest.Read(p)
}

func (c *checked) Seek(offset int64, whence int) (int64, error) {
	if c.held.rest != nil {
		return c.held.rest.Seek(offset, whence)
	}
	pos, err := seek(c.pos, c.held.size, offset, whence)
	if err == nil {
		c.pos = pos
	}
	return pos, err
}

func (c *checked) Close() error {
	if !c.judged && c.held.rest == nil && c.held.err == nil && c.read > c.held.size/100*shareToCheck {
		c.held.store.Suspect(c.held.digest)
	}
	return c.held.Close()
}

func (c *checked) failure() error { return c.held.failure() }
